//! How soon our processes have their turn on a busy machine: who has knocked connects at once.

use std::time::Duration;

use rustix::process::getpriority_process;

/// The nice value (sched(7)). With 0 for the listener, up to 4 of 20 knocks were lost in a flood that
/// all processors sent; with this, and its ring, none of 480.
const NICE: i32 = -10;

/// Longer than a knock keeps us busy. With both, and for both processes, 99 of 100 connections that
/// began as knock(1) had ended got through with their first SYN on a machine with three times as
/// many busy threads as processors, where it was 87 without.
const SLICE: Duration = Duration::from_micros(100);

/// Has the calling thread come soon, as far as it may; what it starts does not. Only root may have
/// a lower nice value.
pub(crate) fn come_soon() {
    let present = getpriority_process(None).unwrap_or(0);
    if knock_sys::take_turns(NICE.min(present), SLICE).is_err() {
        // Then it is as it always was.
        knock_sys::take_turns(present, SLICE).ok();
    }
}
