//! What holds for every file, tried on random ones.

use super::keys::KEYS;
use super::*;
use crate::door::{Action, Commands, SequenceSource, Trigger};
use crate::flags::{FlagMatch, TcpFlags};
use crate::sequence::{Sequence, Step};
use crate::target::Target;
use crate::template::Template;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use core::fmt::{Display, Write};
use core::net::IpAddr;
use core::time::Duration;
use proptest::option::of;
use proptest::prelude::*;

const NO_SERVICES: Services<'static> = &|_, _| None;

/// Whatever is in a file, the answer is consistent.
fn check(bytes: &[u8]) {
    let parsed = parse(bytes, NO_SERVICES);
    let is_error = |d: &Diagnostic| d.severity == Severity::Error;
    assert_eq!(
        parsed.config.is_none(),
        parsed.diagnostics.iter().any(is_error)
    );
    let starts: Vec<usize> = parsed.diagnostics.iter().map(|d| d.span.start).collect();
    assert!(starts.is_sorted());
    let mut spans: Vec<Range<usize>> = parsed.diagnostics.into_iter().map(|d| d.span).collect();
    for door in &parsed.places.doors {
        spans.push(door.header.clone());
        spans.extend(
            door.keys
                .iter()
                .flat_map(|k| [k.line.clone(), k.value.clone()]),
        );
    }
    if let Some(config) = &parsed.config {
        assert_eq!(config.doors.len(), parsed.places.doors.len());
        let lints = lint(config, &parsed.places);
        spans.extend(lints.into_iter().map(|d| d.span));
    }
    for span in spans {
        assert!(
            bytes.get(span.clone()).is_some(),
            "{span:?} of {}",
            bytes.len()
        );
    }
}

/// Lines that are nearly right, which random bytes never are.
fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(KEYS).prop_map(|spec| spec.name.to_string());
    let word = prop_oneof![
        "[0-9]{1,6}",
        "[0-9]{1,5}:(tcp|udp|x|)",
        "-?[0-9]{1,9}(ms|s|m|h| |x)?",
        "!?(fin|syn|rst|psh|ack|urg|ece)",
        "(yes|no|json|debug|any|eth0)",
        "[0-9.:a-f]{1,12}(/[0-9]{1,3})?",
        "(iptables|nft|-A|INPUT|%IP%|%ip%|add|\"|;|#)",
        "\\PC{0,5}",
    ];
    let value = prop::collection::vec(word, 0..6);
    let entry = (
        key,
        prop_oneof!["=", " = ", ""],
        value,
        prop_oneof![",", " ", ", "],
    );
    prop_oneof![
        6 => entry.prop_map(|(key, is, words, sep)| key + &is + &words.join(&sep)),
        2 => "\\[(A|B|options|Options|)\\]?( #x)?",
        1 => "\\PC{0,20}",
        1 => "[ \t]*#?",
    ]
}

fn time() -> impl Strategy<Value = Duration> {
    (0..=4_294_967_295_000_u64).prop_map(Duration::from_millis)
}

/// A value that a line can carry: not empty, no blank at its ends, and no line end in it.
fn text() -> impl Strategy<Value = String> {
    "[^\\p{C}\\s]([^\\p{C}]{0,30}[^\\p{C}\\s])?"
}

fn sequence() -> impl Strategy<Value = Sequence> {
    let step = (any::<bool>(), 1..=u16::MAX).prop_map(|(tcp, port)| match tcp {
        true => Step::tcp(port),
        false => Step::udp(port),
    });
    prop::collection::vec(step, 1..=Sequence::MAX).prop_map(|steps| Sequence::new(steps).unwrap())
}

fn flags() -> impl Strategy<Value = FlagMatch> {
    (0..64_u8, 0..64_u8).prop_map(|(set, clear)| {
        let set = FlagMatch::ANY.and_set(TcpFlags::from_bits(set));
        set.and_clear(TcpFlags::from_bits(clear))
    })
}

fn target() -> impl Strategy<Value = Target> {
    (any::<IpAddr>(), 0..=128_u8).prop_map(|(address, prefix)| {
        Target::network(address, prefix).unwrap_or(Target::host(address))
    })
}

fn trigger() -> impl Strategy<Value = Trigger> {
    let source = prop_oneof![
        sequence().prop_map(SequenceSource::Fixed),
        "/[a-z/]{1,20}".prop_map(SequenceSource::OneTime),
    ];
    let targets = prop::collection::vec(target(), 0..4);
    (source, time(), flags(), targets, any::<bool>(), time()).prop_map(
        |(source, seq_timeout, flags, targets, strict, cooldown)| Trigger {
            source,
            seq_timeout,
            flags,
            targets,
            strict,
            cooldown,
        },
    )
}

fn commands() -> impl Strategy<Value = Option<Commands>> {
    of((text(), of(text())).prop_map(|(start, stop)| Commands {
        start: Template::new(start),
        stop: stop.map(Template::new),
    }))
}

fn door() -> impl Strategy<Value = Door> {
    let action = (commands(), commands(), time(), of("[a-z][a-z0-9-]{0,10}")).prop_map(
        |(v4, v6, cmd_timeout, user)| Action {
            v4,
            v6,
            cmd_timeout,
            user,
            ..Action::default()
        },
    );
    let name = text().prop_filter("a door", |name| name != "options");
    (name, trigger(), action).prop_map(|(name, trigger, action)| Door {
        name,
        trigger,
        action,
    })
}

fn options() -> impl Strategy<Value = Options> {
    let names = prop::collection::btree_set("[a-z][a-z0-9]{0,14}", 0..4);
    let format = prop::sample::select(&[LogFormat::Classic, LogFormat::Rfc3339, LogFormat::Json]);
    let level = prop::sample::select(&[LogLevel::Info, LogLevel::Debug]);
    let path = || of("/[a-z/]{1,20}");
    let numbers = (1..=4_194_304_u32, 1..=1024_u32);
    let sandbox = prop::sample::select(&[Sandbox::On, Sandbox::Require, Sandbox::Off]);
    let held = (of("[a-z_][a-z0-9-]{0,10}"), sandbox);
    (
        any::<bool>(),
        path(),
        path(),
        names,
        format,
        level,
        numbers,
        held,
    )
        .prop_map(
            |(syslog, logfile, pidfile, names, log_format, log_level, numbers, held)| Options {
                syslog,
                logfile,
                pidfile,
                interfaces: names.into_iter().collect(),
                log_format,
                log_level,
                max_attempts: numbers.0,
                max_commands: numbers.1,
                user: held.0,
                sandbox: held.1,
            },
        )
}

/// A file that says what `config` says.
fn render(config: &Config) -> String {
    let mut out = String::from("[options]\n");
    let mut line = |key: &str, value: &dyn Display| writeln!(out, "{key} = {value}").unwrap();
    let options = &config.options;
    line("usesyslog", &if options.syslog { "yes" } else { "no" });
    line("logfile", &options.logfile.as_deref().unwrap_or_default());
    line("pidfile", &options.pidfile.as_deref().unwrap_or_default());
    if !options.interfaces.is_empty() {
        line("interface", &options.interfaces.join(", "));
    }
    line("log_format", &format!("{:?}", options.log_format));
    line("log_level", &format!("{:?}", options.log_level));
    line("max_attempts", &options.max_attempts);
    line("max_commands", &options.max_commands);
    line("sandbox", &format!("{:?}", options.sandbox));
    if let Some(user) = &options.user {
        line("user", user);
    }
    for door in &config.doors {
        out.push_str(&render_door(door));
    }
    out
}

fn render_door(door: &Door) -> String {
    let mut out = format!("[{}]\n", door.name);
    let mut line = |key: &str, value: &dyn Display| writeln!(out, "{key} = {value}").unwrap();
    let Trigger { source, flags, .. } = &door.trigger;
    match source {
        SequenceSource::Fixed(sequence) => line("sequence", sequence),
        SequenceSource::OneTime(path) => line("one_time_sequences", path),
    }
    if !flags.is_any() {
        line("tcpflags", flags);
    }
    let targets: Vec<String> = door
        .trigger
        .targets
        .iter()
        .map(ToString::to_string)
        .collect();
    if !targets.is_empty() {
        line("target", &targets.join(","));
    }
    line(
        "seq_timeout",
        &format!("{}ms", door.trigger.seq_timeout.as_millis()),
    );
    line(
        "cooldown",
        &format!("{}ms", door.trigger.cooldown.as_millis()),
    );
    line(
        "cmd_timeout",
        &format!("{}ms", door.action.cmd_timeout.as_millis()),
    );
    line("strict", &u8::from(door.trigger.strict));
    if let Some(user) = &door.action.user {
        line("user", user);
    }
    for (suffix, commands) in [("", &door.action.v4), ("_6", &door.action.v6)] {
        let start = commands.as_ref().map(|c| c.start.to_string());
        let stop = commands.as_ref().and_then(|c| c.stop.as_ref());
        line(
            &format!("start_command{suffix}"),
            &start.unwrap_or_default(),
        );
        let stop: Box<dyn Display> = match stop {
            Some(stop) => Box::new(stop),
            None => Box::new(""),
        };
        line(&format!("stop_command{suffix}"), &*stop);
    }
    out
}

proptest! {
    #[test]
    fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&bytes);
    }

    #[test]
    fn any_lines_have_an_answer(
        lines in prop::collection::vec(line(), 0..30),
        end in prop_oneof!["\n", "\r\n"],
    ) {
        check(lines.join(&end).as_bytes());
    }

    #[test]
    fn any_damage_to_a_file_has_an_answer(
        config in (options(), prop::collection::vec(door(), 0..3)),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (options, doors) = config;
        let mut bytes = render(&Config { options, doors }).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        check(&bytes);
        check(&bytes[..at]);
    }

    #[test]
    fn a_file_says_what_was_written(
        options in options(),
        doors in prop::collection::vec(door(), 0..4),
    ) {
        let config = Config { options, doors };
        let text = render(&config);
        let parsed = parse(text.as_bytes(), NO_SERVICES);
        prop_assert_eq!(parsed.config, Some(config), "{}\n{:?}", text, parsed.diagnostics);
    }
}
