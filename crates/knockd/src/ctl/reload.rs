//! `knockctl reload`: lets the daemon read its configuration again, and tells what came of it.

use std::process::ExitCode;

use clap::Args;

use super::daemon::{At, finish, strange};
use crate::control::client::ClientError;
use crate::control::{Answer, Request};

/// The command line of `knockctl reload`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    at: At,
}

/// Runs `knockctl reload`; exits with 1 if the configuration is not in force.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    finish(reload(options))
}

fn reload(options: &Options) -> Result<String, ClientError> {
    match options.at.ask(&Request::Reload {})? {
        Answer::Reloaded { warnings } => {
            let mut text = warnings.join("\n");
            text.push_str("\nthe configuration is in force");
            Ok(text.trim_start().to_owned())
        }
        other => Err(strange(&other)),
    }
}
