//! What the command line and the configuration say together.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use knock_core::config::{Config, JournalPlace, LogLevel, OnStop, Sandbox};
use knock_core::door::{Door, Hooks};

use super::one_time::Striking;
use super::operator;
use crate::cli::{Cli, DEFAULT_PIDFILE};
use crate::gate::{Plan, Standing};
use crate::listen::{DefaultInterface, default_interface};
use crate::log::{Console, LogSetup};

/// Command line and configuration, with the original's precedence: `-i` wins over the
/// configuration, and the configuration over `-g` and `-p` (KNOCKD.md 1.1, rows 61 and 62).
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) cli: Cli,
    /// The folder that it was started in: relative paths begin there, also after a reload.
    pub(super) folder: PathBuf,
    /// Whether it runs in the background.
    pub(super) background: bool,
    pub(super) interfaces: Interfaces,
    pub(super) log: LogSetup,
    /// Only with `-d`.
    pub(super) pidfile: Option<PathBuf>,
    pub(super) max_attempts: u32,
    pub(super) spa_ports: Vec<u16>,
    /// Those of them at which the gate drops all that comes.
    pub(super) silent_ports: Vec<u16>,
    pub(super) spa_window: Duration,
    pub(super) state_dir: PathBuf,
    /// What is revoked, if there is a list of it.
    pub(super) revoked_keys: Option<PathBuf>,
    pub(super) max_commands: usize,
    /// The listener's account, if the configuration names one.
    pub(super) user: Option<String>,
    pub(super) sandbox: Sandbox,
    pub(super) on_stop: OnStop,
    pub(super) journal: JournalPlace,
    /// Where the control socket is, if there is to be one, and whether the configuration names it.
    pub(super) control: Option<PathBuf>,
    pub(super) control_is_asked_for: bool,
    pub(super) audit_file: Option<PathBuf>,
    /// Whether it acts on nothing.
    pub(super) shadow: bool,
    /// The hooks of doors that are not there any more.
    pub(super) hooks: Hooks,
    pub(super) on_start: Option<String>,
    pub(super) on_exit: Option<String>,
    /// Where metrics are to be had, if anywhere.
    pub(super) metrics_socket: Option<PathBuf>,
    pub(super) metrics_address: Option<SocketAddr>,
    /// Where it stands what was said of the gate beside the configuration.
    pub(super) standing: Standing,
}

/// Which interfaces to listen on.
#[derive(Clone, Debug)]
pub(super) struct Interfaces {
    pub(super) names: Vec<String>,
    /// How they were chosen, where nobody named one.
    pub(super) default: Option<DefaultInterface>,
}

impl Settings {
    /// What `cli` and `config` say, in the background or not, started in `folder`.
    pub(super) fn new(cli: Cli, background: bool, folder: PathBuf, config: &Config) -> Self {
        let settings = Self::all(cli, background, folder, config);
        if config.options.shadow {
            settings.in_shadow()
        } else {
            settings
        }
    }

    fn all(cli: Cli, background: bool, folder: PathBuf, config: &Config) -> Self {
        let options = &config.options;
        let pidfile = options.pidfile.as_ref().map(PathBuf::from);
        let pidfile = pidfile.or_else(|| cli.pidfile.clone());
        let (control, control_is_asked_for) = operator::place(&options.control);
        let pidfile = pidfile.unwrap_or_else(|| DEFAULT_PIDFILE.into());
        Self {
            interfaces: Interfaces::new(&cli, config),
            log: log_setup(&cli, config, background, &folder),
            background,
            pidfile: cli.daemon.then(|| folder.join(pidfile)),
            max_attempts: options.max_attempts,
            spa_ports: config.spa_ports().to_vec(),
            silent_ports: config.silent_ports().to_vec(),
            spa_window: options.spa_window,
            state_dir: PathBuf::from(&options.state_dir),
            revoked_keys: options.revoked_keys.as_ref().map(PathBuf::from),
            max_commands: usize::try_from(options.max_commands).unwrap_or(usize::MAX),
            user: options.user.clone(),
            sandbox: options.sandbox,
            on_stop: options.on_stop,
            journal: options.journal.clone(),
            control,
            control_is_asked_for,
            shadow: false,
            audit_file: options.audit_file.as_ref().map(PathBuf::from),
            hooks: options.hooks.clone(),
            on_start: options.on_start.as_ref().map(ToString::to_string),
            on_exit: options.on_exit.as_ref().map(ToString::to_string),
            metrics_socket: options.metrics_socket.as_ref().map(PathBuf::from),
            metrics_address: options.metrics_address,
            standing: Standing::of(options),
            folder,
            cli,
        }
    }

    /// These, for a daemon that acts on nothing: without all that it would write, run or hold. A control
    /// socket it has only where one is asked for.
    fn in_shadow(mut self) -> Self {
        self.shadow = true;
        self.pidfile = None;
        self.journal = JournalPlace::Off;
        self.audit_file = None;
        self.hooks = Hooks::default();
        (self.on_start, self.on_exit) = (None, None);
        self.silent_ports = Vec::new();
        self.control = self.control.filter(|_| self.control_is_asked_for);
        self
    }

    /// The same with another configuration. What is a shadow stays one.
    pub(super) fn with(&self, config: &Config) -> Self {
        let (cli, folder) = (self.cli.clone(), self.folder.clone());
        let settings = Self::all(cli, self.background, folder, config);
        if self.shadow {
            settings.in_shadow()
        } else {
            settings
        }
    }

    /// What becomes of one-time sequences that were used.
    pub(super) fn striking(&self) -> Striking {
        if self.shadow {
            Striking::InMemory
        } else {
            Striking::OnDisk
        }
    }

    /// What is guarded where these are the doors.
    pub(super) fn plan(&self, doors: &[Door]) -> Plan {
        let doors = if self.shadow { &[] } else { doors };
        Plan::of(doors).silent_at(&self.silent_ports)
    }
}

impl Interfaces {
    fn new(cli: &Cli, config: &Config) -> Self {
        let mut names = cli.interfaces();
        if names.is_empty() {
            names.clone_from(&config.options.interfaces);
        }
        if !names.is_empty() {
            return Self {
                names,
                default: None,
            };
        }
        // Where the kernel does not tell its interfaces, listening will say so.
        let default = default_interface().unwrap_or(DefaultInterface::Any);
        Self {
            names: vec![default.name().to_owned()],
            default: Some(default),
        }
    }
}

fn log_setup(cli: &Cli, config: &Config, background: bool, folder: &Path) -> LogSetup {
    let options = &config.options;
    let file = options.logfile.as_ref().map(PathBuf::from);
    let file = file.or_else(|| cli.logfile.clone());
    let console = if background {
        Console::Off
    } else if cli.debug {
        Console::Debug
    } else if cli.verbose {
        Console::Lines
    } else {
        Console::IfAlone
    };
    LogSetup {
        file: file.map(|file| folder.join(file)),
        syslog: options.syslog,
        format: options.log_format,
        debug: options.log_level == LogLevel::Debug,
        console,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knock_core::config::parse;

    fn settings(options: &str, background: bool) -> Settings {
        let text = format!("[options]\n{options}\n[A]\nsequence = 1\ncommand = x\n");
        let config = parse(text.as_bytes(), &|_, _| None).config.unwrap();
        let cli = Cli {
            daemon: true,
            pidfile: Some("cli.pid".into()),
            logfile: Some("cli.log".into()),
            interface: Some("eth7".into()),
            ..Cli::default()
        };
        Settings::new(cli, background, "/start".into(), &config)
    }

    #[test]
    fn relative_paths_begin_where_the_daemon_was_started() {
        let settings = settings("logfile = my.log\npidfile = /run/my.pid", true);
        assert_eq!(settings.log.file.as_deref(), Some("/start/my.log".as_ref()));
        assert_eq!(settings.pidfile.as_deref(), Some("/run/my.pid".as_ref()));
    }

    #[test]
    fn the_configuration_wins_for_files_and_the_command_line_for_interfaces() {
        let settings = settings("interface = eth0\npidfile = conf.pid", false);
        assert_eq!(settings.interfaces.names, ["eth7"]);
        assert_eq!(
            settings.pidfile.as_deref(),
            Some("/start/conf.pid".as_ref())
        );
        assert_eq!(
            settings.log.file.as_deref(),
            Some("/start/cli.log".as_ref())
        );
    }
}
