//! What the numbers look like, and that dashboard and alerts ask for what there is.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

const DASHBOARD: &str = include_str!("../../../../docs/grafana/knockd.json");
const RULES: &str = include_str!("../../../../docs/alerts/knockd.rules.yml");
const PAGE: &str = include_str!("../../../../docs/metrics.md");

/// A status with something of everything; `door` is the name of its door.
pub(super) fn status(door: &str) -> Status {
    let grant = json!({"door": door, "to": "192.0.2.77", "grant": "gate", "state": "open",
                       "who": {"key": "alice@example.org"}, "left_ms": 1000});
    let attempt =
        json!({"door": door, "source": "2001:db8::77", "stage": 1, "steps": 3, "left_ms": 9});
    let json = json!({
        "program": "0.1.0", "run": "00c0ffee00c0ffee",
        "started": "2026-11-27T10:00:00Z", "now": "2026-11-27T12:30:00Z", "last_event": 9,
        "config": "/etc/knockd.conf", "log_level": "info",
        "keeper": {"pid": 10, "uid": 0, "capabilities": [], "commands_running": 2,
                   "commands_waiting": 3},
        "listener": {"pid": 11, "layers": []},
        "interfaces": [{"name": "eth0", "up": true, "addresses": ["192.0.2.1"]},
                       {"name": "ppp0", "up": false, "addresses": []}],
        "doors": [{"name": door, "steps": 3, "sealed": true, "commands": false, "openings": 7}],
        "attempts": {"total": 600, "shown": [attempt]},
        "grants": {"total": 1, "shown": [grant]},
        "counters": {"packets": 1001, "not_knocks": 1002, "kernel_drops": 1003, "knocks": 1004,
            "wrong": 1005, "timeouts": 1006, "openings": 1007, "evictions": 1008,
            "openings_lost": 1009, "without_commands": 1010, "lines_left_out": 1011,
            "events": {"open": 7, "step": 12}, "refusals": {"replay": 4}, "closings": {"time": 6},
            "sealed_junk": 1012, "sealed_limited": 1013, "sealed_broken": 1014,
            "sealed_opened": 1015, "codes_unknown": 1016, "codes_limited": 1017},
        "gate": {"state": "up", "guarded": [], "elements": {"total": 1, "shown": []},
                 "admitted": 21, "dropped": 22},
    });
    serde_json::from_value(json).unwrap()
}

/// The names of the samples in the older format, where each stands as it is asked for.
fn names() -> BTreeSet<String> {
    let text = text(&status("ssh"), Format::Classic);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let names = samples.filter_map(|line| line.split(['{', ' ']).next());
    names.map(str::to_owned).collect()
}

/// What of our metrics a query asks for.
fn asked_for(query: &str) -> Vec<&str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("knockd_")).collect()
}

#[test]
fn the_open_metrics_of_a_daemon() {
    insta::assert_snapshot!(text(&status("ssh"), Format::OpenMetrics));
}

#[test]
fn in_the_older_format_counters_have_their_whole_name_and_there_is_no_end() {
    let old = text(&status("ssh"), Format::Classic);
    assert!(old.contains("# TYPE knockd_packets_total counter\nknockd_packets_total 1001\n"));
    assert!(old.contains("# HELP knockd_packets_total Packets"));
    assert!(old.contains("# TYPE knockd_grants gauge\nknockd_grants 1\n"));
    assert!(!old.contains("# EOF"));
}

#[test]
fn no_label_has_an_address_or_who_it_was() {
    let text = text(&status("ssh"), Format::OpenMetrics);
    for private in ["192.0.2", "2001:db8", "alice", "00c0ffee"] {
        assert!(!text.contains(private), "{private}: {text}");
    }
}

#[test]
fn the_name_of_a_door_cannot_end_its_label() {
    let text = text(&status("a\"} 1\nb\\"), Format::OpenMetrics);
    assert!(text.contains(r#"{door="a\"} 1\nb\\"} 7"#), "{text}");
}

#[test]
fn without_a_listener_or_a_gate_that_shows() {
    let mut status = status("ssh");
    status.listener = None;
    status.gate = None;
    let text = text(&status, Format::OpenMetrics);
    assert!(text.contains("knockd_processes{role=\"listener\"} 0\n"));
    assert!(!text.contains("knockd_gate"));
    let mut status = self::status("ssh");
    let gate = status.gate.as_mut().unwrap();
    gate.trouble = Some("a rule is missing".into());
    assert!(super::text(&status, Format::OpenMetrics).contains("knockd_gate_up 0\n"));
}

#[test]
fn the_dashboard_asks_for_nothing_that_is_not_there() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let queries: Vec<_> = targets
        .flatten()
        .map(|target| target["expr"].as_str().unwrap())
        .collect();
    assert!(queries.len() >= 10, "{queries:?}");
    let names = names();
    for query in queries {
        let asked = asked_for(query);
        assert!(!asked.is_empty(), "{query}");
        assert!(asked.iter().all(|name| names.contains(*name)), "{query}");
    }
}

#[test]
fn the_alerts_ask_for_nothing_that_is_not_there() {
    let queries = RULES
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    let queries: Vec<_> = queries.collect();
    assert!(queries.len() >= 5, "{queries:?}");
    let names = names();
    for query in queries {
        let asked = asked_for(query);
        assert!(asked.iter().all(|name| names.contains(*name)), "{query}");
    }
}

#[test]
fn the_page_has_every_metric_and_no_other() {
    let quoted = PAGE.split('`').skip(1).step_by(2);
    let quoted = quoted.filter_map(|text| text.split('{').next());
    let told = quoted.filter(|name| name.starts_with("knockd_"));
    assert_eq!(told.map(str::to_owned).collect::<BTreeSet<_>>(), names());
}
