//! What a trail answers.

use super::*;

fn filter(since: i64, until: i64) -> Filter {
    Filter {
        since: at(since),
        until: at(until),
        door: None,
        who: None,
        port: None,
    }
}

/// A report of these events.
fn report(events: &[Event]) -> Report {
    let mut report = Report::default();
    for (seq, event) in (1..).zip(events) {
        let entry = Entry {
            seq,
            prev: Digest::NONE,
            time: event.time,
            what: What::Event(Box::new(event.clone())),
        };
        report.line(entry.line().as_bytes());
    }
    report
}

#[test]
fn a_report_tells_from_when_until_when_and_how_that_is_known() {
    let mut close = event(Kind::Close, 20, "");
    close.reason = Some(Reason::Time);
    let mut bob = event(Kind::Open, 100, "");
    (bob.to, bob.who) = (Some("192.0.2.0/24".to_owned()), None);
    let report = report(&[
        event(Kind::Open, 0, ""),
        event(Kind::Extend, 10, ""),
        close,
        bob,
    ]);
    let all = report.accesses(&filter(0, 1000));
    let spans: Vec<_> = all
        .iter()
        .map(|a| (a.from, a.until.unwrap(), a.end))
        .collect();
    assert_eq!(
        spans,
        [
            (at(0), at(20), End::Closed(Some(Reason::Time))),
            (at(100), at(130), End::NotRecorded)
        ]
    );
    assert_eq!(all[1].end.to_string(), "its time; no closing in the trail");
    assert_eq!(report.accesses(&filter(21, 99)), []);
    assert_eq!(report.accesses(&filter(15, 99)).len(), 1);
    let who = |who: &str| Filter {
        who: Some(who.to_owned()),
        ..filter(0, 1000)
    };
    assert_eq!(report.accesses(&who("alice"))[0].from, at(0));
    assert_eq!(report.accesses(&who("192.0.2.0/24"))[0].from, at(100));
    assert_eq!(report.accesses(&who("mallory")), []);
}

#[test]
fn a_knock_after_a_closing_that_is_missing_is_another_opening() {
    let report = report(&[event(Kind::Open, 0, ""), event(Kind::Open, 50, "")]);
    let all = report.accesses(&filter(0, 1000));
    let spans: Vec<_> = all.iter().map(|a| (a.from, a.until, a.end)).collect();
    assert_eq!(
        spans,
        [
            (at(0), Some(at(30)), End::NotRecorded),
            (at(50), Some(at(80)), End::NotRecorded)
        ]
    );
}

#[test]
fn a_report_of_a_port_leaves_out_what_commands_open_and_says_so() {
    let mut command = event(Kind::Open, 0, "");
    (command.grant, command.until) = (Some(Grant::Commands(4)), None);
    command.services.clear();
    let mut down = event(Kind::Gate, 5, "");
    (down.reason, down.door, down.to) = (Some(Reason::Down), None, None);
    let report = report(&[event(Kind::Open, 0, ""), command, down]);
    let port = |port: &str| Filter {
        port: Some(port.parse().unwrap()),
        ..filter(0, 9)
    };
    let doors = |port: &Filter| {
        let all = report.accesses(port);
        all.into_iter().map(|access| access.to).collect::<Vec<_>>()
    };
    assert_eq!(doors(&port("22")), ["192.0.2.7", "everybody"]);
    assert_eq!(doors(&port("udp/22")), ["everybody"]);
    assert_eq!(report.without_services(&port("22")), 1);
    assert_eq!(report.accesses(&filter(0, 9)).len(), 3);
    assert_eq!(
        report.accesses(&filter(3, 9)).len(),
        2,
        "no end is known of commands"
    );
    for bad in ["", "0", "tcp/", "icmp", "sctp/1", "65536", "22-23"] {
        assert!(bad.parse::<PortFilter>().is_err(), "{bad}");
    }
    let is_in = |port: &str, service| port.parse::<PortFilter>().unwrap().is_in(service);
    assert!(is_in("8005", "tcp/8000-8010") && !is_in("8011", "tcp/8000-8010"));
    assert!(!is_in("22", "icmp") && is_in("TCP/22", "tcp/22"));
}

#[test]
fn grants_of_commands_whose_numbers_begin_anew_are_several() {
    let open = |seconds| {
        let mut open = event(Kind::Open, seconds, "");
        (open.grant, open.until) = (Some(Grant::Commands(0)), None);
        open
    };
    let report = report(&[open(0), open(10)]);
    let begins: Vec<_> = report
        .accesses(&filter(0, 99))
        .iter()
        .map(|a| a.from)
        .collect();
    assert_eq!(begins, [at(0), at(10)]);
}
