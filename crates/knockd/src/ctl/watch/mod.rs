//! `knockctl watch`: what the running daemon does, as it happens.
//!
//! Built on the control socket's `status` and `events` alone, one connection each. What is known
//! (`world`) and shown (`state`) is apart from how it is drawn (`view`), and both from
//! terminal and sockets (`screen`, `link`, `session`).

mod link;
mod look;
mod once;
#[cfg(test)]
mod properties;
mod rates;
mod screen;
mod session;
mod state;
#[cfg(test)]
mod tests;
mod view;
mod world;

use std::process::ExitCode;

use clap::Args;
use signal_hook::low_level::emulate_default_handler;

use super::daemon::{At, complain, finish};
use crate::config_file::reason;
use crate::control::client::ClientError;
use look::Look;
use session::End;

/// The command line of `knockctl watch`.
#[derive(Debug, Args)]
pub struct Options {
    /// Print one screen as plain text, and end; COLUMNS and LINES say its size
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    at: At,
}

/// Runs `knockctl watch`; exits with 1 if there is no terminal to draw on, or the daemon may not be
/// asked.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    let look = Look::from_environment();
    let Some(path) = options.at.path() else {
        return complain(&ClientError::None);
    };
    if options.once {
        return finish(once::text(&path, look));
    }
    if let Some(doubt) = screen::doubt() {
        anstream::eprintln!(
            "knockctl: {doubt}; `knockctl watch --once` prints one screen, `knockctl events \
             --follow` goes on"
        );
        return ExitCode::FAILURE;
    }
    // Who may not ask shall hear it now; a daemon that does not run is waited for.
    if let Err(error @ ClientError::NotPermitted(_)) = options.at.connect() {
        return complain(&error);
    }
    match session::run(&path, look) {
        Ok(End::Quit) => ExitCode::SUCCESS,
        Ok(End::Signal(signal)) => {
            emulate_default_handler(signal).ok();
            ExitCode::FAILURE
        }
        Err(error) => {
            anstream::eprintln!("knockctl: the terminal: {}", reason(&error));
            ExitCode::FAILURE
        }
    }
}
