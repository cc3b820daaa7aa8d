//! letmein's `letmeind.conf`: resources that users may open, each a door of sealed packets. Its keys
//! cannot be carried over: here a packet is signed by an SSH key.

use std::time::Duration;

use knock_core::service::{Ports, Service};

use super::draft::{Draft, KEYS, Trigger, name, within, write};
use super::{Converted, Note};

/// How long a port is open if nothing is said there.
const OPEN_FOR: Duration = Duration::from_secs(600);

/// Converts the text of a `letmeind.conf`.
pub(super) fn convert(text: &str) -> Converted {
    let mut notes = Vec::new();
    let entries = entries(text);
    let of = |section: &'static str| entries.iter().filter(move |entry| entry.section == section);
    let usual = of("NFTABLES").rfind(|entry| entry.key == "timeout");
    let usual = usual
        .and_then(|entry| seconds(&entry.value))
        .unwrap_or(OPEN_FOR);
    let doors: Vec<_> = of("RESOURCES")
        .filter_map(|entry| door(entry, usual, &mut notes))
        .collect();
    for entry in of("KEYS") {
        let user = name(&entry.key);
        notes.push(Note {
            line: entry.line,
            text: format!(
                "keys are not carried over: write the SSH public keys of user {user} into {KEYS}/{user}, \
                 and let each `knock enroll`"
            ),
        });
    }
    if !doors.is_empty() {
        notes.extend([Note::guarded(), Note::sealed()]);
    }
    Converted {
        text: write(&doors, "letmein's letmeind.conf").into_bytes(),
        notes,
    }
}

/// `key = value` in a section.
struct Entry {
    line: usize,
    section: String,
    key: String,
    value: String,
}

/// A line that begins with a blank goes on with the value before it.
fn entries(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut section = String::new();
    let mut goes_on = false;
    for (line, text) in (1..).zip(text.lines()) {
        let trimmed = text.trim();
        if goes_on && text.starts_with([' ', '\t']) && !trimmed.is_empty() {
            if let Some(last) = entries.last_mut() {
                last.value.push(' ');
                last.value.push_str(trimmed);
            }
            continue;
        }
        goes_on = false;
        if trimmed.starts_with('#') {
            continue;
        }
        let header = trimmed
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        if let Some(name) = header {
            name.clone_into(&mut section);
        } else if let Some((key, value)) = trimmed.split_once('=') {
            goes_on = true;
            entries.push(Entry {
                line,
                section: section.clone(),
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
            });
        }
    }
    entries
}

/// `port: 4500 / tcp, udp / users: 00000001, 00000002 / timeout: 60`
fn door(entry: &Entry, usual: Duration, notes: &mut Vec<Note>) -> Option<Draft> {
    let id = name(&entry.key);
    let mut note = |text: String| {
        notes.push(Note {
            line: entry.line,
            text: format!("resource {id}: {text}"),
        });
    };
    let (mut port, mut time, mut users) = (None, usual, Vec::new());
    let (mut tcp, mut udp) = (false, false);
    for item in entry.value.split('/') {
        let (key, value) = match item.split_once(':') {
            Some((key, value)) => (key.trim(), value.trim()),
            None => ("", item.trim()),
        };
        match key {
            "port" => port = value.parse().ok().and_then(|port| Ports::new(port, port)),
            "timeout" => match seconds(value) {
                Some(seconds) => time = seconds,
                None => note(format!("`{value}` is no time in seconds: left out")),
            },
            "users" => users.extend(value.split(',').map(|user| name(user.trim()))),
            "" => {
                for word in value
                    .split(',')
                    .map(|word| word.trim().to_ascii_lowercase())
                {
                    match word.as_str() {
                        "tcp" => tcp = true,
                        "udp" => udp = true,
                        "" => {}
                        "jump" => {
                            note("it jumps to chains, which a door cannot: left out".to_owned());
                            return None;
                        }
                        _ => note(format!("`{word}` is not known here: left out")),
                    }
                }
            }
            _ => note(format!("`{key}` is not known here: left out")),
        }
    }
    let Some(port) = port else {
        note("it has no port: left out".to_owned());
        return None;
    };
    let files = users.iter().map(|user| format!("{KEYS}/{user}"));
    let mut files: Vec<_> = files.collect();
    if files.is_empty() {
        // Whoever has a key may.
        files.push(format!("{KEYS}/*"));
    }
    let tcp = (tcp || !udp).then_some(Service::Tcp(port));
    let udp = udp.then_some(Service::Udp(port));
    Some(Draft {
        name: id.clone(),
        comments: Vec::new(),
        trigger: Trigger::Keys(files),
        open: [tcp, udp].into_iter().flatten().collect(),
        open_for: within(time),
        more: Vec::new(),
    })
}

/// `600`, `5.0`.
fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.trim().parse().ok()?;
    let time = Duration::try_from_secs_f64(seconds).ok()?;
    // Less than a millisecond is nothing that a configuration can say.
    Some(Duration::from_millis(u64::try_from(time.as_millis()).ok()?))
}
