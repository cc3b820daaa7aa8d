//! `knockd.conf`: text to doors, and every mistake with its place.
//!
//! Promise: any bytes give an answer; all mistakes of a file are reported at once, in their order;
//! a file that the original understood as it was meant is understood likewise.

mod closing;
mod door;
pub mod guard;
pub mod keys;
mod lint;
mod open;
mod prefixes;
mod reader;
mod report;
mod spa;
mod steps;
mod suggest;
mod text;
mod values;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use lint::{lint, scan};
pub use steps::SERVICE_HELP;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::ops::Range;
use core::time::Duration;

use crate::door::{Door, Hooks};
use crate::sequence::Protocol;
use crate::spa::Spa;
use crate::template::Template;
use keys::Key;

/// A configuration that can run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[options]`.
    pub options: Options,
    /// The doors, in the order of the file.
    pub doors: Vec<Door>,
}

impl Config {
    /// The UDP ports at which sealed packets are to be heard: none if no door can be opened so.
    #[must_use]
    pub fn spa_ports(&self) -> &[u16] {
        if self.doors.iter().any(|door| door.spa.is_some()) {
            &self.options.spa_ports
        } else {
            &[]
        }
    }

    /// Those of [`Config::spa_ports`] at which the gate, where there is one, is to drop all that comes
    /// from outside.
    #[must_use]
    pub fn silent_ports(&self) -> &[u16] {
        if self.options.spa_silent {
            self.spa_ports()
        } else {
            &[]
        }
    }
}

/// `[options]`: what holds for the whole daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `usesyslog`.
    pub syslog: bool,
    /// `logfile`.
    pub logfile: Option<String>,
    /// `pidfile`.
    pub pidfile: Option<String>,
    /// `interface`: names, or `any`; empty where it was not given.
    pub interfaces: Vec<String>,
    /// `log_format`.
    pub log_format: LogFormat,
    /// `log_level`.
    pub log_level: LogLevel,
    /// `max_attempts`.
    pub max_attempts: u32,
    /// `max_commands`: commands that run at once.
    pub max_commands: u32,
    /// `user`: the account of the process that reads packets; the daemon's choice if not given.
    pub user: Option<String>,
    /// `sandbox`.
    pub sandbox: Sandbox,
    /// `on_stop`.
    pub on_stop: OnStop,
    /// `journal`.
    pub journal: JournalPlace,
    /// `control_socket`.
    pub control: ControlPlace,
    /// `audit_file`: a path that begins with `/`; there is no audit trail without one.
    pub audit_file: Option<String>,
    /// `on_start`.
    pub on_start: Option<Template>,
    /// `on_exit`.
    pub on_exit: Option<Template>,
    /// `on_open`, `on_close` and `on_refuse`, for doors that do not say it themselves.
    pub hooks: Hooks,
    /// `shadow`.
    pub shadow: bool,
    /// `metrics_socket`: a path that begins with `/`.
    pub metrics_socket: Option<String>,
    /// `metrics_address`: a loopback address, and no port 0.
    pub metrics_address: Option<SocketAddr>,
    /// `spa_port`: UDP ports, each once, at least one and at most [`Spa::MAX_PORTS`].
    pub spa_ports: Vec<u16>,
    /// `spa_window`: from [`Spa::MIN_WINDOW`] to [`Spa::MAX_WINDOW`].
    pub spa_window: Duration,
    /// `spa_silent`.
    pub spa_silent: bool,
    /// `state_dir`: a path that begins with `/`.
    pub state_dir: String,
    /// `revoked_keys`: a path that begins with `/`; nothing is revoked without one.
    pub revoked_keys: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            syslog: false,
            logfile: None,
            pidfile: None,
            interfaces: Vec::new(),
            log_format: LogFormat::Classic,
            log_level: LogLevel::Info,
            max_attempts: 262_144,
            max_commands: 64,
            user: None,
            sandbox: Sandbox::On,
            on_stop: OnStop::Close,
            journal: JournalPlace::Usual,
            control: ControlPlace::Usual,
            audit_file: None,
            on_start: None,
            on_exit: None,
            hooks: Hooks::default(),
            shadow: false,
            metrics_socket: None,
            metrics_address: None,
            spa_ports: vec![Spa::PORT],
            spa_window: Spa::WINDOW,
            spa_silent: true,
            state_dir: Spa::STATE_DIR.into(),
            revoked_keys: None,
        }
    }
}

/// How lines of the log file look.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// As the original: `[2026-11-23 03:15] text`, local time.
    #[default]
    Classic,
    /// RFC 3339 time with milliseconds and offset, then the text.
    Rfc3339,
    /// One JSON object a line.
    Json,
}

/// How the process that reads packets is confined.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// By as many layers as the kernel has.
    #[default]
    On,
    /// By all layers, or the daemon does not start.
    Require,
    /// Not at all.
    Off,
}

/// What becomes of open doors when the daemon stops.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum OnStop {
    /// All are closed at once.
    #[default]
    Close,
    /// They stay open until their time is over; what is then owed is done by the next daemon.
    Keep,
}

/// Where the journal of grants is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum JournalPlace {
    /// Nothing was said: at [`JournalPlace::USUAL`], if it can be there.
    #[default]
    Usual,
    /// At this path, which begins with `/`.
    At(String),
    /// There is none.
    Off,
}

impl JournalPlace {
    /// Where it is if nothing is said.
    pub const USUAL: &'static str = "/var/lib/knockd/journal";

    /// Its path, if there is to be one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Usual => Some(Self::USUAL),
            Self::At(path) => Some(path),
            Self::Off => None,
        }
    }
}

/// Where the control socket is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ControlPlace {
    /// Nothing was said: at [`ControlPlace::USUAL`] for root, if it can be there.
    #[default]
    Usual,
    /// At this path, which begins with `/`.
    At(String),
    /// There is none.
    None,
}

impl ControlPlace {
    /// Where it is if nothing is said.
    pub const USUAL: &'static str = "/run/knockd/control.sock";
}

/// How much is logged.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// As the original: starts, stages, openings, commands, time-outs.
    #[default]
    Info,
    /// Also knocks that ended an attempt.
    Debug,
}

/// How bad a [`Diagnostic`] is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot run.
    Error,
    /// It runs, but hardly as meant.
    Warning,
}

/// A mistake in a configuration, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The bytes of the file that are at fault.
    pub span: Range<usize>,
    /// What is wrong; lower case, no full stop.
    pub message: String,
    /// What was expected, said under the caret.
    pub expected: String,
    /// What to write instead, or why, where it helps.
    pub help: Option<String>,
}

/// What came out of a configuration text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The configuration, unless there was an error.
    pub config: Option<Config>,
    /// Every mistake, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// Where everything stands in the file.
    pub places: Places,
}

/// Where the parts of a configuration stand in its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The keys of every `[options]`, in the order of the file.
    pub options: Vec<KeyPlace>,
    /// The doors; where there is a configuration, at the same indices as its doors.
    pub doors: Vec<DoorPlaces>,
}

/// Where a door stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorPlaces {
    /// The section header, brackets included.
    pub header: Range<usize>,
    /// Its keys, in the order of the file.
    pub keys: Vec<KeyPlace>,
}

/// Where a key stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    /// Which key.
    pub key: Key,
    /// The key, and its value if it has one.
    pub line: Range<usize>,
    /// The value without blanks around it; empty if there is none.
    pub value: Range<usize>,
}

impl DoorPlaces {
    /// The value of `key` that counts: its last one.
    #[must_use]
    pub fn value(&self, key: Key) -> Option<Range<usize>> {
        let place = self.keys.iter().rfind(|place| place.key == key)?;
        Some(place.value.clone())
    }
}

/// Finds the port of a service name, as `getservbyname(3)` does. The core reads no file, so the
/// caller brings it.
pub type Services<'a> = &'a dyn Fn(&str, Protocol) -> Option<u16>;

/// Reads the bytes of a `knockd.conf`. The time is linear in their number.
#[must_use]
pub fn parse(bytes: &[u8], services: Services<'_>) -> Parsed {
    reader::Reader::new(bytes, services).read()
}
