//! A change as the bytes of an entry, and back. All integers are little-endian.

use std::sync::Arc;

use super::format::FRAME;
use super::ledger::{Change, MAX_COMMAND, MAX_DOOR, MAX_USER, Owed, Record, State};
use super::moment::{BootId, Deadline, Moment};
use crate::wire::bytes::{Malformed, Reader, Writer};

const OWE: u8 = 1;
const UNTIL: u8 = 2;
const STOPPING: u8 = 3;
const STRIKE: u8 = 4;

/// The longest entry: one that is owed, with everything as long as it may be.
pub(super) const MAX_LENGTH: usize = OWE_LENGTH + MAX_COMMAND + MAX_DOOR + MAX_USER;

/// Kind, number, address, whether there is a user, and three lengths of texts.
const OWE_LENGTH: usize = 1 + 8 + 17 + 1 + 12;

/// Kind, number, boot, two clocks and a duration.
const UNTIL_LENGTH: u64 = 1 + 8 + 16 + 8 + 8 + 8;

/// The bytes of a file that a record takes in whichever state, at most.
pub(super) fn room(owed: &Owed) -> u64 {
    let user = owed.user.as_ref().map_or(0, String::len);
    let length = OWE_LENGTH + owed.door.len() + owed.command.len() + user;
    u64::try_from(length)
        .unwrap_or(u64::MAX)
        .saturating_add(UNTIL_LENGTH + 2 * FRAME)
}

/// The changes that make a record what it is.
pub(super) fn of_record(record: &Record) -> impl Iterator<Item = Change> {
    let owe = Change::Owe(Arc::clone(&record.owed));
    [owe].into_iter().chain(of_state(record))
}

/// The change that gives a record its state, if it needs one.
pub(super) fn of_state(record: &Record) -> Option<Change> {
    let id = record.owed.id;
    match record.state {
        State::Starting => None,
        State::Open(deadline) => Some(Change::Until(id, deadline)),
        State::Stopping => Some(Change::Stopping(id)),
    }
}

pub(super) fn encode(change: &Change) -> Vec<u8> {
    let mut out = Writer::default();
    let kind = match change {
        Change::Owe(_) => OWE,
        Change::Until(..) => UNTIL,
        Change::Stopping(_) => STOPPING,
        Change::Strike(_) => STRIKE,
    };
    out.u8(kind);
    out.u64(change.id());
    match change {
        Change::Owe(owed) => {
            out.address(owed.source);
            out.text(&owed.door);
            out.text(&owed.command);
            out.option(owed.user.as_ref(), |out, user| out.text(user));
        }
        Change::Until(_, deadline) => {
            out.0.extend(deadline.at.boot.bytes());
            out.u64(deadline.at.boottime);
            out.u64(deadline.at.wall);
            out.u64(deadline.duration);
        }
        Change::Stopping(_) | Change::Strike(_) => {}
    }
    out.0
}

pub(super) fn decode(bytes: &[u8]) -> Result<Change, Malformed> {
    let mut read = Reader(bytes);
    let kind = read.u8()?;
    let id = read.u64()?;
    let change = match kind {
        OWE => Change::Owe(Arc::new(Owed {
            id,
            source: read.address()?,
            door: read.text()?,
            command: read.text()?,
            user: read.option(Reader::text)?,
        })),
        UNTIL => Change::Until(id, deadline(&mut read)?),
        STOPPING => Change::Stopping(id),
        STRIKE => Change::Strike(id),
        _ => return Err(Malformed),
    };
    read.end()?;
    Ok(change)
}

fn deadline(read: &mut Reader<'_>) -> Result<Deadline, Malformed> {
    let at = Moment {
        boot: BootId::from_bytes(read.take()?),
        boottime: read.u64()?,
        wall: read.u64()?,
    };
    let duration = read.u64()?;
    Ok(Deadline { at, duration })
}
