//! What is said of scans, held to the engine that the scans would meet.

use super::super::super::{Parsed, parse};
use super::*;
use crate::door::SequenceSource;
use crate::engine::{Engine, EventKind, Limits};
use crate::flags::FlagMatch;
use crate::packet::Packet;
use crate::time::Timestamp;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use core::net::IpAddr;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// The engine, and a scanner that sends to one address.
struct Scanner {
    engine: Engine,
    destination: IpAddr,
    /// Nanoseconds.
    now: u64,
}

impl Scanner {
    fn new(doors: &[Door], destination: &str) -> Self {
        Self {
            engine: Engine::new(doors, Limits { max_attempts: 100 }, [1, 2]),
            destination: destination.parse().unwrap(),
            now: 0,
        }
    }

    /// Scans `ports` in this order, the nth at the nanosecond that `at` says, long after whatever
    /// was before. Gives the doors that open.
    fn scan(
        &mut self,
        protocol: Protocol,
        ports: impl IntoIterator<Item = u16>,
        at: impl Fn(u64) -> u64,
    ) -> Vec<usize> {
        let start = self.now;
        let mut opened = Vec::new();
        for (n, port) in (0..).zip(ports) {
            self.now = start + at(n);
            let packet = Packet {
                source: [192, 0, 2, 7].into(),
                destination: self.destination,
                protocol,
                source_port: 40_000,
                destination_port: port,
                flags: match protocol {
                    Protocol::Tcp => TcpFlags::SYN,
                    Protocol::Udp => TcpFlags::NONE,
                },
            };
            let now = Timestamp::from_nanos(self.now);
            self.engine.handle_packet(&packet, true, now);
            while let Some(event) = self.engine.poll_event() {
                if event.kind == EventKind::Opening {
                    opened.push(event.door.0.into());
                }
            }
        }
        self.now += 1_000_000_000_000;
        opened
    }
}

/// All orders of 1 to `n`.
fn orders(n: u16) -> Vec<Vec<u16>> {
    if n == 0 {
        return vec![vec![]];
    }
    let shorter = orders(n - 1);
    let with = |order: &Vec<u16>, at: usize| {
        let mut order = order.clone();
        order.insert(at, n);
        order
    };
    let longer = shorter
        .iter()
        .flat_map(|order| (0..usize::from(n)).map(move |at| with(order, at)));
    longer.collect()
}

pub(super) fn parsed(text: &str) -> Parsed {
    parse(text.as_bytes(), &|_, _| None)
}

fn doors(text: &str) -> Vec<Door> {
    parsed(text).config.unwrap().doors
}

pub(super) fn door(sequence: &str, more: &str) -> String {
    format!("[A]\nsequence = {sequence}\ntcpflags = syn\n{more}\n")
}

/// What is said of each door, for scans of ports from 1 to `last`.
fn said(doors: &[Door], last: u16) -> Vec<Exposure> {
    let ground = Ground::new(doors, 1..=last);
    let of =
        |door: &Door| ground.exposure(steps(door).unwrap(), &door.trigger, door.trigger.strict);
    doors.iter().map(of).collect()
}

/// Of this many, one in so many.
fn share(chance: Chance, of: u64) -> u64 {
    match chance {
        Chance::Never => 0,
        Chance::OneIn(n) => {
            assert_eq!(of % n, 0);
            of / n
        }
    }
}

/// Few ports, so that doors share them, some that are not scanned, and either protocol.
fn any_door() -> impl Strategy<Value = Door> {
    let port = (0..8_u16, prop::bool::weighted(0.9));
    let different = subsequence((1..=6_u16).collect::<Vec<_>>(), 1..=4).prop_shuffle();
    let steps = prop_oneof![
        3 => different.prop_map(|ports| ports.into_iter().map(Step::tcp).collect()),
        1 => prop::collection::vec(port, 1..4).prop_map(|steps| {
            let step = |(port, tcp)| if tcp { Step::tcp(port) } else { Step::udp(port) };
            steps.into_iter().map(step).collect::<Vec<_>>()
        }),
    ];
    let flags = select(vec![
        FlagMatch::ANY,
        FlagMatch::ANY.and_set(TcpFlags::SYN),
        FlagMatch::ANY.and_set(TcpFlags::SYN),
        FlagMatch::ANY.and_set(TcpFlags::ACK),
    ]);
    (steps, flags, any::<bool>(), prop::bool::weighted(0.1)).prop_map(
        |(steps, flags, strict, no_time)| {
            let mut door = doors("[A]\nsequence = 1\n").remove(0);
            door.trigger.source = SequenceSource::Fixed(Sequence::new(steps).unwrap());
            door.trigger.flags = flags;
            door.trigger.strict = strict;
            if no_time {
                door.trigger.seq_timeout = Duration::ZERO;
            }
            door
        },
    )
}

/// Every scan of six ports, in every order, at doors in the hundreds.
#[test]
fn the_engine_opens_in_as_many_orders_as_is_said() {
    let orders = orders(6);
    assert_eq!(orders.len(), 720);
    let config = ProptestConfig::with_cases(48);
    proptest!(config, |(doors in prop::collection::vec(any_door(), 1..5))| {
        let mut scanner = Scanner::new(&doors, "192.0.2.1");
        let mut counts = vec![0; doors.len()];
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for order in &orders {
                for door in scanner.scan(protocol, order.iter().copied(), |_| 0) {
                    counts[door] += 1;
                }
            }
        }
        let said = said(&doors, 6).into_iter();
        let said: Vec<u64> = said.map(|exposure| share(exposure.random, 720)).collect();
        prop_assert_eq!(counts, said);
    });
}

#[test]
fn the_engine_opens_in_rising_and_falling_order_where_it_is_said() {
    proptest!(|(doors in prop::collection::vec(any_door(), 1..5))| {
        let mut scanner = Scanner::new(&doors, "192.0.2.1");
        let mut sweep = |rising: bool| -> BTreeSet<usize> {
            let scan = |protocol| {
                let order: Vec<u16> = if rising { (1..=6).collect() } else { (1..=6).rev().collect() };
                scanner.scan(protocol, order, |_| 0)
            };
            [Protocol::Tcp, Protocol::Udp].into_iter().flat_map(scan).collect()
        };
        let (rising, falling) = (sweep(true), sweep(false));
        for (i, exposure) in said(&doors, 6).into_iter().enumerate() {
            prop_assert_eq!(rising.contains(&i), exposure.ascending.is_some());
            prop_assert_eq!(falling.contains(&i), exposure.descending.is_some());
        }
    });
}

#[test]
fn the_engine_opens_at_the_speed_that_is_said_and_not_below() {
    for (sequence, more) in [
        ("7000,8000,9000", ""),
        ("7000,8000,9000", "seq_timeout = 5"),
        ("9000,8999,7000", "seq_timeout = 1500ms"),
        ("65535,1", "seq_timeout = 7"),
        ("7:udp,8:udp,9:udp", "strict\nseq_timeout = 3ms"),
        ("1000,2000", "[B]\nsequence = 999,2001,1500:udp"),
    ] {
        let doors = doors(&door(sequence, more));
        let exposure = said(&doors, u16::MAX)[0];
        let speed = exposure.ascending.or(exposure.descending).unwrap();
        let first = steps(&doors[0]).unwrap()[0];
        let opens = |speed: u64| {
            let mut scanner = Scanner::new(&doors, "192.0.2.1");
            let mut order: Vec<u16> = ALL.collect();
            if exposure.ascending.is_none() {
                order.reverse();
            }
            let before = order.iter().take_while(|port| **port != first.port);
            let before = u64::try_from(before.count()).unwrap();
            // Counted from the first step, so that nothing is rounded between it and the last.
            let at = |n: u64| n.saturating_sub(before) * 1_000_000_000 / speed;
            scanner.scan(first.protocol, order.iter().copied(), at) == [0]
        };
        assert!(opens(speed), "{sequence} {more} at {speed}");
        assert!(
            speed == 1 || !opens(speed - 1),
            "{sequence} {more} below {speed}"
        );
    }
}

#[test]
fn a_door_of_one_step_opens_to_every_scan_at_any_speed() {
    let exposure = said(&doors(&door("7000", "seq_timeout = 0")), u16::MAX)[0];
    let always = Exposure {
        ascending: Some(0),
        descending: Some(0),
        random: Chance::OneIn(1),
    };
    assert_eq!(exposure, always);
}

#[test]
fn the_engine_stays_shut_to_a_whole_sweep_where_nothing_is_said() {
    for (sequence, more) in [
        ("7000,9000,8000", ""),
        ("7000,8000,9000", "strict"),
        ("7000,7000", ""),
        ("7000,8000:udp", ""),
        ("7000,8000", "[B]\nsequence = 1,7500"),
        ("7000,8000", "tcpflags = ack"),
    ] {
        let doors = doors(&door(sequence, more));
        let exposure = said(&doors, u16::MAX)[0];
        assert_eq!((exposure.ascending, exposure.descending), (None, None));
        let mut scanner = Scanner::new(&doors, "192.0.2.1");
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            assert_eq!(scanner.scan(protocol, ALL, |_| 0), []);
            assert_eq!(scanner.scan(protocol, ALL.rev(), |_| 0), []);
        }
    }
}

#[test]
fn a_door_elsewhere_breaks_nothing_and_one_that_hears_more_does() {
    let text = door("1,2", "target = 10.0.0.1") + &door("3,4", "target = 10.0.0.0/24");
    let doors = doors(&text);
    let said: Vec<u64> = said(&doors, 6)
        .iter()
        .map(|e| share(e.random, 720))
        .collect();
    let mut most = vec![0; 2];
    for destination in ["10.0.0.1", "10.0.0.2"] {
        let mut scanner = Scanner::new(&doors, destination);
        let mut counts = vec![0; 2];
        for order in orders(6) {
            for door in scanner.scan(Protocol::Tcp, order, |_| 0) {
                counts[door] += 1;
            }
        }
        most = most
            .into_iter()
            .zip(counts)
            .map(|(a, b)| u64::max(a, b))
            .collect();
    }
    assert_eq!((said, most), (vec![180, 360], vec![180, 360]));
}

#[test]
fn chances_are_written_as_people_say_them() {
    for (sequence, more, chance) in [
        ("7000", "", "always"),
        ("7000,8000", "", "1 in 2"),
        ("7000,9000,8000", "", "1 in 6"),
        ("7000,9000,8000", "[B]\nsequence = 8000,9000,7000", "1 in 6"),
        ("7000,9000,8000", "[B]\nsequence = 1,2,3,4", "1 in 42"),
        ("1,2,3,4,5,6,7,8", "", "1 in 40,320"),
        ("7000,8000", "strict", "1 in 65,535"),
        ("7000,9000,8000", "strict", "1 in 4 billion"),
        ("7000,9000,8000,1", "strict", "1 in 281 trillion"),
        (
            "7000,9000,8000,1,2",
            "strict",
            "less than 1 in 1,000 trillion",
        ),
        ("7000,9000,7000", "", "never"),
        ("7000,9000:udp", "", "never"),
    ] {
        let doors = doors(&door(sequence, more));
        let exposure = said(&doors, u16::MAX)[0];
        assert_eq!(exposure.random.to_string(), chance, "{sequence} {more}");
    }
}

#[test]
fn doors_whose_sequences_are_in_a_file_are_not_looked_at() {
    let text = "[A]\none_time_sequences = /f\n".to_owned() + &door("1,2", "");
    let exposures = exposures(&parsed(&text).config.unwrap());
    assert_eq!(exposures[0], None);
    assert!(exposures[1].is_some());
}
