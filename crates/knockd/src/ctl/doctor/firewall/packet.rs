//! A packet that was granted, and what a rule's question about it comes to.
//!
//! Its sender is a *stranger*: no firewall knows its address, so no list of addresses has it. What
//! a firewall does for addresses that it knows is what the administrator wants.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use knock_core::target::Target;

use super::model::{Answer, Family, Field, Hook, Item, Op, Test, kind, state};
use crate::gate::MARK;

/// What a client's system takes ports from (Linux: `net.ipv4.ip_local_port_range`; others begin at
/// 49152, RFC 6335).
const EPHEMERAL: RangeInclusive<u64> = 32_768..=60_999;

/// Of what a connection consists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The first packet.
    First,
    /// Those that follow it.
    Following,
    /// Those in the other direction.
    Answer,
}

/// A packet of a connection that was granted.
#[derive(Clone, Debug)]
pub(super) struct Packet<'a> {
    pub(super) family: Family,
    /// The number of its protocol.
    pub(super) protocol: u64,
    /// The port of the service; `None` for ICMP.
    pub(super) port: Option<u16>,
    pub(super) part: Part,
    pub(super) hook: Hook,
    /// Whether the gate has seen it.
    pub(super) marked: bool,
    /// Whether it goes on to another host.
    pub(super) forwarded: bool,
    /// The interface between us and the client, if it is known.
    pub(super) interface: Option<&'a str>,
    /// The service's addresses that are known.
    pub(super) addresses: &'a [Target],
}

/// What is known of a field.
enum Fact<'a> {
    Number(u64),
    Among(RangeInclusive<u64>),
    /// An address that nobody knows.
    Stranger,
    Addresses(&'a [Target]),
    /// `None`: not the loopback interface.
    Interface(Option<&'a str>),
    /// There is none.
    None,
    Unknown,
}

impl Packet<'_> {
    /// Whether `test` holds for it.
    pub(super) fn answers(&self, test: &Test) -> Answer {
        let answer = match &test.field {
            Field::Fixed(answer) => *answer,
            Field::Concat(fields) => self.concat(fields),
            field => self.compare(&self.fact(field), test),
        };
        if test.op == Op::Ne {
            answer.not()
        } else {
            answer
        }
    }

    /// What has the stranger's address in it is in no set.
    fn concat(&self, fields: &[Field]) -> Answer {
        let is_stranger = |field| matches!(self.fact(field), Fact::Stranger);
        if fields.iter().any(is_stranger) {
            return Answer::No;
        }
        Answer::Unknown
    }

    fn compare(&self, fact: &Fact<'_>, test: &Test) -> Answer {
        if let (Fact::Number(number), Op::Lt | Op::Le | Op::Gt | Op::Ge) = (fact, test.op) {
            return order(number & test.mask.unwrap_or(u64::MAX), test);
        }
        if matches!(test.op, Op::Lt | Op::Le | Op::Gt | Op::Ge) {
            return Answer::Unknown;
        }
        let mut answer = Answer::No;
        for item in &test.items {
            match self.is(fact, test.mask, item) {
                Answer::Yes => return Answer::Yes,
                Answer::Unknown => answer = Answer::Unknown,
                Answer::No => {}
            }
        }
        answer
    }

    fn is(&self, fact: &Fact<'_>, mask: Option<u64>, item: &Item) -> Answer {
        match (fact, item) {
            (Fact::None, _) => Answer::No,
            (Fact::Number(number), item) => number_is(number & mask.unwrap_or(u64::MAX), item),
            (Fact::Among(range), Item::Number(n)) if range.contains(n) => Answer::Unknown,
            (Fact::Among(_), Item::Number(_)) => Answer::No,
            (Fact::Among(range), Item::Range(first, last)) => {
                if first <= range.start() && range.end() <= last {
                    Answer::Yes
                } else {
                    Answer::of(first <= range.end() && range.start() <= last).and_maybe()
                }
            }
            (Fact::Stranger, Item::Network(network)) => {
                Answer::of(Family::of(network.address()) == self.family && is_world(network))
            }
            (Fact::Stranger, _) => Answer::No,
            (Fact::Addresses(ours), Item::Network(network)) => self.ours(ours, network),
            (Fact::Addresses(ours), Item::Addresses(first, last)) => {
                let is_in = |one: &Target| {
                    one.prefix() == bits(one) && (*first..=*last).contains(&one.address())
                };
                if !ours.is_empty() && ours.iter().all(is_in) {
                    return Answer::Yes;
                }
                Answer::Unknown
            }
            (Fact::Interface(here), Item::Name(name)) => interface(*here, name),
            _ => Answer::Unknown,
        }
    }

    fn ours(&self, ours: &[Target], network: &Target) -> Answer {
        if Family::of(network.address()) != self.family || network.address().is_multicast() {
            return Answer::No;
        }
        let mut ours = ours
            .iter()
            .filter(|target| Family::of(target.address()) == self.family)
            .peekable();
        if is_world(network) && network.prefix() == 0 {
            return Answer::Yes;
        }
        if ours.peek().is_none() {
            return Answer::Unknown;
        }
        let ours: Vec<_> = ours.collect();
        if ours.iter().all(|target| network.covers(target)) {
            return Answer::Yes;
        }
        Answer::of(ours.iter().any(|target| network.overlaps(target))).and_maybe()
    }

    fn fact(&self, field: &Field) -> Fact<'_> {
        let inwards = self.part != Part::Answer;
        let client = self.interface;
        match field {
            Field::Family => Fact::Number(match self.family {
                Family::V4 => 4,
                Family::V6 => 6,
            }),
            Field::Protocol => Fact::Number(self.protocol),
            Field::SourcePort => self.port(!inwards),
            Field::DestinationPort => self.port(inwards),
            Field::Source if inwards => Fact::Stranger,
            Field::Destination if !inwards => Fact::Stranger,
            Field::Source | Field::Destination => Fact::Addresses(self.addresses),
            Field::State if self.part == Part::First => Fact::Number(state::NEW),
            Field::State => Fact::Number(state::ESTABLISHED),
            Field::Translated => Fact::Number(0),
            Field::Direction => Fact::Number(u64::from(!inwards)),
            Field::Mark if self.marked => Fact::Number(MARK.into()),
            Field::Mark => Fact::Number(0),
            Field::InInterface => match self.hook {
                Hook::Output | Hook::Postrouting => Fact::None,
                _ if inwards => Fact::Interface(client),
                _ => Fact::Interface(None),
            },
            Field::OutInterface => match self.hook {
                Hook::Prerouting | Hook::Input => Fact::None,
                _ if !inwards => Fact::Interface(client),
                _ => Fact::Interface(None),
            },
            Field::TcpFlags if self.part == Part::First => Fact::Number(2),
            Field::IcmpType => Fact::Number(match (self.family, inwards) {
                (Family::V4, true) => 8,
                (Family::V4, false) => 0,
                (Family::V6, true) => 128,
                (Family::V6, false) => 129,
            }),
            Field::IcmpCode => Fact::Number(0),
            Field::WayBack => Fact::Number(1),
            Field::DestinationKind if inwards && !self.forwarded => Fact::Number(kind::LOCAL),
            Field::SourceKind if !inwards && !self.forwarded => Fact::Number(kind::LOCAL),
            Field::DestinationKind | Field::SourceKind => Fact::Number(kind::UNICAST),
            Field::TcpFlags | Field::Concat(_) | Field::Fixed(_) | Field::Unknown => Fact::Unknown,
        }
    }

    fn port(&self, of_service: bool) -> Fact<'_> {
        match self.port {
            Some(port) if of_service => Fact::Number(port.into()),
            Some(_) => Fact::Among(EPHEMERAL),
            None => Fact::None,
        }
    }
}

impl Answer {
    /// It may be, or it is not.
    fn and_maybe(self) -> Self {
        match self {
            Self::No => Self::No,
            _ => Self::Unknown,
        }
    }
}

/// How many bits the addresses of its family have.
fn bits(target: &Target) -> u8 {
    if target.is_ipv4() { 32 } else { 128 }
}

fn number_is(number: u64, item: &Item) -> Answer {
    match item {
        Item::Number(n) => Answer::of(number == *n),
        Item::Range(first, last) => Answer::of((*first..=*last).contains(&number)),
        _ => Answer::Unknown,
    }
}

fn order(number: u64, test: &Test) -> Answer {
    let [Item::Number(limit)] = test.items.as_slice() else {
        return Answer::Unknown;
    };
    Answer::of(match test.op {
        Op::Lt => number < *limit,
        Op::Le => number <= *limit,
        Op::Gt => number > *limit,
        Op::Ge => number >= *limit,
        Op::Eq | Op::Ne => return Answer::Unknown,
    })
}

/// All addresses, or all that are given out (RFC 4291: `2000::/3`).
fn is_world(network: &Target) -> bool {
    match network.address() {
        _ if network.prefix() == 0 => true,
        IpAddr::V4(_) => false,
        IpAddr::V6(a) => network.prefix() <= 3 && a.segments().first() == Some(&0x2000),
    }
}

fn interface(here: Option<&str>, name: &str) -> Answer {
    let pattern = name.strip_suffix('*');
    match (here, pattern) {
        (_, Some("")) => Answer::Yes,
        (Some(here), Some(start)) => Answer::of(here.starts_with(start)),
        (Some(here), None) => Answer::of(here == name),
        (None, None) if name == "lo" => Answer::No,
        (None, _) => Answer::Unknown,
    }
}
