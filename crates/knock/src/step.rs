//! One argument after the host: which port is knocked, by which protocol.

use std::fmt;
use std::num::NonZeroU16;

use knock_core::config::Services;
use knock_core::sequence::Protocol;

/// The bytes of data in an echo request where none are named: as many as `ping` sends.
const SIZE: u16 = 56;
/// The most, as with a datagram.
const MAX_SIZE: u16 = 65_507;

/// One packet that is to be sent.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// To a port. It is never 0: no service can be there, and the original sent to it only what it
    /// had misread.
    Port(Protocol, NonZeroU16),
    /// An echo request with so many bytes of data.
    Echo(u16),
}

/// Why an argument is not a step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StepError {
    /// There is nothing before the colon.
    NoPort,
    /// The number is 0 or more than 65535.
    OutOfRange(String),
    /// `7000-7002`.
    Range,
    /// `7000,8000`.
    List,
    /// The word is no service of this protocol.
    UnknownService(String, Protocol),
    /// There is nothing after the colon.
    NoProtocol,
    /// The word after the colon is neither `tcp` nor `udp`.
    UnknownProtocol(String),
    /// What is after `icmp:` is no number, or one that is too large.
    Size(String),
}

impl Step {
    /// Reads `port`, `port:tcp` or `port:udp`, where the port is a number or a service name and
    /// the protocol may be in any case, or `icmp` or `icmp:size`. `default` is the protocol where
    /// none is named.
    ///
    /// # Errors
    /// If it is anything else; nothing is guessed.
    pub fn parse(text: &str, default: Protocol, services: Services<'_>) -> Result<Self, StepError> {
        let (word, rest) = match text.split_once(':') {
            Some((word, rest)) => (word, Some(rest)),
            None => (text, None),
        };
        if word.eq_ignore_ascii_case("icmp") {
            return rest.map_or(Ok(SIZE), parse_size).map(Self::Echo);
        }
        let protocol = rest.map_or(Ok(default), parse_protocol)?;
        let port = parse_port(word, protocol, services)?;
        Ok(Self::Port(protocol, port))
    }

    /// `tcp`, `udp` or `icmp`
    #[must_use]
    pub const fn protocol(self) -> &'static str {
        match self {
            Self::Port(Protocol::Tcp, _) => "tcp",
            Self::Port(Protocol::Udp, _) => "udp",
            Self::Echo(_) => "icmp",
        }
    }

    /// The destination port, if it has one.
    #[must_use]
    pub const fn port(self) -> Option<NonZeroU16> {
        match self {
            Self::Port(_, port) => Some(port),
            Self::Echo(_) => None,
        }
    }

    /// The same port, by UDP (`-u`, which the original lets win over `:tcp`).
    #[must_use]
    pub const fn over_udp(self) -> Self {
        match self {
            Self::Port(_, port) => Self::Port(Protocol::Udp, port),
            Self::Echo(size) => Self::Echo(size),
        }
    }
}

/// As an argument of the command line.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(Protocol::Tcp, port) => write!(f, "{port}"),
            Self::Port(Protocol::Udp, port) => write!(f, "{port}:udp"),
            Self::Echo(size) => write!(f, "icmp:{size}"),
        }
    }
}

fn parse_size(text: &str) -> Result<u16, StepError> {
    let size = text.parse().ok().filter(|size| *size <= MAX_SIZE);
    let is_number = text.bytes().all(|c| c.is_ascii_digit());
    size.filter(|_| is_number)
        .ok_or_else(|| StepError::Size(text.to_owned()))
}

fn parse_protocol(text: &str) -> Result<Protocol, StepError> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "" => Err(StepError::NoProtocol),
        _ => Err(StepError::UnknownProtocol(text.to_owned())),
    }
}

fn parse_port(
    text: &str,
    protocol: Protocol,
    services: Services<'_>,
) -> Result<NonZeroU16, StepError> {
    let only = |more: &[char]| {
        text.chars()
            .all(|c| c.is_ascii_digit() || more.contains(&c))
    };
    if text.is_empty() {
        return Err(StepError::NoPort);
    }
    if only(&[]) {
        let out_of_range = |_| StepError::OutOfRange(text.to_owned());
        return text.parse().map_err(out_of_range);
    }
    if only(&['-']) && !text.starts_with('-') {
        return Err(StepError::Range);
    }
    if text.contains(',') {
        return Err(StepError::List);
    }
    services(text, protocol)
        .and_then(NonZeroU16::new)
        .ok_or_else(|| StepError::UnknownService(text.to_owned(), protocol))
}

/// What is wrong; lower case, no full stop.
impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPort => f.write_str("no port: expected a number from 1 to 65535 or a service"),
            Self::OutOfRange(port) => write!(f, "port {port} is not from 1 to 65535"),
            Self::Range => f.write_str("a range is not a step: name each port, in its order"),
            Self::List => f.write_str("a list is not a step: write the ports apart, with blanks"),
            Self::UnknownService(name, protocol) => {
                write!(
                    f,
                    "no {protocol} service is called '{}'",
                    name.escape_debug()
                )
            }
            Self::NoProtocol => f.write_str("nothing after the colon: expected tcp or udp"),
            Self::UnknownProtocol(name) => {
                let name = name.escape_debug();
                write!(f, "unknown protocol '{name}': expected tcp or udp")
            }
            Self::Size(size) => {
                let size = size.escape_debug();
                write!(
                    f,
                    "'{size}' is no size: expected a number of bytes, {MAX_SIZE} at most"
                )
            }
        }
    }
}

impl std::error::Error for StepError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(name: &str, protocol: Protocol) -> Option<u16> {
        match (name, protocol) {
            ("domain", _) => Some(53),
            ("ssh", Protocol::Tcp) => Some(22),
            _ => None,
        }
    }

    fn parse(text: &str) -> Result<(Protocol, u16), StepError> {
        match Step::parse(text, Protocol::Tcp, &services)? {
            Step::Port(protocol, port) => Ok((protocol, port.get())),
            Step::Echo(size) => panic!("an echo request of {size} bytes"),
        }
    }

    #[test]
    fn an_echo_request_has_a_size() {
        let size = |text: &str| Step::parse(text, Protocol::Tcp, &services);
        assert_eq!(size("icmp"), Ok(Step::Echo(56)));
        assert_eq!(size("ICMP:0"), Ok(Step::Echo(0)));
        assert_eq!(size("icmp:65507"), Ok(Step::Echo(65_507)));
        for text in [
            "icmp:",
            "icmp:65508",
            "icmp:+1",
            "icmp:-1",
            "icmp:udp",
            "icmp:99999",
        ] {
            assert!(matches!(size(text), Err(StepError::Size(_))), "{text}");
        }
        assert!(matches!(size("icmp6"), Err(StepError::UnknownService(..))));
        assert_eq!(size("icmp:9").map(Step::over_udp), Ok(Step::Echo(9)));
    }

    #[test]
    fn a_step_is_written_as_it_is_read() {
        for text in ["7000", "7000:udp", "icmp:64"] {
            let step = Step::parse(text, Protocol::Tcp, &services).unwrap();
            assert_eq!(step.to_string(), text);
        }
    }

    #[test]
    fn a_protocol_may_be_in_any_case() {
        for text in ["7000", "7000:tcp", "7000:TCP", "7000:Tcp"] {
            assert_eq!(parse(text), Ok((Protocol::Tcp, 7000)), "{text}");
        }
        for text in ["7000:udp", "7000:UDP", "7000:uDp"] {
            assert_eq!(parse(text), Ok((Protocol::Udp, 7000)), "{text}");
        }
    }

    #[test]
    fn a_service_is_looked_up_for_its_protocol() {
        assert_eq!(parse("ssh"), Ok((Protocol::Tcp, 22)));
        assert_eq!(parse("domain:udp"), Ok((Protocol::Udp, 53)));
        let unknown = |name: &str, protocol| Err(StepError::UnknownService(name.into(), protocol));
        assert_eq!(parse("ssh:udp"), unknown("ssh", Protocol::Udp));
        assert_eq!(parse("nosuch"), unknown("nosuch", Protocol::Tcp));
    }

    #[test]
    fn a_bad_port_is_an_error_and_never_another_port() {
        let out = |text: &str| Err(StepError::OutOfRange(text.into()));
        for text in ["0", "65536", "70000", "99999999999999999999"] {
            assert_eq!(parse(text), out(text));
        }
        for text in ["", ":udp", ":"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in [
            "-1",
            "+7000",
            "0x1b58",
            " 7000",
            "7000 ",
            "7000x",
            "７０００",
        ] {
            assert!(
                matches!(parse(text), Err(StepError::UnknownService(..))),
                "{text}"
            );
        }
    }

    #[test]
    fn the_ends_of_the_range_are_ports() {
        assert_eq!(parse("1"), Ok((Protocol::Tcp, 1)));
        assert_eq!(parse("65535"), Ok((Protocol::Tcp, 65535)));
        assert_eq!(parse("007000"), Ok((Protocol::Tcp, 7000)));
    }

    #[test]
    fn ranges_and_lists_are_told_how_to_be_written() {
        assert_eq!(parse("7000-7002"), Err(StepError::Range));
        assert_eq!(parse("7000,8000"), Err(StepError::List));
    }

    #[test]
    fn a_bad_protocol_is_an_error_and_never_tcp() {
        let unknown = |name: &str| Err(StepError::UnknownProtocol(name.into()));
        assert_eq!(parse("7000:"), Err(StepError::NoProtocol));
        assert_eq!(parse("7000:sctp"), unknown("sctp"));
        assert_eq!(parse("7000:udp "), unknown("udp "));
        assert_eq!(parse("7000:udp:junk"), unknown("udp:junk"));
    }

    #[test]
    fn over_udp_wins_over_a_named_protocol() {
        let step = Step::parse("7000:tcp", Protocol::Udp, &services);
        let protocol = step.map(|step| step.over_udp().protocol());
        assert_eq!(protocol, Ok("udp"));
    }

    #[test]
    fn an_error_shows_no_raw_control_character() {
        let error = parse("\u{1b}[31m").unwrap_err().to_string();
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
}
