//! Keeps a listener running: starts it, ends one that misbehaves, and starts another.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use knock_core::time::Timestamp;
use rustix::event::PollFd;

use super::Misbehaviour;
use super::child::{Child, Heard, describe};
use super::intake::{Intake, Message};
use crate::listener::Confinement;
use crate::sandbox::{Layer, State};
use crate::wire::Order;

/// How long one may take from its start until it is ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first that ends is followed by another at once, the next after this, and so on, each time
/// after twice as long, …
const FIRST_REST: Duration = Duration::from_millis(50);

/// … but never longer than this.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// One that has run so long is no reason to wait.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// How a listener is started.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    pub(super) program: PathBuf,
    pub(super) confinement: Confinement,
    /// Whether every layer must be in force.
    pub(super) strictly: bool,
    /// Whether the ring is the wide one.
    pub(super) wide: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Supervisor {
    manner: Manner,
    socket: Arc<OwnedFd>,
    child: Option<Child>,
    intake: Intake,
    layers: Vec<(Layer, State)>,
    ready: bool,
    started: Timestamp,
    /// How many have ended, each soon after it was started.
    failures: u32,
    /// When the next is to be started.
    due: Option<Timestamp>,
    /// When the one before has ended.
    ended: Option<Timestamp>,
}

impl Supervisor {
    /// A supervisor of none yet, who will be handed `socket`; due at once.
    pub(super) fn new(manner: Manner, socket: Arc<OwnedFd>) -> Self {
        Self {
            manner,
            socket,
            child: None,
            intake: Intake::default(),
            layers: Vec::new(),
            ready: false,
            started: Timestamp::ZERO,
            failures: 0,
            due: Some(Timestamp::ZERO),
            ended: None,
        }
    }

    /// When [`Supervisor::is_due`] or [`Supervisor::is_late`].
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        let waited_for = self.child.is_some() && !self.ready;
        let late = waited_for.then(|| self.started.saturating_add(PATIENCE));
        self.due.or(late)
    }

    /// Whether it is time to start one.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Whether there is one that should have been ready long ago.
    pub(super) fn is_late(&self, now: Timestamp) -> bool {
        self.due.is_none() && self.poll_timeout().is_some_and(|late| late <= now)
    }

    /// Starts one. It must be told everything.
    pub(super) fn start(&mut self, now: Timestamp) -> io::Result<()> {
        self.due = None;
        self.started = now;
        self.ready = false;
        self.layers.clear();
        self.intake = Intake::default();
        let Manner {
            program,
            confinement,
            wide,
            ..
        } = &self.manner;
        match Child::start(program, *confinement, self.socket.as_fd(), *wide) {
            Ok(child) => {
                self.child = Some(child);
                Ok(())
            }
            Err(error) => {
                self.wait_for_next(now);
                Err(error)
            }
        }
    }

    /// What to poll.
    pub(super) fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.child.iter().flat_map(Child::poll_fds)
    }

    /// Its process id, if there is one.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether the ring has room for whole packets.
    pub(super) const fn has_wide_ring(&self) -> bool {
        self.manner.wide
    }

    pub(super) const fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub(super) const fn is_ready(&self) -> bool {
        self.ready
    }

    /// What it says that it is held by; complete when it is ready.
    pub(super) fn layers(&self) -> &[(Layer, State)] {
        &self.layers
    }

    /// The next message; the end of it, in words, if it has ended or must.
    pub(super) fn hear(&mut self, now: Timestamp) -> Result<Option<Message>, String> {
        let Some(child) = &self.child else {
            return Ok(None);
        };
        match child.hear() {
            Heard::Nothing => Ok(None),
            Heard::End => Err(self.end(None, now)),
            Heard::Message(bytes, length) => {
                let bytes = bytes.get(..length).unwrap_or_default();
                let message = self.intake.message(bytes, now);
                message.map(Some).map_err(|why| self.end(Some(why), now))
            }
        }
    }

    /// Takes note of a layer.
    pub(super) fn holds(&mut self, layer: Layer, state: State) {
        self.layers.push((layer, state));
    }

    /// It says that it is ready: how long there was none, if there was one before it; its end if
    /// it is not confined as it must be.
    pub(super) fn becomes_ready(&mut self, now: Timestamp) -> Result<Option<Duration>, String> {
        let missing = self.layers.iter().any(|(_, state)| !state.holds());
        if self.manner.strictly && (missing || self.layers.is_empty()) {
            return Err(self.end(Some(Misbehaviour::Unconfined), now));
        }
        self.ready = true;
        Ok(self.ended.take().map(|ended| now.saturating_since(ended)))
    }

    /// Gives an order; the end of the listener if it takes none.
    pub(super) fn tell(&mut self, order: &Order, now: Timestamp) -> Result<(), String> {
        let told = self
            .child
            .as_mut()
            .map_or(Ok(()), |child| child.tell(order));
        told.map_err(|_| self.end(Some(Misbehaviour::Deaf), now))
    }

    /// Sends what is left of orders.
    pub(super) fn flush(&mut self, now: Timestamp) -> Result<(), String> {
        let told = self.child.as_mut().map_or(Ok(()), Child::flush);
        told.map_err(|_| self.end(Some(Misbehaviour::Deaf), now))
    }

    /// Ends the one there is, because of what it did if it did not end by itself. In words, how it
    /// ended.
    pub(super) fn end(&mut self, why: Option<Misbehaviour>, now: Timestamp) -> String {
        let Some(child) = self.child.take() else {
            return String::new();
        };
        let (status, words) = child.end();
        let mut text = match why {
            Some(why) => format!("the listener {why}, and was killed"),
            None => format!("the listener {}", describe(status)),
        };
        if !words.is_empty() {
            // What it says may come from the wire.
            text += &format!(" ({})", words.escape_debug());
        }
        self.ready = false;
        self.ended.get_or_insert(now);
        if now.saturating_since(self.started) >= GOOD_RUN {
            self.failures = 0;
        }
        self.wait_for_next(now);
        text
    }

    /// Ends the one there is, whose work is done, and makes the next due, who will be handed `socket`,
    /// which has the wide ring.
    pub(super) fn replace(&mut self, socket: Arc<OwnedFd>) {
        if let Some(child) = self.child.take() {
            child.end();
        }
        self.socket = socket;
        self.manner.wide = true;
        self.ready = false;
        self.due = Some(Timestamp::ZERO);
    }

    fn wait_for_next(&mut self, now: Timestamp) {
        self.due = Some(now.saturating_add(rest_after(self.failures)));
        self.failures = self.failures.saturating_add(1);
    }
}

/// How long to wait after so many failures.
fn rest_after(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else {
        return Duration::ZERO;
    };
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    FIRST_REST.saturating_mul(factor).min(LONGEST_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_replaced_at_once_and_the_next_ones_ever_later() {
        let rests: Vec<_> = (0..5).map(|n| rest_after(n).as_millis()).collect();
        assert_eq!(rests, [0, 50, 100, 200, 400]);
        for failures in [9, 33, 40, u32::MAX] {
            assert_eq!(rest_after(failures), LONGEST_REST);
        }
    }
}
