//! The table of keys: every fact about a key of `knockd.conf`, said once. The parser reads it,
//! `knockctl check` reads it, and the manual page is tested against it.

use core::time::Duration;

use super::{ControlPlace, JournalPlace, suggest};
use crate::door::Native;
use crate::spa::Spa;

/// A key of `knockd.conf`, whatever its spelling.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "each has its meaning in KEYS")]
pub enum Key {
    UseSyslog,
    LogFile,
    LogFormat,
    LogLevel,
    PidFile,
    Interface,
    MaxAttempts,
    MaxCommands,
    Sandbox,
    OnStop,
    Journal,
    ControlSocket,
    AuditFile,
    OnStart,
    OnExit,
    Shadow,
    MetricsSocket,
    MetricsAddress,
    SpaPort,
    SpaWindow,
    SpaSilent,
    StateDir,
    RevokedKeys,
    Strict,
    Sequence,
    OneTimeSequences,
    SeqTimeout,
    TcpFlags,
    Target,
    Cooldown,
    StartCommand,
    StartCommand6,
    CmdTimeout,
    StopCommand,
    StopCommand6,
    Reopen,
    Open,
    OpenFor,
    OpenTo,
    Close,
    Kill,
    Spa,
    AuthorizedKeys,
    TtlMax,
    Confirm,
    RequireClaim,
    OnOpen,
    OnClose,
    OnRefuse,
    User,
}

/// Where a key may stand.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// In `[options]`.
    Options,
    /// In a door.
    Door,
    /// In `[options]`, and in a door.
    Both,
}

/// What a value looks like.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Shape {
    /// `yes` or `no`; the bare key is `yes`.
    Switch,
    /// A file name, taken as it stands.
    Path,
    /// Interface names with commas between them.
    Interfaces,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number.
    Number {
        /// The smallest.
        min: u32,
        /// The largest.
        max: u32,
    },
    /// Ports with commas between them.
    Sequence,
    /// A time.
    Duration {
        /// Whether less than nothing is read as nothing, with a warning.
        negative_is_zero: bool,
    },
    /// A time within these bounds.
    Within {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// TCP flags with commas between them.
    Flags,
    /// Addresses or networks with commas between them.
    Targets,
    /// A shell command, taken as it stands.
    Command,
    /// The name or number of an account.
    Account,
    /// Protocols and their ports with commas between them.
    Services,
    /// A prefix of IPv4, of IPv6, or both with a comma between them.
    Prefixes,
    /// The name of a door, taken as it stands.
    Door,
    /// A file name from `/` on, taken as it stands, or `off`.
    PathOrOff,
    /// A file name from `/` on, taken as it stands, or `none`.
    PathOrNone,
    /// The name of a directory from `/` on, taken as it stands.
    Directory,
    /// A loopback address with a port, or `none`.
    Loopback,
    /// UDP ports with commas between them.
    UdpPorts,
    /// Files of public keys, or patterns for such, with commas between them.
    KeyFiles,
}

impl Shape {
    /// Whether an empty value is a word too, or is complained about in words of its own.
    #[must_use]
    pub(super) const fn has_empty(self) -> bool {
        matches!(
            self,
            Self::Path | Self::Command | Self::Interfaces | Self::Sequence | Self::Targets
        )
    }

    /// What to write, as it is said under a caret.
    #[must_use]
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Switch => "yes or no",
            Self::Path => "a file name",
            Self::Interfaces => "interface names, such as eth0 or eth0, ppp0, or any",
            Self::Choice(_) => "one of the words that this key knows",
            Self::Number { .. } => "a whole number",
            Self::Sequence => "ports, such as 7000,8000:udp,9000",
            Self::Duration { .. } => "seconds, or a number with ms, s, m or h",
            Self::Flags => "flags, such as syn or syn,!ack",
            Self::Targets => "addresses or networks, such as 192.0.2.1 or 2001:db8::/64",
            Self::Command => "a command for /bin/sh",
            Self::Account => "the name of an account",
            Self::Within { .. } => "a time that is neither too short nor too long",
            Self::Services => "protocols with their ports, such as tcp/22, udp/8000-8010 or icmp",
            Self::Prefixes => "prefixes, such as /24 for IPv4 and /64 for IPv6",
            Self::Door => "the name of another door that has `open`",
            Self::PathOrOff => "the path of a file, from / on, or off",
            Self::PathOrNone => "the path of a file, from / on, or none",
            Self::Directory => "the path of a directory, from / on",
            Self::Loopback => {
                "an address of this host for itself with a port, such as 127.0.0.1:9115, or none"
            }
            Self::UdpPorts => "ports from 1 to 65535, such as 51443 or 51443, 53",
            Self::KeyFiles => {
                "files of public keys, such as ~admin/.ssh/authorized_keys or /etc/knockd/keys/*"
            }
        }
    }
}

/// One row of the table.
#[derive(Clone, Debug)]
pub struct KeySpec {
    /// Which key it is.
    pub key: Key,
    /// How it is written, in any case.
    pub name: &'static str,
    /// Other accepted spellings.
    pub aliases: &'static [&'static str],
    /// Where it may stand.
    pub place: Place,
    /// What its value looks like.
    pub shape: Shape,
    /// What holds where it is not given, in words.
    pub default: &'static str,
    /// What it means, in a line.
    pub meaning: &'static str,
}

const fn row(
    key: Key,
    name: &'static str,
    aliases: &'static [&'static str],
    place: Place,
    shape: Shape,
    (default, meaning): (&'static str, &'static str),
) -> KeySpec {
    KeySpec {
        key,
        name,
        aliases,
        place,
        shape,
        default,
        meaning,
    }
}

const TIME: Shape = Shape::Duration {
    negative_is_zero: false,
};
const TIME_OR_LESS: Shape = Shape::Duration {
    negative_is_zero: true,
};
const OPEN_TIME: Shape = Shape::Within {
    min: Native::MIN_TIME,
    max: Native::MAX_TIME,
};
const WINDOW: Shape = Shape::Within {
    min: Spa::MIN_WINDOW,
    max: Spa::MAX_WINDOW,
};
const FORMATS: Shape = Shape::Choice(&["classic", "rfc3339", "json"]);
const LEVELS: Shape = Shape::Choice(&["info", "debug"]);
const SANDBOX: Shape = Shape::Choice(&["on", "require", "off"]);
const ON_STOP: Shape = Shape::Choice(&["close", "keep"]);
const REOPEN: Shape = Shape::Choice(&["run", "extend"]);
const ATTEMPTS: Shape = Shape::Number {
    min: 1,
    max: 4_194_304,
};
const COMMANDS: Shape = Shape::Number { min: 1, max: 1024 };

/// Every key, those of the original first in each group.
#[rustfmt::skip]
pub static KEYS: &[KeySpec] = &[
    row(Key::UseSyslog, "usesyslog", &[], Place::Options, Shape::Switch,
        ("no", "log to syslog")),
    row(Key::LogFile, "logfile", &[], Place::Options, Shape::Path,
        ("none", "log to this file")),
    row(Key::PidFile, "pidfile", &[], Place::Options, Shape::Path,
        ("/var/run/knockd.pid", "write the process id here when running as a daemon")),
    row(Key::Interface, "interface", &[], Place::Options, Shape::Interfaces,
        ("eth0, or else the interface of the default route", "listen on these interfaces, or on any")),
    row(Key::LogFormat, "log_format", &[], Place::Options, FORMATS,
        ("classic", "how lines of the log file look")),
    row(Key::LogLevel, "log_level", &[], Place::Options, LEVELS,
        ("info", "whether wrong knocks are logged too")),
    row(Key::MaxAttempts, "max_attempts", &[], Place::Options, ATTEMPTS,
        ("262144", "attempts remembered at once")),
    row(Key::MaxCommands, "max_commands", &[], Place::Options, COMMANDS,
        ("64", "commands that run at once")),
    row(Key::Sandbox, "sandbox", &[], Place::Options, SANDBOX,
        ("on", "how the process that reads packets is confined")),
    row(Key::OnStop, "on_stop", &[], Place::Options, ON_STOP,
        ("close", "what becomes of open doors when the daemon stops")),
    row(Key::Journal, "journal", &[], Place::Options, Shape::PathOrOff,
        (JournalPlace::USUAL, "where it is written what is to be closed again")),
    row(Key::ControlSocket, "control_socket", &[], Place::Options, Shape::PathOrNone,
        (ControlPlace::USUAL, "where knockctl asks the running daemon")),
    row(Key::AuditFile, "audit_file", &[], Place::Options, Shape::PathOrNone,
        ("none", "a chained record of what was opened, closed, refused and changed")),
    row(Key::OnStart, "on_start", &[], Place::Options, Shape::Command,
        ("none", "run once, before packets are listened to")),
    row(Key::OnExit, "on_exit", &[], Place::Options, Shape::Command,
        ("none", "run once at the end, after all that is owed")),
    row(Key::Shadow, "shadow", &[], Place::Options, Shape::Switch,
        ("no", "act on nothing, and log what would be opened")),
    row(Key::MetricsSocket, "metrics_socket", &[], Place::Options, Shape::PathOrNone,
        ("none", "a Unix socket at which metrics are to be had")),
    row(Key::MetricsAddress, "metrics_address", &[], Place::Options, Shape::Loopback,
        ("none", "a loopback address at which metrics are to be had")),
    row(Key::SpaPort, "spa_port", &[], Place::Options, Shape::UdpPorts,
        ("51443", "the UDP ports at which sealed packets arrive")),
    row(Key::SpaWindow, "spa_window", &[], Place::Options, WINDOW,
        ("60", "how far the time in a sealed packet may be from ours")),
    row(Key::SpaSilent, "spa_silent", &[], Place::Options, Shape::Switch,
        ("yes", "let the gate drop what comes to `spa_port`")),
    row(Key::StateDir, "state_dir", &[], Place::Options, Shape::Directory,
        (Spa::STATE_DIR, "where the keys and the memory of sealed packets are kept")),
    row(Key::RevokedKeys, "revoked_keys", &["revokedkeys"], Place::Options, Shape::PathOrNone,
        ("none", "a list of public keys and certificates that count no longer")),
    row(Key::Strict, "strict", &[], Place::Both, Shape::Switch,
        ("no", "let any other port of ours break an attempt")),
    row(Key::Sequence, "sequence", &[], Place::Door, Shape::Sequence,
        ("none", "the ports to knock, in their order")),
    row(Key::OneTimeSequences, "one_time_sequences", &[], Place::Door, Shape::Path,
        ("none", "a file of sequences that are used once each")),
    row(Key::SeqTimeout, "seq_timeout", &["timeout"], Place::Door, TIME_OR_LESS,
        ("25", "the longest time from the first knock to the last")),
    row(Key::TcpFlags, "tcpflags", &[], Place::Door, Shape::Flags,
        ("any flags", "the flags that a TCP knock must and must not have")),
    row(Key::Target, "target", &[], Place::Door, Shape::Targets,
        ("the interface's addresses", "the destinations that count")),
    row(Key::StartCommand, "start_command", &["command"], Place::Door, Shape::Command,
        ("none", "run when the door opens")),
    row(Key::StartCommand6, "start_command_6", &["command_6"], Place::Door, Shape::Command,
        ("start_command", "run instead when the knock came over IPv6")),
    row(Key::CmdTimeout, "cmd_timeout", &[], Place::Door, TIME,
        ("10", "the time from the start command to the stop command")),
    row(Key::StopCommand, "stop_command", &[], Place::Door, Shape::Command,
        ("none", "run when the time is over")),
    row(Key::StopCommand6, "stop_command_6", &[], Place::Door, Shape::Command,
        ("stop_command", "run instead when the knock came over IPv6")),
    row(Key::Reopen, "reopen", &[], Place::Door, REOPEN,
        ("run", "what a knock at an open door does with the commands")),
    row(Key::Open, "open", &[], Place::Door, Shape::Services,
        ("nothing", "what the kernel opens for who knocked, and keeps shut for all others")),
    row(Key::OpenFor, "open_for", &[], Place::Door, OPEN_TIME,
        ("30", "how long that is open")),
    row(Key::OpenTo, "open_to", &[], Place::Door, Shape::Prefixes,
        ("/32, /128", "how many leading bits of the address of who knocked count")),
    row(Key::Close, "close", &[], Place::Door, Shape::Door,
        ("none", "close for who knocked what this other door has opened")),
    row(Key::Kill, "kill", &[], Place::Door, Shape::Switch,
        ("no", "end connections too with `close`")),
    row(Key::Spa, "spa", &[], Place::Door, Shape::Switch,
        ("yes with authorized_keys, and else no", "let a sealed packet open the door")),
    row(Key::AuthorizedKeys, "authorized_keys", &[], Place::Door, Shape::KeyFiles,
        ("none", "the public keys of those who may open the door with a sealed packet")),
    row(Key::TtlMax, "ttl_max", &[], Place::Door, OPEN_TIME,
        ("open_for, and cmd_timeout for commands", "the longest time that a sealed packet may ask for")),
    row(Key::Confirm, "confirm", &[], Place::Door, Shape::Switch,
        ("no", "ask who claims no address to confirm the one that was seen")),
    row(Key::RequireClaim, "require_claim", &[], Place::Door, Shape::Switch,
        ("no", "refuse sealed packets that do not claim their source address")),
    row(Key::Cooldown, "cooldown", &[], Place::Door, TIME,
        ("0", "how long after an opening the same source cannot open the door again")),
    row(Key::OnOpen, "on_open", &[], Place::Both, Shape::Command,
        ("none", "run when a door was opened, beside everything else")),
    row(Key::OnClose, "on_close", &[], Place::Both, Shape::Command,
        ("none", "run when what a door has opened was closed")),
    row(Key::OnRefuse, "on_refuse", &[], Place::Both, Shape::Command,
        ("none", "run when a knock that was right was refused")),
    row(Key::User, "user", &[], Place::Both, Shape::Account,
        ("in [options] _knockd, in a door the daemon's own",
         "in [options], the account of the process that reads packets; in a door, that of its commands")),
];

impl KeySpec {
    /// The row of `key`.
    #[must_use]
    pub fn of(key: Key) -> Option<&'static Self> {
        KEYS.iter().find(|spec| spec.key == key)
    }

    /// Every spelling, the proper one first.
    pub fn spellings(&self) -> impl Iterator<Item = &'static str> {
        core::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Whether it may stand in `[options]` (`true`) or in a door (`false`).
    #[must_use]
    pub fn may_stand(&self, in_options: bool) -> bool {
        match self.place {
            Place::Both => true,
            Place::Options => in_options,
            Place::Door => !in_options,
        }
    }
}

/// The row of the key that is spelled `name`, in any case.
#[must_use]
pub fn find(name: &str) -> Option<&'static KeySpec> {
    KEYS.iter()
        .find(|spec| spec.spellings().any(|s| s.eq_ignore_ascii_case(name)))
}

/// The spelling that `name` was probably meant to be; those that fit the place come first.
#[must_use]
pub fn suggest(name: &str, in_options: bool) -> Option<&'static str> {
    let there = KEYS.iter().filter(|spec| spec.may_stand(in_options));
    let elsewhere = KEYS.iter().filter(|spec| !spec.may_stand(in_options));
    suggest::closest(name, there.chain(elsewhere).flat_map(KeySpec::spellings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn no_spelling_stands_for_two_keys_and_no_key_has_two_rows() {
        let spellings: alloc::vec::Vec<_> = KEYS.iter().flat_map(KeySpec::spellings).collect();
        let unique: BTreeSet<_> = spellings.iter().collect();
        assert_eq!(unique.len(), spellings.len());
        let keys: BTreeSet<_> = KEYS.iter().map(|spec| spec.key).collect();
        assert_eq!(keys.len(), KEYS.len());
        assert!(spellings.iter().all(|s| *s == s.to_ascii_lowercase()));
    }

    #[test]
    fn a_slip_of_the_pen_is_understood() {
        assert_eq!(suggest("sequense", false), Some("sequence"));
        assert_eq!(suggest("tcp_flags", false), Some("tcpflags"));
        assert_eq!(suggest("start_comand", false), Some("start_command"));
        assert_eq!(suggest("log_file", true), Some("logfile"));
        assert_eq!(suggest("wibble", false), None);
    }
}
