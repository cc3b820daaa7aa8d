//! Who the listener is to be, what the keeper gives up, and what the log says of either.

use std::io;
use std::path::PathBuf;

use knock_core::door::{Door, SequenceSource};
use rustix::process::geteuid;

use super::Failure;
use super::settings::Settings;
use crate::config_file::reason;
use crate::listen::Sandbox;
use crate::log::Level;
use crate::sandbox::keeper::{Needs, give_up};
use crate::sandbox::{Account, AccountError, Layer, State};

/// The listener's account where the configuration names none; packages make it.
const DEFAULT_ACCOUNT: &str = "_knockd";

/// The listener's account.
#[derive(Debug)]
pub(super) struct Chosen {
    /// `None`: nobody else than the daemon, which is not root, or not to be confined.
    pub(super) account: Option<Account>,
    /// What is worth saying about it.
    pub(super) warning: Option<(Level, String)>,
}

impl Chosen {
    /// The account for these settings.
    pub(super) fn new(settings: &Settings) -> Result<Self, Failure> {
        let chosen = |account, warning| Self { account, warning };
        if settings.sandbox == Sandbox::Off {
            let text = "sandbox = off: the process that reads packets is not confined";
            return Ok(chosen(None, Some((Level::Warning, text.to_owned()))));
        }
        if !geteuid().is_root() {
            let text = match &settings.user {
                Some(name) => format!("without root the listener cannot be '{name}'"),
                None => "without root the listener shares the daemon's account".to_owned(),
            };
            return Ok(chosen(None, Some((Level::Warning, text))));
        }
        if let Some(name) = &settings.user {
            let account = Account::find(name).map_err(Failure::Account)?;
            return Ok(chosen(Some(account), None));
        }
        match Account::find(DEFAULT_ACCOUNT) {
            Ok(account) => Ok(chosen(Some(account), None)),
            Err(error) => Ok(Self::nobody(&error)),
        }
    }

    fn nobody(error: &AccountError) -> Self {
        let nobody = Account::find("nobody").unwrap_or(Account::NOBODY);
        let text = format!(
            "{error}: the listener is 'nobody' \
             (make an account of its own, or name one with `user` in [options])"
        );
        Self {
            account: Some(nobody),
            warning: Some((Level::Warning, text)),
        }
    }
}

/// Lets the keeper give up the capabilities that its doors do not need. If that fails, what to say.
pub(super) fn give_up_powers(settings: &Settings, doors: &[Door]) -> Result<(), (Level, String)> {
    if settings.sandbox == Sandbox::Off {
        return Ok(());
    }
    give_up(&needs(settings, doors)).map_err(|errno| {
        let text = format!("the keeper keeps its capabilities: {errno}");
        (Level::Warning, text)
    })
}

/// Whether some command runs with what the daemon may have, so that the keeper leaves that alone. It
/// decides at the start: what is given up does not come back at a reload.
pub(super) fn leaves_powers_to_commands(settings: &Settings, doors: &[Door]) -> bool {
    let needs = needs(settings, doors);
    let runs = if geteuid().is_root() {
        needs.commands_as_daemon
    } else {
        needs.commands
    };
    runs || settings.sandbox == Sandbox::Off
}

/// Whether keys are in somebody's home, and the daemon, root, has given up at its start what it may take
/// to read there: `doors` are then the first that sealed packets open.
pub(super) fn may_not_enter_homes(settings: &Settings, doors: &[Door]) -> bool {
    let sources = doors.iter().filter_map(|door| door.spa.as_ref());
    let mut sources = sources.flat_map(|spa| &spa.keys);
    let in_homes = sources.any(|source| source.account().is_some());
    in_homes && geteuid().is_root() && settings.sandbox != Sandbox::Off
}

fn needs(settings: &Settings, doors: &[Door]) -> Needs {
    let acts = !settings.shadow;
    let with_commands = |door: &&Door| {
        let action = &door.action;
        action.has_commands() || !action.hooks.is_empty()
    };
    let mut doors_with_commands = doors.iter().filter(with_commands);
    let one_time = doors.iter().filter_map(|door| match &door.trigger.source {
        SequenceSource::OneTime(path) => Some(settings.folder.join(path)),
        SequenceSource::Fixed(_) | SequenceSource::None => None,
    });
    let mut files: Vec<PathBuf> = one_time.collect();
    files.push(settings.cli.config.clone());
    files.extend(settings.log.file.clone());
    files.extend(settings.pidfile.clone());
    files.extend(settings.journal.path().map(PathBuf::from));
    files.extend(settings.control.clone());
    files.extend(super::audit::files(settings));
    files.extend(settings.metrics_socket.clone());
    let sealed = doors.iter().any(|door| door.spa.is_some());
    if sealed {
        files.extend(super::sealed::files(&settings.state_dir));
    }
    // Also hooks of doors that are gone run as the daemon.
    let once = settings.on_exit.is_some() || !settings.hooks.is_empty();
    Needs {
        keys: sealed,
        commands: acts && (once || doors_with_commands.clone().next().is_some()),
        commands_as_daemon: acts
            && (once || doors_with_commands.any(|door| door.action.user.is_none())),
        files,
        gate: acts && doors.iter().any(|door| door.action.native.is_some()),
    }
}

/// What the log says of the layers that hold a listener: nothing if all do.
pub(super) fn lines(layers: &[(Layer, State)], sandbox: Sandbox) -> Vec<(Level, String)> {
    if sandbox == Sandbox::Off {
        return Vec::new();
    }
    let missing = layers.iter().filter_map(|(layer, state)| match state {
        State::Missing(errno) => Some(format!("{layer} ({})", why(*errno))),
        State::On | State::Partly(_) => None,
    });
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let text = format!(
        "the listener's sandbox is not complete here, without: {}",
        missing.join(", ")
    );
    vec![(Level::Warning, text)]
}

fn why(errno: i32) -> String {
    match errno {
        0 => "the kernel does not offer it".into(),
        errno => reason(&io::Error::from_raw_os_error(errno)),
    }
}

/// For the status: by what a listener is held.
pub(super) fn summary(layers: &[(Layer, State)]) -> String {
    let one = |(layer, state): &(Layer, State)| match state {
        State::On => layer.to_string(),
        State::Partly(version) => format!("{layer} (version {version})"),
        State::Missing(_) => format!("no {layer}"),
    };
    match layers {
        [] => "not confined".into(),
        layers => layers.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}
