//! Token buckets: a bound on what strangers can make us do.

use std::time::Duration;

use knock_core::time::Timestamp;

/// So many at once, then one each period.
#[derive(Debug)]
pub(crate) struct Bucket {
    burst: u32,
    period: Duration,
    tokens: u32,
    /// Up to when tokens were counted.
    counted: Timestamp,
}

impl Bucket {
    /// A full bucket of `burst` tokens, with one more each `period`.
    pub(crate) const fn new(burst: u32, period: Duration) -> Self {
        Self {
            burst,
            period,
            tokens: burst,
            counted: Timestamp::ZERO,
        }
    }

    /// Takes a token, if there is one at `now`.
    pub(crate) fn take(&mut self, now: Timestamp) -> bool {
        let passed = now.saturating_since(self.counted).as_nanos();
        let earned = passed / self.period.as_nanos().max(1);
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if self.tokens.saturating_add(earned) >= self.burst {
            self.tokens = self.burst;
            self.counted = self.counted.max(now);
        } else {
            self.tokens += earned;
            self.counted = self.counted.saturating_add(self.period * earned);
        }
        let taken = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        taken
    }
}
