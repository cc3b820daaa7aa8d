//! The engine's clock, which is an argument everywhere.

use core::fmt;
use core::time::Duration;

/// A point on the engine's clock: nanoseconds since an origin that the caller chose.
///
/// The daemon uses the system's monotonic clock, a replay the file's own time stamps. Two
/// timestamps are comparable only if they come from the same clock.
#[derive(Copy, Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The origin of the clock.
    pub const ZERO: Self = Self(0);

    /// `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// `millis` milliseconds after the origin; saturates after 584 years.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This point plus `duration`; saturates at the end of the clock.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// The time from `earlier` to this point; zero if `earlier` is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A time as `knockd.conf` writes it, in the largest unit that leaves no rest: `30s`, `1500ms`.
#[derive(Copy, Clone, Debug)]
pub struct InUnits(pub Duration);

impl fmt::Display for InUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(3_600_000, "h"), (60_000, "m"), (1000, "s")];
        let millis = self.0.as_millis();
        let whole = |(size, _): &(u128, &str)| millis >= *size && millis.is_multiple_of(*size);
        match units.into_iter().find(whole) {
            Some((size, unit)) => write!(f, "{}{unit}", millis / size),
            None if millis == 0 => f.write_str("0s"),
            None => write!(f, "{millis}ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_time_has_the_largest_unit_that_leaves_no_rest() {
        for (millis, text) in [
            (0, "0s"),
            (1500, "1500ms"),
            (30_000, "30s"),
            (90_000, "90s"),
            (120_000, "2m"),
            (7_200_000, "2h"),
        ] {
            assert_eq!(InUnits(Duration::from_millis(millis)).to_string(), text);
        }
    }
}
