//! Reports of whole daemons, made of the kernel's texts.

use std::collections::BTreeMap;

use super::descriptors::{Descriptor, Kind};
use super::limits::Limits;
use super::process::Seen;
use super::status::Status;
use super::texts::{KEEPER, LIMITS, LISTENER, USUAL_LIMITS};
use super::verdict::Level;
use super::*;

fn descriptors(list: &[(u32, Kind, &str)]) -> Seen<Vec<Descriptor>> {
    let descriptor = |(number, is, target): &(u32, Kind, &str)| Descriptor {
        number: *number,
        is: *is,
        target: (*target).to_owned(),
    };
    Seen::Read(list.iter().map(descriptor).collect())
}

fn keeper() -> Process {
    Process {
        role: Role::Keeper,
        pid: 812,
        program: Seen::Read("/usr/sbin/knockd".into()),
        status: Status::parse(KEEPER).unwrap(),
        other_threads: [].into(),
        dumpable: None,
        descriptors: descriptors(&[
            (0, Kind::Null, "/dev/null"),
            (1, Kind::UnixSocket, "socket:[41700]"),
            (2, Kind::UnixSocket, "socket:[41700]"),
            (3, Kind::File, "/var/log/knockd.log"),
            (4, Kind::Pipe, "pipe:[41806]"),
        ]),
        limits: Seen::Read(Limits::parse(USUAL_LIMITS).unwrap()),
        other_namespaces: Seen::Read([].into()),
    }
}

fn listener() -> Process {
    Process {
        role: Role::Listener,
        pid: 813,
        program: Seen::Read("/usr/sbin/knockd".into()),
        status: Status::parse(LISTENER).unwrap(),
        other_threads: [].into(),
        dumpable: Some(false),
        descriptors: descriptors(&[
            (3, Kind::PacketSocket, "socket:[41811]"),
            (4, Kind::UnixSocket, "socket:[41812]"),
            (5, Kind::NetlinkSocket, "socket:[41813]"),
        ]),
        limits: Seen::Read(Limits::parse(LIMITS).unwrap()),
        other_namespaces: Seen::Read([].into()),
    }
}

fn report(processes: Vec<Process>) -> Report {
    let named = |names: &[(u32, &str)]| -> BTreeMap<u32, String> {
        names
            .iter()
            .map(|(n, name)| (*n, (*name).to_owned()))
            .collect()
    };
    let names = Names {
        users: named(&[(0, "root"), (998, "_knockd"), (65534, "nobody")]),
        groups: named(&[(0, "root"), (997, "_knockd"), (42, "shadow")]),
    };
    Report::new(
        processes,
        names,
        Landlock::Active(7),
        Capabilities::all("40"),
    )
}

fn plain(report: &Report) -> String {
    anstream::adapter::strip_str(&report.to_string()).to_string()
}

/// The only verdict on a daemon with this listener that is not that on a good one, as a line.
fn found(change: impl FnOnce(&mut Process)) -> String {
    let mut changed = listener();
    change(&mut changed);
    let good = report(vec![keeper(), listener()]).verdicts;
    let mut verdicts = report(vec![keeper(), changed]).verdicts;
    verdicts.retain(|verdict| !good.contains(verdict));
    assert_eq!(verdicts.len(), 1, "{verdicts:#?}");
    format!("{:?}: {}", verdicts[0].level, verdicts[0].text)
}

/// The same, of a listener whose status has `new` instead of `old`.
fn found_in_status(old: &str, new: &str) -> String {
    assert!(LISTENER.contains(old), "{old}");
    found(|listener| listener.status = Status::parse(&LISTENER.replace(old, new)).unwrap())
}

#[test]
fn a_daemon_that_is_well() {
    let report = report(vec![keeper(), listener()]);
    assert!(report.is_well);
    insta::assert_snapshot!(plain(&report));
}

#[test]
fn the_sockets_that_answer_sealed_packets_are_known() {
    let with = |kind| {
        let mut keeper = keeper();
        let Seen::Read(descriptors) = &mut keeper.descriptors else {
            panic!("nothing was read");
        };
        for number in [20, 21] {
            descriptors.push(Descriptor {
                number,
                is: kind,
                target: format!("socket:[{number}]"),
            });
        }
        report(vec![keeper, listener()])
    };
    let answers = with(Kind::RawSender);
    assert!(answers.is_well);
    let text = "answers sealed packets by 2 raw IP sockets, which receive nothing";
    assert!(plain(&answers).contains(text), "{}", plain(&answers));
    let hears = with(Kind::RawSocket);
    assert!(!hears.is_well);
    assert!(plain(&hears).contains("has open 2 raw IP sockets that hear"));
}

#[test]
fn a_daemon_of_one_process() {
    let report = report(vec![keeper()]);
    assert!(!report.is_well);
    let amiss = report.verdicts.iter().filter(|v| v.level == Level::Amiss);
    let texts: Vec<_> = amiss.map(|verdict| verdict.text.as_str()).collect();
    assert_eq!(
        texts,
        ["there is no listener: what reads packets can do all that the keeper can"]
    );
}

#[test]
fn a_listener_that_nothing_confines() {
    let mut other = keeper();
    (other.role, other.pid) = (Role::Listener, 813);
    other.other_threads = [815, 816].into();
    let report = report(vec![keeper(), other]);
    assert!(!report.is_well);
    insta::assert_snapshot!(plain(&report));
}

#[test]
fn what_may_not_be_read_is_said_and_is_not_well() {
    let unread = |mut process: Process| {
        let reason = || "Permission denied".to_owned();
        process.program = Seen::Unread { reason: reason() };
        process.descriptors = Seen::Unread { reason: reason() };
        process.limits = Seen::Unread { reason: reason() };
        process.other_namespaces = Seen::Unread { reason: reason() };
        process
    };
    let report = report(vec![unread(keeper()), unread(listener())]);
    assert!(!report.is_well);
    insta::assert_snapshot!(plain(&report));
}

#[test]
fn the_report_as_json() {
    let report = report(vec![keeper(), listener()]);
    insta::assert_snapshot!(serde_json::to_string_pretty(&report).unwrap());
}

#[test]
fn an_account_with_a_way_back_is_amiss() {
    let ids = "Uid:\t998\t998\t998\t998";
    let found = |new| found_in_status(ids, new);
    assert_eq!(
        found("Uid:\t998\t998\t0\t998"),
        "Amiss: is, or can become, root"
    );
    assert_eq!(
        found("Uid:\t998\t998\t5\t998"),
        "Amiss: can change between several accounts"
    );
    assert_eq!(
        found("Uid:\t65534\t65534\t65534\t65534"),
        "Note: runs as nobody (65534), which other programs may share"
    );
    assert_eq!(
        found_in_status("Groups:\t", "Groups:\t42 997"),
        "Amiss: is in more groups than its own: shadow (42)"
    );
    assert_eq!(
        found_in_status("Gid:\t997\t997\t997\t997", "Gid:\t997\t997\t0\t997"),
        "Amiss: is, or can become, of the group of root or of several"
    );
}

#[test]
fn a_listener_with_the_account_of_the_keeper_is_amiss() {
    let mut keeper = keeper();
    keeper.status.rights.user = listener().status.rights.user;
    let report = report(vec![keeper, listener()]);
    let amiss = report.verdicts.iter().find(|v| v.level == Level::Amiss);
    assert_eq!(
        amiss.unwrap().text,
        "runs as _knockd (998), like the keeper"
    );
}

#[test]
fn a_capability_in_any_set_is_told() {
    let raw = "0000000000002000";
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        let none = format!("{set}:\t0000000000000000");
        let found = found_in_status(&none, &format!("{set}:\t{raw}"));
        assert_eq!(found, "Amiss: has capabilities: CAP_NET_RAW");
    }
    assert_eq!(
        found_in_status("CapBnd:\t0000000000000000", &format!("CapBnd:\t{raw}")),
        "Note: has no capabilities, but not an empty bounding set: CAP_NET_RAW"
    );
}

#[test]
fn a_lock_that_is_open_is_amiss() {
    assert_eq!(
        found_in_status("NoNewPrivs:\t1", "NoNewPrivs:\t0"),
        "Amiss: can get privileges from a setuid program"
    );
    assert_eq!(
        found_in_status("Seccomp:\t2", "Seccomp:\t0"),
        "Amiss: may make every system call (no seccomp)"
    );
    assert_eq!(
        found(|listener| listener.dumpable = Some(true)),
        "Amiss: can be traced by others of its account (dumpable)"
    );
    let loose = LIMITS.replace(
        "Max file size             0                    0 ",
        "Max file size             0                    unlimited ",
    );
    assert_eq!(
        found(|listener| listener.limits = Seen::Read(Limits::parse(&loose).unwrap())),
        "Amiss: has no tight limit of: file size"
    );
    assert_eq!(
        found(|listener| listener.other_threads = [820].into()),
        "Amiss: has threads with other rights: 820"
    );
}

#[test]
fn a_descriptor_that_the_listener_does_not_need_is_amiss() {
    let log = [
        (3, Kind::PacketSocket, "socket:[41811]"),
        (7, Kind::File, "/var/log/knockd.log"),
        (8, Kind::TcpSocket, "socket:[41900]"),
    ];
    assert_eq!(
        found(|listener| listener.descriptors = descriptors(&log)),
        "Amiss: has open what it does not need: 7 /var/log/knockd.log, 8 TCP socket"
    );
    let many: Vec<_> = (0..9).map(|n| (n, Kind::Pipe, "pipe:[1]")).collect();
    assert_eq!(
        found(|listener| listener.descriptors = descriptors(&many)),
        "Amiss: has 9 descriptors open, more than 8"
    );
}

#[test]
fn a_keeper_may_hold_the_packet_socket_for_the_next_listener() {
    let mut keeper = keeper();
    let packet = [(5, Kind::PacketSocket, "socket:[41811]")];
    keeper.descriptors = descriptors(&packet);
    let report = report(vec![keeper, listener()]);
    let mut verdicts = report.verdicts.iter();
    let said = verdicts.find(|verdict| verdict.text.contains("packet socket"));
    assert_eq!(said.unwrap().level, Level::Ok);
}

#[test]
fn a_live_process_gives_a_report() {
    let daemon = Daemon {
        keeper: std::process::id(),
        listeners: vec![],
    };
    let Ok(report) = Report::of(Path::new("/proc"), &daemon) else {
        panic!("no report");
    };
    assert!(!report.is_well);
    assert!(plain(&report).contains(&format!("keeper: process {}", std::process::id())));
}

#[test]
fn no_daemon_is_one_clear_line() {
    let several = FindError::Several(vec![12, 40]);
    assert_eq!(
        several.to_string(),
        "several daemons run; say which with --pid: 12, 40"
    );
    let path = PathBuf::from("/run/knockd.pid");
    let stale = FindError::Stale(path.clone(), 12, Some("sh".into()));
    assert_eq!(
        stale.to_string(),
        "/run/knockd.pid: process 12 is not knockd but sh"
    );
    let gone = FindError::Stale(path, 12, None);
    assert_eq!(gone.to_string(), "/run/knockd.pid: there is no process 12");
    assert!(FindError::None.to_string().starts_with("no knockd runs"));
}
