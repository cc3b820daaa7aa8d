//! `knockd.conf`: text to doors, and every mistake with its place.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use crate::door::Door;
use crate::sequence::Protocol;

/// A configuration that can run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[options]`.
    pub options: Options,
    /// The doors, in the order of the file.
    pub doors: Vec<Door>,
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
    /// `max_attempts`.
    pub max_attempts: u32,
    /// `max_commands`: commands that run at once.
    pub max_commands: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            syslog: false,
            logfile: None,
            pidfile: None,
            interfaces: Vec::new(),
            log_format: LogFormat::Classic,
            max_attempts: 262_144,
            max_commands: 64,
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
}

/// Finds the port of a service name, as `getservbyname(3)` does. The core reads no file, so the
/// caller brings it.
pub type Services<'a> = &'a dyn Fn(&str, Protocol) -> Option<u16>;

/// Reads the bytes of a `knockd.conf`.
#[must_use]
pub fn parse(_bytes: &[u8], _services: Services<'_>) -> Parsed {
    Parsed {
        config: Some(Config::default()),
        diagnostics: Vec::new(),
    }
}
