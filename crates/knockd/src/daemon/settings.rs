//! What the command line and the configuration say together.

use std::path::PathBuf;

use knock_core::config::{Config, LogLevel};

use crate::cli::{Cli, DEFAULT_PIDFILE};
use crate::listen::{DefaultInterface, default_interface};
use crate::log::{Console, LogSetup};

/// Command line and configuration, with the original's precedence: `-i` wins over the
/// configuration, and the configuration over `-g` and `-p` (KNOCKD.md 1.1, rows 61 and 62).
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) cli: Cli,
    /// Whether it runs in the background.
    pub(super) background: bool,
    pub(super) interfaces: Interfaces,
    pub(super) log: LogSetup,
    /// Only in the background.
    pub(super) pidfile: Option<PathBuf>,
    pub(super) max_attempts: u32,
    pub(super) max_commands: usize,
}

/// Which interfaces to listen on.
#[derive(Clone, Debug)]
pub(super) struct Interfaces {
    pub(super) names: Vec<String>,
    /// How they were chosen, where nobody named one.
    pub(super) default: Option<DefaultInterface>,
}

impl Settings {
    pub(super) fn new(mut cli: Cli, config: &Config) -> Self {
        for path in [&mut cli.logfile, &mut cli.pidfile].into_iter().flatten() {
            if let Ok(absolute) = std::path::absolute(&path) {
                *path = absolute;
            }
        }
        let background = cli.daemon && std::env::var_os("NOTIFY_SOCKET").is_none();
        let options = &config.options;
        let pidfile = options.pidfile.as_ref().map(PathBuf::from);
        let pidfile = pidfile.or_else(|| cli.pidfile.clone());
        let pidfile = background.then(|| pidfile.unwrap_or_else(|| DEFAULT_PIDFILE.into()));
        Self {
            interfaces: Interfaces::new(&cli, config),
            log: log_setup(&cli, config, background),
            background,
            pidfile,
            max_attempts: options.max_attempts,
            max_commands: usize::try_from(options.max_commands).unwrap_or(usize::MAX),
            cli,
        }
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

fn log_setup(cli: &Cli, config: &Config, background: bool) -> LogSetup {
    let options = &config.options;
    let file = options.logfile.as_ref().map(PathBuf::from);
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
        file: file.or_else(|| cli.logfile.clone()),
        syslog: options.syslog,
        format: options.log_format,
        debug: options.log_level == LogLevel::Debug,
        console,
    }
}
