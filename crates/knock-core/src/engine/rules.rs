//! Doors as the engine sees them: what they hear, and which step is next.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::door::{self, Door, SequenceSource, Trigger};
use crate::flags::TcpFlags;
use crate::packet::Packet;
use crate::sequence::{Protocol, Sequence, Step};

/// One door.
#[derive(Debug)]
pub(super) struct Rule {
    name: String,
    trigger: Trigger,
    /// The current line of a one-time door; `None` while it is shut.
    one_time: Option<Sequence>,
}

/// Where a packet goes.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// To an address of the interface that it came in on.
    Local,
    /// To another one.
    Elsewhere,
    /// As [`Place::Local`], after it was [`Place::Elsewhere`] on another interface.
    LocalAgain,
}

/// What a packet means to an attempt.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Meaning {
    /// It is the next step.
    Next,
    /// It is to the port of the step just taken.
    Repeat,
    /// It is another port.
    Other,
}

impl Rule {
    pub(super) fn new(door: &Door) -> Self {
        Self {
            name: door.name.clone(),
            trigger: door.trigger.clone(),
            one_time: None,
        }
    }

    /// The steps; empty while the door is shut.
    pub(super) fn steps(&self) -> &[Step] {
        match &self.trigger.source {
            SequenceSource::Fixed(sequence) => sequence.steps(),
            SequenceSource::OneTime(_) => self.one_time.as_ref().map_or(&[], Sequence::steps),
            SequenceSource::None => &[],
        }
    }

    pub(super) const fn is_one_time(&self) -> bool {
        matches!(self.trigger.source, SequenceSource::OneTime(_))
    }

    pub(super) fn set_sequence(&mut self, sequence: Option<Sequence>) {
        self.one_time = sequence;
    }

    /// The current line of a one-time door, which then is shut.
    pub(super) const fn take_sequence(&mut self) -> Option<Sequence> {
        self.one_time.take()
    }

    /// Whether the door is not shut, `packet` has the flags that it asks for, and goes to where
    /// it listens.
    pub(super) fn hears(&self, packet: &Packet, place: Place) -> bool {
        let flags = match packet.protocol {
            Protocol::Udp => true,
            Protocol::Tcp => self.trigger.flags.matches(packet.flags),
        };
        let listens = match place {
            Place::Local => self.trigger.listens_at(packet.destination, true),
            Place::Elsewhere => self.trigger.listens_at(packet.destination, false),
            Place::LocalAgain => self.trigger.targets.is_empty(),
        };
        flags && listens && !self.steps().is_empty()
    }

    /// What `step` means after `stage` steps (at least one).
    pub(super) fn meaning(&self, stage: u8, step: Step) -> Meaning {
        let steps = self.steps();
        let stage = usize::from(stage);
        if steps.get(stage) == Some(&step) {
            Meaning::Next
        } else if steps.get(stage.wrapping_sub(1)) == Some(&step) {
            Meaning::Repeat
        } else {
            Meaning::Other
        }
    }

    /// The flags that a plain packet to the step `stage` (from 1) has.
    pub(super) fn plain_flags(&self, stage: u8) -> TcpFlags {
        let step = usize::from(stage).checked_sub(1);
        match step.and_then(|step| self.steps().get(step)) {
            Some(step) if step.protocol == Protocol::Tcp => TcpFlags::SYN,
            _ => TcpFlags::NONE,
        }
    }

    /// Whether `stage` steps are all.
    pub(super) fn is_complete(&self, stage: u8) -> bool {
        usize::from(stage) >= self.steps().len()
    }

    pub(super) const fn is_strict(&self) -> bool {
        self.trigger.strict && !matches!(self.trigger.source, SequenceSource::None)
    }

    pub(super) const fn seq_timeout(&self) -> Duration {
        self.trigger.seq_timeout
    }

    pub(super) const fn cooldown(&self) -> Duration {
        self.trigger.cooldown
    }
}

/// Where each of `old` is in `doors`; see [`door::successors`].
pub(super) fn successors(old: &[Rule], doors: &[Door]) -> Vec<Option<u16>> {
    door::successors(
        old.iter().map(|rule| (rule.name.as_str(), &rule.trigger)),
        doors,
    )
}
