//! The table of attempts: bounded, and at constant cost a packet however full it is.
//!
//! An attempt is in three structures at once: in the list of its source, ascending by door, whose
//! first one the [`Index`] finds; in a list of its door by deadline ([`Lanes`]); and in a slot of
//! the [`Slab`]. A [`Walk`] goes through one source's list while attempts come and go, also those
//! it stands on.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr};

use super::hash::Hash;
use super::index::{Index, Place};
use super::lanes::{Lanes, list_of};
use super::slab::{Attempt, Heard, Links, NONE, Slab, Slot};
use super::source::Source;
use super::{HugePages, Prefetch};
use crate::flags::TcpFlags;
use crate::time::Timestamp;

/// The most attempts that a table can be asked to hold; 4 GB, were they all in use.
pub(super) const MAX_CAPACITY: u32 = 1 << 26;

/// With this many slots used once, memory is asked for in huge pages, and …
const LARGE: usize = 16_384;

/// … with no more than this many attempts alive, memory is given back.
const FEW: u32 = 1_024;

/// How many slots before one is looked at it is prefetched.
const AHEAD: usize = 32;

pub(super) struct Table {
    slab: Slab,
    index: Index,
    lanes: Lanes,
    walk: Walk,
    /// The slot that was replaced last; [`NONE`] at the beginning.
    replaced: Slot,
    /// Whether huge pages were asked for.
    huge: bool,
    live: u32,
    capacity: u32,
    seed: [u64; 2],
}

/// A place in the list of one source: between two of its attempts.
#[derive(Copy, Clone, Debug)]
struct Walk {
    source: Source,
    hash: Hash,
    /// Where the index has room for the source, if it had no attempt and that is known.
    vacancy: Option<Place>,
    /// Between which attempts; the walk stands on the latter.
    between: Links,
}

impl Table {
    /// A table for at most `capacity` attempts (1 to [`MAX_CAPACITY`]) at doors below `doors`.
    pub(super) fn new(doors: usize, capacity: u32, seed: [u64; 2]) -> Self {
        let capacity = capacity.clamp(1, MAX_CAPACITY);
        let index = Index::new(capacity, seed);
        let source = Source::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Self {
            slab: Slab::new(capacity),
            lanes: Lanes::new(doors),
            walk: Walk {
                source,
                hash: index.hash(source),
                vacancy: None,
                between: Links::ALONE,
            },
            index,
            replaced: NONE,
            huge: false,
            live: 0,
            capacity,
            seed,
        }
    }

    pub(super) const fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(super) const fn live(&self) -> u32 {
        self.live
    }

    /// A time that is not later than any deadline; `None` if there is no attempt.
    pub(super) fn earliest(&self) -> Option<Timestamp> {
        self.lanes.earliest()
    }

    /// Prefetches where `source` is or would be.
    pub(super) fn prepare(&self, source: Source, by: &impl Prefetch) -> Hash {
        let hash = self.index.hash(source);
        if let Some(home) = self.index.home_of(hash) {
            by.prefetch(home);
        }
        hash
    }

    /// Prefetches where the attempt is that goes for the one that is added after `waiting` others,
    /// if it is as in a flood: slots go in the order in which they were taken.
    pub(super) fn prepare_to_add(&self, waiting: usize, by: &impl Prefetch) {
        let replaced = usize::try_from(self.replaced).unwrap_or(usize::MAX);
        self.prefetch(replaced.saturating_add(waiting).saturating_add(1), by);
    }

    /// Prefetches where the index has the attempt in `slot`, if there is one, and a later slot.
    fn prefetch(&self, slot: usize, by: &impl Prefetch) -> Option<&Attempt> {
        let attempt = self.slab.peek(slot)?;
        if let Some(word) = self.index.word_at(attempt.place) {
            by.prefetch(word);
        }
        if let Some(later) = self.slab.peek(slot.saturating_add(AHEAD)) {
            by.prefetch(later);
        }
        Some(attempt)
    }

    /// Prefetches where the first `count` attempts are that end by time.
    pub(super) fn prepare_to_end(&mut self, count: usize, by: &impl Prefetch) {
        let soonest = self.lanes.soonest(&self.slab);
        let mut next = soonest.and_then(|(_, list)| self.lanes.first(list));
        for _ in 0..count {
            let slot = next.and_then(|slot| usize::try_from(slot).ok());
            let Some(attempt) = slot.and_then(|slot| self.prefetch(slot, by)) else {
                break;
            };
            next = Some(attempt.in_lane.after);
        }
    }

    /// Asks for huge pages when there are so many attempts that they are worth it, once.
    pub(super) fn use_huge_pages(&mut self, by: &impl HugePages) {
        if !self.huge && self.slab.touched() >= LARGE {
            self.huge = true;
            self.index.use_huge_pages(by);
            self.slab.use_huge_pages(by);
        }
    }

    /// Goes to the first attempt of `source`, whose hash may be known already.
    pub(super) fn seek(&mut self, source: Source, hash: Option<Hash>) {
        let hash = hash.unwrap_or_else(|| self.index.hash(source));
        let slab = &self.slab;
        let found = self.index.find(hash, |s| slab.get(s).source() == source);
        self.walk = Walk {
            source,
            hash,
            vacancy: found.err().flatten(),
            between: Links {
                before: NONE,
                after: found.unwrap_or(NONE),
            },
        };
    }

    /// Goes back to the first attempt of the same source.
    pub(super) fn rewind(&mut self) {
        while self.walk.between.before != NONE {
            let before = self.walk.between.before;
            self.walk.between = Links {
                before: self.slab.get(before).in_chain.before,
                after: before,
            };
        }
    }

    /// The attempt that the walk stands on; `None` after the last.
    pub(super) fn here(&self) -> Option<&Attempt> {
        let slot = self.walk.between.after;
        (slot != NONE).then(|| self.slab.get(slot))
    }

    /// Goes on to the next.
    pub(super) fn pass(&mut self) {
        let before = self.walk.between.after;
        if before != NONE {
            self.walk.between = Links {
                before,
                after: self.slab.get(before).in_chain.after,
            };
        }
    }

    /// One more step for the attempt here, and goes on.
    /// `flags` are those of the packet.
    pub(super) fn advance_here(&mut self, flags: TcpFlags) {
        let slot = self.walk.between.after;
        if slot != NONE {
            let v6 = self.walk.source.v6;
            self.slab.get_mut(slot).heard = Heard::new(v6, flags);
            self.lanes.advance(&mut self.slab, slot);
            self.pass();
        }
    }

    /// Ends the attempt here, and stands on the next.
    pub(super) fn end_here(&mut self) {
        let slot = self.walk.between.after;
        if slot != NONE {
            self.end(slot);
        }
    }

    /// Adds an attempt of this source before the one here; its door must be between the
    /// neighbours', and `flags` are those of the packet. Whether another one had to go for it.
    pub(super) fn add_here(
        &mut self,
        door: u16,
        stage: u8,
        deadline: Timestamp,
        flags: TcpFlags,
    ) -> bool {
        let evicts = self.slab.is_full();
        if evicts && let Some(slot) = self.lanes.least_worth(&self.slab) {
            let old = self.slab.get(slot);
            let alone = old.in_chain == Links::ALONE && self.walk.between == Links::ALONE;
            if alone && (old.door, old.stage) == (door, stage) && stage == 1 {
                self.replace(slot, deadline, flags);
                return true;
            }
            self.end(slot);
        }
        let Walk {
            source,
            hash,
            vacancy,
            between,
        } = self.walk;
        let slot = self.slab.put(Attempt {
            deadline,
            high: source.high,
            low: source.low,
            heard: Heard::new(source.v6, flags),
            door,
            stage,
            place: Place::NOWHERE,
            in_lane: Links::ALONE,
            in_chain: between,
        });
        self.live += 1;
        self.lanes.join(&mut self.slab, slot);
        if between.after != NONE {
            self.slab.get_mut(between.after).in_chain.before = slot;
        }
        if between.before != NONE {
            self.slab.get_mut(between.before).in_chain.after = slot;
        } else if between.after != NONE {
            let place = self.slab.get(between.after).place;
            self.index.replace(hash, place, slot);
            self.slab.get_mut(slot).place = place;
        } else {
            self.slab.get_mut(slot).place = self.index.insert(hash, vacancy, slot);
        }
        self.walk.vacancy = None;
        self.walk.between.before = slot;
        evicts
    }

    /// The only attempt of its source, at a first step, becomes that of the walk's source, which has
    /// none, at the same door. In a flood, this is what happens to each packet.
    fn replace(&mut self, slot: Slot, deadline: Timestamp, flags: TcpFlags) {
        let Walk {
            source,
            hash,
            vacancy,
            ..
        } = self.walk;
        let attempt = self.slab.get_mut(slot);
        self.index.remove(attempt.source(), attempt.place);
        attempt.place = self.index.insert(hash, vacancy, slot);
        attempt.high = source.high;
        attempt.low = source.low;
        attempt.heard = Heard::new(source.v6, flags);
        attempt.deadline = deadline;
        self.lanes.requeue(&mut self.slab, slot);
        self.replaced = slot;
        self.walk.vacancy = None;
        self.walk.between.before = slot;
    }

    /// Ends the attempt or cooling-down with the first deadline, if that is not after `now`.
    pub(super) fn end_due(&mut self, now: Timestamp) -> Option<Attempt> {
        let (deadline, list) = self.lanes.soonest(&self.slab)?;
        let slot = self.lanes.first(list).filter(|_| deadline <= now)?;
        Some(self.end(slot))
    }

    /// Ends all attempts at `door`. Who cools down there goes on doing so.
    pub(super) fn end_all_at(&mut self, door: u16) {
        while let Some(slot) = self.lanes.first(list_of(door, 1)) {
            self.end(slot);
        }
    }

    /// Gives memory back if much was needed and is no longer.
    pub(super) fn give_back(&mut self) {
        if self.slab.touched() >= LARGE && self.live <= FEW {
            *self = self.with_doors(usize::from(self.lanes.doors()), Some);
        }
    }

    /// Adds an attempt of `source` at `door`, unless it has one there. Deadlines in a list never
    /// fall, so this one is not before those that are there already.
    pub(super) fn restore(
        &mut self,
        door: u16,
        source: Source,
        stage: u8,
        deadline: Timestamp,
        flags: TcpFlags,
    ) {
        self.seek(source, None);
        while self.here().is_some_and(|here| here.door < door) {
            self.pass();
        }
        if self.here().is_none_or(|here| here.door != door) {
            let latest = self.lanes.latest(&self.slab, door, stage);
            self.add_here(door, stage, deadline.max(latest), flags);
        }
    }

    /// The same attempts in a table of another capacity.
    pub(super) fn with_capacity(&self, capacity: u32) -> Self {
        self.copied(usize::from(self.lanes.doors()), capacity, Some)
    }

    /// The same attempts with other numbers for their doors; those at doors without one are
    /// gone.
    pub(super) fn with_doors(&self, doors: usize, number: impl Fn(u16) -> Option<u16>) -> Self {
        self.copied(doors, self.capacity, number)
    }

    fn copied(&self, doors: usize, capacity: u32, number: impl Fn(u16) -> Option<u16>) -> Self {
        let mut table = Self::new(doors, capacity, self.seed);
        for old_door in 0..self.lanes.doors() {
            let Some(door) = number(old_door) else {
                continue;
            };
            for stage in [1, 0] {
                let first = self.lanes.first(list_of(old_door, stage));
                let mut slot = first.unwrap_or(NONE);
                while slot != NONE {
                    let attempt = self.slab.get(slot);
                    let Attempt {
                        stage, deadline, ..
                    } = *attempt;
                    let flags = attempt.heard.flags();
                    table.restore(door, attempt.source(), stage, deadline, flags);
                    slot = attempt.in_lane.after;
                }
            }
        }
        table
    }

    fn end(&mut self, slot: Slot) -> Attempt {
        let attempt = *self.slab.get(slot);
        self.lanes.leave(&mut self.slab, slot);
        let Links { before, after } = attempt.in_chain;
        if after != NONE {
            self.slab.get_mut(after).in_chain.before = before;
        }
        if before != NONE {
            self.slab.get_mut(before).in_chain.after = after;
        } else if after != NONE {
            let hash = self.index.hash(attempt.source());
            self.index.replace(hash, attempt.place, after);
            self.slab.get_mut(after).place = attempt.place;
        } else {
            self.index.remove(attempt.source(), attempt.place);
        }
        if self.walk.between.after == slot {
            self.walk.between.after = after;
        }
        if self.walk.between.before == slot {
            self.walk.between.before = before;
        }
        self.slab.free(slot);
        self.live -= 1;
        if self.live == 0 {
            self.slab.clear();
            self.lanes.clear();
        }
        attempt
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("live", &self.live)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Table {
    /// Slots that were ever used.
    pub(super) fn touched(&self) -> usize {
        self.slab.touched()
    }

    /// Asserts that every attempt is in all structures, once, and nothing else is.
    pub(super) fn check(&self) {
        let listed = self.lanes.check(&self.slab);
        assert_eq!(listed.len(), usize::try_from(self.live).unwrap());
        assert!(self.live <= self.capacity);
        assert_eq!(listed.len() + self.slab.free_slots(), self.slab.touched());
        let mut heads = 0;
        for slot in listed {
            let attempt = self.slab.get(slot);
            let is_its = |s: Slot| self.slab.get(s).source() == attempt.source();
            let head = self
                .index
                .find(self.index.hash(attempt.source()), is_its)
                .unwrap_or_else(|_| panic!("{slot} is not in the index"));
            heads += usize::from(head == slot);
            let (mut before, mut at, mut found) = (NONE, head, false);
            while at != NONE {
                let here = self.slab.get(at);
                assert_eq!(
                    (here.source(), here.in_chain.before),
                    (attempt.source(), before)
                );
                assert!(before == NONE || self.slab.get(before).door < here.door);
                found |= at == slot;
                (before, at) = (at, here.in_chain.after);
            }
            assert!(found, "the attempt is in the list of its source");
        }
        assert_eq!(self.index.count(), heads);
    }
}
