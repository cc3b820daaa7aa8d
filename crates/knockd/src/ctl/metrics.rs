//! `knockctl metrics`: the numbers of the running daemon, for node_exporter's textfile collector and
//! for scripts.

use std::process::ExitCode;

use clap::Args;

use super::daemon::{At, finish, strange};
use crate::control::client::ClientError;
use crate::control::{Answer, Request};
use crate::metrics::{Format, text};

/// The command line of `knockctl metrics`.
#[derive(Debug, Args)]
pub struct Options {
    /// Print the OpenMetrics format, instead of the older one that files for node_exporter have
    #[arg(long)]
    openmetrics: bool,
    #[command(flatten)]
    at: At,
}

/// Runs `knockctl metrics`; exits with 1 if no daemon can be asked.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    finish(metrics(options))
}

fn metrics(options: &Options) -> Result<String, ClientError> {
    let format = if options.openmetrics {
        Format::OpenMetrics
    } else {
        Format::Classic
    };
    match options.at.ask(&Request::Status {})? {
        Answer::Status(status) => Ok(text(&status, format)),
        other => Err(strange(&other)),
    }
}
