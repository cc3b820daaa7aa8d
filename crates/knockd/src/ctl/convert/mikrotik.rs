//! Rules of RouterOS, as `/ip firewall filter export` prints them, or as they are typed: one `add` a
//! line, with `name=value` in any order; a backslash at its end goes on with the next line.

use std::time::Duration;

use super::Note;
use super::command::{at, protocol};
use super::quoted::words;
use super::stages::{End, Rule, Rules};

/// Where packets to the router begin, and those through it.
const ROOTS: [&str; 2] = ["input", "forward"];

/// What does not change whom a rule is for.
const HARMLESS: [&str; 6] = [
    "comment",
    "log",
    "log-prefix",
    "tcp-flags",
    "place-before",
    "reject-with",
];

/// The rules of a text.
pub(super) fn rules(text: &str) -> Rules {
    let mut rules = Rules {
        from: "firewall rules of RouterOS",
        roots: ROOTS.map(String::from).into(),
        ..Rules::default()
    };
    let mut is_filter = true;
    for (line, text) in lines(text) {
        let words = words(&text, &['"']);
        let mut words = words.iter().map(String::as_str).peekable();
        let mut menu = Vec::new();
        while let Some(word) = words.next_if(|word| *word != "add" && !word.contains('=')) {
            menu.extend(word.split('/').filter(|part| !part.is_empty()));
        }
        if text.starts_with('/') {
            is_filter =
                menu == ["ip", "firewall", "filter"] || menu == ["ipv6", "firewall", "filter"];
        }
        if words.next() != Some("add") || !is_filter {
            continue;
        }
        let pairs = words.filter_map(|word| word.split_once('='));
        let pairs: Vec<_> = pairs.collect();
        if pairs.contains(&("disabled", "yes")) {
            continue;
        }
        match rule(line, &pairs) {
            Ok((chain, rule)) => rules.chains.entry(chain).or_default().push(rule),
            Err(text) => rules.notes.push(Note { line, text }),
        }
    }
    rules
}

/// Lines with their numbers; those that go on are one.
fn lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        let (part, next) = match text.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (text, false),
        };
        match lines.last_mut() {
            Some((_, before)) if goes_on => before.push_str(part),
            _ if part.is_empty() || part.starts_with('#') => {}
            _ => lines.push((line, part.to_owned())),
        }
        goes_on = next;
    }
    lines
}

/// The chain, and the rule.
fn rule(line: usize, pairs: &[(&str, &str)]) -> Result<(String, Rule), String> {
    let value = |name: &str| value(pairs, name);
    let mut rule = Rule {
        line,
        end: match value("action") {
            None | Some("accept" | "fasttrack-connection") => End::Accept,
            Some("drop" | "reject" | "tarpit") => End::Drop,
            Some("return") => End::Return,
            Some("jump") => End::Jump(value("jump-target").unwrap_or_default().to_owned()),
            Some(_) => End::Next,
        },
        ..Rule::default()
    };
    if value("action") == Some("add-src-to-address-list") {
        let list = value("address-list").ok_or("the rule names no address list")?;
        let time = value("address-list-timeout").and_then(time);
        rule.adds.push((list.to_owned(), time));
    }
    for (key, text) in pairs {
        match (*key, *text) {
            (
                "chain"
                | "action"
                | "address-list"
                | "address-list-timeout"
                | "jump-target"
                | "disabled",
                _,
            ) => {}
            ("protocol", _) if value("dst-port").is_some() => {}
            ("connection-state", states) if states.split(',').any(|state| state == "new") => {}
            ("src-address-list", list) => match list.strip_prefix('!') {
                Some(list) => rule.off.push(list.to_owned()),
                None => rule.on.push((list.to_owned(), None)),
            },
            ("dst-port", list) => {
                let protocol = value("protocol").and_then(protocol);
                match at(protocol.as_slice(), list, '-', &|_, _| None) {
                    Ok(at) if !at.is_empty() => rule.at = at,
                    Ok(_) | Err(_) => rule.other.push(format!("dst-port={list}")),
                }
            }
            (key, _) if HARMLESS.contains(&key) => {}
            (key, value) => rule.other.push(format!("{key}={value}")),
        }
    }
    let chain = value("chain").ok_or("the rule is in no chain")?;
    Ok((chain.to_owned(), rule))
}

/// The last one counts.
fn value<'a>(pairs: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    let found = pairs.iter().rfind(|(key, _)| *key == name);
    found.map(|(_, value)| *value)
}

/// `1m`, `1d02:00:00`, `00:00:30`, `90`; none for those that say that there is no end.
fn time(text: &str) -> Option<Duration> {
    let mut seconds = 0_u64;
    let mut number = 0_u64;
    let mut colons = 0_u64;
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                let digit = u64::from(c.to_digit(10)?);
                number = number.checked_mul(10)?.checked_add(digit)?;
                continue;
            }
            'w' => 7 * 86_400,
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            // The first one follows the hours.
            ':' => {
                colons += 1;
                if colons == 1 { 3_600 } else { 60 }
            }
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        number = 0;
    }
    let seconds = seconds.checked_add(number)?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}
