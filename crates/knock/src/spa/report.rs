//! What came of a knock: lines for people, JSON for programs, a number for scripts.

use std::net::IpAddr;

use knock_spa::{Outcome as Says, Refusal, Reply, UnixMillis};
use serde_json::{Map, Value, json};

use super::exchange::{Answer, Verdict};
use super::knock::{KnockError, Outcome};
use crate::resolve::Family;
use crate::spa::utc::Utc;

/// The most ports of a door that are tried.
const MOST: usize = 4;

/// What was asked for was done, on one family at least.
pub const DONE: u8 = 0;
/// The server said no.
pub const REFUSED: u8 = 1;
/// The command line, or there is no profile.
pub const USAGE: u8 = 2;
/// The server said nothing.
pub const SILENT: u8 = 3;
/// There is no key that signs.
pub const NO_KEY: u8 = 4;
/// This machine: no address, no route, a file.
pub const SYSTEM: u8 = 5;

/// The exit code of what could not be asked.
#[must_use]
pub const fn code_of_error(error: &KnockError) -> u8 {
    match error {
        KnockError::Profile(_) | KnockError::NoDoor | KnockError::Identity(..) => USAGE,
        KnockError::NoKey(_) => NO_KEY,
        KnockError::Resolve(_) | KnockError::Route(_) | KnockError::System(_) => SYSTEM,
    }
}

/// The exit code of what was: the best of the families'.
#[must_use]
pub fn code(answers: &[Answer]) -> u8 {
    answers
        .iter()
        .map(|answer| match &answer.verdict {
            verdict if verdict.is_good() => DONE,
            Verdict::Answered { .. } | Verdict::Unknown(_) => REFUSED,
            Verdict::Silent => SILENT,
            Verdict::Unsigned => NO_KEY,
            Verdict::Unsent(_) => SYSTEM,
        })
        .min()
        .unwrap_or(SYSTEM)
}

/// Lines for people.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Lines {
    /// What was done: standard output.
    pub done: Vec<String>,
    /// What was not, and what to do: standard error.
    pub problems: Vec<String>,
}

/// What was done in one line, and a line for each reason why something was not.
#[must_use]
pub fn lines(outcome: &Outcome, now: UnixMillis) -> Lines {
    let mut lines = Lines::default();
    let good: Vec<&Reply> = outcome
        .answers
        .iter()
        .filter(|answer| answer.verdict.is_good())
        .filter_map(|answer| match &answer.verdict {
            Verdict::Answered { reply, .. } => Some(reply),
            _ => None,
        })
        .collect();
    if let Some(first) = good.first() {
        let seen: Vec<_> = good.iter().map(|reply| reply.seen.to_string()).collect();
        let seen = seen.join(" and ");
        let left = good.iter().filter_map(|reply| left(reply)).min();
        let until = until(left, now);
        let door = &outcome.door;
        lines.done.push(match first.outcome {
            Says::Opened { .. } => format!("{door} open for {seen}{until}"),
            Says::WouldOpen { .. } => format!("{door} would open for {seen}{until}"),
            _ => format!("{door} closed for {seen}"),
        });
    }
    for answer in &outcome.answers {
        if let Some(problem) = problem(outcome, answer, !good.is_empty())
            && !lines.problems.contains(&problem)
        {
            lines.problems.push(problem);
        }
    }
    lines
}

/// Milliseconds until it closes, by the server's clock, which is the one that counts.
pub(super) fn left(reply: &Reply) -> Option<i64> {
    match reply.outcome {
        Says::Opened { until, .. } | Says::WouldOpen { until, .. } => {
            until.map(|until: UnixMillis| until.since(reply.time).max(0))
        }
        _ => None,
    }
}

/// By our own clock, whatever the server's says.
pub(super) fn until(left: Option<i64>, now: UnixMillis) -> String {
    let Some(left) = left else {
        return String::new();
    };
    let at = Utc::of(now.0.saturating_add_signed(left) / 1000);
    let form = if at.date == Utc::of(now.as_secs()).date {
        at.time()
    } else {
        format!("{} {}", at.date(), at.time())
    };
    format!(" until {form} UTC ({} s)", seconds(left))
}

/// Rounded: what is left of 30 s after a way of some milliseconds is 30 s.
const fn seconds(millis: i64) -> i64 {
    millis.saturating_add(500) / 1000
}

fn problem(outcome: &Outcome, answer: &Answer, others_good: bool) -> Option<String> {
    let door = &outcome.door;
    let to = answer.to;
    match &answer.verdict {
        verdict if verdict.is_good() => None,
        Verdict::Answered { reply, key, .. } => {
            let key = outcome.key(*key).map(ToString::to_string);
            let key = key.unwrap_or_default();
            let Says::Refused(refusal) = reply.outcome else {
                return None;
            };
            let why = why(refusal);
            Some(format!(
                "{door} refused for {}: {why}; key {key}",
                reply.seen
            ))
        }
        Verdict::Unknown(why) => Some(format!("{to}: {why} (is this program older?)")),
        Verdict::Silent if others_good => Some(format!("no answer from udp {to}")),
        Verdict::Silent => {
            let keys = outcome.keys.all().iter().map(ToString::to_string);
            let keys: Vec<_> = keys.collect();
            Some(format!(
                "no answer from udp {to}: it is not reached, or knows none of these keys, or has \
                 new ones of its own (`knock enroll`): {}",
                keys.join(", ")
            ))
        }
        Verdict::Unsent(error) => Some(format!("could not send to udp {to}: {error}")),
        Verdict::Unsigned => Some(match outcome.keys.notes.as_slice() {
            [] => "no key would sign".to_owned(),
            notes => format!("no key would sign: {}", notes.join("; ")),
        }),
    }
}

/// The server's reason, and what to do where that is not plain.
pub(super) fn why(refusal: Refusal) -> String {
    let at = |at: u64| {
        let at = Utc::of(at);
        format!("{}T{}Z", at.date(), at.time())
    };
    match refusal {
        Refusal::ClockOff(by) => {
            let way = if by < 0 { "behind" } else { "ahead of" };
            let seconds = by.unsigned_abs() / 1000;
            format!("the clock here is {seconds} s {way} the server's")
        }
        Refusal::Expired(when) => format!("the key or its certificate expired at {}", at(when)),
        Refusal::NotYetValid(when) => format!("the certificate is valid from {}", at(when)),
        Refusal::AddressMismatch => {
            "the request came from another address than it named: behind address translation, \
             use --no-claim"
                .to_owned()
        }
        other => other.to_string(),
    }
}

/// A word for each outcome, for programs.
const fn word(says: &Says) -> &'static str {
    match says {
        Says::Opened { .. } => "opened",
        Says::Closed => "closed",
        Says::WouldOpen { .. } => "would-open",
        Says::Confirm(_) => "unconfirmed",
        Says::Refused(refusal) => match refusal {
            Refusal::UnknownDoor => "unknown-door",
            Refusal::ClockOff(_) => "clock-off",
            Refusal::Replay => "replay",
            Refusal::Expired(_) => "expired",
            Refusal::NotYetValid(_) => "not-yet-valid",
            Refusal::Revoked => "revoked",
            Refusal::Principal => "principal",
            Refusal::AddressNotAllowed => "address-not-allowed",
            Refusal::AddressMismatch => "address-mismatch",
            Refusal::TouchRequired => "touch-required",
            Refusal::VerifyRequired => "verify-required",
            Refusal::Rate => "rate",
            Refusal::GateError => "gate-error",
        },
    }
}

/// The same for programs: one object.
#[must_use]
pub fn json(host: &str, outcome: &Outcome) -> Value {
    let results: Vec<Value> = outcome
        .answers
        .iter()
        .map(|answer| {
            let mut fields = Map::new();
            let mut set = |name: &str, value: Value| {
                fields.insert(name.to_owned(), value);
            };
            set("to", json!(answer.to.to_string()));
            set("family", json!(Family::of(&answer.to).to_string()));
            match &answer.verdict {
                Verdict::Answered {
                    reply, key, after, ..
                } => {
                    set("result", json!(word(&reply.outcome)));
                    set("seen", json!(reply.seen));
                    set(
                        "key",
                        json!(outcome.key(*key).map(super::keys::Key::fingerprint)),
                    );
                    let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                    set("answered_after_ms", json!(millis));
                    if let Says::Opened { what, .. } | Says::WouldOpen { what, .. } = &reply.outcome
                    {
                        set("opens", json!(what.as_str()));
                        set("for_s", json!(left(reply).map(seconds)));
                    }
                    if let Says::Refused(refusal) = reply.outcome {
                        set("reason", json!(why(refusal)));
                    }
                }
                Verdict::Unknown(why) => {
                    set("result", json!("unknown"));
                    set("reason", json!(why.to_string()));
                }
                Verdict::Silent => set("result", json!("no-answer")),
                Verdict::Unsent(error) => {
                    set("result", json!("not-sent"));
                    set("reason", json!(error.to_string()));
                }
                Verdict::Unsigned => {
                    set("result", json!("no-key"));
                    set("reason", json!(outcome.keys.notes.join("; ")));
                }
            }
            Value::Object(fields)
        })
        .collect();
    json!({
        "host": host,
        "door": outcome.door.as_str(),
        "exit": code(&outcome.answers),
        "results": results,
    })
}

/// The first address that is let in: where to connect to, from where, and how far it is.
#[must_use]
pub fn let_in(outcome: &Outcome) -> Option<(IpAddr, &Answer)> {
    outcome
        .answers
        .iter()
        .find(|answer| answer.verdict.is_good())
        .map(|answer| (answer.local, answer))
}

/// What the server says that the door opens, or would.
#[must_use]
pub fn opens(answer: &Answer) -> Option<&str> {
    match &answer.verdict {
        Verdict::Answered { reply, .. } => match &reply.outcome {
            Says::Opened { what, .. } | Says::WouldOpen { what, .. } => Some(what.as_str()),
            _ => None,
        },
        _ => None,
    }
}

/// The TCP ports in what a server says that a door opens (`tcp/22, udp/51820, tcp/8000-8010`), the
/// first of each range.
#[must_use]
pub fn tcp_ports(what: &str) -> Vec<u16> {
    let services = what.split(',').map(str::trim);
    let ports = services.filter_map(|service| {
        let ports = service.strip_prefix("tcp/")?;
        let first = ports.split_once('-').map_or(ports, |(first, _)| first);
        first.parse::<u16>().ok().filter(|port| *port > 0)
    });
    ports.take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_those_that_the_server_names() {
        assert_eq!(tcp_ports("tcp/22, udp/51820, tcp/8000-8010"), [22, 8000]);
        for nothing in ["", "web", "icmp", "udp/53", "tcp/0", "tcp/99999", "tcp/"] {
            assert_eq!(tcp_ports(nothing), Vec::<u16>::new(), "{nothing}");
        }
        assert_eq!(tcp_ports("tcp/1, tcp/2, tcp/3, tcp/4, tcp/5").len(), MOST);
    }
}
