//! Bringing the kernel's gate to what a configuration and the words of an administrator want: by the
//! daemon that keeps it, or else by ourselves.

use std::collections::BTreeMap;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Wanted;
use crate::gate::{Gate, GateError, Guarded, Said, holder};
use crate::listen::now;

/// How long the daemon may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often to look whether it has done it.
const STEP: Duration = Duration::from_millis(20);

/// What the gate is like now.
pub(in crate::ctl) struct Settled {
    /// The daemon that keeps it.
    pub(in crate::ctl) by: Option<i32>,
    pub(in crate::ctl) guarded: Vec<Guarded>,
    /// Of these, which are guarded only for a while.
    pub(in crate::ctl) on_trial: Vec<Guarded>,
    /// What is not guarded any more since a trial has ended.
    pub(in crate::ctl) over: Vec<Guarded>,
}

/// Brings the gate to what is wanted.
pub(in crate::ctl) fn settle(wanted: &Wanted) -> Result<Settled, String> {
    let said = said(wanted)?;
    let mut gate = Gate::new().map_err(of_the_gate)?;
    let by = holder().map_err(|error| format!("whether a daemon keeps the gate: {error}"))?;
    match by {
        Some(pid) => by_daemon(&mut gate, wanted, &said, pid)?,
        None => by_ourselves(&mut gate, wanted, &said)?,
    }
    let (mut on_trial, mut over) = (Vec::new(), Vec::new());
    for (guarded, until) in &said.trial {
        let list = if *until > now() {
            &mut on_trial
        } else {
            &mut over
        };
        list.push(guarded.clone());
    }
    let guarded = wanted.plan.guarded();
    Ok(Settled {
        by: by.map(Pid::as_raw_pid),
        guarded: guarded.filter(|one| !over.contains(one)).collect(),
        on_trial,
        over,
    })
}

fn said(wanted: &Wanted) -> Result<Said, String> {
    let said = wanted.standing.read(&wanted.plan, now());
    said.map_err(|error| error.to_string())
}

fn by_ourselves(gate: &mut Gate, wanted: &Wanted, said: &Said) -> Result<(), String> {
    if said.down {
        return gate.down().map_err(of_the_gate);
    }
    // The grants of a daemon that is not there now go on.
    gate.adopt(&wanted.plan, now()).map_err(of_the_gate)?;
    gate.up(&wanted.plan, &said.trial, now())
        .map_err(of_the_gate)
}

/// Lets the daemon read everything anew, and waits until the kernel has what is wanted.
fn by_daemon(gate: &mut Gate, wanted: &Wanted, said: &Said, pid: Pid) -> Result<(), String> {
    let process = pid.as_raw_pid();
    kill_process(pid, Signal::HUP).map_err(|errno| {
        let why = crate::config_file::reason(&io::Error::from(errno));
        format!("knockd (process {process}) keeps the gate and cannot be asked: {why}")
    })?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if is_as(gate, wanted, said).map_err(of_the_gate)? {
            return Ok(());
        }
        sleep(STEP);
    }
    Err(format!(
        "knockd (process {process}) keeps the gate, was asked to read its configuration again, and \
         has not made it as {} wants it within {} s: see its log; it may read another file (-c), or \
         have to be started anew",
        wanted.loaded.path.display(),
        PATIENCE.as_secs()
    ))
}

/// Whether the kernel guards what is wanted: for good what is to be so, and for a while the rest.
fn is_as(gate: &mut Gate, wanted: &Wanted, said: &Said) -> Result<bool, GateError> {
    let Some(reading) = gate.read(&wanted.plan)? else {
        return Ok(said.down);
    };
    let there: BTreeMap<_, _> = reading.guarded.into_iter().collect();
    let mut all = wanted.plan.guarded();
    Ok(all.all(
        |guarded| match (said.trial.get(&guarded), there.get(&guarded)) {
            (None, Some(None)) => true,
            (Some(_), Some(Some(_))) => true,
            (Some(until), None) => *until <= now(),
            _ => false,
        },
    ))
}

fn of_the_gate(error: GateError) -> String {
    match error {
        GateError::NotPermitted => "this needs root (CAP_NET_ADMIN)".to_owned(),
        error => format!("the gate: {error}"),
    }
}
