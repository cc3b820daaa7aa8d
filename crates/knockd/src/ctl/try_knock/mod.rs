//! `knockctl try`: a knock that opens a port, for real, where it can hurt nobody.
//!
//! Two hosts in throw-away network namespaces, the kernel's own packet filter, our `knockd` on one
//! and our `knock` on the other. No other program is needed but what the user's own configuration
//! runs. Every line that begins with `ok` or `FAILED` is the result of a check
//! that was just made.

mod aim;
mod firewall;
mod log_tail;
mod own;
mod ports;
mod probe;
mod programs;
mod sample;
mod stage;
mod story;
mod visit;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::lab::{Identity, LabError, isolate};
use story::Story;

/// The command line of `knockctl try`.
#[derive(Debug, Args)]
pub struct Options {
    /// Try this configuration instead of the sample
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The server's firewall, as `nft -f` or `iptables-restore` reads it
    #[arg(long, value_name = "FILE", requires = "config")]
    ruleset: Option<PathBuf>,
    /// Run the configuration's commands even if the file system cannot be protected from them
    #[arg(long, requires = "config")]
    run_commands: bool,
    /// The daemon to try (default: the one beside this program)
    #[arg(long, value_name = "PATH")]
    knockd: Option<PathBuf>,
    /// The client to knock with (default: the one beside this program)
    #[arg(long, value_name = "PATH")]
    knock: Option<PathBuf>,
}

/// Why `try` could not even try. A check that fails is not one of these.
#[derive(Debug)]
enum TryError {
    /// Namespaces, links or a program to start.
    Lab(LabError),
    /// A file or a pipe.
    Io(&'static str, io::Error),
    /// Something that must be installed or built first, and how.
    Missing(String),
    /// A program that should have succeeded did not, and what it said.
    Refused(String),
}

impl From<LabError> for TryError {
    fn from(error: LabError) -> Self {
        Self::Lab(error)
    }
}

impl fmt::Display for TryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lab(error) => error.fmt(f),
            Self::Io(what, error) => write!(f, "cannot {what}: {error}"),
            Self::Missing(text) | Self::Refused(text) => f.write_str(text),
        }
    }
}

/// Runs `knockctl try`; exits with 1 if a check failed or nothing could be tried.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    let story = Story::default();
    match tell(options, &story) {
        Ok(()) => story.end(),
        Err(error) => {
            anstream::eprintln!("knockctl: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The sample runs no command; the user's are run without power over anything outside.
fn tell(options: &Options, story: &Story) -> Result<(), TryError> {
    match &options.config {
        None => {
            isolate(Identity::RootIfNeeded)?;
            sample::tell(options, story)
        }
        Some(config) => {
            isolate(Identity::UserNamespace)?;
            own::tell(config, options, story)
        }
    }
}
