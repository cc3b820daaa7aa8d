//! Which doors name a port: a bitmap for the packets that no door asks for, and behind it two
//! short lists of doors for each named port.

use alloc::vec;
use alloc::vec::Vec;

use super::rules::Rule;
use crate::sequence::{Protocol, Step};

/// One bit for each (protocol, port): 2 × 65,536.
const WORDS: usize = 2048;

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
    /// Bit `n` of word `w` is port key `64 w + n`, see [`key`].
    words: Vec<u64>,
    /// How many bits are set in the words before each: with a population count, a port's rank.
    before: Vec<usize>,
    /// By rank.
    ports: Vec<Port>,
    doors: Vec<u16>,
}

impl Ports {
    /// The ports that `rules` name now. O(n log n) in the number of their steps.
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut ports = Self {
            words: vec![0; WORDS],
            before: Vec::with_capacity(WORDS),
            ports: Vec::new(),
            doors: Vec::new(),
        };
        let steps = sorted_steps(rules);
        for of_port in steps.chunk_by(|a, b| a.key == b.key) {
            ports.push(of_port);
        }
        let mut count = 0;
        for word in &ports.words {
            ports.before.push(count);
            count += to_usize(word.count_ones());
        }
        ports
    }

    /// Adds the next higher port.
    fn push(&mut self, doors: &[DoorStep]) {
        let Some(key) = doors.first().map(|step| step.key) else {
            return;
        };
        if let Some(word) = self.words.get_mut(to_usize(key >> 6)) {
            *word |= 1 << (key & 63);
        }
        let first = self.doors.len();
        self.doors.extend(doors.iter().map(|step| step.door));
        let starting = doors.iter().filter(|step| !step.later);
        self.doors.extend(starting.map(|step| step.door));
        self.ports.push(Port {
            first,
            naming: doors.len(),
            starting: self.doors.len() - first - doors.len(),
        });
    }

    /// The port of `step`; `None` for one that no door names.
    pub(super) fn find(&self, step: Step) -> Option<Port> {
        let key = key(step);
        let at = to_usize(key >> 6);
        let word = *self.words.get(at)?;
        let bit = 1 << (key & 63);
        if word & bit == 0 {
            return None;
        }
        let below = to_usize((word & (bit - 1)).count_ones());
        self.ports.get(self.before.get(at)? + below).copied()
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
    key: u32,
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

/// A number below 2^17 for each (protocol, port).
fn key(step: Step) -> u32 {
    let protocol = match step.protocol {
        Protocol::Tcp => 0,
        Protocol::Udp => 1 << 16,
    };
    protocol | u32::from(step.port)
}

fn to_usize(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
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
