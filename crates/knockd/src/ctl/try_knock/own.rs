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
/// How long a command may take to fail before it counts as having succeeded.
const SETTLE: Duration = Duration::from_secs(1);
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
    let Some(commands) = door.action.v4.as_ref().filter(|_| opened) else {
        return Ok(());
    };
    commands_succeed(stage, name, "start command")?;
    let after = open_ports(stage, KNOCKER, destination, &ports)?;
    let changed = tell_changes(stage, destination, &ports, &before, &after)?;
    match &commands.stop {
        Some(_) if door.action.cmd_timeout > LONGEST_WAIT => {
            let seconds = door.action.cmd_timeout.as_secs();
            story.say(format_args!(
                "    its stop command runs after {seconds} s: not waited for"
            ));
            Ok(())
        }
        Some(_) => closes(stage, door, destination, &changed),
        None => Ok(()),
    }
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

/// Quotes the log for a while; the daemon logs every command that fails.
fn commands_succeed(stage: &mut Stage<'_>, name: &str, which: &str) -> Result<(), TryError> {
    let failure = format!("{name}: command ");
    let mut said = None;
    stage.log_within(SETTLE, |line| {
        let failed = line.starts_with(&failure) && !line.ends_with("timeout");
        if failed {
            said = Some(line.to_owned());
        }
        failed
    })?;
    let seen = said.as_deref().unwrap_or("no failure is logged");
    stage.story.check(
        said.is_none(),
        format_args!("the {which} of {name} succeeds"),
        seen,
    );
    Ok(())
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

/// Waits for the stop command, and looks at the ports again.
fn closes(
    stage: &mut Stage<'_>,
    door: &Door,
    destination: IpAddr,
    opened: &[u16],
) -> Result<(), TryError> {
    let name = &door.name;
    let seconds = door.action.cmd_timeout.as_secs();
    stage.story.say(format_args!(
        "    waiting for its stop command, after {seconds} s"
    ));
    let timeout = format!(": {name}: command timeout");
    let limit = door.action.cmd_timeout + PATIENCE;
    let due = stage.log_within(limit, |line| line.contains(&timeout))?;
    let seen = if due {
        "command timeout"
    } else {
        "the log does not say so"
    };
    stage
        .story
        .check(due, format_args!("the stop command of {name} is due"), seen);
    commands_succeed(stage, name, "stop command")?;
    for port in opened {
        let claim = format!("tcp port {port} is closed again for the knocker");
        let address = SocketAddr::new(destination, *port);
        stage.reach(&claim, KNOCKER, address, Expect::ClosedAgain)?;
    }
    Ok(())
}
