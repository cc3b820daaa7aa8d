//! Which list of attempts has work next: a heap of the lists, each with a time that is never
//! later than its first deadline.
//!
//! A list's first deadline only grows while the list lives, because attempts join at its end. So
//! a list is put in once, when it gets its first attempt, and its time is put right only when it
//! comes to the top: joining and leaving a list cost nothing here.

use alloc::collections::BinaryHeap;
use alloc::collections::binary_heap::PeekMut;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::time::Timestamp;

/// The number of a list: two for each door.
pub(super) type ListId = usize;

#[derive(Debug)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Timestamp, ListId)>>,
    /// Whether a list is in the heap.
    queued: Vec<bool>,
}

impl Deadlines {
    pub(super) fn new(lists: usize) -> Self {
        Self {
            heap: BinaryHeap::with_capacity(lists),
            queued: vec![false; lists],
        }
    }

    /// An attempt with `deadline` has joined `list`.
    pub(super) fn joined(&mut self, list: ListId, deadline: Timestamp) {
        if let Some(queued) = self.queued.get_mut(list).filter(|queued| !**queued) {
            *queued = true;
            self.heap.push(Reverse((deadline, list)));
        }
    }

    /// A time that is not later than any deadline; `None` if there is no attempt.
    pub(super) fn earliest(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((time, _))| *time)
    }

    /// The first deadline of all and its list, where `first` gives the first one of a list.
    /// Amortised O(log lists).
    pub(super) fn soonest(
        &mut self,
        first: impl Fn(ListId) -> Option<Timestamp>,
    ) -> Option<(Timestamp, ListId)> {
        loop {
            let mut top = self.heap.peek_mut()?;
            let Reverse((time, list)) = *top;
            match first(list) {
                None => {
                    PeekMut::pop(top);
                    self.forget(list);
                }
                Some(deadline) if deadline > time => *top = Reverse((deadline, list)),
                Some(_) => return Some((time, list)),
            }
        }
    }

    /// All lists are empty.
    pub(super) fn clear(&mut self) {
        while let Some(Reverse((_, list))) = self.heap.pop() {
            self.forget(list);
        }
    }

    fn forget(&mut self, list: ListId) {
        if let Some(queued) = self.queued.get_mut(list) {
            *queued = false;
        }
    }
}

#[cfg(test)]
impl Deadlines {
    /// Asserts that `list`, whose first deadline is `first`, will be looked at in time.
    pub(super) fn check(&self, list: ListId, first: Timestamp) {
        let mut entries = self.heap.iter().filter(|Reverse((_, l))| *l == list);
        let Reverse((time, _)) = entries.next().expect("a list with attempts is queued");
        assert!(*time <= first && entries.next().is_none() && self.queued[list]);
    }
}
