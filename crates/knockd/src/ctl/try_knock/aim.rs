//! What a door of the user's is about: where it is knocked at, and what is looked at then.

use std::net::{IpAddr, SocketAddr};

use knock_core::door::{Commands, Door, Native, SequenceSource};
use knock_core::flags::TcpFlags;
use knock_core::one_time;
use knock_core::sequence::{Protocol, Sequence, Step};
use knock_core::service::Service;
use knock_core::target::Target;

use super::ports;
use super::probe::Spot;
use super::stage::{KNOCKER, SERVER, STRANGER};
use crate::services::Services;

/// What a door is taken to be about if its commands name no port.
const DEFAULT_PORT: u16 = 22;

/// What a door is about.
#[derive(Debug)]
pub(super) struct Aim {
    /// Where to knock.
    pub(super) destination: IpAddr,
    /// What the door itself opens: of each range in its `open` the first port.
    pub(super) guarded: Vec<Spot>,
    /// What else may change: what its commands name, and what the doors open that it closes.
    pub(super) watched: Vec<Spot>,
    /// Whether what it opens is open to the second address too (`open_to`).
    pub(super) is_shared: bool,
    /// Whether it opens echo requests, which are not tried.
    pub(super) pings: bool,
}

impl Aim {
    /// Of `door`, one of `doors`.
    pub(super) fn of(door: &Door, doors: &[Door], services: &Services) -> Self {
        let action = &door.action;
        let guarded = guarded(door);
        let mut found = commanded(door, services);
        let is_about_commands = action.native.is_none() && action.close.is_none();
        if found.is_empty() && action.v4.is_some() && is_about_commands {
            found.push(spot(door, Protocol::Tcp, DEFAULT_PORT));
        }
        if let Some(closing) = &action.close {
            let closed = doors.iter().filter(|other| other.name == closing.door);
            found.extend(closed.flat_map(self::guarded));
        }
        let mut watched = Vec::new();
        for spot in found {
            if !guarded.contains(&spot) && !watched.contains(&spot) {
                watched.push(spot);
            }
        }
        let opens = |service: &Service| *service == Service::Icmp;
        let native = action.native.as_ref();
        Self {
            destination: destination(door),
            guarded,
            watched,
            is_shared: native.is_some_and(is_shared),
            pings: native.is_some_and(|native| native.open.iter().any(opens)),
        }
    }

    /// All that is looked at.
    pub(super) fn spots(&self) -> impl Iterator<Item = Spot> {
        self.guarded.iter().chain(&self.watched).copied()
    }
}

/// What must be knocked, or why our client cannot.
pub(super) fn triable(door: &Door) -> Result<Sequence, String> {
    if door.trigger.source == SequenceSource::None {
        return Err("it has no sequence: a sealed packet opens it".to_owned());
    }
    let sequence = current(door).ok_or("its one-time sequences are used up, or cannot be read")?;
    let is_tcp = |step: &Step| step.protocol == Protocol::Tcp;
    let flags = door.trigger.flags;
    if sequence.steps().iter().any(is_tcp) && !flags.matches(TcpFlags::SYN) {
        return Err(format!("wants tcpflags {flags}, which knock does not send"));
    }
    if destination(door) == SERVER && !door.trigger.listens_at(SERVER, true) {
        let text = "its targets are IPv6 addresses alone, and doors are knocked at over IPv4";
        return Err(text.to_owned());
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
        SequenceSource::None => None,
    }
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

/// A port where the door is knocked at.
fn spot(door: &Door, protocol: Protocol, port: u16) -> Spot {
    Spot {
        protocol,
        at: SocketAddr::new(destination(door), port),
    }
}

/// What the door's commands name.
fn commanded(door: &Door, services: &Services) -> Vec<Spot> {
    let Some(Commands { start, stop }) = &door.action.v4 else {
        return vec![];
    };
    let texts = [Some(start), stop.as_ref()].into_iter().flatten();
    let ports = texts.flat_map(|text| ports::in_command(&text.to_string(), services));
    ports.map(|port| spot(door, Protocol::Tcp, port)).collect()
}

/// The first port of each range that the door opens, up to as many as are looked at.
fn guarded(door: &Door) -> Vec<Spot> {
    let services = door.action.native.iter().flat_map(|native| &native.open);
    let ranges = services.filter_map(|service| service.ports());
    let spots = ranges.map(|(protocol, ports)| spot(door, protocol, ports.first()));
    spots.take(ports::MOST).collect()
}

fn is_shared(native: &Native) -> bool {
    let network = Target::network(KNOCKER, native.open_to.v4);
    network.is_some_and(|network| network.contains(STRANGER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use knock_core::config;

    fn aims(text: &str) -> Vec<(String, String)> {
        let services = Services::at("/nonexistent");
        let parsed = config::parse(text.as_bytes(), &|name, protocol| {
            services.port(name, protocol)
        });
        let doors = parsed.config.unwrap().doors;
        let aims = doors.iter().map(|door| Aim::of(door, &doors, &services));
        let list = |spots: &[Spot]| {
            let spots: Vec<_> = spots.iter().map(ToString::to_string).collect();
            spots.join(", ")
        };
        aims.map(|aim| (list(&aim.guarded), list(&aim.watched)))
            .collect()
    }

    #[test]
    fn what_is_looked_at_is_what_a_door_opens_names_or_closes() {
        let text = "\
[native]
sequence = 1
open = tcp/22, udp/8000-8010, icmp
[both]
sequence = 2
open = tcp/22
command = iptables -I INPUT -p tcp -m multiport --dports 22,80 -j ACCEPT
[silent]
sequence = 3
open = tcp/443
command = logger %IP%
[unsaid]
sequence = 4
command = logger %IP%
[bye]
sequence = 5
close = native
";
        let expected = [
            ("tcp port 22, udp port 8000", ""),
            ("tcp port 22", "tcp port 80"),
            ("tcp port 443", ""),
            ("", "tcp port 22"),
            ("", "tcp port 22, udp port 8000"),
        ];
        let expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(aims(text), expected);
    }
}
