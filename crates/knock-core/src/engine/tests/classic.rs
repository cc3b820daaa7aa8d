//! KNOCKD.md 1.4, row by row: what the original was measured to do, kept, or mended where it was
//! one list for each source that made it fail.

use super::*;
use crate::target::Target;

#[test]
fn a_port_that_no_door_names_is_invisible() {
    let log = play(&[a()], "7000 5555 8000 1234 5556:udp 9000");
    assert_eq!(log, "A:1 A:2 A:3 A:open");
}

#[test]
fn a_repeated_knock_is_ignored() {
    assert_eq!(play(&[a()], "7000 7000 8000 9000"), "A:1 A:2 A:3 A:open");
    assert_eq!(play(&[a()], "7000 8000 8000 9000"), "A:1 A:2 A:3 A:open");
    assert_eq!(
        play(&[a()], "7000 7000 7000 8000 9000"),
        "A:1 A:2 A:3 A:open"
    );
}

#[test]
fn starting_over_is_starting_over() {
    let log = play(&[a()], "7000 8000 7000 8000 9000");
    assert_eq!(log, "A:1 A:2 A:2-broken-by-7000 A:1 A:2 A:3 A:open");
    let log = play(&[a()], "7000 9000 7000 8000 9000");
    assert_eq!(log, "A:1 A:1-broken-by-9000 A:1 A:2 A:3 A:open");
}

#[test]
fn the_last_knock_once_more_does_nothing() {
    assert_eq!(play(&[a()], "7000 8000 9000 9000"), "A:1 A:2 A:3 A:open");
}

#[test]
fn a_step_may_be_the_same_port_again() {
    let door = [syn("A", "7000,7000,7000")];
    assert_eq!(play(&door, "7000 7000 7000"), "A:1 A:2 A:3 A:open");
    assert_eq!(World::new(&door).knock(&"7000 ".repeat(6)).openings(), 2);
    assert_eq!(World::new(&door).knock(&"7000 ".repeat(8)).openings(), 2);
}

#[test]
fn a_door_of_one_step_opens_with_each_packet() {
    let log = play(&[syn("A", "7000")], "7000 7000 7000");
    assert_eq!(log, "A:1 A:open A:1 A:open A:1 A:open");
}

#[test]
fn one_door_started_does_not_keep_another_shut() {
    let doors = [a(), syn("B", "7100,7200,7300")];
    let log = play(&doors, "7000 7100 8000 9000");
    assert_eq!(log, "A:1 A:1-broken-by-7100 B:1 B:1-broken-by-8000");
    let log = play(&doors, "7000 7100 7200 7300");
    assert_eq!(log, "A:1 A:1-broken-by-7100 B:1 B:2 B:3 B:open");
    let log = play(&doors, "7000 8000 7100 7100 7200 7300");
    assert_eq!(log, "A:1 A:2 A:2-broken-by-7100 B:1 B:2 B:3 B:open");
}

#[test]
fn doors_with_a_common_start_advance_together_and_the_right_one_opens() {
    let doors = [a(), syn("B", "7000,8000,9500")];
    let log = play(&doors, "7000 8000 9500");
    assert_eq!(log, "A:1 B:1 A:2 B:2 A:2-broken-by-9500 B:3 B:open");
    let log = play(&doors, "7000 8000 9000");
    assert_eq!(log, "A:1 B:1 A:2 B:2 A:3 A:open B:2-broken-by-9000");
}

#[test]
fn the_order_of_doors_does_not_decide_what_opens() {
    let (short, long) = (syn("A", "7000,8000"), syn("B", "7000,8000,9000"));
    let log = play(&[short.clone(), long.clone()], "7000 8000 9000");
    assert_eq!(log, "A:1 B:1 A:2 A:open B:2 B:3 B:open");
    let log = play(&[long, short], "7000 8000 9000");
    assert_eq!(log, "B:1 A:1 B:2 A:2 A:open B:3 B:open");
}

#[test]
fn a_door_of_one_step_disturbs_no_other_that_shares_the_step() {
    let log = play(&[syn("ONE", "7000"), a()], "7000 8000 9000");
    assert_eq!(log, "ONE:1 ONE:open A:1 A:2 A:3 A:open");
    let log = play(&[a(), syn("ONE", "7000")], "7000 8000 9000");
    assert_eq!(log, "A:1 ONE:1 ONE:open A:2 A:3 A:open");
    let log = play(&[a(), syn("ONE", "8000")], "7000 8000 9000");
    assert_eq!(log, "A:1 A:2 ONE:1 ONE:open A:3 A:open");
}

#[test]
fn equal_sequences_both_open() {
    let log = play(&[syn("A", "7000,8000"), syn("B", "7000,8000")], "7000 8000");
    assert_eq!(log, "A:1 B:1 A:2 A:open B:2 B:open");
}

#[test]
fn a_packet_counts_for_one_door_and_starts_another() {
    let log = play(&[syn("A", "1,2,3"), syn("B", "2,3,4")], "1 2 3 4");
    assert_eq!(log, "A:1 A:2 B:1 A:3 A:open B:2 B:3 B:open");
}

#[test]
fn the_packet_that_completes_a_door_does_not_start_it_again() {
    let log = play(&[syn("A", "1,2,1")], "1 2 1 2 1");
    assert_eq!(log, "A:1 A:2 A:3 A:open A:1");
}

#[test]
fn ten_sources_in_lockstep_all_get_in() {
    let mut world = World::new(&[a()]);
    for port in [7000, 8000, 9000] {
        for host in 1..=10 {
            world.knock(&format!("{port}<10.77.1.{host}"));
        }
    }
    assert_eq!(world.openings(), 10);
}

#[test]
fn interleaved_sources_do_not_disturb_each_other_however_they_end() {
    let first_ends_first = "7000 7000<10.77.0.9 8000 8000<10.77.0.9 9000 9000<10.77.0.9";
    let second_ends_first = "7000 7000<10.77.0.9 8000<10.77.0.9 9000<10.77.0.9 8000 9000";
    for words in [first_ends_first, second_ends_first] {
        assert_eq!(World::new(&[a()]).knock(words).openings(), 2, "{words}");
    }
    let first_fails = "7000 7000<10.77.0.9 9000 8000<10.77.0.9 9000<10.77.0.9";
    assert_eq!(World::new(&[a()]).knock(first_fails).openings(), 1);
}

#[test]
fn other_flags_are_not_for_a_door_that_asks_for_syn() {
    let log = play(&[a()], "7000 9000/A 7000/R 8000 9000/F 9000");
    assert_eq!(log, "A:1 A:2 A:3 A:open");
    let log = play(&[a()], "7000/SA 8000/SA 9000/SA");
    assert_eq!(log, "A:1 A:2 A:3 A:open");
}

#[test]
fn without_tcpflags_any_segment_counts() {
    let log = play(&[any("A", "7000,8000,9000")], "7000 9000/A 8000 9000");
    assert_eq!(log, "A:1 A:1-broken-by-9000");
    let log = play(&[any("A", "7000,8000,9000")], "7000/R 8000/ 9000/A");
    assert_eq!(log, "A:1 A:2 A:3 A:open");
}

#[test]
fn a_flag_that_must_be_clear_makes_a_segment_not_for_the_door() {
    let door = with(a(), |t| t.flags = t.flags.and_clear(TcpFlags::ACK));
    let log = play(&[door], "7000 9000/SA 8000 9000");
    assert_eq!(log, "A:1 A:2 A:3 A:open");
}

#[test]
fn the_other_protocol_is_invisible_unless_another_door_names_it() {
    let alone = [syn("A", "7000:udp,8000:udp,9000:udp")];
    let words = "7000:udp 9000 8000:udp 9000:udp";
    assert_eq!(play(&alone, words), "A:1 A:2 A:3 A:open");
    let log = play(&[alone[0].clone(), syn("B", "1,9000")], words);
    assert_eq!(log, "A:1 A:1-broken-by-9000");
}

#[test]
fn a_udp_port_of_another_door_breaks_a_syn_attempt() {
    let log = play(&[a(), syn("B", "1:udp,2:udp")], "7000 2:udp 8000 9000");
    assert_eq!(log, "A:1 A:1-broken-by-2:udp");
}

#[test]
fn each_door_judges_a_packet_by_its_own_flags() {
    let doors = [a(), any("B", "7000,8000,9000")];
    let log = play(&doors, "7000 9000/A 8000 9000");
    assert_eq!(log, "A:1 B:1 B:1-broken-by-9000 A:2 A:3 A:open");
}

#[test]
fn the_time_of_a_sequence_is_exact() {
    let second = |t: &mut Trigger| t.seq_timeout = Duration::from_secs(1);
    let door = [with(syn("A", "7000,8000"), second)];
    let log = play(&door, "@900 7000 @1050 8000");
    assert_eq!(log, "A:1 A:2 A:open");
    let log = play(&door, "@20 7000 @1019 8000");
    assert_eq!(log, "A:1 A:2 A:open");
    let log = play(&door, "@20 7000 @1020 8000");
    assert_eq!(log, "A:1 A:1-late@1020");
}

#[test]
fn a_timeout_is_noticed_without_a_packet_and_before_the_packet_that_starts_anew() {
    let door = with(a(), |t| t.seq_timeout = Duration::from_secs(1));
    let mut world = World::new(&[door]);
    assert_eq!(
        world.knock("7000 8000 @3000").log(),
        "A:1 A:2 A:2-late@1000"
    );
    assert_eq!(world.engine.poll_timeout(), None);
    assert_eq!(world.knock("7000 @5000 7000 8000 9000").log(), {
        "A:1 A:1-late@4000 A:1 A:2 A:3 A:open"
    });
}

#[test]
fn a_packet_notices_what_is_late_even_if_nobody_asked_for_timeouts() {
    let door = with(a(), |t| t.seq_timeout = Duration::from_secs(1));
    let mut world = World::new(&[door]);
    world.knock("7000 8000");
    world.now = 2000;
    assert_eq!(world.knock("7000").log(), "A:1 A:2 A:2-late@1000 A:1");
}

#[test]
fn a_door_without_time_opens_only_if_it_has_one_step() {
    let zero = |door| with(door, |t| t.seq_timeout = Duration::ZERO);
    let log = play(&[zero(syn("A", "1,2")), zero(syn("B", "1"))], "1 2");
    assert_eq!(log, "A:1 B:1 B:open A:1-late@0");
    let mut world = World::new(&[zero(syn("A", "1,2"))]);
    let now = world.time();
    for port in [1, 2] {
        let packet = Packet {
            source: HOST[0],
            destination: HOST[0],
            protocol: Protocol::Tcp,
            source_port: 1,
            destination_port: port,
            flags: TcpFlags::SYN,
        };
        world.engine.handle_packet(&packet, true, now);
    }
    world.listen("");
    assert_eq!(world.openings(), 0);
}

#[test]
fn a_door_with_a_target_listens_there_and_nowhere_else() {
    let at = |target: &str| {
        let target = target.parse().unwrap();
        with(syn("A", "1,2"), |t| t.targets = alloc::vec![target])
    };
    assert_eq!(play(&[at("10.77.0.3")], "1 2"), "");
    assert_eq!(
        play(&[at("10.77.0.3")], "1>10.77.0.3 2 2>10.77.0.3"),
        "A:1 A:2 A:open"
    );
    assert_eq!(
        play(&[at("192.0.2.9")], "1>192.0.2.9 2>192.0.2.9"),
        "A:1 A:2 A:open"
    );
    assert_eq!(
        play(&[at("192.0.2.0/24")], "1>192.0.2.9 2>192.0.2.8"),
        "A:1 A:2 A:open"
    );
}

#[test]
fn an_echo_is_heard_by_doors_without_a_target_alone() {
    let destination: IpAddr = "10.77.0.2".parse().unwrap();
    let with_target = with(syn("T", "1,1"), |t| {
        t.targets = alloc::vec![Target::host(destination)];
    });
    let mut world = World::new(&[syn("A", "1,1"), with_target]);
    for n in 0..2 {
        let packet = Packet {
            source: "10.77.0.1".parse().unwrap(),
            destination,
            protocol: Protocol::Tcp,
            source_port: 40_000,
            destination_port: 1,
            flags: TcpFlags::SYN,
        };
        let now = Timestamp::from_millis(n);
        world.engine.handle_packet(&packet, false, now);
        world.engine.handle_echo(&packet, now);
    }
    world.listen("10.77.0.1");
    assert_eq!(world.log(), "T:1 A:1 T:2 T:open A:2 A:open");
}

#[test]
fn a_door_without_a_target_listens_at_all_addresses_of_the_host() {
    let log = play(&[a()], "7000 8000>10.77.0.3 9000");
    assert_eq!(log, "A:1 A:2 A:3 A:open");
    assert_eq!(play(&[a()], "7000>192.0.2.9 8000>192.0.2.9"), "");
}

#[test]
fn a_port_that_is_named_only_for_another_target_is_invisible() {
    let elsewhere = "10.77.0.3".parse().unwrap();
    let b = with(syn("B", "1,2"), |t| t.targets = alloc::vec![elsewhere]);
    let log = play(&[a(), b.clone()], "7000 2 8000 9000");
    assert_eq!(log, "A:1 A:2 A:3 A:open");
    let log = play(&[a(), b], "7000 2>10.77.0.3 8000 9000");
    assert_eq!(log, "A:1 A:1-broken-by-2");
}

#[test]
fn ipv6_knocks_as_ipv4_does_and_they_are_two_sources() {
    let v6 = |port: u16| format!("{port}>fd77::2<fd77::1");
    let words = format!("{} 7000 {} 8000 {} 9000", v6(7000), v6(8000), v6(9000));
    assert_eq!(World::new(&[a()]).knock(&words).openings(), 2);
    let mapped = "7000<10.77.0.1 8000<::ffff:10.77.0.1 9000<::ffff:10.77.0.1";
    assert_eq!(play(&[a()], mapped), "A:1");
}

#[test]
fn any_source_address_may_knock() {
    for source in ["127.0.0.1", "0.0.0.0", "10.77.0.2", "255.255.255.255"] {
        let words = format!("7000<{source} 8000<{source} 9000<{source}");
        assert_eq!(World::new(&[a()]).knock(&words).openings(), 1, "{source}");
    }
}

#[test]
fn two_clients_behind_one_address_get_in_when_they_knock_in_lockstep() {
    let log = play(&[a()], "7000 7000 8000 8000 9000 9000");
    assert_eq!(log, "A:1 A:2 A:3 A:open");
}

#[test]
fn port_zero_is_a_port() {
    assert_eq!(play(&[any("A", "0,0:udp")], "0 0:udp"), "A:1 A:2 A:open");
}

#[test]
fn a_door_that_closes_with_the_reverse_sequence_works_at_once_and_over_and_over() {
    let doors = [a(), syn("C", "9000,8000,7000")];
    let mut world = World::new(&doors);
    let there_and_back = "7000 8000 9000 9000 8000 7000 ";
    assert_eq!(world.knock(&there_and_back.repeat(5)).openings(), 10);
}
