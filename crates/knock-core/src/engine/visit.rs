//! What one packet does: it visits its source's attempts and the doors that it could start at.

use alloc::vec::Vec;

use super::attempts::Table;
use super::hash::Hash;
use super::ports::Named;
use super::rules::{Meaning, Place, Rule};
use super::slab::Attempt;
use super::source::Source;
use super::{Counters, Event, EventKind};
use crate::door::DoorId;
use crate::packet::Packet;
use crate::time::Timestamp;

/// A packet, and what it acts on.
pub(super) struct Visit<'a, F> {
    pub(super) packet: &'a Packet,
    pub(super) source: Source,
    /// Of the source, if it was prepared.
    pub(super) hash: Option<Hash>,
    pub(super) place: Place,
    pub(super) now: Timestamp,
    /// The doors that name the packet's port.
    pub(super) named: Named<'a>,
    pub(super) rules: &'a [Rule],
    pub(super) table: &'a mut Table,
    /// Is told what happens.
    pub(super) tell: F,
    pub(super) counters: &'a mut Counters,
    /// Whether the packet was a step of some door.
    pub(super) knocked: bool,
    /// One-time doors that have opened. They shut only when the visit is over, so that the order
    /// of doors does not decide what the packet means to the others.
    pub(super) spent: &'a mut Vec<u16>,
}

impl<F: FnMut(Event)> Visit<'_, F> {
    /// Does it all, in ascending order of doors.
    pub(super) fn run(&mut self) {
        self.table.seek(self.source, self.hash);
        if self.table.here().is_none() {
            for door in self.named.starting {
                self.arrive(*door);
            }
        } else {
            self.end_overdue();
            self.meet_all();
        }
        self.counters.knocks = self.counters.knocks.saturating_add(self.knocked.into());
    }

    /// The packet of a source that has attempts.
    fn meet_all(&mut self) {
        let mut visible = None;
        let mut starting = self.named.starting;
        loop {
            let here = self.table.here().copied();
            let start = starting.first().copied();
            match (here, start) {
                (None, None) => break,
                (Some(attempt), start) if start.is_none_or(|door| attempt.door <= door) => {
                    if start == Some(attempt.door) {
                        starting = starting.get(1..).unwrap_or_default();
                    }
                    self.meet(&attempt, &mut visible);
                }
                (_, Some(door)) => {
                    starting = starting.get(1..).unwrap_or_default();
                    self.arrive(door);
                }
                (Some(_), None) => self.table.pass(),
            }
        }
    }

    /// Ends what is over before this packet, whether or not the packet means anything to it.
    fn end_overdue(&mut self) {
        while let Some(attempt) = self.table.here().copied() {
            if attempt.deadline <= self.now {
                self.table.end_here();
                report_end(&attempt, &mut self.tell, self.counters);
            } else {
                self.table.pass();
            }
        }
        self.table.rewind();
    }

    /// The packet at a door where its source has an attempt.
    fn meet(&mut self, attempt: &Attempt, visible: &mut Option<bool>) {
        let Attempt { door, stage, .. } = *attempt;
        let rule = self.rule(door).filter(|rule| stage > 0 && self.hears(rule));
        let Some(rule) = rule else {
            self.table.pass();
            return;
        };
        let step = self.packet.step();
        match rule.meaning(stage, step) {
            Meaning::Next => self.advance(door, rule, stage.saturating_add(1)),
            // A retransmission or a second click is the same packet once more. What else comes to
            // the port, such as the rest of a handshake, is another knock (row 81).
            Meaning::Repeat if attempt.heard.flags() == self.packet.flags => self.table.pass(),
            Meaning::Repeat | Meaning::Other
                if rule.is_strict() || *visible.get_or_insert_with(|| self.is_named()) =>
            {
                self.table.end_here();
                self.counters.broken = self.counters.broken.saturating_add(1);
                self.report(door, EventKind::Broken { stage, by: step });
                if rule.steps().first() == Some(&step) {
                    self.start(door, rule);
                }
            }
            Meaning::Repeat | Meaning::Other => self.table.pass(),
        }
    }

    /// The packet at a door whose first step it is, and where its source has no attempt.
    fn arrive(&mut self, door: u16) {
        if let Some(rule) = self.rule(door).filter(|rule| self.hears(rule)) {
            self.start(door, rule);
        }
    }

    fn start(&mut self, door: u16, rule: &Rule) {
        self.knocked = true;
        self.report(door, EventKind::Stage(1));
        if rule.is_complete(1) {
            self.open(door, rule);
        } else {
            self.add(door, 1, self.now.saturating_add(rule.seq_timeout()));
        }
    }

    fn advance(&mut self, door: u16, rule: &Rule, stage: u8) {
        self.knocked = true;
        self.report(door, EventKind::Stage(stage));
        if rule.is_complete(stage) {
            self.table.end_here();
            self.open(door, rule);
        } else {
            self.table.advance_here(self.packet.flags);
        }
    }

    fn open(&mut self, door: u16, rule: &Rule) {
        self.counters.openings = self.counters.openings.saturating_add(1);
        self.report(door, EventKind::Opening);
        if !rule.cooldown().is_zero() {
            self.add(door, 0, self.now.saturating_add(rule.cooldown()));
        }
        if rule.is_one_time() {
            self.spent.push(door);
        }
    }

    fn add(&mut self, door: u16, stage: u8, deadline: Timestamp) {
        let evicted = self
            .table
            .add_here(door, stage, deadline, self.packet.flags);
        self.counters.evictions = self.counters.evictions.saturating_add(evicted.into());
    }

    /// Whether a door that hears the packet names its port, so that it can break attempts.
    fn is_named(&self) -> bool {
        let mut doors = self.named.naming.iter();
        doors.any(|door| self.rule(*door).is_some_and(|rule| self.hears(rule)))
    }

    fn hears(&self, rule: &Rule) -> bool {
        rule.hears(self.packet, self.place)
    }
}

impl<'a, F: FnMut(Event)> Visit<'a, F> {
    fn rule(&self, door: u16) -> Option<&'a Rule> {
        self.rules.get(usize::from(door))
    }

    fn report(&mut self, door: u16, kind: EventKind) {
        (self.tell)(Event {
            door: DoorId(door),
            source: self.source.into(),
            at: self.now,
            kind,
        });
    }
}

/// Says that the time of `attempt` was over at its deadline. A cooling-down ends silently.
pub(super) fn report_end(attempt: &Attempt, tell: &mut impl FnMut(Event), counters: &mut Counters) {
    if attempt.stage == 0 {
        return;
    }
    counters.timeouts = counters.timeouts.saturating_add(1);
    tell(Event {
        door: DoorId(attempt.door),
        source: attempt.source().into(),
        at: attempt.deadline,
        kind: EventKind::Timeout {
            stage: attempt.stage,
        },
    });
}
