//! From a source to its first attempt: a hash table that costs one cache line a packet.
//!
//! A source's home is one of many buckets, of one cache line each, chosen by a keyed hash
//! (SipHash-1-3). A bucket that is full passes what comes to the next one and counts it, so a
//! search goes on only past buckets that have passed something, and a removal leaves no
//! tombstone. Buckets are half full when the table is, and 1 in 200 has passed anything.
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

/// 15 cells, and how often something has passed. A cell is 0 if it is empty, or else `slot + 1`
/// and above it some of the hash.
pub(super) type Bucket = [u32; WIDTH];

const WIDTH: usize = 16;

/// The number of the word that counts what has passed.
const PASSED: usize = WIDTH - 1;

/// How many sources there are for a bucket when the table is full.
const LOAD: u32 = 8;

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

/// The hash of a source.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Hash(u64);

pub(super) struct Index {
    /// The buckets, after some words so that each is in one cache line. Zeros, so that the memory
    /// of buckets that were never written is never touched (`calloc`).
    words: Vec<u32>,
    /// How many words come before the first bucket.
    margin: usize,
    buckets: u32,
    /// How many bits of a cell are the slot's.
    slot_bits: u32,
    /// A bit for each cell of a bucket. A variable, so that the compiler makes vector instructions
    /// for all words of a bucket and not for some.
    cells: u32,
    hasher: SipHasher13,
}

impl Index {
    /// An index for slots below `capacity`, which is at most [`super::attempts::MAX_CAPACITY`].
    pub(super) fn new(capacity: u32, seed: [u64; 2]) -> Self {
        let [k0, k1] = seed;
        let buckets = capacity.div_ceil(LOAD).max(1);
        let words = vec![0; (to_usize(buckets) + 1) * WIDTH];
        Self {
            margin: words.as_ptr().align_offset(size_of::<Bucket>()).min(WIDTH),
            words,
            buckets,
            slot_bits: u32::BITS - capacity.leading_zeros(),
            cells: (1 << PASSED) - 1,
            hasher: SipHasher13::new_with_keys(k0, k1),
        }
    }

    pub(super) fn hash(&self, source: Source) -> Hash {
        let mut hasher = self.hasher;
        match u32::try_from(source.low) {
            // One block in place of two.
            Ok(low) if !source.v6 => hasher.write_u32(low),
            _ => {
                hasher.write_u64(source.high);
                hasher.write_u64(source.low);
            }
        }
        Hash(hasher.finish())
    }

    /// The slot with `hash` for which `is_it` says so; or, if there is none, where there is room for
    /// it, if that is in its home.
    pub(super) fn find(
        &self,
        hash: Hash,
        is_it: impl Fn(Slot) -> bool,
    ) -> Result<Slot, Option<Place>> {
        let above_slot = self.above_slot(hash);
        let of_slot = u32::MAX >> (u32::BITS - self.slot_bits);
        let home = self.home(hash);
        let mut vacancy = None;
        let mut at = home;
        while let Some(bucket) = self.bucket(at) {
            let mut same = self.which(bucket, |cell| cell & !of_slot == above_slot);
            if at == home {
                vacancy = self.vacancy(bucket, at);
            }
            while same != 0 {
                let cell = bucket.get(to_usize(same.trailing_zeros()));
                // An empty cell is like one of the hash 0.
                let slot = cell.and_then(|cell| (cell & of_slot).checked_sub(1));
                if let Some(slot) = slot.filter(|slot| is_it(*slot)) {
                    return Ok(slot);
                }
                same &= same - 1;
            }
            let [.., passed] = bucket;
            if *passed == 0 {
                break;
            }
            at = self.next(at);
        }
        Err(vacancy)
    }

    /// Where there is room in `bucket`, which is the one `at`.
    fn vacancy(&self, bucket: &Bucket, at: usize) -> Option<Place> {
        let empty = self.which(bucket, |cell| cell == 0);
        let word = self.margin + at * WIDTH + to_usize(empty.trailing_zeros());
        let place = u32::try_from(word).ok().map(Place);
        place.filter(|_| empty != 0)
    }

    /// A bit for each cell for which `is_it` says so.
    fn which(&self, bucket: &Bucket, is_it: impl Fn(u32) -> bool) -> u32 {
        let bit = |bits, (n, cell): (u32, &u32)| bits | (u32::from(is_it(*cell)) << n);
        (0..).zip(bucket).fold(0, bit) & self.cells
    }

    /// The bucket where a source with `hash` is at home.
    pub(super) fn home_of(&self, hash: Hash) -> Option<&Bucket> {
        self.bucket(self.home(hash))
    }

    /// The bucket of `place`.
    pub(super) fn bucket_of(&self, place: Place) -> Option<&Bucket> {
        self.bucket(place.word().checked_sub(self.margin)? / WIDTH)
    }

    /// Adds `slot`, whose source must not be there yet; `vacancy` is what [`Index::find`] said of it,
    /// since when nothing else was added.
    pub(super) fn insert(&mut self, hash: Hash, vacancy: Option<Place>, slot: Slot) -> Place {
        let cell = self.above_slot(hash) + slot + 1;
        if let Some(place) = vacancy {
            self.set(place, cell);
            return place;
        }
        let home = self.home(hash);
        let mut at = home;
        loop {
            let bucket = self.bucket(at);
            if let Some(Place(word)) = bucket.and_then(|bucket| self.vacancy(bucket, at)) {
                let passed_on = if at == home { 0 } else { Place::PASSED_ON };
                self.set(Place(word), cell);
                return Place(word | passed_on);
            }
            let Some([.., passed]) = self.bucket_mut(at) else {
                return Place::NOWHERE;
            };
            *passed = passed.saturating_add(1);
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
        if place.0 & Place::PASSED_ON == 0 {
            return;
        }
        let bucket = (place.word() - self.margin) / WIDTH;
        let mut at = self.home(self.hash(source));
        while at != bucket {
            if let Some([.., passed]) = self.bucket_mut(at) {
                *passed = passed.saturating_sub(1);
            }
            at = self.next(at);
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

    fn bucket(&self, at: usize) -> Option<&Bucket> {
        let (buckets, _) = self.words.get(self.margin..)?.as_chunks();
        buckets.get(at)
    }

    fn bucket_mut(&mut self, at: usize) -> Option<&mut Bucket> {
        let (buckets, _) = self.words.get_mut(self.margin..)?.as_chunks_mut();
        buckets.get_mut(at)
    }

    /// How many sources are in it.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        let (buckets, _) = self.words[self.margin..].as_chunks::<WIDTH>();
        let used = |bucket: &Bucket| bucket[..PASSED].iter().filter(|c| **c != 0).count();
        let count = buckets.iter().map(used).sum();
        let passed = buckets.iter().any(|bucket| bucket[PASSED] != 0);
        assert!(count > 0 || !passed, "an empty index has passed nothing");
        count
    }
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
