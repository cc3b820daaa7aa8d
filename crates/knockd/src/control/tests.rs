//! What the document of the protocol says is what is spoken.

use serde_json::Value;

use super::*;
use crate::events::{Kind, Reason};

const PAGE: &str = include_str!("../../../../docs/control-protocol.md");

/// The lines of all examples.
fn examples() -> impl Iterator<Item = &'static str> {
    let blocks = PAGE.split("```json\n").skip(1);
    blocks.flat_map(|block| block.split("```").next().unwrap_or_default().lines())
}

/// The words between backquotes of the rows whose last cell, or first, is `cell`.
fn words(is_row: impl Fn(&[&str]) -> bool, column: usize) -> Vec<&'static str> {
    let rows = PAGE.lines().filter(|line| line.starts_with('|'));
    let rows = rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect());
    let rows = rows.filter(|cells: &Vec<_>| is_row(cells));
    let words = rows.filter_map(|cells| cells.get(column).copied());
    words
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

/// What a word is read as.
fn of<T: serde::de::DeserializeOwned>(word: &str) -> T {
    serde_json::from_value(Value::String(word.to_owned())).unwrap()
}

#[test]
fn the_examples_of_the_document_are_what_is_spoken() {
    let (mut requests, mut answers) = (0, 0);
    for line in examples() {
        let value: Value = serde_json::from_str(line).unwrap();
        if value.get("request").is_some() {
            let has_version = value.get("version").is_some();
            let request = parse_request(line.as_bytes(), has_version).unwrap();
            if has_version {
                let again: Value = serde_json::from_str(&request.to_line()).unwrap();
                let is_within = value.as_object().unwrap().iter();
                let is_within = is_within.filter(|(key, value)| again.get(key) != Some(value));
                assert_eq!(is_within.count(), 0, "{line}");
            }
            requests += 1;
        } else {
            let answer: Answer = serde_json::from_str(line).unwrap();
            // No key of it is one that nobody knows.
            assert_eq!(serde_json::to_value(&answer).unwrap(), value);
            answers += 1;
        }
    }
    assert!(requests >= 9 && answers >= 12, "{requests} {answers}");
}

#[test]
fn the_words_of_the_document_are_those_of_events_and_errors() {
    let is_kind = |word: &str| of::<Kind>(word) != Kind::Unknown;
    let of_events = words(
        |cells| cells.len() == 2 && is_kind(cells[0].trim_matches('`')),
        0,
    );
    assert!(of_events.len() >= 19, "{of_events:?}");
    let of_reasons = words(|cells| is_kind(cells.last().unwrap().trim_matches('`')), 0);
    let of_reasons: Vec<_> = of_reasons
        .into_iter()
        .filter(|word| !is_kind(word))
        .collect();
    assert!(of_reasons.len() >= 30, "{of_reasons:?}");
    for word in of_reasons {
        assert_ne!(of::<Reason>(word), Reason::Unknown, "{word}");
        assert_eq!(of::<Reason>(word).name(), word);
    }
    let is_code = |cells: &[&str]| of::<Code>(cells[0].trim_matches('`')) != Code::Unknown;
    assert_eq!(words(is_code, 0).len(), 11);
}

#[test]
fn a_version_is_said_first_and_understood_later() {
    let status = br#"{"request":"status"}"#;
    let none = parse_request(status, true).unwrap_err();
    assert_eq!(none, RequestError::Version(None));
    assert_eq!(parse_request(status, false).unwrap(), Request::Status {});
    let other = br#"{"version":2,"request":"status"}"#;
    let other = parse_request(other, false).unwrap_err();
    assert_eq!(other.to_string(), "version 2 is not spoken here, but 1");
}

#[test]
fn a_slip_in_a_request_is_named() {
    let told = |line: &str| {
        parse_request(line.as_bytes(), false)
            .unwrap_err()
            .to_string()
    };
    let open = r#"{"request":"open","door":"A","source":"192.0.2.7"#;
    assert!(told(&format!("{open}.1\"}}")).contains("invalid IP address syntax"));
    let typo = told(&format!("{open}\",\"for\":1}}"));
    assert!(typo.contains("unknown field `for`"), "{typo}");
    let unknown = told(r#"{"request":"opens"}"#);
    assert!(unknown.contains("unknown variant `opens`"), "{unknown}");
    assert!(told("[]").contains("expected an object"));
}
