//! Captures made in memory, of every link type, through the player.

use std::net::Ipv4Addr;

use etherparse::PacketBuilder;
use knock_core::config;

use super::player::{Finding, Player, What};
use crate::pcap::Record;

const DOORS: &[u8] = b"[A]\nsequence = 7000,8000:udp,9000\nseq_timeout = 5\ntcpflags = syn\n";
const CLIENT: [u8; 4] = [10, 77, 0, 1];
const SERVER: [u8; 4] = [10, 77, 0, 2];
const SECOND: u64 = 1_000_000_000;

fn player(text: &[u8], local: &[&str]) -> Player {
    let config = config::parse(text, &|_, _| None).config.unwrap();
    let local = local.iter().map(|l| l.parse().unwrap()).collect();
    Player::new(&config, local)
}

/// An IPv4 packet: a segment with the flag `syn` or `ack`, or a datagram.
fn ip(kind: &str, port: u16) -> Vec<u8> {
    let ip = PacketBuilder::ipv4(CLIENT, SERVER, 64);
    let mut bytes = Vec::new();
    match kind {
        "udp" => ip.udp(40000, port).write(&mut bytes, b"x").unwrap(),
        "syn" => ip
            .tcp(40000, port, 1, 1024)
            .syn()
            .write(&mut bytes, b"")
            .unwrap(),
        _ => ip
            .tcp(40000, port, 1, 1024)
            .ack(1)
            .write(&mut bytes, b"")
            .unwrap(),
    }
    bytes
}

/// The frame of a link type (by number, with a note on its kind) around an IP packet.
fn frame(link: u16, vlan: bool, ip: &[u8]) -> Vec<u8> {
    let mut bytes = match link {
        0 => 2_u32.to_ne_bytes().to_vec(),
        108 => 2_u32.to_be_bytes().to_vec(),
        1 if vlan => [&[2; 12][..], &[0x81, 0, 0, 5, 8, 0]].concat(),
        1 => [&[2; 12][..], &[8, 0]].concat(),
        113 => [&[0; 14][..], &[8, 0]].concat(),
        276 => [&[8, 0][..], &[0; 18]].concat(),
        _ => vec![],
    };
    bytes.extend(ip);
    bytes
}

fn play(player: &mut Player, packets: &[(u64, u16, Vec<u8>)]) -> Vec<What> {
    for (time, link, bytes) in packets {
        player.play(&Record {
            time: *time,
            link: *link,
            bytes,
        });
    }
    player.finish();
    findings(player).into_iter().map(|f| f.what).collect()
}

fn findings(player: &mut Player) -> Vec<Finding> {
    std::iter::from_fn(|| player.poll_finding()).collect()
}

fn raw(packets: &[(u64, &str, u16)]) -> Vec<(u64, u16, Vec<u8>)> {
    let packet = |(time, kind, port): &(u64, &str, u16)| (*time, 101, ip(kind, *port));
    packets.iter().map(packet).collect()
}

#[test]
fn knocks_of_every_link_type_open() {
    let kinds = [
        (0, false),
        (1, false),
        (1, true),
        (12, false),
        (101, false),
        (108, false),
    ];
    for (link, vlan) in kinds
        .into_iter()
        .chain([(113, false), (228, false), (276, false)])
    {
        let knocks = [ip("syn", 7000), ip("udp", 8000), ip("syn", 9000)];
        let packets = knocks.map(|ip| (SECOND, link, frame(link, vlan, &ip)));
        let found = play(&mut player(DOORS, &[]), &packets);
        assert_eq!(found.last(), Some(&What::Opening), "link type {link}");
    }
}

#[test]
fn openings_carry_the_time_of_the_file() {
    let mut player = player(DOORS, &[]);
    for (time, link, bytes) in raw(&[
        (SECOND, "syn", 7000),
        (2 * SECOND, "udp", 8000),
        (5 * SECOND, "syn", 9000),
    ]) {
        player.play(&Record {
            time,
            link,
            bytes: &bytes,
        });
    }
    let found = findings(&mut player);
    let opening = found.last().unwrap();
    assert_eq!((opening.what, opening.time), (What::Opening, 5 * SECOND));
    assert_eq!(opening.source, Ipv4Addr::from(CLIENT));
}

#[test]
fn a_wrong_knock_is_named_with_what_was_expected() {
    let packets = raw(&[(1, "syn", 7000), (2, "syn", 9000)]);
    let found = play(&mut player(DOORS, &[]), &packets);
    let [
        _,
        What::Broken {
            stage: 1,
            of: 3,
            by,
            next: Some(next),
        },
    ] = found[..]
    else {
        panic!("{found:?}")
    };
    assert_eq!(
        (by.to_string(), next.to_string()),
        ("9000".into(), "8000:udp".into())
    );
}

#[test]
fn a_timeout_is_found_at_its_time_by_any_later_packet() {
    let packets = raw(&[(SECOND, "syn", 7000), (60 * SECOND, "syn", 1)]);
    let mut player = player(DOORS, &[]);
    for (time, link, bytes) in packets {
        player.play(&Record {
            time,
            link,
            bytes: &bytes,
        });
    }
    let found = findings(&mut player);
    assert_eq!(found[1].what, What::Timeout { stage: 1, of: 3 });
    assert_eq!(found[1].time, 6 * SECOND);
}

#[test]
fn flags_that_do_not_fit_are_told_once() {
    let packets = raw(&[(1, "ack", 7000), (2, "ack", 7000), (3, "syn", 7000)]);
    let found = play(&mut player(DOORS, &[]), &packets);
    let [
        What::WrongFlags { .. },
        What::Stage { stage: 1, .. },
        What::Unfinished {
            stage: 1, of: 3, ..
        },
    ] = found[..]
    else {
        panic!("{found:?}")
    };
}

#[test]
fn a_destination_that_is_not_the_servers_is_told() {
    let found = play(
        &mut player(DOORS, &["10.77.0.3"]),
        &raw(&[(1, "syn", 7000)]),
    );
    assert!(matches!(found[..], [What::NotOurs { .. }]), "{found:?}");
    let found = play(
        &mut player(DOORS, &["10.77.0.0/24"]),
        &raw(&[(1, "syn", 7000)]),
    );
    assert!(matches!(found[0], What::Stage { .. }), "{found:?}");
}

#[test]
fn a_door_that_cools_down_is_told() {
    let door = b"[A]\nsequence = 7000\ntcpflags = syn\ncooldown = 10s\n";
    let packets = raw(&[(SECOND, "syn", 7000), (2 * SECOND, "syn", 7000)]);
    let found = play(&mut player(door, &[]), &packets);
    assert!(
        matches!(found.last(), Some(What::CoolingDown { .. })),
        "{found:?}"
    );
}

#[test]
fn one_time_sequences_are_spent_in_memory_and_the_file_stays() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "7000,8000\n9000\n").unwrap();
    let door = format!("[A]\none_time_sequences = {}\n", file.path().display());
    let ports = [7000, 8000, 7000, 8000, 9000, 9000];
    let packets: Vec<_> = ports.iter().map(|port| (SECOND, "syn", *port)).collect();
    let found = play(&mut player(door.as_bytes(), &[]), &raw(&packets));
    let openings = found.iter().filter(|what| **what == What::Opening).count();
    assert_eq!(openings, 2);
    assert_eq!(std::fs::read(file.path()).unwrap(), b"7000,8000\n9000\n");
}

#[test]
fn packets_that_are_no_knocks_are_counted() {
    let mut player = player(DOORS, &[]);
    let packets = [(1, 101, vec![]), (2, 147, vec![1]), (3, 101, ip("syn", 1))];
    assert_eq!(play(&mut player, &packets), []);
    let tally = player.tally();
    assert_eq!((tally.packets, tally.counted, tally.unreadable), (3, 1, 2));
    assert_eq!(tally.unknown_link, Some(147));
}
