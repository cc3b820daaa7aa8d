//! fwknop's `access.conf` (fwknopd(8), ACCESS.CONF VARIABLES): stanzas that begin with `SOURCE`, each
//! a door of sealed packets. Its keys cannot be carried over: here a packet is signed by an SSH key.

use std::time::Duration;

use knock_core::door::Native;
use knock_core::service::{Ports, Service};
use knock_core::target::Target;

use super::draft::{Draft, KEYS, Trigger, within, write};
use super::{Converted, Note};
use crate::ctl::listed;

/// How long a door is open if nothing is said there.
const OPEN_FOR: Duration = Duration::from_secs(30);
/// The longest that a client may ask for if nothing is said there.
const MOST: Duration = Duration::from_secs(300);
/// What is opened where the client has chosen.
const SSH: u16 = 22;

/// One value.
#[derive(Clone, Debug)]
struct Value {
    line: usize,
    key: String,
    text: String,
}

/// Converts the text of an `access.conf`.
pub(super) fn convert(text: &str) -> Converted {
    let mut notes = Vec::new();
    let mut stanzas: Vec<Vec<Value>> = Vec::new();
    for value in values(text) {
        let line = value.line;
        match stanzas.last_mut() {
            _ if value.key == "SOURCE" => stanzas.push(vec![value]),
            _ if value.key.starts_with('%') => notes.push(Note {
                line,
                text: format!("{} is not followed: convert that file by itself", value.key),
            }),
            Some(stanza) => stanza.push(value),
            None => notes.push(Note {
                line,
                text: format!("{} stands before the first SOURCE: left out", value.key),
            }),
        }
    }
    let numbered = (1..).zip(&stanzas);
    let doors: Vec<_> = numbered
        .filter_map(|(number, stanza)| {
            Stanza {
                values: stanza,
                notes: &mut notes,
            }
            .door(number, stanzas.len())
        })
        .collect();
    if !doors.is_empty() {
        notes.extend([Note::guarded(), Note::sealed()]);
    }
    Converted {
        text: write(&doors, "fwknop's access.conf").into_bytes(),
        notes,
    }
}

fn values(text: &str) -> impl Iterator<Item = Value> {
    (1..).zip(text.lines()).filter_map(|(line, text)| {
        let text = text.trim().trim_end_matches(';');
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        let (key, value) = text
            .split_once(|c: char| c.is_whitespace())
            .unwrap_or((text, ""));
        Some(Value {
            line,
            key: key.trim_end_matches(':').to_owned(),
            text: value.trim().to_owned(),
        })
    })
}

struct Stanza<'a> {
    values: &'a [Value],
    notes: &'a mut Vec<Note>,
}

impl Stanza<'_> {
    /// `None` if it would open nothing.
    fn door(&mut self, number: usize, of: usize) -> Option<Draft> {
        let first = self.values.first().map_or(0, |value| value.line);
        let mut door = Draft {
            name: if of == 1 {
                "fwknop".to_owned()
            } else {
                format!("fwknop-{number}")
            },
            comments: Vec::new(),
            trigger: Trigger::Keys(Vec::new()),
            open: Vec::new(),
            open_for: OPEN_FOR,
            more: Vec::new(),
        };
        let keys = format!("{KEYS}/{}", door.name);
        door.comments
            .push("Public keys of those who may, as in authorized_keys:".to_owned());
        let mut most = None;
        let mut has_keys = false;
        for value in self.values {
            has_keys |= is_secret(&value.key);
            most = most.or_else(|| (value.key == "MAX_FW_TIMEOUT").then(|| seconds(value))?);
            self.value(value, &mut door, &keys);
        }
        if has_keys {
            self.note(
                first,
                format!(
                    "keys are not carried over: write the SSH public keys of those who may into {keys}, \
                     and let each `knock enroll`"
                ),
            );
        }
        let most = within(most.unwrap_or(MOST));
        if most > door.open_for {
            door.more
                .insert(0, ("ttl_max", knock_core::time::InUnits(most).to_string()));
        }
        let has_command = door.more.iter().any(|(key, _)| *key == "start_command");
        if door.open.is_empty() && !has_command {
            if self.values.iter().any(|value| value.key == "OPEN_PORTS") {
                self.note(first, "nothing of this can be opened: left out".to_owned());
                return None;
            }
            door.open.extend(Ports::new(SSH, SSH).map(Service::Tcp));
            self.note(
                first,
                format!(
                    "the client chose what to open: name it in `open`, where {} stands now",
                    listed(&door.open)
                ),
            );
        }
        door.trigger = Trigger::Keys(vec![keys]);
        Some(door)
    }

    fn value(&mut self, value: &Value, door: &mut Draft, keys: &str) {
        let Value { line, key, text } = value;
        let line = *line;
        match key.as_str() {
            "SOURCE" if text == "ANY" => {}
            "SOURCE" => self.note(
                line,
                format!("put `from=\"{text}\"` before each key in {keys}: a door has no sources"),
            ),
            "DESTINATION" if text == "ANY" => {}
            "DESTINATION" => match targets(text) {
                Some(targets) => door.more.push(("target", targets)),
                None => self.note(line, format!("`{text}` is no address: left out")),
            },
            "OPEN_PORTS" => {
                door.open = self.services(line, text);
                if door.open.len() > 1 {
                    let text = "the client chose among these; a door opens all of them".to_owned();
                    self.note(line, text);
                }
            }
            "FW_ACCESS_TIMEOUT" => match seconds(value) {
                Some(time) => door.open_for = within(time),
                None => self.note(line, format!("`{text}` is no time in seconds: left out")),
            },
            "MAX_FW_TIMEOUT" => {}
            "REQUIRE_SOURCE_ADDRESS" => {
                if text == "Y" {
                    door.more.push(("require_claim", "yes".to_owned()));
                }
            }
            "CMD_CYCLE_OPEN" | "CMD_CYCLE_CLOSE" => self.command(value, door),
            "CMD_CYCLE_TIMER" => match seconds(value) {
                Some(time) => door.more.push(("cmd_timeout", time.as_secs().to_string())),
                None => self.note(line, format!("`{text}` is no time in seconds: left out")),
            },
            "ACCESS_EXPIRE" | "ACCESS_EXPIRE_EPOCH" => self.note(
                line,
                format!("put `expiry-time=` before each key in {keys}: a door has no end ({text})"),
            ),
            "REQUIRE_USERNAME" => self.note(
                line,
                "who it is is known by the key, not by a name: left out".to_owned(),
            ),
            key if is_secret(key) || is_detail(key) => {}
            key => self.note(line, format!("a door has no equal for {key}: left out")),
        }
    }

    fn services(&mut self, line: usize, text: &str) -> Vec<Service> {
        let mut services = Vec::new();
        for word in text.split(',').map(str::trim) {
            let service = word.split_once('/').and_then(|(protocol, port)| {
                let port = port.parse().ok()?;
                let ports = Ports::new(port, port)?;
                match protocol {
                    "tcp" => Some(Service::Tcp(ports)),
                    "udp" => Some(Service::Udp(ports)),
                    _ => None,
                }
            });
            match service {
                Some(service)
                    if services.len() >= Native::MAX_PORTS || services.contains(&service) => {}
                Some(service) => services.push(service),
                None => self.note(line, format!("`{word}` cannot be opened: left out")),
            }
        }
        services
    }

    /// Its own words for what is put into a command are others.
    fn command(&mut self, value: &Value, door: &mut Draft) {
        let command = value.text.replace("$IP", "%IP%").replace("$SRC", "%IP%");
        let known = ["%IP%"]
            .iter()
            .fold(command.clone(), |text, word| text.replace(word, ""));
        if known.contains('$') || command.is_empty() {
            let text = format!(
                "{} has variables that are not known here: left out",
                value.key
            );
            return self.note(value.line, text);
        }
        let key = match value.key.as_str() {
            "CMD_CYCLE_OPEN" => "start_command",
            _ => "stop_command",
        };
        door.more.push((key, command));
    }

    fn note(&mut self, line: usize, text: String) {
        self.notes.push(Note { line, text });
    }
}

/// Passwords and keys of any kind.
fn is_secret(key: &str) -> bool {
    key.starts_with("KEY") || key.starts_with("HMAC_KEY") || key.starts_with("GPG_")
}

/// What only says how packets are sealed.
fn is_detail(key: &str) -> bool {
    matches!(
        key,
        "ENCRYPTION_MODE" | "HMAC_DIGEST_TYPE" | "DATA_COLLECT_MODE"
    )
}

fn seconds(value: &Value) -> Option<Duration> {
    value.text.parse().ok().map(Duration::from_secs)
}

fn targets(text: &str) -> Option<String> {
    let words: Vec<_> = text.split(',').map(str::trim).collect();
    let good = words.iter().all(|word| word.parse::<Target>().is_ok());
    good.then(|| words.join(", "))
}
