//! Token buckets: a bound on what strangers can make us do.

use std::time::Duration;

use knock_core::time::Timestamp;

/// How often at the most a count of what was left out is said.
const LEFT_OUT_PERIOD: Duration = Duration::from_secs(1);

/// How much was left out for want of a token, to be said now and then.
#[derive(Debug)]
pub(crate) struct LeftOut {
    unsaid: u32,
    all: u64,
    /// When the last count was said.
    said: Option<Timestamp>,
}

impl LeftOut {
    pub(crate) const fn new() -> Self {
        Self {
            unsaid: 0,
            all: 0,
            said: None,
        }
    }

    /// Counts one more.
    pub(crate) fn count(&mut self) {
        self.unsaid = self.unsaid.saturating_add(1);
        self.all = self.all.saturating_add(1);
    }

    /// How many there were since the start.
    pub(crate) const fn all(&self) -> u64 {
        self.all
    }

    /// When [`LeftOut::poll`] has something to say; `None` while nothing was left out.
    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        let said = |said: Timestamp| said.saturating_add(LEFT_OUT_PERIOD);
        (self.unsaid > 0).then(|| self.said.map_or(Timestamp::ZERO, said))
    }

    /// How many were left out since this was last said, if it is time to say so.
    pub(crate) fn poll(&mut self, now: Timestamp) -> Option<u32> {
        self.poll_timeout().filter(|due| *due <= now)?;
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

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
