//! Who works on which processor, so that what is measured and who measures are not in each other's
//! way.

use std::time::Duration;

use knock_sys::take_turns;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::Result;

/// The calling thread.
const THIS: Pid = Pid::from_raw(0);

/// As our daemon has them.
const NICE: i32 = -10;
const SLICE: Duration = Duration::from_micros(100);

/// The processors, divided: the last one for the calling thread, the others for what it starts, as
/// long as this lives. Where there is but one, all share it.
pub(super) struct Processors {
    all: CpuSet,
    last: CpuSet,
}

impl Processors {
    /// The calling thread, and what it starts, is held on at most so many of the others until
    /// [`Processors::take_last`].
    pub(super) fn divide(most: usize) -> Result<Self> {
        let all = sched_getaffinity(THIS)?;
        let allowed = |cpu: &usize| all.is_set(*cpu).unwrap_or(false);
        let mut rest = (0..CpuSet::count()).rev().filter(allowed);
        let (mut last, mut others) = (CpuSet::new(), CpuSet::new());
        last.set(rest.next().ok_or("no processor")?)?;
        for cpu in rest.take(most) {
            others.set(cpu)?;
        }
        if others == CpuSet::new() {
            others = last;
        }
        sched_setaffinity(THIS, &others)?;
        Ok(Self { all, last })
    }

    pub(super) fn take_last(&self) -> Result<()> {
        // Without the privilege it is as late as any other.
        take_turns(NICE, SLICE).unwrap_or_default();
        Ok(sched_setaffinity(THIS, &self.last)?)
    }
}

impl Drop for Processors {
    fn drop(&mut self) {
        // It was allowed before.
        sched_setaffinity(THIS, &self.all).unwrap_or_default();
        take_turns(0, Duration::ZERO).unwrap_or_default();
    }
}
