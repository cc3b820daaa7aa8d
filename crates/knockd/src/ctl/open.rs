//! `knockctl open`: opens a door as its knock would.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use knock_core::time::InUnits;

use super::daemon::{At, finish, strange};
use super::time;
use crate::control::client::ClientError;
use crate::control::{Answer, Commands, Opened, Request};

/// The command line of `knockctl open`.
#[derive(Debug, Args)]
pub struct Options {
    /// The door's name
    door: String,
    /// For which address
    address: IpAddr,
    /// For how long: a number with s, m or h; as the door says if not given
    #[arg(long = "for", value_name = "TIME", value_parser = time::parse)]
    time: Option<Duration>,
    #[command(flatten)]
    at: At,
}

/// Runs `knockctl open`; exits with 1 if the door is not open.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    finish(open(options))
}

fn open(options: &Options) -> Result<String, ClientError> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let request = Request::Open {
        door: options.door.clone(),
        source: options.address,
        for_ms: options.time.map(millis),
    };
    match options.at.ask(&request)? {
        Answer::Opened(opened) => Ok(told(&opened)),
        other => Err(strange(&other)),
    }
}

fn told(opened: &Opened) -> String {
    let Opened {
        door,
        source,
        services,
        until,
        extended,
        commands,
    } = opened;
    let mut text = format!("{door} is open for {source}");
    if !services.is_empty() {
        text.push_str(&format!(": {}", services.join(", ")));
    }
    if let Some(until) = until {
        let left = until.duration_since(jiff::Timestamp::now());
        let left = Duration::try_from(left).unwrap_or_default();
        let left = Duration::from_secs(left.saturating_add(Duration::from_millis(500)).as_secs());
        text.push_str(&format!(", for {}", InUnits(left)));
        if *extended {
            text.push_str(" more");
        }
    }
    match commands {
        None => {}
        Some(Commands::Started) => text.push_str("; its command was started"),
        Some(Commands::Waiting) => text.push_str("; its command waits for others to end"),
        Some(Commands::Extended) => text.push_str("; it was open, and no command was run"),
    }
    text
}
