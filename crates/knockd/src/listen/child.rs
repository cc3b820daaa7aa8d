//! The listener from outside: its process, and orders to it.

use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recv, send, sendmsg, socketpair,
};

use crate::listener::{Confinement, NAME};
use crate::wire::{KNOCK_LENGTH, Order};

/// So many bytes of orders may wait: more than the doors of a very large configuration, of which
/// there are several on their way.
const MAX_WAITING: usize = 256 << 20;

/// So many bytes of its last words are taken.
const MAX_WORDS: usize = 1024;

/// A listener's process. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Child {
    process: std::process::Child,
    reports: OwnedFd,
    orders: OwnedFd,
    /// Bytes of orders that the socket had no room for yet.
    waiting: Vec<u8>,
    /// How many of them it had.
    sent: usize,
}

/// What came from a listener.
#[derive(Debug)]
pub(super) enum Heard {
    /// A message of so many bytes; one that is longer than any is told as one byte longer.
    Message(Box<[u8; KNOCK_LENGTH + 1]>, usize),
    /// Nothing, for now.
    Nothing,
    /// It has closed its end.
    End,
}

/// The listener takes no more orders.
#[derive(Debug)]
pub(super) struct Deaf;

impl Child {
    /// Starts the listener that is in `program`, and hands it the packet socket.
    pub(super) fn start(
        program: &Path,
        confinement: Confinement,
        socket: BorrowedFd<'_>,
        wide: bool,
    ) -> io::Result<Self> {
        let (orders, its_orders) = pair(SocketType::STREAM)?;
        let (reports, its_reports) = pair(SocketType::SEQPACKET)?;
        let mut process = Command::new(program)
            .arg0(NAME)
            .args(confinement.args())
            .env_clear()
            .current_dir("/")
            // What a terminal sends to those in its foreground is for the keeper.
            .process_group(0)
            .stdin(Stdio::from(its_orders))
            .stdout(Stdio::from(its_reports))
            .stderr(Stdio::piped())
            .spawn()?;
        // If it has ended already, the end of its reports says so, and how.
        if let Err(error) = hand_over(&orders, socket, wide)
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            // It ends by itself, and cannot be waited for longer than that takes.
            drop(orders);
            process.wait()?;
            return Err(error);
        }
        ioctl_fionbio(&orders, true)?;
        Ok(Self {
            process,
            reports,
            orders,
            waiting: Vec::new(),
            sent: 0,
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What to poll: for reports, and for room if there are orders waiting.
    pub(super) fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let reports = PollFd::from_borrowed_fd(self.reports.as_fd(), PollFlags::IN);
        let room = || PollFd::from_borrowed_fd(self.orders.as_fd(), PollFlags::OUT);
        let orders = (!self.waiting.is_empty()).then(room);
        std::iter::once(reports).chain(orders)
    }

    /// The next message. Never waits.
    pub(super) fn hear(&self) -> Heard {
        loop {
            // One byte more than a message has, so that a longer one is not taken for one.
            let mut bytes = Box::new([0; KNOCK_LENGTH + 1]);
            match recv(&self.reports, bytes.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Heard::End,
                Ok((length, _)) => return Heard::Message(bytes, length),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Heard::Nothing,
                Err(_) => return Heard::End,
            }
        }
    }

    /// Gives an order, now or when there is room.
    pub(super) fn tell(&mut self, order: &Order) -> Result<(), Deaf> {
        self.waiting.extend(order.encode());
        self.flush()
    }

    /// Sends what there is room for. If the listener has ended, its closed end says so.
    pub(super) fn flush(&mut self) -> Result<(), Deaf> {
        while let Some(rest) = self
            .waiting
            .get(self.sent..)
            .filter(|rest| !rest.is_empty())
        {
            match send(&self.orders, rest, SendFlags::NOSIGNAL) {
                Ok(length) => self.sent += length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.waiting.len() > MAX_WAITING => return Err(Deaf),
                Err(_) => return Ok(()),
            }
        }
        self.waiting = Vec::new();
        self.sent = 0;
        Ok(())
    }

    /// Ends it; gives how it ended and its last words.
    pub(super) fn end(mut self) -> (Option<ExitStatus>, String) {
        let status = self.kill();
        let mut words = Vec::new();
        if let Some(pipe) = self.process.stderr.take() {
            // It has ended, so there is an end of what it can have said.
            let most = u64::try_from(MAX_WORDS).unwrap_or(u64::MAX);
            pipe.take(most).read_to_end(&mut words).ok();
        }
        (status, String::from_utf8_lossy(&words).trim().to_owned())
    }

    fn kill(&mut self) -> Option<ExitStatus> {
        // One that has ended already keeps its own status.
        if let Ok(Some(status)) = self.process.try_wait() {
            return Some(status);
        }
        self.process.kill().ok()?;
        self.process.wait().ok()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Two ends, of which the second is a listener's.
fn pair(kind: SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        kind,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends the packet socket, with a byte that says whether its ring is the wide one.
fn hand_over(orders: &OwnedFd, socket: BorrowedFd<'_>, wide: bool) -> io::Result<()> {
    let sockets = [socket];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&sockets));
    let byte = [u8::from(wide)];
    let byte = [IoSlice::new(&byte)];
    sendmsg(orders, &byte, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// How a process ended, in words.
pub(super) fn describe(status: Option<ExitStatus>) -> String {
    let signal = status.and_then(|status| status.signal());
    match (signal, status.and_then(|status| status.code())) {
        (Some(libc::SIGSYS), _) => {
            "made a system call that its sandbox does not allow, and was killed".into()
        }
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, Some(code)) => format!("ended with status {code}"),
        (None, None) => "ended".into(),
    }
}
