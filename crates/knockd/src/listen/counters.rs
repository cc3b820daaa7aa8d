//! What was counted on the packet side.

use knock_core::engine;

use crate::wire::Counter;

/// What was counted since the start.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// What the engine counted.
    pub engine: engine::Counters,
    /// Attempts alive now.
    pub attempts: u64,
    /// Packets that passed the kernel's filter.
    pub seen: u64,
    /// Of these, packets that are no TCP or UDP packet which a door could count.
    pub not_knocks: u64,
    /// Packets that the kernel dropped because the ring was full.
    pub dropped: u64,
    /// Reports left out by the rate limit, or because the keeper was busy.
    pub lines_left_out: u64,
    /// Openings lost because the keeper was busy for too long.
    pub openings_lost: u64,
    /// What came of datagrams at ports of sealed packets.
    pub sealed: SealedCounters,
}

/// What came of datagrams at ports of sealed packets.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct SealedCounters {
    /// Without a good tag.
    pub junk: u64,
    /// With a good tag, and left out by a limit.
    pub limited: u64,
    /// With a good tag, and of no use.
    pub broken: u64,
    /// Opened, and looked at by the keeper.
    pub opened: u64,
    /// Of the form of a code on paper, and none that can be used.
    pub codes_unknown: u64,
    /// Codes, or what looks like one, that were left out by a limit.
    pub codes_limited: u64,
}

impl Counters {
    /// As `of` says it of each.
    pub(super) fn of(of: impl Fn(Counter) -> u64) -> Self {
        Self {
            engine: engine::Counters {
                packets: of(Counter::Packets),
                knocks: of(Counter::Knocks),
                broken: of(Counter::Broken),
                timeouts: of(Counter::Timeouts),
                openings: of(Counter::Openings),
                evictions: of(Counter::Evictions),
            },
            attempts: of(Counter::Attempts),
            seen: of(Counter::Seen),
            not_knocks: of(Counter::NotKnocks),
            dropped: of(Counter::Dropped),
            lines_left_out: of(Counter::LeftOut),
            openings_lost: of(Counter::OpeningsLost),
            sealed: SealedCounters {
                junk: of(Counter::SealedJunk),
                limited: of(Counter::SealedLimited),
                broken: of(Counter::SealedBroken),
                opened: of(Counter::SealedOpened),
                codes_unknown: of(Counter::CodesUnknown),
                codes_limited: of(Counter::CodesLimited),
            },
        }
    }
}
