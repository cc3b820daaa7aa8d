//! What the listener counts.

/// Something that the listener counts.
#[derive(Copy, Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Counter {
    /// Packets that the engine handled.
    Packets,
    /// Packets that advanced or started an attempt.
    Knocks,
    /// Attempts ended by a wrong knock.
    Broken,
    /// Attempts ended by time.
    Timeouts,
    /// Openings.
    Openings,
    /// Attempts given up because the table was full.
    Evictions,
    /// Attempts alive now.
    Attempts,
    /// Packets that passed the kernel's filter.
    Seen,
    /// Of these, packets that are no TCP or UDP packet which a door could count.
    NotKnocks,
    /// Packets that the kernel dropped because the ring was full.
    Dropped,
    /// Reports left out by a limit, or because the keeper was busy.
    LeftOut,
    /// Openings left out by a limit, or because the keeper was busy.
    OpeningsLost,
    /// Datagrams at a port of sealed packets without a good tag: of anybody.
    SealedJunk,
    /// Datagrams with a good tag that were left out by a limit.
    SealedLimited,
    /// Datagrams with a good tag that could not be opened.
    SealedBroken,
    /// Datagrams that were opened and handed to the keeper.
    SealedOpened,
    /// What has the form of a code on paper and is none that can be used.
    CodesUnknown,
    /// Codes, or what looks like one, that were left out by a limit.
    CodesLimited,
}

impl Counter {
    /// All, in their order.
    pub const ALL: [Self; 18] = [
        Self::Packets,
        Self::Knocks,
        Self::Broken,
        Self::Timeouts,
        Self::Openings,
        Self::Evictions,
        Self::Attempts,
        Self::Seen,
        Self::NotKnocks,
        Self::Dropped,
        Self::LeftOut,
        Self::OpeningsLost,
        Self::SealedJunk,
        Self::SealedLimited,
        Self::SealedBroken,
        Self::SealedOpened,
        Self::CodesUnknown,
        Self::CodesLimited,
    ];

    pub(super) fn number(self) -> u8 {
        let number = Self::ALL.iter().position(|counter| *counter == self);
        number.and_then(|n| u8::try_from(n).ok()).unwrap_or(u8::MAX)
    }

    pub(super) fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}
