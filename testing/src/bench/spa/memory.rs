//! What is remembered when as many keys have knocked as are remembered.
//!
//! That many people ask what a knock would open, which is remembered as a knock is. The daemon is then
//! started again with what it has written and one key, beside one that has been asked nothing, so
//! that neither the keys of people nor what was needed meanwhile is in the figure.

use std::time::Duration;

use knock_spa::window::MAX_KEYS;
use knock_spa::{Outcome, Purpose};

use super::people::Person;
use super::side::Side;
use crate::Result;
use crate::bench::report::{Figure, to_f64};
use crate::bench::{Line, Programs};

/// Longer than an answer takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// The length of a record of the file of marks.
const RECORD: usize = 32;

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let mut people = Vec::with_capacity(MAX_KEYS);
    for number in 0..u32::try_from(MAX_KEYS)? {
        people.push(Person::new(number));
    }
    let side = Side::start(programs, &people)?;
    people
        .iter_mut()
        .try_for_each(|person| ask(&side, person))?;
    let marks = side.marks()?;
    drop(side);
    let used = |record: &&[u8]| record.iter().any(|byte| *byte != 0);
    let count = marks.chunks(RECORD).filter(used).count();
    if count <= MAX_KEYS {
        return Err(format!("{count} marks are in the file, of {MAX_KEYS} keys").into());
    }
    let alice = [Person::new(0)];
    let resident = |marks| -> Result<u64> {
        let side = Side::start_with(programs, &alice, marks)?;
        side.daemon.settle()?;
        if side.daemon.log()?.contains("could not be read") {
            return Err("what was accepted before was not taken up".into());
        }
        side.daemon.resident()
    };
    let (before, after) = (resident(None)?, resident(Some(&marks))?);
    let grown = usize::try_from(after.saturating_sub(before))?;
    let megabytes = |bytes| to_f64(bytes) / 1e6;
    let what = format!("memory for the replay state of {MAX_KEYS} keys, its cap");
    let note = format!(
        "resident, shared pages in part, of {:.1} MB in all",
        megabytes(usize::try_from(after)?)
    );
    let grown = Figure::single(megabytes(grown));
    Ok(vec![Line::new(what, " MB", grown).at_most(4.0).note(note)])
}

/// Asks, and is answered.
fn ask(side: &Side, person: &mut Person) -> Result<()> {
    let (datagram, pending) = person.seal(&side.profile, Purpose::Ask)?;
    side.send(&side.frame(side.next_source(), &datagram)?)?;
    match side.outcome(&pending, PATIENCE)? {
        Some(Outcome::WouldOpen { .. }) => Ok(()),
        other => Err(format!("asked, and answered {other:?}").into()),
    }
}
