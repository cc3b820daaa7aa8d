//! The wall clock, and how far it is from the server's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use knock_spa::{Reply, UnixMillis};

/// The wall clock, which never gives a time twice: each request is told apart by its time.
#[derive(Debug, Default)]
pub(super) struct Clock {
    ahead: i64,
    last: u64,
}

/// The system's.
pub(super) fn wall_clock() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    UnixMillis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// By how many milliseconds our clock is ahead, if the answer that came just now was half of `after`
/// on its way.
pub(super) fn ahead_of(reply: &Reply, after: Duration) -> i64 {
    let half = i64::try_from(after.as_millis() / 2).unwrap_or(0);
    wall_clock().since(reply.time).saturating_sub(half)
}

impl Clock {
    pub(super) fn now(&mut self) -> UnixMillis {
        let millis = wall_clock().0;
        let next = millis.saturating_add_signed(self.ahead.saturating_neg());
        self.last = next.max(self.last.saturating_add(1));
        UnixMillis(self.last)
    }

    /// Our clock is so many milliseconds ahead of the server's.
    pub(super) fn correct(&mut self, ahead: i64) {
        (self.ahead, self.last) = (ahead, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_given_twice() {
        let mut clock = Clock::default();
        let times: Vec<_> = (0..100).map(|_| clock.now()).collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
        clock.correct(1_000_000);
        assert!(
            clock.now().since(times[0]) < -900_000,
            "behind, as the server is"
        );
    }
}
