//! What operators ask for at the control socket, and what is done about it.
//!
//! What an operator opens goes the way of a knock, from the gate to the journal; what is asked for is
//! in the log with the number of the user who did.

mod acts;
mod status;

use std::path::PathBuf;

use knock_core::config::ControlPlace;
use knock_core::time::Timestamp;
use rustix::event::PollFd;

use super::Failure;
use super::serve::Daemon;
use super::settings::Settings;
use crate::control::client::socket_path;
use crate::control::server::{Asked, Server};
use crate::control::{Answer, Code, Request};
use crate::events::{Happened, Kind, Memory, Reason, Who};
use crate::listen;
use crate::log::{Level, Line};

/// The control socket, if there is one.
#[derive(Debug, Default)]
pub(super) struct Control {
    server: Option<Server>,
    /// Where it listens.
    path: Option<PathBuf>,
}

impl Control {
    /// Opens the socket of these settings. Where it was asked for, a daemon without it does not start;
    /// at its usual place, it does without, and says so.
    pub(super) fn open(settings: &Settings) -> Result<(Self, Option<Line>), Failure> {
        let Some(path) = &settings.control else {
            return Ok((Self::default(), None));
        };
        match Server::open(path) {
            Ok(server) => {
                let path = Some(server.path().to_owned());
                let server = Some(server);
                Ok((Self { server, path }, None))
            }
            Err(error) if settings.control_is_asked_for => {
                Err(Failure::Control(path.clone(), error))
            }
            Err(error) => {
                let text = format!(
                    "no control socket ({}: {error}): name another place with `control_socket`, or \
                     none",
                    path.display()
                );
                Ok((
                    Self::default(),
                    Some(Line::new(Level::Info, "control", text)),
                ))
            }
        }
    }

    /// What to poll. Then call [`Daemon::handle_operators`].
    pub(super) fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.server.iter().flat_map(Server::poll_fds)
    }

    /// When [`Daemon::handle_operators`] has something to do though nothing is readable.
    pub(super) fn poll_timeout(&self, now: Timestamp) -> Option<Timestamp> {
        self.server.as_ref()?.poll_timeout(now)
    }

    /// Tells those who follow what has happened. Never waits.
    pub(super) fn tell(&mut self, events: &Memory) {
        if let Some(server) = &mut self.server {
            server.tell(events);
        }
    }

    /// After a reload: what is to be said if the socket would be elsewhere now.
    pub(super) fn doubt(&self, settings: &Settings) -> Option<Line> {
        let same = match (&self.path, &settings.control) {
            (Some(path), wanted) => wanted.as_ref() == Some(path),
            // It could not be had at its usual place, as was said.
            (None, Some(_)) => !settings.control_is_asked_for,
            (None, None) => true,
        };
        let text = "the control socket stays as it is until the daemon is started anew";
        (!same).then(|| Line::new(Level::Warning, "control", text))
    }
}

/// Where the socket of a configuration is to be.
pub(super) fn place(place: &ControlPlace) -> (Option<PathBuf>, bool) {
    (socket_path(place), matches!(place, ControlPlace::At(_)))
}

impl Daemon {
    /// Hears operators, and does what they ask for: at most one thing for each of them a call, so that
    /// knocks are not kept waiting.
    pub(super) fn handle_operators(&mut self) {
        let Some(mut server) = self.control.server.take() else {
            return;
        };
        server.handle_readable(listen::now());
        let mut asked = Vec::new();
        while let Some(one) = server.poll_request() {
            asked.push(one);
        }
        for Asked {
            client,
            uid,
            request,
        } in asked
        {
            match request {
                Request::Events { since, follow } => {
                    server.stream(client, since, follow, &self.events);
                }
                request => {
                    let answer = self.obey(request, uid);
                    server.answer(client, &answer);
                }
            }
        }
        self.control.server = Some(server);
    }

    fn obey(&mut self, request: Request, uid: u32) -> Answer {
        // What was thought of already is said before what is answered.
        self.perform();
        let ends = self.ending.is_some();
        let answer = match request {
            Request::Status {} => return Answer::Status(Box::new(self.status())),
            // These were answered before.
            Request::Events { .. } => return Answer::End { next: 0 },
            _ if ends => return Answer::error(Code::Stopping, "the daemon stops"),
            Request::Open {
                door,
                source,
                for_ms,
            } => self.open_for_operator(&door, source, for_ms, uid),
            Request::Close {
                door,
                source,
                all,
                kill,
            } => self.close_for_operator(door.as_deref(), source, all, kill, uid),
            Request::Reload {} => self.reload_for_operator(uid),
            Request::LogLevel { level } => self.set_log_level(level, uid),
        };
        self.perform();
        answer.unwrap_or_else(Answer::from)
    }
}

/// An operator has asked for something: what, in words.
fn asked(uid: u32, reason: Reason, text: &str) -> Line {
    let who = Who::Operator(uid);
    let text = format!("{text}, by {who}");
    let happened = Happened::new(Kind::Operator).because(reason);
    Line::new(Level::Info, "operator", text).means(happened.by(Some(who)))
}
