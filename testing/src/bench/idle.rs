//! What a daemon does and takes while nothing happens.

use std::thread::sleep;
use std::time::Duration;

use super::daemon::{COMMAND, Daemon};
use super::report::{Figure, to_f64};
use super::{Line, MEBIBYTE, Programs};
use crate::Result;

/// The most that the kernel may still have to say of a network that was just made: duplicate
/// addresses, neighbours, groups.
const AFTERMATH: Duration = Duration::from_secs(4);

pub(super) fn run(programs: &Programs, rest: Duration) -> Result<Vec<Line>> {
    let config = format!("[A]\nsequence = 7000\ntcpflags = syn\ncommand = {COMMAND}\n");
    let ours = Daemon::start(&programs.knockd, &config)?;
    let theirs = Daemon::start(&programs.theirs, &config)?;
    for daemon in [&ours, &theirs] {
        daemon.knock(7000)?;
        daemon.wait_for_command()?;
    }
    sleep(AFTERMATH);
    let (our_count, their_count) = (ours.switches()?, theirs.switches()?);
    sleep(rest);
    let our_switches = since(&ours, our_count)?;
    let their_switches = since(&theirs, their_count)?;
    Ok(vec![
        Line::new(
            format!("wake-ups in {} s of rest", rest.as_secs()),
            "",
            our_switches,
        )
        .theirs(their_switches)
        .at_most(0.0),
        Line::new(
            "resident memory, shared pages in part",
            " MiB",
            resident(&ours)?,
        )
        .theirs(resident(&theirs)?)
        .at_most(8.0),
    ])
}

/// How often it was woken since its threads had been switched `before` times.
fn since(daemon: &Daemon, before: u64) -> Result<Figure> {
    let count = daemon.switches()?.saturating_sub(before);
    Ok(Figure::single(to_f64(usize::try_from(count)?)))
}

fn resident(daemon: &Daemon) -> Result<Figure> {
    let bytes = usize::try_from(daemon.resident()?)?;
    Ok(Figure::single(to_f64(bytes) / MEBIBYTE))
}
