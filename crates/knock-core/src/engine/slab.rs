//! The memory of attempts: 48 bytes each, taken in one piece that the system fills with pages only
//! as slots are used for the first time.

use alloc::vec::Vec;

use super::index::Place;
use super::source::Source;
use super::{HUGE_PAGE, HugePages};
use crate::flags::TcpFlags;
use crate::time::Timestamp;

/// The place of an attempt.
pub(super) type Slot = u32;

/// No place.
pub(super) const NONE: Slot = Slot::MAX;

/// The neighbours in a list.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Links {
    pub(super) before: Slot,
    pub(super) after: Slot,
}

impl Links {
    /// A list of one.
    pub(super) const ALONE: Self = Self {
        before: NONE,
        after: NONE,
    };
}

/// One source's progress through one door.
#[derive(Copy, Clone, Debug)]
pub(super) struct Attempt {
    pub(super) deadline: Timestamp,
    /// The source's words; see [`Attempt::source`].
    pub(super) high: u64,
    pub(super) low: u64,
    pub(super) heard: Heard,
    pub(super) door: u16,
    /// Steps knocked; 0 while it cools down.
    pub(super) stage: u8,
    /// Where the index has it, if it is the first of its source.
    pub(super) place: Place,
    /// In the door's list: by deadline.
    pub(super) in_lane: Links,
    /// In the source's list: by door.
    pub(super) in_chain: Links,
}

impl Attempt {
    pub(super) const fn source(&self) -> Source {
        let Self {
            high, low, heard, ..
        } = *self;
        let v6 = heard.v6();
        Source { high, low, v6 }
    }
}

const _: () = assert!(size_of::<Attempt>() == 48);

/// The family of a source, and the flags of the packet that was its last step: in one byte,
/// because there is no second one left.
#[derive(Copy, Clone, Debug)]
pub(super) struct Heard(u8);

impl Heard {
    const V6: u8 = 0x80;

    pub(super) const fn new(v6: bool, flags: TcpFlags) -> Self {
        Self(flags.bits() | if v6 { Self::V6 } else { 0 })
    }

    const fn v6(self) -> bool {
        self.0 & Self::V6 != 0
    }

    pub(super) const fn flags(self) -> TcpFlags {
        TcpFlags::from_bits(self.0)
    }
}

pub(super) struct Slab {
    slots: Vec<Attempt>,
    /// The first free slot before the end of `slots`; they are linked by `in_lane.after`.
    free: Slot,
    capacity: u32,
}

impl Slab {
    pub(super) fn new(capacity: u32) -> Self {
        let slots = usize::try_from(capacity).unwrap_or(usize::MAX);
        Self {
            slots: Vec::with_capacity(filling_huge_pages(slots)),
            free: NONE,
            capacity,
        }
    }

    /// Slots that were ever used, which is what of the memory is real.
    pub(super) fn touched(&self) -> usize {
        self.slots.len()
    }

    /// Asks for huge pages for all slots.
    pub(super) fn use_huge_pages(&self, by: &impl HugePages) {
        by.back(&self.slots);
    }

    pub(super) fn is_full(&self) -> bool {
        self.free == NONE && self.next_unused() >= self.capacity
    }

    /// Puts `attempt` somewhere. There must be room.
    pub(super) fn put(&mut self, attempt: Attempt) -> Slot {
        if self.free == NONE {
            let slot = self.next_unused();
            self.slots.push(attempt);
            slot
        } else {
            let slot = self.free;
            self.free = self.get(slot).in_lane.after;
            *self.get_mut(slot) = attempt;
            slot
        }
    }

    /// Frees `slot`.
    pub(super) fn free(&mut self, slot: Slot) {
        let free = self.free;
        self.get_mut(slot).in_lane.after = free;
        self.free = slot;
    }

    /// Frees all.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.free = NONE;
    }

    /// What is in a slot that may not exist.
    pub(super) fn peek(&self, slot: usize) -> Option<&Attempt> {
        self.slots.get(slot)
    }

    #[expect(
        clippy::indexing_slicing,
        clippy::as_conversions,
        reason = "a slot that is in a list or in the index is below the length: see tests::model"
    )]
    pub(super) fn get(&self, slot: Slot) -> &Attempt {
        &self.slots[slot as usize]
    }

    #[expect(
        clippy::indexing_slicing,
        clippy::as_conversions,
        reason = "as for get"
    )]
    pub(super) fn get_mut(&mut self, slot: Slot) -> &mut Attempt {
        &mut self.slots[slot as usize]
    }

    fn next_unused(&self) -> Slot {
        Slot::try_from(self.slots.len()).unwrap_or(NONE)
    }
}

/// How many slots to ask for where `slots` are needed. Where they are many, it is as much memory as
/// fills huge pages together with what an allocator notes before it: the system gives such a piece a
/// place where huge pages can begin (Linux 6.7). What is more than was needed is never touched.
fn filling_huge_pages(slots: usize) -> usize {
    /// At most so much is noted.
    const NOTE: usize = 64;
    let bytes = slots.saturating_mul(size_of::<Attempt>());
    if bytes < HUGE_PAGE {
        return slots;
    }
    let whole = (bytes + NOTE).next_multiple_of(HUGE_PAGE);
    (whole - NOTE) / size_of::<Attempt>()
}

#[cfg(test)]
impl Slab {
    pub(super) fn free_slots(&self) -> usize {
        let next = |slot: &Slot| Some(self.get(*slot).in_lane.after).filter(|s| *s != NONE);
        core::iter::successors(Some(self.free).filter(|s| *s != NONE), next).count()
    }
}
