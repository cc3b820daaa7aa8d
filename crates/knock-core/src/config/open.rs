//! The value of `open`: what a door opens, and every way to get it wrong.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Services;
use super::keys::Shape;
use super::report::Report;
use super::steps::SERVICE_HELP;
use super::text::{Text, is_blank};
use crate::door::Native;
use crate::sequence::Protocol;
use crate::service::{Ports, Service};

const EXPECTED_PORT: &str =
    "a port from 1 to 65535, a range such as 8000-8010, or a service's name";
const EXPECTED_PROTOCOL: &str = "tcp, udp or icmp";
const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

const QUOTES: [char; 2] = ['"', '\''];

/// What people call echo requests.
const PINGS: [&str; 7] = [
    "ping",
    "icmpv4",
    "icmpv6",
    "icmp6",
    "icmp-echo",
    "ipv6-icmp",
    "echo-request",
];
/// What people call both protocols.
const BOTH: [&str; 7] = ["any", "all", "both", "*", "tcp+udp", "tcp-udp", "tcpudp"];
/// What people call all ports.
const ALL_PORTS: [&str; 3] = ["any", "all", "*"];

/// What is wrong with an element of the list.
struct Fault<'a> {
    at: Text<'a>,
    message: String,
    expected: &'static str,
    help: Option<String>,
}

impl<'a> Fault<'a> {
    fn new(at: Text<'a>, message: impl Into<String>, expected: &'static str) -> Self {
        Self {
            at,
            message: message.into(),
            expected,
            help: None,
        }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

/// Reads what a door opens: services that have nothing in common, in the order of the file. All
/// mistakes are noted, not only the first.
pub(super) fn services(
    value: Text<'_>,
    lookup: Services<'_>,
    report: &mut Report,
) -> Option<Vec<Service>> {
    let mut open = Vec::new();
    let mut complete = true;
    for (i, element) in value.elements().enumerate() {
        let found = service(element, lookup);
        if let Ok(service) = found
            && add(&mut open, service)
        {
            report.warn(
                element.span(),
                format!("`{}` overlaps what stands before it", element.str),
                "each port once",
                "together they are one",
            );
        }
        if i >= Native::MAX_PORTS || ports(&open) > Native::MAX_PORTS {
            report.error(
                element.span(),
                "too many ports",
                format!("at most {} ports in a door", Native::MAX_PORTS),
                "for so many let the door run a command of the firewall",
            );
            return None;
        }
        if let Err(fault) = found {
            complete = false;
            report.error(fault.at.span(), fault.message, fault.expected, fault.help);
        }
    }
    Some(open).filter(|_| complete)
}

/// Puts `service` to those that are there, none of which overlaps another. Whether it overlapped.
fn add(open: &mut Vec<Service>, service: Service) -> bool {
    let mut union = service;
    let mut place = None;
    let mut i = 0;
    open.retain(|other| {
        let Some(both) = other.union(union) else {
            i += 1;
            return true;
        };
        union = both;
        place.get_or_insert(i);
        false
    });
    open.insert(place.unwrap_or(open.len()), union);
    place.is_some()
}

fn ports(open: &[Service]) -> usize {
    let ports = open.iter().filter_map(|service| service.ports());
    ports.map(|(_, ports)| ports.count()).sum()
}

fn service<'a>(element: Text<'a>, lookup: Services<'_>) -> Result<Service, Fault<'a>> {
    if element.str.is_empty() {
        let fault = Fault::new(element, "a service is missing", Shape::Services.expected());
        return Err(fault.help("a comma stands between two, not after the last"));
    }
    if element.str.eq_ignore_ascii_case("icmp") {
        return Ok(Service::Icmp);
    }
    let Some((protocol, rest)) = element.split_once('/') else {
        return Err(without_slash(element, lookup));
    };
    let (protocol, rest) = (protocol.trim(), rest.trim());
    match named(protocol.str) {
        Some(protocol) => Ok(Service::at(protocol, range(rest, protocol, lookup)?)),
        None => Err(not_a_protocol(element, protocol, rest)),
    }
}

fn named(text: &str) -> Option<Protocol> {
    let is = |protocol: &Protocol| text.eq_ignore_ascii_case(&protocol.to_string());
    PROTOCOLS.into_iter().find(is)
}

/// One port, or the first and the last of several.
fn range<'a>(text: Text<'a>, protocol: Protocol, lookup: Services<'_>) -> Result<Ports, Fault<'a>> {
    let fault = |message: String| Fault::new(text, message, EXPECTED_PORT);
    if text.str.is_empty() {
        return Err(fault("the port is missing".into()));
    }
    // Names of services have such signs too.
    let bounds = text.split_once('-').map(|(a, b)| (a.trim(), b.trim()));
    let bounds = bounds.filter(|(a, b)| [a, b].iter().all(|t| t.str.is_empty() || digits(t.str)));
    match bounds {
        None => {
            let port = port(text, protocol, lookup)?;
            Ports::new(port, port).ok_or_else(|| no_port(text))
        }
        Some((first, last)) if first.str.is_empty() || last.str.is_empty() => {
            let (missing, given) = match first.str {
                "" => ("first", last.str),
                first => ("last", first),
            };
            let message = format!("`{}` has no {missing} port", text.str);
            Err(match given {
                "" => fault(message),
                port => fault(message).help(format!("write {protocol}/{port} if it is only this")),
            })
        }
        Some((first, last)) => {
            let (low, high) = (
                port(first, protocol, lookup)?,
                port(last, protocol, lookup)?,
            );
            Ports::new(low, high).ok_or_else(|| {
                let help = format!("write {protocol}/{high}-{low}");
                fault("the first port is greater than the last".into()).help(help)
            })
        }
    }
}

fn no_port(text: Text<'_>) -> Fault<'_> {
    Fault::new(
        text,
        format!("there is no port {}", text.str),
        EXPECTED_PORT,
    )
}

/// A port that is not 0.
fn port<'a>(text: Text<'a>, protocol: Protocol, lookup: Services<'_>) -> Result<u16, Fault<'a>> {
    if !digits(text.str) {
        let found = lookup(text.str, protocol).filter(|port| *port != 0);
        return found.ok_or_else(|| not_a_port(text, protocol));
    }
    let port = text.str.parse().ok().filter(|port| *port != 0);
    let port: u16 = port.ok_or_else(|| no_port(text))?;
    if text.str.starts_with('0') {
        let fault = Fault::new(text, format!("`{}` is no port", text.str), EXPECTED_PORT);
        return Err(fault.help(format!("write {port}")));
    }
    Ok(port)
}

/// A port that is neither a number nor a service that is known.
fn not_a_port(text: Text<'_>, protocol: Protocol) -> Fault<'_> {
    let str = text.str;
    let wrong = Fault::new(text, format!("`{str}` is no port"), EXPECTED_PORT);
    let colon = str.split_once(':').or_else(|| str.split_once(".."));
    if let Some((first, last)) = colon.filter(|(a, b)| digits(a) && digits(b)) {
        return wrong.help(format!("write {protocol}/{first}-{last}"));
    }
    if ALL_PORTS.contains(&str) {
        return wrong.help(format!(
            "a door opens single ports, at most {}",
            Native::MAX_PORTS
        ));
    }
    if let Some((port, second)) = str.split_once('/') {
        return match named(second.trim_matches(is_blank)) {
            Some(second) => wrong.help(format!("write {protocol}/{port}, {second}/{port}")),
            None => wrong,
        };
    }
    if str.contains(QUOTES) {
        return wrong.help("write the value without quotes");
    }
    if str.contains(is_blank) {
        return wrong.help("separate the services with commas");
    }
    if str.starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '-') {
        return wrong;
    }
    let message = format!("unknown {protocol} service `{str}`");
    Fault::new(text, message, EXPECTED_PORT).help(SERVICE_HELP)
}

/// What stands before the slash is neither tcp nor udp.
fn not_a_protocol<'a>(element: Text<'a>, protocol: Text<'a>, rest: Text<'a>) -> Fault<'a> {
    let (before, after) = (protocol.str, rest.str);
    let lower = before.to_ascii_lowercase();
    if lower == "icmp" || PINGS.contains(&lower.as_str()) {
        let fault = Fault::new(element, format!("`{before}` has no ports"), "icmp");
        return fault.help("write icmp; it opens echo requests (ping)");
    }
    if let Some(second) = named(after) {
        let message = format!("`{}` is the wrong way round", element.str);
        let fault = Fault::new(element, message, Shape::Services.expected());
        return fault.help(instead(second, before));
    }
    if before.is_empty() {
        let fault = Fault::new(protocol, "the protocol is missing", EXPECTED_PROTOCOL);
        return fault.help(instead(Protocol::Tcp, after));
    }
    let message = format!("unknown protocol `{before}`");
    let fault = Fault::new(protocol, message, EXPECTED_PROTOCOL);
    if BOTH.contains(&lower.as_str()) {
        return fault.help(format!("write tcp/{after}, udp/{after}"));
    }
    if element.str.contains(QUOTES) {
        return fault.help("write the value without quotes");
    }
    match PROTOCOLS.into_iter().find(|known| is_near(&lower, *known)) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault.help("other protocols cannot be opened"),
    }
}

/// `tpc`, `tcp4`: three letters are too few to count how many are wrong.
fn is_near(word: &str, protocol: Protocol) -> bool {
    let letters = |word: &str| {
        let mut letters: Vec<char> = word.chars().collect();
        letters.sort_unstable();
        letters
    };
    let protocol = protocol.to_string();
    word.starts_with(&protocol) || letters(word) == letters(&protocol)
}

fn without_slash<'a>(element: Text<'a>, lookup: Services<'_>) -> Fault<'a> {
    let str = element.str;
    let expected = Shape::Services.expected();
    if let Some(protocol) = named(str) {
        let fault = Fault::new(element, format!("`{str}` has no ports"), expected);
        return fault.help(format!("write {protocol}/ and a port"));
    }
    let lower = str.to_ascii_lowercase();
    let unknown = Fault::new(element, format!("`{str}` is no service"), expected);
    if PINGS.contains(&lower.as_str()) {
        return unknown.help("write icmp; it opens echo requests (ping)");
    }
    let parts = str.split_once(':').or_else(|| str.split_once(is_blank));
    if let Some((a, b)) = parts.map(|(a, b)| (a.trim_matches(is_blank), b.trim_matches(is_blank))) {
        match (named(a), named(b)) {
            (Some(protocol), None) => return unknown.help(instead(protocol, b)),
            (None, Some(protocol)) => return unknown.help(instead(protocol, a)),
            _ => {}
        }
    }
    let message = format!("`{str}` has no protocol");
    let bare = str
        .split('-')
        .all(|part| digits(part.trim_matches(is_blank)));
    let known = |protocol: &Protocol| lookup(str, *protocol).is_some();
    if bare || known(&Protocol::Tcp) {
        return Fault::new(element, message, expected).help(instead(Protocol::Tcp, str));
    }
    if known(&Protocol::Udp) {
        return Fault::new(element, message, expected).help(instead(Protocol::Udp, str));
    }
    if str.contains(QUOTES) {
        return unknown.help("write the value without quotes");
    }
    unknown
}

/// What to write for a port of `protocol`.
fn instead(protocol: Protocol, port: &str) -> String {
    if port.is_empty() {
        format!("write {protocol}/ and a port")
    } else {
        format!("write {protocol}/{port}")
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}
