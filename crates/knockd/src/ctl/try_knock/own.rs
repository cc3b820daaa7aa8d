//! The story with the user's own configuration: each door is knocked at, its commands run.
//!
//! The commands run for real, as root of the throw-away namespaces and on a view of the file system
//! that forgets what they write.

use std::io::{self, IsTerminal};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use knock_core::config::Config;
use knock_core::door::{Commands, Door, SequenceSource};
use knock_core::flags::TcpFlags;
use knock_core::one_time;
use knock_core::sequence::{Protocol, Sequence, Step};
use knock_core::target::Target;

use super::stage::{Expect, INTERFACE, KNOCKER, PATIENCE, SERVER, STRANGER, Stage};
use super::story::Story;
use super::{Options, TryError, firewall, ports, probe};
use crate::config_file::{self, Loaded};
use crate::lab::protect_file_system;
use crate::services::Services;

/// A door that stays open longer is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What a command is given to end or to fail, before the ports are looked at and after.
const SETTLE: Duration = Duration::from_millis(500);
/// What a door is taken to be about if its commands name no port.
const DEFAULT_PORT: u16 = 22;

/// Tells the story of the configuration `path`.
pub(super) fn tell(path: &Path, options: &Options, story: &Story) -> Result<(), TryError> {
    let services = Services::system();
    let loaded = config_file::load(path, &services).map_err(|error| {
        let text = error.render(io::stderr().is_terminal());
        TryError::Refused(text.trim_end().to_owned())
    })?;
    let ruleset = options.ruleset.as_deref().map(firewall::read).transpose()?;
    let log = loaded.config.options.logfile.clone();
    let mut stage = Stage::build(options, story, log.as_deref().map(Path::new))?;
    protect(&loaded.config, options, story)?;
    let ruleset = ruleset.or_else(|| firewall_for(&loaded.config).map(str::to_owned));
    if let Some(ruleset) = &ruleset {
        firewall::load(&stage.server, ruleset)?;
    }
    introduce(story, path, ruleset.is_some());

    let mut served = Vec::new();
    for door in &loaded.config.doors {
        prepare(&mut stage, door, &services, &mut served)?;
    }
    let daemon = start(&mut stage, &loaded, path)?;
    for door in &loaded.config.doors {
        knock_at(&mut stage, door, &services)?;
    }
    stage.end(daemon)
}

/// The commands must not be able to change anything of the machine's.
fn protect(config: &Config, options: &Options, story: &Story) -> Result<(), TryError> {
    let Err(error) = protect_file_system() else {
        return Ok(());
    };
    if options.run_commands {
        story.say(format_args!("The file system is the real one: {error}"));
        return Ok(());
    }
    let commands: Vec<_> = commands(config)
        .map(|command| format!("  {command}"))
        .collect();
    Err(TryError::Refused(format!(
        "{error}\nSo these commands would run on the real file system:\n{}\n\
         If that is harmless, say --run-commands",
        commands.join("\n")
    )))
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

/// A firewall that drops by default, of the kind that the commands change.
fn firewall_for(config: &Config) -> Option<&'static str> {
    let mut nft = false;
    for command in commands(config) {
        if command.contains("iptables") || command.contains("ufw ") {
            return Some(firewall::IPTABLES);
        }
        nft |= command.contains("nft ");
    }
    nft.then_some(firewall::NFT)
}

fn introduce(story: &Story, path: &Path, firewall: bool) {
    let firewall = if firewall {
        "behind a firewall that drops by default"
    } else {
        "without a firewall: no command names nft or iptables"
    };
    story.say(format_args!(
        "Two throw-away network namespaces, joined by a virtual cable. \
         Your own network is not touched.\n\n  \
         client  {KNOCKER}, and {STRANGER} for a stranger\n  \
         server  {SERVER}, {firewall}\n\n\
         The commands of {} run for real, but what they write to files is forgotten.",
        path.display(),
    ));
}

/// Puts services on the ports of a door, and its target on the server.
fn prepare(
    stage: &mut Stage<'_>,
    door: &Door,
    services: &Services,
    served: &mut Vec<SocketAddr>,
) -> Result<(), TryError> {
    let destination = destination(door);
    if destination != SERVER && !served.iter().any(|at| at.ip() == destination) {
        let length = if destination.is_ipv4() { 32 } else { 128 };
        stage
            .server
            .add_address(INTERFACE, &format!("{destination}/{length}"))?;
        if served.iter().all(|at| at.ip() == SERVER) {
            stage.client.add_default_route(SERVER)?;
        }
    }
    for port in door_ports(door, services) {
        let address = SocketAddr::new(destination, port);
        if !served.contains(&address) {
            probe::serve(&stage.server, address)?;
            served.push(address);
        }
    }
    Ok(())
}

/// Where to knock: at the server, or at the door's first IPv4 target.
fn destination(door: &Door) -> IpAddr {
    let targets = &door.trigger.targets;
    if targets.is_empty() || targets.iter().any(|target| target.contains(SERVER)) {
        return SERVER;
    }
    let v4 = targets.iter().map(Target::address).find(IpAddr::is_ipv4);
    v4.unwrap_or(SERVER)
}

/// The ports to look at: those that the commands name.
fn door_ports(door: &Door, services: &Services) -> Vec<u16> {
    let Some(Commands { start, stop }) = &door.action.v4 else {
        return vec![];
    };
    let mut found = ports::in_command(&start.to_string(), services);
    if let Some(stop) = stop {
        let more = ports::in_command(&stop.to_string(), services);
        found.extend(
            more.into_iter()
                .filter(|port| !found.contains(port))
                .collect::<Vec<_>>(),
        );
    }
    if found.is_empty() {
        found.push(DEFAULT_PORT);
    }
    found
}

fn start(
    stage: &mut Stage<'_>,
    loaded: &Loaded,
    path: &Path,
) -> Result<crate::lab::Process, TryError> {
    stage.start(
        &loaded.bytes,
        &format!("knockd -c {} -i {INTERFACE}", path.display()),
    )
}

/// Knocks at one door and tells what came of it.
fn knock_at(stage: &mut Stage<'_>, door: &Door, services: &Services) -> Result<(), TryError> {
    let story = stage.story;
    let name = &door.name;
    stage.take_quoted();
    story.say(format_args!("\nDoor {}", name.escape_debug()));
    let sequence = match triable(door) {
        Ok(sequence) => sequence,
        Err(why) => {
            story.say(format_args!("    {why}: not tried"));
            return Ok(());
        }
    };
    let destination = destination(door);
    if let Some(user) = &door.action.user {
        story.say(format_args!(
            "    its commands run as {user}, who does not exist in here: they are expected to fail"
        ));
    }
    let ports = door_ports(door, services);
    let before = open_ports(stage, KNOCKER, destination, &ports)?;
    let steps: Vec<_> = sequence.steps().iter().map(ToString::to_string).collect();
    stage.knock(destination, &steps)?;
    let sesame = format!(": {name}: OPEN SESAME");
    let opened = stage.log_within(PATIENCE, |line| line.contains(&sesame))?;
    let seen = if opened {
        "OPEN SESAME"
    } else {
        "the log does not say so"
    };
    story.check(opened, format_args!("the door {name} opens"), seen);
    if let Some(commands) = door.action.v4.as_ref().filter(|_| opened) {
        let due = settle(stage, door)?;
        let after = open_ports(stage, KNOCKER, destination, &ports)?;
        let changed = tell_changes(stage, destination, &ports, &before, &after)?;
        match &commands.stop {
            Some(_) if door.action.cmd_timeout > LONGEST_WAIT => {
                let seconds = door.action.cmd_timeout.as_secs();
                story.say(format_args!(
                    "    its stop command runs after {seconds} s: not waited for"
                ));
            }
            Some(_) => closes(stage, door, destination, &changed, due)?,
            None => {}
        }
        settle(stage, door)?;
        commands_succeed(stage, name);
    }
    Ok(())
}

/// What must be knocked, or why our client cannot.
fn triable(door: &Door) -> Result<Sequence, String> {
    let sequence = current(door).ok_or("its one-time sequences are used up, or cannot be read")?;
    let is_tcp = |step: &Step| step.protocol == Protocol::Tcp;
    let flags = door.trigger.flags;
    if sequence.steps().iter().any(is_tcp) && !flags.matches(TcpFlags::SYN) {
        return Err(format!("wants tcpflags {flags}, which knock does not send"));
    }
    if destination(door) == SERVER && !door.trigger.listens_at(SERVER, true) {
        return Err("listens at IPv6 addresses alone".to_owned());
    }
    Ok(sequence)
}

/// What must be knocked now.
fn current(door: &Door) -> Option<Sequence> {
    match &door.trigger.source {
        SequenceSource::Fixed(sequence) => Some(sequence.clone()),
        SequenceSource::OneTime(path) => {
            let line = one_time::parse(&std::fs::read(path).ok()?).current?;
            Some(line.sequence)
        }
    }
}

/// Gives commands a moment to end or to fail; `true` if the door's time is over already.
fn settle(stage: &mut Stage<'_>, door: &Door) -> Result<bool, TryError> {
    let timeout = timeout(&door.name);
    let mut due = false;
    stage.log_within(SETTLE, |line| {
        due |= line.contains(&timeout);
        due || is_failure(line, &door.name)
    })?;
    Ok(due)
}

/// Whether a line says that a command of the door has failed, or could not be run.
fn is_failure(line: &str, name: &str) -> bool {
    let of_door = line.strip_prefix(name).and_then(|l| l.strip_prefix(": "));
    let verdicts = ["command returned ", "command was killed "];
    of_door.is_some_and(|said| verdicts.iter().any(|verdict| said.starts_with(verdict)))
        || line.contains("won't execute")
        || line.contains("command fork failed")
}

/// What a line holds that says that a door's time is over.
fn timeout(name: &str) -> String {
    format!(": {name}: command timeout")
}

/// The daemon logs every command that fails.
fn commands_succeed(stage: &mut Stage<'_>, name: &str) {
    let lines = stage.take_quoted();
    let failed = lines.iter().find(|line| is_failure(line, name));
    let seen = failed.map_or("no failure is logged", |line| line);
    let claim = format!("the commands of {name} succeed");
    stage.story.check(failed.is_none(), claim, seen);
}

fn open_ports(
    stage: &Stage<'_>,
    from: IpAddr,
    to: IpAddr,
    ports: &[u16],
) -> Result<Vec<u16>, TryError> {
    let mut open = Vec::new();
    for port in ports {
        if stage.connect(from, SocketAddr::new(to, *port))?.is_open() {
            open.push(*port);
        }
    }
    Ok(open)
}

/// Says which ports have changed, and gives those that were opened.
fn tell_changes(
    stage: &Stage<'_>,
    to: IpAddr,
    ports: &[u16],
    before: &[u16],
    after: &[u16],
) -> Result<Vec<u16>, TryError> {
    let mut opened = Vec::new();
    for port in ports {
        match (before.contains(port), after.contains(port)) {
            (false, true) => {
                stage.story.say(format_args!(
                    "    tcp port {port} was closed and is now open"
                ));
                let claim = format!("tcp port {port} stays closed for a second address");
                stage.reach(&claim, STRANGER, SocketAddr::new(to, *port), Expect::Closed)?;
                opened.push(*port);
            }
            (true, false) => {
                stage.story.say(format_args!(
                    "    tcp port {port} was open and is now closed"
                ));
            }
            (was, _) => {
                let state = if was { "open" } else { "closed" };
                stage
                    .story
                    .say(format_args!("    tcp port {port} was and is {state}"));
            }
        }
    }
    Ok(opened)
}

/// Waits for the stop command, unless it is `due` already, and looks at the ports again.
fn closes(
    stage: &mut Stage<'_>,
    door: &Door,
    destination: IpAddr,
    opened: &[u16],
    due: bool,
) -> Result<(), TryError> {
    let name = &door.name;
    let seconds = door.action.cmd_timeout.as_secs();
    let story = stage.story;
    story.say(format_args!(
        "    waiting for its stop command, after {seconds} s"
    ));
    let timeout = timeout(name);
    let limit = door.action.cmd_timeout + PATIENCE;
    let due = due || stage.log_within(limit, |line| line.contains(&timeout))?;
    let seen = if due {
        "command timeout"
    } else {
        "the log does not say so"
    };
    story.check(due, format_args!("the stop command of {name} is due"), seen);
    for port in opened {
        let claim = format!("tcp port {port} is closed again for the knocker");
        let address = SocketAddr::new(destination, *port);
        stage.reach(&claim, KNOCKER, address, Expect::ClosedAgain)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_fail_is_told_from_what_is_no_failure() {
        for line in [
            "A: command returned non-zero status code (1)",
            "A: command was killed by signal 9",
            "error: parsed start command has been truncated! --> won't execute it",
            "error: command fork failed! (Cannot allocate memory)",
        ] {
            assert!(is_failure(line, "A"), "{line}");
        }
        for line in [
            "B: command returned non-zero status code (1)",
            "A: running command: false",
            "10.77.0.1: A: command timeout",
        ] {
            assert!(!is_failure(line, "A"), "{line}");
        }
    }
}
