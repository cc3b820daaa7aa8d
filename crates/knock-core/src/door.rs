//! Doors: what must be knocked, and what then happens.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::flags::FlagMatch;
use crate::sequence::Sequence;
use crate::service::Service;
use crate::spa::Spa;
use crate::target::Target;
use crate::template::Template;

/// A door's place in the configuration file, from 0. Two sections of the same name are two doors.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DoorId(pub u16);

/// One `[section]` of the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Door {
    /// The section's name, as log lines have it.
    pub name: String,
    /// What must be knocked.
    pub trigger: Trigger,
    /// Who may open it with a sealed packet; `None` if nobody may.
    pub spa: Option<Spa>,
    /// What then happens.
    pub action: Action,
}

/// What must be knocked: all that the engine and the kernel filter need to know of a door.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trigger {
    /// Where the steps come from.
    pub source: SequenceSource,
    /// The longest time from the first step to the last. Zero lets only single-step doors open.
    pub seq_timeout: Duration,
    /// What a TCP step's flags must be.
    pub flags: FlagMatch,
    /// The destinations that count; empty for the host's own addresses.
    pub targets: Vec<Target>,
    /// Whether any other port of ours breaks an attempt, also one that no door names.
    pub strict: bool,
    /// How long after an opening the same source cannot open this door again.
    pub cooldown: Duration,
}

/// Where the steps of a door come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SequenceSource {
    /// `sequence`: always the same.
    Fixed(Sequence),
    /// `one_time_sequences`: the path of a file whose lines are used once each. The engine keeps
    /// such a door shut until it is told the current line.
    OneTime(String),
    /// Neither: the door is opened by sealed packets alone. To the engine it is always shut.
    None,
}

impl SequenceSource {
    /// The sequence, if it is always the same.
    #[must_use]
    pub const fn fixed(&self) -> Option<&Sequence> {
        match self {
            Self::Fixed(sequence) => Some(sequence),
            Self::OneTime(_) | Self::None => None,
        }
    }
}

/// What happens when a door opens and when its time is over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Action {
    /// For a knock over IPv4; `None` runs nothing.
    pub v4: Option<Commands>,
    /// For a knock over IPv6 (`*_command_6`, or else the same as for IPv4); `None` runs nothing.
    pub v6: Option<Commands>,
    /// From the end of the start command to the stop command.
    pub cmd_timeout: Duration,
    /// The account that the commands run as; `None` for the daemon's own.
    pub user: Option<String>,
    /// What an opening while the source's door is still open does with the commands.
    pub reopen: Reopen,
    /// What the kernel opens and closes by itself, without a command.
    pub native: Option<Native>,
    /// Whose grants for the same source an opening takes back.
    pub close: Option<Closing>,
    /// What runs beside all that when something has happened at the door.
    pub hooks: Hooks,
}

/// Commands that run when something has happened, beside what then happens (`on_open`, `on_close`,
/// `on_refuse`). Nothing waits for them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hooks {
    /// A door was opened, or stays open for longer.
    pub open: Option<Template>,
    /// What it has opened was closed.
    pub close: Option<Template>,
    /// Somebody was refused who knew what a stranger does not know.
    pub refuse: Option<Template>,
}

impl Hooks {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.open.is_none() && self.close.is_none() && self.refuse.is_none()
    }
}

/// What an opening of a door with commands does that is still open for the source (`reopen`).
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Reopen {
    /// Runs both commands again, as the original does.
    #[default]
    Run,
    /// Only moves the time of the stop command.
    Extend,
}

/// What a native door opens (`open`): the gate keeps it shut for everybody else.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Native {
    /// What the source may reach: at least one, at most [`Native::MAX_PORTS`] ports in all.
    pub open: Vec<Service>,
    /// For how long (`open_for`): from a second to [`Native::MAX_TIME`].
    pub open_for: Duration,
    /// For whom besides the source itself (`open_to`).
    pub open_to: Widening,
}

impl Native {
    /// The most ports of one door, all its services together: each is an element of its own in the
    /// kernel's set.
    pub const MAX_PORTS: usize = 1_024;

    /// The shortest time: the kernel counts such times roughly.
    pub const MIN_TIME: Duration = Duration::from_secs(1);

    /// The longest time, a year: who wants more wants no door.
    pub const MAX_TIME: Duration = Duration::from_secs(366 * 86_400);

    /// Where nothing is said.
    pub const DEFAULT_TIME: Duration = Duration::from_secs(30);
}

/// How many leading bits of the source's address count: the door opens for all addresses that share
/// them.
#[derive(Copy, Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Widening {
    /// For IPv4: 1 to 32.
    pub v4: u8,
    /// For IPv6: 1 to 128.
    pub v6: u8,
}

impl Default for Widening {
    /// The source alone.
    fn default() -> Self {
        Self { v4: 32, v6: 128 }
    }
}

/// The grants that an opening takes back (`close`, `kill`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Closing {
    /// The name of the door (or doors) whose grants they are.
    pub door: String,
    /// Whether connections that came through the grant end too.
    pub kill: bool,
}

/// The commands of one address family.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Commands {
    /// Run at once.
    pub start: Template,
    /// Run after [`Action::cmd_timeout`].
    pub stop: Option<Template>,
}

/// Nothing happens.
impl Default for Action {
    fn default() -> Self {
        Self {
            v4: None,
            v6: None,
            cmd_timeout: Self::CMD_TIMEOUT,
            user: None,
            reopen: Reopen::default(),
            native: None,
            close: None,
            hooks: Hooks::default(),
        }
    }
}

impl Action {
    /// The time from the start command to the stop command where nothing is said: the original's.
    pub const CMD_TIMEOUT: Duration = Duration::from_secs(10);

    /// The commands for a knock from `source`, if any run for its family.
    #[must_use]
    pub const fn for_source(&self, source: IpAddr) -> Option<&Commands> {
        match source {
            IpAddr::V4(_) => self.v4.as_ref(),
            IpAddr::V6(_) => self.v6.as_ref(),
        }
    }

    /// Whether commands run for a knock of some family; hooks are none of them.
    #[must_use]
    pub const fn has_commands(&self) -> bool {
        self.v4.is_some() || self.v6.is_some()
    }

    /// Whether a knock gives no grant: neither the kernel nor a command opens anything.
    #[must_use]
    pub const fn opens_nothing(&self) -> bool {
        self.native.is_none() && !self.has_commands()
    }
}

impl Trigger {
    /// Whether a packet to `destination` can count; `local` says that it is an address of the
    /// interface that the packet came in on.
    #[must_use]
    pub fn listens_at(&self, destination: IpAddr, local: bool) -> bool {
        if self.targets.is_empty() {
            local
        } else {
            self.targets
                .iter()
                .any(|target| target.contains(destination))
        }
    }
}

/// Where each of the doors `before`, by their names and triggers, is among those of `now`: its
/// place, if there is one that is heard alike. The first of several alike is the first of those
/// alike in `now`, and so on.
pub fn successors<'a>(
    before: impl IntoIterator<Item = (&'a str, &'a Trigger)>,
    now: &[Door],
) -> Vec<Option<u16>> {
    let before: Vec<_> = before.into_iter().collect();
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, (name, _)) in before.iter().enumerate().rev() {
        by_name.entry(name).or_default().push(i);
    }
    let mut successors = alloc::vec![None; before.len()];
    for (id, door) in (0..=u16::MAX).zip(now) {
        let Some(alike) = by_name.get_mut(door.name.as_str()) else {
            continue;
        };
        let same = |i: &usize| before.get(*i).is_some_and(|(_, t)| **t == door.trigger);
        if let Some(place) = alike.iter().rposition(same) {
            let predecessor = alike.remove(place);
            if let Some(successor) = successors.get_mut(predecessor) {
                *successor = Some(id);
            }
        }
    }
    successors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn who_may_open_a_door_is_no_matter_for_its_successor() {
        let doors = |text: &str| parse(text.as_bytes(), &|_, _| None).config.unwrap().doors;
        let before = doors("[A]\nauthorized_keys = /a\n[B]\nauthorized_keys = /b\nsequence = 1\n");
        let now = doors("[B]\nsequence = 1\n[A]\nauthorized_keys = /c\nconfirm\nopen = icmp\n");
        let before = before
            .iter()
            .map(|door| (door.name.as_str(), &door.trigger));
        assert_eq!(successors(before, &now), [Some(1), Some(0)]);
    }

    #[test]
    fn what_a_door_opens_is_no_matter_for_its_successor() {
        let doors = |text: &str| parse(text.as_bytes(), &|_, _| None).config.unwrap().doors;
        let before = doors("[A]\nsequence = 1,2\nopen = tcp/22\n[B]\nsequence = 3\n");
        let now = doors(
            "[B]\nsequence = 3\nclose = A\nkill\n\
             [A]\nsequence = 1,2\nopen = udp/9\nopen_for = 1m\n",
        );
        let before = before
            .iter()
            .map(|door| (door.name.as_str(), &door.trigger));
        assert_eq!(successors(before, &now), [Some(1), Some(0)]);
    }
}
