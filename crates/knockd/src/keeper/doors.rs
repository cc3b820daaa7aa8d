//! The keeper's own copy of the doors, by generation: a report that was on its way during a
//! reload means a door of the configuration before.

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

/// The doors of now and those of before.
#[derive(Debug)]
pub struct Generations {
    number: u32,
    now: Arc<[Door]>,
    before: Arc<[Door]>,
}

impl Generations {
    /// The first doors; their generation is 1.
    #[must_use]
    pub fn new(doors: Arc<[Door]>) -> Self {
        Self {
            number: 1,
            now: doors,
            before: Arc::new([]),
        }
    }

    /// Makes `doors` those of now.
    pub fn replace(&mut self, doors: Arc<[Door]>) {
        self.number = self.number.wrapping_add(1);
        self.before = std::mem::replace(&mut self.now, doors);
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

    /// The door that a report of `generation` means; `None` for one that there never was.
    #[must_use]
    pub fn find(&self, generation: u32, id: DoorId) -> Option<DoorRef> {
        match self.number.wrapping_sub(generation) {
            0 => DoorRef::new(&self.now, id),
            1 => DoorRef::new(&self.before, id),
            _ => None,
        }
    }
}
