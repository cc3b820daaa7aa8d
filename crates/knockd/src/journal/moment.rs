//! Points in time that mean something after a crash, a suspend, a step of the clock and a reboot.
//!
//! The clock that counts is the one that nobody can set, with the time that the system slept
//! (`CLOCK_BOOTTIME`, clock_getres(2)). It begins anew with each boot, so a deadline also says in
//! which boot it was made, and what the wall clock said; and for how long it was set, because a
//! wall clock may say anything.

use std::fmt;
use std::fs;
use std::io;
use std::time::Duration;

use crate::clock;

/// Where the kernel says which boot this is (random(4)): 128 random bits as a UUID.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// One boot of one machine.
#[derive(Copy, Clone, Eq, PartialEq)]
pub struct BootId([u8; 16]);

impl BootId {
    /// That of the boot that we run in. It never changes, so once is enough.
    ///
    /// # Errors
    /// If the kernel's file cannot be read, or has no such id.
    pub fn read() -> io::Result<Self> {
        let text = fs::read_to_string(BOOT_ID)?;
        Self::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Of a UUID as text: 32 digits, with hyphens anywhere.
    fn parse(text: &str) -> Option<Self> {
        let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
        let is_hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = is_hex.then(|| u128::from_str_radix(&digits, 16).ok())??;
        Some(Self(number.to_be_bytes()))
    }

    /// Of its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(super) const fn bytes(&self) -> [u8; 16] {
        self.0
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// A point in time, by all the clocks that a [`Deadline`] is kept by.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Moment {
    /// In which boot.
    pub boot: BootId,
    /// `CLOCK_BOOTTIME`, in nanoseconds.
    pub boottime: u64,
    /// `CLOCK_REALTIME`, in nanoseconds since 1970.
    pub wall: u64,
}

impl Moment {
    /// Now, in the boot `boot`.
    #[must_use]
    pub fn now(boot: BootId) -> Self {
        Self {
            boot,
            boottime: clock::boottime(),
            wall: clock::realtime(),
        }
    }
}

/// When something open is to be closed.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Deadline {
    pub(super) at: Moment,
    /// For how long it was set, in nanoseconds: no more than this is ever left.
    pub(super) duration: u64,
}

impl Deadline {
    /// `duration` after `now`. One of more than 584 years is as good as that.
    #[must_use]
    pub fn after(now: &Moment, duration: Duration) -> Self {
        let duration = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self::in_nanos(now, duration)
    }

    const fn in_nanos(now: &Moment, duration: u64) -> Self {
        Self {
            at: Moment {
                boot: now.boot,
                boottime: now.boottime.saturating_add(duration),
                wall: now.wall.saturating_add(duration),
            },
            duration,
        }
    }

    /// How much time is left at `now`: zero if it is over, and never more than it was set for.
    ///
    /// In the same boot the wall clock has no say. In another one only the wall clock is left: one
    /// that was set forward closes early, one that was set back closes late, by at most what the
    /// deadline was set for.
    #[must_use]
    pub fn remaining(&self, now: &Moment) -> Duration {
        Duration::from_nanos(self.nanos_left(now))
    }

    fn nanos_left(&self, now: &Moment) -> u64 {
        let left = if self.at.boot == now.boot {
            self.at.boottime.saturating_sub(now.boottime)
        } else {
            self.at.wall.saturating_sub(now.wall)
        };
        left.min(self.duration)
    }

    /// The same deadline by the clocks of `now`. A machine whose wall clock starts at the same
    /// value with every boot so counts down through all of them.
    #[must_use]
    pub fn rebased(&self, now: &Moment) -> Self {
        Self::in_nanos(now, self.nanos_left(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;
    const YEAR: u64 = 365 * 86_400 * SECOND;

    const NOW: Moment = Moment {
        boot: BootId([1; 16]),
        boottime: 500 * SECOND,
        wall: 50 * YEAR,
    };

    fn left(now: Moment) -> u64 {
        let deadline = Deadline::after(&NOW, Duration::from_secs(30));
        deadline.remaining(&now).as_secs()
    }

    fn other_boot(wall: u64) -> Moment {
        Moment {
            boot: BootId([2; 16]),
            boottime: 7 * SECOND,
            wall,
        }
    }

    #[test]
    fn in_the_same_boot_a_step_of_the_clock_changes_nothing() {
        for wall in [0, NOW.wall - YEAR, NOW.wall, NOW.wall + YEAR, u64::MAX] {
            let boottime = NOW.boottime + 10 * SECOND;
            assert_eq!(
                left(Moment {
                    wall,
                    boottime,
                    ..NOW
                }),
                20
            );
        }
    }

    #[test]
    fn sleep_counts() {
        let boottime = NOW.boottime + 3600 * SECOND;
        assert_eq!(left(Moment { boottime, ..NOW }), 0);
    }

    #[test]
    fn after_a_reboot_the_wall_clock_counts_but_never_for_more_than_was_set() {
        assert_eq!(left(other_boot(NOW.wall + 12 * SECOND)), 18);
        assert_eq!(left(other_boot(NOW.wall + YEAR)), 0);
        assert_eq!(left(other_boot(NOW.wall - YEAR)), 30);
        assert_eq!(left(other_boot(0)), 30);
    }

    #[test]
    fn a_clock_that_starts_at_the_same_value_with_each_boot_still_counts_down() {
        let mut deadline = Deadline::after(&NOW, Duration::from_secs(30));
        for boot in 2..5 {
            let mut now = other_boot(0);
            now.boot = BootId([boot; 16]);
            deadline = deadline.rebased(&now);
            now.boottime += 10 * SECOND;
            now.wall += 10 * SECOND;
            deadline = deadline.rebased(&now);
        }
        assert_eq!(deadline.nanos_left(&other_boot(0)), 0);
    }

    #[test]
    fn the_id_of_this_boot_can_be_read_and_the_clocks_go_forward() {
        let boot = BootId::read().unwrap();
        let (one, two) = (Moment::now(boot), Moment::now(boot));
        assert!(one.boottime <= two.boottime && one.boottime > 0 && one.wall > 0);
        assert_eq!(BootId::read().unwrap(), boot);
        assert_eq!(
            BootId::parse("00010203-0405-0607-0809-0a0b0c0d0e0f\n"),
            Some(BootId([
                0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
            ]))
        );
        for text in ["", "0123", "+0010203-0405-0607-0809-0a0b0c0d0e0f", "é"] {
            assert_eq!(BootId::parse(text), None);
        }
    }

    /// 146 years.
    const NANOS: std::ops::Range<u64> = 0..u64::MAX / 4;

    proptest! {
        #[test]
        fn no_clock_whatever_it_says_leaves_more_than_was_set(
            same: bool, boottime in NANOS, wall in NANOS, duration in NANOS, at in NANOS,
            then in NANOS
        ) {
            let made = Moment { boot: BootId([1; 16]), boottime: at, wall: then };
            let boot = BootId([if same { 1 } else { 2 }; 16]);
            let now = Moment { boot, boottime, wall };
            let duration = Duration::from_nanos(duration);
            let deadline = Deadline::after(&made, duration);
            prop_assert!(deadline.remaining(&now) <= duration);
            prop_assert_eq!(deadline.rebased(&now).remaining(&now), deadline.remaining(&now));
        }
    }
}
