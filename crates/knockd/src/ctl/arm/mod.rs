//! `knockctl arm`: guards ports for a trial, which ends by itself unless somebody confirms it who has
//! come in through a knock.
//!
//! What is proved by a confirmation, and why so: the ssh session that it is given from was opened
//! after the guard stood, from a source with a grant; the kernel has marked its connection for that
//! (`gate::MARK`). So the whole way works from where the administrator is: packets of the knock
//! arrive, the sequence is right, the gate opens, and whatever other firewall there is lets the
//! connection through. A grant alone would prove less (another firewall may drop the connection), and
//! a session from before nothing at all, since connections that stand are never touched.

mod session;

use std::time::Duration;

use clap::Args;
use knock_core::time::InUnits;

use super::gate::settle::{Settled, settle};
use super::gate::{File, Wanted, finish, listed};
use crate::gate::{Gate, Guarded};
use crate::listen::now;
use session::Session;

/// The command line of `knockctl arm`.
#[derive(Debug, Args)]
pub struct Options {
    /// How long the trial lasts: a number with s, m or h
    #[arg(long = "for", value_name = "TIME", default_value = "2m", value_parser = time)]
    time: Duration,
    /// Guard for good what is on trial; from an ssh session that came in through a knock
    #[arg(long, conflicts_with_all = ["time", "cancel"])]
    confirm: bool,
    /// Confirm from anywhere: nothing shows then that a knock works
    #[arg(long, requires = "confirm")]
    force: bool,
    /// End the trial now, as if its time were over
    #[arg(long, conflicts_with = "time")]
    cancel: bool,
    #[command(flatten)]
    file: File,
}

/// The shortest and the longest trial.
const SHORTEST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

fn time(text: &str) -> Result<Duration, String> {
    let time = super::time::parse(text)?;
    if (SHORTEST..=LONGEST).contains(&time) {
        Ok(time)
    } else {
        Err("a trial lasts from 2s to 24h".into())
    }
}

/// Runs `knockctl arm`; exits with 1 if it could not be done.
#[must_use]
pub fn run(options: &Options) -> std::process::ExitCode {
    let wanted = options.file.load();
    finish(wanted.and_then(|wanted| {
        if options.confirm {
            confirm(&wanted, options.force)
        } else if options.cancel {
            cancel(&wanted)
        } else {
            arm(&wanted, options.time)
        }
    }))
}

fn arm(wanted: &Wanted, time: Duration) -> Result<String, String> {
    let file = wanted.loaded.path.display();
    if wanted.plan.is_empty() {
        return Err(format!(
            "{file}: no door has `open`: there is nothing to guard"
        ));
    }
    let guarded = guarded_for_good(wanted)?;
    let new = wanted.plan.guarded();
    let new: Vec<_> = new.filter(|one| !guarded.contains(one)).collect();
    if new.is_empty() {
        return Ok("nothing is to be tried: all is guarded for good already".to_owned());
    }
    let standing = &wanted.standing;
    standing
        .begin_trial(new.iter().cloned(), time)
        .and_then(|()| standing.say_up())
        .map_err(|error| error.to_string())?;
    let settled = settle(wanted).inspect_err(|_| {
        // What is not guarded now shall not be guarded later.
        standing.fail_trial().ok();
    })?;
    Ok(told(&new, time, &settled))
}

/// What happens next, for somebody who does this for the first time.
fn told(new: &[Guarded], time: Duration, settled: &Settled) -> String {
    let time = InUnits(time);
    let new = listed(new.iter());
    let mut text = format!(
        "on trial for {time}: closed to who has not knocked: {new}\n\
         Connections that stand are not touched: keep this session.\n"
    );
    if settled.by.is_none() {
        text.push_str(
            "NO DAEMON KEEPS THE GATE: start knockd, or start it anew, now; without it nobody can \
             knock.\n",
        );
    }
    text.push_str(
        "Now, from another terminal: knock, log in with ssh, and say there:\n\n    \
         knockctl arm --confirm\n\n",
    );
    text.push_str(&format!(
        "Without that everything is as before in {time}, whatever happens meanwhile."
    ));
    text
}

/// What the kernel guards for good.
fn guarded_for_good(wanted: &Wanted) -> Result<Vec<Guarded>, String> {
    let mut gate = Gate::new().map_err(|error| error.to_string())?;
    let reading = gate.read(&wanted.plan).map_err(|error| error.to_string())?;
    let guarded = reading.unwrap_or_default().guarded.into_iter();
    let for_good = guarded.filter(|(_, left)| left.is_none());
    Ok(for_good.map(|(one, _)| one).collect())
}

fn confirm(wanted: &Wanted, force: bool) -> Result<String, String> {
    let said = wanted.standing.read(&wanted.plan, now());
    let said = said.map_err(|error| error.to_string())?;
    if said.trial.is_empty() {
        return Err("nothing is on trial".to_owned());
    }
    if !force {
        if said.trial.values().all(|until| *until <= now()) {
            return Err("the trial is over: begin another one with `knockctl arm`".to_owned());
        }
        prove()?;
    }
    wanted
        .standing
        .confirm_trial()
        .map_err(|error| error.to_string())?;
    let settled = settle(wanted)?;
    let guarded = listed(settled.guarded.iter());
    let mut text = format!("confirmed: guarded for good are {guarded}");
    if settled.by.is_none() {
        text.push_str("\nno daemon runs that opens them: start knockd");
    }
    Ok(text)
}

/// That this session came in through a knock.
fn prove() -> Result<(), String> {
    const OR: &str = "log in anew after a knock, or say --force if you are sure";
    let Some(session) = Session::of_this_process() else {
        return Err(format!("this is no ssh session: {OR}"));
    };
    let mut gate = Gate::new().map_err(|error| error.to_string())?;
    let admitted = gate.has_admitted(session.client);
    match admitted.map_err(|error| error.to_string())? {
        true => Ok(()),
        false => Err(format!(
            "this ssh session, from {}, did not come in through a knock: {OR}",
            session.client
        )),
    }
}

fn cancel(wanted: &Wanted) -> Result<String, String> {
    let standing = &wanted.standing;
    if !standing.fail_trial().map_err(|error| error.to_string())? {
        return Err("nothing is on trial".to_owned());
    }
    let settled = settle(wanted)?;
    let over = listed(settled.over.iter());
    Ok(format!("the trial is over: not guarded, as before: {over}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_lasts_from_two_seconds_to_a_day() {
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(time("90"), Ok(Duration::from_secs(90)));
        assert_eq!(time("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(time("24h"), Ok(Duration::from_secs(86_400)));
        for text in [
            "1s",
            "25h",
            "",
            "m",
            "2 m",
            "2d",
            "-1",
            "99999999999999999999",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(time("18446744073709551615h").is_err());
    }
}
