//! Whether a port scan opens a door, at which speed, and how likely.
//!
//! A scan sends one packet to each port of one address, all of one protocol: SYN for TCP, as
//! `nmap -sS` does, or UDP. At a door it meets the ports that break an attempt there: all of them
//! if the door is strict, else those that doors name which hear the same packets. The door opens
//! if its steps come one directly after the other among these. Since each port comes once, an
//! attempt that was broken never starts again. Hence all that is said here, and the tests hold it
//! to the engine, over every order of a few ports. A scanner that sends once more to ports which
//! do not answer has made more scans than one.
//!
//! What cannot be known from the file counts for the scanner: the current sequences of one-time
//! doors break attempts too, and so do doors whose targets may or may not be the same address.

pub(super) mod advice;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;
use core::time::Duration;

use super::super::Config;
use crate::door::{Door, Trigger};
use crate::flags::TcpFlags;
use crate::sequence::{Protocol, Sequence, Step};
use crate::target::Target;

/// What a scanner calls all ports.
const ALL: RangeInclusive<u16> = 1..=u16::MAX;

/// Of the doors of very many different targets, only so many are looked at for one door.
const MAX_COMPARED: usize = 64;

/// What scans of all ports do to a door.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Exposure {
    /// At how many ports a second or more a scan from the lowest port to the highest opens it;
    /// `None` if it does not. 0 if any speed will do.
    pub ascending: Option<u64>,
    /// The same for a scan from the highest port to the lowest.
    pub descending: Option<u64>,
    /// How likely a scan in random order opens it, if all of it is within the door's time.
    pub random: Chance,
}

/// How likely a single scan opens a door.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Chance {
    /// It does not.
    Never,
    /// One of so many does, on average. Saturates.
    OneIn(u64),
}

/// What scans do to each door of `config`, in their order; `None` for those whose sequences are
/// in a file, which change with each opening, and for those that have none.
#[must_use]
pub fn exposures(config: &Config) -> Vec<Option<Exposure>> {
    let ground = Ground::new(&config.doors, ALL);
    let doors = config.doors.iter();
    doors
        .map(|door| Some(ground.exposure(steps(door)?, &door.trigger, door.trigger.strict)))
        .collect()
}

/// How many ports a second are needed for a scan to get over `span` ports in less than `time`.
fn speed(span: u16, time: Duration) -> u64 {
    let per_time = u128::from(span) * Duration::from_secs(1).as_nanos();
    match per_time.checked_div(time.as_nanos()) {
        _ if span == 0 => 0,
        Some(speed) => u64::try_from(speed + 1).unwrap_or(u64::MAX),
        None => u64::MAX,
    }
}

fn steps(door: &Door) -> Option<&[Step]> {
    door.trigger.source.fixed().map(Sequence::steps)
}

/// Whether a packet of a scan can count at a door.
const fn hears(trigger: &Trigger, protocol: Protocol) -> bool {
    match protocol {
        Protocol::Tcp => trigger.flags.matches(TcpFlags::SYN),
        Protocol::Udp => true,
    }
}

/// What scans run over.
struct Ground<'a> {
    /// The ports that a scan has.
    scanned: RangeInclusive<u16>,
    /// By the targets of a door, the ports named by doors that hear whatever it hears.
    named: BTreeMap<&'a [Target], Named>,
}

/// Ports that doors name.
#[derive(Clone, Default)]
struct Named {
    tcp: BTreeSet<u16>,
    udp: BTreeSet<u16>,
}

impl<'a> Ground<'a> {
    fn new(doors: impl IntoIterator<Item = &'a Door>, scanned: RangeInclusive<u16>) -> Self {
        let mut own: BTreeMap<&[Target], Named> = BTreeMap::new();
        for door in doors {
            let named = own.entry(&door.trigger.targets).or_default();
            for step in steps(door).unwrap_or_default() {
                if hears(&door.trigger, step.protocol) && scanned.contains(&step.port) {
                    named.of_mut(step.protocol).insert(step.port);
                }
            }
        }
        let with_others = |(targets, named): (&&'a [Target], &Named)| {
            let mut all = named.clone();
            let compared = own.iter().take(MAX_COMPARED);
            for (_, other) in compared.filter(|(others, _)| covers(others, targets)) {
                all.tcp.extend(&other.tcp);
                all.udp.extend(&other.udp);
            }
            (*targets, all)
        };
        Self {
            scanned,
            named: own.iter().map(with_others).collect(),
        }
    }

    /// What scans do to a door of this ground, if it had these steps, and were strict or not.
    fn exposure(&self, steps: &[Step], trigger: &Trigger, strict: bool) -> Exposure {
        let shut = Exposure {
            ascending: None,
            descending: None,
            random: Chance::Never,
        };
        let Some((protocol, ports)) = self.reachable(steps, trigger) else {
            return shut;
        };
        let (Some(low), Some(high)) = (ports.iter().min(), ports.iter().max()) else {
            return shut;
        };
        let met = |range| self.met(range, protocol, trigger, strict);
        let undisturbed = met(*low..=*high) == ports.len();
        let speed = undisturbed.then(|| speed(high - low, trigger.seq_timeout));
        let all = met(self.scanned.clone());
        Exposure {
            ascending: speed.filter(|_| ports.is_sorted_by(|a, b| a < b)),
            descending: speed.filter(|_| ports.is_sorted_by(|a, b| a > b)),
            random: Chance::in_a_row(ports.len(), all),
        }
    }

    /// The ports of a sequence, if a scan has them all and can pass in time.
    fn reachable(&self, steps: &[Step], trigger: &Trigger) -> Option<(Protocol, Vec<u16>)> {
        let protocol = steps.first()?.protocol;
        let all = |step: &Step| step.protocol == protocol && self.scanned.contains(&step.port);
        let ports: Vec<u16> = steps.iter().map(|step| step.port).collect();
        let different: BTreeSet<&u16> = ports.iter().collect();
        let reachable = steps.iter().all(all)
            && different.len() == ports.len()
            && hears(trigger, protocol)
            && (ports.len() == 1 || !trigger.seq_timeout.is_zero());
        reachable.then_some((protocol, ports))
    }

    /// How many of the ports in `range` advance or break an attempt.
    fn met(
        &self,
        range: RangeInclusive<u16>,
        protocol: Protocol,
        trigger: &Trigger,
        strict: bool,
    ) -> usize {
        let named = self.named.get(trigger.targets.as_slice());
        match (strict, named) {
            (true, _) => range.len(),
            (false, Some(named)) if range == self.scanned => named.of(protocol).len(),
            // More than a sequence can have is as good as any number.
            (false, Some(named)) => {
                let ports = named.of(protocol).range(range);
                ports.take(Sequence::MAX + 1).count()
            }
            (false, None) => 0,
        }
    }
}

/// Whether doors with `targets` hear whatever those with `others` hear. Those without targets
/// listen at addresses that the file does not tell.
fn covers(targets: &[Target], others: &[Target]) -> bool {
    let covered = |other: &Target| targets.iter().any(|target| target.covers(other));
    targets == others || (!others.is_empty() && others.iter().all(covered))
}

impl Named {
    const fn of(&self, protocol: Protocol) -> &BTreeSet<u16> {
        match protocol {
            Protocol::Tcp => &self.tcp,
            Protocol::Udp => &self.udp,
        }
    }

    const fn of_mut(&mut self, protocol: Protocol) -> &mut BTreeSet<u16> {
        match protocol {
            Protocol::Tcp => &mut self.tcp,
            Protocol::Udp => &mut self.udp,
        }
    }
}

impl Chance {
    /// That `steps` of `ports` stand in a row and in their order, among all orders of the ports:
    /// (ports - steps + 1)! of ports!, as the row can be taken for one port.
    fn in_a_row(steps: usize, ports: usize) -> Self {
        let factors = (1..steps).map(|taken| u64::try_from((ports + 1).saturating_sub(taken)));
        Self::OneIn(factors.fold(1, |product, factor| {
            product.saturating_mul(factor.unwrap_or(u64::MAX))
        }))
    }

    /// Whether it is one in `n` or better.
    const fn is_at_least(self, n: u64) -> bool {
        matches!(self, Self::OneIn(one_in) if one_in <= n)
    }
}

/// `never`, `always`, `1 in 6`, `1 in 4 billion`.
impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MILLION: u64 = 1_000_000;
        const BILLION: u64 = 1000 * MILLION;
        const TRILLION: u64 = 1000 * BILLION;
        const MANY: u64 = 1000 * TRILLION;
        match *self {
            Self::Never => f.write_str("never"),
            Self::OneIn(1) => f.write_str("always"),
            Self::OneIn(MANY..) => f.write_str("less than 1 in 1,000 trillion"),
            Self::OneIn(n @ TRILLION..) => write!(f, "1 in {} trillion", n / TRILLION),
            Self::OneIn(n @ BILLION..) => write!(f, "1 in {} billion", n / BILLION),
            Self::OneIn(n @ MILLION..) => write!(f, "1 in {} million", n / MILLION),
            Self::OneIn(n) => write!(f, "1 in {}", Grouped(n)),
        }
    }
}

/// A number with a comma at each thousand, as people read it.
#[derive(Copy, Clone, Debug)]
pub struct Grouped(pub u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 1000, self.0 % 1000) {
            (0, rest) => write!(f, "{rest}"),
            (thousands, rest) => write!(f, "{},{rest:03}", Self(thousands)),
        }
    }
}
