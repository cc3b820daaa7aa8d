//! The answers: from the command line, from whoever sits there, or those that are proposed. The parser
//! of `knockd.conf` is the judge of all of them.

use std::time::Duration;

use knock_core::config::{Severity, parse};
use knock_core::door::{Door, Native};
use knock_core::sequence::{Protocol, Sequence};
use knock_core::service::Service;
use knock_core::time::InUnits;

use super::ask::{AskError, Asker};
use super::machine::{Firewall, Machine};
use super::pick::Deck;
use super::{By, Options};
use crate::listen::ANY;

/// Five ports have more sequences than there are keys of 64 bits.
const STEPS: usize = 5;

/// So many ports are named of those at which something listens.
const MAX_SHOWN: usize = 8;

/// All that the configuration depends on.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) services: Vec<Service>,
    pub(super) interfaces: Vec<String>,
    pub(super) how: How,
    pub(super) time: Duration,
    pub(super) guard: Guard,
}

/// How the door is opened.
#[derive(Debug)]
pub(super) enum How {
    /// By so many steps, which are dealt last.
    Steps(usize),
    Sequence(Sequence),
    /// By who has a key in this file.
    Sealed(String),
}

/// What keeps the ports closed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    Gate,
    Firewall(Firewall),
}

impl Answers {
    /// What is given, and else what is proposed.
    pub(super) fn proposed(options: &Options, machine: &Machine) -> Result<Self, String> {
        let services = match given_services(options)? {
            Some(services) => services,
            None => services(&proposed_port(machine).ok_or(
                "nothing shows which port is to be opened: say it with --port, such as --port tcp/22",
            )?)?,
        };
        let interfaces = given_interfaces(options, machine)?;
        let keys = given_keys(options)?;
        let how = match proposed_way(options) {
            By::Sequence => How::Steps(steps(options)),
            By::Spa => How::Sealed(match keys {
                Some(keys) => keys,
                None => machine.keys.clone().ok_or(
                    "no account here has ~/.ssh/authorized_keys: name a file of public keys with \
                     --authorized-keys",
                )?,
            }),
        };
        Self {
            services,
            interfaces: interfaces.unwrap_or_else(|| vec![machine.usual.clone()]),
            how,
            time: given_time(options)?.unwrap_or(Native::DEFAULT_TIME),
            guard: guard(machine, !options.no_gate)?,
        }
        .possible()
    }

    /// What is given, and the answers to questions about the rest.
    pub(super) fn asked(
        options: &Options,
        machine: &Machine,
        asker: &Asker,
    ) -> Result<Self, String> {
        // What is given wrongly is told before anything is asked.
        let given = (
            given_services(options)?,
            given_interfaces(options, machine)?,
            given_keys(options)?,
            given_time(options)?,
        );
        let said = |error: AskError| error.to_string();
        let services = match given.0 {
            Some(services) => services,
            None => ask_services(machine, asker).map_err(said)?,
        };
        let interfaces = match given.1 {
            Some(interfaces) => interfaces,
            None => ask_interface(machine, asker).map_err(said)?,
        };
        let how = match ask_way(options, asker).map_err(said)? {
            By::Sequence => How::Steps(ask_steps(options, asker).map_err(said)?),
            By::Spa => How::Sealed(match given.2 {
                Some(keys) => keys,
                None => ask_keys(machine, asker).map_err(said)?,
            }),
        };
        let time = match given.3 {
            Some(time) => time,
            None => ask_time(asker).map_err(said)?,
        };
        let gate = match (options.gate, options.no_gate, machine.firewall) {
            // Without a firewall there is no other guard.
            (true, _, _) | (false, false, None) => true,
            (false, true, _) => false,
            (false, false, Some(_)) => asker
                .yes(
                    "Shall the kernel close these ports to everybody who has not knocked (the gate)",
                    true,
                )
                .map_err(said)?,
        };
        let answers = Self {
            services,
            interfaces,
            how,
            time,
            guard: guard(machine, gate)?,
        };
        answers.possible()?.confirmed(options, asker)
    }

    /// ufw opens all or nothing of ICMP.
    fn possible(self) -> Result<Self, String> {
        if self.guard == Guard::Firewall(Firewall::Ufw) && self.services.contains(&Service::Icmp) {
            return Err(
                "ufw has no rule for pings alone: leave icmp out, or take the gate".to_owned(),
            );
        }
        Ok(self)
    }

    fn confirmed(self, options: &Options, asker: &Asker) -> Result<Self, String> {
        if options.dry_run {
            return Ok(self);
        }
        let question = format!("Write {}", options.output.display());
        match asker.yes(&question, true) {
            Ok(true) => Ok(self),
            Ok(false) => Err(AskError::Cancelled.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// With a sequence, if there is to be one. `random` gives numbers that nobody can know.
    pub(super) fn dealt(
        self,
        machine: &Machine,
        random: &mut dyn FnMut() -> u64,
    ) -> Result<Self, String> {
        let How::Steps(steps) = self.how else {
            return Ok(self);
        };
        let opened = |port| {
            let ports = self.services.iter().filter_map(|service| service.ports());
            ports.into_iter().any(|(_, ports)| ports.contains(port))
        };
        let deck = Deck::new(&machine.given, &|port| machine.uses(port) || opened(port));
        let sequence = deck.deal(steps, random);
        let sequence = sequence.ok_or("too few ports of this machine are free for a sequence")?;
        Ok(Self {
            how: How::Sequence(sequence),
            ..self
        })
    }
}

/// Where ssh listens. To close any other port is for a person to say.
fn proposed_port(machine: &Machine) -> Option<String> {
    Some(format!("tcp/{}", machine.ssh?))
}

fn proposed_way(options: &Options) -> By {
    let usual = match options.authorized_keys {
        Some(_) => By::Spa,
        None => By::Sequence,
    };
    options.by.unwrap_or(usual)
}

fn steps(options: &Options) -> usize {
    options.steps.map_or(STEPS, usize::from)
}

fn given_services(options: &Options) -> Result<Option<Vec<Service>>, String> {
    if options.ports.is_empty() {
        return Ok(None);
    }
    let given = services(&options.ports.join(","));
    given.map(Some).map_err(|why| format!("--port: {why}"))
}

fn given_interfaces(options: &Options, machine: &Machine) -> Result<Option<Vec<String>>, String> {
    if options.interface.is_empty() {
        return Ok(None);
    }
    let names = machine.interfaces.iter().map(|known| known.name.as_str());
    let known: Vec<_> = names.chain([ANY, "lo"]).collect();
    match options
        .interface
        .iter()
        .find(|name| !known.contains(&name.as_str()))
    {
        None => Ok(Some(options.interface.clone())),
        Some(name) => Err(format!(
            "--interface: there is no interface '{}' here; there are {}",
            name.escape_debug(),
            known.join(", ")
        )),
    }
}

fn given_keys(options: &Options) -> Result<Option<String>, String> {
    if options.steps.is_some() && proposed_way(options) == By::Spa {
        return Err("--steps is of no use for sealed packets".to_owned());
    }
    let Some(keys) = &options.authorized_keys else {
        return Ok(None);
    };
    if options.by == Some(By::Sequence) {
        return Err("--authorized-keys is of no use with --by sequence".to_owned());
    }
    judge_keys(keys).map_err(|why| format!("--authorized-keys: {why}"))?;
    Ok(Some(keys.clone()))
}

fn given_time(options: &Options) -> Result<Option<Duration>, String> {
    let time = options.time.as_deref().map(time).transpose();
    time.map_err(|why| format!("--for: {why}"))
}

fn guard(machine: &Machine, gate: bool) -> Result<Guard, String> {
    if gate {
        return Ok(Guard::Gate);
    }
    let firewall = machine.firewall.ok_or(
        "without the gate a command must open the port, and neither ufw nor iptables is here for it: \
         leave --no-gate out",
    )?;
    Ok(Guard::Firewall(firewall))
}

fn ask_services(machine: &Machine, asker: &Asker) -> Result<Vec<Service>, AskError> {
    let usual = proposed_port(machine).unwrap_or_default();
    let judge = |text: &str| services(text).map(drop);
    let ports = machine.listeners.ports(Protocol::Tcp);
    let ports = ports.take(MAX_SHOWN).map(|port| format!("tcp/{port}"));
    let ports: Vec<_> = ports.collect();
    let here = match ports.as_slice() {
        [] => String::new(),
        ports => format!(" (others reach now: {})", ports.join(", ")),
    };
    let question = format!("Which ports shall open to who knocks{here}");
    let text = asker.text(&question, &usual, &judge)?;
    // It was judged.
    Ok(services(&text).unwrap_or_default())
}

fn ask_interface(machine: &Machine, asker: &Asker) -> Result<Vec<String>, AskError> {
    let mut rows = Vec::new();
    let mut usual = machine.interfaces.len();
    for (index, interface) in machine.interfaces.iter().enumerate() {
        let addresses = interface.addresses.iter().map(ToString::to_string);
        let addresses: Vec<_> = addresses.collect();
        let mut row = format!("{}  {}", interface.name, addresses.join(" "));
        if interface.name == machine.usual {
            usual = index;
            row.push_str("  (the default route)");
        }
        rows.push(row.trim_end().to_owned());
    }
    rows.push(format!(
        "{ANY}  every interface, also those that come later"
    ));
    let index = asker.choice("Where do knocks come in", &rows, usual)?;
    let name = machine.interfaces.get(index).map(|i| i.name.clone());
    Ok(vec![name.unwrap_or_else(|| ANY.to_owned())])
}

fn ask_way(options: &Options, asker: &Asker) -> Result<By, AskError> {
    if options.by.is_some() || options.authorized_keys.is_some() {
        return Ok(proposed_way(options));
    }
    let ways = [
        "by a secret sequence of ports: any client, also a phone",
        "by one sealed packet, signed by an SSH key: nothing to overhear",
    ];
    let index = asker.choice("How is it opened", &ways.map(String::from), 0)?;
    Ok(if index == 0 { By::Sequence } else { By::Spa })
}

fn ask_steps(options: &Options, asker: &Asker) -> Result<usize, AskError> {
    if options.steps.is_some() {
        return Ok(steps(options));
    }
    let number = |text: &str| {
        let number = text.parse::<usize>().ok();
        number.filter(|number| (3..=Sequence::MAX).contains(number))
    };
    let judge = |text: &str| match number(text) {
        Some(_) => Ok(()),
        None => Err("a number from 3 to 32 is expected".to_owned()),
    };
    let text = asker.text(
        "How many ports has the sequence",
        &STEPS.to_string(),
        &judge,
    )?;
    Ok(number(&text).unwrap_or(STEPS))
}

fn ask_keys(machine: &Machine, asker: &Asker) -> Result<String, AskError> {
    let usual = machine.keys.as_deref().unwrap_or_default();
    asker.text(
        "Which file has the public keys of those who may",
        usual,
        &judge_keys,
    )
}

fn ask_time(asker: &Asker) -> Result<Duration, AskError> {
    let usual = InUnits(Native::DEFAULT_TIME).to_string();
    let judge = |text: &str| time(text).map(drop);
    let text = asker.text("For how long does it open", &usual, &judge)?;
    Ok(time(&text).unwrap_or(Native::DEFAULT_TIME))
}

/// What `open` understands by it.
fn services(text: &str) -> Result<Vec<Service>, String> {
    let native = door("open", text)?.action.native;
    native.map_or_else(
        || Err("a port is expected".to_owned()),
        |native| Ok(native.open),
    )
}

/// What `open_for` understands by it.
fn time(text: &str) -> Result<Duration, String> {
    let native = door("open = icmp\nopen_for", text)?.action.native;
    Ok(native.map_or(Native::DEFAULT_TIME, |native| native.open_for))
}

fn judge_keys(text: &str) -> Result<(), String> {
    door("open = icmp\nauthorized_keys", text).map(drop)
}

/// A door with this value, or the parser's first complaint.
fn door(key: &str, value: &str) -> Result<Door, String> {
    if value.contains(char::is_control) {
        return Err("a value on one line is expected".to_owned());
    }
    let text = format!("[door]\nsequence = 1\n{key} = {value}\n");
    let services = crate::services::Services::system();
    let parsed = parse(text.as_bytes(), &|name, protocol| {
        services.port(name, protocol)
    });
    let doors = parsed.config.map(|config| config.doors).unwrap_or_default();
    if let Some(door) = doors.into_iter().next() {
        return Ok(door);
    }
    let mut wrong = parsed.diagnostics.into_iter();
    let wrong = wrong.find(|diagnostic| diagnostic.severity == Severity::Error);
    Err(wrong.map_or_else(String::new, |wrong| {
        format!("{}: expected {}", wrong.message, wrong.expected)
    }))
}
