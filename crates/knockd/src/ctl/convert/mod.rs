//! stub
use clap::Args;
/// stub
#[derive(Debug, Args)]
pub struct Options {}
/// stub
#[must_use]
pub fn run(_: &Options) -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
