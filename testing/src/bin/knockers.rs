//! `knockers`: scenarios with real clients, firewalls and an sshd; `testing/README.md`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use testbed::{knockers, scenario};

fn main() -> ExitCode {
    scenario::main("Real knockers against our daemon", 8, knockers::all())
}
