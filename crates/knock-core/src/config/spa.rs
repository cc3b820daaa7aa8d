//! The keys of single-packet authorization: which doors a sealed packet opens, whose, and where it
//! arrives.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::door::DoorDraft;
use super::keys::{Key, Shape};
use super::report::Report;
use super::text::{Text, is_blank};
use crate::spa::{KeySource, KeySourceError, Spa};

const EXPECTED_PORT: &str = "a port from 1 to 65535";

/// With what a public key begins that stands where the name of its file should.
const KEY_TYPES: [&str; 4] = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];

/// Reads `spa_port`. All its mistakes are noted, not only the first.
pub(super) fn ports(value: Text<'_>, report: &mut Report) -> Option<Vec<u16>> {
    let mut ports = Vec::new();
    let mut complete = true;
    for element in value.elements() {
        match port(element, report) {
            Some(port) if ports.contains(&port) => twice(element, "each port once", report),
            Some(_) if ports.len() == Spa::MAX_PORTS => {
                let expected = format!("at most {} ports", Spa::MAX_PORTS);
                report.error(element.span(), "too many ports", expected, ());
                return None;
            }
            Some(port) => ports.push(port),
            None => complete = false,
        }
    }
    Some(ports).filter(|_| complete)
}

fn port(element: Text<'_>, report: &mut Report) -> Option<u16> {
    let text = element.str;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|port| digits && *port > 0)
    };
    if let Some(port) = number(text) {
        return Some(port);
    }
    let message = if text.is_empty() {
        "a port is missing".into()
    } else {
        format!("`{text}` is no port")
    };
    let lower = text.to_ascii_lowercase();
    let bare = lower
        .strip_prefix("udp/")
        .or_else(|| lower.strip_suffix(":udp"))
        .or_else(|| lower.strip_suffix("/udp"));
    let help = match bare.map(|bare| bare.trim_matches(is_blank)) {
        Some(bare) if number(bare).is_some() => Some(format!("write {bare}; it is always UDP")),
        _ if lower.contains("tcp") => Some("sealed packets are UDP datagrams".into()),
        _ if text.contains(is_blank) => Some("separate the ports with commas".into()),
        _ => None,
    };
    report.error(element.span(), message, EXPECTED_PORT, help);
    None
}

/// Reads `authorized_keys`. All its mistakes are noted, not only the first.
pub(super) fn key_files(value: Text<'_>, report: &mut Report) -> Option<Vec<KeySource>> {
    let mut files = Vec::new();
    let mut complete = true;
    for element in value.elements() {
        match key_file(element, report) {
            Some(file) if files.contains(&file) => twice(element, "each file once", report),
            Some(_) if files.len() == Spa::MAX_SOURCES => {
                let expected = format!("at most {} files or patterns", Spa::MAX_SOURCES);
                let help = "a pattern such as /etc/knockd/keys/* stands for many";
                report.error(element.span(), "too many files", expected, help);
                return None;
            }
            Some(file) => files.push(file),
            None => complete = false,
        }
    }
    Some(files).filter(|_| complete)
}

fn key_file(element: Text<'_>, report: &mut Report) -> Option<KeySource> {
    let text = element.str;
    let mut wrong = |message: String, help: String| {
        let help = Some(help).filter(|help| !help.is_empty());
        report.error(element.span(), message, Shape::KeyFiles.expected(), help);
        None
    };
    let several = |sign| {
        text.match_indices(sign)
            .any(|(at, _)| is_after_blank(text, at))
    };
    if several('/') || several('~') {
        let message = format!("`{text}` is more than one file");
        return wrong(message, "separate the files with commas".into());
    }
    let error = match KeySource::new(text) {
        Ok(file) => return Some(file),
        Err(error) => error,
    };
    match error {
        KeySourceError::Empty => wrong("a file is missing".into(), String::new()),
        KeySourceError::Relative => wrong(format!("`{text}` is no path from / on"), instead(text)),
        KeySourceError::NoAccount => wrong(
            format!("`{text}` does not say whose home it is in"),
            format!(
                "write ~root{}, with the name of the account",
                after_tilde(text)
            ),
        ),
        KeySourceError::BadAccount => wrong(
            format!("`{text}` does not begin with the name of an account"),
            format!(
                "write /home/*{} for all homes that are there",
                after_tilde(text)
            ),
        ),
        KeySourceError::Directory => wrong(
            format!("`{text}` is a directory"),
            match text.strip_suffix('/') {
                Some(directory) => format!("write {directory}/* for all files in it"),
                None => format!("write {text}/.ssh/authorized_keys"),
            },
        ),
        KeySourceError::Recursive => wrong(
            format!("`{text}` does not go down into directories"),
            "`*` stands for a part of one name".into(),
        ),
    }
}

/// What was probably meant by something that begins with neither `/` nor `~`.
fn instead(text: &str) -> String {
    // What sshd_config(5) has for the home, and what a shell has.
    for home in ["%h/", "$HOME/", "${HOME}/"] {
        if let Some(rest) = text.strip_prefix(home) {
            return format!("write ~root/{rest}, with the name of the account");
        }
    }
    if KEY_TYPES.iter().any(|begin| text.starts_with(begin)) {
        return "put the key into a file, and name the file here".into();
    }
    if text.starts_with(['"', '\'']) {
        return "write the value without quotes".into();
    }
    "a relative path depends on where knockd is started".into()
}

/// From the first slash on.
fn after_tilde(text: &str) -> &str {
    let slash = text.find('/').unwrap_or(text.len());
    match text.get(slash..) {
        None | Some("" | "/") => "/.ssh/authorized_keys",
        Some(path) => path,
    }
}

fn is_after_blank(text: &str, at: usize) -> bool {
    text.get(..at)
        .is_some_and(|before| before.ends_with(is_blank))
}

fn twice(element: Text<'_>, expected: &str, report: &mut Report) {
    let message = format!("`{}` stands twice", element.str);
    report.warn(element.span(), message, expected, ());
}

/// Whether a sealed packet is to open the door: `authorized_keys` says so, unless `spa` says
/// something else.
pub(super) fn is_wanted(door: &DoorDraft) -> bool {
    door.spa.unwrap_or_else(|| has(door, Key::AuthorizedKeys))
}

/// How a sealed packet opens the door, if one does and its keys are known; and what is amiss with
/// that.
pub(super) fn of(door: &mut DoorDraft, report: &mut Report) -> Option<Spa> {
    let wanted = is_wanted(door);
    if !door.suspect {
        note_no_keys(door, wanted, report);
        note_meaningless(door, wanted, report);
    }
    let keys = door.key_files.take().filter(|_| wanted)?;
    Some(Spa {
        keys,
        ttl_max: door.ttl_max,
        confirm: door.confirm,
        require_claim: door.require_claim,
    })
}

/// Nobody could open such a door, and a door that was meant to be shut has no `spa`.
fn note_no_keys(door: &DoorDraft, wanted: bool, report: &mut Report) {
    let place = door.keys.iter().rfind(|place| place.key == Key::Spa);
    if let Some(place) = place.filter(|_| wanted && !has(door, Key::AuthorizedKeys)) {
        report.error(
            place.line.clone(),
            "`spa` lets nobody in without `authorized_keys`",
            "`authorized_keys` in the same door",
            "it names files of SSH public keys, such as ~admin/.ssh/authorized_keys",
        );
    }
}

/// Keys that say something about what the door does not do.
fn note_meaningless(door: &DoorDraft, wanted: bool, report: &mut Report) {
    let knocked = has(door, Key::Sequence) || has(door, Key::OneTimeSequences);
    let timed = has(door, Key::Open) || door.stop.is_given();
    for place in &door.keys {
        let (message, expected, help) = match place.key {
            // `spa = no` takes a door out of use, and its keys may wait.
            Key::TtlMax | Key::Confirm | Key::RequireClaim if !wanted && door.spa.is_none() => (
                "this has no meaning in a door without `authorized_keys`",
                "`authorized_keys` in the same door",
                "it is said of sealed packets, not of knocks",
            ),
            Key::TtlMax if wanted && !timed => (
                "this door is open for no time that could be asked for",
                "`open` or `stop_command` in the same door",
                "what is never closed has no end to move",
            ),
            Key::SeqTimeout | Key::TcpFlags | Key::Strict | Key::Cooldown if wanted && !knocked => {
                (
                    "this has no meaning in a door without a sequence",
                    "`sequence` in the same door",
                    "it is said of knocks, not of sealed packets",
                )
            }
            _ => continue,
        };
        report.warn(place.line.clone(), message, expected, help);
    }
}

fn has(door: &DoorDraft, key: Key) -> bool {
    door.keys.iter().any(|place| place.key == key)
}
