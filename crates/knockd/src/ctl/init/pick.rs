//! A sequence that nobody guesses, and that no port scan knocks.
//!
//! Promises: the steps are of both protocols, which no scan has in one sweep; they neither rise nor
//! fall; no two ports are near each other, none is a service's, or one that is tried for its own
//! sake. Each port comes from the system's random numbers with the same chance.

use std::ops::RangeInclusive;

use knock_core::config::scan::{Chance, Exposure, exposures};
use knock_core::config::{Config, parse};
use knock_core::sequence::{Protocol, Sequence, Step};

/// Below are the system's own ports.
const PORTS: RangeInclusive<u16> = 1_024..=u16::MAX;

/// The least that two ports are apart: a scan of a stretch of ports meets one of them at most.
const APART: u16 = 64;

/// So many ports must be left to choose from: three of them already make some ten billions of sequences.
const ENOUGH: usize = 4_096;

/// So often it is tried.
const TRIES: usize = 1_000;

/// The chance of a scan must be less than one in so many.
const RARE: u64 = 1_000_000;

/// Ports at which scanners look for something, and those that every text on knocking has for an
/// example; ascending.
#[rustfmt::skip]
const TRIED: [u16; 70] = [
    1080, 1111, 1194, 1234, 1433, 1434, 1521, 1701, 1723, 1883, 2000, 2049, 2082, 2083, 2181, 2222, 2345,
    2375, 2376, 2379, 3000, 3128, 3306, 3333, 3389, 3456, 4443, 4444, 4500, 5000, 5060, 5061, 5432, 5555,
    5601, 5672, 5900, 5901, 5985, 5986, 6000, 6379, 6443, 6666, 6667, 7000, 7001, 7547, 7777, 8000, 8008,
    8080, 8081, 8443, 8728, 8888, 9000, 9001, 9042, 9090, 9091, 9100, 9200, 9418, 9999, 10000, 11211,
    12345, 27017, 51820,
];

/// What a sequence may be made of.
pub(super) struct Deck(Vec<u16>);

impl Deck {
    /// All ports but those that `is_used` knows, and those that the kernel gives to programs
    /// (`given`), as answers come to these; unless too few are left.
    pub(super) fn new(given: &RangeInclusive<u16>, is_used: &dyn Fn(u16) -> bool) -> Self {
        let free = |port: &u16| TRIED.binary_search(port).is_err() && !is_used(*port);
        let quiet: Vec<u16> = PORTS
            .filter(|port| !given.contains(port))
            .filter(free)
            .collect();
        if quiet.len() >= ENOUGH {
            return Self(quiet);
        }
        Self(PORTS.filter(free).collect())
    }

    /// A sequence of so many steps, by numbers that `random` gives. `None` if there are too few ports
    /// for it.
    pub(super) fn deal(&self, steps: usize, random: &mut dyn FnMut() -> u64) -> Option<Sequence> {
        let mut tries = (0..TRIES).filter_map(|_| {
            let hand = self.hand(steps, random)?;
            let sequence = Sequence::new(hand).ok()?;
            is_safe(&sequence).then_some(sequence)
        });
        tries.next()
    }

    /// Steps that are far enough from each other.
    fn hand(&self, steps: usize, random: &mut dyn FnMut() -> u64) -> Option<Vec<Step>> {
        let mut hand: Vec<Step> = Vec::with_capacity(steps);
        for _ in 0..TRIES {
            if hand.len() == steps {
                return Some(hand);
            }
            let count = u64::try_from(self.0.len()).ok()?;
            let index = usize::try_from(random().checked_rem(count)?).ok()?;
            let port = *self.0.get(index)?;
            if hand.iter().any(|step| step.port.abs_diff(port) < APART) {
                continue;
            }
            hand.push(match random() % 2 {
                0 => Step::tcp(port),
                _ => Step::udp(port),
            });
        }
        None
    }
}

/// Both protocols, no order, and what the analysis of scans says of it.
pub(super) fn is_safe(sequence: &Sequence) -> bool {
    let steps = sequence.steps();
    let has = |protocol| steps.iter().any(|step| step.protocol == protocol);
    let ports = || steps.iter().map(|step| step.port);
    let is_sorted = ports().is_sorted() || ports().rev().is_sorted();
    let exposure = exposure(sequence);
    has(Protocol::Tcp) && has(Protocol::Udp) && !is_sorted && exposure.is_some_and(is_shut)
}

fn is_shut(exposure: Exposure) -> bool {
    let is_rare = match exposure.random {
        Chance::Never => true,
        Chance::OneIn(chance) => chance >= RARE,
    };
    is_rare && exposure.ascending.is_none() && exposure.descending.is_none()
}

/// What port scans do to a door like those that are written.
fn exposure(sequence: &Sequence) -> Option<Exposure> {
    let text = format!("[door]\nsequence = {sequence}\ntcpflags = syn\nstrict\n");
    let config: Config = parse(text.as_bytes(), &|_, _| None).config?;
    exposures(&config).into_iter().next().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Marsaglia's xorshift64: not secret, and the same for the same seed.
    fn random(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        }
    }

    const GIVEN: RangeInclusive<u16> = 32_768..=60_999;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn no_sequence_can_be_scanned_or_has_a_port_in_use(
            seed: u64,
            steps in 3..=Sequence::MAX,
            used in proptest::collection::btree_set(1_024..20_000_u16, 0..2_000),
        ) {
            let deck = Deck::new(&GIVEN, &|port| used.contains(&port));
            let sequence = deck.deal(steps, &mut random(seed)).unwrap();
            prop_assert_eq!(sequence.steps().len(), steps);
            prop_assert!(is_safe(&sequence), "{}", sequence);
            let ports: Vec<u16> = sequence.steps().iter().map(|step| step.port).collect();
            for (i, port) in ports.iter().enumerate() {
                prop_assert!(*port >= 1_024 && !used.contains(port), "{}", port);
                prop_assert!(!GIVEN.contains(port) && !TRIED.contains(port), "{}", port);
                let mut later = ports.iter().skip(i + 1);
                prop_assert!(later.all(|other| other.abs_diff(*port) >= APART));
            }
        }
    }

    #[test]
    fn what_is_searched_is_sorted() {
        assert!(TRIED.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn what_scans_open_is_not_safe() {
        for (steps, is_fine) in [
            (
                vec![Step::tcp(9000), Step::udp(7000), Step::tcp(8000)],
                true,
            ),
            (
                vec![Step::tcp(9000), Step::tcp(7000), Step::tcp(8000)],
                false,
            ),
            (
                vec![Step::tcp(7000), Step::udp(8000), Step::tcp(9000)],
                false,
            ),
            (
                vec![Step::udp(9000), Step::tcp(8000), Step::udp(7000)],
                false,
            ),
        ] {
            assert_eq!(
                is_safe(&Sequence::new(steps.clone()).unwrap()),
                is_fine,
                "{steps:?}"
            );
        }
    }

    #[test]
    fn ports_that_programs_are_given_are_taken_only_if_there_are_no_others() {
        let deck = Deck::new(&(1_024..=u16::MAX), &|_| false);
        assert!(deck.0.len() > 60_000);
        let none = Deck::new(&GIVEN, &|_| true);
        assert_eq!(none.deal(3, &mut random(1)), None);
        let few = Deck::new(&GIVEN, &|port| port > 1_100);
        assert_eq!(few.deal(5, &mut random(1)), None, "they are too near");
    }

    #[test]
    fn every_port_is_as_likely_as_another() {
        let deck = Deck::new(&GIVEN, &|_| false);
        let mut random = random(7);
        let mut halves = [0, 0];
        let middle = deck.0[deck.0.len() / 2];
        for _ in 0..1_000 {
            let sequence = deck.deal(4, &mut random).unwrap();
            for step in sequence.steps() {
                halves[usize::from(step.port >= middle)] += 1;
            }
        }
        // Four thousand throws of a coin: more than six standard deviations would be a miracle.
        assert!((1_800..=2_200).contains(&halves[0]), "{halves:?}");
    }
}
