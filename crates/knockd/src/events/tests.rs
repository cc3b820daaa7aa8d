use super::*;

const OPEN: &str = r#"{"seq":7,"run":"00000000000000ff","time":"2026-01-02T03:04:05.678Z","kind":"open","level":"info","door":"ssh","source":"192.0.2.7","grant":"gate","to":"192.0.2.0/24","services":["tcp/22"],"who":{"key":"alice@laptop"},"until":"2026-01-02T03:04:35.678Z","text":"192.0.2.7: ssh: tcp/22 open for 30s"}"#;

#[test]
fn an_event_is_read_as_it_was_written() {
    let event: Event = serde_json::from_str(OPEN).unwrap();
    assert_eq!(event.kind, Kind::Open);
    assert_eq!(event.who, Some(Who::Key("alice@laptop".to_owned())));
    assert_eq!(serde_json::to_string(&event).unwrap(), OPEN);
}

#[test]
fn words_of_later_versions_are_no_mistake() {
    let text = OPEN.replace("\"open\"", "\"beamed\"");
    let text = text.replace("\"grant\"", "\"reason\":\"tired\",\"grant\"");
    let event: Event = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (event.kind, event.reason),
        (Kind::Unknown, Some(Reason::Unknown))
    );
}

#[test]
fn nobody_is_taken_for_an_operator_because_of_a_keys_comment() {
    let key = Who::Key("operator uid 0".to_owned());
    let text = serde_json::to_string(&key).unwrap();
    assert_eq!(text, r#"{"key":"operator uid 0"}"#);
    let operator = serde_json::to_string(&Who::Operator(0)).unwrap();
    assert_eq!(operator, r#"{"operator":0}"#);
}

#[test]
fn each_kind_has_the_word_that_json_has() {
    for kind in [
        Kind::ReloadFailed,
        Kind::CommandFailed,
        Kind::LeftOut,
        Kind::Open,
    ] {
        let text = serde_json::to_string(&kind).unwrap();
        assert_eq!(text, format!("\"{}\"", kind.name()));
    }
}
