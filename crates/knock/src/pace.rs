//! Times as they are written, and how far apart knocks are.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// The longest time that can be written: ten days, far more than anybody waits.
const LONGEST: Duration = Duration::from_secs(864_000);

/// Reads `500ms`, `30s`, `10m`, `2h`, `1d`, or a number of seconds.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let number = digits.bytes().all(|c| c.is_ascii_digit()).then_some(digits);
    let number: u64 = number?.parse().ok()?;
    let millis: u64 = match text.strip_prefix(digits)? {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// A time that is not zero.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Limit(Duration);

/// The text is no such time.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct LimitError;

/// What was expected; lower case, no full stop.
impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a time such as 500ms, 10s or 1m")
    }
}

impl std::error::Error for LimitError {}

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let limit = duration(text).filter(|limit| !limit.is_zero() && *limit <= LONGEST);
        limit.map(Self).ok_or(LimitError)
    }
}

impl Limit {
    /// The time.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

/// Reads a time of whole seconds: `30`, `30s`, `10m`, `2h`, `1d`.
///
/// # Errors
/// What was expected; lower case, no full stop.
pub fn seconds(text: &str) -> Result<NonZeroU32, String> {
    let time = duration(text).filter(|time| time.subsec_nanos() == 0);
    time.and_then(|time| u32::try_from(time.as_secs()).ok())
        .and_then(NonZeroU32::new)
        .ok_or_else(|| "expected a time such as 30s, 10m or 2h".to_owned())
}

/// How long one waits after each knock.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Pace {
    /// As long as it takes for knocks not to overtake each other, and for a door to open.
    #[default]
    Shortest,
    /// So long after each, also after the last (`-d`).
    Delay(Duration),
    /// So long between two, more or less (`--spacing`).
    Spacing(Spacing),
}

/// A pause between two knocks, and by how much it is longer or shorter.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Spacing {
    base: Duration,
    percent: u8,
}

/// The text is no spacing.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct SpacingError;

/// What was expected; lower case, no full stop.
impl fmt::Display for SpacingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a time such as 100ms, or 100ms+-50%")
    }
}

impl std::error::Error for SpacingError {}

/// `100ms`, `1s`, `100ms±50%`, `100ms+-50%`; a unit is needed, and no more than 100 %.
impl FromStr for Spacing {
    type Err = SpacingError;

    fn from_str(text: &str) -> Result<Self, SpacingError> {
        let parts = text.split_once('±').or_else(|| text.split_once("+-"));
        let (base, percent) = match parts {
            Some((base, percent)) => {
                let percent = percent.strip_suffix('%').ok_or(SpacingError)?;
                (base, percent.parse().map_err(|_| SpacingError)?)
            }
            None => (text, 0),
        };
        let has_unit = base.ends_with(|c: char| c.is_ascii_lowercase());
        let base = duration(base).filter(|base| has_unit && *base <= LONGEST);
        let base = base.ok_or(SpacingError)?;
        if percent > 100 {
            return Err(SpacingError);
        }
        Ok(Self { base, percent })
    }
}

impl Spacing {
    /// One pause, by a random number.
    #[must_use]
    pub fn pause(self, random: u64) -> Duration {
        let part = self.base * u32::from(self.percent) / 100;
        let span = u64::try_from((part * 2).as_micros()).unwrap_or(u64::MAX);
        let more = random.checked_rem(span.saturating_add(1)).unwrap_or(0);
        self.base
            .saturating_sub(part)
            .saturating_add(Duration::from_micros(more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let millis = |text| duration(text).map(|time| time.as_millis());
        for (text, expected) in [
            ("500ms", 500),
            ("30", 30_000),
            ("30s", 30_000),
            ("10m", 600_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("0", 0),
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "m",
            "-1",
            "+1",
            "1.5m",
            "1 m",
            "1M",
            "99999999999999999999",
        ] {
            assert_eq!(millis(text), None, "{text}");
        }
        assert_eq!(millis("999999999999999999d"), None);
    }

    #[test]
    fn whole_seconds_are_not_zero() {
        let seconds = |text| seconds(text).map(NonZeroU32::get);
        assert_eq!(seconds("30"), Ok(30));
        assert_eq!(seconds("30s"), Ok(30));
        assert_eq!(seconds("10m"), Ok(600));
        assert_eq!(seconds("2h"), Ok(7200));
        for text in ["", "0", "m", "-1", "+1", "1.5m", "10ms", "1 m", "99999999d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_is_a_time_and_not_zero() {
        let limit = |text: &str| text.parse().map(Limit::get);
        assert_eq!(limit("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(limit("3"), Ok(Duration::from_secs(3)));
        for text in ["", "0", "0ms", "soon", "-1", "11d"] {
            assert!(limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pause_stays_within_its_bounds_and_reaches_both() {
        let pause = |text: &str, random| text.parse::<Spacing>().unwrap().pause(random);
        for text in ["100ms±50%", "100ms+-50%"] {
            assert_eq!(pause(text, 0), Duration::from_millis(50));
            assert_eq!(pause(text, 100_000), Duration::from_millis(150));
            assert_eq!(pause(text, 100_001), Duration::from_millis(50));
            assert_eq!(pause(text, 50_000), Duration::from_millis(100));
            assert!(pause(text, u64::MAX) <= Duration::from_millis(150));
        }
        assert_eq!(pause("2s", 12345), Duration::from_secs(2));
        assert_eq!(pause("0ms", 12345), Duration::ZERO);
        assert_eq!(pause("1s+-100%", 0), Duration::ZERO);
    }

    #[test]
    fn what_is_no_spacing_is_refused() {
        for text in [
            "",
            "100",
            "ms",
            "100ms+-",
            "100ms+-50",
            "100ms±101%",
            "100ms±-1%",
            "±5%",
            "1s±1%±1%",
            "99999d",
        ] {
            assert_eq!(text.parse::<Spacing>(), Err(SpacingError), "{text}");
        }
    }
}
