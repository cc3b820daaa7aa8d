//! A connection to the control socket at which nothing is waited for.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags};

use crate::control::{Answer, Request, parse_answer};

/// The longest answer: a status with all that it may show has some hundred kilobytes.
const MAX_ANSWER: usize = 16 << 20;

/// So many bytes are read at once, so that keys count in between.
const AT_ONCE: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Link {
    /// Connects to the daemon that listens at `path`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            incoming: Vec::new(),
            outgoing: Vec::new(),
        })
    }

    /// Asks. The answers come from [`Link::handle_ready`].
    pub(super) fn ask(&mut self, request: &Request) {
        self.outgoing.extend(request.to_line().bytes());
    }

    /// What to poll. Then call [`Link::handle_ready`].
    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        let mut flags = PollFlags::IN;
        if !self.outgoing.is_empty() {
            flags |= PollFlags::OUT;
        }
        PollFd::new(&self.stream, flags)
    }

    /// Sends what is to be sent, and gives the answers that have come. Never waits; harmless if
    /// nothing is there.
    pub(super) fn handle_ready(&mut self) -> io::Result<Vec<Answer>> {
        let sent = self.send();
        let read = self.read();
        // Who is not let in is told why, and cannot send.
        let answers = self.take_answers()?;
        if answers.is_empty() {
            sent.and(read)?;
        }
        Ok(answers)
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; AT_ONCE];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Ok(count) => {
                self.incoming.extend(buffer.into_iter().take(count));
                Ok(())
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// What is no answer that this version knows is passed over.
    fn take_answers(&mut self) -> io::Result<Vec<Answer>> {
        let Some(end) = self.incoming.iter().rposition(|byte| *byte == b'\n') else {
            if self.incoming.len() > MAX_ANSWER {
                let text = "an answer is too long";
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            return Ok(Vec::new());
        };
        let rest = self.incoming.split_off(end + 1);
        let lines = std::mem::replace(&mut self.incoming, rest);
        let lines = lines.split(|byte| *byte == b'\n');
        Ok(lines.filter_map(|line| parse_answer(line).ok()).collect())
    }
}

/// Why there is no connection, in words.
pub(super) fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => "it does not run".into(),
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => "it has ended the connection".into(),
        _ => crate::config_file::reason(error),
    }
}
