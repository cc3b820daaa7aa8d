//! The ring against the kernel. Each test runs itself again in network and user namespaces of its
//! own, so it needs no root and touches nothing.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::env;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use knock_core::door::{SequenceSource, Trigger};
use knock_core::filter::{Instruction, Scope, compile};
use knock_core::flags::{FlagMatch, TcpFlags};
use knock_core::packet::Packet;
use knock_core::sequence::{Sequence, Step};
use knock_sys::{Error, PACKET_OUTGOING, Ring, RingSocket, Size, attach_filter};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const DEADLINE: Duration = Duration::from_secs(20);

/// Runs `test`, which is the body of the test named `name`, behind `unshare` with `options`.
fn unshared(name: &str, options: &str, test: fn()) {
    const INSIDE: &str = "POSTERN_TEST_INSIDE";
    if env::var_os(INSIDE).is_some() {
        return test();
    }
    let status = Command::new("unshare")
        .arg(options)
        .arg(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{name} inside its namespaces: {status}");
}

/// Runs `test` in a network of its own, of which the loopback interface is up.
fn in_network(name: &str, test: fn()) {
    unshared(name, "-Urn", test);
}

fn loopback_up() {
    let status = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    assert!(status.unwrap().success());
}

fn door(steps: Vec<Step>) -> Trigger {
    Trigger {
        source: SequenceSource::Fixed(Sequence::new(steps).unwrap()),
        seq_timeout: Duration::from_secs(25),
        flags: FlagMatch::ANY.and_set(TcpFlags::SYN),
        targets: vec![],
        strict: false,
        cooldown: Duration::ZERO,
    }
}

fn attach(socket: impl AsFd, doors: &[Trigger]) -> io::Result<()> {
    attach_with(socket, doors, &[])
}

/// Also hears sealed packets at these ports.
fn attach_with(socket: impl AsFd, doors: &[Trigger], spa_ports: &[u16]) -> io::Result<()> {
    let sequences = doors.iter().map(|door| (door, door.source.fixed()));
    let scope = Scope {
        spa_ports,
        ..Scope::default()
    };
    let program = compile(sequences, &scope);
    let raw = |i: Instruction| (i.code, i.jt, i.jf, i.k);
    attach_filter(socket, program.into_iter().map(raw))
}

/// A ring that hears what these doors do.
fn ring(size: Size, doors: &[Trigger]) -> Ring {
    let socket = RingSocket::new(size).unwrap();
    attach(&socket, doors).unwrap();
    socket.bind(0).unwrap();
    Ring::map(socket, size).unwrap()
}

/// The destination port of the next packet that arrives.
fn next_port(ring: &mut Ring) -> u16 {
    wait(ring);
    let frame = ring.next_frame().unwrap();
    assert_ne!(frame.packet_type, PACKET_OUTGOING);
    let packet = Packet::from_ether_type(frame.ether_type, frame.bytes).unwrap();
    packet.destination_port
}

/// Waits until the descriptor is readable.
fn wait(ring: &Ring) {
    let limit = Timespec::try_from(DEADLINE).unwrap();
    let ready = poll(&mut [PollFd::new(ring, PollFlags::IN)], Some(&limit)).unwrap();
    assert_eq!(ready, 1, "no packet came");
}

fn knock(ports: impl IntoIterator<Item = u16>) {
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for port in ports {
        sender.send_to(b"knock", ("127.0.0.1", port)).unwrap();
    }
}

#[test]
fn a_packet_arrives_at_once_and_what_the_filter_drops_never() {
    in_network(
        "a_packet_arrives_at_once_and_what_the_filter_drops_never",
        || {
            loopback_up();
            let socket = RingSocket::new(Size::default()).unwrap();
            attach(&socket, &[door(vec![Step::udp(7000)])]).unwrap();
            knock([7000]);
            socket.bind(0).unwrap();
            let mut ring = Ring::map(socket, Size::default()).unwrap();
            let before = SystemTime::now();
            let sent = Instant::now();
            knock([7001, 7000, 7002]);
            wait(&ring);
            // A ring that hands over whole blocks does it after milliseconds or never.
            println!("readable {:?} after sending", sent.elapsed());
            let frame = ring.next_frame().unwrap();
            assert_eq!((frame.ether_type, frame.packet_type), (0x0800, 0));
            assert_eq!((frame.interface, frame.length), (1, 33));
            assert_eq!(&frame.bytes[28..], b"knock");
            let stamp = SystemTime::UNIX_EPOCH + Duration::from_nanos(frame.realtime_nanos);
            assert!(stamp + Duration::from_millis(100) > before);
            assert!(stamp < SystemTime::now() + Duration::from_millis(100));
            assert!(ring.next_frame().is_none());
            assert_eq!(ring.statistics().unwrap().packets, 1);
            assert_eq!(ring.statistics().unwrap().packets, 0);
        },
    );
}

#[test]
fn of_datagrams_to_a_port_for_sealed_packets_those_of_their_length_pass() {
    in_network(
        "of_datagrams_to_a_port_for_sealed_packets_those_of_their_length_pass",
        || {
            loopback_up();
            let size = Size::default();
            let socket = RingSocket::new(size).unwrap();
            attach_with(&socket, &[door(vec![Step::udp(7000)])], &[51_443]).unwrap();
            socket.bind(0).unwrap();
            let mut ring = Ring::map(socket, size).unwrap();
            let send = |any: &str, to: &str| {
                let sender = UdpSocket::bind((any, 0)).unwrap();
                for length in [5, 63, 64, 65, 1_199, 1_200, 1_201] {
                    sender.send_to(&vec![1; length], (to, 51_443)).unwrap();
                }
                sender.send_to(b"knock", (to, 7000)).unwrap();
                sender.send_to(&[1; 100], (to, 51_444)).unwrap();
            };
            send("127.0.0.1", "127.0.0.1");
            send("::1", "::1");
            for headers in [28, 48] {
                for length in [64, 65, 1_199, 1_200, 5] {
                    wait(&ring);
                    let frame = ring.next_frame().unwrap();
                    assert_eq!(frame.length, length + headers);
                }
            }
            assert!(ring.next_frame().is_none());
        },
    );
}

#[test]
fn a_filter_is_replaced_through_a_duplicate_of_the_descriptor() {
    in_network(
        "a_filter_is_replaced_through_a_duplicate_of_the_descriptor",
        || {
            loopback_up();
            let mut ring = ring(Size::default(), &[door(vec![Step::udp(7000)])]);
            let duplicate = ring.as_fd().try_clone_to_owned().unwrap();
            knock([7000, 8000]);
            attach(&duplicate, &[door(vec![Step::udp(8000)])]).unwrap();
            knock([7000, 8000]);
            assert_eq!([next_port(&mut ring), next_port(&mut ring)], [7000, 8000]);
            assert!(ring.next_frame().is_none());
        },
    );
}

#[test]
fn a_full_ring_counts_what_it_drops_and_goes_on() {
    in_network("a_full_ring_counts_what_it_drops_and_goes_on", || {
        loopback_up();
        let size = Size {
            frames: 256,
            frame_size: 256,
        };
        let mut ring = ring(size, &[door((7000..7030).map(Step::udp).collect())]);
        knock((0..300).map(|i| 7000 + i % 30));
        let counted = ring.statistics().unwrap();
        assert_eq!((counted.packets, counted.drops), (300, 300 - 256));
        for i in 0..256 {
            assert_eq!(next_port(&mut ring), 7000 + i % 30);
        }
        knock([7007]);
        assert_eq!(next_port(&mut ring), 7007);
    });
}

#[test]
fn another_reader_goes_on_where_the_first_has_ended() {
    in_network("another_reader_goes_on_where_the_first_has_ended", || {
        loopback_up();
        let size = Size {
            frames: 256,
            frame_size: 256,
        };
        let mut first = ring(size, &[door((7000..7030).map(Step::udp).collect())]);
        let kept = first.as_fd().try_clone_to_owned().unwrap();
        for (already_read, waiting) in [(0, 3), (200, 100), (7, 0), (0, 256)] {
            knock((0..already_read).map(|i| 7000 + i % 30));
            for i in 0..already_read {
                assert_eq!(next_port(&mut first), 7000 + i % 30);
            }
            knock((0..waiting).map(|i| 7000 + i % 29));
            drop(first);
            first = Ring::map(kept.try_clone().unwrap(), size).unwrap();
            for i in 0..waiting {
                assert_eq!(next_port(&mut first), 7000 + i % 29);
            }
            assert!(first.next_frame().is_none());
        }
        knock([7007]);
        assert_eq!(next_port(&mut first), 7007);
        let wrong = Ring::map(kept, Size::default());
        assert!(matches!(wrong, Err(Error::Map(_))), "{wrong:?}");
    });
}

#[test]
fn the_kernel_takes_the_filters_of_ten_thousand_doors() {
    in_network("the_kernel_takes_the_filters_of_ten_thousand_doors", || {
        loopback_up();
        let port = |n: u32| u16::try_from((n * 40_503) % 65_536).unwrap();
        let doors: Vec<Trigger> = (0..10_000)
            .map(|i| {
                let tcp = (0..3).map(|n| Step::tcp(port(i * 5 + n)));
                let udp = (3..5).map(|n| Step::udp(port(i * 5 + n)));
                door(tcp.chain(udp).collect())
            })
            .collect();
        for count in [0, 1, 30, 1000, 10_000] {
            let doors = &doors[..count];
            let mut ring = ring(Size::default(), doors);
            for door in doors.iter().step_by(250) {
                let SequenceSource::Fixed(sequence) = &door.source else {
                    unreachable!("every door here has a sequence")
                };
                let last = sequence.steps().last().unwrap();
                knock([last.port]);
                assert_eq!(next_port(&mut ring), last.port);
            }
        }
    });
}

#[test]
fn a_program_that_the_kernel_refuses_is_an_error() {
    in_network("a_program_that_the_kernel_refuses_is_an_error", || {
        let ring = RingSocket::new(Size::default()).unwrap();
        let load_without_return = [(0x20, 0, 0, 0)];
        let refused = attach_filter(&ring, load_without_return).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        assert!(attach_filter(&ring, []).is_err());
        assert!(attach_filter(&ring, vec![(0x06, 0, 0, 0); 70_000]).is_err());
    });
}

#[test]
fn without_the_capability_the_error_is_eperm() {
    unshared("without_the_capability_the_error_is_eperm", "-U", || {
        let Err(Error::Socket(error)) = RingSocket::new(Size::default()) else {
            panic!("a packet socket without a capability")
        };
        assert_eq!(error.raw_os_error(), Some(1), "{error}");
    });
}
