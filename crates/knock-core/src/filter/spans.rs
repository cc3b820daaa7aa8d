//! Sorted, disjoint ranges of numbers, and how to make do with fewer of them.

use alloc::vec::Vec;

/// The numbers from `first` to `last`, both included.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Span {
    pub(super) first: u32,
    pub(super) last: u32,
}

impl Span {
    pub(super) const fn new(first: u32, last: u32) -> Self {
        Self { first, last }
    }

    pub(super) const fn contains(self, number: u32) -> bool {
        self.first <= number && number <= self.last
    }
}

/// The numbers as sorted ranges with a gap between any two.
pub(super) fn of(mut numbers: Vec<u32>) -> Vec<Span> {
    numbers.sort_unstable();
    joined(numbers.into_iter().map(|n| Span::new(n, n)), |gap| gap == 0)
}

/// Ranges that hold at least the same numbers, together at most `most` or one a list: the
/// smallest gaps are closed.
pub(super) fn coarsened(lists: [&[Span]; 2], most: usize) -> (Vec<Span>, Vec<Span>) {
    let [a, b] = lists;
    let count = a.len() + b.len();
    let mut gaps: Vec<u32> = gaps(a).chain(gaps(b)).collect();
    let surplus = count.saturating_sub(most).min(gaps.len());
    if surplus == 0 {
        return (a.to_vec(), b.to_vec());
    }
    let (smaller, &mut limit, _) = gaps.select_nth_unstable(surplus - 1);
    // Of the gaps that are exactly the limit only as many are closed as it takes.
    let mut ties = surplus - smaller.iter().filter(|gap| **gap < limit).count();
    let mut close = |gap| {
        let tie = gap == limit && ties > 0;
        ties -= usize::from(tie);
        gap < limit || tie
    };
    (
        joined(a.iter().copied(), &mut close),
        joined(b.iter().copied(), &mut close),
    )
}

/// How many numbers lie between neighbours.
fn gaps(spans: &[Span]) -> impl Iterator<Item = u32> {
    let nexts = spans.iter().skip(1);
    spans
        .iter()
        .zip(nexts)
        .map(|(span, next)| gap(*span, *next))
}

const fn gap(span: Span, next: Span) -> u32 {
    next.first.saturating_sub(span.last).saturating_sub(1)
}

/// Sorted ranges with those gaps closed for which `close` says so.
fn joined(spans: impl Iterator<Item = Span>, mut close: impl FnMut(u32) -> bool) -> Vec<Span> {
    let mut joined: Vec<Span> = Vec::new();
    for next in spans {
        match joined.last_mut() {
            Some(span) if close(gap(*span, next)) => span.last = next.last,
            _ => joined.push(next),
        }
    }
    joined
}
