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
        assert!(world.engine.attempts() <= 100);
    }
    world.engine.table.check();
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
