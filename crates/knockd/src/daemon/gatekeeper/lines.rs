//! What is said of the gate and its grants.

use std::net::IpAddr;

use knock_core::target::Target;

use crate::events::{self, Happened, Kind, Reason};
use crate::gate::Key;
use crate::keeper::Why;
use crate::log::{Level, Line};

/// A grant is gone.
pub(in crate::daemon) fn closed(key: &Key, why: &Why<'_>) -> Line {
    let happened = on_grant(Kind::Close, key).because(why.reason);
    line_of(key, "closed", why.text).means(happened.by(why.who.cloned()))
}

pub(super) fn on_grant(kind: Kind, key: &Key) -> Happened {
    Happened::new(kind).about(events::Grant::Gate, to(key))
}

/// A line about a grant, whose source can be a network.
pub(super) fn line_of(key: &Key, event: &'static str, text: &str) -> Line {
    let line = Line::new(Level::Info, event, format!("{}{text}", lead(key)));
    let line = line.of(key.door());
    let sources = key.sources();
    if Target::host(sources.address()) == sources {
        line.about(sources.address())
    } else {
        line
    }
}

/// Something about the gate as a whole.
pub(super) fn gate_line(level: Level, reason: Option<Reason>, text: impl Into<String>) -> Line {
    let happened = Happened {
        reason,
        ..Happened::new(Kind::Gate)
    };
    Line::new(level, "gate", text).means(happened)
}

/// `source: door: `, as lines about a source begin; the source can be a network.
pub(super) fn lead(key: &Key) -> String {
    format!("{}: {}: ", to(key), key.door())
}

/// Whom a grant lets in: an address, or a network.
pub(in crate::daemon) fn to(key: &Key) -> String {
    let sources = key.sources();
    if Target::host(sources.address()) == sources {
        sources.address().to_string()
    } else {
        sources.to_string()
    }
}

/// For whom it is open, where that is not the source alone.
pub(super) fn whom(sources: Target, source: IpAddr) -> String {
    if sources == Target::host(source) {
        String::new()
    } else {
        format!(" to {sources}")
    }
}

pub(in crate::daemon) fn in_short(names: &[String]) -> String {
    const MOST: usize = 8;
    let shown: Vec<_> = names.iter().take(MOST).map(String::as_str).collect();
    let mut text = shown.join(", ");
    if names.len() > MOST {
        text.push_str(&format!(" and {} more", names.len() - MOST));
    }
    text
}
