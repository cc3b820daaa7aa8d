//! Things go wrong while doors are open: processes die, tables and files are damaged, configurations
//! change, machines start anew. What all of these scenarios claim:
//!
//! * no door is open longer than its time and one second,
//! * none is closed to its owner early (but for the second in which damage is mended),
//! * no established connection is cut,
//! * no stop command is lost, and none runs twice, unless it ran at that very moment.
//!
//! Doors are looked at with connections, an owner's and a stranger's, 50 times a second; commands
//! note when they ran.
//!
//! Two faults cannot be brought about without doing it to the machine, and are tried in `journal`:
//! a step of the wall clock (`in_the_same_boot_a_step_of_the_clock_changes_nothing`,
//! `a_step_of_the_clock_that_is_told_does_not_count_after_the_next_reboot`,
//! `after_a_reboot_the_wall_clock_counts_but_never_for_more_than_was_set`), and sleep of the system
//! (`sleep_counts`).

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
