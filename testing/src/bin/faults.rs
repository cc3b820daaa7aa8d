//! `faults`: what becomes of open doors when things go wrong; `testing/README.md`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use testbed::{faults, scenario};

fn main() -> ExitCode {
    scenario::main(
        "Deaths, damage and bad moments against our daemon",
        faults::all(),
    )
}
