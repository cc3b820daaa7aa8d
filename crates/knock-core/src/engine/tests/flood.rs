//! A table that strangers fill: who loses a place, and who never does.

use super::*;
use core::net::Ipv4Addr;
use proptest::prelude::*;

fn small(doors: &[Door], max_attempts: u32) -> World {
    let mut world = World::new(doors);
    world.engine = Engine::new(doors, Limits { max_attempts }, [1, 2]);
    world
}

/// First knocks at `port` from `count` sources, all at once.
fn flood(world: &mut World, port: u16, count: u32) {
    let now = world.time();
    let most = usize::try_from(world.engine.table.capacity()).unwrap();
    for n in 0..count {
        let packet = Packet {
            source: IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 + n)),
            destination: HOST[0],
            protocol: Protocol::Tcp,
            source_port: 1,
            destination_port: port,
            flags: TcpFlags::SYN,
        };
        world.engine.handle_packet(&packet, true, now);
        while world.engine.poll_event().is_some() {}
        assert!(world.engine.attempts() <= most);
    }
    world.engine.table.check();
}

/// Bytes that were asked for in huge pages.
#[derive(Default)]
struct Asked(core::cell::RefCell<Vec<usize>>);

impl HugePages for Asked {
    fn back<T>(&self, memory: &Vec<T>) {
        let bytes = memory.capacity() * size_of::<T>();
        self.0.borrow_mut().push(bytes);
    }
}

impl Asked {
    fn of(world: &mut World) -> Vec<usize> {
        let asked = Self::default();
        world.engine.use_huge_pages(&asked);
        asked.0.into_inner()
    }
}

#[test]
fn a_table_with_many_attempts_asks_once_for_huge_pages_and_the_one_after_it_again() {
    let mut world = small(&[a()], 100_000);
    flood(&mut world, 7000, 16_383);
    assert_eq!(Asked::of(&mut world), [0; 0]);
    flood(&mut world, 7000, 16_384);
    let asked = Asked::of(&mut world);
    let least = [100_000 * 8, 100_000 * 48];
    assert_eq!(asked.len(), 2);
    assert!(
        asked
            .iter()
            .zip(least)
            .all(|(asked, least)| *asked >= least)
    );
    assert_eq!(Asked::of(&mut world), [0; 0]);
    flood(&mut world, 7000, 50_000);
    assert_eq!(Asked::of(&mut world), [0; 0]);
    // Its memory was given back meanwhile.
    world.knock("@60000").log();
    flood(&mut world, 7000, 1);
    assert_eq!(Asked::of(&mut world), [0; 0]);
    flood(&mut world, 7000, 20_000);
    assert_eq!(Asked::of(&mut world).len(), 2);
}

#[test]
fn who_is_past_the_first_step_keeps_the_place_in_any_flood_of_first_knocks() {
    let mut world = small(&[a()], 100);
    world.knock("7000 8000").log();
    flood(&mut world, 7000, 10_000);
    assert_eq!(world.engine.attempts(), 100);
    assert_eq!(world.engine.counters().evictions, 10_000 - 99);
    assert_eq!(world.knock("9000").log(), "A:3 A:open");
}

#[test]
fn a_flood_at_one_door_does_not_disturb_first_steps_at_another() {
    let mut world = small(&[a(), syn("B", "1,2,3")], 100);
    world.knock("1").log();
    flood(&mut world, 7000, 10_000);
    assert_eq!(world.knock("2 3").log(), "B:2 B:3 B:open");
}

#[test]
fn of_first_steps_at_one_door_the_oldest_goes_first() {
    let mut world = small(&[syn("A", "1,2")], 3);
    world.knock("1<10.0.0.1 1<10.0.0.2 1<10.0.0.3 2<10.0.0.3 1<10.0.0.3 1<10.0.0.4 1<10.0.0.5");
    world.log();
    let sources = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"];
    let alive = sources.map(|source| !world.knock(&format!("2<{source}")).log().is_empty());
    assert_eq!(alive, [false, false, true, true, true]);
}

#[test]
fn if_all_are_past_the_first_step_the_one_with_the_least_time_left_goes() {
    let slow = with(syn("B", "5,6,7"), |t| {
        t.seq_timeout = Duration::from_secs(90);
    });
    let mut world = small(&[a(), slow], 3);
    world.knock("5<10.0.0.1 6<10.0.0.1 7000<10.0.0.2 8000<10.0.0.2 7000<10.0.0.3 8000<10.0.0.3");
    world.knock("7000<10.0.0.4 8000<10.0.0.4").log();
    assert_eq!(world.knock("9000<10.0.0.2").log(), "");
    assert_eq!(
        world
            .knock("7<10.0.0.1 9000<10.0.0.3 9000<10.0.0.4")
            .openings(),
        3
    );
}

#[test]
fn who_cools_down_loses_the_place_before_who_knocks() {
    let cool = |t: &mut Trigger| t.cooldown = Duration::from_secs(60);
    let mut world = small(&[with(syn("S", "1"), cool), syn("B", "5,6")], 100);
    world.knock("5").log();
    flood(&mut world, 1, 10_000);
    assert_eq!(world.knock("6").log(), "B:2 B:open");
}

#[test]
fn one_packet_may_start_more_attempts_than_there_is_room_for() {
    let doors: Vec<Door> = (0..10).map(|n| syn(&format!("{n}"), "1,2")).collect();
    let mut world = small(&doors, 4);
    assert_eq!(world.knock("1").log().split(' ').count(), 10);
    assert_eq!(world.engine.attempts(), 4);
    world.engine.table.check();
    assert_eq!(world.knock("2").openings(), 4);
}

#[test]
fn memory_is_given_back_after_a_flood_though_some_attempts_remain() {
    let slow = |t: &mut Trigger| t.seq_timeout = Duration::from_secs(999);
    let doors = [a(), with(syn("B", "1,2"), slow)];
    let mut world = World::new(&doors);
    let limits = Limits {
        max_attempts: 1 << 18,
    };
    world.engine = Engine::new(&doors, limits, [1, 2]);
    world.knock("1 7000<10.0.0.9 8000<10.0.0.9").log();
    for n in 0..40_000_u32 {
        let packet = Packet {
            source: IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 + n)),
            destination: HOST[0],
            protocol: Protocol::Tcp,
            source_port: 1,
            destination_port: 7000,
            flags: TcpFlags::SYN,
        };
        world.engine.handle_packet(&packet, true, world.time());
    }
    assert_eq!(world.engine.table.touched(), 40_002);
    while world.engine.poll_event().is_some() {}
    world.wait_until(26_000);
    assert!(world.engine.table.touched() <= 1024);
    assert_eq!(world.engine.attempts(), 1);
    world.engine.table.check();
    world.log();
    assert_eq!(world.knock("2").log(), "B:2 B:open");
}

#[test]
fn a_call_ends_a_bounded_number_of_attempts() {
    let mut world = World::new(&[a()]);
    flood_without_bound(&mut world, 1000);
    let late = Timestamp::from_millis(60_000);
    for left in [744, 488, 232, 0] {
        world.engine.handle_timeout(late);
        assert_eq!(world.engine.attempts(), left);
    }
    assert_eq!(world.engine.poll_timeout(), None);
}

fn flood_without_bound(world: &mut World, count: u32) {
    let words: String = (0..count)
        .map(|n| format!("7000<10.1.{}.{} ", n / 256, n % 256))
        .collect();
    for word in words.split_whitespace() {
        world.knock(word);
        world.now = 0;
    }
}

#[test]
fn ten_thousand_doors_work() {
    let doors: Vec<Door> = (0..10_000_u16)
        .map(|n| {
            syn(
                &format!("{n}"),
                &format!("{},{},{}", n, 20_000 + n, 40_000 + n),
            )
        })
        .collect();
    let mut world = World::new(&doors);
    assert_eq!(world.knock("9999 29999 49999 0 20000 40000").log(), {
        "9999:1 9999:2 9999:3 9999:open 0:1 0:2 0:3 0:open"
    });
    let doors: Vec<Door> = (0..10_000).map(|n| syn(&format!("{n}"), "1,2")).collect();
    let mut world = World::new(&doors);
    world.engine = Engine::new(
        &doors,
        Limits {
            max_attempts: 20_000,
        },
        [1, 2],
    );
    assert_eq!(world.knock("1 2").openings(), 10_000);
}

/// Where the packets of a siege come from; no source comes twice, but for the neighbours'.
#[derive(Copy, Clone, Debug)]
enum Stranger {
    Anybody,
    /// One of 155 in the knocker's own /24.
    SameV4,
    /// Of the knocker's own /64.
    SameV6,
}

/// A full table, and strangers who go on.
struct Siege {
    world: World,
    /// Ports and sources, in turn.
    packets: &'static [(u16, Stranger)],
    /// How many were sent.
    sent: u32,
}

impl Siege {
    fn new(capacity: u32, packets: &'static [(u16, Stranger)]) -> Self {
        let mut siege = Self {
            world: small(&[a()], capacity),
            packets: &[(7000, Stranger::Anybody)],
            sent: 0,
        };
        siege.go_on(capacity, 0);
        siege.packets = packets;
        siege
    }

    /// `count` hostile packets, spread over so many milliseconds.
    fn go_on(&mut self, count: u32, milliseconds: u64) {
        let start = self.world.now;
        for n in 0..count {
            let packets = usize::try_from(self.sent).unwrap();
            let (port, from) = self.packets[packets % self.packets.len()];
            let source = match from {
                Stranger::Anybody => IpAddr::V4(Ipv4Addr::from_bits(0x4000_0000 + self.sent)),
                Stranger::SameV4 => IpAddr::V4(Ipv4Addr::from_bits(0x0a4d_0064 + self.sent % 155)),
                Stranger::SameV6 => {
                    IpAddr::V6((0xfd77_u128 << 112 | 1 << 63 | u128::from(self.sent)).into())
                }
            };
            let destination = match source {
                IpAddr::V4(_) => HOST[0],
                IpAddr::V6(_) => "fd77::2".parse().unwrap(),
            };
            let packet = Packet {
                source,
                destination,
                protocol: Protocol::Tcp,
                source_port: 1,
                destination_port: port,
                flags: TcpFlags::SYN,
            };
            self.world.now = start + milliseconds * u64::from(n) / u64::from(count);
            let now = self.world.time();
            self.world.engine.handle_packet(&packet, true, now);
            while self.world.engine.poll_event().is_some() {}
            self.sent += 1;
        }
        self.world.now = start + milliseconds;
    }

    /// One knock; what came of it.
    fn knock(&mut self, port: u16, source: &str) -> String {
        let now = self.world.now;
        let said = self.world.knock(&format!("{port}<{source}")).log();
        self.world.now = now;
        said.replace(&format!("<{source}"), "")
    }

    /// Whether `source` gets in with the next two knocks, `packets` hostile ones before each.
    fn gets_in(&mut self, source: &str, gap: u64, packets: u32) -> bool {
        assert_eq!(self.knock(7000, source), "A:1");
        self.go_on(packets, gap);
        let second = self.knock(8000, source);
        self.go_on(packets, gap);
        let third = self.knock(9000, source);
        match (second.as_str(), third.as_str()) {
            ("A:2", "A:3 A:open") => true,
            // The first knock was forgotten, so the second one is nobody's, and so is the third.
            ("", "") => false,
            other => panic!("{other:?}"),
        }
    }
}

/// The one limit there is: an attempt at its first step is displaced when as many new ones have
/// begun as the table holds, which is after `capacity / rate` of new first knocks. With the default
/// of 262,144 places, and a million new sources a second, that is a quarter of a second between the
/// first two knocks. Past the second step nothing of the kind displaces anybody.
#[test]
fn a_first_knock_lasts_until_the_whole_table_has_turned_over() {
    for capacity in [2, 3, 10, 100, 4096] {
        let firsts: &[_] = &[(7000, Stranger::Anybody)];
        for (packets, gets_in) in [(capacity - 1, true), (capacity, false)] {
            let mut siege = Siege::new(capacity, firsts);
            let now = siege.gets_in("10.77.0.1", 20, packets);
            assert_eq!(now, gets_in, "{packets} first knocks, room for {capacity}");
        }
        let mut siege = Siege::new(capacity, firsts);
        assert_eq!(siege.knock(7000, "10.77.0.1"), "A:1");
        siege.go_on(capacity - 1, 20);
        assert_eq!(siege.knock(8000, "10.77.0.1"), "A:2");
        siege.go_on(3 * capacity, 20);
        assert_eq!(siege.knock(9000, "10.77.0.1"), "A:3 A:open");
        siege.world.engine.table.check();
    }
}

#[test]
fn who_knows_the_sequence_gets_in_at_any_rate_that_does_not_turn_the_table_over() {
    use Stranger::{Anybody, SameV4, SameV6};
    let floods: [(&str, &[(u16, Stranger)]); 8] = [
        ("10.77.0.1", &[(7000, Anybody)]),
        ("10.77.0.1", &[(7000, SameV4)]),
        ("fd77::1", &[(7000, SameV6)]),
        ("10.77.0.1", &[(8000, Anybody), (9000, Anybody)]),
        ("10.77.0.1", &[(8000, SameV4), (9000, SameV4)]),
        ("fd77::1", &[(8000, SameV6), (9000, SameV6)]),
        (
            "10.77.0.1",
            &[
                (7000, Anybody),
                (8000, SameV4),
                (9000, SameV4),
                (8000, Anybody),
            ],
        ),
        (
            "fd77::1",
            &[
                (7000, SameV6),
                (7000, Anybody),
                (9000, SameV4),
                (8000, SameV6),
            ],
        ),
    ];
    let mut displaced = 0;
    for capacity in [200, 1_000, 8_192] {
        for (source, packets) in floods {
            let mut siege = Siege::new(capacity, packets);
            for (rate, gap) in [(1, 30), (20, 5), (20, 30), (300, 5), (300, 30)] {
                let count = rate * u32::try_from(gap).unwrap();
                // Neighbours are few: who has begun already takes no place.
                let new =
                    |(port, from): &&(u16, Stranger)| *port == 7000 && !matches!(from, SameV4);
                let kinds = packets.iter().filter(new).count();
                let firsts =
                    count * u32::try_from(kinds).unwrap() / u32::try_from(packets.len()).unwrap();
                let gets_in = siege.gets_in(source, gap, count);
                assert_eq!(
                    gets_in,
                    firsts < capacity,
                    "{packets:?}, {rate} a millisecond, {gap} ms, room for {capacity}"
                );
                displaced += u32::from(!gets_in);
                let free = capacity - u32::try_from(siege.world.engine.attempts()).unwrap();
                assert_eq!(free, u32::from(gets_in), "who is in has left a place");
            }
            siege.world.engine.table.check();
        }
    }
    assert!(displaced > 10, "both sides of the limit were seen");
}

proptest! {
    /// Each of some knockers, at any moment of a flood, gets in if only the second step has come.
    #[test]
    fn real_knockers_get_in_through_a_flood(
        moments in prop::collection::vec(1..200_u32, 1..20),
        doors in 1..4_u16,
        chaff in prop::collection::vec(0..4_u16, 1..20),
    ) {
        let doors: Vec<Door> = (0..doors)
            .map(|n| syn(&format!("{n}"), &format!("{},{},9", 7000 + n, 8000 + n)))
            .collect();
        let mut world = small(&doors, 30);
        let sources: Vec<String> = (0..moments.len()).map(|n| format!("10.2.0.{n}")).collect();
        for (source, packets) in sources.iter().zip(&moments) {
            world.knock(&format!("7000<{source} 8000<{source}"));
            for n in 0..*packets {
                let port = chaff[usize::try_from(n).unwrap() % chaff.len()];
                world.now -= 1;
                world.knock(&format!("{}<192.0.{}.{}", 7000 + port, n % 7, n));
                world.now -= 29;
            }
        }
        world.log();
        for source in &sources {
            prop_assert_eq!(world.knock(&format!("9<{source}")).openings(), 1, "{}", source);
        }
        world.engine.table.check();
    }
}
