//! Authentic knocks a second, with both of our processes on one processor.
//!
//! So many people knock that no machine's clock gives one of them two knocks in a millisecond, and
//! from so many networks that none uses up its share. Some knocks are always on their way, but no
//! more than the listener's own limit lets in: 4,000 a second.

use std::time::{Duration, Instant};

use knock_spa::{Outcome, Pending, Purpose};

use super::people::Person;
use super::side::Side;
use crate::Result;
use crate::bench::processors::Processors;
use crate::bench::report::{Samples, to_f64};
use crate::bench::{Line, Programs, TURNS};

const PEOPLE: u32 = 100;

/// Knocks in a turn.
const KNOCKS: usize = 2_000;

/// Knocks that are on their way at once.
const AT_ONCE: usize = 128;

/// At the least between two knocks.
const PERIOD: Duration = Duration::from_micros(260);

/// Longer than an answer takes.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let processors = Processors::divide(1)?;
    let mut people: Vec<_> = (0..PEOPLE).map(Person::new).collect();
    let side = Side::start(programs, &people)?;
    processors.take_last()?;
    let (mut rates, mut cpu) = (Samples::default(), Samples::default());
    for _ in 0..TURNS {
        side.daemon.settle()?;
        let mut knocks = prepare(&side, &mut people)?;
        let before = side.daemon.usage()?;
        let took = turn(&side, &mut knocks)?;
        let used = side.daemon.usage()?.since(&before).cpu;
        rates.push(to_f64(KNOCKS) / took.as_secs_f64());
        cpu.push(used.as_secs_f64() * 1e6 / to_f64(KNOCKS));
    }
    drop(processors);
    let note = format!(
        "each durable, granted by the kernel, logged and answered; {} of CPU each; no more than \
         3,850 are sent",
        format_args!("{:.0} us", cpu.median().value)
    );
    Ok(vec![
        Line::new(
            "authentic knocks a second, one processor",
            "",
            rates.median(),
        )
        .at_least(2_000.0)
        .note(note),
    ])
}

/// A frame, and what reads its answer.
type Ready = (Vec<u8>, Pending);

fn prepare(side: &Side, people: &mut [Person]) -> Result<Vec<Ready>> {
    let mut knocks = Vec::with_capacity(KNOCKS);
    while knocks.len() < KNOCKS {
        for person in &mut *people {
            let (datagram, pending) = person.seal(&side.profile, Purpose::Open)?;
            knocks.push((side.frame(side.next_source(), &datagram)?, pending));
        }
    }
    Ok(knocks)
}

/// Sends them all; how long it took until the last one was answered.
fn turn(side: &Side, knocks: &mut Vec<Ready>) -> Result<Duration> {
    let begun = Instant::now();
    let (mut waiting, mut sent, mut opened) = (Vec::with_capacity(AT_ONCE), 0_u32, 0);
    knocks.reverse();
    let mut last = begun;
    while opened < KNOCKS {
        if waiting.len() < AT_ONCE
            && begun.elapsed() >= PERIOD * sent
            && let Some((frame, pending)) = knocks.pop()
        {
            side.send(&frame)?;
            waiting.push(pending);
            sent += 1;
        }
        if let Some(answer) = side.answer()? {
            opened += usize::from(is_opened(&answer, &mut waiting)?);
            last = Instant::now();
        }
        if last.elapsed() > PATIENCE {
            let end = side.daemon.end_of_log()?;
            return Err(format!("{opened} of {KNOCKS} knocks opened; the log ends\n{end}").into());
        }
    }
    Ok(last.duration_since(begun))
}

/// Whether it is an answer to one of those that wait, and good.
fn is_opened(answer: &[u8], waiting: &mut Vec<Pending>) -> Result<bool> {
    let mut replies = waiting.iter().map(|pending| pending.open(answer));
    let found = replies.position(|reply| reply.is_ok());
    let Some(place) = found else {
        return Ok(false);
    };
    let reply = waiting.remove(place).open(answer)?;
    match reply.outcome {
        Outcome::Opened { .. } => Ok(true),
        other => Err(format!("not opened: {other:?}").into()),
    }
}
