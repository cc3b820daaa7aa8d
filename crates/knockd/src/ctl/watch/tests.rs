//! What is on the screen, as golden files, and what keys do.

use std::time::Duration;

use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;
use serde_json::{Value, json};

use super::look::Look;
use super::once::lines;
use super::state::{Key, State, Wish};
use super::view::{View, draw};
use super::world::Moment;
use crate::control::Answer;

const RUN: &str = "00c0ffee00c0ffee";

fn at(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

fn look() -> Look {
    Look {
        colour: true,
        unicode: true,
        zone: TimeZone::UTC,
    }
}

fn answer(json: Value) -> Answer {
    serde_json::from_value(json).unwrap()
}

/// A status as a daemon gives it, with these counters.
pub(super) fn status(seconds: u64, packets: u64, last_event: u64) -> Value {
    let door = |name: &str, steps: u16, open: &[&str]| json!({"name": name, "steps": steps, "sealed": false, "open": open, "commands": open.is_empty()});
    json!({
        "answer": "status", "program": "0.1.0", "run": RUN,
        "started": "2026-11-27T10:00:00Z",
        "now": format!("2026-11-27T12:30:{seconds:02}Z"),
        "last_event": last_event, "config": "/etc/knockd.conf", "log_level": "info",
        "keeper": {"pid": 10, "uid": 0, "capabilities": [], "commands_running": 0, "commands_waiting": 0},
        "listener": {"pid": 11, "layers": [{"name": "seccomp", "state": "on"}]},
        "interfaces": [{"name": "eth0", "up": true, "addresses": ["192.0.2.1"]}],
        "doors": [door("ssh", 3, &["tcp/22"]), door("wireguard", 4, &["udp/51820"]), door("backup", 3, &[])],
        "attempts": {"total": 2, "shown": [
            {"door": "ssh", "source": "198.51.100.7", "stage": 2, "steps": 3, "left_ms": 9000},
            {"door": "wireguard", "source": "2001:db8::17", "stage": 1, "steps": 4, "left_ms": 21000}]},
        "grants": {"total": 2, "shown": [
            {"door": "backup", "to": "203.0.113.5", "grant": {"commands": 7}, "state": "open", "left_ms": 8000},
            {"door": "ssh", "to": "203.0.113.0/24", "grant": "gate", "state": "open",
             "who": {"key": "alice@example.org"}, "services": ["tcp/22"], "left_ms": 65000}]},
        "counters": {"packets": packets, "knocks": packets / 10, "events": {"open": packets / 100},
                     "refusals": {"replay": packets / 200}},
        "gate": {"state": "up", "guarded": [], "elements": {"total": 0, "shown": []},
                 "admitted": 0, "dropped": 0},
    })
}

fn event(seq: u64, kind: &str, more: Value) -> Value {
    let mut event = json!({
        "answer": "event", "seq": seq, "run": RUN, "level": "info", "kind": kind,
        "time": format!("2026-11-27T12:30:{:02}Z", seq % 60), "text": format!("event {seq}"),
    });
    if let (Value::Object(event), Value::Object(more)) = (&mut event, more) {
        event.extend(more);
    }
    event
}

/// A daemon in a flood that a knock comes through.
fn busy() -> State {
    let mut state = State::default();
    for (second, packets) in [0, 1200, 9000, 45_000, 60_000, 61_000]
        .into_iter()
        .enumerate()
    {
        let second = u64::try_from(second).unwrap();
        state.handle_answer(answer(status(second, packets, 2)), at(second));
    }
    let events = [
        event(
            1,
            "start",
            json!({"text": "starting up, listening on eth0"}),
        ),
        event(
            2,
            "gate",
            json!({"level": "warning", "text": "the gate was damaged by somebody else: mended"}),
        ),
        event(
            3,
            "step",
            json!({"door": "ssh", "source": "198.51.100.7", "stage": 3,
            "text": "198.51.100.7: ssh: Stage 3"}),
        ),
        event(
            4,
            "knocked",
            json!({"door": "ssh", "source": "198.51.100.7",
            "text": "198.51.100.7: ssh: OPEN SESAME"}),
        ),
        event(
            5,
            "open",
            json!({"door": "ssh", "source": "198.51.100.7", "to": "198.51.100.7",
            "grant": "gate", "services": ["tcp/22"], "until": "2026-11-27T12:30:35Z",
            "text": "198.51.100.7: ssh: tcp/22 open for 30s"}),
        ),
        event(
            6,
            "left-out",
            json!({"count": 4711, "text": "4711 lines left out"}),
        ),
    ];
    for one in events {
        state.handle_answer(answer(one), at(5));
    }
    state
}

fn buffer(state: &State, look: &Look, (width, height): (u16, u16), now: Moment) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let view = View { state, look, now };
    let drawn = terminal.draw(|frame| {
        let area = frame.area();
        draw(view, area, frame.buffer_mut());
    });
    drawn.unwrap().buffer.clone()
}

fn screen(state: &State, size: (u16, u16)) -> String {
    lines(&buffer(state, &look(), size, at(6)))
}

fn press(state: &mut State, keys: &str) -> Option<Wish> {
    keys.chars()
        .filter_map(|c| state.handle_key(Key::Char(c), at(6)))
        .last()
}

#[test]
fn the_screen_of_a_usual_terminal() {
    insta::assert_snapshot!(screen(&busy(), (80, 24)));
}

#[test]
fn the_screen_of_a_large_terminal() {
    let mut state = busy();
    press(&mut state, "s");
    insta::assert_snapshot!(screen(&state, (120, 40)));
}

#[test]
fn the_screen_of_a_small_terminal() {
    insta::assert_snapshot!(screen(&busy(), (60, 15)));
}

#[test]
fn the_screen_of_a_terminal_that_is_too_small() {
    insta::assert_snapshot!(screen(&busy(), (49, 12)), @"49x12 is too small: 50x12 is needed");
}

#[test]
fn the_screen_in_ascii() {
    let look = Look {
        unicode: false,
        ..look()
    };
    let mut state = busy();
    press(&mut state, "j");
    let text = lines(&buffer(&state, &look, (80, 24), at(6)));
    assert!(text.is_ascii(), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn the_help() {
    let mut state = busy();
    press(&mut state, "?");
    insta::assert_snapshot!(screen(&state, (80, 24)));
}

#[test]
fn without_colour_there_is_none_and_what_is_chosen_still_shows() {
    let mut state = busy();
    press(&mut state, "j");
    let of = |colour| {
        let look = Look { colour, ..look() };
        buffer(&state, &look, (80, 24), at(6)).content
    };
    let is_coloured = |cell: &ratatui::buffer::Cell| {
        let colours = [cell.fg, cell.bg, cell.underline_color];
        colours.iter().any(|colour| *colour != Color::Reset)
    };
    assert!(of(true).iter().any(is_coloured));
    assert!(!of(false).iter().any(is_coloured));
    let reversed = ratatui::style::Modifier::REVERSED;
    assert!(
        of(false)
            .iter()
            .any(|cell| cell.modifier.contains(reversed))
    );
}

#[test]
fn times_count_down_between_two_statuses() {
    let state = busy();
    let text = |seconds| lines(&buffer(&state, &look(), (80, 24), at(seconds)));
    assert!(text(5).contains("1:05"), "{}", text(5));
    assert!(text(9).contains("1:01"), "{}", text(9));
}

#[test]
fn a_grant_is_closed_when_it_was_chosen_and_the_question_answered() {
    let mut state = busy();
    assert_eq!(press(&mut state, "c"), None);
    assert!(screen(&state, (80, 24)).contains("choose a grant"));
    // That which ends first, the one after it, and no further.
    press(&mut state, "jjjjjj");
    press(&mut state, "c");
    assert!(screen(&state, (80, 24)).contains("Close ssh for 203.0.113.0/24? y/n"));
    assert_eq!(press(&mut state, "n"), None);
    let network = "203.0.113.0".parse().unwrap();
    let wish = press(&mut state, "cy");
    assert_eq!(wish, Some(Wish::Close("ssh".into(), network)));
    let closed = json!({"answer": "closed", "closed": [], "connections_ended": 0});
    state.handle_answer(answer(closed), at(6));
    assert!(screen(&state, (80, 24)).contains("it was closed already"));
}

#[test]
fn nothing_is_closed_while_there_is_no_connection() {
    let mut state = busy();
    press(&mut state, "j");
    state.handle_loss("it does not run", at(6));
    assert_eq!(press(&mut state, "cy"), None);
    assert!(screen(&state, (80, 24)).contains("not closed: there is no connection"));
}

#[test]
fn a_pause_keeps_what_is_shown_and_time_stands_still() {
    let mut state = busy();
    let before = screen(&state, (80, 24));
    press(&mut state, "p");
    state.handle_answer(
        answer(event(
            7,
            "close",
            json!({"door": "ssh", "to": "198.51.100.7", "grant": "gate"}),
        )),
        at(7),
    );
    let later = lines(&buffer(&state, &look(), (80, 24), at(30)));
    let body = |text: &str| text.lines().take(23).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(body(&before), body(&later));
    assert!(later.contains("PAUSED"));
    press(&mut state, "p");
    assert!(screen(&state, (80, 24)).contains("event 7"));
}

#[test]
fn a_filter_shows_only_what_has_it_and_can_be_taken_back() {
    let mut state = busy();
    press(&mut state, "/BACK");
    state.handle_key(Key::Enter, at(6));
    let text = screen(&state, (80, 24));
    assert!(
        text.contains("203.0.113.5") && !text.contains("203.0.113.0/24"),
        "{text}"
    );
    assert!(text.contains("only what has \"BACK\""), "{text}");
    press(&mut state, "/x");
    state.handle_key(Key::Escape, at(6));
    assert_eq!(state.filter(), "BACK");
    state.handle_key(Key::Escape, at(6));
    assert!(screen(&state, (80, 24)).contains("203.0.113.0/24"));
}

#[test]
fn a_daemon_that_ends_is_waited_for_and_the_next_one_begins_anew() {
    let mut state = busy();
    state.handle_loss("it does not run", at(6));
    let text = lines(&buffer(&state, &look(), (80, 24), at(9)));
    assert!(
        text.contains("knockd is not there: it does not run; waiting for 0:03"),
        "{text}"
    );
    let mut next = status(20, 0, 0);
    next["run"] = json!("0000000000000002");
    next["grants"] = json!({"total": 0, "shown": []});
    state.handle_answer(answer(next), at(10));
    assert_eq!(state.next_event(), None);
    let text = screen(&state, (80, 24));
    assert!(
        text.contains("grants 0") && text.contains("gate up"),
        "{text}"
    );
    // Its first event is none that is known.
    let mut first = event(1, "start", json!({"text": "a new beginning"}));
    first["run"] = json!("0000000000000002");
    state.handle_answer(answer(first), at(10));
    assert_eq!(state.next_event(), Some(2));
    assert!(screen(&state, (80, 24)).contains("a new beginning"));
}
