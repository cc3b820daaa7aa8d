//! `guides`: every command of the documentation, run; `testing/README.md`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use testbed::{guides, scenario};

fn main() -> ExitCode {
    scenario::main("The guides, line by line", 3, guides::all())
}
