//! The log: lines as the original words them, to every place that was asked for.
//!
//! Promise: writing a line never fails the daemon, and never waits for a log daemon or for the
//! reader of a log file that is a pipe. Standard output is waited for, as by any program. What came
//! from the network or from a configuration cannot break a line in two ([`Line::message`]).

mod file;
mod format;
mod journal;
mod line;
mod syslog;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use knock_core::config::LogFormat;

pub use line::{Level, Line};

use file::LogFile;
use journal::Journal;
use syslog::Syslog;

/// A line with what was not known when it was thought of.
#[derive(Clone, Debug)]
pub struct Record {
    /// The line.
    pub line: Line,
    /// When it happened.
    pub at: jiff::Timestamp,
    /// The name of the line's source (`-l`), if there is one.
    pub host: Option<Arc<str>>,
}

impl Record {
    /// `line`, happening now, with its source by number.
    #[must_use]
    pub fn now(line: Line) -> Self {
        Self {
            line,
            at: jiff::Timestamp::now(),
            host: None,
        }
    }

    /// The text of the line, as [`Line::message`] gives it.
    #[must_use]
    pub fn message(&self) -> String {
        self.line.message(self.host.as_deref())
    }
}

/// Where lines go.
#[derive(Clone, Debug, Default)]
pub struct LogSetup {
    /// `logfile`, absolute.
    pub file: Option<PathBuf>,
    /// `usesyslog`.
    pub syslog: bool,
    /// `log_format`, for the file.
    pub format: LogFormat,
    /// `log_level = debug`: lines at [`Level::Debug`] go everywhere.
    pub debug: bool,
    /// What is printed.
    pub console: Console,
}

/// What is printed on standard output (and, for warnings and errors, on standard error).
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Console {
    /// Nothing (`-d`).
    #[default]
    Off,
    /// Every line if there is no other place for them, otherwise nothing.
    ///
    /// The original says nothing at all then, and nobody ever learns what the daemon does.
    IfAlone,
    /// Every line (`-v`).
    Lines,
    /// Every line, also those at [`Level::Debug`] (`-D`).
    Debug,
}

/// The open log.
#[derive(Debug)]
pub struct Log {
    setup: LogSetup,
    file: Option<LogFile>,
    syslog: Option<Syslog>,
    journal: Option<Journal>,
    zone: TimeZone,
}

impl Log {
    /// Opens every place of `setup`, and the journal where standard output leads to it.
    #[must_use]
    pub fn open(setup: LogSetup) -> Self {
        let journal = Journal::if_stdio_leads_there();
        Self::with_journal(setup, journal)
    }

    fn with_journal(setup: LogSetup, journal: Option<Journal>) -> Self {
        let covered = journal.is_some() && syslog::is_the_journal(Path::new(syslog::SOCKET));
        let file = setup.file.clone().map(LogFile::new);
        let syslog = (setup.syslog && !covered).then(|| Syslog::new(syslog::SOCKET.into()));
        let zone = TimeZone::try_system().unwrap_or(TimeZone::UTC);
        let mut log = Self {
            setup,
            file,
            syslog,
            journal,
            zone,
        };
        log.open_file();
        log
    }

    /// Closes everything and opens it again, as `setup` says now. A log file that was renamed is
    /// made anew.
    pub fn reopen(&mut self, setup: LogSetup) {
        *self = Self::with_journal(setup, self.journal.take());
    }

    /// Whether lines at [`Level::Debug`] go everywhere, from now on.
    pub const fn set_debug(&mut self, debug: bool) {
        self.setup.debug = debug;
    }

    /// What it was opened with.
    #[must_use]
    pub const fn setup(&self) -> &LogSetup {
        &self.setup
    }

    /// Writes `record` to every place.
    pub fn write(&mut self, record: &Record) {
        if record.line.level >= Level::Info || self.setup.debug {
            self.write_file(record);
            if let Some(syslog) = &mut self.syslog {
                syslog.write(record, &self.zone);
            }
            if let Some(journal) = &mut self.journal {
                journal.write(record);
            }
        }
        self.print(record);
    }

    /// Writes `line` with the time of now.
    pub fn line(&mut self, line: Line) {
        self.write(&Record::now(line));
    }

    fn write_file(&mut self, record: &Record) {
        let Some(file) = &mut self.file else { return };
        let text = format::render(self.setup.format, record, &self.zone);
        if let Err(error) = file.append(&text) {
            let path = file.path().display().to_string();
            self.lament(format!("cannot write to log file {path}: {error}"));
        }
    }

    fn open_file(&mut self) {
        // The words of the original, and as there it is no reason not to start.
        if let Some(Err(error)) = self.file.as_mut().map(LogFile::open) {
            let error = crate::config_file::reason(&error);
            self.lament(format!("warning: cannot open logfile: {error}"));
        }
    }

    /// Says once, in every other place, that the log file fails.
    fn lament(&mut self, text: String) {
        let record = Record::now(Line::new(Level::Warning, "log-file", text));
        if let Some(syslog) = &mut self.syslog {
            syslog.write(&record, &self.zone);
        }
        match &mut self.journal {
            Some(journal) => journal.write(&record),
            None => to_stderr(&record.message()),
        }
    }

    fn print(&self, record: &Record) {
        let alone = self.file.is_none() && self.syslog.is_none();
        let shown = match self.setup.console {
            // The journal is standard output.
            _ if self.journal.is_some() => false,
            Console::Off => false,
            Console::IfAlone => alone && (record.line.level >= Level::Info || self.setup.debug),
            Console::Lines => record.line.level >= Level::Info || self.setup.debug,
            Console::Debug => true,
        };
        if !shown {
        } else if record.line.level >= Level::Warning {
            to_stderr(&record.message());
        } else {
            to_stdout(&record.message());
        }
    }
}

/// `text` without control characters, as log lines are.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    line::escape_into(&mut out, text);
    out
}

/// Prints a line; nobody may be listening.
pub fn to_stdout(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Prints a line on standard error; nobody may be listening.
pub fn to_stderr(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

#[cfg(test)]
mod tests;
