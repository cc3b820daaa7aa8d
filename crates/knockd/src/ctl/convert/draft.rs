//! Doors that come from somewhere else, and the `knockd.conf` that is made of them.

use std::collections::BTreeMap;
use std::time::Duration;

use knock_core::door::Native;
use knock_core::sequence::Step;
use knock_core::service::Service;
use knock_core::time::InUnits;

use crate::ctl::listed;

/// A door that opens until somebody closes it has no equal; this is long enough for a day's work.
pub(super) const UNTIL_CLOSED: Duration = Duration::from_secs(24 * 3600);

/// Where the files of public keys go that doors of sealed packets name.
pub(super) const KEYS: &str = "/etc/knockd/keys";

/// A door.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) name: String,
    /// What is said of it, a line each.
    pub(super) comments: Vec<String>,
    pub(super) trigger: Trigger,
    pub(super) open: Vec<Service>,
    pub(super) open_for: Duration,
    /// Other keys, with their values.
    pub(super) more: Vec<(&'static str, String)>,
}

/// How it is opened.
#[derive(Clone, Debug)]
pub(super) enum Trigger {
    /// By steps, within this time if it is known.
    Steps(Vec<Step>, Option<Duration>),
    /// By who has a key in one of these files.
    Keys(Vec<String>),
}

/// The text; empty if there is no door. Doors of the same name get numbers.
pub(super) fn write(doors: &[Draft], from: &str) -> String {
    if doors.is_empty() {
        return String::new();
    }
    let mut text = format!("# Converted by knockctl from {from}.\n");
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for door in doors {
        let number = numbers.entry(&door.name).or_default();
        *number += 1;
        let name = match number {
            1 => door.name.clone(),
            number => format!("{}-{number}", door.name),
        };
        text.push_str(&format!("\n[{name}]\n"));
        for comment in &door.comments {
            text.push_str(&format!("    # {comment}\n"));
        }
        for (key, value) in keys(door) {
            text.push_str(&format!("    {key:11} = {value}\n"));
        }
    }
    text
}

fn keys(door: &Draft) -> Vec<(&'static str, String)> {
    let mut keys = Vec::new();
    match &door.trigger {
        Trigger::Steps(steps, time) => {
            let listed: Vec<_> = steps.iter().map(ToString::to_string).collect();
            keys.push(("sequence", listed.join(",")));
            keys.extend(time.map(|time| ("seq_timeout", InUnits(time).to_string())));
            keys.push(("tcpflags", "syn".to_owned()));
        }
        Trigger::Keys(files) => keys.push(("authorized_keys", files.join(", "))),
    }
    if !door.open.is_empty() {
        keys.push(("open", listed(&door.open)));
        keys.push(("open_for", InUnits(within(door.open_for)).to_string()));
    }
    keys.extend(door.more.iter().cloned());
    keys
}

/// What a door can be open for.
pub(super) fn within(time: Duration) -> Duration {
    time.clamp(Native::MIN_TIME, Native::MAX_TIME)
}

/// Letters, digits, hyphens and the like, as a door's name has them.
pub(super) fn name(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name: String = text
        .chars()
        .map(|c| if plain(c) { c } else { '-' })
        .collect();
    let name = name.trim_matches('-');
    match name {
        "" | "options" => "door".to_owned(),
        name => name.chars().take(40).collect(),
    }
}
