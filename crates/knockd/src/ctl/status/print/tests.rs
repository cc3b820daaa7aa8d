//! The table of a status that has everything, and one that is hostile.

use super::*;
use crate::control::{Answer, parse_answer};
use crate::events::Who;

const PAGE: &str = include_str!("../../../../../../docs/control-protocol.md");

/// The one in the document of the protocol.
fn example() -> Status {
    let line = PAGE
        .lines()
        .find(|line| line.starts_with(r#"{"answer":"status""#));
    match parse_answer(line.unwrap().as_bytes()).unwrap() {
        Answer::Status(status) => *status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_status_is_a_table() {
    let all = text(&example());
    // The first lines have times of this place.
    let rest: Vec<_> = all.lines().skip(4).collect();
    insta::assert_snapshot!(rest.join("\n"));
}

#[test]
fn a_keys_comment_does_not_get_hold_of_the_terminal() {
    let mut status = example();
    let evil = Who::Key("\x1b]0;x\x07\nroot".to_owned());
    status.grants.shown[0].who = Some(evil);
    let all = text(&status);
    assert!(!all.contains(['\x1b', '\x07']), "{all:?}");
    assert!(all.contains("\\x1b]0;x\\x07\\nroot"), "{all}");
}

#[test]
fn of_very_many_grants_the_rest_is_counted() {
    let mut status = example();
    status.grants.total = 9_000;
    assert!(text(&status).contains("  and 8998 more\n"));
}

#[test]
fn a_gate_that_is_not_there_is_said_loudly() {
    let mut status = example();
    let gate = status.gate.as_mut().unwrap();
    gate.state = GateState::Absent;
    gate.trouble = Some("permission denied".to_owned());
    let all = text(&status);
    assert!(
        all.contains("NOT THERE: nothing is guarded\n  error: permission denied"),
        "{all}"
    );
}
