//! The daemon at its gate: puts it up, opens and closes it for sources, and mends it when somebody
//! else has changed it.

mod grants;
mod lines;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use knock_core::config::OnStop;
use knock_core::door::Door;
use knock_core::time::{InUnits, Timestamp};

use crate::clock;
use crate::events::{Happened, Kind, Reason, Who};
use crate::gate::{
    Changes, Ended, Gate, GateError, Hold, HoldError, Key, Opening, Plan, Said, Standing, Trial,
    Watch,
};
use crate::keeper::Why;
use crate::log::{Level, Line};

use lines::{gate_line, on_grant, whom};

pub(super) use lines::{closed, in_short, to};

/// How long after a failure to put the gate up it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How long the gate is left alone after it was mended: who changes it all the time shall not keep
/// us busy. Within a second it stands again even so.
const REST: Duration = Duration::from_millis(200);

/// How far apart two readings of the end of a trial may be.
const CLOSE: Duration = Duration::from_millis(100);

/// The shortest time between two lines that say so.
const QUIET: Duration = Duration::from_secs(1);

/// The gate of a daemon with native doors.
pub(super) struct Gatekeeper {
    gate: Gate,
    watch: Watch,
    standing: Standing,
    plan: Plan,
    said: Said,
    hold: Hold,
    /// Who has the grants that are alive, as far as that is known.
    holders: BTreeMap<Key, Who>,
    /// When to look whether the gate is as it should be.
    check: Option<Timestamp>,
    /// Since when nothing was mended.
    mended: Option<Timestamp>,
    /// When something was last said of it, and how often it was mended without a word since.
    told: Option<Timestamp>,
    untold: u32,
    /// What is to be said at the next [`Gatekeeper::handle_timeout`].
    unsaid: Vec<Line>,
    /// What went wrong last, so that it is said once.
    trouble: Option<String>,
    /// How long the system had slept when the gate was last put up.
    slept: Duration,
}

/// What came of an opening.
pub(super) struct Opened {
    /// What to say.
    pub(super) line: Line,
    /// Whether the kernel lets the source through.
    pub(super) done: bool,
}

/// Why there is no gate.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another process keeps it.
    Held(i32),
    /// The kernel.
    Gate(GateError),
}

impl Gatekeeper {
    /// Puts the gate up as `plan` wants it, with the grants that the kernel has of a daemon before
    /// this one. `None` if nothing is guarded. What is worth saying.
    pub(super) fn start(
        plan: Plan,
        standing: Standing,
        now: Timestamp,
    ) -> Result<Option<(Self, Vec<Line>)>, Failure> {
        if plan.is_empty() {
            return Ok(None);
        }
        let hold = Hold::take().map_err(|error| match error {
            HoldError::Held(pid) => Failure::Held(pid.as_raw_pid()),
            HoldError::Io(error) => Failure::Gate(GateError::Socket(error)),
        })?;
        let mut gate = Gate::new().map_err(Failure::Gate)?;
        let watch = gate.watch().map_err(Failure::Gate)?;
        let mut lines = Vec::new();
        // A daemon that is started is to stand at its gate.
        if standing.say_up().unwrap_or(false) {
            let text = "the gate was down (knockctl gate down), and is put up again";
            lines.push(gate_line(Level::Warning, None, text));
        }
        let adopted = gate.adopt(&plan, now).map_err(Failure::Gate)?;
        let mut gatekeeper = Self {
            gate,
            watch,
            standing,
            plan,
            said: Said::default(),
            hold,
            holders: BTreeMap::new(),
            check: None,
            mended: None,
            told: None,
            untold: 0,
            unsaid: Vec::new(),
            trouble: None,
            slept: Duration::ZERO,
        };
        lines.extend(gatekeeper.hear(now));
        gatekeeper.put_up(now).map_err(Failure::Gate)?;
        lines.push(gatekeeper.hello());
        if adopted > 0 {
            let text = format!("{adopted} grants from before go on");
            let line = Line::new(Level::Info, "gate", text);
            let count = u64::try_from(adopted).unwrap_or(u64::MAX);
            lines.push(line.means(Happened::new(Kind::Gate).of(count)));
        }
        Ok(Some((gatekeeper, lines)))
    }

    /// Goes by this plan from now on. If the kernel refuses, everything stays as it was.
    pub(super) fn reload(
        &mut self,
        plan: Plan,
        standing: Standing,
        now: Timestamp,
    ) -> Result<Vec<Line>, GateError> {
        let before = (self.plan.clone(), self.said.clone());
        self.plan = plan;
        self.standing = standing;
        let mut lines: Vec<_> = self.hear(now).into_iter().collect();
        if before == (self.plan.clone(), self.said.clone()) {
            self.check = Some(now);
            return Ok(lines);
        }
        if let Err(error) = self.put_up(now) {
            (self.plan, self.said) = before;
            self.check = Some(now);
            return Err(error);
        }
        let bygone: Vec<_> = before.0.guarded().collect();
        let now_guarded: std::collections::BTreeSet<_> = self.plan.guarded().collect();
        let open: Vec<_> = bygone
            .iter()
            .filter(|one| !now_guarded.contains(one))
            .map(ToString::to_string)
            .collect();
        if !open.is_empty() {
            let text = format!("not guarded any more: {}", open.join(", "));
            lines.push(gate_line(Level::Warning, None, text));
        }
        lines.push(self.hello());
        Ok(lines)
    }

    /// `source` has opened a door: what came of it, if it opens or closes anything at the gate.
    pub(super) fn handle_opening(
        &mut self,
        door: &Door,
        source: IpAddr,
        who: Option<&Who>,
        now: Timestamp,
    ) -> Option<Opened> {
        let native = door.action.native.as_ref()?;
        let line = |event, text: &str| Line::of_source(source, &door.name, event, text);
        let refused = |text: &str, reason| {
            let happened = Happened::new(Kind::Refuse);
            let happened = happened.because(reason).by(who.cloned());
            line("refused", text).at(Level::Error).means(happened)
        };
        let Some(opening) = Opening::of(door, source) else {
            let text = "opens nothing: its targets are of the other version of IP";
            let line = refused(text, Reason::OtherFamily).at(Level::Warning);
            return Some(Opened { line, done: false });
        };
        if self.said.down {
            let text = "error: nothing was opened: the gate is down (knockctl gate down)";
            let line = refused(text, Reason::GateDown);
            return Some(Opened { line, done: false });
        }
        let is_open = self.gate.is_granted(opening.key());
        let until = now.saturating_add(native.open_for);
        let outcome = self.change(now, |gate| gate.grant(&opening, until, now));
        let all: Vec<_> = native.open.iter().map(ToString::to_string).collect();
        let services = all.join(", ");
        let time = InUnits(native.open_for);
        let done = outcome.is_ok();
        let happened = |kind| Happened {
            services: all.clone(),
            ..on_grant(kind, opening.key())
                .by(who.cloned())
                .until(Some(until))
        };
        if done {
            self.hold_for(opening.key(), who);
        }
        let line = match outcome {
            Ok(()) if is_open => {
                let text = format!("{services} open for {time} more");
                line("extended", &text).means(happened(Kind::Extend))
            }
            Ok(()) => {
                let to = whom(opening.key().sources(), source);
                let text = format!("{services} open for {time}{to}");
                line("opened", &text).means(happened(Kind::Open))
            }
            Err(error) => {
                let text = format!("error: {services} not opened: {error}");
                refused(&text, Reason::GateError)
            }
        };
        Some(Opened { line, done })
    }

    fn hold_for(&mut self, key: &Key, who: Option<&Who>) {
        match who {
            Some(who) => self.holders.insert(key.clone(), who.clone()),
            None => self.holders.remove(key),
        };
    }

    /// Does `change` at the gate. Somebody may have taken it away just now: then it is put up first,
    /// so that the change is one of what is then there.
    fn change<T>(
        &mut self,
        now: Timestamp,
        change: impl Fn(&mut Gate) -> Result<T, GateError>,
    ) -> Result<T, GateError> {
        let outcome = change(&mut self.gate);
        match &outcome {
            Err(error) if error.is_gone() => {
                let line = self.mend("something of it is gone", now);
                self.unsaid.extend(line);
                if self.trouble.is_some() {
                    return outcome;
                }
            }
            Err(GateError::NotGuarded { .. }) if self.put_up(now).is_ok() => {}
            _ => return outcome,
        }
        change(&mut self.gate)
    }

    /// What to poll for input.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.watch.as_fd()).chain(self.hold.fd())
    }

    /// When [`Gatekeeper::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        let trial = self.said.trial.values().copied();
        let trial = trial.filter(|until| *until > Timestamp::ZERO).min();
        [self.gate.next_end(), self.check, trial]
            .into_iter()
            .flatten()
            .min()
    }

    /// Hears what the kernel says of changes.
    pub(super) fn handle_readable(&mut self, now: Timestamp) {
        self.hold.show_out();
        let changed = match self.watch.handle_readable() {
            Ok(Changes::None) => return,
            Ok(Changes::Foreign | Changes::Lost) => true,
            Err(_) => {
                // A socket that cannot be read would be readable for ever.
                match self.gate.watch() {
                    Ok(watch) => {
                        self.watch = watch;
                        true
                    }
                    Err(_) => false,
                }
            }
        };
        if changed && self.check.is_none() {
            let rested = self.mended.map(|mended| mended.saturating_add(REST));
            self.check = Some(rested.map_or(now, |rested| rested.max(now)));
        }
    }

    /// Does what is due: says what was closed, and mends the gate.
    pub(super) fn handle_timeout(&mut self, now: Timestamp) -> Vec<Line> {
        let mut lines = std::mem::take(&mut self.unsaid);
        let why = Why::new("closed", Reason::Time);
        for Ended { key, .. } in self.gate.expire(now) {
            self.holders.remove(&key);
            lines.push(closed(&key, &why));
        }
        lines.extend(self.end_trial(now));
        // The kernel's time-outs stand still while the system sleeps, and ours do not.
        if clock::slept().abs_diff(self.slept) > Duration::from_millis(500) {
            lines.extend(self.mend("the system has slept", now));
        }
        if self.check.is_some_and(|check| check <= now) {
            self.check = None;
            lines.extend(self.look(now));
        }
        lines
    }

    /// How many grants are alive, and why the gate is not up, if so.
    pub(super) fn status(&self) -> String {
        let grants = self.gate.grants().count();
        let guarded = self.plan.guarded().count();
        let trial = self.said.trial.len();
        let mut text = format!("{guarded} guarded, {grants} grants");
        if trial > 0 {
            text.push_str(&format!(", {trial} of the guarded on trial"));
        }
        if self.said.down {
            text.push_str(", down (knockctl gate down)");
        }
        if let Some(trouble) = &self.trouble {
            text.push_str(&format!(", error: {trouble}"));
        }
        text
    }

    /// The daemon stops: the gate stays. What is open is closed, or left to the kernel.
    pub(super) fn stop(&mut self, on_stop: OnStop, now: Timestamp) -> Vec<Line> {
        if on_stop == OnStop::Keep {
            return Vec::new();
        }
        let open = self.keys();
        if open.is_empty() || self.said.down {
            return Vec::new();
        }
        match self.gate.revoke_all(now) {
            Ok(()) => {
                let why = Why::new("closed: the daemon stops", Reason::Stop);
                open.iter().map(|key| closed(key, &why)).collect()
            }
            Err(error) => {
                let text = format!(
                    "error: {} grants stay open until their time is over: {error}",
                    open.len()
                );
                vec![gate_line(Level::Error, Some(Reason::Damaged), text)]
            }
        }
    }

    /// Reads what was said of the gate beside the configuration.
    fn hear(&mut self, now: Timestamp) -> Option<Line> {
        match self.standing.read(&self.plan, now) {
            Ok(mut said) => {
                // What is over is over; when that was is of no interest any more. The end is reckoned
                // anew each time, some microseconds off.
                for (guarded, until) in &mut said.trial {
                    let left = until.saturating_since(now);
                    let was_over = self.said.trial.get(guarded) == Some(&Timestamp::ZERO);
                    if left.is_zero() || (was_over && left < CLOSE) {
                        *until = Timestamp::ZERO;
                    }
                }
                self.said = said;
                None
            }
            // Then the configuration alone counts.
            Err(error) => {
                self.said = Said::default();
                let text = format!("{error}; everything is guarded as the configuration says");
                Some(gate_line(Level::Warning, None, text))
            }
        }
    }

    /// The grants that are alive.
    fn keys(&self) -> Vec<Key> {
        self.gate.grants().map(|(key, _)| key.clone()).collect()
    }

    fn put_up(&mut self, now: Timestamp) -> Result<(), GateError> {
        self.slept = clock::slept();
        if self.said.down || self.plan.is_empty() {
            let gone = self.keys();
            self.gate.down()?;
            self.holders.clear();
            let why = Why::new("closed: the gate is gone", Reason::GateDown);
            let gone = gone.iter().map(|key| closed(key, &why).quietly());
            self.unsaid.extend(gone);
            return Ok(());
        }
        self.gate.up(&self.plan, &self.said.trial, now)
    }

    /// Looks whether the gate is as it should be, and mends it.
    fn look(&mut self, now: Timestamp) -> Vec<Line> {
        let was_down = self.said.down;
        let trial = self.said.trial.clone();
        let mut lines: Vec<_> = self.hear(now).into_iter().collect();
        if self.said.down {
            if !was_down {
                let text = "the gate is down (knockctl gate down): nothing is guarded";
                lines.push(gate_line(Level::Warning, Some(Reason::Down), text));
            }
            return lines;
        }
        if was_down || differs(&trial, &self.said.trial) {
            lines.extend(self.mend("what was said of it has changed", now));
            return lines;
        }
        // It was reckoned anew from the same end, some microseconds off.
        self.said.trial = trial;
        match self.gate.check(now) {
            Ok(None) => self.trouble = None,
            Ok(Some(damage)) => lines.extend(self.mend(&damage.to_string(), now)),
            Err(error) => lines.extend(self.complain(&error, now)),
        }
        lines
    }

    fn mend(&mut self, why: &str, now: Timestamp) -> Option<Line> {
        if let Err(error) = self.put_up(now) {
            return self.complain(&error, now);
        }
        self.trouble = None;
        self.mended = Some(now);
        if self.said.down || self.plan.is_empty() {
            return None;
        }
        let told = self.told.map(|told| told.saturating_add(QUIET));
        if told.is_some_and(|told| told > now) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        let grants = self.gate.grants().count();
        let mut text = format!("the gate stands again, with {grants} grants: {why}");
        if self.untold > 0 {
            text.push_str(&format!(" (and {} times before)", self.untold));
            self.untold = 0;
        }
        Some(gate_line(Level::Warning, Some(Reason::Mended), text))
    }

    /// Tries again later, and says why if that is new.
    fn complain(&mut self, error: &GateError, now: Timestamp) -> Option<Line> {
        self.check = Some(now.saturating_add(RETRY));
        let trouble = error.to_string();
        if self.trouble.as_ref() == Some(&trouble) {
            return None;
        }
        let text = format!("error: the gate is not as it should be: {trouble}");
        self.trouble = Some(trouble);
        Some(gate_line(Level::Error, Some(Reason::Damaged), text))
    }

    /// The kernel has let go of what was on trial: says so, and does not put it up again.
    fn end_trial(&mut self, now: Timestamp) -> Option<Line> {
        let over = |until: &Timestamp| *until <= now && *until > Timestamp::ZERO;
        let ended: Vec<_> = self
            .said
            .trial
            .iter_mut()
            .filter(|(_, until)| over(until))
            .map(|(guarded, until)| {
                *until = Timestamp::ZERO;
                guarded.to_string()
            })
            .collect();
        if ended.is_empty() {
            return None;
        }
        let text = format!(
            "the trial is over and was not confirmed: not guarded: {} (knockctl arm)",
            ended.join(", ")
        );
        // What the kernel has let go of is not damage.
        self.check = Some(now);
        Some(gate_line(Level::Warning, Some(Reason::TrialOver), text))
    }

    fn hello(&self) -> Line {
        if self.said.down {
            let text = "the gate is down (knockctl gate down): nothing is guarded";
            return gate_line(Level::Warning, Some(Reason::Down), text);
        }
        if self.plan.is_empty() {
            let text = "the gate is gone: no door opens anything";
            return gate_line(Level::Info, Some(Reason::Down), text);
        }
        let (mut good, mut trial, mut over) = (Vec::new(), Vec::new(), Vec::new());
        for guarded in self.plan.guarded() {
            let list = match self.said.trial.get(&guarded) {
                None => &mut good,
                Some(&Timestamp::ZERO) => &mut over,
                Some(_) => &mut trial,
            };
            list.push(guarded.to_string());
        }
        let lists = [
            ("guarded are ", &good),
            ("on trial (knockctl arm) are ", &trial),
            (
                "NOT guarded, after a trial without a confirmation, are ",
                &over,
            ),
        ];
        let lists = lists.iter().filter(|(_, names)| !names.is_empty());
        let lists: Vec<_> = lists
            .map(|(what, names)| format!("{what}{}", in_short(names)))
            .collect();
        let level = if over.is_empty() {
            Level::Info
        } else {
            Level::Warning
        };
        let text = format!("the gate is up: {}", lists.join("; "));
        gate_line(level, Some(Reason::Up), text)
    }
}

/// Whether two readings of what is on trial say different things.
fn differs(before: &Trial, now: &Trial) -> bool {
    let same = |(a, b): ((_, &Timestamp), (_, &Timestamp))| {
        let apart = a.1.saturating_since(*b.1).max(b.1.saturating_since(*a.1));
        let over = |until: &Timestamp| *until == Timestamp::ZERO;
        a.0 == b.0 && over(a.1) == over(b.1) && apart < CLOSE
    };
    before.len() != now.len() || !before.iter().zip(now.iter()).all(same)
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Held(pid) => write!(f, "another daemon keeps it: process {pid}"),
            Self::Gate(error) => write!(f, "{error}"),
        }
    }
}
