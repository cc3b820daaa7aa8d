//! `faults`: what becomes of open doors when things go wrong; `testing/README.md`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use testbed::{faults, scenario};

/// They wait for time to pass most of the time.
const LANES: usize = 16;

fn main() -> ExitCode {
    let about = "Deaths, damage and bad moments against our daemon";
    scenario::main(about, LANES, faults::all())
}
