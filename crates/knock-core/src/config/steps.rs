//! The value of `sequence`: ports, and every way to get one wrong.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Services;
use super::keys::Shape;
use super::report::Report;
use super::text::{Text, is_blank};
use crate::sequence::{Protocol, Sequence, Step, StepErrorKind, parse_step_with};

/// The hint where a service is not known. A caller that could not read the services says so in
/// its place.
pub const SERVICE_HELP: &str = "names are looked up in /etc/services; a number always works";

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
    match parse_step_with(element.str, services) {
        Ok(step) => {
            note_spelling(element, step.port, report);
            Some(step)
        }
        Err(error) => {
            let fault = Text {
                str: element.str.get(error.span.clone()).unwrap_or_default(),
                at: element.at + error.span.start,
            };
            explain(element, fault, error.kind, report);
            None
        }
    }
}

/// A number that `atoi` read as it was meant, but which is written oddly, or is odd.
fn note_spelling(element: Text<'_>, port: u16, report: &mut Report) {
    let text = match element.split_once(':') {
        Some((port, _)) => port.trim(),
        None => element,
    };
    let digits = text.str.strip_prefix('+').unwrap_or(text.str);
    if !all_digits(digits) {
        return;
    }
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
}

fn explain(element: Text<'_>, fault: Text<'_>, kind: StepErrorKind, report: &mut Report) {
    let text = fault.str;
    let (message, expected, help): (String, &str, Option<String>) = match kind {
        StepErrorKind::NoPort if element.str.is_empty() => (
            "a step is missing".into(),
            EXPECTED_PORT,
            Some("a comma stands between two steps, not after the last".into()),
        ),
        StepErrorKind::NoPort => ("the port is missing".into(), EXPECTED_PORT, None),
        StepErrorKind::PortTooBig => (format!("there is no port {text}"), EXPECTED_PORT, None),
        StepErrorKind::PortRange => (
            "a step is one port, not a range".into(),
            EXPECTED_PORT,
            Some(instead_of_range(text)),
        ),
        StepErrorKind::NotAPort => {
            let (message, help) = not_a_port(element, text);
            (message, EXPECTED_PORT, help)
        }
        StepErrorKind::UnknownProtocol if text.is_empty() => (
            "the protocol is missing".into(),
            EXPECTED_PROTOCOL,
            Some("without the colon it is tcp".into()),
        ),
        StepErrorKind::UnknownProtocol if all_digits(text) => (
            format!("unknown protocol `{text}`"),
            EXPECTED_PROTOCOL,
            Some("ports are separated by commas: 7000,8000".into()),
        ),
        StepErrorKind::UnknownProtocol => (
            format!("unknown protocol `{text}`"),
            EXPECTED_PROTOCOL,
            Some("only tcp and udp can be knocked".into()),
        ),
        StepErrorKind::TooManyParts => (
            format!("unknown protocol `{text}`"),
            EXPECTED_PROTOCOL,
            Some("a step is a port, or a port and one protocol, such as 8000:udp".into()),
        ),
    };
    report.error(fault.span(), message, expected, help);
}

/// A port that is neither a number nor a service that is known.
fn not_a_port(element: Text<'_>, text: &str) -> (String, Option<String>) {
    if let Some(found) = misspelled(text) {
        return found;
    }
    let udp = element.str.to_ascii_lowercase().ends_with("udp");
    let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
    (
        format!("unknown {protocol} service `{text}`"),
        Some(SERVICE_HELP.into()),
    )
}

/// What is wrong with a port that is neither number nor service, and what to write instead; the
/// original took the leading digits of these, or 0. `None` if it looks like a name.
fn misspelled(text: &str) -> Option<(String, Option<String>)> {
    if let Some(digits) = text.strip_prefix('-').filter(|t| all_digits(t)) {
        let help = format!("write {digits}, or leave the step out");
        return Some((format!("there is no port {text}"), Some(help)));
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
fn instead_of_range(range: &str) -> String {
    let bounds = range.split_once('-').and_then(|(first, last)| {
        let first: u16 = first.trim_matches(is_blank).parse().ok()?;
        let last: u16 = last.trim_matches(is_blank).parse().ok()?;
        Some(first..=last).filter(|range| !range.is_empty())
    });
    let Some(ports) = bounds else {
        return "write each port that is to be knocked, with commas between them".into();
    };
    let ports = ports.take(Sequence::MAX + 1);
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
