//! Hooks (`on_open`, `on_close`, `on_refuse`): commands that run beside what happens at a door.
//!
//! Nothing waits for them. They have places of their own, as many as `max_commands`, so that none of
//! them takes the place of a door's command; one that takes too long is ended, and what comes faster
//! than they run is left out and counted.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use knock_core::door::{Action, Door, Hooks as Texts};
use knock_core::target::Target;
use knock_core::time::Timestamp;

use super::runner::{Ended, Program, Runner, Task};
use super::serve::Daemon;
use crate::audit::word;
use crate::bucket::{Bucket, LeftOut};
use crate::events::{Event, Grant, Kind};
use crate::keeper::End;
use crate::listen;
use crate::log::{Level, Line};

/// How long a hook may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most hooks that wait.
const MAX_WAITING: usize = 1_024;

/// So many refusals are told to `on_refuse` at once, and then one more each second: who sends a sealed
/// packet again and again shall not have a command run for each.
const REFUSALS: u32 = 16;
const REFUSAL_PERIOD: Duration = Duration::from_secs(1);

/// The hooks that run and wait.
pub(super) struct Hooks {
    next: u64,
    waiting: VecDeque<(Program, About)>,
    running: Vec<Running>,
    refusals: Bucket,
    left_out: LeftOut,
}

/// A hook that runs.
struct Running {
    id: u64,
    /// When it is ended; `None` once that was done.
    until: Option<Timestamp>,
    about: About,
}

/// What a hook is about, for the log.
struct About {
    key: &'static str,
    door: String,
    source: IpAddr,
}

impl Hooks {
    pub(super) fn new() -> Self {
        Self {
            next: 0,
            waiting: VecDeque::new(),
            running: Vec::new(),
            refusals: Bucket::new(REFUSALS, REFUSAL_PERIOD),
            left_out: LeftOut::new(),
        }
    }

    /// `event` has happened at a door, which is `door` if it is still there: lets its hook of `texts`
    /// wait, if it has one for that.
    pub(super) fn event(
        &mut self,
        event: &Event,
        door: Option<&Door>,
        texts: &Texts,
        now: Timestamp,
    ) -> Option<Line> {
        let (key, template) = hook(event, door, texts)?;
        if event.kind == Kind::Refuse && !self.refusals.take(now)
            || self.waiting.len() >= MAX_WAITING
        {
            self.left_out.count();
            return None;
        }
        let source = source_of(event)?;
        let name = event.door.as_deref().unwrap_or_default();
        let about = About {
            key,
            door: name.to_owned(),
            source,
        };
        let Ok(command) = template.expand(source, name) else {
            let text = format!("{key} is too long with everything put in, and does not run");
            return Some(about.line(&text));
        };
        let program = Program {
            command,
            user: door.and_then(|door| door.action.user.as_deref().map(Into::into)),
            environment: environment(event, source, name),
        };
        self.waiting.push_back((program, about));
        None
    }

    /// Starts those that wait, at most `most` at once. What is worth saying.
    pub(super) fn run(&mut self, runner: &mut Runner, most: usize, now: Timestamp) -> Vec<Line> {
        let mut lines = Vec::new();
        while self.running.len() < most {
            let Some((program, about)) = self.waiting.pop_front() else {
                break;
            };
            self.next += 1;
            match runner.start(Task::Hook(self.next), &program) {
                Ok(()) => {
                    let until = now.saturating_add(PATIENCE);
                    self.running.push(Running {
                        id: self.next,
                        until: Some(until),
                        about,
                    });
                }
                Err(why) => lines.push(about.line(&format!("cannot be run: {why}"))),
            }
        }
        lines
    }

    /// The hook `id` has ended so. What is worth saying.
    pub(super) fn handle_end(&mut self, id: u64, end: End) -> Option<Line> {
        let place = self.running.iter().position(|running| running.id == id)?;
        let Running { until, about, .. } = self.running.remove(place);
        // Of one that was ended nothing more is to be said.
        let text = end.complaint().filter(|_| until.is_some())?;
        Some(about.line(&text))
    }

    /// When [`Hooks::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        let end = self
            .running
            .iter()
            .filter_map(|running| running.until)
            .min();
        [end, self.left_out.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Ends those whose time is over. What is worth saying.
    pub(super) fn handle_timeout(&mut self, runner: &mut Runner, now: Timestamp) -> Vec<Line> {
        let mut lines = Vec::new();
        for running in &mut self.running {
            if running.until.is_some_and(|until| until <= now) {
                running.until = None;
                runner.kill(Task::Hook(running.id));
                let seconds = PATIENCE.as_secs();
                let text = format!("takes longer than {seconds} seconds and is ended");
                lines.push(running.about.line(&text));
            }
        }
        if let Some(count) = self.left_out.poll(now) {
            let text = format!("{count} hooks were left out: they came too fast");
            lines.push(Line::new(Level::Warning, "hook", text));
        }
        lines
    }
}

impl About {
    fn line(&self, text: &str) -> Line {
        let text = format!("{}: {text}", self.key);
        let line = Line::of_source(self.source, &self.door, "hook", &text);
        line.at(Level::Warning)
    }
}

/// The key and the command for `event`. An opening of a door with both kinds of grants is told once,
/// by that of the gate.
fn hook<'a>(
    event: &Event,
    door: Option<&Door>,
    texts: &'a Texts,
) -> Option<(&'static str, &'a knock_core::template::Template)> {
    let action = door.map(|door| &door.action);
    let is_native = action.is_some_and(|action| action.native.is_some());
    let second = is_native && matches!(event.grant, Some(Grant::Commands(_)));
    let opens_nothing = action.is_some_and(Action::opens_nothing);
    let (key, text) = match event.kind {
        Kind::Open | Kind::Extend if !second => ("on_open", &texts.open),
        Kind::Knocked if opens_nothing => ("on_open", &texts.open),
        Kind::Close if !second => ("on_close", &texts.close),
        Kind::Refuse if event.door.is_some() => ("on_refuse", &texts.refuse),
        _ => return None,
    };
    Some((key, text.as_ref()?))
}

/// Who it is about: the source, or the network that was let in.
fn source_of(event: &Event) -> Option<IpAddr> {
    let to = || event.to.as_deref()?.parse::<Target>().ok();
    event.source.or_else(|| to().map(|to| to.address()))
}

fn environment(event: &Event, source: IpAddr, door: &str) -> Vec<(&'static str, String)> {
    let mut all = super::runner::basics(source, door, event.kind.name());
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    all.extend([
        ("KNOCK_TO", text(&event.to)),
        ("KNOCK_SERVICES", event.services.join(", ")),
        (
            "KNOCK_WHO",
            text(&event.who.as_ref().map(ToString::to_string)),
        ),
        ("KNOCK_REASON", text(&event.reason.map(word))),
        (
            "KNOCK_UNTIL",
            text(&event.until.map(|until| until.to_string())),
        ),
        ("KNOCK_TIME", event.time.to_string()),
        ("KNOCK_TEXT", event.text.clone()),
    ]);
    all
}

impl Daemon {
    /// Starts the hooks that wait.
    pub(super) fn run_hooks(&mut self) {
        let most = self.settings.max_commands;
        let lines = self.hooks.run(&mut self.runner, most, listen::now());
        lines.into_iter().for_each(|line| self.log(line));
    }

    /// Lets the hook for `event`, which `door` is about if it is still there, wait.
    pub(super) fn hook(&mut self, event: &Event, door: Option<&Door>) {
        let texts = door.map_or(&self.settings.hooks, |door| &door.action.hooks);
        if texts.is_empty() || self.settings.shadow {
            return;
        }
        let line = self.hooks.event(event, door, texts, listen::now());
        line.into_iter().for_each(|line| self.log(line));
    }

    pub(super) fn hook_ended(&mut self, ended: &Ended, id: u64) {
        let line = self.hooks.handle_end(id, ended.end);
        line.into_iter().for_each(|line| self.log(line));
        self.run_hooks();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knock_core::template::Template;

    fn event(kind: Kind) -> Event {
        Event {
            seq: 1,
            run: crate::events::RunId::new(1),
            time: jiff::Timestamp::UNIX_EPOCH,
            kind,
            level: Level::Info.into(),
            door: Some("A".to_owned()),
            source: None,
            grant: Some(Grant::Gate),
            to: Some("192.0.2.0/24".to_owned()),
            services: Vec::new(),
            who: None,
            reason: None,
            until: None,
            stage: None,
            count: None,
            text: String::new(),
        }
    }

    fn texts(command: &str) -> Texts {
        let template = Some(Template::new(command));
        Texts {
            open: template.clone(),
            close: template.clone(),
            refuse: template,
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO.saturating_add(Duration::from_secs(seconds))
    }

    /// The first end of what `runner` runs.
    fn await_end(runner: &mut Runner) -> Ended {
        let deadline = listen::now().saturating_add(Duration::from_secs(20));
        loop {
            if let Some(ended) = runner.reap(None).pop() {
                return ended;
            }
            assert!(listen::now() < deadline);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn one_that_takes_too_long_is_ended_with_what_it_has_started() {
        let (mut hooks, mut runner) = (Hooks::new(), Runner::new().unwrap());
        let said = hooks.event(&event(Kind::Open), None, &texts("sleep 1000; true"), at(0));
        assert_eq!((said, hooks.run(&mut runner, 8, at(0))), (None, vec![]));
        assert_eq!(hooks.poll_timeout(), Some(at(30)));
        assert_eq!(hooks.handle_timeout(&mut runner, at(29)), []);
        let said = hooks.handle_timeout(&mut runner, at(30));
        let text = said[0].message(None);
        assert_eq!(
            text,
            "192.0.2.0: A: on_open: takes longer than 30 seconds and is ended"
        );
        let ended = await_end(&mut runner);
        assert_eq!((ended.task, ended.end), (Task::Hook(1), End::Killed(9)));
        assert_eq!(hooks.handle_end(1, ended.end), None);
        assert_eq!(hooks.running.len(), 0);
        assert_eq!(hooks.poll_timeout(), None);
    }

    #[test]
    fn refusals_that_come_fast_run_few_hooks_and_are_counted() {
        let (mut hooks, mut runner) = (Hooks::new(), Runner::new().unwrap());
        for _ in 0..100 {
            hooks.event(&event(Kind::Refuse), None, &texts("true"), at(1));
        }
        assert_eq!(hooks.waiting.len(), 16);
        let said = hooks.handle_timeout(&mut runner, at(1));
        assert!(said[0].message(None).starts_with("84 hooks were left out"));
    }

    #[test]
    fn no_more_hooks_wait_than_there_is_room_for() {
        let mut hooks = Hooks::new();
        for _ in 0..MAX_WAITING + 9 {
            hooks.event(&event(Kind::Open), None, &texts("true"), at(1));
        }
        assert_eq!(
            (hooks.waiting.len(), hooks.left_out.all()),
            (MAX_WAITING, 9)
        );
    }

    #[test]
    fn what_runs_once_is_not_waited_for_without_end() {
        let runner = Runner::new().unwrap();
        let program = |command: &str| Program {
            command: command.to_owned(),
            user: None,
            environment: Vec::new(),
        };
        let run =
            |command: &str, millis| runner.run(&program(command), Duration::from_millis(millis));
        assert_eq!(run("true", 20_000), Ok(()));
        assert!(
            run("exit 3", 20_000)
                .unwrap_err()
                .contains("status code (3)")
        );
        assert!(
            run("sleep 1000; true", 50)
                .unwrap_err()
                .contains("is ended")
        );
    }
}
