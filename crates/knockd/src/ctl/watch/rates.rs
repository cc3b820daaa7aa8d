//! How much happens a second, from the counters of one status after the other.

use std::collections::VecDeque;

use super::world::Moment;
use crate::control::Counters;

/// So many seconds are kept: no screen is wider.
const KEPT: usize = 240;

/// What is counted.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Rate {
    /// Packets that passed the kernel's filter, and those that it dropped.
    Packets,
    /// Right knocks.
    Knocks,
    /// Doors that were opened, by whatever.
    Openings,
    /// Refusals.
    Refusals,
}

impl Rate {
    pub(super) const ALL: [Self; 4] = [Self::Packets, Self::Knocks, Self::Openings, Self::Refusals];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Packets => "packets",
            Self::Knocks => "knocks",
            Self::Openings => "openings",
            Self::Refusals => "refusals",
        }
    }

    /// The counter that grows by it.
    fn of(self, counters: &Counters) -> u64 {
        match self {
            Self::Packets => counters.packets.saturating_add(counters.kernel_drops),
            Self::Knocks => counters.knocks,
            Self::Openings => counters.events.get("open").copied().unwrap_or(0),
            Self::Refusals => counters.refusals.values().sum(),
        }
    }
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    last: Option<(Counters, Moment)>,
    series: [VecDeque<u64>; Rate::ALL.len()],
}

impl Rates {
    /// Notes what was counted until now.
    pub(super) fn add(&mut self, counters: &Counters, at: Moment) {
        if let Some((last, then)) = &self.last {
            let passed = at.saturating_sub(*then).as_millis().max(1);
            for (series, rate) in self.series.iter_mut().zip(Rate::ALL) {
                let more = rate.of(counters).saturating_sub(rate.of(last));
                if series.len() >= KEPT {
                    series.pop_front();
                }
                series.push_back(per_second(more, passed));
            }
        }
        self.last = Some((counters.clone(), at));
    }

    /// Counters begin at nothing again.
    pub(super) fn begin_anew(&mut self) {
        self.last = None;
    }

    /// How much it was in each of the last `count` seconds, oldest first, and now.
    pub(super) fn of(&self, rate: Rate, count: usize) -> (Vec<u64>, u64) {
        let place = Rate::ALL.iter().position(|one| *one == rate);
        let series = place.and_then(|place| self.series.get(place));
        let Some(series) = series else {
            return (Vec::new(), 0);
        };
        let from = series.len().saturating_sub(count);
        let shown = series.iter().skip(from).copied().collect();
        (shown, series.back().copied().unwrap_or(0))
    }

    /// How much it was since the daemon has started.
    pub(super) fn total(&self, rate: Rate) -> u64 {
        let last = self.last.as_ref();
        last.map_or(0, |(counters, _)| rate.of(counters))
    }
}

/// `more` in so many milliseconds, rounded up so that what is rare shows.
fn per_second(more: u64, milliseconds: u128) -> u64 {
    let rate = (u128::from(more) * 1000).div_ceil(milliseconds);
    u64::try_from(rate).unwrap_or(u64::MAX)
}
