//! Which of the connections that doors open the firewall would drop.

use knock_core::door::Door;
use knock_core::service::Service;
use knock_core::target::Target;

use super::Verdict;
use super::advice::{Loss, Owner};
use super::model::{Base, Chain, Family, Hook, Table, protocol};
use super::packet::{Packet, Part};
use super::walk::{Fate, Place, walk};
use crate::ctl::doctor::verdict::Level;
use crate::gate::MARK;

/// Where the gate stands in prerouting. What comes at the same place may come after it.
const GATE: i64 = -150;

/// What should come through.
#[derive(Debug)]
pub(super) struct Wanted {
    accesses: Vec<Access>,
    /// Where the clients come from; `None` for anywhere.
    interfaces: Vec<Option<String>>,
}

/// A service, and where it is.
#[derive(Debug, PartialEq, Eq)]
struct Access {
    service: Service,
    /// Whether it is on another host.
    forwarded: bool,
    addresses: Vec<Target>,
}

/// What became of one part of a connection in one base chain.
struct Found<'a> {
    table: &'a Table,
    chain: &'a Chain,
    base: Base,
    zone: Option<String>,
    part: Part,
    /// What it depends on; `None` if it is dropped for certain.
    doubt: Option<String>,
    place: Place,
    services: Vec<Service>,
    families: Vec<Family>,
}

impl Wanted {
    /// What `doors` open; `local` are this host's addresses. `None` if they open nothing.
    pub(super) fn of(doors: &[Door], interfaces: &[String], local: &[Target]) -> Option<Self> {
        let mut accesses = Vec::new();
        for door in doors {
            let targets = &door.trigger.targets;
            let forwarded = !targets.is_empty() && !targets.iter().any(|t| is_among(t, local));
            let addresses = if targets.is_empty() { local } else { targets };
            for service in door.action.native.iter().flat_map(|native| &native.open) {
                let access = Access {
                    service: *service,
                    forwarded,
                    addresses: addresses.to_vec(),
                };
                if !accesses.contains(&access) {
                    accesses.push(access);
                }
            }
        }
        let is_any = interfaces.is_empty() || interfaces.iter().any(|name| name == "any");
        let interfaces = if is_any {
            vec![None]
        } else {
            interfaces.iter().cloned().map(Some).collect()
        };
        (!accesses.is_empty()).then_some(Self {
            accesses,
            interfaces,
        })
    }

    fn services(&self) -> Vec<Service> {
        let mut services = Vec::new();
        for access in &self.accesses {
            add(&mut services, access.service);
        }
        services
    }
}

/// Whether a target is this host itself.
fn is_among(target: &Target, local: &[Target]) -> bool {
    local.iter().any(|address| target.overlaps(address))
}

/// Judges all base chains that the connections pass.
pub(super) fn judge(tables: &[Table], wanted: &Wanted) -> Vec<Verdict> {
    let mut found = Vec::new();
    let mut unmarked = Vec::new();
    for table in tables {
        for chain in &table.chains {
            if let Some(base) = chain.base {
                for access in &wanted.accesses {
                    follow(
                        (table, chain, base),
                        access,
                        wanted,
                        &mut found,
                        &mut unmarked,
                    );
                }
            }
        }
    }
    drop_doubts(&mut found);
    let mut verdicts: Vec<_> = found.iter().map(verdict).collect();
    if verdicts.is_empty() {
        let services = list(&wanted.services());
        verdicts.push(Verdict {
            level: Level::Ok,
            text: format!("lets granted connections through to {services}"),
            line: None,
            help: None,
        });
    }
    verdicts.extend(unmarked.into_iter().map(|text| Verdict {
        level: Level::Note,
        text,
        line: None,
        help: Some(format!(
            "leave the bit {MARK:#x} out of what that rule changes, with a mask"
        )),
    }));
    verdicts
}

/// Sends all packets of a connection through one base chain.
fn follow<'a>(
    (table, chain, base): (&'a Table, &'a Chain, Base),
    access: &Access,
    wanted: &Wanted,
    found: &mut Vec<Found<'a>>,
    unmarked: &mut Vec<String>,
) {
    for family in Family::BOTH {
        let mut addresses = access.addresses.iter();
        let has_family =
            access.addresses.is_empty() || addresses.any(|a| Family::of(a.address()) == family);
        if !table.sees(family) || !has_family {
            continue;
        }
        for part in [Part::First, Part::Following, Part::Answer] {
            if !passes(base.hook, part, access.forwarded) {
                continue;
            }
            for (interface, port) in ways(wanted, access.service) {
                let packet = Packet {
                    family,
                    protocol: number(access.service, family),
                    port,
                    part,
                    hook: base.hook,
                    // The mark stays on the connection.
                    marked: base.hook != Hook::Prerouting
                        || base.priority >= GATE
                        || part != Part::First,
                    forwarded: access.forwarded,
                    interface,
                    addresses: &access.addresses,
                };
                let (fate, unmarks) = walk(table, chain, base, &packet);
                if let Some(rule) = unmarks.filter(|_| packet.marked) {
                    let at = chain_name(table, chain);
                    let rule = printable(&rule);
                    add(
                        unmarked,
                        format!("{at} may take away the mark of granted connections: {rule}"),
                    );
                }
                note(found, (table, chain, base), &packet, access.service, fate);
            }
        }
    }
}

fn chain_name(table: &Table, chain: &Chain) -> String {
    let place = Place {
        chains: vec![chain.name.clone()],
        rule: None,
    };
    let loss = Loss {
        table,
        hook: Hook::Input,
        place: &place,
        services: &[],
        families: &[],
    };
    loss.describe()
}

fn ways(wanted: &Wanted, service: Service) -> Vec<(Option<&str>, Option<u16>)> {
    let ports: Vec<_> = match service {
        Service::Tcp(ports) | Service::Udp(ports) => ports.iter().map(Some).collect(),
        Service::Icmp => vec![None],
    };
    let interfaces = wanted.interfaces.iter().map(Option::as_deref);
    interfaces
        .flat_map(|interface| ports.iter().map(move |port| (interface, *port)))
        .collect()
}

fn number(service: Service, family: Family) -> u64 {
    match (service, family) {
        (Service::Tcp(_), _) => protocol::TCP,
        (Service::Udp(_), _) => protocol::UDP,
        (Service::Icmp, Family::V4) => protocol::ICMP,
        (Service::Icmp, Family::V6) => protocol::ICMPV6,
    }
}

/// Whether such a packet comes by this hook.
fn passes(hook: Hook, part: Part, forwarded: bool) -> bool {
    match hook {
        Hook::Prerouting => forwarded || part != Part::Answer,
        Hook::Input => !forwarded && part != Part::Answer,
        Hook::Forward => forwarded,
        Hook::Output => !forwarded && part == Part::Answer,
        Hook::Postrouting => forwarded || part == Part::Answer,
    }
}

fn note<'a>(
    found: &mut Vec<Found<'a>>,
    (table, chain, base): (&'a Table, &'a Chain, Base),
    packet: &Packet<'_>,
    service: Service,
    fate: Fate,
) {
    let (place, doubt) = match fate {
        Fate::Passes => return,
        Fate::Dropped(place) => (place, None),
        Fate::Perhaps(place, rule) => (place, Some(rule)),
    };
    let loss = Loss {
        table,
        hook: base.hook,
        place: &place,
        services: &[],
        families: &[],
    };
    // firewalld needs one line for each zone.
    let is_firewalld = Owner::of(table) == Owner::Firewalld;
    let zone = loss.zone().filter(|_| is_firewalld).map(str::to_owned);
    // A line for the first packet is one for those that follow; one of firewalld, for both families.
    let same = |other: &&mut Found<'_>| {
        let is_line = is_firewalld && Owner::of(other.table) == Owner::Firewalld;
        let is_same = std::ptr::eq(other.chain, chain)
            || is_line && (&other.chain.name, &other.table.name) == (&chain.name, &table.name);
        is_same && other.zone == zone && other.doubt.is_some() == doubt.is_some()
    };
    if let Some(other) = found.iter_mut().find(same) {
        add(&mut other.services, service);
        add(&mut other.families, packet.family);
        return;
    }
    found.push(Found {
        table,
        chain,
        base,
        zone,
        part: packet.part,
        doubt,
        place,
        services: vec![service],
        families: vec![packet.family],
    });
}

/// Where something is dropped for certain, the line for that helps what may be dropped, too.
fn drop_doubts(found: &mut Vec<Found<'_>>) {
    let certain: Vec<_> = found.iter().filter(|one| one.doubt.is_none()).collect();
    let is_doubled = |one: &Found<'_>| {
        let same = |other: &&Found<'_>| {
            std::ptr::eq(other.chain, one.chain)
                && other.zone == one.zone
                && one.services.iter().all(|s| other.services.contains(s))
        };
        one.doubt.is_some() && certain.iter().any(same)
    };
    let doubled: Vec<_> = found.iter().map(is_doubled).collect();
    let mut doubled = doubled.into_iter();
    found.retain(|_| doubled.next() == Some(false));
}

fn verdict(found: &Found<'_>) -> Verdict {
    let Found {
        table,
        base,
        part,
        doubt,
        place,
        services,
        families,
        ..
    } = found;
    let loss = Loss {
        table,
        hook: base.hook,
        place,
        services,
        families,
    };
    let (level, drops) = match doubt {
        None => (Level::Amiss, "drops"),
        Some(_) => (Level::Unknown, "may drop"),
    };
    let depends = match doubt.as_deref() {
        None => String::new(),
        Some(rule) if rule == loss.rule() => "; what that does is not known here".to_owned(),
        Some(rule) => format!("; that depends on: {}", printable(rule)),
    };
    let what = match part {
        Part::First => "granted connections to",
        Part::Following => "all but the first packet of granted connections to",
        Part::Answer => "the answers of",
    };
    let families: Vec<_> = families.iter().map(|family| family.name()).collect();
    let text = format!(
        "{} {drops} {what} {} over {}: {}{depends}",
        loss.describe(),
        list(services),
        families.join(" and "),
        printable(loss.rule()),
    );
    if base.hook == Hook::Prerouting && base.priority < GATE && *part == Part::First {
        return Verdict {
            level,
            text,
            line: None,
            help: Some(
                "that is before the gate, where nothing has a mark yet: let it through there"
                    .to_owned(),
            ),
        };
    }
    let advice = loss.advice();
    Verdict {
        level,
        text,
        line: advice.line,
        help: Some(advice.help),
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, one: T) {
    if !list.contains(&one) {
        list.push(one);
    }
}

/// Rules have comments, which may be anything.
fn printable(rule: &str) -> String {
    rule.chars().filter(|c| !c.is_control()).collect()
}

fn list(services: &[Service]) -> String {
    let names: Vec<_> = services.iter().map(Service::to_string).collect();
    names.join(", ")
}
