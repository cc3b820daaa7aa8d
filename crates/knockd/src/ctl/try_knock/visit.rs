//! A knock at one door of the user's, and what came of it.

use std::time::Duration;

use knock_core::door::{Door, Native};
use knock_core::time::InUnits;

use super::TryError;
use super::aim::{Aim, triable};
use super::probe::Spot;
use super::stage::{Expect, KNOCKER, PATIENCE, STRANGER, Stage};

/// A door that stays open longer is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What a command is given to end or to fail, before the ports are looked at and after.
const SETTLE: Duration = Duration::from_millis(500);

/// One door after the other.
pub(super) struct Visits<'s, 'a> {
    stage: &'s mut Stage<'a>,
    /// What doors have opened whose end was not waited for, with their names.
    left_open: Vec<(Spot, String)>,
}

impl<'s, 'a> Visits<'s, 'a> {
    pub(super) const fn new(stage: &'s mut Stage<'a>) -> Self {
        Self {
            stage,
            left_open: Vec::new(),
        }
    }

    /// Knocks at one door and tells what came of it.
    pub(super) fn knock_at(&mut self, door: &Door, aim: &Aim) -> Result<(), TryError> {
        let story = self.stage.story;
        let name = &door.name;
        self.stage.take_quoted();
        story.say(format_args!("\nDoor {}", name.escape_debug()));
        let sequence = match triable(door) {
            Ok(sequence) => sequence,
            Err(why) => {
                story.say(format_args!("    {why}: not tried"));
                return Ok(());
            }
        };
        if let Some(user) = &door.action.user {
            story.say(format_args!(
                "    its commands run as {user}, who does not exist in here: \
                 they are expected to fail"
            ));
        }
        self.guarded_are_closed(aim)?;
        let before = self.open_ports(aim)?;
        let steps: Vec<_> = sequence.steps().iter().map(ToString::to_string).collect();
        self.stage.knock(aim.destination, &steps)?;
        let sesame = format!(": {name}: OPEN SESAME");
        let opened = self
            .stage
            .log_within(PATIENCE, |line| line.contains(&sesame))?;
        let seen = if opened {
            "OPEN SESAME"
        } else {
            "the log does not say so"
        };
        story.check(opened, format_args!("the door {name} opens"), seen);
        if !opened {
            return Ok(());
        }
        if let Some(native) = &door.action.native {
            self.guarded_are_open(name, native, aim)?;
        }
        let changed = self.look(door, aim, &before)?;
        if let Some(native) = &door.action.native {
            self.guarded_are_closed_to_others(aim)?;
            self.kernel_closes(name, native, aim)?;
        }
        if door.action.v4.is_some() {
            self.stop_command(door, &changed)?;
            settle(self.stage, door)?;
            commands_succeed(self.stage, name);
        }
        Ok(())
    }

    /// Whether a door before has opened it, and it is left to the kernel to close it.
    fn is_left_open(&self, spot: &Spot) -> bool {
        self.left_open.iter().any(|(open, _)| open == spot)
    }

    /// What a door guards is closed, unless a door before it has opened it.
    fn guarded_are_closed(&mut self, aim: &Aim) -> Result<(), TryError> {
        for spot in &aim.guarded {
            if self.is_left_open(spot) {
                let text = format!("    {spot} is still open, by a door before this one");
                self.stage.story.say(text);
                continue;
            }
            let claim = format!("{spot} is closed for the knocker");
            self.stage.reach(&claim, KNOCKER, *spot, Expect::Closed)?;
        }
        Ok(())
    }

    /// The daemon says that the kernel has opened the door, and it is open for who knocked.
    fn guarded_are_open(&mut self, name: &str, native: &Native, aim: &Aim) -> Result<(), TryError> {
        let of_door = format!(": {name}: ");
        let mut said = String::new();
        self.stage.log_said(PATIENCE, |line| {
            let Some((_, text)) = line.split_once(&of_door) else {
                return false;
            };
            let is_verdict = text.contains(" open for ") || text.contains(" not opened: ");
            said = text.to_owned();
            is_verdict
        })?;
        let holds = said.contains(" open for ");
        let claim = format!("the kernel opens the door {name}");
        self.stage.story.check(holds, claim, &said);
        if aim.pings {
            let what = if native.open.len() == 1 {
                "it opens icmp (ping) alone, and no ping is sent here: the log is all there is to see"
            } else {
                "it opens icmp (ping) too, which is not tried"
            };
            self.stage.story.say(format_args!("    {what}"));
        }
        // All of this first: a door may be open for a second only.
        for spot in &aim.guarded {
            let claim = format!("{spot} is open for the knocker");
            self.stage.reach(&claim, KNOCKER, *spot, Expect::Opened)?;
        }
        for spot in aim.guarded.iter().filter(|_| aim.is_shared) {
            let claim = format!("{spot} is open for a second address in its network");
            self.stage.reach(&claim, STRANGER, *spot, Expect::Opened)?;
        }
        Ok(())
    }

    /// What a door has opened is open to nobody else, unless it is meant to be.
    fn guarded_are_closed_to_others(&mut self, aim: &Aim) -> Result<(), TryError> {
        for spot in aim.guarded.iter().filter(|_| !aim.is_shared) {
            // For whom a door before has opened it is not known here.
            if !self.is_left_open(spot) {
                let claim = format!("{spot} stays closed for a second address");
                self.stage.reach(&claim, STRANGER, *spot, Expect::Closed)?;
            }
        }
        Ok(())
    }

    /// The kernel closes what a door has opened.
    fn kernel_closes(&mut self, name: &str, native: &Native, aim: &Aim) -> Result<(), TryError> {
        let story = self.stage.story;
        let time = InUnits(native.open_for);
        if native.open_for > LONGEST_WAIT {
            story.say(format_args!(
                "    the kernel closes it after {time}: not waited for"
            ));
            let opened = aim.guarded.iter().map(|spot| (*spot, name.to_owned()));
            self.left_open.extend(opened);
            return Ok(());
        }
        story.say(format_args!(
            "    waiting for the kernel to close it, after {time}"
        ));
        let closed = format!(": {name}: closed");
        let limit = native.open_for + PATIENCE;
        let said = self.stage.log_said(limit, |line| line.contains(&closed))?;
        let seen = if said {
            "closed"
        } else {
            "the log does not say so"
        };
        story.check(said, format_args!("the door {name} closes by itself"), seen);
        for spot in &aim.guarded {
            if self.is_left_open(spot) {
                continue;
            }
            let claim = format!("{spot} is closed again for the knocker");
            self.stage
                .reach(&claim, KNOCKER, *spot, Expect::ClosedAgain)?;
        }
        Ok(())
    }

    /// Gives commands a moment, and looks at what they, or a door that closes another, have changed.
    /// The ports that were opened by them.
    fn look(&mut self, door: &Door, aim: &Aim, before: &[Spot]) -> Result<Vec<Spot>, TryError> {
        if door.action.v4.is_none() && door.action.close.is_none() {
            return Ok(vec![]);
        }
        settle(self.stage, door)?;
        if let Some(closing) = &door.action.close {
            self.left_open.retain(|(_, by)| *by != closing.door);
        }
        let after = self.open_ports(aim)?;
        self.tell_changes(aim, before, &after)
    }

    fn open_ports(&mut self, aim: &Aim) -> Result<Vec<Spot>, TryError> {
        let mut open = Vec::new();
        for spot in &aim.watched {
            if self.stage.connect(KNOCKER, *spot)?.is_open() {
                open.push(*spot);
            }
        }
        Ok(open)
    }

    /// Says which ports have changed, and gives those that were opened.
    fn tell_changes(
        &mut self,
        aim: &Aim,
        before: &[Spot],
        after: &[Spot],
    ) -> Result<Vec<Spot>, TryError> {
        let story = self.stage.story;
        let mut opened = Vec::new();
        for spot in &aim.watched {
            match (before.contains(spot), after.contains(spot)) {
                (false, true) => {
                    story.say(format_args!("    {spot} was closed and is now open"));
                    let claim = format!("{spot} stays closed for a second address");
                    self.stage.reach(&claim, STRANGER, *spot, Expect::Closed)?;
                    opened.push(*spot);
                }
                (true, false) => {
                    story.say(format_args!("    {spot} was open and is now closed"));
                }
                (was, _) => {
                    let state = if was { "open" } else { "closed" };
                    story.say(format_args!("    {spot} was and is {state}"));
                }
            }
        }
        Ok(opened)
    }

    /// Waits for the stop command, if there is one that is due soon, and looks at what it closes.
    fn stop_command(&mut self, door: &Door, opened: &[Spot]) -> Result<(), TryError> {
        let (name, story) = (&door.name, self.stage.story);
        let commands = door.action.v4.as_ref();
        if commands.is_none_or(|commands| commands.stop.is_none()) {
            return Ok(());
        }
        let seconds = door.action.cmd_timeout.as_secs();
        if door.action.cmd_timeout > LONGEST_WAIT {
            story.say(format_args!(
                "    its stop command runs after {seconds} s: not waited for"
            ));
            return Ok(());
        }
        story.say(format_args!(
            "    waiting for its stop command, after {seconds} s"
        ));
        let timeout = timeout(name);
        let limit = door.action.cmd_timeout + PATIENCE;
        let due = self.stage.log_said(limit, |line| line.contains(&timeout))?;
        let seen = if due {
            "command timeout"
        } else {
            "the log does not say so"
        };
        story.check(due, format_args!("the stop command of {name} is due"), seen);
        for spot in opened {
            let claim = format!("{spot} is closed again for the knocker");
            self.stage
                .reach(&claim, KNOCKER, *spot, Expect::ClosedAgain)?;
        }
        Ok(())
    }
}

/// Gives commands a moment to end or to fail; until the door's time is over at the longest.
fn settle(stage: &mut Stage<'_>, door: &Door) -> Result<(), TryError> {
    let timeout = timeout(&door.name);
    let done = |line: &str| line.contains(&timeout) || is_failure(line, &door.name);
    stage.log_within(SETTLE, done).map(drop)
}

/// Whether a line says that a command of the door has failed, or could not be run.
fn is_failure(line: &str, name: &str) -> bool {
    let of_door = line.strip_prefix(name).and_then(|l| l.strip_prefix(": "));
    let verdicts = ["command returned ", "command was killed "];
    of_door.is_some_and(|said| verdicts.iter().any(|verdict| said.starts_with(verdict)))
        || line.contains("won't execute")
        || line.contains("command fork failed")
}

/// What a line holds that says that a door's time is over.
fn timeout(name: &str) -> String {
    format!(": {name}: command timeout")
}

/// The daemon logs every command that fails.
fn commands_succeed(stage: &mut Stage<'_>, name: &str) {
    let lines = stage.take_quoted();
    let failed = lines.iter().find(|line| is_failure(line, name));
    let seen = failed.map_or("no failure is logged", |line| line);
    let claim = format!("the commands of {name} succeed");
    stage.story.check(failed.is_none(), claim, seen);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_fail_is_told_from_what_is_no_failure() {
        for line in [
            "A: command returned non-zero status code (1)",
            "A: command was killed by signal 9",
            "error: parsed start command has been truncated! --> won't execute it",
            "error: command fork failed! (Cannot allocate memory)",
        ] {
            assert!(is_failure(line, "A"), "{line}");
        }
        for line in [
            "B: command returned non-zero status code (1)",
            "A: running command: false",
            "10.77.0.1: A: command timeout",
        ] {
            assert!(!is_failure(line, "A"), "{line}");
        }
    }
}
