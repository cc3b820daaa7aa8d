//! A larger ring while the daemon runs: for whole packets, when the first door is opened by sealed
//! ones.
//!
//! A ring cannot grow while somebody reads it, so there is another socket, and another listener. What
//! came before is read by the listener of before, to its end; what comes from then on waits in the new
//! ring. Only what comes between the closing of one filter and the opening of the other, which is
//! about as long as a system call takes, is heard by neither. By both it must not be: a step that
//! counts twice breaks an attempt.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::PacketSide;
use crate::listener::{RING, WIDE_RING};

/// So many times the listener looks into its ring before it has seen all that waits there: it takes at
/// least a third of it at once (`PACKETS_A_TURN`), and may have looked just before it was asked.
const LOOKS: usize = 5;
const _: () = assert!(RING.frames <= 3 * 4096);

impl PacketSide {
    /// Ends the listener, after it has said all that it had to, and makes the next due, with a ring for
    /// whole packets.
    pub(super) fn widen(&mut self) -> io::Result<()> {
        let missing = || io::Error::other("there is no socket in reserve");
        let spare = self.spare.take().ok_or_else(missing)?;
        let socket = spare.with_ring(WIDE_RING).map_err(io::Error::other)?;
        let shared = Arc::new(socket.as_fd().try_clone_to_owned()?);
        self.capture.prepare(&shared)?;
        socket.bind(0)?;
        let problem = self
            .capture
            .change_to(Arc::clone(&shared), &self.watch.scope())?;
        self.notices.extend(problem.map(super::Notice::Problem));
        for _ in 0..LOOKS {
            if !self.ask() {
                break;
            }
        }
        self.keep_counts();
        self.supervisor.replace(shared);
        Ok(())
    }
}
