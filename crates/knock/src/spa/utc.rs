//! A point in time as people write it. In UTC, which every machine has: a calendar of all zones would
//! be a tenth of the program.

/// A date and a time of day.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Utc {
    /// Year, month and day.
    pub(crate) date: (u64, u64, u64),
    /// Seconds of the day.
    second: u64,
}

impl Utc {
    /// So many seconds after the beginning of 1970, without leap seconds.
    pub(crate) const fn of(seconds: u64) -> Self {
        const DAY: u64 = 86_400;
        Self {
            date: date(seconds / DAY),
            second: seconds % DAY,
        }
    }

    /// `2026-11-27`.
    pub(crate) fn date(self) -> String {
        let (year, month, day) = self.date;
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// `14:03:10`.
    pub(crate) fn time(self) -> String {
        let (minute, second) = (self.second / 60, self.second % 60);
        format!("{:02}:{:02}:{second:02}", minute / 60, minute % 60)
    }
}

/// The date of a day after 1970-01-01 in the Gregorian calendar. Years are reckoned from March, so
/// that the day that some years have more is the last: then months have 153 days in five.
const fn date(days: u64) -> (u64, u64, u64) {
    // From the first of March of the year 0.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let written = |seconds| {
            let utc = Utc::of(seconds);
            format!("{} {}", utc.date(), utc.time())
        };
        // As date(1) says: `date -u -d @SECONDS`.
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_709_164_800, "2024-02-29 00:00:00"),
            (1_795_780_990, "2026-11-27 12:03:10"),
            (4_107_542_399, "2100-02-28 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (253_402_300_799, "9999-12-31 23:59:59"),
        ] {
            assert_eq!(written(seconds), expected);
        }
    }
}
