//! When a thread has its turn.

use std::io;
use std::time::Duration;

use crate::checked;

/// Gives the calling thread a nice value, and turns of about `slice` each: between threads that want
/// the processor, who asks for short turns has the next one sooner (sched(7); Linux 6.12, before
/// which the slice has no effect). What it starts from now on has the usual ones.
///
/// # Errors
/// `EPERM` for a nice value below the present one without `CAP_SYS_NICE`; then nothing is changed.
pub fn take_turns(nice: i32, slice: Duration) -> io::Result<()> {
    /// `SCHED_FLAG_RESET_ON_FORK` of `linux/sched.h`.
    const RESET_ON_FORK: u64 = 1;
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or(0),
        sched_policy: 0,
        sched_flags: RESET_ON_FORK,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX),
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the call reads as many bytes of the attributes as these say that they have.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    checked(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::{fs, thread};

    /// Fields 19 and 41 of `/proc/PID/stat` are the nice value and the policy (proc(5)).
    fn nice(stat: &str) -> i32 {
        let (_, rest) = stat.rsplit_once(')').unwrap();
        rest.split_whitespace().nth(16).unwrap().parse().unwrap()
    }

    #[test]
    fn what_is_started_does_not_inherit_them() {
        let turns = thread::spawn(|| {
            let slice = Duration::from_micros(100);
            if take_turns(-1, slice).is_err() {
                take_turns(0, slice).unwrap();
            }
            let own = fs::read_to_string("/proc/thread-self/stat").unwrap();
            let child = Command::new("cat").arg("/proc/self/stat").output().unwrap();
            (nice(&own), nice(&String::from_utf8(child.stdout).unwrap()))
        });
        let (own, child) = turns.join().unwrap();
        assert!(own == -1 || own == 0);
        assert_eq!(child, 0);
    }
}
