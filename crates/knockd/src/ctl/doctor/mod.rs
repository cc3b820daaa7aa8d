//! `knockctl doctor`: what each process of the running daemon may do, read from the kernel; and
//! whether the firewall of this machine drops what doors open.
//!
//! Nothing is taken from the daemon's own word or its log, and from its configuration only what
//! its doors open. What may not be read is told as such, never guessed, and keeps the exit status
//! from being 0.

mod capabilities;
mod descriptors;
pub(super) mod find;
pub mod firewall;
mod judge;
mod landlock;
mod limits;
mod names;
mod print;
mod process;
mod status;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod texts;
mod verdict;

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use nix::unistd::Uid;
use serde::Serialize;

use crate::cli::{DEFAULT_CONFIG, DEFAULT_PIDFILE};
use crate::config_file::{self, LoadError};
use crate::services::Services;
use capabilities::Capabilities;
use find::{By, Daemon, FindError};
use firewall::Look;
use landlock::Landlock;
use names::Names;
use process::{Process, Role};
use verdict::Verdict;

/// The command line of `knockctl doctor`.
#[derive(Debug, Args)]
pub struct Options {
    /// Read the doors of this file, instead of /etc/knockd.conf
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show only whether the firewall drops what doors open; no daemon need run
    #[arg(long)]
    firewall: bool,
    /// Show only what each process may do
    #[arg(long, conflicts_with = "firewall")]
    sandbox: bool,
    /// Look at the daemon whose process id is in this file
    #[arg(short, long, value_name = "FILE", conflicts_with = "pid")]
    pidfile: Option<PathBuf>,
    /// Look at the daemon with this process id
    #[arg(long, value_name = "N")]
    pid: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// All that was found.
#[derive(Clone, Debug, Serialize)]
struct Report {
    /// The keeper first.
    processes: Vec<Process>,
    names: Names,
    landlock: Landlock,
    #[serde(skip)]
    all_capabilities: Capabilities,
    verdicts: Vec<Verdict>,
    /// `None` if no door opens anything by itself, or nobody asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    firewall: Option<Look>,
    is_well: bool,
}

/// What `--firewall` prints.
#[derive(Debug, Serialize)]
struct FirewallReport {
    firewall: Option<Look>,
    is_well: bool,
}

/// Why there is no report.
enum DoctorError {
    /// The daemon.
    Find(FindError),
    /// A process of it has ended while it was looked at, or cannot be read at all.
    Process(u32, io::Error),
    /// Standard output.
    Output(io::Error),
}

/// Runs `knockctl doctor`; exits with 1 if something is amiss or unknown, or no daemon runs.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    match examine(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            anstream::eprintln!("knockctl: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
fn examine(options: &Options) -> Result<bool, DoctorError> {
    if options.firewall {
        return examine_firewall(options);
    }
    let proc = Path::new("/proc");
    let daemon = find(proc, options).map_err(DoctorError::Find)?;
    let mut report = Report::of(proc, &daemon)?;
    if !options.sandbox {
        report.add(look(options));
    }
    show(&report, options.json).map_err(DoctorError::Output)?;
    Ok(report.is_well)
}

fn examine_firewall(options: &Options) -> Result<bool, DoctorError> {
    let firewall = look(options);
    let is_well = firewall.as_ref().is_none_or(Look::is_well);
    let report = FirewallReport { firewall, is_well };
    show(&report, options.json).map_err(DoctorError::Output)?;
    Ok(is_well)
}

/// What the firewall makes of the doors. A file that nobody named need not be there: the daemon may
/// have another one.
fn look(options: &Options) -> Option<Look> {
    let named = options.config.as_deref();
    let path = named.unwrap_or(Path::new(DEFAULT_CONFIG));
    let config = match config_file::load(path, &Services::system()) {
        Ok(loaded) => loaded.config,
        Err(LoadError::Read { error, .. })
            if named.is_none() && error.kind() == io::ErrorKind::NotFound =>
        {
            let text = format!("not looked at, as there is no {}", path.display());
            return Some(Look::skipped(text));
        }
        Err(LoadError::Mistakes { .. }) => {
            let text = format!("not looked at, as {} has mistakes", path.display());
            return Some(Look::unread(text));
        }
        Err(error) => return Some(Look::unread(format!("not looked at: {error}"))),
    };
    firewall::look(&config.doors, &config.options.interfaces)
}

fn find(proc: &Path, options: &Options) -> Result<Daemon, FindError> {
    if let Some(pid) = options.pid {
        return find::find(proc, &By::Pid(pid));
    }
    if let Some(path) = &options.pidfile {
        return find::find(proc, &By::Pidfile(path));
    }
    find::find(proc, &By::Search(&usual_pidfiles()))
}

/// That of the configuration, if it can be read, and the default one.
fn usual_pidfiles() -> Vec<PathBuf> {
    let loaded = config_file::load(Path::new(DEFAULT_CONFIG), &Services::system());
    let configured = loaded.ok().and_then(|loaded| loaded.config.options.pidfile);
    let mut pidfiles: Vec<_> = configured.map(PathBuf::from).into_iter().collect();
    pidfiles.push(DEFAULT_PIDFILE.into());
    pidfiles
}

impl Report {
    fn of(proc: &Path, daemon: &Daemon) -> Result<Self, DoctorError> {
        let read = |pid, role| {
            Process::read(proc, pid, role).map_err(|error| DoctorError::Process(pid, error))
        };
        let mut processes = vec![read(daemon.keeper, Role::Keeper)?];
        for listener in &daemon.listeners {
            processes.push(read(*listener, Role::Listener)?);
        }
        let last = fs::read_to_string(proc.join("sys/kernel/cap_last_cap"));
        let all = Capabilities::all(&last.unwrap_or_default());
        let names = Names::of(&processes);
        let landlock = Landlock::of_kernel();
        Ok(Self::new(processes, names, landlock, all))
    }

    fn new(processes: Vec<Process>, names: Names, landlock: Landlock, all: Capabilities) -> Self {
        let verdicts = judge::judge(&processes, all, &names);
        Self {
            is_well: verdicts.iter().all(Verdict::is_well),
            processes,
            names,
            landlock,
            all_capabilities: all,
            verdicts,
            firewall: None,
        }
    }

    fn add(&mut self, firewall: Option<Look>) {
        self.is_well &= firewall.as_ref().is_none_or(Look::is_well);
        self.firewall = firewall;
    }
}

/// Writes a report; a reader that has gone away has read enough.
fn show(report: &(impl fmt::Display + Serialize), json: bool) -> io::Result<()> {
    let text = if json {
        let mut text = serde_json::to_string(report).map_err(io::Error::from)?;
        text.push('\n');
        text
    } else {
        report.to_string()
    };
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

impl fmt::Display for FirewallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.firewall {
            Some(look) => look.fmt(f),
            None => f.write_str("no door opens a port by itself: nothing to look at\n"),
        }
    }
}

impl fmt::Display for DoctorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Find(error) => error.fmt(f),
            Self::Process(pid, error) if error.kind() == io::ErrorKind::NotFound => {
                write!(f, "process {pid} has just ended")
            }
            Self::Process(pid, error) => {
                write!(
                    f,
                    "cannot read process {pid}: {}",
                    config_file::reason(error)
                )
            }
            Self::Output(error) => write!(f, "cannot write: {error}"),
        }
    }
}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Processes(error) => {
                write!(f, "cannot list processes: {}", config_file::reason(error))
            }
            // An account may see only its own processes (the option hidepid of proc).
            Self::None if Uid::effective().is_root() => f.write_str("no knockd runs"),
            Self::None => f.write_str("no knockd runs that this account can see"),
            Self::Several(pids) => {
                let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
                write!(
                    f,
                    "several daemons run; say which with --pid: {}",
                    pids.join(", ")
                )
            }
            Self::NoProcess(pid) => write!(f, "there is no process {pid}"),
            Self::Pidfile(path, error) => {
                write!(f, "{}: {}", path.display(), config_file::reason(error))
            }
            Self::Stale(path, pid, None) => {
                write!(f, "{}: there is no process {pid}", path.display())
            }
            Self::Stale(path, pid, Some(name)) => {
                let (path, name) = (path.display(), name.escape_debug());
                write!(f, "{path}: process {pid} is not knockd but {name}")
            }
        }
    }
}
