//! What is well and what is not, judged by what was read and nothing else.

use std::collections::BTreeSet;

use super::capabilities::Capabilities;
use super::descriptors::{Descriptor, Kind};
use super::limits::Resource;
use super::names::Names;
use super::process::{Process, Role, Seen};
use super::status::Seccomp;
use super::verdict::{Judge, Verdict};

/// The listener needs a packet socket, a socket to the keeper, and perhaps one that tells of
/// interfaces, something that wakes it, and its three standard streams.
const MOST_DESCRIPTORS: usize = 8;

/// How much the listener may have of what it does not need.
const MOST: [(Resource, u64); 3] = [
    (Resource::Processes, 1),
    (Resource::Core, 0),
    (Resource::FileSize, 0),
];

/// The account of those who have none; what else runs as it can reach the listener.
const SHARED: &str = "nobody";

const SANDBOX: &str =
    "set `sandbox = on`, which is the default, and see what the log says at start";
const ACCOUNT: &str = "start knockd as root, with CAP_SETUID and CAP_SETGID, and make the account \
                       that `user` names (default _knockd)";

/// Judges the keeper, then each listener.
pub(super) fn judge(processes: &[Process], all: Capabilities, names: &Names) -> Vec<Verdict> {
    let is = |role| move |process: &&Process| process.role == role;
    let Some(keeper) = processes.iter().find(is(Role::Keeper)) else {
        return Vec::new();
    };
    let listeners: Vec<_> = processes.iter().filter(is(Role::Listener)).collect();
    let mut verdicts = judge_keeper(keeper, listeners.len(), all);
    for listener in listeners {
        verdicts.extend(judge_listener(listener, keeper, all, names));
    }
    verdicts
}

fn judge_keeper(keeper: &Process, listeners: usize, all: Capabilities) -> Vec<Verdict> {
    let judge = Judge(Role::Keeper);
    let mut verdicts = vec![match listeners {
        0 => judge.amiss(
            "there is no listener: what reads packets can do all that the keeper can",
            SANDBOX,
        ),
        1 => judge.ok("leaves packets to a listener"),
        n => judge.amiss(
            format!("has {n} processes of its own program, where one is expected"),
            "restart knockd",
        ),
    }];
    verdicts.push(keeper_capabilities(judge, keeper, all));
    if listeners > 0 {
        verdicts.push(packet_socket(judge, keeper));
    }
    verdicts.extend(raw_sockets(judge, keeper));
    verdicts
}

/// Commands run with what the keeper has, so nobody else can say what is too much.
fn keeper_capabilities(judge: Judge, keeper: &Process, all: Capabilities) -> Verdict {
    let held = keeper.status.rights.capabilities.held();
    let text = held.describe(all);
    let text = format!("keeps these capabilities, for what its doors do: {text}");
    if held.is_most_of(all) {
        let help = "if they only call nft or iptables: pkg/systemd/hardening.conf limits it";
        return judge.note(text, help);
    }
    judge.ok(text)
}

fn packet_socket(judge: Judge, keeper: &Process) -> Verdict {
    let Seen::Read(descriptors) = &keeper.descriptors else {
        return judge.unread("descriptors", &keeper.descriptors);
    };
    if descriptors.iter().any(|d| d.is == Kind::PacketSocket) {
        return judge.ok("keeps the packet socket, to hand it to the next listener");
    }
    judge.ok("has no packet socket")
}

/// What sealed packets are answered with (`spa/answer.rs`). Only told if there are some.
fn raw_sockets(judge: Judge, keeper: &Process) -> Option<Verdict> {
    let Seen::Read(descriptors) = &keeper.descriptors else {
        return None;
    };
    let count_of = |kind| {
        let those = descriptors.iter().filter(|d| d.is == kind).count();
        u32::try_from(those).unwrap_or(u32::MAX)
    };
    let (senders, hearing) = (count_of(Kind::RawSender), count_of(Kind::RawSocket));
    if hearing > 0 {
        let text = format!("has open {} that hear", count(hearing, "raw IP socket"));
        return Some(judge.amiss(text, "report this as a fault of knockd"));
    }
    (senders > 0).then(|| {
        let sockets = count(senders, "raw IP socket");
        judge.ok(format!(
            "answers sealed packets by {sockets}, which receive nothing"
        ))
    })
}

fn judge_listener(
    listener: &Process,
    keeper: &Process,
    all: Capabilities,
    names: &Names,
) -> Vec<Verdict> {
    let judge = Judge(Role::Listener);
    let verdicts = [
        account(judge, listener, keeper, names),
        groups(judge, listener, names),
        capabilities(judge, listener, all),
        no_new_privs(judge, listener),
        seccomp(judge, listener),
        dumpable(judge, listener),
        open_files(judge, listener),
        limits(judge, listener),
    ];
    let threads = threads(judge, listener);
    verdicts.into_iter().chain(threads).collect()
}

fn account(judge: Judge, listener: &Process, keeper: &Process, names: &Names) -> Verdict {
    let user = listener.status.rights.user;
    let keeper = keeper.status.rights.user.effective;
    if user.all().contains(&0) {
        return judge.amiss("is, or can become, root", ACCOUNT);
    }
    let Some(number) = user.only() else {
        return judge.amiss("can change between several accounts", ACCOUNT);
    };
    let name = names.user(number);
    if number == keeper {
        return judge.amiss(format!("runs as {name}, like the keeper"), ACCOUNT);
    }
    if name.is(SHARED) {
        return judge.note(
            format!("runs as {name}, which other programs may share"),
            "make the account _knockd: see pkg/README.md",
        );
    }
    judge.ok(format!("runs as {name}"))
}

fn groups(judge: Judge, listener: &Process, names: &Names) -> Verdict {
    let rights = &listener.status.rights;
    let Some(own) = rights.group.only().filter(|group| *group != 0) else {
        return judge.amiss(
            "is, or can become, of the group of root or of several",
            ACCOUNT,
        );
    };
    let mut others = rights
        .groups
        .iter()
        .filter(|group| **group != own)
        .peekable();
    if others.peek().is_some() {
        let others: Vec<_> = others
            .map(|group| names.group(*group).to_string())
            .collect();
        let text = format!("is in more groups than its own: {}", others.join(", "));
        return judge.amiss(text, ACCOUNT);
    }
    judge.ok(format!("is in no group but {}", names.group(own)))
}

/// Without new privileges the bounding set is of no use to anybody.
fn capabilities(judge: Judge, listener: &Process, all: Capabilities) -> Verdict {
    let rights = &listener.status.rights;
    let (held, bounding) = (rights.capabilities.held(), rights.capabilities.bounding);
    if !held.is_empty() {
        return judge.amiss(format!("has capabilities: {}", held.describe(all)), SANDBOX);
    }
    match rights.no_new_privs {
        _ if bounding.is_empty() => judge.ok("has no capabilities, and can get none"),
        Some(true) => judge.note(
            format!(
                "has no capabilities, but not an empty bounding set: {}",
                bounding.describe(all)
            ),
            "start knockd with CAP_SETPCAP",
        ),
        _ => judge.amiss(
            "can get capabilities from a program that it executes",
            SANDBOX,
        ),
    }
}

fn no_new_privs(judge: Judge, listener: &Process) -> Verdict {
    match listener.status.rights.no_new_privs {
        Some(true) => judge.ok("gets no privileges from a program that it executes"),
        Some(false) => judge.amiss("can get privileges from a setuid program", SANDBOX),
        None => judge.unknown(
            "whether it can get privileges from a setuid program, this kernel does not say",
            "use Linux 4.10 or later",
        ),
    }
}

fn seccomp(judge: Judge, listener: &Process) -> Verdict {
    match listener.status.rights.seccomp {
        Some(Seccomp::Filter(Some(n))) => judge.ok(format!(
            "system calls are filtered (seccomp, {})",
            count(n, "filter")
        )),
        Some(Seccomp::Filter(None)) => judge.ok("system calls are filtered (seccomp)"),
        Some(Seccomp::Strict) => judge.ok("hardly a system call is left (seccomp, strict)"),
        Some(Seccomp::Off) => judge.amiss("may make every system call (no seccomp)", SANDBOX),
        None => judge.amiss(
            "may make every system call: this kernel has no seccomp",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

fn dumpable(judge: Judge, listener: &Process) -> Verdict {
    match listener.dumpable {
        Some(false) => judge.ok("cannot be looked into by others of its account (not dumpable)"),
        Some(true) => judge.amiss("can be traced by others of its account (dumpable)", SANDBOX),
        None => judge.unknown(
            "whether others of its account can trace it cannot be told, as it runs as root",
            ACCOUNT,
        ),
    }
}

fn open_files(judge: Judge, listener: &Process) -> Verdict {
    let Seen::Read(descriptors) = &listener.descriptors else {
        return judge.unread("descriptors", &listener.descriptors);
    };
    let list = |descriptors: &[&Descriptor]| {
        let text = |d: &&Descriptor| format!("{} {d}", d.number);
        descriptors.iter().map(text).collect::<Vec<_>>().join(", ")
    };
    let strange: Vec<_> = descriptors.iter().filter(|d| !is_expected(d)).collect();
    if !strange.is_empty() {
        let text = format!("has open what it does not need: {}", list(&strange));
        return judge.amiss(text, "report this as a fault of knockd");
    }
    let n = descriptors.len();
    let counted = count(u32::try_from(n).unwrap_or(u32::MAX), "descriptor");
    if n > MOST_DESCRIPTORS {
        let text = format!("has {counted} open, more than {MOST_DESCRIPTORS}");
        return judge.amiss(text, "report this as a fault of knockd");
    }
    judge.ok(format!("has {counted} open, none that it does not need"))
}

fn is_expected(descriptor: &Descriptor) -> bool {
    match descriptor.is {
        Kind::PacketSocket
        | Kind::UnixSocket
        | Kind::NetlinkSocket
        | Kind::Pipe
        | Kind::Anonymous
        | Kind::Null => true,
        Kind::TcpSocket
        | Kind::UdpSocket
        | Kind::RawSocket
        | Kind::RawSender
        | Kind::OtherSocket
        | Kind::File => false,
    }
}

/// Without `CAP_SYS_RESOURCE` a process can raise a limit up to the hard one, so that one counts.
fn limits(judge: Judge, listener: &Process) -> Verdict {
    let Seen::Read(limits) = &listener.limits else {
        return judge.unread("resource limits", &listener.limits);
    };
    let is_loose = |(resource, most): &&(Resource, u64)| {
        let mut limits = limits.0.iter();
        let limit = limits.find_map(|(of, limit)| (of == resource).then_some(limit.hard));
        limit.flatten().is_none_or(|hard| hard > *most)
    };
    let loose: Vec<_> = MOST
        .iter()
        .filter(is_loose)
        .map(|(r, _)| r.name())
        .collect();
    if loose.is_empty() {
        return judge.ok("can write no file and no core file, and start no process (limits)");
    }
    judge.amiss(
        format!("has no tight limit of: {}", loose.join(", ")),
        SANDBOX,
    )
}

/// Only told if it is amiss: all else was read from the first thread.
fn threads(judge: Judge, listener: &Process) -> Option<Verdict> {
    let others: &BTreeSet<u32> = &listener.other_threads;
    let numbers: Vec<_> = others.iter().map(u32::to_string).collect();
    let text = || format!("has threads with other rights: {}", numbers.join(", "));
    (!others.is_empty()).then(|| judge.amiss(text(), "report this as a fault of knockd"))
}

fn count(n: u32, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}
