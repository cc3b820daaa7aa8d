//! What is guarded: worked out from the doors, before the kernel is asked for anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;

use knock_core::door::Door;
use knock_core::service::Service;
use knock_core::target::Target;
use knock_core::time::Timestamp;
use siphasher::sip::SipHasher24;

/// What the gate keeps shut. Two plans are equal if the tables made of them are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// By the targets, so that the host's own addresses come first.
    pub(super) scopes: BTreeMap<Targets, Scope>,
}

/// The destinations of a scope, sorted, none within another; empty for the host's own addresses.
pub(super) type Targets = Arc<[Target]>;

/// Destinations that are guarded alike.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Scope {
    pub(super) guarded: BTreeSet<Way>,
    /// The sets that grants go into.
    pub(super) sets: BTreeSet<Shape>,
}

/// One of the things that a service consists of, and an element in the kernel's sets.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Way {
    /// A TCP port.
    Tcp(u16),
    /// A UDP port.
    Udp(u16),
    /// Echo requests.
    Ping,
}

/// Which of a scope's sets a grant belongs in.
#[derive(Copy, Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Shape {
    pub(super) ping: bool,
    pub(super) ipv4: bool,
    /// How many bits of the source count.
    pub(super) width: u8,
}

/// One thing that is guarded, and where.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Guarded {
    pub(super) targets: Targets,
    pub(super) way: Way,
}

/// Which guarded things are on trial: the kernel lets go of them by itself at their time.
/// What is not named here is guarded for good.
pub type Trial = BTreeMap<Guarded, Timestamp>;

impl Plan {
    /// What the native doors of `doors` need guarded.
    #[must_use]
    pub fn of(doors: &[Door]) -> Self {
        let mut plan = Self::default();
        for door in doors {
            let Some(native) = &door.action.native else {
                continue;
            };
            let targets = targets_of(door);
            let families = [true, false].into_iter().filter(|v4| has(&targets, *v4));
            let scope = plan.scopes.entry(Arc::clone(&targets)).or_default();
            let ways: BTreeSet<_> = native.open.iter().flat_map(ways_of).collect();
            for ipv4 in families {
                let to = native.open_to;
                let width = if ipv4 { to.v4 } else { to.v6 };
                let shapes = ways.iter().map(|way| Shape {
                    ping: *way == Way::Ping,
                    ipv4,
                    width,
                });
                scope.sets.extend(shapes);
            }
            scope.guarded.extend(ways);
        }
        plan
    }

    /// The same, with these UDP ports of the host itself guarded as well, for which no door gives a
    /// grant: so that a stranger hears as little of them as of a guarded port. Sealed packets are
    /// heard before the packet filter is asked. Where nothing else is guarded, there is no gate, and
    /// none is made for this.
    #[must_use]
    pub fn silent_at(mut self, ports: &[u16]) -> Self {
        if !self.is_empty() && !ports.is_empty() {
            let host = self.scopes.entry(Targets::from([])).or_default();
            host.guarded.extend(ports.iter().copied().map(Way::Udp));
        }
        self
    }

    /// Everything that is guarded.
    pub fn guarded(&self) -> impl Iterator<Item = Guarded> {
        self.scopes.iter().flat_map(|(targets, scope)| {
            scope.guarded.iter().map(|way| Guarded {
                targets: Arc::clone(targets),
                way: *way,
            })
        })
    }

    /// Whether nothing is guarded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "tcp/{port}"),
            Self::Udp(port) => write!(f, "udp/{port}"),
            Self::Ping => f.write_str("icmp"),
        }
    }
}

impl Guarded {
    /// The port, or ping.
    #[must_use]
    pub const fn way(&self) -> Way {
        self.way
    }

    /// The destinations; empty for the host's own addresses.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }
}

/// `tcp/22`, or `tcp/22 at 10.0.0.0/8`.
impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.way)?;
        if self.targets.is_empty() {
            return Ok(());
        }
        write!(f, " at {}", list(&self.targets))
    }
}

impl Shape {
    pub(super) fn of(sources: Target, way: Way) -> Self {
        Self {
            ping: way == Way::Ping,
            ipv4: sources.is_ipv4(),
            width: sources.prefix(),
        }
    }

    /// The set's name in a scope: `granted4`, `pinged6_64`, `granted4_at_1a2b3c4d`.
    pub(super) fn name(self, targets: &[Target]) -> String {
        let what = if self.ping { "pinged" } else { "granted" };
        let (family, full) = if self.ipv4 { (4, 32) } else { (6, 128) };
        let tag = tag(targets);
        if self.width == full {
            format!("{what}{family}{tag}")
        } else {
            format!("{what}{family}_{}{tag}", self.width)
        }
    }

    /// The shape of the set called `name`, if it is one of the scope's.
    pub(super) fn from_name(name: &str, targets: &[Target]) -> Option<Self> {
        let stem = name.strip_suffix(tag(targets).as_str())?;
        let (ping, rest) = match stem.strip_prefix("pinged") {
            Some(rest) => (true, rest),
            None => (false, stem.strip_prefix("granted")?),
        };
        let (ipv4, rest) = match rest.strip_prefix('4') {
            Some(rest) => (true, rest),
            None => (false, rest.strip_prefix('6')?),
        };
        let full: u8 = if ipv4 { 32 } else { 128 };
        let width = match rest.strip_prefix('_') {
            Some(width) => width.parse().ok().filter(|width| *width < full)?,
            None if rest.is_empty() => full,
            None => return None,
        };
        let shape = Self { ping, ipv4, width };
        (shape.name(targets) == name).then_some(shape)
    }
}

/// What a scope's chains and sets have at the end of their names: nothing for the host's own
/// addresses. It depends on the targets alone, so that the grants that a daemon finds in the kernel
/// are those of its own scopes, whatever was added to the configuration meanwhile.
pub(super) fn tag(targets: &[Target]) -> String {
    if targets.is_empty() {
        return String::new();
    }
    let mut hasher = SipHasher24::new();
    hasher.write(list(targets).as_bytes());
    let [.., a, b, c, d] = hasher.finish().to_be_bytes();
    format!("_at_{a:02x}{b:02x}{c:02x}{d:02x}")
}

/// `10.0.0.0/8, 192.0.2.7`.
pub(super) fn list(targets: &[Target]) -> String {
    let names: Vec<_> = targets.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// The scope of a door.
pub(super) fn targets_of(door: &Door) -> Targets {
    let mut targets = door.trigger.targets.clone();
    targets.sort_unstable();
    targets.dedup();
    let all = targets.clone();
    targets.retain(|target| {
        !all.iter()
            .any(|other| other != target && other.covers(target))
    });
    targets.into()
}

/// The single ports of a service.
pub(super) fn ways_of(service: &Service) -> Vec<Way> {
    match service {
        Service::Tcp(ports) => ports.iter().map(Way::Tcp).collect(),
        Service::Udp(ports) => ports.iter().map(Way::Udp).collect(),
        Service::Icmp => vec![Way::Ping],
    }
}

/// Whether the scope has destinations of the family.
pub(super) fn has(targets: &[Target], ipv4: bool) -> bool {
    targets.is_empty() || targets.iter().any(|target| target.is_ipv4() == ipv4)
}

/// Who may come through, of the addresses that share the source's first bits.
pub(super) fn sources_of(door: &Door, source: IpAddr) -> Option<Target> {
    let to = door.action.native.as_ref()?.open_to;
    let width = if source.is_ipv4() { to.v4 } else { to.v6 };
    Target::network(source, width)
}

#[cfg(test)]
mod tests;
