//! Which doors name a port: a table of all ports, and behind it two short lists of doors for each
//! that is named.

use alloc::vec;
use alloc::vec::Vec;

use super::rules::Rule;
use crate::sequence::{Protocol, Step};

/// Both protocols' ports; see [`key`].
const PORTS: usize = 2 * 65_536;

/// The doors of one port.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Named<'a> {
    /// Doors that have the port as a step, ascending.
    pub(super) naming: &'a [u16],
    /// Those of them that have it as their first step, ascending.
    pub(super) starting: &'a [u16],
}

/// A port that doors name: where they are in [`Ports::doors`].
#[derive(Copy, Clone, Debug)]
pub(super) struct Port {
    first: usize,
    /// How many there are, and behind them once more those of them that start there.
    naming: usize,
    starting: usize,
}

impl Port {
    /// Whether a door has it as its first step.
    pub(super) const fn starts_any(self) -> bool {
        self.starting > 0
    }
}

/// The ports of all sequences.
#[derive(Debug)]
pub(super) struct Ports {
    /// For each port, see [`key`], its place in `named` and 1, or 0. Zeros, so that the memory of ports
    /// that are not looked up is never touched (`calloc`).
    places: Vec<u32>,
    named: Vec<Port>,
    doors: Vec<u16>,
}

impl Ports {
    /// The ports that `rules` name now. O(n log n) in the number of their steps.
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut ports = Self {
            places: vec![0; PORTS],
            named: Vec::new(),
            doors: Vec::new(),
        };
        let steps = sorted_steps(rules);
        for of_port in steps.chunk_by(|a, b| a.key == b.key) {
            ports.push(of_port);
        }
        ports
    }

    /// Adds a port.
    fn push(&mut self, doors: &[DoorStep]) {
        let key = doors.first().map(|step| step.key);
        let Some(place) = key.and_then(|key| self.places.get_mut(key)) else {
            return;
        };
        let first = self.doors.len();
        self.doors.extend(doors.iter().map(|step| step.door));
        let starting = doors.iter().filter(|step| !step.later);
        self.doors.extend(starting.map(|step| step.door));
        self.named.push(Port {
            first,
            naming: doors.len(),
            starting: self.doors.len() - first - doors.len(),
        });
        *place = u32::try_from(self.named.len()).unwrap_or(0);
    }

    /// The port of `step`; `None` for one that no door names.
    pub(super) fn find(&self, step: Step) -> Option<Port> {
        let place = self.places.get(key(step))?.checked_sub(1)?;
        self.named.get(usize::try_from(place).ok()?).copied()
    }

    /// The doors that name a port that was found here.
    pub(super) fn named(&self, port: Port) -> Option<Named<'_>> {
        let (naming, rest) = self
            .doors
            .get(port.first..)?
            .split_at_checked(port.naming)?;
        let starting = rest.get(..port.starting)?;
        Some(Named { naming, starting })
    }
}

/// That a door has a step. Sorted, a door's first step comes before its later ones at the port.
#[derive(Copy, Clone, Eq, Ord, PartialEq, PartialOrd)]
struct DoorStep {
    key: usize,
    door: u16,
    later: bool,
}

fn sorted_steps(rules: &[Rule]) -> Vec<DoorStep> {
    let mut steps = Vec::new();
    for (door, rule) in (0..=u16::MAX).zip(rules) {
        for (i, step) in rule.steps().iter().enumerate() {
            steps.push(DoorStep {
                key: key(*step),
                door,
                later: i > 0,
            });
        }
    }
    steps.sort_unstable();
    steps.dedup_by_key(|step| (step.key, step.door));
    steps
}

/// A number below [`PORTS`] for each (protocol, port).
fn key(step: Step) -> usize {
    let protocol = match step.protocol {
        Protocol::Tcp => 0,
        Protocol::Udp => PORTS / 2,
    };
    protocol + usize::from(step.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::door;

    fn ports(sequences: &[&[Step]]) -> Ports {
        let rules: Vec<Rule> = sequences
            .iter()
            .map(|steps| Rule::new(&door("A", steps)))
            .collect();
        Ports::new(&rules)
    }

    #[test]
    fn every_port_knows_its_doors_and_no_other_port_has_any() {
        let t = Step::tcp;
        let ports = ports(&[
            &[t(0), t(65535), Step::udp(0)],
            &[t(65535), t(65535), t(0)],
            &[Step::udp(65535)],
        ]);
        let named = |step| {
            let named = ports.named(ports.find(step)?)?;
            Some((named.naming, named.starting))
        };
        assert_eq!(named(t(0)), Some((&[0, 1][..], &[0][..])));
        assert_eq!(named(t(65535)), Some((&[0, 1][..], &[1][..])));
        assert_eq!(named(Step::udp(0)), Some((&[0][..], &[][..])));
        assert_eq!(named(Step::udp(65535)), Some((&[2][..], &[2][..])));
        assert_eq!((1..65535).filter_map(|p| named(t(p))).count(), 0);
        assert_eq!((1..65535).filter_map(|p| named(Step::udp(p))).count(), 0);
    }
}
