//! Things go wrong while doors are open: processes die, tables and files are damaged, configurations
//! change, machines start anew. What all of these scenarios claim:
//!
//! * no door is open longer than its time and one second,
//! * none is closed to its owner early (but for the second in which damage is mended),
//! * no established connection is cut,
//! * no stop command is lost, and none runs twice, unless it ran at that very moment.
//!
//! Two faults cannot be brought about without doing it to the machine, and are tried in unit tests:
//! steps of the wall clock (`journal::moment::tests`, the property
//! `in_the_same_boot_the_wall_clock_has_no_say`) and sleep of the system (the clock that counts is
//! `CLOCK_BOOTTIME`, `daemon::alarm::tests`; the gate's time-outs are put anew, which the scenarios
//! about the table try).

mod arm;
mod course;
mod deaths;
mod doors;
mod edits;
mod eye;
mod gone;
mod hits;
mod journals;
mod owing;
mod reboots;
mod refusals;
mod reloads;
mod scene;
mod service;

use crate::scenario::Scenario;

/// All scenarios.
#[must_use]
pub fn all() -> Vec<Scenario> {
    // The longest first.
    let mut all = edits::scenarios();
    all.extend(arm::scenarios());
    all.extend(owing::scenarios());
    all.extend(deaths::scenarios());
    all.extend(doors::scenarios());
    all.extend(reloads::scenarios());
    all.extend(journals::scenarios());
    all.extend(reboots::scenarios());
    all.extend(gone::scenarios());
    all.extend(refusals::scenarios());
    all
}
