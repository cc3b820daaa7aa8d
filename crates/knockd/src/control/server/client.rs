//! One client: what it has sent, and what it is to be told.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::ENOUGH;
use crate::control::{Answer, MAX_REQUEST, Request, RequestError, parse_request};
use crate::events::Memory;

#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    uid: u32,
    /// What it has sent and is no whole line yet, or was not asked for yet: never more than a line.
    incoming: Vec<u8>,
    /// What it is to read, and how much of that is sent.
    outgoing: Vec<u8>,
    sent: usize,
    /// Whether it has not asked for anything yet.
    is_first: bool,
    events: Option<Stream>,
    /// It had its turn since it was last read.
    had_its_turn: bool,
    /// It sends nothing more.
    is_silent: bool,
    /// It is told what waits for it, and no more.
    is_leaving: bool,
    /// It is not there any more.
    is_gone: bool,
}

/// The events that a client has asked for.
#[derive(Copy, Clone, Debug)]
struct Stream {
    next: u64,
    /// The last one; without end if it follows.
    last: Option<u64>,
}

impl Client {
    pub(super) fn new(stream: UnixStream, uid: u32) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            uid,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            is_first: true,
            events: None,
            had_its_turn: false,
            is_silent: false,
            is_leaving: false,
            is_gone: false,
        })
    }

    pub(super) const fn uid(&self) -> u32 {
        self.uid
    }

    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        let mut flags = PollFlags::empty();
        if self.wants_to_read() {
            flags |= PollFlags::IN;
        }
        if !self.outgoing.is_empty() {
            flags |= PollFlags::OUT;
        }
        PollFd::from_borrowed_fd(self.stream.as_fd(), flags)
    }

    /// Whether a whole line can be taken from it now.
    pub(super) fn has_request(&self) -> bool {
        self.may_ask() && (self.line_end().is_some() || self.incoming.len() > MAX_REQUEST)
    }

    pub(super) const fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Reads at most one line, and what has come with it.
    pub(super) fn read(&mut self) {
        self.had_its_turn = false;
        let mut buffer = [0; 1024];
        while self.wants_to_read() {
            let room = (MAX_REQUEST + 1).saturating_sub(self.incoming.len());
            let length = room.min(buffer.len());
            let room = buffer.get_mut(..length).unwrap_or_default();
            match self.stream.read(room) {
                Ok(0) => self.is_silent = true,
                Ok(count) => self.incoming.extend(buffer.iter().take(count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return self.is_gone = true,
            }
            if self.follows() {
                // Nothing is answered any more, and there may be no end of it.
                self.incoming.clear();
                break;
            }
        }
        // It may have closed one way only, and wait for its answer.
        self.is_gone |= self.is_silent && has_hung_up(&self.stream);
        self.leave_if_done();
    }

    /// The next request, if there is one and it is time for it: one for each [`Client::read`].
    pub(super) fn take_request(&mut self) -> Option<Result<Request, RequestError>> {
        if self.had_its_turn || !self.may_ask() {
            return None;
        }
        let Some(end) = self.line_end() else {
            if self.incoming.len() <= MAX_REQUEST {
                return None;
            }
            self.incoming.clear();
            self.is_leaving = true;
            return Some(Err(RequestError::TooLong));
        };
        self.had_its_turn = true;
        let mut line: Vec<_> = self.incoming.drain(..=end).collect();
        line.pop();
        let parsed = parse_request(&line, self.is_first);
        self.is_first &= parsed.is_err();
        Some(parsed)
    }

    pub(super) fn say(&mut self, answer: &Answer) {
        self.put(answer);
        self.write();
    }

    /// Says `answer` as far as that goes at once, and goes.
    pub(super) fn farewell(mut self, answer: &Answer) {
        self.say(answer);
    }

    pub(super) fn stream(&mut self, since: Option<u64>, follow: bool, events: &Memory) {
        let last = events.last();
        self.events = Some(Stream {
            next: since.map_or(events.first(), |since| since.clamp(1, last + 1)),
            last: (!follow).then_some(last),
        });
        self.tell(events);
    }

    /// Puts down the events that it is to have, as far as there is room, and sends what it takes.
    pub(super) fn tell(&mut self, events: &Memory) {
        while let Some(mut stream) = self.events.filter(|_| self.has_room()) {
            if stream.last.is_some_and(|last| stream.next > last) {
                self.events = None;
                self.put(&Answer::End { next: stream.next });
                break;
            }
            let first = events.first();
            if stream.next < first {
                let count = first - stream.next;
                stream.next = first;
                self.put(&Answer::Missed { count });
            } else if let Some(event) = events.get(stream.next) {
                stream.next += 1;
                let event = event.as_ref().clone();
                self.put(&Answer::Event(event));
            } else {
                break;
            }
            self.events = Some(stream);
        }
        self.write();
    }

    /// Sends as much as goes at once.
    pub(super) fn write(&mut self) {
        while let Some(rest) = self.outgoing.get(self.sent..).filter(|r| !r.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return self.is_gone = true,
            }
        }
        if self.sent >= self.outgoing.len() {
            self.outgoing = Vec::new();
            self.sent = 0;
        } else if self.sent >= ENOUGH {
            self.outgoing.drain(..self.sent);
            self.sent = 0;
        }
        self.leave_if_done();
    }

    /// How many bytes wait to be read.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.outgoing.len()
    }

    fn put(&mut self, answer: &Answer) {
        self.outgoing.extend(answer.to_line().bytes());
    }

    fn line_end(&self) -> Option<usize> {
        self.incoming.iter().position(|byte| *byte == b'\n')
    }

    fn has_room(&self) -> bool {
        self.outgoing.len() - self.sent < ENOUGH
    }

    fn follows(&self) -> bool {
        self.events.is_some_and(|stream| stream.last.is_none())
    }

    fn may_ask(&self) -> bool {
        self.events.is_none() && !self.is_leaving && self.has_room()
    }

    fn wants_to_read(&self) -> bool {
        let has_line = self.incoming.len() > MAX_REQUEST || self.line_end().is_some();
        !self.is_silent && !self.is_leaving && !has_line
    }

    /// A client that sends nothing more goes when it has been told everything.
    fn leave_if_done(&mut self) {
        let is_done = self.outgoing.is_empty() && self.events.is_none();
        let asks = self.line_end().is_some();
        self.is_gone |= is_done && (self.is_leaving || (self.is_silent && !asks));
    }
}

/// Whether nobody is at the other end any more.
fn has_hung_up(stream: &UnixStream) -> bool {
    let mut fd = PollFd::new(stream, PollFlags::empty());
    let at_once = Timespec::default();
    let polled = poll(std::slice::from_mut(&mut fd), Some(&at_once));
    polled.is_err() || fd.revents().intersects(PollFlags::HUP | PollFlags::ERR)
}
