//! What holds for every file, tried on random ones.

use super::keys::KEYS;
use super::*;
use crate::door::{
    Action, Closing, Commands, Hooks, Native, Reopen, SequenceSource, Trigger, Widening,
};
use crate::flags::{FlagMatch, TcpFlags};
use crate::sequence::{Sequence, Step};
use crate::service::{Ports, Service};
use crate::spa::{KeySource, Spa};
use crate::target::Target;
use crate::template::Template;
use crate::time::InUnits;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use core::fmt::{Display, Write};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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
        config
            .doors
            .iter()
            .for_each(|door| check_native(door, config));
        config.doors.iter().for_each(check_spa);
        check_options(&config.options);
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

/// What the types of a native door promise, whatever was written.
fn check_native(door: &Door, config: &Config) {
    if let Some(native) = &door.action.native {
        let ports = native.open.iter().filter_map(|service| service.ports());
        let count: usize = ports.map(|(_, ports)| ports.count()).sum();
        assert!(count <= Native::MAX_PORTS && !native.open.is_empty());
        assert!((Native::MIN_TIME..=Native::MAX_TIME).contains(&native.open_for));
        let Widening { v4, v6 } = native.open_to;
        assert!((1..=32).contains(&v4) && (1..=128).contains(&v6));
        for (i, a) in native.open.iter().enumerate() {
            let mut others = native.open.iter().skip(i + 1);
            assert!(others.all(|b| a.union(*b).is_none()), "{native:?}");
        }
    }
    if let Some(closing) = &door.action.close {
        let mut named = config.doors.iter().filter(|d| d.name == closing.door);
        assert!(named.any(|d| d.action.native.is_some()));
    }
}

/// What the types of a door for sealed packets promise.
fn check_spa(door: &Door) {
    assert!(door.spa.is_some() || door.trigger.source != SequenceSource::None);
    assert!(!door.trigger.strict || door.trigger.source != SequenceSource::None);
    if let Some(spa) = &door.spa {
        assert!((1..=Spa::MAX_SOURCES).contains(&spa.keys.len()));
        let times = Native::MIN_TIME..=Native::MAX_TIME;
        assert!(spa.ttl_max.is_none_or(|time| times.contains(&time)));
    }
}

fn check_options(options: &Options) {
    let Options {
        spa_ports,
        spa_window,
        state_dir,
        revoked_keys,
        audit_file,
        ..
    } = options;
    assert!((1..=Spa::MAX_PORTS).contains(&spa_ports.len()) && !spa_ports.contains(&0));
    assert!((Spa::MIN_WINDOW..=Spa::MAX_WINDOW).contains(spa_window));
    assert!(state_dir.starts_with('/'));
    assert!(audit_file.iter().all(|path| path.starts_with('/')));
    assert!(revoked_keys.iter().all(|path| path.starts_with('/')));
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
        "(tcp|UDP|icmp|ssh|)[/: ]?[0-9]{0,5}[-/:]?[0-9]{0,5}",
        "/?[0-9]{0,3}",
        "(A|B|off|keep|run|extend|/j)",
        "[~/]?[a-z*?.]{0,3}[/~]?[a-z*]{0,3}",
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

fn hooks() -> impl Strategy<Value = Hooks> {
    let hook = || of(text().prop_map(Template::new));
    (hook(), hook(), hook()).prop_map(|(open, close, refuse)| Hooks {
        open,
        close,
        refuse,
    })
}

fn service() -> impl Strategy<Value = Service> {
    let ports = (1..=u16::MAX, 0..100_u16)
        .prop_map(|(first, more)| Ports::new(first, first.saturating_add(more)).unwrap());
    prop_oneof![
        4 => ports.clone().prop_map(Service::Tcp),
        4 => ports.prop_map(Service::Udp),
        1 => Just(Service::Icmp),
    ]
}

fn native() -> impl Strategy<Value = Native> {
    let open = prop::collection::vec(service(), 1..8).prop_map(|all| {
        let mut open: Vec<Service> = Vec::new();
        for service in all {
            if open.iter().all(|other| other.union(service).is_none()) {
                open.push(service);
            }
        }
        open
    });
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap();
    let time = millis(Native::MIN_TIME)..=millis(Native::MAX_TIME);
    // A shorter prefix of IPv6 cannot be written.
    (open, time, 1..=32_u8, 33..=128_u8).prop_map(|(open, millis, v4, v6)| Native {
        open,
        open_for: Duration::from_millis(millis),
        open_to: Widening { v4, v6 },
    })
}

fn spa() -> impl Strategy<Value = Spa> {
    let key = "(~[a-z]{1,8})?(/[a-z.?]{1,8}\\*?){1,3}";
    let keys = prop::collection::btree_set(key, 1..4).prop_map(|keys| {
        keys.iter()
            .map(|key| KeySource::new(key).unwrap())
            .collect()
    });
    let ttl_max = of((1..=31_000_000_u64).prop_map(Duration::from_secs));
    let switches = any::<(bool, bool)>();
    (keys, ttl_max, switches).prop_map(|(keys, ttl_max, (confirm, require_claim))| Spa {
        keys,
        ttl_max,
        confirm,
        require_claim,
    })
}

fn door() -> impl Strategy<Value = Door> {
    let reopen = prop::sample::select(&[Reopen::Run, Reopen::Extend]);
    let user = of("[a-z][a-z0-9-]{0,10}");
    let action = (
        commands(),
        commands(),
        time(),
        user,
        reopen,
        of(native()),
        hooks(),
    )
        .prop_map(
            |(v4, v6, cmd_timeout, user, reopen, native, hooks)| Action {
                v4,
                v6,
                cmd_timeout,
                user,
                reopen,
                native,
                close: None,
                hooks,
            },
        );
    let name = text().prop_filter("a door", |name| name != "options");
    let sealed = (of(spa()), any::<bool>());
    (name, trigger(), sealed, action).prop_map(|(name, mut trigger, (spa, alone), action)| {
        if spa.is_some() && alone {
            (trigger.source, trigger.strict) = (SequenceSource::None, false);
        }
        Door {
            name,
            trigger,
            spa,
            action,
        }
    })
}

/// Doors, some of which close others.
fn doors(most: usize) -> impl Strategy<Value = Vec<Door>> {
    let close = of((any::<prop::sample::Index>(), any::<bool>()));
    prop::collection::vec((door(), close), 0..most).prop_map(|drawn| {
        let (mut doors, closes): (Vec<Door>, Vec<_>) = drawn.into_iter().unzip();
        let is_native = |door: &&Door| door.action.native.is_some();
        let natives: Vec<String> = doors
            .iter()
            .filter(is_native)
            .map(|door| door.name.clone())
            .collect();
        for (door, close) in doors.iter_mut().zip(closes) {
            let Some((index, kill)) = close.filter(|_| !natives.is_empty()) else {
                continue;
            };
            let other = natives[index.index(natives.len())].clone();
            if other != door.name {
                door.action.close = Some(Closing { door: other, kill });
            }
        }
        doors
    })
}

fn options() -> impl Strategy<Value = Options> {
    let names = prop::collection::btree_set("[a-z][a-z0-9]{0,14}", 0..4);
    let format = prop::sample::select(&[LogFormat::Classic, LogFormat::Rfc3339, LogFormat::Json]);
    let level = prop::sample::select(&[LogLevel::Info, LogLevel::Debug]);
    let path = || of("/[a-z/]{1,20}");
    let numbers = (1..=4_194_304_u32, 1..=1024_u32);
    let sandbox = prop::sample::select(&[Sandbox::On, Sandbox::Require, Sandbox::Off]);
    let stop = prop::sample::select(&[OnStop::Close, OnStop::Keep]);
    let journal = prop_oneof![
        Just(JournalPlace::Usual),
        Just(JournalPlace::Off),
        "/[a-z/]{1,20}".prop_map(JournalPlace::At),
    ];
    let control = prop_oneof![
        Just(ControlPlace::Usual),
        Just(ControlPlace::None),
        "/[a-z/]{1,20}".prop_map(ControlPlace::At),
    ];
    let metrics = (of("/[a-z/]{1,20}"), of((any::<bool>(), 1..=u16::MAX)));
    let held = (
        of("[a-z_][a-z0-9-]{0,10}"),
        sandbox,
        stop,
        journal,
        control,
        metrics,
    );
    let spa_ports = prop::collection::btree_set(1..=u16::MAX, 1..=Spa::MAX_PORTS);
    let sealed = (
        spa_ports,
        5_000..=600_000_u64,
        "/[a-z/]{0,20}",
        any::<bool>(),
        path(),
    );
    let once = || of(text().prop_map(Template::new));
    let told = (path(), once(), once(), hooks(), any::<bool>());
    let files = (path(), path());
    (
        any::<bool>(),
        files,
        told,
        names,
        format,
        level,
        numbers,
        held,
        sealed,
    )
        .prop_map(
            |(syslog, files, told, names, log_format, log_level, numbers, held, sealed)| Options {
                syslog,
                logfile: files.0,
                pidfile: files.1,
                audit_file: told.0,
                on_start: told.1,
                on_exit: told.2,
                hooks: told.3,
                shadow: told.4,
                interfaces: names.into_iter().collect(),
                log_format,
                log_level,
                max_attempts: numbers.0,
                max_commands: numbers.1,
                user: held.0,
                sandbox: held.1,
                on_stop: held.2,
                journal: held.3,
                control: held.4,
                metrics_socket: held.5.0,
                metrics_address: held.5.1.map(at_loopback),
                spa_ports: sealed.0.into_iter().collect(),
                spa_window: Duration::from_millis(sealed.1),
                state_dir: sealed.2,
                spa_silent: sealed.3,
                revoked_keys: sealed.4,
            },
        )
}

/// A loopback address of a family, and its port.
fn at_loopback((is_v6, port): (bool, u16)) -> SocketAddr {
    let host: IpAddr = if is_v6 {
        Ipv6Addr::LOCALHOST.into()
    } else {
        Ipv4Addr::LOCALHOST.into()
    };
    (host, port).into()
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
    line("on_stop", &format!("{:?}", options.on_stop));
    match &options.journal {
        JournalPlace::Usual => {}
        JournalPlace::At(path) => line("journal", path),
        JournalPlace::Off => line("journal", &"OFF"),
    }
    match &options.control {
        ControlPlace::Usual => {}
        ControlPlace::At(path) => line("control_socket", path),
        ControlPlace::None => line("control_socket", &"none"),
    }
    if let Some(path) = &options.metrics_socket {
        line("metrics_socket", path);
    }
    if let Some(address) = &options.metrics_address {
        line("metrics_address", address);
    }
    let ports: Vec<String> = options.spa_ports.iter().map(ToString::to_string).collect();
    line("spa_port", &ports.join(" ,"));
    line("spa_window", &InUnits(options.spa_window));
    line("state_dir", &options.state_dir);
    line("spa_silent", &if options.spa_silent { "yes" } else { "no" });
    line(
        "revoked_keys",
        &options.revoked_keys.as_deref().unwrap_or("None"),
    );
    if let Some(user) = &options.user {
        line("user", user);
    }
    line(
        "audit_file",
        &options.audit_file.as_deref().unwrap_or("none"),
    );
    let once = [
        ("on_start", &options.on_start),
        ("on_exit", &options.on_exit),
    ];
    for (key, command) in once.into_iter().chain(hooks_of(&options.hooks)) {
        line(key, &command.as_ref().map_or("", Template::as_str));
    }
    line("shadow", &u8::from(options.shadow));
    for door in &config.doors {
        out.push_str(&render_door(door));
    }
    out
}

fn hooks_of(hooks: &Hooks) -> [(&'static str, &Option<Template>); 3] {
    [
        ("on_open", &hooks.open),
        ("on_close", &hooks.close),
        ("on_refuse", &hooks.refuse),
    ]
}

fn render_door(door: &Door) -> String {
    let mut out = format!("[{}]\n", door.name);
    let mut line = |key: &str, value: &dyn Display| writeln!(out, "{key} = {value}").unwrap();
    let Trigger { source, flags, .. } = &door.trigger;
    match source {
        SequenceSource::Fixed(sequence) => line("sequence", sequence),
        SequenceSource::OneTime(path) => line("one_time_sequences", path),
        SequenceSource::None => {}
    }
    if let Some(spa) = &door.spa {
        let keys: Vec<String> = spa.keys.iter().map(ToString::to_string).collect();
        line("authorized_keys", &keys.join(", "));
        if let Some(time) = spa.ttl_max {
            line("ttl_max", &InUnits(time));
        }
        line("confirm", &u8::from(spa.confirm));
        line("require_claim", &u8::from(spa.require_claim));
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
    line("reopen", &format!("{:?}", door.action.reopen));
    if let Some(native) = &door.action.native {
        let open: Vec<String> = native.open.iter().map(ToString::to_string).collect();
        line("open", &open.join(" , "));
        line("open_for", &InUnits(native.open_for));
        let Widening { v4, v6 } = native.open_to;
        line("open_to", &format!("/{v4},/{v6}"));
    }
    if let Some(closing) = &door.action.close {
        line("close", &closing.door);
        line("kill", &if closing.kill { "yes" } else { "no" });
    }
    for (key, command) in hooks_of(&door.action.hooks) {
        line(key, &command.as_ref().map_or("", Template::as_str));
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
        config in (options(), doors(3)),
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
        doors in doors(4),
    ) {
        let config = Config { options, doors };
        let text = render(&config);
        let parsed = parse(text.as_bytes(), NO_SERVICES);
        prop_assert_eq!(parsed.config, Some(config), "{}\n{:?}", text, parsed.diagnostics);
    }
}
