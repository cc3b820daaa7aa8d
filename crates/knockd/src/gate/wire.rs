//! A socket to the kernel's packet filter: one question or change at a time, each answered in a
//! bounded time or not at all.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    NlaBuffer, NlasIterator,
};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt;

use super::GateError;
use super::batch::{Batch, serialize};

/// The kernel answers while it takes the question; this is for one that has died.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a batch may have in bytes without more room being asked for: half of what the kernel gives
/// a socket by default (`net.core.wmem_default`).
const ROOM: usize = 96 * 1_024;

/// The most that a batch has in bytes. The kernel takes it as one piece of its memory.
const MAX_BATCH: usize = 32 * 1_024 * 1_024;

/// How often a dump is begun anew because something changed meanwhile.
const ATTEMPTS: usize = 16;

pub(super) struct Wire {
    socket: Socket,
    port: u32,
    number: u32,
    room: usize,
    buffer: Vec<u8>,
}

impl Wire {
    pub(super) fn new() -> Result<Self, GateError> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        // An error need not bring the whole message back.
        socket.set_cap_ack(true)?;
        for direction in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
            sockopt::set_socket_timeout(&socket, direction, Some(PATIENCE))
                .map_err(io::Error::from)?;
        }
        Ok(Self {
            socket,
            port,
            number: 1,
            room: ROOM,
            buffer: Vec::with_capacity(Answers::DATAGRAM),
        })
    }

    /// The socket's address: what we change, the kernel tells others under this number.
    pub(super) const fn port(&self) -> u32 {
        self.port
    }

    pub(super) fn batch(&self) -> Batch {
        Batch::new(self.number)
    }

    /// Whether a batch of so many bytes can be sent; asks the kernel for the room.
    pub(super) fn has_room(&mut self, bytes: usize) -> bool {
        if bytes <= self.room {
            return true;
        }
        let wanted = bytes
            .saturating_add(ROOM)
            .next_power_of_two()
            .min(MAX_BATCH);
        // Within a user namespace the limit of the system holds (`net.core.wmem_max`).
        let forced = sockopt::set_socket_send_buffer_size_force(&self.socket, wanted);
        if forced.is_err() && sockopt::set_socket_send_buffer_size(&self.socket, wanted).is_err() {
            return false;
        }
        // The kernel doubles the number for what it keeps beside the bytes (socket(7)).
        let got = sockopt::socket_send_buffer_size(&self.socket).unwrap_or(0) / 2;
        self.room = self.room.max(got);
        bytes <= self.room
    }

    /// Has the kernel make a change, all of it or nothing.
    pub(super) fn commit(&mut self, mut batch: Batch) -> Result<(), GateError> {
        if batch.is_empty() {
            return Ok(());
        }
        let room = self.has_room(batch.len());
        debug_assert!(room || batch.len() > ROOM);
        let last = batch.finish();
        self.number = last.wrapping_add(2);
        for _ in 0..ATTEMPTS {
            match self.send(&batch, last) {
                // A signal came while the kernel was at it: it has done nothing.
                Err(GateError::Refused { error, .. })
                    if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
        Err(GateError::NoAnswer)
    }

    fn send(&mut self, batch: &Batch, last: u32) -> Result<(), GateError> {
        self.socket.send(batch.bytes(), 0)?;
        let mut answers = Answers::new(&self.socket, &mut self.buffer);
        loop {
            let outcome = answers.each(|answer| {
                let Kind::Outcome(outcome) = answer.kind() else {
                    return Ok(true);
                };
                match (batch.what(answer.number), outcome) {
                    (None, _) => Ok(true),
                    (Some(_), None) => Ok(answer.number != last),
                    (Some(what), Some(error)) => Err(GateError::refused(what.to_owned(), error)),
                }
            });
            match outcome {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => {
                    drain(&self.socket);
                    return Err(error);
                }
            }
        }
    }

    /// Asks for something and gives each answer to `take`: `expected` answers, or all that there are
    /// (a dump).
    pub(super) fn ask(
        &mut self,
        question: &NetfilterMessage,
        expected: Option<usize>,
        what: &str,
        mut take: impl FnMut(&Answer<'_>),
    ) -> Result<(), GateError> {
        let (flags, mut left) = match expected {
            Some(0) => return Ok(()),
            Some(count) => (NLM_F_REQUEST, count),
            None => (NLM_F_REQUEST | NLM_F_DUMP, usize::MAX),
        };
        let (number, mut bytes) = (self.number, Vec::new());
        self.number = number.wrapping_add(1);
        serialize(&mut bytes, flags, number, question.clone());
        self.socket.send(&bytes, 0)?;
        let mut answers = Answers::new(&self.socket, &mut self.buffer);
        loop {
            let outcome = answers.each(|answer| {
                if answer.number != number {
                    return Ok(true);
                }
                match answer.kind() {
                    Kind::Message => {
                        take(answer);
                        left = left.saturating_sub(1);
                        Ok(left > 0)
                    }
                    Kind::Outcome(Some(error)) => Err(GateError::refused(what.to_owned(), error)),
                    Kind::Outcome(None) | Kind::Done => Ok(false),
                    Kind::Other => Ok(true),
                }
            });
            match outcome {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => {
                    drain(&self.socket);
                    return Err(error);
                }
            }
        }
    }

    /// All answers to a question, from one moment: if something changes meanwhile, it is asked again.
    pub(super) fn dump<T>(
        &mut self,
        question: &NetfilterMessage,
        what: &str,
        mut read: impl FnMut(&Answer<'_>) -> Option<T>,
    ) -> Result<Vec<T>, GateError> {
        for _ in 0..ATTEMPTS {
            let mut found = Vec::new();
            match self.ask(question, None, what, |answer| found.extend(read(answer))) {
                Ok(()) => return Ok(found),
                Err(error) if interrupted(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(GateError::NoAnswer)
    }

    /// Has the kernel change what is there, outside a batch.
    pub(super) fn change(
        &mut self,
        message: NetfilterMessage,
        what: &str,
    ) -> Result<(), GateError> {
        self.request(0, message, what)
    }

    /// Has the kernel make what is not there, outside a batch.
    pub(super) fn create(
        &mut self,
        message: NetfilterMessage,
        what: &str,
    ) -> Result<(), GateError> {
        self.request(NLM_F_CREATE | NLM_F_EXCL, message, what)
    }

    fn request(
        &mut self,
        flags: u16,
        message: NetfilterMessage,
        what: &str,
    ) -> Result<(), GateError> {
        let (number, mut bytes) = (self.number, Vec::new());
        self.number = number.wrapping_add(1);
        let flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        serialize(&mut bytes, flags, number, message);
        self.socket.send(&bytes, 0)?;
        let mut answers = Answers::new(&self.socket, &mut self.buffer);
        loop {
            let more = answers.each(|answer| match answer.kind() {
                Kind::Outcome(outcome) if answer.number == number => match outcome {
                    None => Ok(false),
                    Some(error) => Err(GateError::refused(what.to_owned(), error)),
                },
                _ => Ok(true),
            })?;
            if !more {
                return Ok(());
            }
        }
    }
}

/// Reads what is left of the answers to a change that failed. They are there already: the kernel
/// answers while the question is sent.
fn drain(socket: &Socket) {
    const MOST: usize = 65_536;
    let mut buffer = Vec::with_capacity(1);
    for _ in 0..MOST {
        buffer.clear();
        if socket.recv(&mut buffer, libc::MSG_DONTWAIT).is_err() {
            break;
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// `NLM_F_DUMP_INTR`, told by the next function as `EINTR`.
fn interrupted(error: &GateError) -> bool {
    matches!(error, GateError::Socket(error) if error.kind() == io::ErrorKind::Interrupted)
}

/// What the kernel sends, datagram by datagram.
struct Answers<'a> {
    socket: &'a Socket,
    buffer: &'a mut Vec<u8>,
}

impl<'a> Answers<'a> {
    /// As much as the kernel puts into one datagram of a dump at the most.
    const DATAGRAM: usize = 32 * 1_024;

    fn new(socket: &'a Socket, buffer: &'a mut Vec<u8>) -> Self {
        Self { socket, buffer }
    }

    /// Reads one datagram and gives each message to `take`, until that says that there is no more.
    fn each(
        &mut self,
        mut take: impl FnMut(&Answer<'_>) -> Result<bool, GateError>,
    ) -> Result<bool, GateError> {
        /// `NLM_F_DUMP_INTR`: what was told is from before and after a change.
        const MIXED: u16 = 0x10;
        self.buffer.clear();
        loop {
            match self.socket.recv(self.buffer, 0) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        for answer in messages(self.buffer) {
            if answer.flags & MIXED != 0 && matches!(answer.kind(), Kind::Message | Kind::Done) {
                return Err(GateError::Socket(io::ErrorKind::Interrupted.into()));
            }
            if !take(&answer)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A message of the kernel's (`struct nlmsghdr`).
pub(super) struct Answer<'a> {
    kind: u16,
    flags: u16,
    /// The number of the message that it answers.
    pub(super) number: u32,
    /// Whose socket it is about.
    pub(super) port: u32,
    /// What follows the header.
    pub(super) payload: &'a [u8],
    bytes: &'a [u8],
}

/// What an answer is.
enum Kind {
    /// What was asked for, or a part of it.
    Message,
    /// How it ended.
    Outcome(Option<io::Error>),
    /// The end of a dump.
    Done,
    /// Nothing that matters.
    Other,
}

impl<'a> Answer<'a> {
    /// The message in the library's words; `None` if it does not understand it.
    pub(super) fn parse(&self) -> Option<NetfilterMessageInner> {
        let message = NetlinkMessage::<NetfilterMessage>::deserialize(self.bytes).ok()?;
        match message.payload {
            NetlinkPayload::InnerMessage(message) => Some(message.inner),
            _ => None,
        }
    }

    /// The attributes of a message of the packet filter, which follow `struct nfgenmsg`.
    pub(super) fn attributes(&self) -> impl Iterator<Item = NlaBuffer<&'a [u8]>> + use<'a> {
        let bytes = self.payload.get(4..).unwrap_or_default();
        NlasIterator::new(bytes).map_while(Result::ok)
    }

    fn kind(&self) -> Kind {
        /// `NLMSG_ERROR`, `NLMSG_DONE`, and the first number that is a subsystem's.
        const ERROR: u16 = 2;
        const DONE: u16 = 3;
        const SUBSYSTEMS: u16 = 16;
        match self.kind {
            ERROR => {
                let code = self.payload.first_chunk().copied();
                let code = code.map_or(0, i32::from_ne_bytes);
                Kind::Outcome(
                    (code != 0).then(|| io::Error::from_raw_os_error(code.wrapping_neg())),
                )
            }
            DONE => Kind::Done,
            SUBSYSTEMS.. => Kind::Message,
            _ => Kind::Other,
        }
    }
}

/// The messages of a datagram.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let (length, _) = datagram.split_first_chunk()?;
        let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
        let bytes = datagram.get(..length)?;
        let (header, payload) = bytes.split_first_chunk::<16>()?;
        let [_, _, _, _, a, b, c, d, e, f, g, h, i, j, k, l] = *header;
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
        Some(Answer {
            kind: u16::from_ne_bytes([a, b]),
            flags: u16::from_ne_bytes([c, d]),
            number: u32::from_ne_bytes([e, f, g, h]),
            port: u32::from_ne_bytes([i, j, k, l]),
            payload,
            bytes,
        })
    })
}
