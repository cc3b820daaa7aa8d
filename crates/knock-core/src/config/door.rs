//! A door while its section is being read.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use super::keys::Key;
use super::report::Report;
use super::spa;
use super::{DoorPlaces, KeyPlace};
use crate::door::{
    Action, Closing, Commands, Door, Hooks, Native, Reopen, SequenceSource, Trigger, Widening,
};
use crate::flags::FlagMatch;
use crate::service::Service;
use crate::spa::KeySource;
use crate::target::Target;
use crate::template::Template;

/// The original's default.
const SEQ_TIMEOUT: Duration = Duration::from_secs(25);

/// What a section has said so far.
#[derive(Debug)]
pub(super) struct DoorDraft {
    pub(super) name: String,
    pub(super) header: Range<usize>,
    /// Its header was wrong, or one of its lines cannot be read: what seems to be missing may be
    /// there.
    pub(super) suspect: bool,
    pub(super) keys: Vec<KeyPlace>,
    pub(super) source: Option<SequenceSource>,
    pub(super) seq_timeout: Duration,
    pub(super) flags: FlagMatch,
    pub(super) targets: Vec<Target>,
    pub(super) strict: Option<bool>,
    pub(super) cooldown: Duration,
    pub(super) start: CommandPair,
    pub(super) stop: CommandPair,
    pub(super) cmd_timeout: Duration,
    pub(super) reopen: Reopen,
    pub(super) open: Option<Vec<Service>>,
    pub(super) open_for: Duration,
    pub(super) open_to: Widening,
    pub(super) close: Option<String>,
    pub(super) kill: bool,
    pub(super) spa: Option<bool>,
    pub(super) key_files: Option<Vec<KeySource>>,
    pub(super) ttl_max: Option<Duration>,
    pub(super) confirm: bool,
    pub(super) require_claim: bool,
    pub(super) hooks: HookDraft,
    pub(super) user: Option<String>,
}

/// A command and its `_6` variant. Empty text runs nothing.
#[derive(Debug, Default)]
pub(super) struct CommandPair {
    pub(super) any: Option<Template>,
    pub(super) v6: Option<Template>,
}

/// The hooks that a door names itself. Empty text is a word too: none, rather than that of
/// `[options]`.
#[derive(Debug, Default)]
pub(super) struct HookDraft {
    pub(super) open: Option<Template>,
    pub(super) close: Option<Template>,
    pub(super) refuse: Option<Template>,
}

impl HookDraft {
    fn finish(self, usual: &Hooks) -> Hooks {
        let choose = |own: Option<Template>, usual: &Option<Template>| match own {
            Some(own) => Some(own).filter(|own| !own.as_str().is_empty()),
            None => usual.clone(),
        };
        Hooks {
            open: choose(self.open, &usual.open),
            close: choose(self.close, &usual.close),
            refuse: choose(self.refuse, &usual.refuse),
        }
    }
}

impl CommandPair {
    /// Whether it runs anything for any family.
    pub(super) fn is_given(&self) -> bool {
        self.for_v4().is_some() || self.for_v6().is_some()
    }

    fn for_v4(&self) -> Option<&Template> {
        self.any.as_ref().filter(|t| !t.as_str().is_empty())
    }

    /// An empty `_6` variant is a word too: nothing, rather than the other command.
    fn for_v6(&self) -> Option<&Template> {
        let chosen = self.v6.as_ref().or(self.any.as_ref());
        chosen.filter(|t| !t.as_str().is_empty())
    }
}

impl DoorDraft {
    pub(super) fn new(name: String, header: Range<usize>, suspect: bool) -> Self {
        Self {
            name,
            header,
            suspect,
            keys: Vec::new(),
            source: None,
            seq_timeout: SEQ_TIMEOUT,
            flags: FlagMatch::ANY,
            targets: Vec::new(),
            strict: None,
            cooldown: Duration::ZERO,
            start: CommandPair::default(),
            stop: CommandPair::default(),
            cmd_timeout: Action::CMD_TIMEOUT,
            reopen: Reopen::default(),
            open: None,
            open_for: Native::DEFAULT_TIME,
            open_to: Widening::default(),
            close: None,
            kill: false,
            spa: None,
            key_files: None,
            ttl_max: None,
            confirm: false,
            require_claim: false,
            hooks: HookDraft::default(),
            user: None,
        }
    }

    /// The door, and where it stands. `None` for the door if what opens it is missing, which is
    /// noted unless it was given and wrong.
    pub(super) fn finish(
        mut self,
        strict: bool,
        hooks: &Hooks,
        report: &mut Report,
    ) -> (Option<Door>, DoorPlaces) {
        self.note_idle_stop(report);
        self.note_meaningless(report);
        let is_sealed = spa::is_wanted(&self);
        let spa = spa::of(&mut self, report);
        let native = self.open.map(|open| Native {
            open,
            open_for: self.open_for,
            open_to: self.open_to,
        });
        let kill = self.kill;
        let action = Action {
            v4: commands(self.start.for_v4(), self.stop.for_v4()),
            v6: commands(self.start.for_v6(), self.stop.for_v6()),
            cmd_timeout: self.cmd_timeout,
            user: self.user,
            reopen: self.reopen,
            native,
            close: self.close.map(|door| Closing { door, kill }),
            hooks: self.hooks.finish(hooks),
        };
        let places = DoorPlaces {
            header: self.header,
            keys: self.keys,
        };
        let given = places
            .value(Key::Sequence)
            .or(places.value(Key::OneTimeSequences));
        let source = match self.source {
            Some(source) => source,
            None if given.is_none() && is_sealed => SequenceSource::None,
            None => {
                if given.is_none() && !self.suspect {
                    note_no_way_in(&places, report);
                }
                return (None, places);
            }
        };
        // What holds for doors that are knocked at is nothing to the others.
        let knocked = source != SequenceSource::None;
        let trigger = Trigger {
            source,
            seq_timeout: self.seq_timeout,
            flags: self.flags,
            targets: self.targets,
            strict: knocked && self.strict.unwrap_or(strict),
            cooldown: self.cooldown,
        };
        let door = Door {
            name: self.name,
            trigger,
            spa,
            action,
        };
        (Some(door), places)
    }

    /// Without a start command the original runs no stop command either.
    fn note_idle_stop(&self, report: &mut Report) {
        let v4 = self.start.for_v4().is_some();
        let v6 = self.start.for_v6().is_some();
        for (key, runs) in [(Key::StopCommand, v4 || v6), (Key::StopCommand6, v6)] {
            let place = self.keys.iter().rfind(|place| place.key == key);
            if let Some(place) = place.filter(|p| !runs && !p.value.is_empty()) {
                report.warn(
                    place.line.clone(),
                    "this stop command never runs",
                    "a stop command beside a start command",
                    "a door whose start command is missing or empty runs nothing",
                );
            }
        }
    }
}

impl DoorDraft {
    /// Keys that say something about what the door does not do. A line that is lost may have done
    /// it.
    fn note_meaningless(&self, report: &mut Report) {
        if self.suspect {
            return;
        }
        let has = |key| self.keys.iter().any(|place| place.key == key);
        let (opens, closes) = (has(Key::Open), has(Key::Close));
        let starts = self.start.is_given();
        let stops = starts && self.stop.is_given();
        for place in &self.keys {
            let (message, expected, help) = match place.key {
                Key::OpenFor if !opens => (
                    "this has no meaning in a door without `open`",
                    "`open` in the same door",
                    "a stop command runs after `cmd_timeout`",
                ),
                Key::OpenTo if !opens => (
                    "this has no meaning in a door without `open`",
                    "`open` in the same door",
                    "a command has the address of who knocked, as %IP%",
                ),
                Key::CmdTimeout if opens && !starts => (
                    "this says nothing of how long `open` opens",
                    "`open_for`",
                    "it is the time from a start command to its stop command",
                ),
                Key::Reopen if !starts => (
                    "this has no meaning in a door without commands",
                    "`start_command` and `stop_command` in the same door",
                    "a knock at an open door always extends what `open` has opened",
                ),
                Key::Reopen if self.reopen == Reopen::Extend && !stops => (
                    "without a stop command there is no time to extend",
                    "`stop_command` in the same door",
                    "such a door is never open, and each knock runs its command",
                ),
                Key::OnClose if !opens && !stops && !place.value.is_empty() => (
                    "nothing that this door does is ever closed",
                    "`open` or `stop_command` in the same door",
                    "a hook of another kind is `on_open`",
                ),
                // Who writes this believes that connections end, which they would not.
                Key::Kill if self.kill && !closes => {
                    report.error(
                        place.line.clone(),
                        "`kill` ends no connection in a door without `close`",
                        "`close` and the name of a door beside it",
                        "connections live on when the time of a door is over",
                    );
                    continue;
                }
                _ => continue,
            };
            report.warn(place.line.clone(), message, expected, help);
        }
    }
}

fn note_no_way_in(places: &DoorPlaces, report: &mut Report) {
    report.error(
        places.header.clone(),
        "a door without a sequence",
        "a section with a line `sequence = 7000,8000:udp,9000` or `authorized_keys = FILE`",
        if places.value(Key::AuthorizedKeys).is_some() {
            "`spa = no` switches `authorized_keys` off"
        } else {
            "`one_time_sequences` can stand in its place"
        },
    );
}

fn commands(start: Option<&Template>, stop: Option<&Template>) -> Option<Commands> {
    Some(Commands {
        start: start?.clone(),
        stop: stop.cloned(),
    })
}
