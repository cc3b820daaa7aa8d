//! `knockctl check`: every mistake of a configuration, and what is amiss around it.
//!
//! Beyond the parser's errors and warnings and the lints of the file itself, it looks at the
//! machine: listening ports, programs, files and accounts that the configuration names. Then it
//! says what the doors guard. It changes nothing and runs nothing.

pub(super) mod clients;
mod files;
pub(super) mod guards;
pub(super) mod listeners;
mod programs;
mod scans;
mod sealed;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use knock_core::config::guard::Guards;
use knock_core::config::keys::Key;
use knock_core::config::{Diagnostic, Severity, lint};
use knock_core::door::SequenceSource;
use knock_core::sequence::Protocol;
use knock_core::spa::Spa;
use nix::unistd::{Uid, User};

use crate::config_file::{self, LoadError, Loaded};
use crate::diagnostics::{Note, render_with_notes};
use crate::gate::{Plan, Way};
use crate::services::Services;
use listeners::Listeners;
use programs::{Problem, SearchPath};

/// The command line of `knockctl check`.
#[derive(Debug, Args)]
pub struct Options {
    /// The file to check
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE",
        default_value = "/etc/knockd.conf"
    )]
    file: PathBuf,
    /// Exit with 1 also if there are only warnings
    #[arg(long)]
    deny_warnings: bool,
    /// Instead of warnings, print which port scans open each door, and how likely
    #[arg(long, conflicts_with = "deny_warnings")]
    scans: bool,
}

/// Runs `knockctl check`; exits with 1 if there is an error, or if the file cannot be read.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    let (text, good) = match config_file::load(&options.file, &Services::system()) {
        Ok(loaded) if options.scans => (scans::table(&loaded.config), true),
        Ok(loaded) => {
            let (text, is_clean) = report(&loaded);
            (text, is_clean || !options.deny_warnings)
        }
        Err(error @ LoadError::Mistakes { .. }) => (error.render(true), false),
        Err(error) => {
            anstream::eprintln!("knockctl: {error}");
            return ExitCode::FAILURE;
        }
    };
    match show(&text) {
        Ok(()) if good => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            anstream::eprintln!("knockctl: cannot write: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is said of a configuration without errors, and whether it is without warnings too.
pub(super) fn report(loaded: &Loaded) -> (String, bool) {
    let findings = Findings::of(loaded, &System::this());
    let guards = guards::text(&loaded.config, guards::ssh_port());
    let clients = clients::text(&loaded.config, Path::new(clients::FOLDER));
    let text = findings.render(loaded) + &guards + &clients;
    (text, findings.is_empty())
}

/// Writes the report; a reader that has gone away has read enough.
pub(super) fn show(text: &str) -> io::Result<()> {
    print(anstream::stdout().lock(), text.as_bytes())
}

/// Writes bytes as they are; a reader that has gone away has read enough.
pub(super) fn print(mut out: impl Write, bytes: &[u8]) -> io::Result<()> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// What is known of the machine.
#[derive(Debug, Default)]
struct System {
    listeners: Listeners,
    search: SearchPath,
    /// Where network interfaces are listed, if they are.
    interfaces: Option<PathBuf>,
}

impl System {
    fn this() -> Self {
        Self {
            listeners: Listeners::read(Path::new("/proc/net")),
            search: SearchPath::this(),
            interfaces: Some(PathBuf::from("/sys/class/net")).filter(|path| path.is_dir()),
        }
    }
}

/// All that is worth a warning.
#[derive(Debug, Default)]
struct Findings {
    diagnostics: Vec<Diagnostic>,
    notes: Vec<Note>,
}

impl Findings {
    /// The warnings of the parser, the lints, and those that the machine gives.
    fn of(loaded: &Loaded, system: &System) -> Self {
        let mut findings = Self {
            diagnostics: loaded.diagnostics.clone(),
            notes: files::readable_by_all(&loaded.path).into_iter().collect(),
        };
        findings
            .diagnostics
            .extend(lint(&loaded.config, &loaded.places));
        findings.options(loaded, system);
        let guards = Guards::of(&loaded.config.doors);
        for index in 0..loaded.config.doors.len() {
            findings.door(loaded, index, system, &guards);
        }
        findings.diagnostics.sort_by_key(|d| d.span.start);
        findings
    }

    fn is_empty(&self) -> bool {
        self.diagnostics.is_empty() && self.notes.is_empty()
    }

    fn render(&self, loaded: &Loaded) -> String {
        if self.is_empty() {
            let doors = match loaded.config.doors.len() {
                1 => "1 door".into(),
                n => format!("{n} doors"),
            };
            return format!("{}: {doors}, no mistake\n", loaded.path.display());
        }
        let Self { diagnostics, notes } = self;
        render_with_notes(&loaded.path, &loaded.bytes, diagnostics, notes, true)
    }

    fn warn(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        expected: impl Into<String>,
        help: Option<&str>,
    ) {
        self.diagnostics.push(Diagnostic {
            severity: Severity::Warning,
            span,
            message: message.into(),
            expected: expected.into(),
            help: help.map(Into::into),
        });
    }

    fn options(&mut self, loaded: &Loaded, system: &System) {
        let options = &loaded.config.options;
        let value = |key| {
            let mut places = loaded.places.options.iter();
            let place = places.rfind(|place| place.key == key)?;
            Some(place.value.clone())
        };
        for (key, path) in [
            (Key::LogFile, options.logfile.as_deref()),
            (Key::PidFile, options.pidfile.as_deref()),
            (Key::Journal, options.journal.path()),
            (Key::AuditFile, options.audit_file.as_deref()),
        ] {
            let problem = path.and_then(|path| files::cannot_create(Path::new(path)));
            if let (Some(span), Some((message, expected))) = (value(key), problem) {
                self.warn(span, message, expected, None);
            }
        }
        if let Some(span) = value(Key::StateDir)
            && let Some((message, expected)) = sealed::no_directory(Path::new(&options.state_dir))
        {
            self.warn(span, message, expected, None);
        }
        if let (Some(span), Some(path)) = (value(Key::RevokedKeys), &options.revoked_keys) {
            for (message, expected, help) in sealed::revoked(Path::new(path)) {
                self.warn(span.clone(), message, expected, help);
            }
        }
        for key in [
            Key::OnStart,
            Key::OnExit,
            Key::OnOpen,
            Key::OnClose,
            Key::OnRefuse,
        ] {
            self.command(loaded, value(key), &system.search);
        }
        self.sealed_ports(loaded, value(Key::SpaPort), system);
        let (Some(span), Some(known)) = (value(Key::Interface), &system.interfaces) else {
            return;
        };
        for name in options.interfaces.iter().filter(|name| *name != "any") {
            if !known.join(name).exists() {
                self.warn(
                    span.clone(),
                    format!("there is no interface `{name}` now"),
                    "the name of an interface of this machine",
                    Some("knockd waits until it is there"),
                );
            }
        }
    }

    /// A program that listens where sealed packets arrive gets them too. Where the port was not
    /// chosen, the first door that needs it says so.
    fn sealed_ports(&mut self, loaded: &Loaded, span: Option<Range<usize>>, system: &System) {
        let mut places = loaded.config.doors.iter().zip(&loaded.places.doors);
        let first = places.find(|(door, _)| door.spa.is_some());
        let keys = first.and_then(|(_, places)| places.value(Key::AuthorizedKeys));
        let Some(span) = span.or(keys) else { return };
        let gate = Plan::of(&loaded.config.doors);
        let gate = gate.silent_at(loaded.config.silent_ports());
        for port in loaded.config.spa_ports() {
            if !system.listeners.has(Protocol::Udp, *port) {
                continue;
            }
            let is_silent = gate.guarded().any(|one| one.way() == Way::Udp(*port));
            let (and, help) = if is_silent {
                let help =
                    "it hears nobody outside any more; `spa_silent = no` leaves it its packets";
                (", and the gate drops what comes there", help)
            } else {
                ("", "it gets them too, and may answer")
            };
            self.warn(
                span.clone(),
                format!("a program listens at UDP port {port}, where sealed packets arrive{and}"),
                "`spa_port` and a port at which nothing listens",
                Some(help),
            );
        }
    }

    fn door(&mut self, loaded: &Loaded, index: usize, system: &System, guards: &Guards<'_>) {
        let (Some(door), Some(places)) = (
            loaded.config.doors.get(index),
            loaded.places.doors.get(index),
        ) else {
            return;
        };
        let value = |key| places.value(key).filter(|span| !span.is_empty());
        match &door.trigger.source {
            SequenceSource::Fixed(sequence) => {
                let tcp = sequence
                    .steps()
                    .iter()
                    .filter(|s| s.protocol == Protocol::Tcp);
                let mut ports: Vec<u16> = tcp.map(|step| step.port).collect();
                ports.sort_unstable();
                ports.dedup();
                // Of a port that a door opens a lint has told, and no scan sees it.
                ports.retain(|port| {
                    let unguarded = guards.opener(Protocol::Tcp, *port).is_none();
                    unguarded && system.listeners.has(Protocol::Tcp, *port)
                });
                for port in ports {
                    let span = value(Key::Sequence).unwrap_or_default();
                    self.listening(span, port, door.trigger.flags.is_any());
                }
            }
            SequenceSource::OneTime(path) => {
                let span = value(Key::OneTimeSequences).unwrap_or_default();
                for (message, expected, help) in files::one_time(Path::new(path)) {
                    self.warn(span.clone(), message, expected, help);
                }
            }
            SequenceSource::None => {}
        }
        if let Some(spa) = &door.spa {
            let span = value(Key::AuthorizedKeys).unwrap_or_default();
            self.keys(span, spa);
        }
        for key in [
            Key::StartCommand,
            Key::StartCommand6,
            Key::StopCommand,
            Key::StopCommand6,
            Key::OnOpen,
            Key::OnClose,
            Key::OnRefuse,
        ] {
            self.command(loaded, value(key), &system.search);
        }
        if let (Some(span), Some(user)) = (value(Key::User), &door.action.user)
            && !account_exists(user)
        {
            let message = format!("there is no account `{user}`");
            self.warn(
                span,
                message,
                "the name of an account of this machine",
                None,
            );
        }
    }

    fn keys(&mut self, span: Range<usize>, spa: &Spa) {
        for source in &spa.keys {
            for (message, expected, help) in sealed::keys(source) {
                self.warn(span.clone(), message, expected, help);
            }
        }
    }

    fn listening(&mut self, span: Range<usize>, port: u16, any_flags: bool) {
        let help = if any_flags {
            "the segments of its connections end attempts; add `tcpflags = syn`, or take another"
        } else {
            "who connects to it knocks; and it answers, so that a scan sees it"
        };
        self.warn(
            span,
            format!("a program listens at TCP port {port}"),
            "ports at which nothing listens",
            Some(help),
        );
    }

    /// What the command at `span` starts.
    fn command(&mut self, loaded: &Loaded, span: Option<Range<usize>>, search: &SearchPath) {
        let text = span.clone().and_then(|span| loaded.bytes.get(span));
        let command = text.and_then(|bytes| str::from_utf8(bytes).ok());
        if let (Some(span), Some(command)) = (span, command) {
            self.program(span, command, search);
        }
    }

    fn program(&mut self, span: Range<usize>, command: &str, search: &SearchPath) {
        let Some((offset, name, problem)) = programs::check(command, search) else {
            return;
        };
        let message = match problem {
            Problem::Missing => format!("there is no program `{name}`"),
            Problem::NotExecutable => format!("`{name}` cannot be run"),
        };
        let expected = match problem {
            Problem::Missing if name.contains('/') => "the path of a program",
            Problem::Missing => "a program in a directory of $PATH, or its path",
            Problem::NotExecutable => "a file with the right to be executed",
        };
        let at = span.start + offset;
        self.warn(at..at + name.len(), message, expected, None);
    }
}

/// Whether `name` is the name or the number of an account. A database of accounts that cannot be
/// read is no answer, and no reason for a warning.
fn account_exists(name: &str) -> bool {
    let found = |user: nix::Result<Option<User>>| !matches!(user, Ok(None));
    match name.parse() {
        Ok(uid) => found(User::from_uid(Uid::from_raw(uid))) || found(User::from_name(name)),
        Err(_) => found(User::from_name(name)),
    }
}
