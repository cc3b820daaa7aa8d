//! The keeper's own copy of the doors, by generation: a report that was on its way during a
//! reload means a door of the configuration before, or of one further back if reloads follow each
//! other more quickly than the listener is told.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;

use knock_core::door::{Door, DoorId};

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

/// The doors of now and those of before.
#[derive(Debug)]
pub struct Generations {
    number: u32,
    now: Arc<[Door]>,
    /// The latest first.
    before: VecDeque<Arc<[Door]>>,
}

impl Generations {
    /// The first doors; their generation is 1.
    #[must_use]
    pub fn new(doors: Arc<[Door]>) -> Self {
        Self {
            number: 1,
            now: doors,
            before: VecDeque::new(),
        }
    }

    /// Makes `doors` those of now; the generation stays if they are what they were.
    pub fn replace(&mut self, doors: Arc<[Door]>) {
        if doors == self.now {
            return;
        }
        self.number = self.number.wrapping_add(1);
        self.before.truncate(REMEMBERED - 1);
        let old = std::mem::replace(&mut self.now, doors);
        self.before.push_front(old);
    }

    /// Forgets what was before `generation`: reports come in order, and there is one of it.
    pub fn forget_before(&mut self, generation: u32) {
        let age = self.number.wrapping_sub(generation);
        self.before
            .truncate(usize::try_from(age).unwrap_or(REMEMBERED));
    }

    /// The generation of now.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// The doors of now.
    #[must_use]
    pub const fn now(&self) -> &Arc<[Door]> {
        &self.now
    }

    /// The door that a report of `generation` means; `None` for one that there never was, and for
    /// one that is forgotten.
    #[must_use]
    pub fn find(&self, generation: u32, id: DoorId) -> Option<DoorRef> {
        let doors = match self.number.wrapping_sub(generation) {
            0 => &self.now,
            age => self
                .before
                .get(usize::try_from(age).ok()?.checked_sub(1)?)?,
        };
        DoorRef::new(doors, id)
    }
}
