//! What happened, as data: for the control socket, and whatever else wants to know.
//!
//! An [`Event`] is made where a line of the log is made, from the same [`crate::log::Line`]: the line
//! says it to people, its [`Happened`] to programs. Lines are limited, events are not: an opening whose
//! line was left out has its event all the same.

mod memory;
mod reason;

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use memory::Memory;
pub use reason::Reason;

/// Something that happened. In JSON, what does not apply is left out.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Event {
    /// Its number, from 1 on at each start of the daemon, without gaps.
    pub seq: u64,
    /// Which run of the daemon numbers it.
    pub run: RunId,
    /// When it happened, by the wall clock.
    pub time: Timestamp,
    /// What happened.
    pub kind: Kind,
    /// How much it matters: the level of its line in the log.
    pub level: Level,
    /// The name of the door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<String>,
    /// Whose packets, or whom an operator meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Which grant has come, goes on or has gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
    /// Whom the grant lets in: an address, or a network with its prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What a native door opens, such as `tcp/22`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Who it was, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Who>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Until when what was opened is open, by the wall clock; that of commands begins to count when
    /// the start command has ended, so it is the soonest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How many steps of the sequence were taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<u16>,
    /// How many there were, of what comes in numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The text of the log line, without control characters.
    pub text: String,
}

/// What of an event its line does not say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Happened {
    /// [`Event::kind`].
    pub kind: Kind,
    /// [`Event::grant`].
    pub grant: Option<Grant>,
    /// [`Event::to`].
    pub to: Option<String>,
    /// [`Event::services`].
    pub services: Vec<String>,
    /// [`Event::who`].
    pub who: Option<Who>,
    /// [`Event::reason`].
    pub reason: Option<Reason>,
    /// [`Event::until`], on the daemon's clock ([`crate::listen::now`]).
    pub until: Option<knock_core::time::Timestamp>,
    /// [`Event::stage`].
    pub stage: Option<u16>,
    /// [`Event::count`].
    pub count: Option<u64>,
}

/// What can happen. New kinds may come; who reads events passes over those that it does not know.
#[derive(Copy, Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The daemon has started.
    Start,
    /// The daemon stops.
    Stop,
    /// The configuration was read again and is in force.
    Reload,
    /// The configuration was read again and is not in force.
    ReloadFailed,
    /// A source has taken a step.
    Step,
    /// A wrong knock has ended an attempt.
    Broken,
    /// The time for an attempt is over.
    Timeout,
    /// A source has completed the knock of a door, or has sent what is as good.
    Knocked,
    /// A door was opened: each grant that it gave is one event.
    Open,
    /// A grant lasts longer.
    Extend,
    /// A grant is over.
    Close,
    /// Somebody who had a right to try was not let in, or not to all.
    Refuse,
    /// A command failed, or could not be run.
    CommandFailed,
    /// The gate has changed.
    Gate,
    /// A listener has started or ended.
    Listener,
    /// Something about an interface has changed.
    Interface,
    /// An operator has asked for something at the control socket.
    Operator,
    /// So many log lines were left out (`count`).
    LeftOut,
    /// So many packets were dropped by the kernel, unread (`count`).
    Dropped,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

/// How much an event matters.
#[derive(Copy, Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// What a stranger does in vain.
    Debug,
    /// What is as it should be.
    Info,
    /// Something is not as it was meant.
    Warning,
    /// Something that was asked for did not happen.
    Error,
}

/// Which grant of a door.
#[derive(Copy, Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// One at the gate: a door has one for each `to`.
    Gate,
    /// One of commands, with its number, which no other grant of this daemon's journal has.
    Commands(u64),
}

/// Who opened or closed something.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// The holder of a key: its comment or fingerprint.
    Key(String),
    /// Who had a code on paper.
    Code,
    /// The user with this number, at the control socket.
    Operator(u32),
}

/// The number of a run of the daemon: random, so that two never have the same.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// The one of these bits.
    #[must_use]
    pub fn new(bits: u64) -> Self {
        Self(format!("{bits:016x}"))
    }

    /// In 16 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Happened {
    /// Nothing more than that.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            grant: None,
            to: None,
            services: Vec::new(),
            who: None,
            reason: None,
            until: None,
            stage: None,
            count: None,
        }
    }

    /// This, for that reason.
    #[must_use]
    pub fn because(self, reason: Reason) -> Self {
        Self {
            reason: Some(reason),
            ..self
        }
    }

    /// This, by `who`, as far as that is known.
    #[must_use]
    pub fn by(self, who: Option<Who>) -> Self {
        Self { who, ..self }
    }

    /// This, of so many.
    #[must_use]
    pub fn of(self, count: impl Into<u64>) -> Self {
        Self {
            count: Some(count.into()),
            ..self
        }
    }

    /// This, at that stage.
    #[must_use]
    pub fn at(self, stage: impl Into<u16>) -> Self {
        Self {
            stage: Some(stage.into()),
            ..self
        }
    }

    /// This, until then on the daemon's clock, if it ends by itself.
    #[must_use]
    pub fn until(self, until: Option<knock_core::time::Timestamp>) -> Self {
        Self { until, ..self }
    }

    /// This, about the grant `grant` that lets `to` in.
    #[must_use]
    pub fn about(self, grant: Grant, to: impl fmt::Display) -> Self {
        Self {
            grant: Some(grant),
            to: Some(to.to_string()),
            ..self
        }
    }
}

impl From<crate::log::Level> for Level {
    fn from(level: crate::log::Level) -> Self {
        match level {
            crate::log::Level::Debug => Self::Debug,
            crate::log::Level::Info => Self::Info,
            crate::log::Level::Warning => Self::Warning,
            crate::log::Level::Error => Self::Error,
        }
    }
}

impl Kind {
    /// Its word in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Reload => "reload",
            Self::ReloadFailed => "reload-failed",
            Self::Step => "step",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
            Self::Knocked => "knocked",
            Self::Open => "open",
            Self::Extend => "extend",
            Self::Close => "close",
            Self::Refuse => "refuse",
            Self::CommandFailed => "command-failed",
            Self::Gate => "gate",
            Self::Listener => "listener",
            Self::Interface => "interface",
            Self::Operator => "operator",
            Self::LeftOut => "left-out",
            Self::Dropped => "dropped",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(name) => f.write_str(name),
            Self::Code => f.write_str("a code on paper"),
            Self::Operator(uid) => write!(f, "operator uid {uid}"),
        }
    }
}

#[cfg(test)]
mod tests;
