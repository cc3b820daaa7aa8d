//! KNOCKD.md 5: the rows that are about matching, by their numbers. What stands in brackets there
//! for an F row is what is proved here. Rows of other numbers are about other parts.

use super::*;

/// `A` without tcpflags.
fn a_any() -> Door {
    any("A", "7000,8000,9000")
}

fn within(seconds: u64, door: Door) -> Door {
    with(door, |t| t.seq_timeout = Duration::from_secs(seconds))
}

fn at(target: &str, door: Door) -> Door {
    let target = target.parse().unwrap();
    with(door, |t| t.targets = alloc::vec![target])
}

#[test]
fn every_row_about_matching() {
    let udp = || any("A", "7000:udp,8000:udp,9000:udp");
    let xmas = TcpFlags::FIN.union(TcpFlags::PSH).union(TcpFlags::URG);
    let with_flags = |door, flags| with(door, |t| t.flags = FlagMatch::ANY.and_set(flags));
    let v6 = |port: u16| format!("{port}>fd77::2<fd77::1 ");
    let v6_knock = [7000, 8000, 9000].map(v6).concat();
    let opens = "A:1 A:2 A:3 A:open";
    let rows: &[(u8, &[Door], &str, &str)] = &[
        (1, &[a()], "7000 8000 9000", opens),
        (2, &[a()], "7000 5555 8000 1234 9000", opens),
        (3, &[a()], "7000 9000 8000 9000", "A:1 A:1-broken-by-9000"),
        (
            4,
            &[a()],
            "7000 9000 7000 8000 9000",
            "A:1 A:1-broken-by-9000 A:1 A:2 A:3 A:open",
        ),
        (5, &[a()], "7000 7000 8000 9000", opens),
        (
            7,
            &[a()],
            "7000 8000 7000 8000 9000",
            "A:1 A:2 A:2-broken-by-7000 A:1 A:2 A:3 A:open",
        ),
        (9, &[syn("A", "7000,7000,7000")], "7000 7000 7000", opens),
        (
            10,
            &[syn("A", "7000")],
            "7000 7000",
            "A:1 A:open A:1 A:open",
        ),
        (
            11,
            &[a(), syn("B", "7100,7200,7300")],
            "7000 7100 7200 7300",
            "A:1 A:1-broken-by-7100 B:1 B:2 B:3 B:open",
        ),
        (
            13,
            &[a(), syn("B", "7000,8000,9500")],
            "7000 8000 9500",
            "A:1 B:1 A:2 B:2 A:2-broken-by-9500 B:3 B:open",
        ),
        (
            15,
            &[syn("B", "7000,8000"), a()],
            "7000 8000 9000",
            "B:1 A:1 B:2 B:open A:2 A:3 A:open",
        ),
        (
            16,
            &[a(), a()],
            "7000 8000 9000",
            "A:1 A:1 A:2 A:2 A:3 A:open A:3 A:open",
        ),
        (
            20,
            &[a_any()],
            "7000 9000/A 8000 9000",
            "A:1 A:1-broken-by-9000",
        ),
        (21, &[a_any()], "7000/R 8000/F 9000/A", opens),
        (22, &[a()], "7000/SA 8000/SA 9000/SA", opens),
        (
            24,
            &[with_flags(syn("A", "7000,8000"), xmas)],
            "7000/FPU 8000/FPU",
            "A:1 A:2 A:open",
        ),
        (
            26,
            &[with_flags(
                syn("A", "2222:udp,3333:tcp,4444:udp"),
                TcpFlags::SYN.union(TcpFlags::ACK),
            )],
            "2222:udp 3333/SA 4444:udp",
            opens,
        ),
        (27, &[udp()], "7000:udp 9000 8000:udp 9000:udp", opens),
        (
            30,
            &[within(2, a())],
            "7000 @1200 8000 @2400 9000",
            "A:1 A:2 A:2-late@2000",
        ),
        (32, &[within(1, a())], "7000 @3000", "A:1 A:1-late@1000"),
        (
            33,
            &[within(1, syn("A", "7000,8000"))],
            "7000 @2100 7000 8000",
            "A:1 A:1-late@1000 A:1 A:2 A:open",
        ),
        (
            35,
            &[at("10.77.0.3", a())],
            "7000 8000 9000 7000>10.77.0.3 8000>10.77.0.3 9000>10.77.0.3",
            opens,
        ),
        (
            36,
            &[at("192.0.2.9", a())],
            "7000>192.0.2.9 8000>192.0.2.9 9000>192.0.2.9",
            opens,
        ),
        (
            38,
            &[at("10.77.0.0/24", a())],
            "7000>10.77.0.200 8000>10.77.0.3 9000",
            opens,
        ),
        (
            39,
            &[a()],
            &v6_knock,
            "A:1<fd77::1 A:2<fd77::1 A:3<fd77::1 A:open<fd77::1",
        ),
    ];
    for (row, doors, words, expected) in rows {
        assert_eq!(play(doors, words), *expected, "row {row}: {words}");
    }
}

#[test]
fn row_9_six_packets_open_twice() {
    let door = [syn("A", "7000,7000,7000")];
    assert_eq!(World::new(&door).knock(&"7000 ".repeat(6)).openings(), 2);
}

#[test]
fn row_18_ten_sources_in_lockstep() {
    let words: String = ["7000", "8000", "9000"]
        .iter()
        .flat_map(|port| (1..=10).map(move |n| format!("{port}<10.77.2.{n} ")))
        .collect();
    assert_eq!(World::new(&[a()]).knock(&words).openings(), 10);
}

#[test]
fn row_68_a_reload_in_the_middle_loses_nothing() {
    let mut world = World::new(&[a()]);
    world.knock("7000 8000");
    world.set_doors(&[a()]);
    assert_eq!(world.knock("9000").log(), "A:1 A:2 A:3 A:open");
}

#[test]
fn row_77_each_line_of_a_one_time_file_opens_once() {
    let file = SequenceSource::OneTime("f".to_string());
    let mut world = World::new(&[with(a(), |t| t.source = file)]);
    for line in ["7000,8000", "8000,7000", "7000,9000"] {
        let words = line.replace(',', " ");
        world
            .engine
            .set_sequence(DoorId(0), Some(sequence_of(line)));
        assert_eq!(world.knock(&words).log(), "A:1 A:2 A:open");
        assert_eq!(world.knock(&words).log(), "", "{line} is spent");
    }
}

/// The rest of a handshake is no retransmission of its first packet, so it is not ignored as one.
#[test]
fn row_81_a_handshake_with_an_open_port_in_the_middle_breaks_a_door_that_hears_it() {
    let handshake = "7000 8000 8000/A 8000/FA 8000/A 9000";
    assert_eq!(play(&[a()], handshake), "A:1 A:2 A:3 A:open");
    let broken = play(&[a_any()], handshake);
    assert!(
        broken.starts_with("A:1 A:2") && !broken.contains("open"),
        "{broken}"
    );
    assert_eq!(
        play(&[a_any()], "7000 8000 8000 9000"),
        "A:1 A:2 A:3 A:open"
    );
}

#[test]
fn row_85_a_scan_in_ascending_order_opens_only_a_door_that_is_not_strict() {
    let strict = with(a(), |t| t.strict = true);
    let doors = [within(3600, a()), within(3600, strict)];
    let scan: String = (1..=10_000).map(|port| format!("{port} ")).collect();
    let mut world = World::new(&doors);
    assert_eq!(world.knock(&scan).openings(), 1);
}
