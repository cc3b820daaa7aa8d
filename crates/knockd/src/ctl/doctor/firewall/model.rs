//! What a firewall is, whoever wrote it: tables, chains, rules, and what a rule asks of a packet.
//!
//! Names of protocols, ICMP types, connection states and TCP flags are numbers here, as the kernel
//! has them, so that both languages (nftables and iptables) come out alike.

use std::net::IpAddr;

use knock_core::target::Target;
use serde::Serialize;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) enum Family {
    #[serde(rename = "IPv4")]
    V4,
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

/// Where in the kernel a base chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// Whose language a table is written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Nft,
    /// The program that changes it, such as `ip6tables-legacy`.
    Xtables(String),
}

/// A table, in the order in which its chains were read.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) engine: Engine,
    /// As nft writes it: `inet`, `ip` or `ip6`.
    pub(super) family: &'static str,
    pub(super) name: String,
    pub(super) chains: Vec<Chain>,
}

impl Table {
    pub(super) fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.name == name)
    }

    pub(super) fn sees(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.family != "ip6",
            Family::V6 => self.family != "ip",
        }
    }
}

/// A chain; only those with a base are entered by the kernel itself.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) name: String,
    pub(super) base: Option<Base>,
    pub(super) rules: Vec<Rule>,
}

/// Where a base chain stands, and what becomes of a packet that no rule decides about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    pub(super) hook: Hook,
    pub(super) priority: i64,
    pub(super) drops: bool,
}

/// A rule that decides something; all others are not kept.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// As the administrator finds it again.
    pub(super) text: String,
    /// All of them must hold.
    pub(super) tests: Vec<Test>,
    pub(super) verdict: Verdict,
}

/// What a rule does with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    /// Or reject.
    Drop,
    Return,
    Jump(String),
    Goto(String),
    /// Takes the gate's bit out of the connection's mark, and goes on.
    Unmark,
    /// Something that may drop it, such as a queue to a program.
    Unknown,
}

/// What a rule asks.
#[derive(Clone, Debug)]
pub(super) struct Test {
    pub(super) field: Field,
    pub(super) mask: Option<u64>,
    pub(super) op: Op,
    pub(super) items: Vec<Item>,
}

impl Test {
    /// That `field` is one of `items`.
    pub(super) fn is(field: Field, items: Vec<Item>) -> Self {
        Self {
            field,
            mask: None,
            op: Op::Eq,
            items,
        }
    }

    /// A test that always comes out like this.
    pub(super) fn fixed(answer: Answer) -> Self {
        Self::is(Field::Fixed(answer), Vec::new())
    }

    pub(super) fn unless(mut self, negated: bool) -> Self {
        if negated {
            self.op = Op::Ne;
        }
        self
    }
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// Whether a test holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    No,
    Yes,
    /// It depends on what is not known here, or the test is not understood.
    Unknown,
}

impl Answer {
    pub(super) fn of(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Yes => Self::No,
            Self::Unknown => Self::Unknown,
        }
    }
}

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// 4 or 6.
    Family,
    Protocol,
    SourcePort,
    DestinationPort,
    Source,
    Destination,
    /// One of the bits of [`state`].
    State,
    /// 1 if the destination, 2 if the source was translated.
    Translated,
    /// 0 for the way of the first packet, 1 for that of the answers.
    Direction,
    Mark,
    InInterface,
    OutInterface,
    TcpFlags,
    IcmpType,
    IcmpCode,
    /// `fib daddr type`, with a number of [`kind`]; so is what kind of packet the link had.
    DestinationKind,
    SourceKind,
    /// Whether there is a way back to the client (`fib saddr oif`): 1.
    WayBack,
    /// Several at once.
    Concat(Vec<Self>),
    Fixed(Answer),
    Unknown,
}

/// The states of a connection, as bits (`enum nft_ct_state` of nft's `ct.c`).
pub(super) mod state {
    pub(in super::super) const INVALID: u64 = 1;
    pub(in super::super) const ESTABLISHED: u64 = 2;
    pub(in super::super) const RELATED: u64 = 4;
    pub(in super::super) const NEW: u64 = 8;
    pub(in super::super) const UNTRACKED: u64 = 64;

    pub(in super::super) fn named(name: &str) -> Option<u64> {
        Some(match name.to_ascii_lowercase().as_str() {
            "invalid" => INVALID,
            "established" => ESTABLISHED,
            "related" => RELATED,
            "new" => NEW,
            "untracked" => UNTRACKED,
            _ => return None,
        })
    }
}

/// What an address is for this host (`RTN_*` of linux/rtnetlink.h).
pub(super) mod kind {
    pub(in super::super) const UNICAST: u64 = 1;
    pub(in super::super) const LOCAL: u64 = 2;

    pub(in super::super) fn named(name: &str) -> Option<u64> {
        Some(match name.to_ascii_lowercase().as_str() {
            "unicast" => UNICAST,
            "local" => LOCAL,
            "broadcast" => 3,
            "anycast" => 4,
            "multicast" => 5,
            "blackhole" => 6,
            "unreachable" => 7,
            "prohibit" => 8,
            _ => return None,
        })
    }
}

/// IP protocols (IANA).
pub(super) mod protocol {
    pub(in super::super) const ICMP: u64 = 1;
    pub(in super::super) const TCP: u64 = 6;
    pub(in super::super) const UDP: u64 = 17;
    pub(in super::super) const ICMPV6: u64 = 58;

    /// Of a protocol that no door opens it need only be known that it is another one.
    pub(in super::super) fn named(name: &str) -> u64 {
        match name {
            "icmp" => ICMP,
            "tcp" => TCP,
            "udp" => UDP,
            "icmpv6" | "ipv6-icmp" => ICMPV6,
            other => other.parse().unwrap_or(u64::MAX),
        }
    }
}

/// The types that a door opens, those of errors, and those that firewalls always let through; of
/// any other it need only be known that it is another one.
pub(super) fn icmp_type(name: &str, family: Family) -> u64 {
    match (name, family) {
        ("echo-request", Family::V4) => 8,
        ("echo-reply", Family::V4) => 0,
        ("echo-request", Family::V6) => 128,
        ("echo-reply", Family::V6) => 129,
        (other, _) => other.parse().unwrap_or(u64::MAX),
    }
}

/// The bits of TCP flags (RFC 9293, 3.1), by their names in both languages.
pub(super) fn tcp_flag(name: &str) -> Option<u64> {
    Some(match name.to_ascii_lowercase().as_str() {
        "fin" => 1,
        "syn" => 2,
        "rst" => 4,
        "psh" => 8,
        "ack" => 16,
        "urg" => 32,
        "ecn" => 64,
        "cwr" => 128,
        "all" => 63,
        "none" => 0,
        _ => return None,
    })
}

/// What a field may be.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Number(u64),
    Range(u64, u64),
    /// An interface; a `*` at the end stands for any text.
    Name(String),
    Network(Target),
    Addresses(IpAddr, IpAddr),
    Unknown,
}
