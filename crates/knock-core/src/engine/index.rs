//! From a source to its first attempt: a hash table that costs one cache line a packet.
//!
//! A source's home is one of many buckets, of one cache line each, chosen by a keyed `Hash`. A
//! bucket that is full passes what comes to the next one and counts it, so a search goes on only past
//! buckets that have passed something, and a removal leaves no tombstone. Buckets are half full when
//! the table is, and 1 in 200 has passed anything.
//!
//! An attempt remembers its [`Place`], so a removal is one store, which nothing waits for. Within
//! a bucket nothing branches on what is in it: what a miss costs is then hidden behind the work
//! on the next packet, which a mispredicted branch would prevent.

use alloc::vec;
use alloc::vec::Vec;

use wide::u32x4;

use super::hash::{Hash, Hasher};
use super::slab::Slot;
use super::source::Source;
use super::{HUGE_PAGE, HugePages};

/// 15 cells, and how often something has passed. A cell is 0 if it is empty, or else `slot + 1`
/// and above it some of the hash.
type Bucket = [u32; WIDTH];

const WIDTH: usize = 16;

/// How many words are looked at at once: what every x86-64 and ARM64 processor can do.
const LANES: usize = 4;

/// The number of the word that counts what has passed.
const PASSED: usize = WIDTH - 1;

/// A bit for each cell.
const CELLS: u32 = (1 << PASSED) - 1;

/// How many sources there are for a bucket when the table is full.
const LOAD: u32 = 8;

/// From so many bytes on, buckets may fill huge pages.
const LARGE: usize = HUGE_PAGE / 4;

/// Where in the index a source is: the number of its word.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Place(u32);

impl Place {
    /// Of an attempt that is not the first of its source.
    pub(super) const NOWHERE: Self = Self(u32::MAX);

    /// Set if the bucket is not the source's home.
    const PASSED_ON: u32 = 1 << 31;

    fn word(self) -> usize {
        to_usize(self.0 & !Self::PASSED_ON)
    }
}

pub(super) struct Index {
    /// The buckets, after some words so that each is in one cache line, and where there are many, the
    /// first one where a huge page can begin; behind them, what then fills the last such page. Zeros,
    /// so that the memory of buckets that were never written is never touched (`calloc`).
    words: Vec<u32>,
    /// The number of the first word of the first bucket, and of the one behind the last bucket.
    margin: usize,
    end: usize,
    buckets: u32,
    /// How many bits of a cell are the slot's, and a one for each.
    slot_bits: u32,
    of_slot: u32,
    hasher: Hasher,
}

impl Index {
    /// An index for slots below `capacity`, which is at most [`super::attempts::MAX_CAPACITY`].
    pub(super) fn new(capacity: u32, seed: [u64; 2]) -> Self {
        let buckets = capacity.div_ceil(LOAD).max(1);
        let bytes = to_usize(buckets) * size_of::<Bucket>();
        let alignment = if bytes < LARGE {
            size_of::<Bucket>()
        } else {
            HUGE_PAGE
        };
        let bytes = bytes.next_multiple_of(alignment) + alignment;
        let words = vec![0_u32; bytes / size_of::<u32>()];
        let margin = words.as_ptr().align_offset(alignment);
        let margin = margin.min(alignment / size_of::<u32>());
        let slot_bits = u32::BITS - capacity.leading_zeros();
        Self {
            margin,
            end: margin + to_usize(buckets) * WIDTH,
            words,
            buckets,
            slot_bits,
            of_slot: (1 << slot_bits) - 1,
            hasher: Hasher::new(seed),
        }
    }

    pub(super) fn hash(&self, source: Source) -> Hash {
        self.hasher.hash(source)
    }

    /// Asks for huge pages for all buckets.
    pub(super) fn use_huge_pages(&self, by: &impl HugePages) {
        by.back(&self.words);
    }

    /// The slot with `hash` for which `is_it` says so; or, if there is none, where there is room for
    /// it, if that is in its home.
    pub(super) fn find(
        &self,
        hash: Hash,
        is_it: impl Fn(Slot) -> bool,
    ) -> Result<Slot, Option<Place>> {
        let home = self.home(hash);
        let bucket = self.bucket(home).ok_or(None)?;
        let marks = self.marks(bucket, hash);
        let vacancy = marks.vacancy(home);
        let [.., passed] = bucket;
        if marks.same == 0 && *passed == 0 {
            // A stranger, mostly.
            return Err(vacancy);
        }
        self.search(hash, is_it).ok_or(vacancy)
    }

    /// As [`Index::find`], in all buckets where the source may be.
    fn search(&self, hash: Hash, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        let mut at = self.home(hash);
        loop {
            let bucket = self.bucket(at)?;
            let Marks { mut same, .. } = self.marks(bucket, hash);
            while same != 0 {
                let cell = bucket.get(to_usize(same.trailing_zeros()));
                // An empty cell is like one of the hash 0.
                let slot = cell.and_then(|cell| (cell & self.of_slot).checked_sub(1));
                if let Some(slot) = slot.filter(|slot| is_it(*slot)) {
                    return Some(slot);
                }
                same &= same - 1;
            }
            let [.., passed] = bucket;
            if *passed == 0 {
                return None;
            }
            at = self.next(at);
        }
    }

    /// Which cells of `bucket` are empty, and which are of this hash.
    fn marks(&self, bucket: &Bucket, hash: Hash) -> Marks {
        let Marks { same, zero } = marks(bucket, !self.of_slot, self.above_slot(hash));
        Marks {
            same: same & CELLS,
            zero: zero & CELLS,
        }
    }

    /// A word of the bucket where a source with `hash` is at home.
    pub(super) fn home_of(&self, hash: Hash) -> Option<&u32> {
        self.words.get(self.home(hash))
    }

    /// The word at `place`.
    pub(super) fn word_at(&self, place: Place) -> Option<&u32> {
        self.words.get(place.word())
    }

    /// Adds `slot`, whose source must not be there yet; `vacancy` is what [`Index::find`] said of it,
    /// since when nothing else was added.
    pub(super) fn insert(&mut self, hash: Hash, vacancy: Option<Place>, slot: Slot) -> Place {
        let cell = self.above_slot(hash) + slot + 1;
        let place = vacancy.or_else(|| self.make_room(hash));
        place.map_or(Place::NOWHERE, |place| {
            self.set(place, cell);
            place
        })
    }

    /// Passes a source with `hash` on to the first bucket with room.
    fn make_room(&mut self, hash: Hash) -> Option<Place> {
        let home = self.home(hash);
        let mut at = home;
        loop {
            let marks = self.marks(self.bucket(at)?, hash);
            if let Some(Place(word)) = marks.vacancy(at) {
                let passed_on = if at == home { 0 } else { Place::PASSED_ON };
                return Some(Place(word | passed_on));
            }
            self.pass(at, 1);
            at = self.next(at);
        }
    }

    /// Puts `slot` of the same source at `place`.
    pub(super) fn replace(&mut self, hash: Hash, place: Place, slot: Slot) {
        let cell = self.above_slot(hash) + slot + 1;
        self.set(place, cell);
    }

    /// Removes `source` from `place`.
    pub(super) fn remove(&mut self, source: Source, place: Place) {
        self.set(place, 0);
        if place.0 & Place::PASSED_ON != 0 {
            self.pass_less(source, place);
        }
    }

    /// What was at `place` was passed on there from the home of `source`, and is gone.
    fn pass_less(&mut self, source: Source, place: Place) {
        let mut at = self.home(self.hash(source));
        while !(at..at + WIDTH).contains(&place.word()) {
            self.pass(at, -1);
            at = self.next(at);
        }
    }

    /// One more, or one less, has been passed on by the bucket whose first word is the one `at`.
    fn pass(&mut self, at: usize, change: i32) {
        if let Some(passed) = self.words.get_mut(at + PASSED) {
            *passed = passed.saturating_add_signed(change);
        }
    }

    fn set(&mut self, place: Place, cell: u32) {
        if let Some(word) = self.words.get_mut(place.word()) {
            *word = cell;
        }
    }

    /// What a cell has above its slot.
    const fn above_slot(&self, hash: Hash) -> u32 {
        let [a, b, c, d, ..] = hash.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d]) << self.slot_bits
    }

    /// The first word of the bucket where a source with `hash` is at home.
    fn home(&self, hash: Hash) -> usize {
        let scaled = (hash.0 >> u32::BITS) * u64::from(self.buckets);
        let bucket = usize::try_from(scaled >> u32::BITS).unwrap_or(0);
        self.margin + bucket * WIDTH
    }

    /// The first word of the next bucket.
    fn next(&self, at: usize) -> usize {
        let next = at + WIDTH;
        if next < self.end { next } else { self.margin }
    }

    fn bucket(&self, at: usize) -> Option<&Bucket> {
        self.words.get(at..)?.first_chunk()
    }

    /// How many sources are in it.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        let (buckets, _) = self.words[self.margin..self.end].as_chunks::<WIDTH>();
        let used = |bucket: &Bucket| bucket[..PASSED].iter().filter(|c| **c != 0).count();
        let count = buckets.iter().map(used).sum();
        let passed = buckets.iter().any(|bucket| bucket[PASSED] != 0);
        assert!(count > 0 || !passed, "an empty index has passed nothing");
        count
    }
}

/// What is in a bucket, with a bit for each word.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
struct Marks {
    /// Those that are what is wanted, where the mask has ones.
    same: u32,
    /// Those that are 0.
    zero: u32,
}

impl Marks {
    /// Where there is room in the bucket, whose first word is the one `at`.
    fn vacancy(self, at: usize) -> Option<Place> {
        let place = u32::try_from(at + to_usize(self.zero.trailing_zeros()));
        place.ok().filter(|_| self.zero != 0).map(Place)
    }
}

/// What is in `bucket`, four words at a time: one by one, it would be half of the work for a packet.
fn marks(bucket: &Bucket, mask: u32, wanted: u32) -> Marks {
    let (mask, wanted) = (u32x4::splat(mask), u32x4::splat(wanted));
    let none = Marks { same: 0, zero: 0 };
    let (fours, _) = bucket.as_chunks::<LANES>();
    (0..).zip(fours).fold(none, |marks, (n, four)| {
        let four = u32x4::new(*four);
        let bits = |four: u32x4| four.to_bitmask() << (n * LANES);
        Marks {
            same: marks.same | bits((four & mask).simd_eq(wanted)),
            zero: marks.zero | bits(four.simd_eq(u32x4::ZERO)),
        }
    })
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
        /// Full tables are among these, so some buckets pass on what comes.
        #[test]
        fn it_finds_what_was_put_in_and_nothing_else(
            capacity in 1..100_u32,
            known in any::<bool>(),
            operations in prop::collection::vec((0..120_u16, prop::bool::weighted(0.8)), 0..300),
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
                    let vacancy = index.find(hash, |_| false).err().flatten();
                    let place = index.insert(hash, vacancy.filter(|_| known), slot);
                    places.insert(n, (slot, place));
                }
                for n in 0..120 {
                    let hash = index.hash(source(n));
                    let expected = places.get(&n).map(|(slot, _)| *slot);
                    let is_it = |slot| Some(slot) == expected;
                    prop_assert_eq!(index.find(hash, is_it).ok(), expected);
                }
                prop_assert_eq!(index.count(), places.len());
            }
            for (n, (_, place)) in places {
                index.remove(source(n), place);
            }
            prop_assert_eq!(index.count(), 0);
        }
    }
}
