//! Each request once.
//!
//! The rule, for a request of key `k` with time `t`, at the server's time `now`:
//!
//! 1. `|t - now|` is at most the tolerance (60 s unless set otherwise);
//! 2. `t` is later than `floor`, which counts for all keys;
//! 3. `t` is later than `k`'s own floor;
//! 4. `t` is none of the times of `k` that are remembered above its floor, of which there are at
//!    most [`REMEMBERED`]: for one more, the earliest becomes the floor.
//!
//! So one machine's requests are each later than the last; several machines with one key, whose
//! clocks differ, do not lock each other out; and what is not remembered is refused. After a start
//! with saved state, each key's floor is its last time; without any, `floor` is the time of the
//! start. Keys beyond [`MAX_KEYS`] push out those that were used longest ago, and `floor` rises to
//! their last time.
//!
//! A time is remembered by the key's name, never by the signature: one can be written two ways.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::keys::KeyId;
use crate::reply::Refusal;
use crate::request::UnixMillis;
use crate::wire::Cursor;

/// The most keys whose times are remembered: 96 bytes each in a B-tree whose nodes are at least half
/// full, so 2 MB as a rule and 3.2 MB at worst.
pub const MAX_KEYS: usize = 16_384;
/// The most times of one key above its floor.
pub const REMEMBERED: usize = 8;

/// What was accepted, so that it is accepted once.
#[derive(Clone, Debug)]
pub struct Window {
    tolerance: Duration,
    floor: UnixMillis,
    keys: BTreeMap<KeyId, Times>,
    most: usize,
}

/// The times of one key: a floor, and what was accepted above it, ascending.
#[derive(Copy, Clone, Debug)]
struct Times {
    floor: u64,
    count: u8,
    above: [u64; REMEMBERED],
}

impl Times {
    const fn new(floor: u64) -> Self {
        Self {
            floor,
            count: 0,
            above: [0; REMEMBERED],
        }
    }

    fn above(&self) -> &[u64] {
        self.above.get(..self.count.into()).unwrap_or_default()
    }

    fn is_new(&self, time: u64) -> bool {
        time > self.floor && !self.above().contains(&time)
    }

    fn last(&self) -> u64 {
        self.above().last().copied().unwrap_or(self.floor)
    }

    fn insert(&mut self, time: u64) {
        if usize::from(self.count) == REMEMBERED {
            self.raise_to(self.above.first().copied().unwrap_or(time).min(time));
        }
        if time <= self.floor {
            return;
        }
        if let Some(free) = self.above.get_mut(usize::from(self.count)) {
            *free = time;
            self.count += 1;
        }
        if let Some(used) = self.above.get_mut(..self.count.into()) {
            used.sort_unstable();
        }
    }

    /// Forgets all up to `floor`: it is refused from now on.
    fn raise_to(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        let kept = self.above().iter().filter(|time| **time > self.floor);
        let mut above = [0; REMEMBERED];
        let mut count = 0;
        for (to, from) in above.iter_mut().zip(kept) {
            *to = *from;
            count += 1;
        }
        (self.above, self.count) = (above, count);
    }
}

/// An accepted time, to be made durable before the request is acted upon.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Mark {
    /// The key.
    pub key: KeyId,
    /// The last time of it that was accepted.
    pub last: UnixMillis,
}

impl Mark {
    /// Its length in a file, in bytes.
    pub const LENGTH: usize = 24;

    /// For a file.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        let parts = self.key.0.into_iter().chain(self.last.0.to_be_bytes());
        bytes
            .iter_mut()
            .zip(parts)
            .for_each(|(to, from)| *to = from);
        bytes
    }

    /// Of a file.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LENGTH]) -> Self {
        let mut cursor = Cursor::new(bytes);
        let key = KeyId(cursor.array().unwrap_or_default());
        let last = UnixMillis(cursor.u64().unwrap_or(u64::MAX));
        Self { key, last }
    }
}

impl Window {
    /// The tolerance unless another is set.
    pub const TOLERANCE: Duration = Duration::from_secs(60);
    /// The greatest tolerance.
    pub const MAX_TOLERANCE: Duration = Duration::from_secs(3600);

    /// A window without saved state: nothing of before `start` is accepted.
    #[must_use]
    pub fn new(tolerance: Duration, start: UnixMillis) -> Self {
        Self {
            tolerance: tolerance.min(Self::MAX_TOLERANCE),
            floor: start,
            keys: BTreeMap::new(),
            most: MAX_KEYS,
        }
    }

    /// A window with saved state: the floor for all keys, and the last time of each, in any order;
    /// a key that comes twice has the later one.
    #[must_use]
    pub fn restore(
        tolerance: Duration,
        floor: UnixMillis,
        marks: impl IntoIterator<Item = Mark>,
    ) -> Self {
        let mut window = Self::new(tolerance, floor);
        for Mark { key, last } in marks {
            window.times(key).raise_to(last.0);
        }
        window
    }

    /// The floor for all keys, to be saved with the marks.
    #[must_use]
    pub const fn floor(&self) -> UnixMillis {
        self.floor
    }

    /// How far clocks may differ.
    #[must_use]
    pub const fn tolerance(&self) -> Duration {
        self.tolerance
    }

    /// What is to be saved.
    pub fn marks(&self) -> impl Iterator<Item = Mark> + '_ {
        self.keys.iter().map(|(key, times)| Mark {
            key: *key,
            last: UnixMillis(times.last()),
        })
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nothing was accepted yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a request would be accepted. Nothing changes: a request that is refused for another
    /// reason leaves no trace.
    ///
    /// # Errors
    /// [`Refusal::ClockOff`] or [`Refusal::Replay`].
    pub fn check(&self, key: KeyId, time: UnixMillis, now: UnixMillis) -> Result<(), Refusal> {
        let off = time.since(now);
        if u128::from(off.unsigned_abs()) > self.tolerance.as_millis() {
            return Err(Refusal::ClockOff(off));
        }
        let seen = self
            .keys
            .get(&key)
            .is_some_and(|times| !times.is_new(time.0));
        if seen || time <= self.floor {
            return Err(Refusal::Replay);
        }
        Ok(())
    }

    /// Checks and remembers: only for a request whose signature is good.
    ///
    /// # Errors
    /// As [`Window::check`].
    pub fn accept(
        &mut self,
        key: KeyId,
        time: UnixMillis,
        now: UnixMillis,
    ) -> Result<Mark, Refusal> {
        self.check(key, time, now)?;
        let times = self.times(key);
        times.insert(time.0);
        let last = UnixMillis(times.last());
        Ok(Mark { key, last })
    }

    fn times(&mut self, key: KeyId) -> &mut Times {
        if self.keys.len() >= self.most && !self.keys.contains_key(&key) {
            self.make_room();
        }
        self.keys.entry(key).or_insert_with(|| Times::new(0))
    }

    /// Forgets the sixteenth of the keys that were used longest ago, and refuses what they refused.
    fn make_room(&mut self) {
        let mut lasts: Vec<u64> = self.keys.values().map(Times::last).collect();
        lasts.sort_unstable();
        let limit = lasts.get(lasts.len() / 16).copied().unwrap_or(u64::MAX);
        self.floor = self.floor.max(UnixMillis(limit));
        self.keys.retain(|_, times| times.last() > limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn at(offset: i64) -> UnixMillis {
        UnixMillis(NOW.0.saturating_add_signed(offset))
    }

    fn window() -> Window {
        Window::new(Window::TOLERANCE, at(-1_000_000))
    }

    const A: KeyId = KeyId([1; 16]);
    const B: KeyId = KeyId([2; 16]);

    #[test]
    fn a_request_is_accepted_once_and_for_one_key() {
        let mut window = window();
        assert!(window.accept(A, at(5), NOW).is_ok());
        assert_eq!(window.accept(A, at(5), NOW), Err(Refusal::Replay));
        assert!(window.accept(B, at(5), NOW).is_ok());
    }

    #[test]
    fn a_second_machine_whose_clock_is_behind_is_not_locked_out() {
        let mut window = window();
        assert!(window.accept(A, at(5000), NOW).is_ok());
        assert!(window.accept(A, at(-5000), NOW).is_ok());
        assert_eq!(window.accept(A, at(-5000), NOW), Err(Refusal::Replay));
    }

    #[test]
    fn the_clock_may_be_off_by_the_tolerance_and_no_more() {
        let mut window = window();
        assert!(window.accept(A, at(60_000), NOW).is_ok());
        assert!(window.accept(A, at(-60_000), NOW).is_ok());
        assert_eq!(
            window.check(A, at(60_001), NOW),
            Err(Refusal::ClockOff(60_001))
        );
        assert_eq!(
            window.check(A, at(-60_001), NOW),
            Err(Refusal::ClockOff(-60_001))
        );
        let never = window.check(A, UnixMillis(u64::MAX), NOW);
        assert_eq!(never, Err(Refusal::ClockOff(i64::MAX)));
    }

    #[test]
    fn without_state_nothing_older_than_the_start_is_accepted() {
        let mut window = Window::new(Window::TOLERANCE, NOW);
        assert_eq!(window.accept(A, at(-1), NOW), Err(Refusal::Replay));
        assert_eq!(window.accept(A, NOW, NOW), Err(Refusal::Replay));
        assert!(window.accept(A, at(1), NOW).is_ok());
    }

    #[test]
    fn with_saved_state_nothing_up_to_the_last_time_of_a_key_is_accepted() {
        let mut before = window();
        for offset in [0, 10, 5] {
            before.accept(A, at(offset), NOW).expect("new");
        }
        let marks: Vec<_> = before
            .marks()
            .map(|mark| Mark::from_bytes(&mark.to_bytes()))
            .collect();
        let mut after = Window::restore(Window::TOLERANCE, before.floor(), marks);
        for offset in [0, 5, 7, 10] {
            assert_eq!(
                after.accept(A, at(offset), NOW),
                Err(Refusal::Replay),
                "{offset}"
            );
        }
        assert!(after.accept(A, at(11), NOW).is_ok());
        assert!(after.accept(B, at(7), NOW).is_ok());
    }

    #[test]
    fn at_its_cap_it_refuses_rather_than_forgets() {
        let mut window = Window {
            most: 32,
            ..window()
        };
        let key = |n: u8| KeyId([n; 16]);
        for n in 0..200_u8 {
            let time = at(i64::from(n));
            assert!(
                window.accept(key(n), time, NOW).is_ok(),
                "later ones still pass"
            );
            assert!(window.len() <= 32);
        }
        for n in 0..200_u8 {
            let time = at(i64::from(n));
            assert_eq!(window.check(key(n), time, NOW), Err(Refusal::Replay), "{n}");
        }
    }

    proptest! {
        #[test]
        fn no_request_is_accepted_twice(
            offers in proptest::collection::vec((0_u8..40, -70_000_i64..70_000, 0_u16..500), 1..400),
            most in 1_usize..40,
        ) {
            let mut window = Window { most, ..window() };
            let mut accepted = BTreeSet::new();
            let mut now = NOW;
            for (n, (key, offset, passed)) in offers.into_iter().enumerate() {
                now.0 += u64::from(passed);
                let time = UnixMillis((now.0.saturating_add_signed(offset)) / 50 * 50);
                let key = KeyId([key; 16]);
                if window.accept(key, time, now).is_ok() {
                    prop_assert!(accepted.insert((key, time)));
                }
                if n % 64 == 63 {
                    let marks: Vec<_> = window.marks().collect();
                    window = Window { most, ..Window::restore(Window::TOLERANCE, window.floor(), marks) };
                }
                prop_assert!(window.len() <= most);
            }
        }
    }
}
