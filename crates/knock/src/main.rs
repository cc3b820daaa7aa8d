//! `knock`: see the manual page.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    knock::cli::run(std::env::args_os()).into()
}
