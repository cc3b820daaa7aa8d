use knock_core::config;
use knock_core::door::DoorId;
use knock_core::engine::Progress;
use knock_core::sequence::{Sequence, Step};
use knock_core::time::Timestamp;
use knock_spa::code::{CodeSalt, Sieve};
use proptest::prelude::*;

use super::*;

const DOORS: &str = "\
[A]
sequence = 7000,8000:udp,9000
tcpflags = syn,!ack
target = 192.0.2.0/24, 2001:db8::1
seq_timeout = 1500ms
strict = yes
[B]
one_time_sequences = /etc/b
cooldown = 2s
command = /bin/secret %IP%
[C]
authorized_keys = /etc/secret
open = tcp/22
";

fn doors(text: &str) -> Doors {
    let parsed = config::parse(text.as_bytes(), &|_, _| None);
    let doors = parsed.config.unwrap().doors;
    Doors {
        checksum: Checksum::of(&doors),
        doors: doors.into(),
        sequences: vec![
            (DoorId(1), Some(Sequence::new(vec![Step::udp(9)]).unwrap())),
            (DoorId(7), None),
        ],
        max_attempts: 77,
        spa_ports: vec![51443, 53],
    }
}

fn site() -> Site {
    let keys = |epoch| Keys {
        epoch,
        server: [1; 32],
        site: [2; 32],
    };
    Site {
        current: keys(2),
        previous: Some(keys(1)),
    }
}

fn there_and_back(order: &Order) -> Order {
    let bytes = order.encode();
    for length in 0..bytes.len() {
        assert_eq!(Order::decode(&bytes[..length]), Ok(None), "{length} bytes");
    }
    let longer = [bytes.as_slice(), &[1]].concat();
    let (decoded, length) = Order::decode(&longer).unwrap().unwrap();
    assert_eq!(length, bytes.len());
    decoded
}

#[test]
fn every_order_survives_the_way() {
    let progress = Progress {
        stage: 2,
        until: Timestamp::from_millis(5),
    };
    for order in [
        Order::Settings(Settings {
            only_ipv4: true,
            dump: false,
            seed: [1, u64::MAX],
        }),
        Order::Sequence(DoorId(3), None),
        Order::Sequence(DoorId(3), Some(Sequence::new(vec![Step::tcp(1)]).unwrap())),
        Order::Reach(Reach {
            interfaces: None,
            locals: vec![
                (1, "10.0.0.1".parse().unwrap()),
                (2, "::1".parse().unwrap()),
            ],
        }),
        Order::Reach(Reach {
            interfaces: Some(vec![3, 4]),
            locals: vec![],
        }),
        Order::Attempt(DoorId(1), "::1".parse().unwrap(), progress),
        Order::Site(None),
        Order::Site(Some(site())),
        Order::Codes(None),
        Order::Codes(Some(Sieve {
            salt: CodeSalt([7; 32]),
            marks: vec![1, u64::MAX],
        })),
        Order::Begin,
        Order::Counters,
    ] {
        assert_eq!(there_and_back(&order), order);
    }
}

#[test]
fn doors_arrive_with_all_that_is_heard_and_nothing_of_what_is_done() {
    let sent = doors(DOORS);
    let bytes = Order::Doors(sent.clone()).encode();
    assert!(!bytes.windows(6).any(|part| part == b"secret"));
    let Order::Doors(doors) = there_and_back(&Order::Doors(sent.clone())) else {
        panic!("another order");
    };
    assert_eq!(doors.sequences, sent.sequences);
    assert_eq!(doors.max_attempts, 77);
    assert_eq!(doors.spa_ports, [51443, 53]);
    assert_eq!(doors.checksum, sent.checksum, "reckoned on both sides");
    for (there, here) in doors.doors.iter().zip(sent.doors.iter()) {
        assert_eq!((&there.name, &there.trigger), (&here.name, &here.trigger));
        assert_eq!((&there.action.v4, &there.action.v6), (&None, &None));
        assert_eq!((&there.action.native, &there.spa), (&None, &None));
    }
}

#[test]
fn a_checksum_tells_doors_apart_by_what_is_heard() {
    let of = |text: &str| doors(text).checksum;
    let same = DOORS.replace("secret", "other");
    assert_eq!(of(DOORS), of(&same), "commands and keys are the keeper's");
    for (from, to) in [
        ("[A]", "[D]"),
        ("authorized_keys", "sequence = 5\nauthorized_keys"),
        ("8000:udp", "8000"),
        ("!ack", "ack"),
        ("/24", "/25"),
        ("1500ms", "1501ms"),
        ("strict = yes", "strict = no"),
        ("/etc/b", "/etc/c"),
        ("2s", "3s"),
    ] {
        assert_ne!(of(DOORS), of(&DOORS.replace(from, to)), "{from} to {to}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_order_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(Some((order, length))) = Order::decode(&bytes) {
            prop_assert!(length <= bytes.len());
            prop_assert!(Order::decode(&order.encode()).is_ok());
        }
    }

    #[test]
    fn doors_that_arrive_as_others_have_another_checksum(
        at in any::<prop::sample::Index>(), to in any::<u8>(),
    ) {
        let sent = doors(DOORS);
        let mut bytes = Order::Doors(sent.clone()).encode();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(Some((Order::Doors(got), _))) = Order::decode(&bytes) {
            let same = got.doors.iter().zip(sent.doors.iter()).all(|(a, b)| a.trigger == b.trigger);
            prop_assert!(same || got.checksum != sent.checksum);
        }
    }
}
