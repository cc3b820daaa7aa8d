//! What a user has written down of a host, so that nobody reads it on the command line: `NAME.toml`
//! among the profiles. Its keys are the long options of the program; see `knock(1)`.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use knock_core::sequence::Protocol;
use knock_spa::DoorName;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::pace::{Limit, Spacing, seconds};
use crate::reach::WaitFor;
use crate::resolve::{self, Family};
use crate::shape::{Flags, Payload};
use crate::step::Step;
use crate::store::{self, StoreError};

/// What is written down of a host. Without ports it is about a single packet.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// The host, by name or address; `None`: the profile's own name.
    pub host: Option<String>,
    /// The sequence.
    #[serde(default, deserialize_with = "ports")]
    pub ports: Vec<Step>,
    /// Milliseconds after each knock.
    pub delay: Option<u32>,
    /// The pause between two knocks.
    #[serde(default, deserialize_with = "text")]
    pub spacing: Option<Spacing>,
    /// The flags of TCP packets.
    #[serde(default, deserialize_with = "text")]
    pub flags: Option<Flags>,
    /// What UDP packets carry.
    #[serde(default, deserialize_with = "text")]
    pub payload: Option<Payload>,
    /// The port that packets come from.
    pub source_port: Option<NonZeroU16>,
    /// Our address.
    pub source: Option<String>,
    /// Our interface.
    pub interface: Option<String>,
    /// The only family that is used: 4 or 6.
    #[serde(default, deserialize_with = "family")]
    pub family: Option<Family>,
    /// The port that is waited for.
    #[serde(default, deserialize_with = "text")]
    pub wait: Option<WaitFor>,
    /// How long is waited after each knock.
    #[serde(default, deserialize_with = "text")]
    pub timeout: Option<Limit>,
    /// How often is knocked again.
    pub retry: Option<u8>,
    /// The door of a single packet.
    #[serde(default, deserialize_with = "door")]
    pub door: Option<DoorName>,
    /// For how long it is to be open.
    #[serde(default, rename = "for", deserialize_with = "open_for")]
    pub open_for: Option<NonZeroU32>,
    /// The only key that may sign.
    pub identity: Option<PathBuf>,
    /// Whether no public address of ours is named.
    #[serde(default)]
    pub no_claim: bool,
}

/// Why nothing is known of a profile that is there.
#[derive(Debug)]
pub enum ProfileError {
    /// The file cannot be had.
    Store(StoreError),
    /// It is no profile: where and why, in several lines.
    Text(PathBuf, String),
}

/// What is wrong; lower case, no full stop.
impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Text(path, why) => write!(f, "{}: {}", path.display(), why.trim_end()),
        }
    }
}

impl std::error::Error for ProfileError {}

impl From<StoreError> for ProfileError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Saved {
    /// What is written down under `name`; `None` if nothing is, or if it can be no profile's name. A
    /// name with a slash is the path of a file.
    ///
    /// # Errors
    /// If others may read the file, or if there is a mistake in it.
    pub fn load(name: &str) -> Result<Option<Self>, ProfileError> {
        let path = match path(name) {
            Ok(path) => path,
            Err(StoreError::Name(_) | StoreError::NoFolder) => return Ok(None),
            Err(other) => return Err(other.into()),
        };
        match Self::load_from(&path) {
            Err(ProfileError::Store(StoreError::Missing(_))) if !is_path(name) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it is not there, others may read it, or there is a mistake in it.
    pub fn load_from(path: &Path) -> Result<Self, ProfileError> {
        let bytes = store::read_private(path)?;
        let why = |why: String| ProfileError::Text(path.to_owned(), why);
        let text = str::from_utf8(&bytes).map_err(|error| why(error.to_string()))?;
        Self::parse(text).map_err(why)
    }

    /// Reads the text of a profile.
    ///
    /// # Errors
    /// Each with its line, and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let saved: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if saved.delay.is_some() && saved.spacing.is_some() {
            return Err("delay and spacing exclude each other".to_owned());
        }
        Ok(saved)
    }
}

/// The file of a profile.
///
/// # Errors
/// If the name can be none, or there is no folder.
pub fn path(name: &str) -> Result<PathBuf, StoreError> {
    if is_path(name) {
        return Ok(name.into());
    }
    store::path(name, "toml")
}

/// No host has such a name.
#[must_use]
pub fn is_path(name: &str) -> bool {
    name.contains(std::path::is_separator)
}

/// What is written as on the command line.
fn text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(D::Error::custom)
}

fn door<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DoorName>, D::Error> {
    let name = String::deserialize(deserializer)?;
    DoorName::new(&name).map(Some).map_err(D::Error::custom)
}

fn open_for<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NonZeroU32>, D::Error> {
    let time = String::deserialize(deserializer)?;
    seconds(&time).map(Some).map_err(D::Error::custom)
}

fn family<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Family>, D::Error> {
    match u64::deserialize(deserializer)? {
        4 => Ok(Some(Family::V4)),
        6 => Ok(Some(Family::V6)),
        other => Err(D::Error::invalid_value(
            Unexpected::Unsigned(other),
            &"4 or 6",
        )),
    }
}

fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Step>, D::Error> {
    let ports: Vec<Port> = Vec::deserialize(deserializer)?;
    if ports.is_empty() {
        let why = "ports is empty: expected at least one, or no such key for a single packet";
        return Err(D::Error::custom(why));
    }
    Ok(ports.into_iter().map(|port| port.0).collect())
}

/// `7000`, `"8000:udp"`, `"icmp:64"`
struct Port(Step);

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortVisitor)
    }
}

struct PortVisitor;

impl Visitor<'_> for PortVisitor {
    type Value = Port;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port: 7000, \"8000:udp\", \"ssh\" or \"icmp:64\"")
    }

    fn visit_i64<E: Error>(self, port: i64) -> Result<Port, E> {
        self.visit_str(&port.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Port, E> {
        let step = Step::parse(text, Protocol::Tcp, &resolve::service);
        step.map(Port).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = r#"
host = "server.example.com"
ports = [7000, "8000:udp", "icmp:64"]
delay = 300
flags = "syn,!ack"
payload = "hex:00ff"
source_port = 40000
source = "192.0.2.7"
interface = "eth0"
family = 6
wait = "tcp/22"
timeout = "3s"
retry = 2
"#;

    #[test]
    fn a_profile_holds_what_the_command_line_does() {
        let saved = Saved::parse(ALL).unwrap();
        let ports: Vec<_> = saved.ports.iter().map(ToString::to_string).collect();
        assert_eq!(ports, ["7000", "8000:udp", "icmp:64"]);
        assert_eq!(saved.host.as_deref(), Some("server.example.com"));
        assert_eq!(saved.delay, Some(300));
        assert_eq!(saved.flags, "syn".parse().ok());
        assert_eq!(saved.payload.unwrap().bytes(), [0, 0xff]);
        assert_eq!(saved.family, Some(Family::V6));
        assert_eq!(saved.wait, "tcp/22".parse().ok());
        assert_eq!(saved.timeout, "3s".parse().ok());
        assert_eq!((saved.retry, saved.no_claim), (Some(2), false));
        let single = Saved::parse("door = \"web\"\nfor = \"10m\"\nno_claim = true\n").unwrap();
        assert_eq!(single.door.as_ref().map(DoorName::as_str), Some("web"));
        assert_eq!(single.open_for.map(NonZeroU32::get), Some(600));
        assert!(single.ports.is_empty() && single.no_claim);
    }

    #[test]
    fn a_mistake_has_its_line_and_what_was_expected() {
        for (from, to, line, why) in [
            ("7000", "70000", 3, "port 70000 is not from 1 to 65535"),
            ("7000", "-1", 3, "'-1'"),
            ("7000", "true", 3, "expected a port"),
            ("8000:udp", "8000:sctp", 3, "expected tcp or udp"),
            ("300", "\"soon\"", 4, "u32"),
            ("syn,!ack", "syn,foo", 5, "'foo' is no TCP flag"),
            ("hex:00ff", "hex:0", 6, "hexadecimal"),
            ("40000", "0", 7, "nonzero"),
            ("family = 6", "family = 5", 10, "4 or 6"),
            ("tcp/22", "udp/22", 11, "expected a TCP port"),
            ("\"3s\"", "\"3x\"", 12, "expected a time"),
            ("retry = 2", "retry = 999", 13, "u8"),
            ("interface", "interfaces", 9, "unknown field `interfaces`"),
            (
                "[7000, \"8000:udp\", \"icmp:64\"]",
                "[]",
                3,
                "ports is empty",
            ),
        ] {
            let error = Saved::parse(&ALL.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(why), "{to}: {error}");
            assert!(error.contains(&format!("line {line}")), "{to}: {error}");
        }
        let both = format!("{ALL}spacing = \"1s\"\n");
        assert!(Saved::parse(&both).is_err());
    }

    #[test]
    fn nobody_s_profile_is_none_and_a_path_must_be_there() {
        assert!(Saved::load("-x").unwrap().is_none());
        assert!(Saved::load("").unwrap().is_none());
        let missing = Saved::load("./no-such-profile.toml").unwrap_err();
        let StoreError::Missing(path) = (match missing {
            ProfileError::Store(error) => error,
            other => panic!("{other}"),
        }) else {
            panic!("not missing");
        };
        assert_eq!(path, Path::new("./no-such-profile.toml"));
    }
}
