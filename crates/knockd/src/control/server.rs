//! The socket of the daemon: who is connected, what they ask, and what they are still to be told.
//!
//! Nothing here waits for a client. What a client can cause is bounded: [`MAX_CLIENTS`] of them, one
//! line of [`super::MAX_REQUEST`] bytes each, and 256 KiB that wait to be read, beyond which only the
//! answer that was just given goes. Events that a client does not read in time are counted for it.

mod client;
mod place;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use knock_core::time::Timestamp;
use rustix::event::{PollFd, PollFlags};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

use super::{Answer, Code, Request, RequestError};
use crate::events::Memory;
use client::Client;

pub use place::{Place, PlaceError};

/// The most clients at once.
pub const MAX_CLIENTS: usize = 16;

/// Who may connect: the owner, and root.
const MODE: u32 = 0o600;

/// A client with so much to read is asked and told nothing more, until it has read some of it.
const ENOUGH: usize = 256 * 1024;

/// How long after a failure to take a client in it is tried again: there was no descriptor left.
const REST: Duration = Duration::from_secs(1);

/// The number of a client.
#[derive(Copy, Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ClientId(u64);

/// A request, and who has made it.
#[derive(Debug)]
pub struct Asked {
    /// Whom to answer.
    pub client: ClientId,
    /// The user that the client runs as.
    pub uid: u32,
    /// What is asked for.
    pub request: Request,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Server {
    place: Place,
    clients: BTreeMap<ClientId, Client>,
    next: u64,
    /// Whose turn it is.
    turn: ClientId,
    /// When clients are taken in again.
    rest: Option<Timestamp>,
}

impl Server {
    /// Listens at `path`, in place of a daemon that is dead. The socket is the owner's alone.
    ///
    /// # Errors
    /// If there is another daemon, or something else, or it cannot be made.
    pub fn open(path: &Path) -> Result<Self, PlaceError> {
        Ok(Self {
            place: Place::take(path, MODE)?,
            clients: BTreeMap::new(),
            next: 0,
            turn: ClientId(0),
            rest: None,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// What to poll. Then call [`Server::handle_readable`].
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let door = self.rest.is_none().then(|| self.place.socket().as_fd());
        let door = door.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        door.into_iter()
            .chain(self.clients.values().map(Client::poll_fd))
    }

    /// When [`Server::handle_readable`] has something to do though nothing is readable.
    #[must_use]
    pub fn poll_timeout(&self, now: Timestamp) -> Option<Timestamp> {
        let waits = self.clients.values().any(Client::has_request);
        let now = waits.then_some(now);
        [now, self.rest].into_iter().flatten().min()
    }

    /// Takes in who has come, and reads what was sent, up to a bound. Never waits; harmless if nothing
    /// is there. Then take a request from [`Server::poll_request`].
    pub fn handle_readable(&mut self, now: Timestamp) {
        if self.rest.is_some_and(|rest| rest <= now) {
            self.rest = None;
        }
        while self.rest.is_none() {
            match self.place.socket().accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => self.rest = Some(now.saturating_add(REST)),
            }
        }
        for client in self.clients.values_mut() {
            client.read();
            client.write();
        }
        self.clients.retain(|_, client| !client.is_gone());
    }

    /// The next request: one of each client for each [`Server::handle_readable`], in turn. What is no request is answered here.
    #[must_use]
    pub fn poll_request(&mut self) -> Option<Asked> {
        let turn = self.turn;
        let after = self.clients.range(turn..).map(|(id, _)| *id);
        let before = self.clients.range(..turn).map(|(id, _)| *id);
        let ids: Vec<_> = after.chain(before).collect();
        for id in ids {
            let client = self.clients.get_mut(&id)?;
            match client.take_request() {
                None => {}
                Some(Ok(request)) => {
                    let uid = client.uid();
                    self.turn = ClientId(id.0 + 1);
                    return Some(Asked {
                        client: id,
                        uid,
                        request,
                    });
                }
                Some(Err(error)) => client.say(&refusal(&error)),
            }
        }
        None
    }

    /// Answers a client, if it is still there.
    pub fn answer(&mut self, client: ClientId, answer: &Answer) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.say(answer);
        }
    }

    /// Lets a client have the events from number `since` on: to the latest of now, or all that come.
    pub fn stream(&mut self, client: ClientId, since: Option<u64>, follow: bool, events: &Memory) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.stream(since, follow, events);
        }
    }

    /// Tells those who follow what has happened since. Never waits; call it before waiting for
    /// anything else.
    pub fn tell(&mut self, events: &Memory) {
        for client in self.clients.values_mut() {
            client.tell(events);
        }
        self.clients.retain(|_, client| !client.is_gone());
    }

    fn admit(&mut self, stream: UnixStream) {
        let uid = socket_peercred(&stream).map(|peer| peer.uid);
        let ours = geteuid();
        let allowed = uid.is_ok_and(|uid| uid.is_root() || uid == ours);
        let number = uid.map_or(u32::MAX, |uid| uid.as_raw());
        let Ok(client) = Client::new(stream, number) else {
            return;
        };
        if !allowed {
            let text = "only root and the daemon's own user may ask";
            return client.farewell(&Answer::error(Code::NotPermitted, text));
        }
        if self.clients.len() >= MAX_CLIENTS {
            let text = format!("{MAX_CLIENTS} clients are connected already");
            return client.farewell(&Answer::error(Code::TooManyClients, text));
        }
        self.clients.insert(ClientId(self.next), client);
        self.next += 1;
    }
}

fn refusal(error: &RequestError) -> Answer {
    let code = match error {
        RequestError::Bad(_) => Code::BadRequest,
        RequestError::TooLong => Code::TooLong,
        RequestError::Version(_) => Code::Version,
    };
    Answer::error(code, error.to_string())
}

#[cfg(test)]
mod tests;
