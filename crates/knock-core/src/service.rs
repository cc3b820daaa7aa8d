//! Services: what a native door opens (`open`).

use core::fmt;

use crate::sequence::Protocol;

/// What a native door guards and opens.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Service {
    /// TCP connections to these ports.
    Tcp(Ports),
    /// UDP flows to these ports.
    Udp(Ports),
    /// Echo requests ("ping") of ICMP and of ICMPv6. What else they carry (errors, neighbour
    /// discovery) is never guarded: networks need it.
    Icmp,
}

impl Service {
    /// The service of `protocol` at `ports`.
    #[must_use]
    pub const fn at(protocol: Protocol, ports: Ports) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp(ports),
            Protocol::Udp => Self::Udp(ports),
        }
    }

    /// Protocol and ports, of one that has ports.
    #[must_use]
    pub const fn ports(self) -> Option<(Protocol, Ports)> {
        match self {
            Self::Tcp(ports) => Some((Protocol::Tcp, ports)),
            Self::Udp(ports) => Some((Protocol::Udp, ports)),
            Self::Icmp => None,
        }
    }

    /// All of both, as one service, if they have something in common.
    #[must_use]
    pub fn union(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Tcp(a), Self::Tcp(b)) => a.union(b).map(Self::Tcp),
            (Self::Udp(a), Self::Udp(b)) => a.union(b).map(Self::Udp),
            (Self::Icmp, Self::Icmp) => Some(Self::Icmp),
            _ => None,
        }
    }
}

/// One port, or several in a row. Port 0 is none: nothing can listen there.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    /// The ports from `first` to `last`, both of them too. `None` if there is none, or port 0 is
    /// among them.
    #[must_use]
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first == 0 || first > last {
            return None;
        }
        Some(Self { first, last })
    }

    /// The lowest.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// All of both in a row, if they have a port in common.
    #[must_use]
    pub fn union(self, other: Self) -> Option<Self> {
        let apart = self.last < other.first || other.last < self.first;
        (!apart).then(|| Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        })
    }

    /// Each of them, ascending.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }

    /// How many they are: 1 to 65,535.
    #[must_use]
    pub fn count(self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    /// Whether `port` is among them.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last {
            write!(f, "{first}")
        } else {
            write!(f, "{first}-{last}")
        }
    }
}

/// As it is written in `knockd.conf`: `tcp/22`, `udp/8000-8010`, `icmp`.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(ports) => write!(f, "tcp/{ports}"),
            Self::Udp(ports) => write!(f, "udp/{ports}"),
            Self::Icmp => f.write_str("icmp"),
        }
    }
}
