//! `knockd`: see the manual page.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    knockd::daemon::main(std::env::args_os())
}
