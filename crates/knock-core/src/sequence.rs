//! Steps and sequences: the ports that must be knocked, in their order.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// The transport protocol of a step or of a packet.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// Transmission Control Protocol, IP protocol number 6.
    Tcp,
    /// User Datagram Protocol, IP protocol number 17.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// One port of a sequence.
///
/// Port 0 can be a step: the original counts packets to it (it got there from `abc` or from a
/// trailing comma), and a packet to port 0 is a packet like any other.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Step {
    /// The protocol.
    pub protocol: Protocol,
    /// The destination port.
    pub port: u16,
}

impl Step {
    /// A TCP step.
    #[must_use]
    pub const fn tcp(port: u16) -> Self {
        Self {
            protocol: Protocol::Tcp,
            port,
        }
    }

    /// A UDP step.
    #[must_use]
    pub const fn udp(port: u16) -> Self {
        Self {
            protocol: Protocol::Udp,
            port,
        }
    }
}

/// As `sequence` writes it: `7000` for TCP, `7000:udp` for UDP.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Protocol::Tcp => write!(f, "{}", self.port),
            Protocol::Udp => write!(f, "{}:udp", self.port),
        }
    }
}

/// Why a text is not a step, and which bytes of it are to blame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StepError {
    /// What is wrong.
    pub kind: StepErrorKind,
    /// The bytes of the text at fault, on character boundaries; empty where something is missing.
    pub span: Range<usize>,
}

/// What is wrong with the text of a step.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum StepErrorKind {
    /// There is no port.
    NoPort,
    /// The port is neither a decimal number nor a service that is known.
    NotAPort,
    /// The port is a range, such as `7000-7005`.
    PortRange,
    /// The port is greater than 65535.
    PortTooBig,
    /// What follows the `:` is neither `tcp` nor `udp`, in any case.
    UnknownProtocol,
    /// There is a second `:`.
    TooManyParts,
}

/// Reads `port` or `port:protocol` with a decimal port. As in the original, blanks around either
/// part, zeros or one `+` before the port and capitals in the protocol are accepted; what it
/// silently misread is an error.
///
/// # Errors
/// If the text is no step.
pub fn parse_step(text: &str) -> Result<Step, StepError> {
    parse_step_with(text, |_, _| None)
}

/// As [`parse_step`], with `service` to find the port where its place holds a name.
///
/// # Errors
/// If the text is no step.
pub fn parse_step_with(
    text: &str,
    service: impl FnOnce(&str, Protocol) -> Option<u16>,
) -> Result<Step, StepError> {
    let fault = |kind, span| Err(StepError { kind, span });
    let colon = text.find(':').unwrap_or(text.len());
    let (port_text, protocol_text) = text.split_at(colon);
    let protocol = match protocol_text.strip_prefix(':') {
        None => Protocol::Tcp,
        Some(rest) => {
            let span = trimmed(rest, colon + 1);
            if rest.contains(':') {
                return fault(StepErrorKind::TooManyParts, span);
            }
            match rest.trim_matches(is_blank) {
                name if name.eq_ignore_ascii_case("tcp") => Protocol::Tcp,
                name if name.eq_ignore_ascii_case("udp") => Protocol::Udp,
                _ => return fault(StepErrorKind::UnknownProtocol, span),
            }
        }
    };
    let span = trimmed(port_text, 0);
    let port_text = port_text.trim_matches(is_blank);
    match parse_port(port_text) {
        Ok(port) => Ok(Step { protocol, port }),
        Err(StepErrorKind::NotAPort) => match service(port_text, protocol) {
            Some(port) => Ok(Step { protocol, port }),
            None => fault(StepErrorKind::NotAPort, span),
        },
        Err(kind) => fault(kind, span),
    }
}

/// A decimal port without blanks.
fn parse_port(text: &str) -> Result<u16, StepErrorKind> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let digits = text.strip_prefix('+').unwrap_or(text);
    if text.is_empty() {
        return Err(StepErrorKind::NoPort);
    }
    if !is_number(digits) {
        let range = text.split_once('-').is_some_and(|(first, last)| {
            is_number(first.trim_matches(is_blank)) && is_number(last.trim_matches(is_blank))
        });
        return Err(if range {
            StepErrorKind::PortRange
        } else {
            StepErrorKind::NotAPort
        });
    }
    digits.parse().map_err(|_| StepErrorKind::PortTooBig)
}

/// What the original trims: the white space of C's `isspace`.
pub(crate) const fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// Where `text` without the blanks around it lies, if it begins at `start`.
fn trimmed(text: &str, start: usize) -> Range<usize> {
    let kept = text.trim_start_matches(is_blank);
    let start = start + text.len() - kept.len();
    start..start + kept.trim_end_matches(is_blank).len()
}

/// The steps of a door: at least one, at most [`Sequence::MAX`].
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Sequence(Vec<Step>);

/// Why steps are not a sequence.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum SequenceError {
    /// There is no step.
    Empty,
    /// There are more steps than [`Sequence::MAX`].
    TooLong,
}

impl Sequence {
    /// The most steps that a sequence may have, as in the original.
    pub const MAX: usize = 32;

    /// A sequence of `steps`.
    ///
    /// # Errors
    /// If there is none, or more than [`Sequence::MAX`].
    pub fn new(steps: Vec<Step>) -> Result<Self, SequenceError> {
        match steps.len() {
            0 => Err(SequenceError::Empty),
            n if n > Self::MAX => Err(SequenceError::TooLong),
            _ => Ok(Self(steps)),
        }
    }

    /// The steps, first to last; never empty.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

/// As `sequence` writes it: `7000,8000:udp`.
impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "," };
            write!(f, "{separator}{step}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (StepErrorKind, &str) {
        let error = parse_step(text).unwrap_err();
        (error.kind, &text[error.span])
    }

    #[test]
    fn what_the_original_reads_right_is_read_alike() {
        for (text, step) in [
            ("7000", Step::tcp(7000)),
            (" 7000\t", Step::tcp(7000)),
            ("+7000", Step::tcp(7000)),
            ("010", Step::tcp(10)),
            ("0", Step::tcp(0)),
            ("65535 : UdP\x0b", Step::udp(65535)),
            ("00000000000000000000007:Tcp", Step::tcp(7)),
        ] {
            assert_eq!(parse_step(text), Ok(step), "{text:?}");
        }
    }

    #[test]
    fn what_the_original_silently_misreads_is_an_error_with_its_place() {
        use StepErrorKind::{
            NoPort, NotAPort, PortRange, PortTooBig, TooManyParts, UnknownProtocol,
        };
        for (text, kind, at) in [
            ("", NoPort, ""),
            ("  ", NoPort, ""),
            (":udp", NoPort, ""),
            ("abc", NotAPort, "abc"),
            (" 0x10 ", NotAPort, "0x10"),
            ("-1", NotAPort, "-1"),
            ("++1", NotAPort, "++1"),
            ("+", NotAPort, "+"),
            ("70 00", NotAPort, "70 00"),
            ("7000 # door", NotAPort, "7000 # door"),
            ("7\u{f6}", NotAPort, "7\u{f6}"),
            ("7000-7005", PortRange, "7000-7005"),
            ("7000 - 7005:udp", PortRange, "7000 - 7005"),
            ("65536", PortTooBig, "65536"),
            ("99999999999999999999", PortTooBig, "99999999999999999999"),
            ("7000:", UnknownProtocol, ""),
            ("7000: sctp ", UnknownProtocol, "sctp"),
            ("7000:udp # door", UnknownProtocol, "udp # door"),
            ("7000:udp:junk", TooManyParts, "udp:junk"),
        ] {
            assert_eq!(fault(text), (kind, at), "{text:?}");
        }
    }

    #[test]
    fn a_name_is_looked_up_for_its_protocol() {
        let services = |name: &str, protocol| match (name, protocol) {
            ("ssh", Protocol::Tcp) => Some(22),
            _ => None,
        };
        assert_eq!(parse_step_with(" ssh ", services), Ok(Step::tcp(22)));
        let error = parse_step_with("ssh:udp", services).unwrap_err();
        assert_eq!((error.kind, error.span), (StepErrorKind::NotAPort, 0..3));
    }
}
