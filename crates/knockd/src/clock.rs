//! The clocks of the system.

use std::time::Duration;

use knock_core::time::Timestamp;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Now, on the clock that everything is measured by: nobody can set it, and it goes on while the
/// system sleeps (`CLOCK_BOOTTIME`), because a door that is open does so too.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_nanos(boottime())
}

/// Nanoseconds since the start of the system, also those that it slept.
pub(crate) fn boottime() -> u64 {
    nanos(clock_gettime(ClockId::Boottime))
}

/// For how long the system has slept since its start.
pub(crate) fn slept() -> Duration {
    let awake = nanos(clock_gettime(ClockId::Monotonic));
    Duration::from_nanos(boottime().saturating_sub(awake))
}

/// Nanoseconds since 1970 on the clock that can be set.
pub(crate) fn realtime() -> u64 {
    nanos(clock_gettime(ClockId::Realtime))
}

/// What the wall clock shows at `then`, if nobody sets it until then.
pub(crate) fn on_the_wall(then: Timestamp) -> jiff::Timestamp {
    let nanos = i128::from(realtime()) + i128::from(then.as_nanos()) - i128::from(boottime());
    // In milliseconds: the two clocks are not read at once.
    let millis = i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX)
}

/// How the two clocks of the system stand to each other now. Packets are stamped by the one that
/// can be set; what is measured is measured by the other.
pub(crate) struct Clock {
    realtime: u64,
    steady: u64,
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
        let before = nanos(clock_gettime(ClockId::Boottime));
        let realtime = nanos(clock_gettime(ClockId::Realtime));
        let steady = nanos(clock_gettime(ClockId::Boottime));
        Self {
            realtime,
            steady,
            doubt: steady.saturating_sub(before),
        }
    }

    /// When it was read.
    pub(crate) const fn steady_now(&self) -> Timestamp {
        Timestamp::from_nanos(self.steady)
    }

    /// The time of a packet, on that clock, stamped `realtime`; a stamp of the future is now.
    pub(crate) fn steady(&self, realtime: u64) -> Timestamp {
        let ago = self.realtime.saturating_sub(realtime);
        Timestamp::from_nanos(self.steady.saturating_sub(ago))
    }
}

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
