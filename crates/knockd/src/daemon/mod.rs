//! `knockd` itself: from the command line to its exit status.
//!
//! Everything that can fail fails before the daemon goes into the background: on standard error,
//! with exit status 1.

mod alarm;
mod audit;
mod background;
mod codes;
mod confinement;
mod gatekeeper;
mod hooks;
mod metrics;
mod once;
mod one_time;
mod operator;
mod owing;
mod pidfile;
mod reload;
mod reports;
mod runner;
mod scribe;
mod sealed;
mod serve;
mod settings;
mod shadow;
mod status;
mod words;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use knock_sys::give_back_large_pieces;

use crate::cli::Cli;
use crate::config_file::{LoadError, load};
use crate::control::server::PlaceError;
use crate::diagnostics;
use crate::listen::StartError;
use crate::listener;
use crate::metrics::server::OpenError;
use crate::sandbox::AccountError;
use crate::services::Services;

use background::Stage;
use pidfile::PidfileError;
use serve::Daemon;
use settings::Settings;

/// Why the daemon did not start.
#[derive(Debug)]
enum Failure {
    /// The configuration.
    Config(LoadError),
    /// A one-time sequence file: which, of which door, and why.
    OneTime(one_time::Failure),
    /// Packets cannot be seen.
    Listen(StartError),
    /// What is owed cannot be kept where the configuration says.
    Owing(owing::Failure),
    /// The doors cannot be guarded.
    Gate(gatekeeper::Failure),
    /// Sealed packets cannot be taken.
    Sealed(sealed::Failure),
    /// There is no account for the listener.
    Account(AccountError),
    /// There is no control socket where the configuration names one.
    Control(PathBuf, PlaceError),
    /// Metrics cannot be had where the configuration says.
    Metrics(OpenError),
    /// Another instance holds the pidfile.
    Running(PathBuf, Option<u32>),
    /// Something that the daemon needs of the system: what, and why not.
    System(&'static str, io::Error),
}

/// Runs `knockd` with these arguments, the first of which is its name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    give_back_large_pieces();
    let mut args = args.into_iter().peekable();
    if args.peek().is_some_and(|name| name == listener::NAME) {
        return listener::main(args.skip(1));
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to be told that nobody reads.
            error.print().ok();
            return u8::try_from(error.exit_code()).unwrap_or(2).into();
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(failure) => {
            crate::log::to_stderr(failure.to_string().trim_end());
            ExitCode::FAILURE
        }
    }
}

fn run(mut cli: Cli) -> Result<ExitCode, Failure> {
    let stage = background::stage(cli.daemon);
    if stage == Stage::Launcher {
        let code = background::start().map_err(|e| Failure::System("go into the background", e))?;
        return Ok(code);
    }
    // On kernels that cannot do it, commands inherit what we inherited; nothing of ours.
    knock_sys::close_inherited_on_exec().ok();
    for operand in &cli.operands {
        let operand = operand.to_string_lossy();
        crate::log::to_stderr(&format!(
            "knockd: '{operand}' means nothing here and is ignored"
        ));
    }
    // The daemon may change its folder, and must find the same files afterwards.
    let folder = std::env::current_dir().unwrap_or_default();
    cli.config = folder.join(cli.config);
    let loaded = load(&cli.config, &Services::system()).map_err(Failure::Config)?;
    if !loaded.diagnostics.is_empty() {
        let color = io::IsTerminal::is_terminal(&io::stderr());
        let text = diagnostics::render(&loaded.path, &loaded.bytes, &loaded.diagnostics, color);
        crate::log::to_stderr(text.trim_end());
    }
    let settings = Settings::new(cli, stage == Stage::Background, folder, &loaded.config);
    let known = audit::known(&loaded.bytes, &loaded.config);
    let daemon = Daemon::new(settings, loaded.config, known)?;
    Ok(daemon.run(stage))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "{error}"),
            Self::OneTime(error) => write!(f, "knockd: {error}"),
            Self::Listen(error) => write!(f, "knockd: {error}"),
            Self::Owing(failure) => write!(f, "knockd: {failure}"),
            Self::Gate(failure) => write!(f, "knockd: the gate cannot be put up: {failure}"),
            Self::Sealed(failure) => write!(f, "knockd: sealed packets cannot be taken: {failure}"),
            Self::Account(error) => write!(f, "knockd: option `user`: {error}"),
            Self::Control(path, error) => {
                write!(f, "knockd: control socket {}: {error}", path.display())
            }
            Self::Metrics(error) => write!(f, "knockd: {error}"),
            Self::Running(path, pid) => {
                let path = path.display();
                write!(f, "knockd: already running: pidfile {path} is locked")?;
                pid.map_or(Ok(()), |pid| write!(f, " by process {pid}"))
            }
            Self::System(what, error) => write!(f, "knockd: cannot {what}: {error}"),
        }
    }
}

impl From<one_time::Failure> for Failure {
    fn from(failure: one_time::Failure) -> Self {
        Self::OneTime(failure)
    }
}

impl From<owing::Failure> for Failure {
    fn from(failure: owing::Failure) -> Self {
        Self::Owing(failure)
    }
}

impl From<sealed::Failure> for Failure {
    fn from(failure: sealed::Failure) -> Self {
        Self::Sealed(failure)
    }
}

impl From<gatekeeper::Failure> for Failure {
    fn from(failure: gatekeeper::Failure) -> Self {
        Self::Gate(failure)
    }
}

impl From<(PathBuf, PidfileError)> for Failure {
    fn from((path, error): (PathBuf, PidfileError)) -> Self {
        match error {
            PidfileError::Running(pid) => Self::Running(path, pid),
            PidfileError::Io(error) => Self::System("write the pidfile", error),
        }
    }
}
