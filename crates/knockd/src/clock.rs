//! The clocks of the system.

use knock_core::time::Timestamp;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Now, on the clock that everything is measured by: the system's monotonic clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_nanos(nanos(clock_gettime(ClockId::Monotonic)))
}

/// Nanoseconds since the start of the system, also those that it slept.
pub(crate) fn boottime() -> u64 {
    nanos(clock_gettime(ClockId::Boottime))
}

/// Nanoseconds since 1970 on the clock that can be set.
pub(crate) fn realtime() -> u64 {
    nanos(clock_gettime(ClockId::Realtime))
}

/// How the two clocks of the system stand to each other now. Packets are stamped by the one that
/// can be set; what is measured is measured by the other.
pub(crate) struct Clock {
    realtime: u64,
    monotonic: u64,
    /// How far the two readings may be apart, in nanoseconds.
    doubt: u64,
}

impl Clock {
    /// Reads both, one between two looks at the other: if somebody else had the processor
    /// meanwhile, they are read again.
    pub(crate) fn now() -> Self {
        let mut clock = Self::read();
        for _ in 0..3 {
            if clock.doubt < 100_000 {
                break;
            }
            let again = Self::read();
            if again.doubt < clock.doubt {
                clock = again;
            }
        }
        clock
    }

    fn read() -> Self {
        let before = nanos(clock_gettime(ClockId::Monotonic));
        let realtime = nanos(clock_gettime(ClockId::Realtime));
        let monotonic = nanos(clock_gettime(ClockId::Monotonic));
        Self {
            realtime,
            monotonic,
            doubt: monotonic.saturating_sub(before),
        }
    }

    /// When it was read.
    pub(crate) const fn monotonic_now(&self) -> Timestamp {
        Timestamp::from_nanos(self.monotonic)
    }

    /// The monotonic time of a packet stamped `realtime`; a stamp of the future is now.
    pub(crate) fn monotonic(&self, realtime: u64) -> Timestamp {
        let ago = self.realtime.saturating_sub(realtime);
        Timestamp::from_nanos(self.monotonic.saturating_sub(ago))
    }
}

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
