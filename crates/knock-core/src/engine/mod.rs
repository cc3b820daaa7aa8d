//! The knock engine: one state machine for each (source, door), without input or output.
//!
//! Feed it packets with [`Engine::handle_packet`], wake it with [`Engine::handle_timeout`] when
//! [`Engine::poll_timeout`] says so, and after either take the events from
//! [`Engine::poll_event`] until it gives none. Calling any of them too often is harmless.
//!
//! What a packet does to the attempt of its source at a door that hears it (flags and destination
//! match):
//!
//! * it is the next step: the attempt advances, and opens the door if that was the last;
//! * it is the step just taken, once more and with the same flags (a retransmission, a second
//!   click): nothing;
//! * it is another port that some door names and hears, or any other port if the door is strict:
//!   the attempt is broken, and starts again at once if the packet is the door's first step;
//! * it is a port that no door names: nothing.
//!
//! Where the source has no attempt, a door's first step starts one. What is bounded, and how, is
//! said in `attempts` and `lanes`: a packet costs the same whether ten or a million sources have
//! attempts, and a flood of first knocks never displaces an attempt that is past its first step.

mod attempts;
mod crowd;
mod deadlines;
mod hash;
mod index;
mod lanes;
mod ports;
mod rules;
mod slab;
mod source;
mod visit;

#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::IpAddr;

use attempts::{MAX_CAPACITY, Table};
use hash::Hash;
use ports::{Port, Ports};
use rules::{Place, Rule};
use source::Source;
use visit::{Visit, report_end};

use crate::door::{Door, DoorId};
use crate::packet::Packet;
use crate::sequence::{Sequence, Step};
use crate::time::Timestamp;

/// Has the processor fetch memory into its caches, and does not wait for it: a hint, which no safe
/// code can give by itself.
pub trait Prefetch {
    /// Has `place` fetched.
    fn prefetch<T>(&self, place: &T);
}

/// Has the system put memory into huge pages ("transparent huge pages"), which no safe code can ask
/// for by itself.
pub trait HugePages {
    /// Asks for as many as `memory` fills with all its capacity. What is in it stays. There may be none.
    #[expect(clippy::ptr_arg, reason = "a slice has no capacity")]
    fn back<T>(&self, memory: &Vec<T>);
}

/// Where a huge page can begin, and how large it is, on most machines.
const HUGE_PAGE: usize = 2 * 1024 * 1024;

/// Fetches nothing.
struct Nothing;

impl Prefetch for Nothing {
    fn prefetch<T>(&self, _: &T) {}
}

/// What an engine has found out about a packet before its turn.
#[derive(Copy, Clone, Debug)]
pub struct Prepared(Option<Known>);

#[derive(Copy, Clone, Debug)]
struct Known {
    port: Port,
    /// Of the ports.
    generation: u64,
    hash: Hash,
}

/// How much an engine may hold.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Attempts alive at once, over all sources and doors (`max_attempts`), those that are cooling
    /// down included. Counts as at least 1 and at most 2^26. 56 bytes each, taken as they are
    /// first needed.
    ///
    /// When all are in use, a new attempt displaces the oldest one at its first step, of the door
    /// that has the most of those; or the oldest cooling-down there; or, if there is neither at
    /// any door, the attempt with the least time left. So whoever wants to displace a knocker who
    /// is past the first step must fill the whole table with second steps.
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

/// How far a source is at a door.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Progress {
    /// Steps that it has knocked; 0 while it cools down after an opening.
    pub stage: u8,
    /// When the time for the whole sequence, or the cooling-down, is over.
    pub until: Timestamp,
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

/// How many attempts one call of [`Engine::handle_timeout`] ends.
const TIMEOUTS_A_CALL: usize = 256;

/// How many of them are prefetched at once.
const AT_ONCE: usize = 16;

/// The most doors that an engine knows, as [`DoorId`] numbers them; any further are not heard.
const MAX_DOORS: usize = 1 << 16;

/// The knock engine; see the [module](self).
#[derive(Debug)]
pub struct Engine {
    rules: Vec<Rule>,
    ports: Ports,
    /// Whether `ports` must be made anew.
    stale: bool,
    /// How often they were made anew.
    generation: u64,
    /// Whether a door is strict, so that no port can be passed over.
    any_strict: bool,
    table: Table,
    /// The latest time seen.
    clock: Timestamp,
    /// One-time doors that a packet has opened; empty between packets.
    spent: Vec<u16>,
    /// At most one `Timeout`, `Broken`, `Stage` and `Opening` a door and call.
    events: VecDeque<Event>,
    counters: Counters,
}

impl Engine {
    /// An engine for `doors`, whose ids are their indices. `seed` keys the hash of the attempt
    /// table and must be a secret random number, so that nobody can aim at a bucket.
    ///
    /// A door with [`crate::door::SequenceSource::OneTime`] stays shut until
    /// [`Engine::set_sequence`] is called for it, and is shut again by each of its openings. One
    /// with [`crate::door::SequenceSource::None`] is shut for good.
    #[must_use]
    pub fn new(doors: &[Door], limits: Limits, seed: [u64; 2]) -> Self {
        let rules: Vec<Rule> = doors.iter().take(MAX_DOORS).map(Rule::new).collect();
        Self {
            ports: Ports::new(&rules),
            stale: false,
            generation: 0,
            any_strict: rules.iter().any(Rule::is_strict),
            table: Table::new(rules.len(), limits.max_attempts, seed),
            rules,
            clock: Timestamp::ZERO,
            spent: Vec::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Replaces the doors. Attempts at doors whose name and trigger did not change live on, also
    /// where the door's id is another, and so does the current sequence of such a one-time door.
    /// Of several doors alike, the first remains the first.
    ///
    /// Events that were not polled yet keep the old ids, so poll them before.
    pub fn set_doors(&mut self, doors: &[Door]) {
        let successors = rules::successors(&self.rules, doors);
        let successor = |old: u16| successors.get(usize::from(old)).copied().flatten();
        let mut rules: Vec<Rule> = doors.iter().take(MAX_DOORS).map(Rule::new).collect();
        for (old, new) in self.rules.iter_mut().zip(&successors) {
            if let Some(rule) = new.and_then(|new| rules.get_mut(usize::from(new))) {
                rule.set_sequence(old.take_sequence());
            }
        }
        self.table = self.table.with_doors(rules.len(), successor);
        self.any_strict = rules.iter().any(Rule::is_strict);
        self.rules = rules;
        self.stale = true;
    }

    /// Changes how much the engine may hold. Attempts live on, as many as there is room for then.
    pub fn set_limits(&mut self, limits: Limits) {
        if limits.max_attempts.clamp(1, MAX_CAPACITY) != self.table.capacity() {
            self.table = self.table.with_capacity(limits.max_attempts);
        }
    }

    /// Goes on with what another engine has begun: `source` stands at `door` as `progress` says.
    /// It is ignored where the source has an attempt at that door already, and where there is no
    /// such door or no such stage. Call it in the order of the times, and before the first packet.
    pub fn restore(&mut self, door: DoorId, source: IpAddr, progress: Progress) {
        let Progress { stage, until } = progress;
        let rule = self.rules.get(usize::from(door.0));
        let Some(rule) = rule.filter(|rule| stage == 0 || !rule.is_complete(stage)) else {
            return;
        };
        let flags = rule.plain_flags(stage);
        self.table
            .restore(door.0, Source::from(source), stage, until, flags);
    }

    /// Gives a one-time door its current sequence, or shuts it (`None`). Attempts at it end, but
    /// whoever is cooling down there goes on doing so. Other doors are not changed.
    pub fn set_sequence(&mut self, door: DoorId, sequence: Option<Sequence>) {
        let rule = self.rules.get_mut(usize::from(door.0));
        if let Some(rule) = rule.filter(|rule| rule.is_one_time()) {
            rule.set_sequence(sequence);
            self.table.end_all_at(door.0);
            self.stale = true;
        }
    }

    /// Prefetches the memory that `packet` will need, before which `waiting` others come: each is at
    /// home at another place of a large table, and several cost the time of one. What it gives is
    /// for [`Engine::handle_prepared`] of this engine. Nothing changes.
    #[must_use]
    pub fn prepare(&self, packet: &Packet, waiting: usize, by: &impl Prefetch) -> Prepared {
        let port = self.ports.find(packet.step()).filter(|_| !self.stale);
        if port.is_some_and(Port::starts_any) {
            self.table.prepare_to_add(waiting, by);
        }
        Prepared(port.map(|port| Known {
            port,
            generation: self.generation,
            hash: self.table.prepare(Source::from(packet.source), by),
        }))
    }

    /// Asks for huge pages for the memory of a table with many attempts; once for each, so call it
    /// as often as you like. There each packet comes to another place: in pages of the usual size,
    /// to find out where that place is in the machine's memory can take longer than all the rest.
    pub fn use_huge_pages(&mut self, by: &impl HugePages) {
        self.table.use_huge_pages(by);
    }

    /// Takes one packet. `local` says that its destination is an address of the interface it
    /// came in on, which is what doors without a target ask for. `now` never goes back; an
    /// earlier time counts as the latest one seen.
    ///
    /// First come the time-outs of the packet's source that are due, then all that the packet
    /// does, each in the order of the doors.
    pub fn handle_packet(&mut self, packet: &Packet, local: bool, now: Timestamp) {
        self.queueing(|engine, tell| {
            engine.handle_prepared(packet, Prepared(None), local, now, tell);
        });
    }

    /// As [`Engine::handle_packet`], after [`Engine::prepare`], and each event is told as it happens,
    /// which costs less in a flood: [`Engine::poll_event`] has none of them.
    pub fn handle_prepared(
        &mut self,
        packet: &Packet,
        prepared: Prepared,
        local: bool,
        now: Timestamp,
        tell: impl FnMut(Event),
    ) {
        let place = if local {
            Place::Local
        } else {
            Place::Elsewhere
        };
        self.handle(packet, prepared, place, now, tell);
    }

    /// Takes a packet that [`Engine::handle_packet`] had before, seen once more on the interface
    /// that has its destination's address, as on a bridge after one of its ports. Doors with a
    /// target have counted it already; the others hear it now.
    pub fn handle_echo(&mut self, packet: &Packet, now: Timestamp) {
        self.queueing(|engine, tell| {
            engine.handle(packet, Prepared(None), Place::LocalAgain, now, tell);
        });
    }

    /// Keeps the events of what `handle` does for [`Engine::poll_event`].
    fn queueing(&mut self, handle: impl FnOnce(&mut Self, &mut dyn FnMut(Event))) {
        let mut events = core::mem::take(&mut self.events);
        handle(self, &mut |event| events.push_back(event));
        self.events = events;
    }

    fn handle(
        &mut self,
        packet: &Packet,
        prepared: Prepared,
        place: Place,
        now: Timestamp,
        tell: impl FnMut(Event),
    ) {
        self.counters.packets = self.counters.packets.saturating_add(1);
        self.clock = self.clock.max(now);
        if self.stale {
            self.ports = Ports::new(&self.rules);
            self.generation = self.generation.wrapping_add(1);
            self.stale = false;
        }
        let known = prepared.0;
        let port = match known {
            Some(known) if known.generation == self.generation => Some(known.port),
            _ => self.ports.find(packet.step()),
        };
        let named = port.and_then(|port| self.ports.named(port));
        if named.is_none() && !self.any_strict {
            return;
        }
        // It stays where it is made: to move what was just written in parts costs as much as a search.
        let mut visit = Visit {
            packet,
            source: Source::from(packet.source),
            hash: known.map(|known| known.hash),
            place,
            now: self.clock,
            named: named.unwrap_or_default(),
            rules: &self.rules,
            table: &mut self.table,
            tell,
            counters: &mut self.counters,
            knocked: false,
            spent: &mut self.spent,
        };
        visit.run();
        while let Some(door) = self.spent.pop() {
            self.set_sequence(DoorId(door), None);
        }
    }

    /// Ends attempts whose time is over at `now`, in the order of their deadlines; a bounded
    /// number a call, so ask [`Engine::poll_timeout`] again afterwards.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.queueing(|engine, tell| engine.handle_timeout_prefetched(now, &Nothing, tell));
    }

    /// As [`Engine::handle_timeout`], with a prefetch for what ends next, and each event is told as it
    /// happens.
    pub fn handle_timeout_prefetched(
        &mut self,
        now: Timestamp,
        by: &impl Prefetch,
        mut tell: impl FnMut(Event),
    ) {
        self.clock = self.clock.max(now);
        for n in 0..TIMEOUTS_A_CALL {
            if n.is_multiple_of(AT_ONCE) {
                self.table.prepare_to_end(AT_ONCE, by);
            }
            let Some(attempt) = self.table.end_due(self.clock) else {
                break;
            };
            report_end(&attempt, &mut tell, &mut self.counters);
        }
        self.table.give_back();
    }

    /// When [`Engine::handle_timeout`] has work next; `None` while there is no attempt. May be
    /// early, never late. Ask again after every other call.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.table.earliest()
    }

    /// The next event, oldest first. Ask until there is none before the next packet: what is not
    /// taken is kept.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Attempts alive now, including those that are cooling down.
    #[must_use]
    pub fn attempts(&self) -> usize {
        usize::try_from(self.table.live()).unwrap_or(usize::MAX)
    }
}
