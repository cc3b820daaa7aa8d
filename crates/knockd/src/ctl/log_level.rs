//! `knockctl log-level`: lets the daemon log more, or less, until the next reload.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::daemon::{At, finish, strange};
use crate::control::client::ClientError;
use crate::control::{Answer, LogLevel, Request};

/// The command line of `knockctl log-level`.
#[derive(Debug, Args)]
pub struct Options {
    /// Which lines are logged
    level: Level,
    #[command(flatten)]
    at: At,
}

#[derive(Copy, Clone, Debug, ValueEnum)]
enum Level {
    /// Also wrong knocks
    Debug,
    /// As the original
    Info,
}

/// Runs `knockctl log-level`; exits with 1 if the daemon cannot be asked.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    finish(set(options))
}

fn set(options: &Options) -> Result<String, ClientError> {
    let level = match options.level {
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
    };
    match options.at.ask(&Request::LogLevel { level })? {
        Answer::LogLevel {
            level: LogLevel::Debug,
        } => Ok("wrong knocks are logged too, until the next reload".to_owned()),
        Answer::LogLevel {
            level: LogLevel::Info,
        } => Ok("wrong knocks are not logged, until the next reload".to_owned()),
        other => Err(strange(&other)),
    }
}
