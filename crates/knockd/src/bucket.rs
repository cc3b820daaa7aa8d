//! Token buckets: a bound on what strangers can make us do.

use std::hash::Hasher as _;
use std::net::IpAddr;
use std::time::Duration;

use knock_core::time::Timestamp;
use siphasher::sip::SipHasher13;

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

/// So many at once, then one each period. Asked for each packet of a flood, so it counts in whole
/// nanoseconds and divides only when there is something to gain.
#[derive(Debug)]
pub(crate) struct Bucket {
    burst: u32,
    /// In nanoseconds.
    period: u64,
    tokens: u32,
    /// Up to when tokens were counted, in nanoseconds.
    counted: u64,
}

impl Bucket {
    /// A full bucket of `burst` tokens, with one more each `period`.
    pub(crate) fn new(burst: u32, period: Duration) -> Self {
        Self {
            burst,
            period: Timestamp::ZERO.saturating_add(period).as_nanos(),
            tokens: burst,
            counted: 0,
        }
    }

    /// Takes a token, if there is one at `now`.
    pub(crate) fn take(&mut self, now: Timestamp) -> bool {
        let now = now.as_nanos();
        let passed = now.saturating_sub(self.counted);
        if passed >= self.period {
            self.earn(now, passed);
        }
        let taken = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        taken
    }

    fn earn(&mut self, now: u64, passed: u64) {
        let earned = passed.checked_div(self.period).unwrap_or(0);
        match u32::try_from(earned) {
            Ok(few) if self.tokens.saturating_add(few) < self.burst => {
                self.tokens += few;
                self.counted = self
                    .counted
                    .saturating_add(earned.saturating_mul(self.period));
            }
            _ => {
                self.tokens = self.burst;
                self.counted = now;
            }
        }
    }
}

/// Networks share a bucket by a keyed hash, so that the table is bounded and nobody can aim: 32 KiB.
const NETWORKS: usize = 1_024;

/// A bucket for each network (/24, /56) of those whom strangers claim to be.
#[derive(Debug)]
pub(crate) struct Networks {
    seed: [u64; 2],
    buckets: Vec<Bucket>,
}

impl Networks {
    /// Full buckets, see [`Bucket::new`], under a secret `seed`.
    pub(crate) fn new(seed: [u64; 2], burst: u32, period: Duration) -> Self {
        let one = || Bucket::new(burst, period);
        Self {
            seed,
            buckets: std::iter::repeat_with(one).take(NETWORKS).collect(),
        }
    }

    /// Takes a token of the network of `source`, if there is one at `now`.
    pub(crate) fn take(&mut self, source: IpAddr, now: Timestamp) -> bool {
        let [a, b] = self.seed;
        let mut hasher = SipHasher13::new_with_keys(a, b);
        match source {
            IpAddr::V4(address) => hasher.write(&address.octets()[..3]),
            IpAddr::V6(address) => hasher.write(&address.octets()[..7]),
        }
        let place = usize::try_from(hasher.finish() % 1_024).unwrap_or(0);
        let bucket = self.buckets.get_mut(place % NETWORKS);
        bucket.is_some_and(|bucket| bucket.take(now))
    }
}
