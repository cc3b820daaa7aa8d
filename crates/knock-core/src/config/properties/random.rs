//! Random configurations.

use super::super::*;
use crate::door::{
    Action, Closing, Commands, Hooks, Native, Reopen, SequenceSource, Trigger, Widening,
};
use crate::flags::{FlagMatch, TcpFlags};
use crate::sequence::{Sequence, Step};
use crate::service::{Ports, Service};
use crate::spa::{KeySource, Spa};
use crate::target::Target;
use crate::template::Template;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use proptest::option::of;
use proptest::prelude::*;

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
pub(super) fn doors(most: usize) -> impl Strategy<Value = Vec<Door>> {
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

pub(super) fn options() -> impl Strategy<Value = Options> {
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
