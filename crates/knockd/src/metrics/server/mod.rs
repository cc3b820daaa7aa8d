//! Where metrics are to be had: a Unix socket, and a loopback address.
//!
//! Nothing here waits for anybody. What who asks can cause is bounded: [`MAX_GUESTS`] at once, a
//! request of [`MAX_REQUEST`] bytes, [`PATIENCE`] from the first byte to the last, and one answer, made
//! once for all who ask at the same time.

mod guest;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use knock_core::time::Timestamp;
use rustix::event::{PollFd, PollFlags};

use super::{Format, text};
use crate::config_file::reason;
use crate::control::Status;
use crate::control::server::{Place, PlaceError};
use guest::{Guest, Stream};

pub use guest::{Part, Wanted, parse_request};

/// The most who are heard at once; who comes then waits in the kernel's queue.
pub const MAX_GUESTS: usize = 8;

/// The most bytes of a request.
pub const MAX_REQUEST: usize = 4096;

/// The longest time for a request and its answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long after a failure to take somebody in it is tried again: there was no descriptor left.
const REST: Duration = Duration::from_secs(1);

/// Who may connect to the Unix socket: the owner, its group, and root. The group is that of the folder
/// if that has its set-group-ID bit (inode(7)).
const MODE: u32 = 0o660;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Server {
    doors: Vec<Door>,
    guests: Vec<Guest>,
    /// When guests are taken in again.
    rest: Option<Timestamp>,
}

#[derive(Debug)]
enum Door {
    Unix(Place),
    Tcp(TcpListener, SocketAddr),
}

/// Why metrics cannot be had at a place.
#[derive(Debug)]
pub enum OpenError {
    /// The Unix socket.
    Socket(PathBuf, PlaceError),
    /// The address.
    Address(SocketAddr, io::Error),
}

impl Server {
    /// Listens at these places, if any.
    ///
    /// # Errors
    /// If somebody else is there, or it cannot be listened.
    pub fn open(socket: Option<PathBuf>, address: Option<SocketAddr>) -> Result<Self, OpenError> {
        let mut doors = Vec::new();
        if let Some(path) = socket {
            let place = Place::take(&path, MODE);
            doors.push(Door::Unix(place.map_err(|e| OpenError::Socket(path, e))?));
        }
        if let Some(address) = address {
            let listener = TcpListener::bind(address).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(listener)
            });
            let listener = listener.map_err(|error| OpenError::Address(address, error))?;
            doors.push(Door::Tcp(listener, address));
        }
        Ok(Self {
            doors,
            ..Self::default()
        })
    }

    /// What to poll. Then call [`Server::handle_readable`].
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let takes_in = self.rest.is_none() && self.guests.len() < MAX_GUESTS;
        let doors = self.doors.iter().filter(move |_| takes_in);
        doors
            .map(|door| PollFd::from_borrowed_fd(door.as_fd(), PollFlags::IN))
            .chain(self.guests.iter().map(Guest::poll_fd))
    }

    /// When [`Server::handle_readable`] has something to do though nothing is readable: never, while
    /// nobody is here.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let deadlines = self.guests.iter().map(|guest| guest.deadline);
        deadlines.chain(self.rest).min()
    }

    /// The places at which it listens.
    #[must_use]
    pub fn places(&self) -> (Option<&Path>, Option<SocketAddr>) {
        let (mut path, mut address) = (None, None);
        for door in &self.doors {
            match door {
                Door::Unix(place) => path = Some(place.path()),
                Door::Tcp(_, at) => address = Some(*at),
            }
        }
        (path, address)
    }

    /// Takes in who has come, hears what they ask for, and answers with `status`, which is called once
    /// if anybody wants it. Never waits; harmless if nobody is there.
    pub fn handle_readable(&mut self, now: Timestamp, status: impl FnOnce() -> Status) {
        if self.rest.is_some_and(|rest| rest <= now) {
            self.rest = None;
        }
        self.take_in(now);
        let mut status = Some(status);
        let mut known = None;
        for guest in &mut self.guests {
            match guest.read() {
                None => {}
                Some(Wanted::Refused(code, words)) => {
                    guest.answer(code, "text/plain; charset=utf-8", Part::All, words);
                }
                Some(Wanted::Metrics(format, part)) => {
                    known = known.or_else(|| status.take().map(|status| status()));
                    if let Some(status) = &known {
                        answer(guest, status, format, part);
                    }
                }
            }
            guest.write();
        }
        self.guests.retain(|guest| !guest.is_gone(now));
    }

    fn take_in(&mut self, now: Timestamp) {
        for door in &self.doors {
            while self.rest.is_none() && self.guests.len() < MAX_GUESTS {
                match door.accept() {
                    Ok(stream) => self.guests.extend(Guest::new(stream, now)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(_) => self.rest = Some(now.saturating_add(REST)),
                }
            }
        }
    }
}

fn answer(guest: &mut Guest, status: &Status, format: Format, part: Part) {
    let body = text(status, format);
    guest.answer("200 OK", format.content_type(), part, &body);
}

impl Door {
    fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(place) => Ok(Stream::Unix(place.socket().accept()?.0)),
            Self::Tcp(listener, _) => Ok(Stream::Tcp(listener.accept()?.0)),
        }
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(place) => place.socket().as_fd(),
            Self::Tcp(listener, _) => listener.as_fd(),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path, error) => write!(f, "metrics_socket {}: {error}", path.display()),
            Self::Address(address, error) => {
                write!(f, "metrics_address {address}: {}", reason(error))
            }
        }
    }
}

impl std::error::Error for OpenError {}

#[cfg(test)]
mod tests;
