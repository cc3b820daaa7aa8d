//! Whatever happens in whatever order, what is shown is what is there; and nothing draws beyond its
//! screen.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::tz::TimeZone;
use proptest::collection::vec;
use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use serde_json::{Value, json};

use super::look::Look;
use super::state::{Key, State};
use super::tests::status;
use super::view::{View, draw};
use super::world::Moment;

const RUN: &str = "00c0ffee00c0ffee";

/// What a daemon has: the stage of each attempt, and who has each grant.
#[derive(Clone, Debug, Default)]
struct Truth {
    attempts: BTreeMap<(String, IpAddr), u16>,
    grants: BTreeMap<(String, String), u64>,
    last: u64,
}

#[derive(Clone, Debug)]
enum Turn {
    /// It happens: which, at which door, to whom, at which stage.
    Happen(&'static str, u8, u8, u16),
    /// A status is made.
    Status,
    /// The next event, or status, that is on its way arrives.
    Hear,
    Learn,
}

fn turn() -> impl Strategy<Value = Turn> {
    let kinds = [
        "step", "step", "broken", "timeout", "knocked", "open", "extend", "close", "gate", "reload",
    ];
    let happen = (
        prop::sample::select(kinds.to_vec()),
        0..3_u8,
        0..4_u8,
        1..4_u16,
    );
    prop_oneof![
        3 => happen.prop_map(|(kind, door, source, stage)| Turn::Happen(kind, door, source, stage)),
        1 => Just(Turn::Status),
        3 => Just(Turn::Hear),
        1 => Just(Turn::Learn),
    ]
}

impl Truth {
    fn happen(&mut self, kind: &str, door: u8, source: u8, stage: u16) -> Value {
        self.last += 1;
        let door = ["ssh", "wireguard", "backup"][usize::from(door)].to_owned();
        let source: IpAddr = [192, 0, 2, source].into();
        let attempt = (door.clone(), source);
        let grant = (door.clone(), source.to_string());
        match kind {
            "step" => drop(self.attempts.insert(attempt, stage)),
            "broken" | "timeout" | "knocked" => drop(self.attempts.remove(&attempt)),
            "open" | "extend" => drop(self.grants.insert(grant, self.last)),
            "close" => drop(self.grants.remove(&grant)),
            _ => {}
        }
        json!({
            "answer": "event", "seq": self.last, "run": RUN, "kind": kind, "level": "info",
            "time": "2026-11-27T12:30:00Z", "text": "it happened", "door": door, "source": source,
            "stage": stage, "to": source, "grant": "gate",
            "who": {"key": self.last.to_string()}, "until": "2026-11-27T12:31:00Z",
        })
    }

    fn status(&self) -> Value {
        let mut value = status(0, 0, self.last);
        let attempts = self.attempts.iter().map(|((door, source), stage)| {
            json!({"door": door, "source": source, "stage": stage, "steps": 4, "left_ms": 1000})
        });
        let grants = self.grants.iter().map(|((door, to), who)| {
            json!({"door": door, "to": to, "grant": "gate", "state": "open", "left_ms": 1000,
                   "who": {"key": who.to_string()}})
        });
        value["attempts"] = shown(&attempts.collect::<Vec<_>>());
        value["grants"] = shown(&grants.collect::<Vec<_>>());
        value
    }
}

fn shown(all: &[Value]) -> Value {
    json!({"total": all.len(), "shown": all})
}

/// What is on its way, and arrives in its order.
#[derive(Default)]
struct Way(std::collections::VecDeque<Value>);

impl Way {
    fn arrive(&mut self, state: &mut State) -> bool {
        let next = self.0.pop_front();
        if let Some(json) = &next {
            let answer = serde_json::from_value(json.clone()).unwrap();
            state.handle_answer(answer, Moment::ZERO);
        }
        next.is_some()
    }
}

fn key() -> impl Strategy<Value = Key> {
    let keys = [Key::Up, Key::Down, Key::Enter, Key::Escape, Key::Backspace];
    prop_oneof![
        prop::sample::select(keys.to_vec()),
        prop::sample::select(vec!['j', 'k', 'c', 'y', 'p', 's', '/', '?', 'a', 'ä'])
            .prop_map(Key::Char),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn status_and_events_in_any_order_give_the_truth(turns in vec(turn(), 0..200)) {
        let (mut truth, mut state) = (Truth::default(), State::default());
        let (mut events, mut statuses) = (Way::default(), Way::default());
        statuses.0.push_back(truth.status());
        for turn in turns {
            match turn {
                Turn::Happen(kind, door, source, stage) => {
                    events.0.push_back(truth.happen(kind, door, source, stage));
                }
                Turn::Status => statuses.0.push_back(truth.status()),
                Turn::Hear => drop(events.arrive(&mut state)),
                Turn::Learn => drop(statuses.arrive(&mut state)),
            }
        }
        while statuses.arrive(&mut state) || events.arrive(&mut state) {}
        let world = state.world();
        let attempts = world.attempts().into_iter().map(|(id, one)| (id.clone(), one.stage));
        prop_assert_eq!(attempts.collect::<BTreeMap<_, _>>(), truth.attempts);
        let grants = world.grants().into_iter().map(|(id, one)| {
            let who = one.who.as_ref().unwrap().to_string().parse().unwrap();
            ((id.door.clone(), id.to.clone()), who)
        });
        prop_assert_eq!(grants.collect::<BTreeMap<_, u64>>(), truth.grants);
    }

    #[test]
    fn every_key_on_every_screen_is_harmless(
        turns in vec(turn(), 0..40),
        keys in vec(key(), 0..12),
        width in 0..130_u16,
        height in 0..40_u16,
        unicode: bool,
    ) {
        let (mut truth, mut state) = (Truth::default(), State::default());
        for turn in turns {
            let json = match turn {
                Turn::Happen(kind, door, source, stage) => truth.happen(kind, door, source, stage),
                _ => truth.status(),
            };
            state.handle_answer(serde_json::from_value(json).unwrap(), Moment::ZERO);
        }
        let look = Look { colour: true, unicode, zone: TimeZone::UTC };
        let area = Rect::new(0, 0, width, height);
        for key in keys {
            state.handle_key(key, Moment::ZERO);
            let view = View { state: &state, look: &look, now: Moment::ZERO };
            let mut buffer = Buffer::empty(area);
            draw(view, area, &mut buffer);
        }
    }
}
