//! `--wait`: until a port answers, with something to look at on a terminal.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::{Value, json};

use super::{complain, say};
use crate::pace::Limit;
use crate::reach::{self, PATIENCE, WaitFor};
use crate::spa::report;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(120);

/// What is done until a door is open.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Waiting")]
pub struct Waiting {
    /// Wait until this port answers (the default is the one that a single packet opens)
    #[arg(
        long,
        value_name = "tcp/PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    pub(super) wait: Option<WaitFor>,
    /// Wait for TIME after each knock (the default is 10s)
    #[arg(long, value_name = "TIME")]
    pub(super) timeout: Option<Limit>,
    /// Knock up to N times more while it does not answer
    #[arg(long, value_name = "N")]
    pub(super) retry: Option<u8>,
}

/// The arguments with `--wait tcp/22` as `--wait=tcp/22`: a host can follow the option as well.
pub(super) fn joined(args: &[OsString]) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::with_capacity(args.len());
    let mut is_wait = false;
    for arg in args {
        let text = arg.to_str().unwrap_or_default();
        match joined.last_mut() {
            Some(option) if is_wait && is_port(text) => {
                option.push("=");
                option.push(arg);
            }
            _ => joined.push(arg.clone()),
        }
        is_wait = text.len() > "--".len() && "--wait".starts_with(text);
    }
    joined
}

/// Also one that cannot be waited for, so that it is told so.
fn is_port(text: &str) -> bool {
    text.starts_with("tcp/") || text.starts_with("udp/")
}

impl Waiting {
    /// Says if there is something to do while one waits, but nothing to wait for.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let more = self.timeout.is_some() || self.retry.is_some();
        (more && self.wait.is_none())
            .then_some("--retry and --timeout are about a wait: say for which port (--wait tcp/22)")
    }

    /// How often is knocked, at most.
    pub(super) fn rounds(&self) -> u32 {
        u32::from(self.retry.unwrap_or(0)).saturating_add(1)
    }
}

/// How much is said.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Voice {
    /// Lines.
    Lines,
    /// One object, at the end.
    Json,
    /// Nothing.
    Quiet,
}

/// What came of a wait.
#[derive(Debug)]
pub(super) struct Waited {
    to: SocketAddr,
    after: Duration,
    error: Option<io::Error>,
}

impl Waited {
    /// Waits until the port of `way` answers. The first attempt is given `first`.
    pub(super) fn for_port(
        way: reach::Way<'_>,
        first: Duration,
        waiting: &Waiting,
        voice: Voice,
    ) -> Self {
        let begun = Instant::now();
        let spinner = spinner(voice, &way.to);
        let limit = waiting.timeout.map_or(PATIENCE, Limit::get);
        let connected = reach::connect(way, first, limit);
        spinner.finish_and_clear();
        Self {
            to: way.to,
            after: begun.elapsed(),
            error: connected.err(),
        }
    }

    /// Whether the port has answered.
    pub(super) const fn is_open(&self) -> bool {
        self.error.is_none()
    }

    /// Says what came of it, after so many knocks.
    pub(super) fn tell(&self, rounds: u32) {
        let (to, after) = (self.to, Seconds(self.after));
        let knocks = match rounds {
            1 => String::new(),
            more => format!(", after {more} knocks"),
        };
        match &self.error {
            None => say(&format!("tcp {to} answers after {after}{knocks}")),
            Some(error) => complain(&format!(
                "tcp {to} does not answer within {after}{knocks}: {error}"
            )),
        }
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        let millis = u64::try_from(self.after.as_millis()).unwrap_or(u64::MAX);
        let error = self.error.as_ref().map(ToString::to_string);
        json!({
            "to": self.to.to_string(),
            "answers": self.is_open(),
            "after_ms": millis,
            "reason": error.as_deref().map(super::without_number),
        })
    }

    /// The exit code.
    pub(super) const fn code(&self) -> u8 {
        if self.is_open() {
            report::DONE
        } else {
            report::SILENT
        }
    }
}

/// `0.012 s`
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        write!(f, "{}.{:03} s", millis / 1000, millis % 1000)
    }
}

/// Only on a terminal, which `indicatif` finds out by itself, and where lines are wanted.
fn spinner(voice: Voice, to: &SocketAddr) -> ProgressBar {
    if voice != Voice::Lines {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let spinner = spinner.with_message(format!("waiting for tcp {to}"));
    spinner.set_style(indicatif::ProgressStyle::default_spinner());
    spinner.enable_steady_tick(TICK);
    spinner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_follows_the_option_belongs_to_it_and_a_host_does_not() {
        let joined = |line: &str| {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            joined(&args).join(" ".as_ref())
        };
        assert_eq!(joined("knock --wait tcp/22 web"), "knock --wait=tcp/22 web");
        assert_eq!(joined("knock --wa udp/1 web"), "knock --wa=udp/1 web");
        for line in [
            "knock --wait web 7000",
            "knock --wait ./web.toml",
            "knock tcp/22 --wait",
        ] {
            assert_eq!(joined(line), line);
        }
    }
}
