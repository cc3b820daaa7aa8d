//! An eye on a port: knocks at it with connections all the time, and remembers when it was open.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use knockd::lab::Host;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};
use std::os::fd::AsFd;

use crate::Result;

/// From one glance to the next.
const PACE: Duration = Duration::from_millis(20);

/// How long a connection may take until it counts as dropped: the first SYN alone is to count, and
/// it is repeated after a second.
pub(super) const PATIENCE: Duration = Duration::from_millis(900);

/// When the SYN has been repeated, if we were kept from looking so long: then nobody knows which of
/// them came through (a second, less what its timer may be off).
const SECOND_SYN: Duration = Duration::from_millis(980);

/// The source ports of an eye, one for each glance: connection tracking may still believe in the
/// connection of an earlier glance whose end it has not seen, while the table was gone and nobody
/// asked it to look.
const SOURCE_PORTS: std::ops::Range<u16> = 10_000..30_000;

/// Who looks, and at what.
#[derive(Debug)]
pub(super) struct Eye {
    seen: Arc<Mutex<Vec<Glance>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Whether a connection that began then came through.
#[derive(Copy, Clone, Debug)]
pub(super) struct Glance {
    pub(super) at: Instant,
    pub(super) open: bool,
}

enum Outcome {
    Pending,
    Unknown,
    Seen(bool),
}

struct Pending {
    at: Instant,
    socket: Socket,
}

impl Eye {
    /// Looks from `host`, as `source`, at `port`.
    pub(super) fn new(host: &Host, source: IpAddr, port: SocketAddr) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (record, end) = (Arc::clone(&seen), Arc::clone(&stop));
        // A thread is where the one was that has made it.
        let look = move || look(source, port, &record, &end);
        let thread = host.run(|| thread::spawn(look))?;
        Ok(Self {
            seen,
            stop,
            thread: Some(thread),
        })
    }

    /// What was seen, in the order in which it began.
    pub(super) fn glances(&self) -> Vec<Glance> {
        let mut seen = self
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        seen.sort_by_key(|glance| glance.at);
        seen
    }

    /// The first glance since `from` at which it was `open`.
    pub(super) fn first(&self, open: bool, from: Instant) -> Option<Instant> {
        let glances = self.glances().into_iter();
        let mut glances = glances.filter(|glance| glance.at >= from);
        Some(glances.find(|glance| glance.open == open)?.at)
    }

    /// Whether all that began before `end` has been seen to its end.
    pub(super) fn has_seen(&self, end: Instant) -> bool {
        Instant::now() > end + PATIENCE + PACE * 3
    }
}

impl Drop for Eye {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it has seen, it has seen.
            drop(thread.join());
        }
    }
}

fn look(source: IpAddr, port: SocketAddr, seen: &Mutex<Vec<Glance>>, stop: &AtomicBool) {
    let mut pending: Vec<Pending> = Vec::new();
    for source_port in SOURCE_PORTS {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let at = Instant::now();
        match begin(SocketAddr::new(source, source_port), port) {
            Ok(socket) => pending.push(Pending { at, socket }),
            Err(error) => eprintln!("      an eye cannot look: {error}"),
        }
        sleep(PACE.saturating_sub(at.elapsed()));
        pending.retain(|one| {
            let open = match outcome(one) {
                Outcome::Pending => return true,
                Outcome::Unknown => return false,
                Outcome::Seen(open) => open,
            };
            let glance = Glance { at: one.at, open };
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(glance);
            false
        });
    }
}

fn begin(source: SocketAddr, port: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(port), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // Nobody waits for what is left of it.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.bind(&source.into())?;
    match socket.connect(&port.into()) {
        Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// Whether it came through, if that is known yet. A refusal has come through too.
fn outcome(pending: &Pending) -> Outcome {
    let fd = PollFd::new(pending.socket.as_fd(), PollFlags::POLLOUT);
    let ready = poll(&mut [fd], PollTimeout::ZERO).is_ok_and(|count| count > 0);
    let since = pending.at.elapsed();
    if !ready && since > PATIENCE {
        return Outcome::Seen(false);
    }
    if !ready {
        return Outcome::Pending;
    }
    if since > SECOND_SYN {
        return Outcome::Unknown;
    }
    let error = pending.socket.take_error().ok().flatten();
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    Outcome::Seen(error.is_none_or(refused))
}
