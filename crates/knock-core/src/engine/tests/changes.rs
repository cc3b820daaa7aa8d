//! Doors that change while attempts are under way, one-time doors, strict doors and cool-downs.

use super::*;

fn one_time(name: &str) -> Door {
    let file = SequenceSource::OneTime(name.to_string());
    with(a(), |t| t.source = file)
}

#[test]
fn attempts_at_doors_that_did_not_change_survive_a_reload() {
    let mut world = World::new(&[a(), syn("B", "7000,8000,9500")]);
    world.knock("7000 8000");
    let b = syn("B", "7000,8000,9600");
    world.set_doors(&[b, syn("C", "1,9000"), a()]);
    world.knock("9000 9600");
    assert_eq!(world.log(), "A:1 B:1 A:2 B:2 A:3 A:open");
    assert_eq!(world.engine.attempts(), 0);
}

#[test]
fn a_door_without_a_sequence_stays_shut_and_breaks_no_attempt() {
    let none = |strict| {
        with(syn("N", "1"), |t| {
            (t.source, t.strict) = (SequenceSource::None, strict);
        })
    };
    let mut world = World::new(&[none(false), none(true), a()]);
    world.engine.set_sequence(DoorId(0), Some(sequence_of("5")));
    assert_eq!(
        world.knock("1 7000 5 8000 9000").log(),
        "A:1 A:2 A:3 A:open"
    );
}

#[test]
fn attempts_of_one_source_survive_when_the_doors_change_places() {
    let (b, c) = (syn("B", "7000,8000,9100"), syn("C", "7000,8000,9200"));
    let mut world = World::new(&[a(), b.clone(), c.clone()]);
    world.knock("7000 8000").log();
    world.set_doors(&[c, b, a()]);
    let log = world.knock("9100").log();
    assert_eq!(log, "C:2-broken-by-9100 B:3 B:open A:2-broken-by-9100");
}

#[test]
fn of_doors_alike_the_first_remains_the_first() {
    let mut world = World::new(&[a(), a()]);
    world.knock("7000 8000").log();
    world.set_doors(&[a()]);
    assert_eq!(world.engine.attempts(), 1);
    world.set_doors(&[syn("B", "1"), a(), a()]);
    assert_eq!(world.knock("9000").log(), "A:3 A:open");

    let alike = [one_time("f"), one_time("f")];
    let mut world = World::new(&alike);
    world.engine.set_sequence(DoorId(0), Some(sequence_of("1")));
    world.engine.set_sequence(DoorId(1), Some(sequence_of("2")));
    world.set_doors(&alike);
    world.engine.set_sequence(DoorId(0), None);
    assert_eq!(world.knock("2").log(), "A:1 A:open");
}

#[test]
fn the_time_of_an_attempt_that_survives_goes_on() {
    let mut world = World::new(&[a()]);
    world.knock("@1000 7000 @20000").log();
    world.set_doors(&[syn("B", "1"), a()]);
    assert_eq!(world.knock("@40000").log(), "A:1-late@26000");
}

#[test]
fn a_one_time_door_is_shut_until_it_has_a_sequence_and_after_each_opening() {
    let mut world = World::new(&[one_time("f")]);
    assert_eq!(world.knock("7000 8000").log(), "");
    world
        .engine
        .set_sequence(DoorId(0), Some(sequence_of("7000,8000")));
    world.knock("7000<10.0.0.9 7000 8000 8000<10.0.0.9 7000");
    assert_eq!(world.log(), "A:1<10.0.0.9 A:1 A:2 A:open");
    assert_eq!(
        (world.engine.attempts(), world.engine.poll_timeout()),
        (0, None)
    );
    world
        .engine
        .set_sequence(DoorId(0), Some(sequence_of("9000")));
    assert_eq!(world.knock("9000 9000").log(), "A:1 A:open");
}

#[test]
fn another_sequence_ends_the_attempts_at_the_last_one() {
    let mut world = World::new(&[one_time("f"), syn("B", "7000,1")]);
    world
        .engine
        .set_sequence(DoorId(0), Some(sequence_of("7000,8000")));
    world.knock("7000").log();
    world
        .engine
        .set_sequence(DoorId(0), Some(sequence_of("7000,8001")));
    assert_eq!(world.knock("8001").log(), "B:1-broken-by-8001");
    world.engine.set_sequence(DoorId(0), None);
    assert_eq!(world.knock("7000 8001 1").log(), "B:1 B:2 B:open");
}

#[test]
fn a_sequence_is_for_one_time_doors_only() {
    let mut world = World::new(&[a()]);
    world.knock("7000").log();
    world.engine.set_sequence(DoorId(0), Some(sequence_of("1")));
    world.engine.set_sequence(DoorId(7), Some(sequence_of("1")));
    assert_eq!(world.knock("1 8000 9000").log(), "A:2 A:3 A:open");
}

#[test]
fn the_current_sequence_survives_a_reload_that_leaves_the_door_alone() {
    let mut world = World::new(&[one_time("f")]);
    world
        .engine
        .set_sequence(DoorId(0), Some(sequence_of("7000,8000")));
    world.knock("7000").log();
    world.set_doors(&[syn("B", "1"), one_time("f")]);
    assert_eq!(world.knock("8000 7000").log(), "A:2 A:open");
    world
        .engine
        .set_sequence(DoorId(1), Some(sequence_of("7000,8000")));
    world.set_doors(&[one_time("g")]);
    assert_eq!(world.knock("7000 8000").log(), "");
}

#[test]
fn a_one_time_door_that_opens_breaks_what_any_other_door_breaks() {
    for order in [[0, 1], [1, 0]] {
        let doors = [one_time("f"), syn("B", "8000,2")];
        let mut world = World::new(&order.map(|i: usize| doors[i].clone()));
        let id = order.iter().position(|i| *i == 0).unwrap();
        let id = DoorId(u16::try_from(id).unwrap());
        world
            .engine
            .set_sequence(id, Some(sequence_of("8000,9000")));
        let log = world.knock("8000").log() + &world.knock("9000").log();
        assert!(log.contains("A:2 A:open"), "{log}");
        assert!(log.contains("B:1-broken-by-9000"), "{log}");
    }
}

#[test]
fn any_port_breaks_an_attempt_at_a_strict_door_and_at_no_other() {
    let strict = with(syn("S", "7000,8000,9000"), |t| t.strict = true);
    let doors = [a(), strict];
    let log = play(&doors, "7000 5555 8000 9000");
    assert_eq!(log, "A:1 S:1 S:1-broken-by-5555 A:2 A:3 A:open");
    let log = play(&doors, "7000 5555:udp 8000 9000");
    assert_eq!(log, "A:1 S:1 S:1-broken-by-5555:udp A:2 A:3 A:open");
    let log = play(&doors, "7000 5555/A 5555>192.0.2.9 8000 9000");
    assert_eq!(log, "A:1 S:1 A:2 S:2 A:3 A:open S:3 S:open");
}

#[test]
fn an_ascending_scan_opens_a_plain_door_and_never_a_strict_one() {
    let scan: String = (6990..=9010).map(|port| format!("{port} ")).collect();
    let slow = |t: &mut Trigger| t.seq_timeout = Duration::from_secs(300);
    let strict = |t: &mut Trigger| (slow(t), t.strict = true).1;
    assert_eq!(World::new(&[with(a(), slow)]).knock(&scan).openings(), 1);
    assert_eq!(World::new(&[with(a(), strict)]).knock(&scan).openings(), 0);
}

#[test]
fn a_door_that_cools_down_is_deaf_to_its_source_and_to_nobody_else() {
    let cool = |t: &mut Trigger| t.cooldown = Duration::from_secs(2);
    let mut world = World::new(&[with(syn("A", "7000"), cool), with(syn("B", "1,2"), cool)]);
    assert_eq!(world.knock("7000 7000 7000<10.0.0.9").log(), {
        "A:1 A:open A:1<10.0.0.9 A:open<10.0.0.9"
    });
    assert_eq!(
        world.knock("@1999 7000 @2000 7000 @9000").log(),
        "A:1 A:open"
    );
    assert_eq!(
        world.knock("1 2 1 2 @11029 1 @11030 1").log(),
        "B:1 B:2 B:open B:1"
    );
    assert_eq!(world.knock("@90000").log(), "B:1-late@36030");
    assert_eq!(
        (world.engine.attempts(), world.engine.poll_timeout()),
        (0, None)
    );
}

#[test]
fn a_one_time_door_cools_down_across_its_sequences() {
    let door = with(one_time("f"), |t| t.cooldown = Duration::from_secs(2));
    let mut world = World::new(&[door]);
    world.engine.set_sequence(DoorId(0), Some(sequence_of("1")));
    world.knock("1").log();
    world.engine.set_sequence(DoorId(0), Some(sequence_of("2")));
    assert_eq!(
        world.knock("2 2<10.0.0.9").log(),
        "A:1<10.0.0.9 A:open<10.0.0.9"
    );
}

#[test]
fn time_that_goes_back_counts_as_the_latest() {
    let mut world = World::new(&[with(a(), |t| t.seq_timeout = Duration::from_secs(1))]);
    world.knock("@5000 7000");
    world.now = 100;
    world.knock("8000 @5999 9000");
    assert_eq!(world.log(), "A:1 A:2 A:3 A:open");
}

#[test]
fn counters_count() {
    let mut world = World::new(&[with(a(), |t| t.seq_timeout = Duration::from_secs(1))]);
    world.knock("7000 7000 9000 7000 8000 9000 1 7000 @5000");
    let counters = Counters {
        packets: 8,
        knocks: 5,
        broken: 1,
        timeouts: 1,
        openings: 1,
        evictions: 0,
    };
    assert_eq!(world.engine.counters(), counters);
}

fn at(stage: u8, until: u64) -> Progress {
    let until = Timestamp::from_millis(until);
    Progress { stage, until }
}

#[test]
fn another_engine_goes_on_with_what_one_has_begun() {
    let mut world = World::new(&[
        syn("B", "1,2"),
        with(a(), |t| t.cooldown = Duration::from_secs(5)),
    ]);
    let (me, other) = ("10.77.0.1".parse().unwrap(), "fd77::1".parse().unwrap());
    world.engine.restore(DoorId(1), me, at(2, 20_000));
    world.engine.restore(DoorId(1), other, at(0, 4_000));
    assert_eq!(world.engine.attempts(), 2);
    assert_eq!(
        world.knock("8000 9000").log(),
        "A:3 A:open",
        "a repeat, a step"
    );
    let log = world.knock("7000<fd77::1 8000<fd77::1 9000<fd77::1").log();
    assert_eq!(log, "", "it cools down");
    let log = world.knock("@4001 7000<fd77::1 @30000").log();
    assert_eq!(log, "A:1<fd77::1 A:1-late@29001<fd77::1");
}

#[test]
fn what_is_restored_has_no_more_time_than_was_left() {
    let mut world = World::new(&[a()]);
    let (me, other) = ("10.77.0.1".parse().unwrap(), "10.77.0.9".parse().unwrap());
    world.engine.restore(DoorId(0), me, at(1, 1_000));
    world.engine.restore(DoorId(0), other, at(2, 900));
    let log = world.knock("@2000 8000 9000<10.77.0.9").log();
    assert_eq!(log, "A:1-late@1000 A:2-late@1000<10.77.0.9");
}

#[test]
fn what_cannot_be_is_not_restored() {
    let mut world = World::new(&[a(), one_time("f")]);
    let me = "10.77.0.1".parse().unwrap();
    for (door, stage) in [(0, 3), (0, 33), (1, 1), (2, 1), (9, 0)] {
        world.engine.restore(DoorId(door), me, at(stage, 9_000));
    }
    assert_eq!(world.engine.attempts(), 0);
    world.knock("7000").log();
    world.engine.restore(DoorId(0), me, at(2, 9_000));
    assert_eq!(world.knock("8000").log(), "A:2", "its own attempt counts");
}

#[test]
fn attempts_survive_another_limit_as_far_as_there_is_room() {
    let mut world = World::new(&[a()]);
    world.knock("7000 8000 7000<10.77.0.8 7000<10.77.0.9").log();
    world.engine.set_limits(Limits { max_attempts: 2 });
    assert_eq!(world.engine.attempts(), 2);
    let log = world.knock("8000<10.77.0.8 9000 8000<10.77.0.9").log();
    assert_eq!(
        log, "A:3 A:open A:2<10.77.0.9",
        "the oldest first step had to go"
    );
    world.engine.set_limits(Limits { max_attempts: 9 });
    assert_eq!(
        world.knock("9000<10.77.0.9").log(),
        "A:3<10.77.0.9 A:open<10.77.0.9"
    );
}

#[test]
fn what_was_prepared_holds_when_the_table_is_made_anew() {
    let mut world = World::new(&[a()]);
    for n in 0..500_u32 {
        let packet = Packet {
            source: IpAddr::from((0xc612_0000 + n).to_be_bytes()),
            destination: HOST[0],
            protocol: Protocol::Tcp,
            source_port: 1,
            destination_port: 7000,
            flags: TcpFlags::SYN,
        };
        let now = world.time();
        let prepared = world.engine.prepare(&packet, 0, &Nothing);
        // Every source is at home elsewhere then.
        let max_attempts = 1_000 + n;
        world.engine.set_limits(Limits { max_attempts });
        let engine = &mut world.engine;
        engine.handle_prepared(&packet, prepared, true, now, |_| {});
    }
    assert_eq!(world.engine.attempts(), 500);
    world.engine.table.check();
}
