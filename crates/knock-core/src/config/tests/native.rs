//! The keys of doors that the kernel opens.

use super::*;
use crate::door::{Native, Reopen, Widening};

/// What a door with this `open` opens, with the diagnostics.
fn opens(open: &str) -> String {
    let text = format!("[A]\nsequence = 1\nopen = {open}\n");
    let config = read(&text).config;
    let native = config.and_then(|mut config| config.doors.remove(0).action.native);
    let open = native.map(|native| native.open).unwrap_or_default();
    let open: Vec<String> = open.iter().map(ToString::to_string).collect();
    open.join(",") + "\n" + &mistakes(&text)
}

#[test]
fn a_native_door_has_its_defaults() {
    let door = door("sequence = 1\nopen = tcp/22");
    let native = door.action.native.unwrap();
    assert_eq!(native.open_for, Duration::from_secs(30));
    assert_eq!(native.open_to, Widening { v4: 32, v6: 128 });
    assert_eq!((door.action.v4, door.action.close), (None, None));
    assert_eq!(door.action.reopen, Reopen::Run);
}

#[test]
fn all_keys_of_a_native_door_are_read() {
    let config = clean(
        "[close]\nsequence = 2\nclose = ssh\nkill\n\
         [ssh]\nsequence = 1\nopen = tcp/ssh, UDP / 51820 ,tcp/8000 - 8010, ICMP\n\
         open_for = 2m\nopen_to = /24,/64\ncommand = a\nstop_command = b\nreopen = EXTEND\n",
    );
    let [close, ssh] = &config.doors[..] else {
        panic!("two doors")
    };
    let closing = close.action.close.as_ref().unwrap();
    assert_eq!((closing.door.as_str(), closing.kill), ("ssh", true));
    let native = ssh.action.native.as_ref().unwrap();
    let open: Vec<_> = native.open.iter().map(ToString::to_string).collect();
    assert_eq!(open, ["tcp/22", "udp/51820", "tcp/8000-8010", "icmp"]);
    assert_eq!(native.open_for, Duration::from_secs(120));
    assert_eq!(native.open_to, Widening { v4: 24, v6: 64 });
    assert_eq!(ssh.action.reopen, Reopen::Extend);
    assert!(ssh.action.v4.is_some());
}

#[test]
fn what_overlaps_is_one_with_a_warning() {
    let overlaps = |at| format!("Warning `{at}`: `{at}` overlaps what stands before it\n");
    assert_eq!(
        opens("tcp/22, tcp/22"),
        format!("tcp/22\n{}", overlaps("tcp/22"))
    );
    assert_eq!(
        opens("tcp/1-5,udp/3,tcp/9,icmp,tcp/4-9"),
        format!("tcp/1-9,udp/3,icmp\n{}", overlaps("tcp/4-9"))
    );
    assert_eq!(opens("icmp,icmp"), format!("icmp\n{}", overlaps("icmp")));
    assert_eq!(opens("tcp/22,tcp/23"), "tcp/22,tcp/23\n");
}

#[test]
fn a_door_opens_at_most_so_many_ports() {
    let max = u16::try_from(Native::MAX_PORTS).unwrap();
    assert_eq!(opens(&format!("tcp/1-{max}")), format!("tcp/1-{max}\n"));
    assert_eq!(
        opens(&format!("tcp/1-{max},udp/1,tcp/x")),
        "\nError `udp/1`: too many ports\n"
    );
    assert_eq!(
        opens("tcp/1-65535"),
        "\nError `tcp/1-65535`: too many ports\n"
    );
    let same = "icmp,".repeat(Native::MAX_PORTS + 5);
    assert!(opens(&same).ends_with("Error `icmp`: too many ports\n"));
}

#[test]
fn the_bounds_of_open_for_hold() {
    for (time, problem) in [
        ("1s", ""),
        ("8784h", ""),
        ("1500ms", ""),
        ("999ms", "Error `999ms`: the time is too short\n"),
        ("0", "Error `0`: the time is too short\n"),
        ("8785h", "Error `8785h`: the time is too long\n"),
        ("-1", "Error `-1`: a time cannot be negative\n"),
    ] {
        let text = format!("[A]\nsequence = 1\nopen = icmp\nopen_for = {time}\n");
        assert_eq!(mistakes(&text), problem);
    }
}

#[test]
fn the_number_of_a_prefix_tells_its_family() {
    for (to, v4, v6) in [
        ("/24", 24, 128),
        ("/64", 32, 64),
        ("/64, / 24", 24, 64),
        ("/32,/33", 32, 33),
        ("/1,/128", 1, 128),
    ] {
        let door = door(&format!("sequence = 1\nopen = icmp\nopen_to = {to}"));
        assert_eq!(door.action.native.unwrap().open_to, Widening { v4, v6 });
    }
}

#[test]
fn a_door_that_is_closed_may_come_later_and_be_several() {
    let config = clean(
        "[c]\nsequence = 1\nclose = a\n[a]\nsequence = 2\nopen = icmp\n\
         [a]\nsequence = 3\nopen = tcp/22\n",
    );
    assert_eq!(config.doors[0].action.close.as_ref().unwrap().door, "a");
    clean("[a]\nsequence = 1\nclose = a\n[a]\nsequence = 2\nopen = icmp\n");
}

#[test]
fn a_door_that_cannot_be_closed_is_an_error() {
    let doors =
        "[ssh]\nsequence = 1\nopen = tcp/22\n[web]\nsequence = 2\ncommand = x\n[c]\nsequence = 3\n";
    let close = |name: &str| mistakes(&format!("{doors}close = {name}\n"));
    assert_eq!(close("ssh"), "");
    assert_eq!(close("shs"), "Error `shs`: there is no door `shs`\n");
    assert_eq!(
        close("web"),
        "Error `web`: the door `web` has no `open`, so there is nothing to close\n"
    );
    assert_eq!(close("c"), "Error `c`: a door cannot close itself\n");
    assert_eq!(
        close("ssh\nopen = tcp/80\nclose = c"),
        "Warning `close = ssh`: a later `close` takes the place of this\n\
         Error `c`: a door cannot close itself\n"
    );
}

#[test]
fn a_mistake_in_open_is_no_mistake_of_who_closes_it() {
    assert_eq!(
        mistakes("[a]\nsequence = 1\nopen = tcp\n[b]\nsequence = 2\nclose = a\n"),
        "Error `tcp`: `tcp` has no ports\n"
    );
}

#[test]
fn keys_without_meaning_are_told() {
    assert_eq!(
        mistakes(
            "[a]\nsequence = 1\nopen_for = 1m\nopen_to = /24\nreopen = extend\nkill = no\n\
             [b]\nsequence = 2\nopen = icmp\ncmd_timeout = 60\n\
             [c]\nsequence = 3\ncommand = x\nreopen = extend\n\
             [d]\nsequence = 4\ncommand = x\nreopen = run\nkill\n"
        ),
        "Warning `open_for = 1m`: this has no meaning in a door without `open`\n\
         Warning `open_to = /24`: this has no meaning in a door without `open`\n\
         Warning `reopen = extend`: this has no meaning in a door without commands\n\
         Warning `cmd_timeout = 60`: this says nothing of how long `open` opens\n\
         Warning `reopen = extend`: without a stop command there is no time to extend\n\
         Error `kill`: `kill` ends no connection in a door without `close`\n"
    );
}

#[test]
fn where_the_journal_is_and_what_a_stop_does_is_read() {
    let options = |text: &str| clean(&format!("[options]\n{text}\n")).options;
    let none = options("");
    assert_eq!(none.journal.path(), Some(JournalPlace::USUAL));
    assert_eq!(
        (none.journal, none.on_stop),
        (JournalPlace::Usual, OnStop::Close)
    );
    let options = options("journal = Off\non_stop = keep");
    assert_eq!(
        (options.journal.path(), options.on_stop),
        (None, OnStop::Keep)
    );
    for wrong in ["none", "journal", "./j", "no"] {
        assert_eq!(
            mistakes(&format!("[options]\njournal = {wrong}\n")),
            format!("Error `{wrong}`: `{wrong}` is no path from / on\n")
        );
    }
}

/// The bound is for a slow machine and a build without optimization.
#[test]
fn ten_thousand_doors_that_close_and_open_are_read_in_a_moment() {
    extern crate std;
    let mut text = String::new();
    for i in 0..10_000 {
        writeln!(
            text,
            "[door{i}]\nsequence = 7,8,9\nopen = tcp/1-900, udp/{}\nclose = door{}x",
            i + 1,
            i + 1
        )
        .unwrap();
    }
    let start = std::time::Instant::now();
    assert!(read(&text).config.is_none());
    let config = read(&text.replace('x', "")).config;
    assert!(config.is_none(), "the last one closes none");
    let parsed = read(&(text.replace('x', "") + "[door10000]\nsequence = 1\nopen = icmp\n"));
    let config = parsed.config.unwrap();
    assert!(!lint(&config, &parsed.places).is_empty());
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
}
