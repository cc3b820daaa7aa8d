//! From a source to its first attempt: open addressing with linear probing.
//!
//! A cell holds 32 bits of a keyed hash (SipHash-1-3), which also say where the cell wants to be,
//! so most lookups touch one cache line here and none of another source's attempts. At most half
//! of the cells are in use. Removal moves later cells back, so there are no tombstones.

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use siphasher::sip::SipHasher13;

use super::slab::Slot;

/// `[hash, slot + 1]`; zeros are an empty cell, so that the memory of an index that was never
/// written is never touched (`calloc`).
type Cell = [u32; 2];

const EMPTY: Cell = [0, 0];

pub(super) struct Index {
    cells: Vec<Cell>,
    mask: usize,
    hasher: SipHasher13,
}

impl Index {
    /// An index for at most `capacity` sources.
    pub(super) fn new(capacity: u32, seed: [u64; 2]) -> Self {
        let [k0, k1] = seed;
        let cells = to_usize(capacity).saturating_mul(2).next_power_of_two();
        Self {
            cells: vec![EMPTY; cells],
            mask: cells - 1,
            hasher: SipHasher13::new_with_keys(k0, k1),
        }
    }

    pub(super) fn hash(&self, source: IpAddr) -> u32 {
        let hash = match source {
            IpAddr::V4(address) => self.hasher.hash(&address.octets()),
            IpAddr::V6(address) => self.hasher.hash(&address.octets()),
        };
        let [a, b, c, d, ..] = hash.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// The slot with `hash` for which `is_it` says so.
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        let mut at = self.home(hash);
        loop {
            let [its_hash, number] = self.cell(at);
            let slot = number.checked_sub(1)?;
            if its_hash == hash && is_it(slot) {
                return Some(slot);
            }
            at = (at + 1) & self.mask;
        }
    }

    /// Adds `slot`, which must not be there yet.
    pub(super) fn insert(&mut self, hash: u32, slot: Slot) {
        let mut at = self.home(hash);
        while self.cell(at) != EMPTY {
            at = (at + 1) & self.mask;
        }
        self.set(at, [hash, slot + 1]);
    }

    /// Puts `new` in the place of `old`.
    pub(super) fn replace(&mut self, hash: u32, old: Slot, new: Slot) {
        if let Some(at) = self.place(hash, old) {
            self.set(at, [hash, new + 1]);
        }
    }

    pub(super) fn remove(&mut self, hash: u32, slot: Slot) {
        let Some(mut hole) = self.place(hash, slot) else {
            return;
        };
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask;
            let cell = self.cell(at);
            if cell == EMPTY {
                break;
            }
            let [its_hash, _] = cell;
            // It may move to the hole if that is not before its home.
            let from_home = at.wrapping_sub(self.home(its_hash)) & self.mask;
            let from_hole = at.wrapping_sub(hole) & self.mask;
            if from_home >= from_hole {
                self.set(hole, cell);
                hole = at;
            }
        }
        self.set(hole, EMPTY);
    }

    /// Where the cell of `slot` is.
    fn place(&self, hash: u32, slot: Slot) -> Option<usize> {
        let mut at = self.home(hash);
        loop {
            let cell = self.cell(at);
            if cell == [hash, slot + 1] {
                return Some(at);
            }
            if cell == EMPTY {
                return None;
            }
            at = (at + 1) & self.mask;
        }
    }

    fn home(&self, hash: u32) -> usize {
        to_usize(hash) & self.mask
    }

    fn cell(&self, at: usize) -> Cell {
        self.cells.get(at).copied().unwrap_or(EMPTY)
    }

    fn set(&mut self, at: usize, cell: Cell) {
        if let Some(place) = self.cells.get_mut(at) {
            *place = cell;
        }
    }

    /// How many sources are in it.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.cells.iter().filter(|cell| **cell != EMPTY).count()
    }
}

fn to_usize(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
