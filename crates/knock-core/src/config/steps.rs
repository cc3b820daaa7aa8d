//! The value of `sequence`: ports, and every way to get one wrong.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Services;
use super::keys::Shape;
use super::report::Report;
use super::text::{Text, is_blank};
use crate::sequence::{Protocol, Sequence, Step};

const EXPECTED_PORT: &str = "a port from 1 to 65535, or the name of a service";
const EXPECTED_PROTOCOL: &str = "tcp or udp";

/// Reads a sequence. All its mistakes are noted, not only the first.
pub(super) fn sequence(
    value: Text<'_>,
    services: Services<'_>,
    report: &mut Report,
) -> Option<Sequence> {
    if value.str.is_empty() {
        report.error(
            value.span(),
            "the sequence is empty",
            Shape::Sequence.expected(),
            (),
        );
        return None;
    }
    let mut steps = Vec::new();
    let mut complete = true;
    for (i, element) in value.elements().enumerate() {
        if i == Sequence::MAX {
            let end = value.span().end;
            report.error(
                element.at..end,
                "too many steps",
                format!("at most {} steps", Sequence::MAX),
                (),
            );
            return None;
        }
        match step(element, services, report) {
            Some(step) => steps.push(step),
            None => complete = false,
        }
    }
    Sequence::new(steps).ok().filter(|_| complete)
}

fn step(element: Text<'_>, services: Services<'_>, report: &mut Report) -> Option<Step> {
    if element.str.is_empty() {
        report.error(
            element.span(),
            "a step is missing",
            EXPECTED_PORT,
            "a comma stands between two steps, not after the last",
        );
        return None;
    }
    let (port, after) = match element.split_once(':') {
        Some((port, after)) => (port.trim(), Some(after.trim())),
        None => (element, None),
    };
    let protocol = match after {
        Some(after) => protocol(after, report),
        None => Some(Protocol::Tcp),
    };
    let port = self::port(port, protocol, services, report);
    Some(Step {
        protocol: protocol?,
        port: port?,
    })
}

fn protocol(text: Text<'_>, report: &mut Report) -> Option<Protocol> {
    let known = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .find(|p| text.str.eq_ignore_ascii_case(&p.to_string()));
    if known.is_some() {
        return known;
    }
    if text.str.is_empty() {
        report.error(
            text.span(),
            "the protocol is missing",
            EXPECTED_PROTOCOL,
            "without the colon it is tcp",
        );
        return None;
    }
    let help = if text.str.contains(':') {
        "a step is a port, or a port and one protocol, such as 8000:udp"
    } else if all_digits(text.str) {
        "ports are separated by commas: 7000,8000"
    } else {
        "only tcp and udp can be knocked"
    };
    report.error(
        text.span(),
        format!("unknown protocol `{}`", text.str),
        EXPECTED_PROTOCOL,
        help,
    );
    None
}

/// A port number or the name of a service. Without a `protocol`, because that was wrong, a name
/// cannot be looked up and is not complained about.
fn port(
    text: Text<'_>,
    protocol: Option<Protocol>,
    services: Services<'_>,
    report: &mut Report,
) -> Option<u16> {
    if text.str.is_empty() {
        report.error(text.span(), "the port is missing", EXPECTED_PORT, ());
        return None;
    }
    if all_digits(text.str.strip_prefix('+').unwrap_or(text.str)) {
        return number(text, report);
    }
    if let Some(port) = protocol.and_then(|protocol| services(text.str, protocol)) {
        return Some(port);
    }
    if let Some((message, help)) = misspelled(text.str) {
        report.error(text.span(), message, EXPECTED_PORT, help);
    } else if let Some(protocol) = protocol {
        report.error(
            text.span(),
            format!("unknown {protocol} service `{}`", text.str),
            EXPECTED_PORT,
            "names are looked up in /etc/services; a number always works",
        );
    }
    None
}

/// A number as `atoi` read it, as far as it can have been meant.
fn number(text: Text<'_>, report: &mut Report) -> Option<u16> {
    let digits = text.str.strip_prefix('+').unwrap_or(text.str);
    let Ok(port) = digits.parse::<u16>() else {
        report.error(
            text.span(),
            format!("there is no port {digits}"),
            EXPECTED_PORT,
            (),
        );
        return None;
    };
    if port == 0 {
        report.warn(
            text.span(),
            "port 0 can hardly be knocked",
            EXPECTED_PORT,
            "few clients can send to port 0, and many networks drop it",
        );
    } else if digits.starts_with('0') || text.str.starts_with('+') {
        report.warn(
            text.span(),
            format!("`{}` is read as the decimal number {port}", text.str),
            format!("{port}"),
            (),
        );
    }
    Some(port)
}

/// What is wrong with a port that is neither number nor service, and what to write instead; the
/// original took the leading digits of these, or 0. `None` if it looks like a name.
fn misspelled(text: &str) -> Option<(String, Option<String>)> {
    if let Some(digits) = text.strip_prefix('-').filter(|t| all_digits(t)) {
        let help = format!("write {digits}, or leave the step out");
        return Some((format!("there is no port {text}"), Some(help)));
    }
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (first.trim_matches(is_blank), last.trim_matches(is_blank));
        if all_digits(first) && all_digits(last) {
            return Some((
                "a step is one port, not a range".into(),
                Some(instead_of_range(first, last)),
            ));
        }
    }
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let help = u16::from_str_radix(hex, 16).ok();
        return Some((
            "ports are decimal".into(),
            help.map(|port| format!("write {port}")),
        ));
    }
    if let Some((port, protocol)) = text.split_once('/') {
        let help = format!("write {port}:{protocol}");
        return Some((format!("`{text}` is no port"), Some(help)));
    }
    if text.contains(is_blank) {
        let help = "separate the steps with commas".to_string();
        return Some((format!("`{text}` is no port"), Some(help)));
    }
    if text.contains(['"', '\'']) {
        let help = "write the value without quotes".to_string();
        return Some((format!("`{text}` is no port"), Some(help)));
    }
    text.starts_with(|c: char| c.is_ascii_digit())
        .then(|| (format!("`{text}` is no port"), None))
}

/// The ports of a range one by one, if a sequence can hold them.
fn instead_of_range(first: &str, last: &str) -> String {
    let ports = match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if first <= last => (first..=last).take(Sequence::MAX + 1),
        _ => return "write each port that is to be knocked, with commas between them".into(),
    };
    let ports: Vec<String> = ports.map(|port| port.to_string()).collect();
    if ports.len() > Sequence::MAX {
        "a sequence is knocked port by port; write the ones that are to be knocked".into()
    } else {
        format!("write each port: {}", ports.join(","))
    }
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}
