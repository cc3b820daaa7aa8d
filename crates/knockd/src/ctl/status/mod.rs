//! `knockctl status`: how the running daemon is.

mod print;

use std::process::ExitCode;

use clap::Args;

use super::daemon::{At, finish, strange};
use crate::control::client::ClientError;
use crate::control::{Answer, Request};

/// The command line of `knockctl status`.
#[derive(Debug, Args)]
pub struct Options {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: At,
}

/// Runs `knockctl status`; exits with 1 if no daemon can be asked.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    finish(status(options))
}

fn status(options: &Options) -> Result<String, ClientError> {
    match options.at.ask(&Request::Status {})? {
        Answer::Status(status) if options.json => {
            let text = serde_json::to_string_pretty(&status);
            text.map_err(|error| ClientError::Strange(error.to_string()))
        }
        Answer::Status(status) => Ok(print::text(&status)),
        other => Err(strange(&other)),
    }
}
