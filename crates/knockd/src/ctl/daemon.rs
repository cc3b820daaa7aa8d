//! Which running daemon a command asks, and how it says that it cannot.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use knock_core::config::keys::Key;
use knock_core::config::{ControlPlace, parse};

use crate::cli::DEFAULT_CONFIG;
use crate::control::client::{ClientError, Connection, socket_path};
use crate::control::{Answer, Request};

/// Where the daemon listens for operators.
#[derive(Debug, Args)]
pub(super) struct At {
    /// Ask the daemon whose configuration this is
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = DEFAULT_CONFIG,
        conflicts_with = "socket"
    )]
    config: PathBuf,
    /// Ask the daemon with this control socket
    #[arg(short, long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl At {
    pub(super) fn connect(&self) -> Result<Connection, ClientError> {
        let path = self.path().ok_or(ClientError::None)?;
        Connection::open(&path)
    }

    /// Asks one thing.
    pub(super) fn ask(&self, request: &Request) -> Result<Answer, ClientError> {
        self.connect()?.ask(request)
    }

    /// Where the socket is, or would be; `None` if there is to be none.
    pub(super) fn path(&self) -> Option<PathBuf> {
        if let Some(path) = &self.socket {
            return Some(path.clone());
        }
        let place = place_of(&self.config);
        let own = socket_path(&place);
        if place == ControlPlace::Usual && !own.as_ref().is_some_and(|own| own.exists()) {
            // An ordinary user more likely means the daemon of the machine.
            return Some(ControlPlace::USUAL.into());
        }
        own
    }
}

/// Where the configuration puts the socket. It may have mistakes, which a daemon that runs does not
/// know of yet, or not be there.
fn place_of(config: &Path) -> ControlPlace {
    let bytes = std::fs::read(config).unwrap_or_default();
    let parsed = parse(&bytes, &|_, _| None);
    let options = &parsed.places.options;
    let place = options
        .iter()
        .rfind(|place| place.key == Key::ControlSocket);
    let value = place.and_then(|place| bytes.get(place.value.clone()));
    match value.and_then(|value| std::str::from_utf8(value).ok()) {
        Some(none) if none.eq_ignore_ascii_case("none") => ControlPlace::None,
        Some(path) if path.starts_with('/') => ControlPlace::At(path.to_owned()),
        _ => ControlPlace::Usual,
    }
}

/// Prints what was done, or why it was not, and gives the exit status.
pub(super) fn finish(done: Result<String, ClientError>) -> ExitCode {
    match done {
        Ok(text) if text.is_empty() => ExitCode::SUCCESS,
        Ok(text) => {
            crate::log::to_stdout(text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => complain(&error),
    }
}

/// Says why it was not done.
pub(super) fn complain(error: &ClientError) -> ExitCode {
    anstream::eprintln!("knockctl: {error}");
    if let ClientError::Refused(_, _, details) = error {
        for line in details {
            anstream::eprintln!("{}", crate::log::escaped(line));
        }
    }
    ExitCode::FAILURE
}

/// An answer to another question.
pub(super) fn strange(answer: &Answer) -> ClientError {
    let line = answer.to_line();
    ClientError::Strange(line.chars().take(60).collect())
}
