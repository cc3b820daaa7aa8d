//! How the daemon is, as data. Fields may be added; none goes or changes its meaning within a
//! version of the protocol. Times that count are in milliseconds.

use std::net::IpAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::LogLevel;
use crate::events::{Grant, RunId, Who};

/// How the daemon is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Status {
    /// The version of the program.
    pub program: String,
    /// Which run it is; events have the same.
    pub run: RunId,
    /// When it was started.
    pub started: Timestamp,
    /// When this was said.
    pub now: Timestamp,
    /// The number of the latest event; 0 if there is none.
    pub last_event: u64,
    /// The configuration file.
    pub config: PathBuf,
    /// What is logged.
    pub log_level: LogLevel,
    /// Whether it acts on nothing (`shadow`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// The process that answers.
    pub keeper: Keeper,
    /// The process that sees packets; absent while none runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<Listener>,
    /// What it listens on.
    pub interfaces: Vec<Interface>,
    /// The doors, as the configuration has them.
    pub doors: Vec<Door>,
    /// Attempts that are under way, as far as they were reported: in a flood those past their first
    /// step. Those that end first come first.
    pub attempts: Shown<Attempt>,
    /// What is open. What ends first comes first.
    pub grants: Shown<Granted>,
    /// What was counted since the start.
    pub counters: Counters,
    /// The gate; absent if no door is native.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
}

/// The first of many, and how many there are.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Shown<T> {
    /// How many there are.
    pub total: u64,
    /// The first of them: at most [`Shown::MOST`].
    pub shown: Vec<T>,
}

impl<T> Shown<T> {
    /// The most that are shown.
    pub const MOST: usize = 512;
}

/// The keeper.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Keeper {
    /// Its process id.
    pub pid: u32,
    /// Its effective user id.
    pub uid: u32,
    /// The capabilities that are in force, by name; empty if it has none.
    pub capabilities: Vec<String>,
    /// Commands that run.
    pub commands_running: u64,
    /// Commands that wait.
    pub commands_waiting: u64,
}

/// The listener.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Listener {
    /// Its process id.
    pub pid: u32,
    /// What holds it; empty with `sandbox = off`.
    pub layers: Vec<Layer>,
}

/// A layer of the listener's sandbox.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Layer {
    /// Its name, as `knockctl doctor` and the log say it.
    pub name: String,
    /// Whether it is in force.
    pub state: LayerState,
}

/// Whether a layer is in force.
#[derive(Copy, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerState {
    /// It is.
    On,
    /// As far as the kernel goes: its version.
    Partly(u32),
    /// It is not.
    Missing,
}

/// An interface that was asked for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Interface {
    /// Its name; `any` for every one.
    pub name: String,
    /// Whether it is there and up.
    pub up: bool,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A door.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Door {
    /// Its name.
    pub name: String,
    /// How many knocks open it; 0 if none do.
    pub steps: u16,
    /// Its one-time sequences, if it has such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_time: Option<OneTime>,
    /// Whether sealed packets open it.
    pub sealed: bool,
    /// What it opens at the gate, such as `tcp/22`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<String>,
    /// For how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_for_ms: Option<u64>,
    /// Whether it runs commands.
    pub commands: bool,
    /// Grants that it has given since the start.
    #[serde(default)]
    pub openings: u64,
    /// From the start command to the stop command, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd_timeout_ms: Option<u64>,
    /// The door that it closes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes: Option<String>,
}

/// The one-time sequences of a door.
#[derive(Copy, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct OneTime {
    /// Whether there is one left to knock.
    pub open: bool,
}

/// An attempt that is under way.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Attempt {
    /// At which door.
    pub door: String,
    /// Whose.
    pub source: IpAddr,
    /// Steps taken.
    pub stage: u16,
    /// Steps in all.
    pub steps: u16,
    /// What is left of its time.
    pub left_ms: u64,
}

/// A grant.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Granted {
    /// Of which door.
    pub door: String,
    /// Whom it lets in: an address, or a network with its prefix.
    pub to: String,
    /// Which grant.
    pub grant: Grant,
    /// How far it has come.
    pub state: GrantState,
    /// Who has it, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Who>,
    /// What it opens at the gate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Until when, where that is known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What is left of its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
}

/// How far a grant has come.
#[derive(Copy, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantState {
    /// Its start command waits or runs.
    Opening,
    /// It is open.
    Open,
    /// Its stop command waits or runs.
    Closing,
}

/// What was counted since the start, by all listeners together.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Counters {
    /// Packets that passed the kernel's filter.
    pub packets: u64,
    /// Of these, packets that no door could count.
    pub not_knocks: u64,
    /// Packets that the kernel dropped because they came faster than they could be read.
    pub kernel_drops: u64,
    /// Right knocks.
    pub knocks: u64,
    /// Wrong knocks that have ended an attempt.
    pub wrong: u64,
    /// Attempts that took too long.
    pub timeouts: u64,
    /// Sequences that were completed.
    pub openings: u64,
    /// Attempts that were given up for want of room.
    pub evictions: u64,
    /// Openings that were lost because the keeper was busy for too long.
    pub openings_lost: u64,
    /// Openings for which nothing was run because too much was running.
    pub without_commands: u64,
    /// Log lines that were left out.
    pub lines_left_out: u64,
    /// Events of each kind, by its word: `open`, `close`, `refuse` and so on.
    pub events: std::collections::BTreeMap<String, u64>,
    /// Refusals by their reason.
    pub refusals: std::collections::BTreeMap<String, u64>,
    /// Closings by their reason.
    pub closings: std::collections::BTreeMap<String, u64>,
    /// Sealed packets without a good tag.
    pub sealed_junk: u64,
    /// Sealed packets over a limit.
    pub sealed_limited: u64,
    /// Sealed packets with a good tag and of no use.
    pub sealed_broken: u64,
    /// Sealed packets that were opened.
    pub sealed_opened: u64,
    /// What looked like a code on paper and is none.
    pub codes_unknown: u64,
    /// Codes on paper over a limit.
    pub codes_limited: u64,
}

/// The gate, as the kernel has it at this moment.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Gate {
    /// Whether it stands.
    pub state: GateState,
    /// What is wrong with it, if anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What is guarded.
    pub guarded: Vec<Guarded>,
    /// Elements of the sets of grants, one for each source and service.
    pub elements: Shown<Standing>,
    /// Packets of new connections that a grant has let through, since the gate was put up.
    pub admitted: u64,
    /// Packets that were dropped for want of a grant, since then.
    pub dropped: u64,
}

/// Whether the gate stands.
#[derive(Copy, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateState {
    /// It does.
    Up,
    /// It was taken down (`knockctl gate down`).
    Down,
    /// The kernel has no table of ours, though there should be one.
    Absent,
    /// The kernel could not be asked.
    Unreadable,
}

/// Something that is guarded.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Guarded {
    /// Such as `tcp/22`.
    pub what: String,
    /// On trial (`knockctl arm`): for how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
}

/// An element of a set of grants.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Standing {
    /// The door that gave it.
    pub door: String,
    /// Who may come through.
    pub to: String,
    /// Where to, such as `tcp/22`.
    pub what: String,
    /// For how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
}
