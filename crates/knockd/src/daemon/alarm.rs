//! Waking up in time, also when the system has slept meanwhile: poll(2) counts the time that it was
//! awake, and a door that is open goes on being so.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use knock_core::time::Timestamp;
use rustix::io::{Errno, read};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A timer on the clock of [`crate::listen::now`].
#[derive(Debug)]
pub(super) struct Alarm {
    timer: OwnedFd,
    set: Option<Timestamp>,
}

impl Alarm {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self {
            timer: timerfd_create(TimerfdClockId::Boottime, flags)?,
            set: None,
        })
    }

    /// Lets the descriptor be readable from `due` on; never with `None`.
    pub(super) fn set(&mut self, due: Option<Timestamp>) -> io::Result<()> {
        if due == self.set {
            return Ok(());
        }
        // Nothing is left to be read of a timer that is set anew.
        let never = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let value = due.map_or(never, timespec);
        let new = Itimerspec {
            it_interval: never,
            it_value: value,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &new)?;
        self.set = due;
        Ok(())
    }

    /// Takes note that it went off.
    pub(super) fn clear(&mut self) {
        let mut count = [0; 8];
        if read(&self.timer, &mut count) != Err(Errno::AGAIN) {
            self.set = None;
        }
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

/// Time zero would be never (timerfd_create(2)).
fn timespec(at: Timestamp) -> Timespec {
    let nanos = at.as_nanos().max(1);
    Timespec {
        tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use rustix::event::{PollFd, PollFlags, poll};
    use std::time::Duration;

    fn rings(alarm: &Alarm, millis: i64) -> bool {
        let mut fds = [PollFd::new(alarm, PollFlags::IN)];
        let time = Timespec {
            tv_sec: 0,
            tv_nsec: millis * 1_000_000,
        };
        poll(&mut fds, Some(&time)).unwrap() == 1
    }

    #[test]
    fn it_goes_off_at_its_time_and_once() {
        let mut alarm = Alarm::new().unwrap();
        assert!(!rings(&alarm, 5));
        let due = now().saturating_add(Duration::from_millis(20));
        alarm.set(Some(due)).unwrap();
        assert!(!rings(&alarm, 1));
        assert!(rings(&alarm, 900));
        assert!(now() >= due);
        alarm.clear();
        assert!(!rings(&alarm, 5));
    }

    #[test]
    fn a_time_in_the_past_goes_off_at_once_and_none_never() {
        let mut alarm = Alarm::new().unwrap();
        alarm.set(Some(Timestamp::ZERO)).unwrap();
        assert!(rings(&alarm, 900));
        alarm.set(None).unwrap();
        assert!(!rings(&alarm, 5));
    }
}
