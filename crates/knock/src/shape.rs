//! What a packet is like, where it is not like the original's.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;

use knock_core::flags::{FlagMatch, TcpFlags};

/// The most bytes that a datagram carries over IPv4: 65,535 less the headers of IP and UDP.
pub const MAX_PAYLOAD: usize = 65_507;

/// What packets are like.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shape {
    /// The flags of TCP packets; `None`: those that the system's own connects begin with.
    pub flags: Option<Flags>,
    /// What UDP packets carry.
    pub payload: Payload,
    /// The port that TCP and UDP packets come from; `None`: any.
    pub source_port: Option<NonZeroU16>,
}

/// The flags of a TCP packet, all of them: what is not named is clear.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Flags(TcpFlags);

impl Flags {
    /// The flags that are set.
    #[must_use]
    pub const fn set(self) -> TcpFlags {
        self.0
    }

    /// Whether the system's own connect begins with just these, so that nobody needs a privilege.
    #[must_use]
    pub const fn are_of_a_connect(self) -> bool {
        self.0.bits() == TcpFlags::SYN.bits()
    }
}

/// A word is no flag of TCP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FlagError(String);

/// What is wrong; lower case, no full stop.
impl fmt::Display for FlagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = TcpFlags::NAMED.map(|(name, _)| name).join(", ");
        let word = self.0.escape_debug();
        write!(
            f,
            "'{word}' is no TCP flag: expected {names}, with commas between them"
        )
    }
}

impl std::error::Error for FlagError {}

/// As `tcpflags` of `knockd.conf` has it: `syn,!ack`. For each flag the last word counts.
impl FromStr for Flags {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let mut wanted = FlagMatch::ANY;
        for word in text.split(',').map(str::trim) {
            let (name, is_clear) = match word.strip_prefix('!') {
                Some(name) => (name, true),
                None => (word, false),
            };
            let known = TcpFlags::NAMED
                .iter()
                .find(|(known, _)| name.eq_ignore_ascii_case(known));
            let (_, flag) = known.ok_or_else(|| FlagError(word.to_owned()))?;
            wanted = if is_clear {
                wanted.and_clear(*flag)
            } else {
                wanted.and_set(*flag)
            };
        }
        Ok(Self(wanted.must_be_set()))
    }
}

/// What a UDP packet carries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Payload(Vec<u8>);

/// As the original's: one zero byte.
impl Default for Payload {
    fn default() -> Self {
        Self(vec![0])
    }
}

impl Payload {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Why there is no payload.
#[derive(Debug)]
pub enum PayloadError {
    /// The file cannot be read.
    File(PathBuf, io::Error),
    /// After `hex:` there is something else than pairs of hexadecimal digits.
    Hex,
    /// It is longer than [`MAX_PAYLOAD`].
    TooLong,
}

/// What is wrong; lower case, no full stop.
impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Hex => f.write_str("expected pairs of hexadecimal digits after hex:"),
            Self::TooLong => write!(f, "a datagram carries {MAX_PAYLOAD} bytes at most"),
        }
    }
}

impl std::error::Error for PayloadError {}

/// A text, `hex:00ff`, or `@FILE` for what is in a file.
impl FromStr for Payload {
    type Err = PayloadError;

    fn from_str(text: &str) -> Result<Self, PayloadError> {
        let bytes = if let Some(path) = text.strip_prefix('@') {
            read(path.into())?
        } else if let Some(digits) = text.strip_prefix("hex:") {
            hex(digits).ok_or(PayloadError::Hex)?
        } else {
            text.into()
        };
        if bytes.len() > MAX_PAYLOAD {
            return Err(PayloadError::TooLong);
        }
        Ok(Self(bytes))
    }
}

/// No more of a file than shows that it is too long.
fn read(path: PathBuf) -> Result<Vec<u8>, PayloadError> {
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_PAYLOAD).unwrap_or(u64::MAX);
    let read = fs::File::open(&path)
        .and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(PayloadError::File(path, error)),
    }
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    };
    pairs.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(text: &str) -> u8 {
        text.parse::<Flags>().unwrap().set().bits()
    }

    #[test]
    fn flags_are_those_of_the_configuration() {
        assert_eq!(flags("syn"), 0x02);
        assert_eq!(flags("syn,!ack"), 0x02);
        assert_eq!(flags("FIN, psh ,urg"), 0x29);
        assert_eq!(flags("syn,!syn"), 0);
        assert_eq!(flags("rst,ack"), 0x14);
        assert!("syn,!ack".parse::<Flags>().unwrap().are_of_a_connect());
        assert!(!"syn,psh".parse::<Flags>().unwrap().are_of_a_connect());
        for text in ["", "syn,", "!", "ece", "syn ack", "!!syn"] {
            assert!(text.parse::<Flags>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_payload_is_a_text_digits_or_a_file() {
        let bytes = |text: &str| text.parse::<Payload>().map(|payload| payload.0);
        assert_eq!(bytes("open sesame").unwrap(), b"open sesame");
        assert_eq!(bytes("hex:00fF7f").unwrap(), [0, 0xff, 0x7f]);
        assert_eq!(bytes("hex:").unwrap(), [0; 0]);
        assert_eq!(bytes("").unwrap(), [0; 0]);
        for text in ["hex:0", "hex:0g", "hex:+1", "hex:é"] {
            assert!(matches!(bytes(text), Err(PayloadError::Hex)), "{text}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        let at = format!("@{}", path.display());
        assert!(matches!(bytes(&at), Err(PayloadError::File(..))));
        fs::write(&path, b"\x01\x02\n").unwrap();
        assert_eq!(bytes(&at).unwrap(), b"\x01\x02\n");
        fs::write(&path, vec![0; MAX_PAYLOAD + 1]).unwrap();
        assert!(matches!(bytes(&at), Err(PayloadError::TooLong)));
        assert_eq!(Payload::default().bytes(), [0]);
    }
}
