//! The knock engine: one state machine for each (source, door), without input or output.
//!
//! Feed it packets with [`Engine::handle_packet`], wake it with [`Engine::handle_timeout`] when
//! [`Engine::poll_timeout`] says so, and after either take the events from
//! [`Engine::poll_event`] until it gives none. Calling any of them too often is harmless.

use core::net::IpAddr;

use crate::door::{Door, DoorId};
use crate::packet::Packet;
use crate::sequence::{Sequence, Step};
use crate::time::Timestamp;

/// How much an engine may hold.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Attempts alive at once, over all sources and doors (`max_attempts`).
    pub max_attempts: u32,
}

/// Something that happened. It carries numbers, never commands.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// At which door.
    pub door: DoorId,
    /// Who knocked.
    pub source: IpAddr,
    /// When, on the engine's clock: the packet's time, or the deadline that passed.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum EventKind {
    /// The step `stage` (from 1) was knocked. The last one is followed by [`EventKind::Opening`].
    Stage(u8),
    /// The source has completed the door.
    Opening,
    /// The sequence's time was over after `stage` steps.
    Timeout {
        /// Steps that had been knocked.
        stage: u8,
    },
    /// A wrong knock ended the attempt (if it was the door's first step, a new one has begun,
    /// and [`EventKind::Stage`] says so next).
    Broken {
        /// Steps that had been knocked.
        stage: u8,
        /// The port that did it.
        by: Step,
    },
}

/// What an engine has counted since it was made. All wrap never and saturate.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Packets handled.
    pub packets: u64,
    /// Packets that advanced or started an attempt.
    pub knocks: u64,
    /// Attempts ended by a wrong knock.
    pub broken: u64,
    /// Attempts ended by time.
    pub timeouts: u64,
    /// Openings.
    pub openings: u64,
    /// Attempts given up because the table was full.
    pub evictions: u64,
}

/// The knock engine; see the [module](self).
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// An engine for `doors`, whose ids are their indices. `seed` keys the hash of the attempt
    /// table and must be a secret random number, so that nobody can aim at a bucket.
    ///
    /// A door with [`crate::door::SequenceSource::OneTime`] stays shut until
    /// [`Engine::set_sequence`] is called for it, and is shut again by each of its openings.
    #[must_use]
    pub fn new(_doors: &[Door], _limits: Limits, _seed: [u64; 2]) -> Self {
        Self {}
    }

    /// Replaces the doors. Attempts at doors whose name and trigger did not change live on, also
    /// where the door's id is another.
    pub fn set_doors(&mut self, _doors: &[Door]) {}

    /// Gives a one-time door its current sequence, or shuts it (`None`). Attempts at it end.
    pub fn set_sequence(&mut self, _door: DoorId, _sequence: Option<Sequence>) {}

    /// Takes one packet. `local` says that its destination is an address of the interface it
    /// came in on, which is what doors without a target ask for. `now` never goes back; an
    /// earlier time counts as the latest one seen.
    pub fn handle_packet(&mut self, _packet: &Packet, _local: bool, _now: Timestamp) {}

    /// Ends attempts whose time is over at `now`; a bounded number a call, so ask
    /// [`Engine::poll_timeout`] again afterwards.
    pub fn handle_timeout(&mut self, _now: Timestamp) {}

    /// When [`Engine::handle_timeout`] has work next. May be early, never late.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }

    /// The next event, oldest first.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters::default()
    }

    /// Attempts alive now, including those that are cooling down.
    #[must_use]
    pub fn attempts(&self) -> usize {
        0
    }
}
