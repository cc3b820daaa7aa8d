//! The story with the user's own configuration: each door is knocked at, its commands run.
//!
//! The commands run for real, as root of the throw-away namespaces and on a view of the file system
//! that forgets what they write.

use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::path::Path;

use knock_core::config::Config;
use knock_core::config::guard::Guards;
use knock_core::door::{Door, SequenceSource};

use super::aim::Aim;
use super::firewall::{self, Tool};
use super::probe::{self, Spot};
use super::stage::{INTERFACE, KNOCKER, SERVER, STRANGER, Stage};
use super::story::Story;
use super::visit::Visits;
use super::{Options, TryError};
use crate::config_file::{self, Loaded};
use crate::lab::protect_file_system;
use crate::services::Services;

/// Longer lists of what is guarded are counted.
const MOST_GUARDED: usize = 8;

/// Tells the story of the configuration `path`.
pub(super) fn tell(path: &Path, options: &Options, story: &Story) -> Result<(), TryError> {
    let services = Services::system();
    let loaded = config_file::load(path, &services).map_err(|error| {
        let text = error.render(io::stderr().is_terminal());
        TryError::Refused(text.trim_end().to_owned())
    })?;
    let config = &loaded.config;
    let ruleset = options.ruleset.as_deref().map(firewall::read).transpose()?;
    let mut stage = Stage::build(options, story)?;
    protect(config, options, story)?;
    let guards = Guards::of(&config.doors).services().next().is_some();
    let ruleset = ruleset.or_else(|| tool_of(config).map(|tool| firewall::dropping(tool, guards)));
    if let Some(ruleset) = &ruleset {
        firewall::load(&stage.server, ruleset)?;
    }
    introduce(story, path, config, ruleset.is_some());

    let doors = &config.doors;
    let aims: Vec<_> = doors
        .iter()
        .map(|door| Aim::of(door, doors, &services))
        .collect();
    prepare(&stage, &aims)?;
    let daemon = start(&mut stage, options, &loaded, path)?;
    let mut visits = Visits::new(&mut stage);
    for (door, aim) in doors.iter().zip(&aims) {
        visits.knock_at(door, aim)?;
    }
    stage.end(daemon)
}

/// Nothing that runs may be able to change anything of the machine's.
fn protect(config: &Config, options: &Options, story: &Story) -> Result<(), TryError> {
    let Err(error) = protect_file_system() else {
        return Ok(());
    };
    let effects = effects(config);
    if options.run_commands || effects.is_empty() {
        story.say(format_args!("The file system is the real one: {error}"));
        return Ok(());
    }
    Err(TryError::Refused(format!(
        "{error}\nSo this would happen on the real file system:\n  {}\n\
         If that is harmless, say --run-commands",
        effects.join("\n  ")
    )))
}

/// What a daemon with this configuration does to files, beside what it keeps in a place that is
/// thrown away.
fn effects(config: &Config) -> Vec<String> {
    let used = config
        .doors
        .iter()
        .filter_map(|door| match &door.trigger.source {
            SequenceSource::OneTime(path) => Some(format!("a sequence is struck off: {path}")),
            SequenceSource::Fixed(_) | SequenceSource::None => None,
        });
    commands(config).chain(used).collect()
}

/// Every command of the configuration.
fn commands(config: &Config) -> impl Iterator<Item = String> {
    let families = config
        .doors
        .iter()
        .flat_map(|door| [&door.action.v4, &door.action.v6]);
    let commands = families.flatten();
    commands.flat_map(|c| {
        [
            Some(c.start.to_string()),
            c.stop.as_ref().map(ToString::to_string),
        ]
        .into_iter()
        .flatten()
    })
}

/// The firewall that the commands change.
fn tool_of(config: &Config) -> Option<Tool> {
    let mut nft = false;
    for command in commands(config) {
        if command.contains("iptables") || command.contains("ufw ") {
            return Some(Tool::Iptables);
        }
        nft |= command.contains("nft ");
    }
    nft.then_some(Tool::Nft)
}

fn introduce(story: &Story, path: &Path, config: &Config, firewall: bool) {
    let guarded = guarded(&config.doors);
    let server = match (firewall, guarded) {
        (true, None) => "behind a firewall that drops by default".to_owned(),
        (true, Some(guarded)) => {
            format!("behind a firewall that drops by default; knockd itself guards {guarded}")
        }
        (false, None) => "without a firewall: no command names nft or iptables".to_owned(),
        (false, Some(guarded)) => format!("without a firewall; knockd itself guards {guarded}"),
    };
    let commands = if commands(config).next().is_some() {
        format!(
            "\n\nThe commands of {} run for real, but what they write to files is forgotten.",
            path.display()
        )
    } else {
        String::new()
    };
    story.say(format_args!(
        "Two throw-away network namespaces, joined by a virtual cable. \
         Your own network is not touched.\n\n  \
         client  {KNOCKER}, and {STRANGER} for a stranger\n  \
         server  {SERVER}, {server}{commands}",
    ));
}

/// What is guarded, in short.
fn guarded(doors: &[Door]) -> Option<String> {
    let guards = Guards::of(doors);
    let names: Vec<_> = guards.services().map(|(one, _)| one.to_string()).collect();
    let shown: Vec<_> = names.iter().take(MOST_GUARDED).cloned().collect();
    let more = names.len().saturating_sub(MOST_GUARDED);
    let more = (more > 0).then(|| format!(" and {more} more"));
    (!names.is_empty()).then(|| shown.join(", ") + &more.unwrap_or_default())
}

/// Puts the targets of the doors on the server, and services on the ports that are looked at.
fn prepare(stage: &Stage<'_>, aims: &[Aim]) -> Result<(), TryError> {
    let mut addresses: Vec<IpAddr> = vec![SERVER];
    let mut served: Vec<Spot> = Vec::new();
    for aim in aims {
        let destination = aim.destination;
        if !addresses.contains(&destination) {
            let length = if destination.is_ipv4() { 32 } else { 128 };
            stage
                .server
                .add_address(INTERFACE, &format!("{destination}/{length}"))?;
            if addresses.len() == 1 {
                stage.client.add_default_route(SERVER)?;
            }
            addresses.push(destination);
        }
        for spot in aim.spots() {
            if !served.contains(&spot) {
                probe::serve(&stage.server, spot)?;
                served.push(spot);
            }
        }
    }
    Ok(())
}

fn start(
    stage: &mut Stage<'_>,
    options: &Options,
    loaded: &Loaded,
    path: &Path,
) -> Result<crate::lab::Process, TryError> {
    // Another daemon, such as the original, may not know the key.
    let journal = options.knockd.is_none() || guarded(&loaded.config.doors).is_some();
    let mut config = without_places(&loaded.bytes);
    config.extend(stage.state(journal).into_bytes());
    let shown = format!("knockd -c {} -i {INTERFACE}", path.display());
    stage.start(&config, &shown)
}

/// `config` with the lines of `[options]` blanked that say where something is written; all others
/// keep their numbers.
fn without_places(config: &[u8]) -> Vec<u8> {
    let mut in_options = false;
    let lines = config.split(|byte| *byte == b'\n').map(|line| {
        let text = line.trim_ascii();
        if text.starts_with(b"[") {
            in_options = text == b"[options]";
        }
        let key = text.split(|byte| *byte == b'=').next().unwrap_or_default();
        let key = key.trim_ascii().to_ascii_lowercase();
        let is_place = matches!(key.as_slice(), b"logfile" | b"journal");
        if in_options && is_place { b"" } else { line }
    });
    let lines: Vec<_> = lines.collect();
    lines.join(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_something_is_written_is_left_out_and_lines_keep_their_numbers() {
        let config = b"#\n[options]\n LogFile = /a=b\n\tjournal=/c\r\nuser = x\n[A]\nlogfile";
        let expected = b"#\n[options]\n\n\nuser = x\n[A]\nlogfile";
        assert_eq!(without_places(config), expected);
    }
}
