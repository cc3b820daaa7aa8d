//! The file as bytes: a header, and after it entries, each with its length and its checksum.
//!
//! ```text
//! header:  magic "pstnowed", version (4 bytes), next number (8), CRC-32 of these 20 bytes (4)
//! entry:   length of the payload (4), CRC-32 of length and payload (4), payload
//! ```
//!
//! Integers are little-endian, the CRC is that of IEEE 802.3. Nothing that a file says makes us
//! allocate more than it is long.

use crc32fast::Hasher;

use super::entry;
use super::ledger::{Bounds, Ledger};

const MAGIC: [u8; 8] = *b"pstnowed";

/// The version that is written, and the only one that is read.
pub(super) const VERSION: u32 = 1;

/// Bytes of the header.
pub(super) const HEADER: u64 = 24;

/// Bytes of an entry before its payload.
pub(super) const FRAME: u64 = 8;

/// How many bytes are checksummed at most in search of the next good entry after a damaged place.
/// A file can be made in which every byte could be the first of a long entry.
const MAX_SEARCH: usize = 16 << 20;

/// Why a file is not read. It is none of ours, or none of ours yet.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Foreign {
    NotAJournal,
    Future(u32),
}

/// What was found in a file.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) ledger: Ledger,
    /// Where the last good entry ends.
    pub(super) end: u64,
    /// Bytes after it, of an entry that was not written to its end.
    pub(super) torn: u64,
    pub(super) damage: Option<Damage>,
}

impl Scan {
    /// Of an empty file.
    pub(super) const fn nothing(bounds: Bounds) -> Self {
        Self {
            ledger: Ledger::new(bounds, 0),
            end: 0,
            torn: 0,
            damage: None,
        }
    }
}

/// What could not be read.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Damage {
    /// Bytes that belong to no good entry.
    pub(super) bytes: u64,
    /// Entries that say what cannot be, given those before them.
    pub(super) entries: u64,
}

/// A file with nothing in it but what is owed.
pub(super) fn snapshot(ledger: &Ledger) -> Vec<u8> {
    let mut out = header(ledger.next());
    for change in ledger.records().values().flat_map(entry::of_record) {
        push(&mut out, &entry::encode(&change));
    }
    out
}

fn header(next: u64) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend(next.to_le_bytes());
    let sum = crc32fast::hash(&out);
    out.extend(sum.to_le_bytes());
    out
}

/// Appends an entry.
pub(super) fn push(out: &mut Vec<u8>, payload: &[u8]) {
    // Every payload is bounded; one that is not could not be read again, and is refused there.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend(length.to_le_bytes());
    out.extend(checksum(length, payload).to_le_bytes());
    out.extend(payload);
}

fn checksum(length: u32, payload: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// Reads a file that is not empty.
///
/// Behind a damaged place it goes on with the next good entry: what is owed must not be forgotten
/// because of something else. What the damaged place said is lost: a record in it, or that one
/// was struck off.
pub(super) fn scan(bytes: &[u8], bounds: Bounds) -> Result<Scan, Foreign> {
    let (next, mut rest) = read_header(bytes)?;
    let mut ledger = Ledger::new(bounds, 0);
    let mut damage = Damage::default();
    let mut search = Search(MAX_SEARCH);
    let mut torn = 0;
    let mut is_damaged = next.is_none();
    while !rest.is_empty() {
        if let Some((payload, after)) = split(rest, &mut None) {
            let change = entry::decode(payload).ok();
            if change.is_none_or(|change| ledger.apply(&change).is_err()) {
                damage.entries += 1;
                is_damaged = true;
            }
            rest = after;
        } else if let Some((skipped, after)) = search.next_good(rest) {
            damage.bytes += skipped;
            is_damaged = true;
            rest = after;
        } else {
            torn = size(rest);
            break;
        }
    }
    ledger.raise_next(next.unwrap_or(0));
    let end = size(bytes).saturating_sub(torn);
    if torn > 0 && !is_torn(rest) {
        damage.bytes += torn;
        is_damaged = true;
        torn = 0;
    }
    Ok(Scan {
        ledger,
        end,
        torn,
        damage: is_damaged.then_some(damage),
    })
}

/// The next number, if the header is whole, and what comes after the header.
fn read_header(bytes: &[u8]) -> Result<(Option<u64>, &[u8]), Foreign> {
    let (magic, rest) = bytes.split_first_chunk().ok_or(Foreign::NotAJournal)?;
    if *magic != MAGIC {
        return Err(Foreign::NotAJournal);
    }
    let Some((version, rest)) = rest.split_first_chunk() else {
        return Ok((None, &[]));
    };
    match u32::from_le_bytes(*version) {
        VERSION => {}
        0 => return Err(Foreign::NotAJournal),
        version => return Err(Foreign::Future(version)),
    }
    let fields = rest.split_first_chunk().and_then(|(next, rest)| {
        let (sum, rest) = rest.split_first_chunk()?;
        Some((u64::from_le_bytes(*next), u32::from_le_bytes(*sum), rest))
    });
    let Some((next, sum, rest)) = fields else {
        return Ok((None, &[]));
    };
    let is_whole = header(next).ends_with(&sum.to_le_bytes());
    Ok((is_whole.then_some(next), rest))
}

/// An entry's payload and what comes after it. With a budget, bytes that are checksummed are taken
/// from it, and none are once it is used up.
fn split<'a>(bytes: &'a [u8], budget: &mut Option<&mut usize>) -> Option<(&'a [u8], &'a [u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let length = u32::from_le_bytes(*length);
    let (payload, after) = rest.split_at_checked(plausible(length)?)?;
    if let Some(budget) = budget {
        **budget = budget.checked_sub(payload.len())?;
    }
    let is_good = checksum(length, payload) == u32::from_le_bytes(*sum);
    is_good.then_some((payload, after))
}

fn plausible(length: u32) -> Option<usize> {
    let length = usize::try_from(length).ok()?;
    (1..=entry::MAX_LENGTH).contains(&length).then_some(length)
}

/// A search for good entries, and how many bytes it may still checksum.
struct Search(usize);

impl Search {
    /// How many bytes come before the next good entry, and that entry with all after it.
    fn next_good<'a>(&mut self, bytes: &'a [u8]) -> Option<(u64, &'a [u8])> {
        let mut rest = bytes;
        while let Some((_, tail)) = rest.split_first() {
            rest = tail;
            if split(rest, &mut Some(&mut self.0)).is_some() {
                return Some((size(bytes).saturating_sub(size(rest)), rest));
            }
        }
        None
    }
}

/// Whether these last bytes look like an entry that was not written to its end: it is too short,
/// or only its room is there, filled with zeros.
fn is_torn(bytes: &[u8]) -> bool {
    let promised = bytes.split_first_chunk().map(|(length, _)| *length);
    let length = promised.map(u32::from_le_bytes).map(plausible);
    let is_short = match length {
        None => true,
        Some(None) => false,
        Some(Some(length)) => bytes.len() < length.saturating_add(8),
    };
    is_short || bytes.iter().all(|byte| *byte == 0)
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
