//! `knockctl events`: what has happened, and what happens from now on.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use super::daemon::{At, complain, strange};
use crate::control::client::ClientError;
use crate::control::{Answer, Request};
use crate::events::{Event, Kind};

/// The command line of `knockctl events`.
#[derive(Debug, Args)]
pub struct Options {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Go on with what happens from now on
    #[arg(short, long)]
    follow: bool,
    /// Begin with the event of this number, instead of the oldest that is remembered
    #[arg(long, value_name = "N")]
    since: Option<u64>,
    #[command(flatten)]
    at: At,
}

/// Why there are no more events.
enum End {
    Client(ClientError),
    /// Nobody reads them.
    Output(io::Error),
}

/// Runs `knockctl events`; exits with 1 if the daemon cannot be asked, or ends.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    match print_all(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(End::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(End::Output(error)) => complain(&ClientError::Io(error)),
        Err(End::Client(error)) => complain(&error),
    }
}

fn print_all(options: &Options) -> Result<(), End> {
    let mut connection = options.at.connect()?;
    connection.send(&Request::Events {
        since: options.since,
        follow: options.follow,
    })?;
    let mut out = io::stdout().lock();
    loop {
        match connection.hear()? {
            Answer::End { .. } => return Ok(()),
            Answer::Error {
                code,
                message,
                details,
            } => return Err(ClientError::Refused(code, message, details).into()),
            answer => print(&mut out, &answer, options.json)?,
        }
        if !connection.has_buffered() {
            out.flush()?;
        }
    }
}

fn print(out: &mut impl Write, answer: &Answer, json: bool) -> Result<(), End> {
    match answer {
        Answer::Event(event) if json => {
            let text = serde_json::to_string(event).unwrap_or_default();
            writeln!(out, "{text}")?;
        }
        // Not mixed with what programs read: they see it by the numbers.
        Answer::Missed { .. } if json => {}
        Answer::Event(event) => writeln!(out, "{}", line(event))?,
        Answer::Missed { count } => {
            writeln!(out, "({count} events are not remembered any more)")?;
        }
        other => return Err(strange(other).into()),
    }
    Ok(())
}

/// For a person: number, local time, what, and the words of the log.
fn line(event: &Event) -> String {
    let zone = jiff::tz::TimeZone::try_system().unwrap_or(jiff::tz::TimeZone::UTC);
    let time = event.time.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S");
    let (seq, kind, text) = (event.seq, event.kind.name(), &event.text);
    let mut line = format!("{seq:>6}  {time}  {kind:<14}  {text}");
    // What an operator has asked for stands in the text.
    if let Some(reason) = event.reason.filter(|_| event.kind != Kind::Operator) {
        line.push_str(&format!(" ({})", reason.name()));
    }
    line
}

impl From<ClientError> for End {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
