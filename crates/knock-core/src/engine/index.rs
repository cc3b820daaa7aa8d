//! From a source to its first attempt: a hash table that costs one miss of the cache a packet.
//!
//! A source's home is one of many buckets, chosen by a keyed hash (SipHash-1-3). A bucket has
//! 15 tags of one byte, apart from the slots that they stand for, so that the tags of a million
//! sources take two megabytes; a search looks at a slot only where the tag is right. A bucket that
//! is full passes what comes to the next one and counts it, so a search goes on only past buckets
//! that have passed something, and a removal leaves no tombstone. Buckets are half full when the
//! table is, and 1 in 200 has passed anything.
//!
//! An attempt remembers its [`Place`], so a removal is one store, which nothing waits for. Within
//! a bucket nothing branches on what is in it: what a miss costs is then hidden behind the work
//! on the next packet, which a mispredicted branch would prevent.

use alloc::vec;
use alloc::vec::Vec;
use core::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::slab::Slot;
use super::source::Source;

/// Tags, 0 where a cell is empty, and in the last byte how often something has passed; at most
/// [`STUCK`], from where it never falls.
type Tags = [u8; WIDTH];

const WIDTH: usize = 16;
const STUCK: u8 = u8::MAX;

/// How many sources there are for a bucket when the table is full.
const LOAD: u32 = 8;

/// A one in each byte.
const ONES: u128 = u128::MAX / 0xff;

/// All but the high bit of each byte.
const LOW_BITS: u128 = ONES * 0x7f;

/// The tags, without the count.
const ALL_TAGS: u128 = u128::MAX >> 8;

/// Where in the index a source is: its bucket and its cell.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Place(u32);

impl Place {
    /// Of an attempt that is not the first of its source.
    pub(super) const NOWHERE: Self = Self(u32::MAX);

    /// Set if the bucket is not the source's home.
    const PASSED_ON: u32 = 1 << 31;

    fn cell(self) -> usize {
        to_usize(self.0 & !Self::PASSED_ON)
    }
}

/// The hash of a source.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Hash(u64);

pub(super) struct Index {
    /// Zeros, so that the memory of buckets that were never written is never touched (`calloc`).
    tags: Vec<Tags>,
    /// For each tag the slot, and above it some more of the hash.
    cells: Vec<u32>,
    buckets: u32,
    /// How many bits of a cell are the slot's.
    slot_bits: u32,
    hasher: SipHasher13,
}

impl Index {
    /// An index for slots below `capacity`, which is at most [`super::attempts::MAX_CAPACITY`].
    pub(super) fn new(capacity: u32, seed: [u64; 2]) -> Self {
        let [k0, k1] = seed;
        let buckets = capacity.div_ceil(LOAD).max(1);
        Self {
            tags: vec![[0; WIDTH]; to_usize(buckets)],
            cells: vec![0; to_usize(buckets) * WIDTH],
            buckets,
            slot_bits: u32::BITS - capacity.leading_zeros(),
            hasher: SipHasher13::new_with_keys(k0, k1),
        }
    }

    pub(super) fn hash(&self, source: Source) -> Hash {
        let mut hasher = self.hasher;
        if source.v6 {
            hasher.write_u64(source.high);
        }
        hasher.write_u64(source.low);
        Hash(hasher.finish())
    }

    /// The slot with `hash` for which `is_it` says so.
    pub(super) fn find(&self, hash: Hash, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        let above_slot = self.above_slot(hash);
        let mut at = self.home(hash);
        loop {
            let tags = self.tags.get(at)?;
            let mut same = which(tags, hash.tag());
            while same != 0 {
                let cell = *self.cells.get(at * WIDTH + lowest(same))?;
                let slot = cell ^ above_slot;
                if slot >> self.slot_bits == 0 && is_it(slot) {
                    return Some(slot);
                }
                same &= same - 1;
            }
            let [.., passed] = tags;
            if *passed == 0 {
                return None;
            }
            at = self.next(at);
        }
    }

    /// Adds `slot`, whose source must not be there yet.
    pub(super) fn insert(&mut self, hash: Hash, slot: Slot) -> Place {
        let cell = self.above_slot(hash) | slot;
        let mut at = self.home(hash);
        let mut passed_on = 0;
        while let Some(tags) = self.tags.get_mut(at) {
            let empty = lowest(which(tags, 0));
            if empty < WIDTH - 1 {
                let place = at * WIDTH + empty;
                if let Some(tag) = tags.get_mut(empty) {
                    *tag = hash.tag();
                }
                self.set(place, cell);
                return Place(u32::try_from(place).unwrap_or(0) | passed_on);
            }
            let [.., passed] = tags;
            *passed = passed.saturating_add(1);
            passed_on = Place::PASSED_ON;
            at = self.next(at);
        }
        Place::NOWHERE
    }

    /// Puts `slot` of the same source at `place`.
    pub(super) fn replace(&mut self, hash: Hash, place: Place, slot: Slot) {
        self.set(place.cell(), self.above_slot(hash) | slot);
    }

    /// Removes `source` from `place`.
    pub(super) fn remove(&mut self, source: Source, place: Place) {
        let bucket = place.cell() / WIDTH;
        let tags = self.tags.get_mut(bucket);
        if let Some(tag) = tags.and_then(|tags| tags.get_mut(place.cell() % WIDTH)) {
            *tag = 0;
        }
        if place.0 & Place::PASSED_ON == 0 {
            return;
        }
        let mut at = self.home(self.hash(source));
        while at != bucket {
            if let Some([.., passed]) = self.tags.get_mut(at).filter(|t| t.last() != Some(&STUCK)) {
                *passed = passed.saturating_sub(1);
            }
            at = self.next(at);
        }
    }

    fn set(&mut self, place: usize, cell: u32) {
        if let Some(place) = self.cells.get_mut(place) {
            *place = cell;
        }
    }

    /// What a cell has above its slot.
    const fn above_slot(&self, hash: Hash) -> u32 {
        let [_, a, b, c, ..] = hash.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, 0]) << self.slot_bits
    }

    fn home(&self, hash: Hash) -> usize {
        let scaled = (hash.0 >> u32::BITS) * u64::from(self.buckets);
        usize::try_from(scaled >> u32::BITS).unwrap_or(0)
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 < to_usize(self.buckets) {
            at + 1
        } else {
            0
        }
    }

    /// How many sources are in it.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        let used = |tags: &Tags| tags[..WIDTH - 1].iter().filter(|t| **t != 0).count();
        let count = self.tags.iter().map(used).sum();
        let passed = self
            .tags
            .iter()
            .any(|tags| !matches!(tags, [.., 0 | STUCK]));
        assert!(count > 0 || !passed, "an empty index has passed nothing");
        count
    }
}

impl Hash {
    /// What stands for it in a bucket; not 0.
    fn tag(self) -> u8 {
        let [tag, ..] = self.0.to_le_bytes();
        tag.max(1)
    }
}

/// The high bit of each tag that is `tag`.
fn which(tags: &Tags, tag: u8) -> u128 {
    let differing = u128::from_le_bytes(*tags) ^ (ONES * u128::from(tag));
    // A byte's high bit stays clear only in a byte that is zero; no byte carries into the next.
    let high_bits = ((differing & LOW_BITS) + LOW_BITS) | differing;
    !(high_bits | LOW_BITS) & ALL_TAGS
}

/// The number of the first tag in what [`which`] gives; 16 if there is none.
fn lowest(bits: u128) -> usize {
    to_usize(bits.trailing_zeros()) / 8
}

fn to_usize(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use core::net::IpAddr;
    use proptest::prelude::*;

    proptest! {
        /// Hashes in which only some bits vary, so that buckets overflow and tags collide.
        #[test]
        fn it_finds_what_was_put_in_and_nothing_else(
            capacity in 1..100_u32,
            operations in prop::collection::vec((0..120_u16, prop::bool::ANY), 0..300),
        ) {
            let mut index = Index::new(capacity, [1, 2]);
            let source = |n: u16| {
                let [high, low] = n.to_be_bytes();
                Source::from(IpAddr::from([10, 0, high, low]))
            };
            let mut places: BTreeMap<u16, (Slot, Place)> = BTreeMap::new();
            let mut free: Vec<Slot> = (0..capacity).collect();
            for (n, add) in operations {
                let hash = index.hash(source(n));
                if let Some((slot, place)) = places.remove(&n) {
                    index.remove(source(n), place);
                    free.push(slot);
                } else if let Some(slot) = free.pop().filter(|_| add) {
                    let place = index.insert(hash, slot);
                    places.insert(n, (slot, place));
                }
                for n in 0..120 {
                    let hash = index.hash(source(n));
                    let expected = places.get(&n).map(|(slot, _)| *slot);
                    let is_it = |slot| Some(slot) == expected;
                    prop_assert_eq!(index.find(hash, is_it), expected);
                }
                prop_assert_eq!(index.count(), places.len());
            }
        }
    }
}
