//! `expiry-time=` (sshd(8)): `YYYYMMDD` or `YYYYMMDDHHMM[SS]`, in the machine's own time, or in
//! UTC with a `Z` at the end.

/// What the machine's time zone is: a date and time to seconds since 1970; `None` if that time
/// does not exist there. It is an argument, so that nothing here reads a file.
pub type LocalTime<'a> = &'a dyn Fn(Civil) -> Option<u64>;

/// A date and time that exists in the calendar.
#[derive(Copy, Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Civil {
    /// From 1970.
    pub year: u16,
    /// From 1.
    pub month: u8,
    /// From 1.
    pub day: u8,
    /// To 23.
    pub hour: u8,
    /// To 59.
    pub minute: u8,
    /// To 59.
    pub second: u8,
}

impl Civil {
    /// Seconds since 1970 if this is UTC.
    #[must_use]
    pub fn utc(self) -> u64 {
        // Days from civil, with years that begin in March.
        let (year, month) = (u64::from(self.year), u64::from(self.month));
        let (y, m) = if month > 2 {
            (year, month - 3)
        } else {
            (year - 1, month + 9)
        };
        let days =
            y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + u64::from(self.day) - 1;
        let days = days - 719_468;
        let clock = u64::from(self.hour) * 3600 + u64::from(self.minute) * 60;
        days * 86_400 + clock + u64::from(self.second)
    }

    fn parse(digits: &str) -> Option<Self> {
        if !digits.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        let two = |at: usize| match digits.get(at..at + 2) {
            Some(text) => text.parse::<u8>().ok(),
            None => Some(0),
        };
        if ![8, 12, 14].contains(&digits.len()) {
            return None;
        }
        let civil = Self {
            year: digits.get(..4)?.parse().ok()?,
            month: two(4)?,
            day: two(6)?,
            hour: two(8)?,
            minute: two(10)?,
            second: two(12)?,
        };
        civil.exists().then_some(civil)
    }

    fn exists(self) -> bool {
        let leap = self.year.is_multiple_of(4)
            && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        let days = match self.month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return false,
        };
        self.year >= 1970
            && (1..=days).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60
    }
}

/// Seconds since 1970.
pub(crate) fn parse(text: &str, local: LocalTime<'_>) -> Option<u64> {
    match text.strip_suffix(['Z', 'z']) {
        Some(utc) => Civil::parse(utc).map(Civil::utc),
        None => local(Civil::parse(text)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_sshd_reads_them() {
        let local = |civil: Civil| Some(civil.utc() - 7200);
        for (text, seconds) in [
            ("19700101Z", Some(0)),
            ("20261127Z", Some(1_795_737_600)),
            ("20240229Z", Some(1_709_164_800)),
            ("202611271030Z", Some(1_795_775_400)),
            ("20261127103015Z", Some(1_795_775_415)),
            ("20261127", Some(1_795_737_600 - 7200)),
            ("20230229Z", None),
            ("20261301Z", None),
            ("2026112710Z", None),
            ("20261127103060Z", None),
            ("1969123123Z", None),
            ("+0261127", None),
            ("", None),
        ] {
            assert_eq!(parse(text, &local), seconds, "{text}");
        }
    }
}
