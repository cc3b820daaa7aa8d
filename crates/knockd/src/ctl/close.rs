//! `knockctl close`: closes what is open, before its time.

use std::net::IpAddr;
use std::process::ExitCode;

use clap::Args;

use super::daemon::{At, finish, strange};
use crate::control::client::ClientError;
use crate::control::{Answer, Closed, Request};
use crate::events::Grant;

/// The command line of `knockctl close`.
#[derive(Debug, Args)]
pub struct Options {
    /// A door's name, an address, or a door and an address
    #[arg(value_name = "DOOR|ADDRESS", num_args = 1..=2, required_unless_present = "all")]
    what: Vec<String>,
    /// Close everything
    #[arg(long, conflicts_with = "what")]
    all: bool,
    /// End the connections too that have come in by it
    #[arg(long)]
    kill: bool,
    #[command(flatten)]
    at: At,
}

/// Runs `knockctl close`; exits with 1 if something is still open.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    let Some((door, source)) = named(&options.what) else {
        anstream::eprintln!(
            "knockctl: a door and an address are expected, in this order; the second is no address: {}",
            options.what.join(" ")
        );
        return ExitCode::from(2);
    };
    finish(close(options, door, source))
}

/// The door and the address that are meant. One word that is an address is one: a door that is named
/// so needs the address beside it.
fn named(what: &[String]) -> Option<(Option<String>, Option<IpAddr>)> {
    match what {
        [] => Some((None, None)),
        [one] => Some(match one.parse() {
            Ok(address) => (None, Some(address)),
            Err(_) => (Some(one.clone()), None),
        }),
        [door, address, ..] => Some((Some(door.clone()), Some(address.parse().ok()?))),
    }
}

fn close(
    options: &Options,
    door: Option<String>,
    source: Option<IpAddr>,
) -> Result<String, ClientError> {
    let request = Request::Close {
        door,
        source,
        all: options.all,
        kill: options.kill,
    };
    match options.at.ask(&request)? {
        Answer::Closed {
            closed,
            connections_ended,
        } => Ok(told(&closed, connections_ended, options.kill)),
        other => Err(strange(&other)),
    }
}

fn told(closed: &[Closed], ended: u64, kill: bool) -> String {
    if closed.is_empty() {
        return "nothing was open".to_owned();
    }
    let mut text = String::new();
    for Closed { door, to, grant } in closed {
        let how = match grant {
            Grant::Gate => "closed",
            Grant::Commands(_) => "its stop command runs",
        };
        text.push_str(&format!("{to}: {door}: {how}\n"));
    }
    if kill {
        text.push_str(&format!("{ended} connections ended\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_an_address_is_one() {
        let words = |text: &str| named(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let address = Some("192.0.2.1".parse().unwrap());
        assert_eq!(words("ssh"), Some((Some("ssh".to_owned()), None)));
        assert_eq!(words("192.0.2.1"), Some((None, address)));
        let both = Some((Some("10.0.0.1".to_owned()), address));
        assert_eq!(words("10.0.0.1 192.0.2.1"), both);
        assert_eq!(words("192.0.2.1 ssh"), None);
    }
}
