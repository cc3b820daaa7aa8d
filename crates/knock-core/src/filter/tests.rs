//! The filter against the packet view: what a door could count passes.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use proptest::collection::vec as many;
use proptest::prelude::*;
use proptest::sample::Index;

use super::spans::Span;
use super::*;
use crate::door::SequenceSource;
use crate::flags::FlagMatch;
use crate::packet::Packet;
use crate::packet::payload;
use crate::packet::tests::{built, carrying};
use crate::sequence::Step;

const TO_HOST: Metadata = Metadata {
    packet_type: 0,
    interface: 2,
    ether_type: 0x0800,
};

fn door(steps: Vec<Step>, flags: FlagMatch, strict: bool) -> Trigger {
    Trigger {
        source: SequenceSource::Fixed(Sequence::new(steps).unwrap()),
        seq_timeout: Duration::from_secs(25),
        flags,
        targets: vec![],
        strict,
        cooldown: Duration::ZERO,
    }
}

fn program(doors: &[Trigger], scope: &Scope<'_>) -> Vec<Instruction> {
    let program = compile(doors.iter().map(|d| (d, sequence(d))), scope);
    assert!(program.len() <= MAX_INSTRUCTIONS);
    program
}

fn sequence(door: &Trigger) -> Option<&Sequence> {
    door.source.fixed()
}

/// Whether any of `doors` names the packet's port and likes its flags, or is strict.
fn could_count(doors: &[Trigger], packet: &Packet) -> bool {
    doors.iter().any(|door| {
        let liked = packet.protocol == Protocol::Udp || door.flags.matches(packet.flags);
        let named = sequence(door).is_some_and(|s| s.steps().contains(&packet.step()));
        liked && (named || door.strict)
    })
}

/// Whether it is a datagram to one of `ports` that is as long as a sealed packet, or as a code where
/// there are `codes`.
fn could_be_sealed(ports: &[u16], codes: bool, ether_type: u16, bytes: &[u8]) -> bool {
    let fits = |bytes| Spa::fits(bytes) || codes && Spa::fits_code(bytes);
    let to_port = Packet::from_ether_type(ether_type, bytes)
        .is_ok_and(|packet| ports.contains(&packet.destination_port));
    to_port && payload(ether_type, bytes).is_ok_and(|payload| fits(payload.len()))
}

/// Payloads, many of them as long as a sealed packet, or nearly so.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![
        0..26_usize,
        60..68_usize,
        1_196..1_204_usize,
        60..1_210_usize
    ];
    (length, any::<u8>()).prop_map(|(length, byte)| vec![byte; length])
}

/// Whether it is an IPv6 packet with extension headers, which pass unread.
fn unread(bytes: &[u8]) -> bool {
    bytes[0] >> 4 == 6 && ![6, 17].contains(&bytes[6])
}

fn passes(program: &[Instruction], bytes: &[u8], metadata: Metadata) -> bool {
    interpret(program, bytes, metadata).unwrap() > 0
}

/// Ports near each other, so that packets hit doors, and some far away.
fn port() -> impl Strategy<Value = u16> {
    prop_oneof![4 => 7000_u16..7012, 1 => any::<u16>(), 1 => prop_oneof![Just(0), Just(u16::MAX)]]
}

fn step() -> impl Strategy<Value = Step> {
    (any::<bool>(), port()).prop_map(|(tcp, port)| {
        if tcp {
            Step::tcp(port)
        } else {
            Step::udp(port)
        }
    })
}

fn flag_match() -> impl Strategy<Value = FlagMatch> {
    // Few flags are named at a time, as in life, so that packets match.
    (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(a, b, c, d)| {
        FlagMatch::ANY
            .and_set(TcpFlags::from_bits(a & b & c))
            .and_clear(TcpFlags::from_bits(b & c & d))
    })
}

fn doors() -> impl Strategy<Value = Vec<Trigger>> {
    let strict = prop::bool::weighted(0.03);
    let one = (many(step(), 1..6), flag_match(), strict)
        .prop_map(|(steps, flags, strict)| door(steps, flags, strict));
    many(one, 0..6)
}

fn metadata() -> impl Strategy<Value = Metadata> {
    (
        0..5_u8,
        1..6_u32,
        prop_oneof![Just(0x8100_u16), any::<u16>()],
    )
        .prop_map(|(packet_type, interface, ether_type)| Metadata {
            packet_type,
            interface,
            ether_type,
        })
}

proptest! {
#![proptest_config(ProptestConfig::with_cases(2000))]

#[test]
fn what_a_door_could_count_is_never_dropped(
    doors in doors(),
    spa_ports in many(port(), 0..4),
    built in carrying(port(), payloads()),
    bends in many((any::<Index>(), any::<u8>()), 0..3),
    cut in any::<Index>(),
    cuts in prop::bool::weighted(0.2),
    tagged in any::<bool>(),
    (only_ipv4, codes) in any::<(bool, bool)>(),
    interfaces in prop::option::of(many(1..6_u32, 0..4)),
    mut metadata in metadata(),
) {
    let mut bytes = built.bytes();
    for (at, value) in bends {
        let at = at.index(bytes.len());
        bytes[at] = value;
    }
    if cuts {
        bytes.truncate(cut.index(bytes.len()));
    }
    metadata.ether_type = built.ether_type();
    if tagged {
        let [high, low] = metadata.ether_type.to_be_bytes();
        bytes.splice(..0, [0, 7, high, low]);
        metadata.ether_type = 0x8100;
    }
    let interfaces = interfaces.as_deref();
    let scope = Scope { interfaces, only_ipv4, spa_ports: &spa_ports, codes };
    let passed = passes(&program(&doors, &scope), &bytes, metadata);
    let in_scope = metadata.packet_type != 4
        && interfaces.is_none_or(|list| list.contains(&metadata.interface));
    match Packet::from_ether_type(metadata.ether_type, &bytes) {
        Ok(packet) if in_scope && !(only_ipv4 && packet.source.is_ipv6()) => {
            let sealed = could_be_sealed(&spa_ports, codes, metadata.ether_type, &bytes);
            prop_assert!(passed || !could_count(&doors, &packet) && !sealed);
        }
        _ => prop_assert!(in_scope || !passed),
    }
}

#[test]
fn any_bytes_and_metadata_have_an_answer(
    doors in doors(),
    bytes in many(any::<u8>(), 0..80),
    metadata in metadata(),
) {
    let passed = passes(&program(&doors, &Scope::default()), &bytes, metadata);
    prop_assert!(!passed || metadata.packet_type != 4);
}

#[test]
fn a_port_that_no_door_names_is_dropped(
    doors in doors(),
    built in built(7012..u16::MAX),
) {
    let named = |d: &Trigger| sequence(d).is_some_and(|s| s.steps().contains(&built.packet.step()));
    prop_assume!(!doors.iter().any(|door| door.strict || named(door)));
    let bytes = built.bytes();
    let metadata = Metadata { ether_type: built.ether_type(), ..TO_HOST };
    let passed = passes(&program(&doors, &Scope::default()), &bytes, metadata);
    prop_assert_eq!(passed, unread(&bytes) && !doors.is_empty());
}

#[test]
fn one_door_lets_through_its_ports_with_its_flags_and_nothing_else(
    steps in many(step(), 1..30),
    flags in flag_match(),
    built in built(port()),
) {
    let door = [door(steps, flags, false)];
    let Ok(packet) = built.expected() else { return Ok(()) };
    let bytes = built.bytes();
    let metadata = Metadata { ether_type: built.ether_type(), ..TO_HOST };
    let passed = passes(&program(&door, &Scope::default()), &bytes, metadata);
    prop_assert_eq!(passed, unread(&bytes) || could_count(&door, &packet));
}

#[test]
fn sealed_packets_pass_at_their_ports_and_nothing_else_does_there(
    knocked in prop::option::of((many(step(), 1..6), flag_match())),
    spa_ports in many(7000_u16..7012, 1..6),
    codes in any::<bool>(),
    built in carrying(7000_u16..7012, payloads()),
    padding in many(any::<u8>(), 0..9),
    cut in prop::option::weighted(0.2, any::<Index>()),
    length in prop::option::weighted(0.2, (0..4_u8, any::<u8>())),
) {
    // Of the flags, several doors have only a common part in the filter.
    let doors: Vec<Trigger> = knocked
        .into_iter()
        .map(|(steps, flags)| door(steps, flags, false))
        .collect();
    let mut bytes = [built.bytes(), padding.clone()].concat();
    let start = bytes.len() - padding.len() - built.payload.len() - 8;
    if let (Some((high, low)), Protocol::Udp) = (length, built.packet.protocol) {
        bytes[start + 4..start + 6].copy_from_slice(&[high, low]);
    }
    if let Some(cut) = cut {
        bytes.truncate(start + 8 + cut.index(built.payload.len() + 1));
    }
    let metadata = Metadata { ether_type: built.ether_type(), ..TO_HOST };
    let scope = Scope { spa_ports: &spa_ports, codes, ..Scope::default() };
    let passed = passes(&program(&doors, &scope), &bytes, metadata);
    let packet = Packet::from_ether_type(metadata.ether_type, &bytes);
    let counts = packet.is_ok_and(|packet| could_count(&doors, &packet));
    let sealed = could_be_sealed(&spa_ports, codes, metadata.ether_type, &bytes);
    prop_assert_eq!(passed, unread(&bytes) || counts || sealed);
}

#[test]
fn fewer_spans_hold_the_same_numbers_and_are_few(
    a in many(any::<u16>().prop_map(u32::from), 0..100),
    b in many((0..20_u32).prop_map(|n| n * 3), 0..20),
    most in 0..120_usize,
) {
    let (before_a, before_b) = (spans::of(a.clone()), spans::of(b.clone()));
    let (after_a, after_b) = spans::coarsened([&before_a, &before_b], most);
    let lists = usize::from(!a.is_empty()) + usize::from(!b.is_empty());
    let wanted = most.max(lists).min(before_a.len() + before_b.len());
    prop_assert_eq!(after_a.len() + after_b.len(), wanted);
    for (numbers, spans) in [(a, after_a), (b, after_b)] {
        let holds = |n: &u32| spans.iter().any(|s: &Span| (s.first..=s.last).contains(n));
        prop_assert!(numbers.iter().all(holds));
        prop_assert!(spans.windows(2).all(|w| w[0].last + 1 < w[1].first));
    }
}}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_search_finds_every_port_of_any_list(
        ports in many(any::<u16>(), 1..600),
        probes in many(any::<u16>(), 50),
        runs in many((any::<u16>(), 0..9_u16), 0..50),
    ) {
        let runs = runs.iter().flat_map(|(first, more)| *first..=first.saturating_add(*more));
        let ports: Vec<u16> = ports.iter().copied().chain(runs).collect();
        let steps: Vec<Trigger> = ports
            .chunks(32)
            .map(|chunk| door(chunk.iter().map(|p| Step::udp(*p)).collect(), FlagMatch::ANY, false))
            .collect();
        let program = program(&steps, &Scope::default());
        let near = ports.iter().flat_map(|p| [p.saturating_sub(1), *p, p.saturating_add(1)]);
        for probe in near.chain(probes) {
            prop_assert_eq!(passes(&program, &udp(probe), TO_HOST), ports.contains(&probe));
        }
    }
}

/// A UDP datagram to `port` over IPv4.
fn udp(port: u16) -> [u8; 28] {
    let mut packet = [0; 28];
    packet[0] = 0x45;
    packet[9] = 17;
    packet[22..24].copy_from_slice(&port.to_be_bytes());
    packet
}

/// `count` doors of three TCP and two UDP ports each, spread over all ports.
fn spread(count: u32) -> Vec<Trigger> {
    let port = |n: u32| u16::try_from((n * 40_503) % 65_536).unwrap();
    (0..count)
        .map(|i| {
            let tcp = (0..3).map(|n| Step::tcp(port(i * 5 + n)));
            let udp = (3..5).map(|n| Step::udp(port(i * 5 + n)));
            door(tcp.chain(udp).collect(), FlagMatch::ANY, false)
        })
        .collect()
}

#[test]
fn without_a_door_everything_is_dropped() {
    let ret = Instruction {
        code: 0x06,
        ..Instruction::default()
    };
    assert_eq!(program(&[], &Scope::default()), [ret]);
    let spent = door(vec![Step::udp(7000)], FlagMatch::ANY, true);
    assert_eq!(compile([(&spent, None)], &Scope::default()), [ret]);
}

#[test]
fn of_a_port_that_is_a_step_too_every_datagram_passes() {
    let doors = [door(vec![Step::udp(7000)], FlagMatch::ANY, false)];
    let scope = Scope {
        spa_ports: &[7000, 7001],
        ..Scope::default()
    };
    let program = program(&doors, &scope);
    assert!(passes(&program, &udp(7000), TO_HOST));
    assert!(!passes(&program, &udp(7001), TO_HOST));
}

#[test]
fn so_many_ports_for_sealed_packets_are_heard_and_no_more() {
    let ports: Vec<u16> = (7000..7020).collect();
    let scope = Scope {
        spa_ports: &ports,
        ..Scope::default()
    };
    let program = program(&[], &scope);
    let mut packet = [udp(0).as_slice(), &[0; 64]].concat();
    packet[25] = 72;
    for (i, port) in ports.iter().enumerate() {
        packet[22..24].copy_from_slice(&port.to_be_bytes());
        assert_eq!(passes(&program, &packet, TO_HOST), i < Spa::MAX_PORTS);
    }
}

#[test]
fn ten_thousand_doors_fit_and_lose_none_of_their_ports() {
    for count in [300, 1000, 10_000] {
        let doors = spread(count);
        let program = program(&doors, &Scope::default());
        assert!(program.len() > MAX_INSTRUCTIONS / 4);
        for door in &doors {
            for step in sequence(door).unwrap().steps() {
                if step.protocol == Protocol::Udp {
                    assert!(passes(&program, &udp(step.port), TO_HOST), "{step}");
                }
            }
        }
    }
}

#[test]
fn hundreds_of_interfaces_are_told_apart_and_thousands_fit() {
    let doors = spread(400);
    for (step, most, told_apart) in [(2, 256, true), (2, 5000, false)] {
        let listed: Vec<u32> = (1..=most).map(|i| i * step).collect();
        let scope = Scope {
            interfaces: Some(&listed),
            ..Scope::default()
        };
        let program = program(&doors, &scope);
        let Some(step) = sequence(&doors[0]).unwrap().steps().last() else {
            unreachable!("a sequence is never empty")
        };
        let on = |interface| {
            let metadata = Metadata {
                interface,
                ..TO_HOST
            };
            passes(&program, &udp(step.port), metadata)
        };
        assert!(listed.iter().all(|i| on(*i)));
        assert!(!on(1) && !on(u32::MAX));
        assert!(!told_apart || listed.iter().all(|i| !on(i + 1)));
    }
}

#[test]
fn a_strict_door_sees_every_port_but_not_other_flags() {
    let syn = FlagMatch::ANY.and_set(TcpFlags::SYN);
    let doors = [
        door(vec![Step::udp(7000)], syn, true),
        door(vec![Step::tcp(8000)], syn.and_clear(TcpFlags::ACK), false),
    ];
    let program = program(&doors, &Scope::default());
    assert!(passes(&program, &udp(1), TO_HOST));
    let mut segment = [0; 40];
    segment[..28].copy_from_slice(&udp(443));
    segment[9] = 6;
    assert!(!passes(&program, &segment, TO_HOST));
    segment[33] = TcpFlags::SYN.union(TcpFlags::ACK).bits();
    assert!(passes(&program, &segment, TO_HOST));
}
