//! The keeper's own copy of the doors: a report that was on its way during a reload means a door of
//! the configuration before, or of one further back if reloads follow each other more quickly than
//! the listener is told.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use knock_core::door::{Door, DoorId, SequenceSource};
use knock_core::sequence::Sequence;

use crate::listen::Misbehaviour;
use crate::wire::{Checksum, Report, ReportKind};

/// A door, and the set of doors that it is kept alive with.
#[derive(Clone, Debug)]
pub struct DoorRef {
    doors: Arc<[Door]>,
    id: usize,
}

impl DoorRef {
    /// The door `id` of `doors`, if there is one.
    #[must_use]
    pub fn new(doors: &Arc<[Door]>, id: DoorId) -> Option<Self> {
        let id = usize::from(id.0);
        doors.get(id)?;
        Some(Self {
            doors: Arc::clone(doors),
            id,
        })
    }

    /// The same, but what it opens stays open for `time`.
    #[must_use]
    pub fn lasting(&self, time: Duration) -> Option<Self> {
        let mut door = Door::clone(self);
        door.action.cmd_timeout = time;
        if let Some(native) = &mut door.action.native {
            native.open_for = time;
        }
        Self::new(&[door].into(), DoorId(0))
    }
}

impl Deref for DoorRef {
    type Target = Door;

    #[expect(clippy::indexing_slicing, reason = "checked in DoorRef::new")]
    fn deref(&self) -> &Door {
        &self.doors[self.id]
    }
}

/// So many sets of doors are remembered besides those of now.
const REMEMBERED: usize = 16;

/// A set of doors.
#[derive(Clone, Debug)]
struct Generation {
    checksum: Checksum,
    doors: Arc<[Door]>,
}

impl Generation {
    fn new(doors: Arc<[Door]>) -> Self {
        Self {
            checksum: Checksum::of(&doors),
            doors,
        }
    }
}

/// The doors of now and those of before.
#[derive(Debug)]
pub struct Generations {
    now: Generation,
    /// The latest first.
    before: VecDeque<Generation>,
}

impl Generations {
    /// The first doors.
    #[must_use]
    pub fn new(doors: Arc<[Door]>) -> Self {
        Self {
            now: Generation::new(doors),
            before: VecDeque::new(),
        }
    }

    /// Makes `doors` those of now.
    pub fn replace(&mut self, doors: Arc<[Door]>) {
        let old = std::mem::replace(&mut self.now, Generation::new(doors));
        // Where only commands are others, the listener knows no difference, and those of now run.
        if old.checksum != self.now.checksum {
            self.before.truncate(REMEMBERED - 1);
            self.before.push_front(old);
        }
    }

    /// The doors of now.
    #[must_use]
    pub const fn now(&self) -> &Arc<[Door]> {
        &self.now.doors
    }

    /// The door that `report` means. Reports come in order, so what was before its doors is
    /// forgotten.
    ///
    /// # Errors
    /// If there is no such door, or it has no such step, or no steps at all.
    pub fn check(&mut self, report: &Report) -> Result<DoorRef, Misbehaviour> {
        let door = self.find(report.doors, report.door);
        let door = door.ok_or(Misbehaviour::NoSuchDoor)?;
        let steps = match &door.trigger.source {
            SequenceSource::Fixed(sequence) => sequence.steps().len(),
            SequenceSource::OneTime(_) => Sequence::MAX,
            // No knock opens it, so the listener cannot say that one did.
            SequenceSource::None => return Err(Misbehaviour::NoSuchDoor),
        };
        let most = match report.kind {
            ReportKind::Stage(stage) => usize::from(stage),
            // It ends what was not complete yet.
            ReportKind::Timeout { stage } | ReportKind::Broken { stage, .. } => {
                usize::from(stage).saturating_add(1)
            }
            _ => 0,
        };
        if most > steps {
            return Err(Misbehaviour::NoSuchDoor);
        }
        Ok(door)
    }

    fn find(&mut self, checksum: Checksum, id: DoorId) -> Option<DoorRef> {
        if checksum == self.now.checksum {
            self.before.clear();
            return DoorRef::new(&self.now.doors, id);
        }
        let age = self
            .before
            .iter()
            .position(|generation| generation.checksum == checksum)?;
        self.before.truncate(age + 1);
        DoorRef::new(&self.before.get(age)?.doors, id)
    }
}
