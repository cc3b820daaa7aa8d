mod hooks;
mod native;
mod spa;

use super::*;
use crate::door::Door;
use crate::door::SequenceSource;
use crate::sequence::Step;
use alloc::format;
use alloc::string::ToString;
use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn services(name: &str, protocol: Protocol) -> Option<u16> {
    match (name, protocol) {
        ("ssh", Protocol::Tcp) => Some(22),
        ("domain", _) => Some(53),
        ("914c-g", _) => Some(211),
        _ => None,
    }
}

fn read(text: &str) -> Parsed {
    parse(text.as_bytes(), &services)
}

/// The configuration of a file without any mistake.
fn clean(text: &str) -> Config {
    let parsed = read(text);
    assert_eq!(parsed.diagnostics, []);
    parsed.config.unwrap()
}

/// The configuration of a file with warnings only.
fn accepted(text: &str) -> Config {
    let parsed = read(text);
    assert!(!parsed.diagnostics.is_empty());
    parsed.config.unwrap()
}

/// A door of the lines `body`.
fn door(body: &str) -> Door {
    clean(&format!("[A]\n{body}\n")).doors.remove(0)
}

/// The mistakes of `text`, one a line: `what at `these bytes`: message`.
fn mistakes(text: &str) -> String {
    let mut out = String::new();
    for d in read(text).diagnostics {
        let at = &text[d.span];
        writeln!(out, "{:?} `{at}`: {}", d.severity, d.message).unwrap();
    }
    out
}

fn steps(door: &Door) -> String {
    match &door.trigger.source {
        SequenceSource::Fixed(sequence) => sequence.to_string(),
        SequenceSource::OneTime(path) => format!("file {path}"),
        SequenceSource::None => "none".into(),
    }
}

#[test]
fn the_classic_file_is_understood() {
    let config = clean(
        "[options]\n\tlogfile = /var/log/knockd.log\n\n\
         [openSSH]\n\tsequence    = 7000,8000,9000\n\tseq_timeout = 5\n\
         \tcommand     = /sbin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n\
         \ttcpflags    = syn\n\n\
         [closeSSH]\n\tsequence = 9000,8000,7000\n\tseq_timeout = 5\n\ttcpflags = syn\n",
    );
    assert_eq!(
        config.options.logfile.as_deref(),
        Some("/var/log/knockd.log")
    );
    let [open, close] = &config.doors[..] else {
        panic!("two doors")
    };
    assert_eq!(
        (open.name.as_str(), close.name.as_str()),
        ("openSSH", "closeSSH")
    );
    assert_eq!(steps(open), "7000,8000,9000");
    assert_eq!(open.trigger.seq_timeout, Duration::from_secs(5));
    assert_eq!(open.trigger.flags.to_string(), "syn");
    let command = open.action.v6.as_ref().unwrap().start.as_str();
    assert!(command.starts_with("/sbin/iptables -A INPUT -s %IP%"));
}

#[test]
fn what_is_not_said_is_as_in_the_original() {
    let door = door("sequence = 1");
    assert_eq!(door.trigger.seq_timeout, Duration::from_secs(25));
    assert_eq!(door.action.cmd_timeout, Duration::from_secs(10));
    assert!(door.trigger.flags.is_any() && door.trigger.targets.is_empty());
    assert_eq!((door.action.v4, door.action.v6), (None, None));
    assert_eq!(clean("").options, Options::default());
}

#[test]
fn keys_have_any_case_any_blanks_and_their_old_spellings() {
    let door = door("\t SeQuence=1 ,\t2:UDP\r\n  TimeOut =3\n COMMAND_6= a = b # c \n command=x");
    assert_eq!(steps(&door), "1,2:udp");
    assert_eq!(door.trigger.seq_timeout, Duration::from_secs(3));
    assert_eq!(door.action.v6.unwrap().start.as_str(), "a = b # c");
    assert_eq!(door.action.v4.unwrap().start.as_str(), "x");
}

#[test]
fn lines_end_with_or_without_a_carriage_return_or_not_at_all() {
    let unix = clean("[options]\nusesyslog\n[A]\nsequence = 1,2\n");
    assert_eq!(
        clean("[options]\r\nusesyslog\r\n[A]\r\nsequence = 1,2"),
        unix
    );
    assert!(unix.options.syslog);
}

#[test]
fn comments_are_lines_and_may_hold_any_bytes() {
    let text = b"# caf\xe9\0\n   # [A]\n\t\n[A]\nsequence = 1\n";
    let parsed = parse(text, &services);
    assert_eq!(parsed.diagnostics, []);
    assert_eq!(parsed.config.unwrap().doors.len(), 1);
}

#[test]
fn names_of_doors_are_not_trimmed_and_may_repeat() {
    let config = clean("[ a ]\nsequence=1\n[a]]\nsequence=2\n[ a ]\nsequence=3\n");
    let names: Vec<_> = config.doors.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, [" a ", "a]", " a "]);
}

#[test]
fn options_may_come_anywhere_and_again() {
    let config = clean(
        "[A]\nsequence=1\n[options]\nstrict = yes\n[B]\nsequence=2\nstrict = no\n\
         [options]\npidfile = /p\n",
    );
    let strict: Vec<_> = config.doors.iter().map(|d| d.trigger.strict).collect();
    assert_eq!(strict, [true, false]);
    assert_eq!(config.options.pidfile.as_deref(), Some("/p"));
}

#[test]
fn options_are_spelled_one_way_and_others_are_doors() {
    assert_eq!(
        mistakes("[Options]\nsequence=1\n[ options ]\nsequence=2\n"),
        "Warning `[Options]`: `[Options]` is a door of that name\n\
         Warning `[ options ]`: `[ options ]` is a door of that name\n"
    );
}

#[test]
fn the_new_options_are_read() {
    let options = clean(
        "[options]\ninterface = eth0, ppp0\nlog_format = JSON\nlog_level = debug\n\
         max_attempts = 4194304\nmax_commands = 1024\nusesyslog = true\nlogfile =\n",
    )
    .options;
    assert_eq!(options.interfaces, ["eth0", "ppp0"]);
    assert_eq!(options.log_format, LogFormat::Json);
    assert_eq!(options.log_level, LogLevel::Debug);
    assert_eq!(
        (options.max_attempts, options.max_commands),
        (4_194_304, 1024)
    );
    assert!(options.syslog && options.logfile.is_none());
}

#[test]
fn the_new_keys_of_a_door_are_read() {
    let door = door(
        "sequence = ssh, domain:udp, 914c-g\nstrict\ncooldown = 1500ms\nuser = nobody\n\
         tcpflags = syn, !ack\ntarget = 192.0.2.1, FD77:0::/64\nseq_timeout = 2m\ncmd_timeout = 1h",
    );
    assert_eq!(steps(&door), "22,53:udp,211");
    assert!(door.trigger.strict);
    assert_eq!(door.trigger.cooldown, Duration::from_millis(1500));
    assert_eq!(door.action.user.as_deref(), Some("nobody"));
    assert_eq!(door.trigger.flags.to_string(), "syn,!ack");
    let targets: Vec<_> = door
        .trigger
        .targets
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(targets, ["192.0.2.1", "fd77::/64"]);
    assert_eq!(door.trigger.seq_timeout, Duration::from_secs(120));
    assert_eq!(door.action.cmd_timeout, Duration::from_secs(3600));
}

#[test]
fn flags_of_several_lines_add_up() {
    let door = door("sequence = 1\ntcpflags = syn,ack\nTCPFLAGS = !ack,fin");
    assert_eq!(door.trigger.flags.to_string(), "fin,syn,!ack");
}

#[test]
fn each_family_has_its_commands() {
    let run = |body: &str| {
        let door = door(&format!("sequence = 1\n{body}"));
        let of = |ip| {
            let commands = door.action.for_source(ip)?;
            let stop = commands.stop.as_ref().map_or("-", |t| t.as_str());
            Some(format!("{} {stop}", commands.start))
        };
        (of(V4).unwrap_or_default(), of(V6).unwrap_or_default())
    };
    let both = |v4: &str, v6: &str| (v4.to_string(), v6.to_string());
    assert_eq!(run("command = a"), both("a -", "a -"));
    assert_eq!(run("command = a\nstop_command = s"), both("a s", "a s"));
    assert_eq!(run("command = a\ncommand_6 = b"), both("a -", "b -"));
    assert_eq!(run("command = a\ncommand_6 ="), both("a -", ""));
    assert_eq!(
        run("command = a\nstop_command = s\nstop_command_6 ="),
        both("a s", "a -")
    );
    assert_eq!(run("command_6 = b\nstop_command = s"), both("", "b s"));
    assert_eq!(run("command =\ncommand_6 = b"), both("", "b -"));
}

#[test]
fn a_stop_command_alone_runs_nothing_and_is_told() {
    let text = "[A]\nsequence = 1\nstop_command = s\n[B]\nsequence = 2\n\
                command = a\ncommand_6 =\nstop_command_6 = t\n";
    let config = accepted(text);
    assert_eq!(config.doors[0].action.v4, None);
    assert_eq!(
        mistakes(text),
        "Warning `stop_command = s`: this stop command never runs\n\
         Warning `stop_command_6 = t`: this stop command never runs\n"
    );
}

#[test]
fn the_last_of_a_repeated_key_counts() {
    let text = "[options]\nlogfile = /a\n[A]\nsequence = 1\ncommand = a\nstart_command = b\n\
                one_time_sequences = /f\n[options]\nlogfile = /b\n";
    let config = accepted(text);
    assert_eq!(config.options.logfile.as_deref(), Some("/b"));
    assert_eq!(
        config.doors[0].action.v4.as_ref().unwrap().start.as_str(),
        "b"
    );
    assert_eq!(steps(&config.doors[0]), "file /f");
    assert_eq!(
        mistakes(text),
        "Warning `logfile = /a`: a later `logfile` takes the place of this\n\
         Warning `sequence = 1`: a later `one_time_sequences` takes the place of this\n\
         Warning `command = a`: a later `start_command` takes the place of this\n"
    );
}

#[test]
fn syslog_counts_in_a_door_too_with_a_warning() {
    let config = accepted("[A]\nusesyslog\nsequence = 1\n");
    assert!(config.options.syslog);
}

#[test]
fn what_the_original_read_as_it_was_meant_is_accepted_with_a_warning() {
    for (written, meant) in [
        ("+7000", "7000"),
        ("010", "10"),
        ("0,1", "0,1"),
        ("7000,8000 # x, y", "7000,8000"),
        ("7000,8000:tcp #", "7000,8000"),
    ] {
        let config = accepted(&format!("[A]\nsequence = {written}\n"));
        assert_eq!(steps(&config.doors[0]), meant, "{written}");
    }
    let config = accepted("[A]\nsequence = 1\nseq_timeout = -5\ncmd_timeout = 3 # s\n");
    assert_eq!(config.doors[0].trigger.seq_timeout, Duration::ZERO);
    assert_eq!(config.doors[0].action.cmd_timeout, Duration::from_secs(3));
}

#[test]
fn every_wrong_step_of_a_sequence_is_an_error_of_its_own() {
    assert_eq!(
        mistakes(
            "[A]\nsequence = 70000, -1,7000-7005,abc,0x1b58,,7000:,7000:sctp,1:udp:2,:tcp,7x,1 2,\n"
        ),
        "Error `70000`: there is no port 70000\n\
         Error `-1`: there is no port -1\n\
         Error `7000-7005`: a step is one port, not a range\n\
         Error `abc`: unknown tcp service `abc`\n\
         Error `0x1b58`: ports are decimal\n\
         Error ``: a step is missing\n\
         Error ``: the protocol is missing\n\
         Error `sctp`: unknown protocol `sctp`\n\
         Error `udp:2`: unknown protocol `udp:2`\n\
         Error ``: the port is missing\n\
         Error `7x`: `7x` is no port\n\
         Error `1 2`: `1 2` is no port\n\
         Error ``: a step is missing\n"
    );
}

#[test]
fn a_service_is_looked_up_for_the_protocol_of_its_step() {
    assert_eq!(
        mistakes("[A]\nsequence = ssh,ssh:udp\n"),
        "Error `ssh`: unknown udp service `ssh`\n"
    );
}

#[test]
fn a_sequence_has_at_most_32_steps() {
    let ports = |n: usize| (1..=n).map(|p| p.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(
        steps(&door(&format!("sequence = {}", ports(32)))),
        ports(32)
    );
    assert_eq!(
        mistakes(&format!("[A]\nsequence = {}\n", ports(34))),
        "Error `33,34`: too many steps\n"
    );
}

#[test]
fn an_unreadable_line_is_one_error_and_no_consequence() {
    let text = b"[A]\nsequence = \xff\ncommand = a\0b\n[\xfe]\nsequence = 1\n";
    let parsed = parse(text, &services);
    let spans: Vec<_> = parsed.diagnostics.iter().map(|d| d.span.clone()).collect();
    assert_eq!(spans, [15..16, 28..29, 32..33]);
}

#[test]
fn a_byte_order_mark_is_skipped_with_a_warning() {
    let config = accepted("\u{feff}[A]\nsequence = 1\n");
    assert_eq!(config.doors.len(), 1);
}

#[test]
fn a_long_line_is_read_whole_with_a_warning() {
    let value = "x".repeat(4000);
    let spaces = " ".repeat(4000);
    let config = accepted(&format!("[A]\nsequence = 1\ncommand = {spaces}{value}\n"));
    assert_eq!(
        config.doors[0].action.v4.as_ref().unwrap().start.as_str(),
        value
    );
}

#[test]
fn there_are_no_more_doors_than_ids() {
    let doors = |n: usize| "[A]\nsequence=1\n".repeat(n);
    assert!(read(&doors(65_535)).config.is_some());
    assert_eq!(mistakes(&doors(65_537)), "Error `[A]`: too many doors\n");
}

#[test]
fn the_parts_are_found_again_in_the_file() {
    let text = "[options]\nusesyslog\n[A]\nsequence = 1\nsequence =  2 \n";
    let places = read(text).places;
    assert_eq!(&text[places.options[0].line.clone()], "usesyslog");
    assert_eq!(&text[places.doors[0].header.clone()], "[A]");
    assert_eq!(&text[places.doors[0].value(Key::Sequence).unwrap()], "2");
    assert_eq!(places.doors[0].value(Key::User), None);
}

#[test]
fn ports_are_steps_of_their_protocol() {
    let door = door("sequence = 1:tcp, 2 : udp");
    let SequenceSource::Fixed(sequence) = door.trigger.source else {
        panic!("a sequence")
    };
    assert_eq!(sequence.steps(), [Step::tcp(1), Step::udp(2)]);
}

/// The bound is for a slow machine and a build without optimization.
#[test]
fn ten_thousand_doors_are_read_in_a_moment() {
    extern crate std;
    let text = |doors: u32| {
        let mut text = String::from("[options]\nusesyslog\n");
        for i in 0..doors {
            let [.., b, c] = i.to_be_bytes();
            writeln!(
                text,
                "[door{i}]\nsequence = 7{b:03},8{c:03}:udp,9000\nseq_timeout = 5\n\
                 tcpflags = syn\nstart_command = iptables -I INPUT -s %IP% -j ACCEPT\n\
                 cmd_timeout = 10\nstop_command = iptables -D INPUT -s %IP% -j ACCEPT"
            )
            .unwrap();
        }
        text
    };
    let text = text(10_000);
    let start = std::time::Instant::now();
    assert_eq!(clean(&text).doors.len(), 10_000);
    let took = start.elapsed();
    std::eprintln!("10,000 doors, {} bytes: {took:?}", text.len());
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_label_of_an_interface_is_the_interface() {
    let config = accepted("[options]\ninterface = eth0:1, ppp0\n");
    assert_eq!(config.options.interfaces, ["eth0", "ppp0"]);
}
