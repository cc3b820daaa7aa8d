//! Requests and answers. One of either is one line of JSON.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Status;
use crate::events::{Event, Grant};

/// The version of the protocol. It grows when a client of before would misunderstand an answer; new
/// requests, kinds and fields come without.
pub const VERSION: u32 = 1;

/// The most bytes of a request, its newline not counted.
pub const MAX_REQUEST: usize = 4096;

/// What can be asked for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the daemon is. Answer: [`Answer::Status`].
    Status {},
    /// Opens a door for an address. Answer: [`Answer::Opened`], once it is open.
    Open {
        /// The door's name.
        door: String,
        /// For whom.
        source: IpAddr,
        /// For how many milliseconds; as the door says if it is not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Closes what is open. Answer: [`Answer::Closed`].
    Close {
        /// Of this door only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        door: Option<String>,
        /// From which this address gains only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<IpAddr>,
        /// Everything; must be said if neither a door nor an address is.
        #[serde(default)]
        all: bool,
        /// Ends the connections that have come in by it, too.
        #[serde(default)]
        kill: bool,
    },
    /// What happened, oldest first. Answers: [`Answer::Event`] each, [`Answer::Missed`] in between,
    /// and [`Answer::End`] unless it is followed.
    Events {
        /// From this number on; from the oldest that is remembered if it is not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<u64>,
        /// Whether to go on with what happens from now on. Nothing else is answered then.
        #[serde(default)]
        follow: bool,
    },
    /// Reads the configuration again. Answer: [`Answer::Reloaded`], or an error with the mistakes.
    Reload {},
    /// Logs at this level until the next reload. Answer: [`Answer::LogLevel`].
    LogLevel {
        /// Which.
        level: LogLevel,
    },
}

/// How much is logged.
#[derive(Copy, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Also what strangers do in vain.
    Debug,
    /// What the original logs.
    Info,
}

/// What is answered.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Open`].
    Opened(Opened),
    /// To [`Request::Close`].
    Closed {
        /// Each grant that is gone, or whose stop command is on its way.
        closed: Vec<Closed>,
        /// Connections that were ended.
        connections_ended: u64,
    },
    /// To [`Request::Events`].
    Event(Event),
    /// So many events were forgotten before they could be sent.
    Missed {
        /// How many.
        count: u64,
    },
    /// No more events; the next that happens has this number.
    End {
        /// Its number.
        next: u64,
    },
    /// To [`Request::Reload`]: the configuration is in force.
    Reloaded {
        /// What the daemon doubts about it, a line each.
        warnings: Vec<String>,
    },
    /// To [`Request::LogLevel`].
    LogLevel {
        /// What is in force.
        level: LogLevel,
    },
    /// It was not done.
    Error {
        /// Why, for programs.
        code: Code,
        /// Why, for people.
        message: String,
        /// More lines, such as the mistakes of a configuration.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        details: Vec<String>,
    },
}

/// A door is open.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Opened {
    /// Which door.
    pub door: String,
    /// For whom it was asked.
    pub source: IpAddr,
    /// What the gate lets through, such as `tcp/22`: the kernel has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Until when, where it closes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Whether it was open before, and is now for longer.
    pub extended: bool,
    /// How its commands are: absent if none is to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commands: Option<Commands>,
}

/// How far the commands of an opening have come.
#[derive(Copy, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Commands {
    /// The start command was started.
    Started,
    /// It waits, because too many others run.
    Waiting,
    /// Nothing was run: what is open is for longer (`reopen = extend`).
    Extended,
}

/// A grant that was closed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Closed {
    /// Of which door.
    pub door: String,
    /// Whom it has let in: an address, or a network with its prefix.
    pub to: String,
    /// Which grant.
    pub grant: Grant,
}

/// Why something was not done.
#[derive(Copy, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The line is no JSON object that is a request.
    BadRequest,
    /// The line is longer than [`MAX_REQUEST`]. The connection ends.
    TooLong,
    /// The first request does not say the version, or one that is not spoken here.
    Version,
    /// Only root and the daemon's own user may ask. The connection ends.
    NotPermitted,
    /// Too many are connected. The connection ends.
    TooManyClients,
    /// There is no door of this name.
    NoSuchDoor,
    /// The time is not one that the door can be open for.
    BadTime,
    /// The door was not opened, or not all of it.
    NotOpened,
    /// Something was not closed.
    NotClosed,
    /// The configuration was not taken; the one before stays in force.
    NotReloaded,
    /// The daemon ends.
    Stopping,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Why a line is no request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RequestError {
    /// It is none; what is wrong, and where.
    Bad(String),
    /// It is longer than [`MAX_REQUEST`].
    TooLong,
    /// It is of another version, or of none though it is the first.
    Version(Option<u64>),
}

/// The request in `line`, which is the `first` of its connection or not.
///
/// # Errors
/// If it is none, or of another version.
pub fn parse_request(line: &[u8], first: bool) -> Result<Request, RequestError> {
    let bad = |error: serde_json::Error| RequestError::Bad(error.to_string());
    let mut object = match serde_json::from_slice(line).map_err(bad)? {
        Value::Object(object) => object,
        _ => return Err(RequestError::Bad("expected an object".to_owned())),
    };
    match object.remove("version") {
        None if !first => {}
        Some(version) if version == VERSION => {}
        other => return Err(RequestError::Version(other.and_then(|v| v.as_u64()))),
    }
    serde_json::from_value(Value::Object(object)).map_err(bad)
}

/// The answer in `line`.
///
/// # Errors
/// If it is none that this version knows.
pub fn parse_answer(line: &[u8]) -> Result<Answer, serde_json::Error> {
    serde_json::from_slice(line)
}

impl Request {
    /// The line for it, with version and newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Value::Object(object) = &mut value {
            object.insert("version".to_owned(), VERSION.into());
        }
        format!("{value}\n")
    }
}

impl Answer {
    /// The line for it, with its newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// That something was not done.
    #[must_use]
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self::Error {
            code,
            message: message.into(),
            details: Vec::new(),
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(why) => write!(f, "this is no request: {why}"),
            Self::TooLong => write!(f, "a request has at most {MAX_REQUEST} bytes"),
            Self::Version(None) => {
                write!(f, "the first request must have \"version\": {VERSION}")
            }
            Self::Version(Some(other)) => {
                write!(f, "version {other} is not spoken here, but {VERSION}")
            }
        }
    }
}

impl std::error::Error for RequestError {}
