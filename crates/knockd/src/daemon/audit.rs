//! The daemon's audit trail (`audit_file`): what of all that happens is written down.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use knock_core::config::{Config, Options};
use knock_core::door::Door;

use super::serve::Daemon;
use super::settings::Settings;
use crate::audit::{Change, Digest, Fault, HEAD, Trail, What};
use crate::bucket::Bucket;
use crate::events::{Event, Kind, Reason};
use crate::listen;
use crate::log::Line;

/// So many refusals are written down at once, and then one more each [`REFUSAL_PERIOD`]: who records a
/// sealed packet can send it again and again.
const REFUSALS: u32 = 1_000;
const REFUSAL_PERIOD: Duration = Duration::from_millis(100);

/// What the daemon has for its trail.
pub(super) struct Audit {
    trail: Option<Trail>,
    /// The configuration that is in force: its hash, and what its `[options]` say.
    config: (Digest, Options),
    refusals: Bucket,
    left_out: u64,
}

impl Audit {
    /// The trail of these settings, if they name one. What is worth saying.
    pub(super) fn open(settings: &Settings, config: (Digest, Options)) -> (Self, Vec<Line>) {
        let path = settings.audit_file.as_deref();
        let opened = path.map(|path| Trail::open(path, &settings.state_dir, Timestamp::now()));
        let (trail, lines) = opened.unzip();
        let audit = Self {
            trail,
            config,
            refusals: Bucket::new(REFUSALS, REFUSAL_PERIOD),
            left_out: 0,
        };
        (audit, lines.unwrap_or_default())
    }

    /// Writes `event` down, if it is one of those that a trail has. What is worth saying.
    pub(super) fn event(&mut self, event: &Event, opens_nothing: bool) -> Vec<Line> {
        if self.trail.is_none() || !belongs(event, opens_nothing) {
            return Vec::new();
        }
        if event.kind == Kind::Refuse && !self.refusals.take(listen::now()) {
            self.left_out = self.left_out.saturating_add(1);
            return Vec::new();
        }
        let left_out = std::mem::take(&mut self.left_out);
        let left_out = (left_out > 0).then_some(What::Fault(Fault::LeftOut(left_out)));
        let event = What::Event(Box::new(event.clone()));
        let whats: Vec<_> = left_out.into_iter().chain([event]).collect();
        self.put(&whats)
    }

    /// Writes down which configuration is in force: the first one.
    pub(super) fn first(&mut self, doors: &[Door]) -> Vec<Line> {
        let change = Change {
            new: self.config.0,
            ..Change::between(&[], &named(doors))
        };
        let names = Change {
            added: Vec::new(),
            ..change
        };
        let mut lines = self.put(&[What::Config(names)]);
        lines.extend(self.trail.as_ref().map(Trail::summary));
        lines
    }

    /// Writes down that the configuration of `old` doors is followed by another one.
    pub(super) fn change(
        &mut self,
        old: &[Door],
        new: &[Door],
        config: (Digest, Options),
    ) -> Vec<Line> {
        let (digest, options) = std::mem::replace(&mut self.config, config);
        if digest == self.config.0 {
            return Vec::new();
        }
        let change = Change {
            old: Some(digest),
            new: self.config.0,
            options: options != self.config.1,
            ..Change::between(&named(old), &named(new))
        };
        self.put(&[What::Config(change)])
    }

    /// After a rotation, or with other settings.
    pub(super) fn reopen(&mut self, settings: &Settings) -> Vec<Line> {
        let now = Timestamp::now();
        match (&mut self.trail, settings.audit_file.as_deref()) {
            (Some(trail), Some(path)) => trail.reopen(path, now),
            (None, Some(path)) => {
                let (trail, lines) = Trail::open(path, &settings.state_dir, now);
                self.trail = Some(trail);
                lines
            }
            (trail, None) => trail.take().iter().map(Trail::summary).collect(),
        }
    }

    /// The end: the last line's hash. When it is dropped, the disk has it.
    pub(super) fn finish(&mut self) -> Vec<Line> {
        self.trail.iter().map(Trail::summary).collect()
    }

    fn put(&mut self, whats: &[What]) -> Vec<Line> {
        let now = Timestamp::now();
        // As events have it: milliseconds say enough.
        let now = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        let trail = self.trail.as_mut();
        trail.map_or_else(Vec::new, |trail| trail.put(whats, now))
    }
}

/// The files of a trail, as far as they are named.
pub(super) fn files(settings: &Settings) -> impl Iterator<Item = PathBuf> {
    let file = settings.audit_file.as_deref();
    let head = file.map(|_| settings.state_dir.join(HEAD));
    file.map(Path::to_path_buf).into_iter().chain(head)
}

/// The hash and the options of a configuration of these `bytes`.
pub(super) fn known(bytes: &[u8], config: &Config) -> (Digest, Options) {
    (Digest::of(bytes), config.options.clone())
}

/// Whether a trail has such events. What a stranger does is not among them; a knock is, if nothing else
/// tells of it.
fn belongs(event: &Event, opens_nothing: bool) -> bool {
    match event.kind {
        Kind::Refuse => event.reason != Some(Reason::UnknownCode),
        Kind::Knocked => opens_nothing,
        Kind::Gate => event.reason.is_some(),
        Kind::Start
        | Kind::Stop
        | Kind::Reload
        | Kind::ReloadFailed
        | Kind::Open
        | Kind::Extend
        | Kind::Close
        | Kind::CommandFailed
        | Kind::Operator => true,
        _ => false,
    }
}

fn named(doors: &[Door]) -> Vec<(&str, &Door)> {
    doors
        .iter()
        .map(|door| (door.name.as_str(), door))
        .collect()
}

impl Daemon {
    /// Tells those who are told of events besides programs: the trail, and hooks.
    pub(super) fn witness(&mut self, event: &Event) {
        if !belongs(event, true) {
            return;
        }
        let doors = Arc::clone(self.doors.now());
        let named = |name: &str| doors.iter().find(|door| door.name == name);
        let door = event.door.as_deref().and_then(named);
        let opens_nothing = door.is_none_or(|door| door.action.opens_nothing());
        let lines = self.audit.event(event, opens_nothing);
        lines.into_iter().for_each(|line| self.log(line));
        self.hook(event, door);
    }
}
