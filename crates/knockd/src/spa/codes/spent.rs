//! The file of those that are spent.
//!
//! Records of 64 bytes, little-endian: a kind, three zeros, CRC-32 of the rest, and then the hash (32), the
//! time in seconds since 1970 (8), and the address that it came from (16). The first is of another kind,
//! so that a file without it counts as lost. What a crash has left half written at the end is cut off:
//! nothing was done for it. Whatever else is not as it was written counts as lost.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use knock_spa::code::CodeHash;

use super::super::replace::replace;
use super::{Book, CodesError, SPENT_FILE};

const RECORD: usize = 64;
const HEAD: u8 = 1;
const SPENT: u8 = 2;

/// With so many records, those of codes that are not there any more are left out.
const MANY: usize = 1_024;

/// That a code was spent.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Spent {
    /// Which.
    pub hash: CodeHash,
    /// When, in seconds since 1970.
    pub at: u64,
    /// Who: an address of IPv4 or IPv6; the unspecified one if it is not known.
    pub by: IpAddr,
}

/// The spent ones as the daemon has them.
#[derive(Debug)]
pub(super) struct Register {
    folder: PathBuf,
    file: File,
    spent: Vec<Spent>,
    /// After a failure the file is written anew before another is spent.
    broken: bool,
}

/// Those that are written down in `folder`; `None` if they are lost.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn read(folder: &Path) -> Result<Option<Vec<Spent>>, CodesError> {
    let path = folder.join(SPENT_FILE);
    let most = u64::try_from((2 * MANY + 2) * RECORD).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    match File::open(&path) {
        Ok(file) => file.take(most).read_to_end(&mut bytes),
        // Nobody has spent one yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Vec::new())),
        Err(error) => Err(error),
    }
    .map_err(|error| CodesError::Io(path, error))?;
    Ok(parse(&bytes))
}

impl Register {
    /// Those in `folder`, and whether they are lost: then all in `book` count as spent, at `now`.
    pub(super) fn open(folder: &Path, book: &Book, now: u64) -> Result<(Self, bool), CodesError> {
        let read = read(folder)?;
        let lost = read.is_none();
        let of = |hash| Spent {
            hash,
            at: now,
            by: Ipv6Addr::UNSPECIFIED.into(),
        };
        let all = || book.entries.iter().map(|entry| of(entry.hash)).collect();
        let spent = read.unwrap_or_else(all);
        let file = write(folder, &spent)
            .map_err(|error| CodesError::Io(folder.join(SPENT_FILE), error))?;
        let register = Self {
            folder: folder.to_owned(),
            file,
            spent,
            broken: false,
        };
        Ok((register, lost))
    }

    pub(super) fn find(&self, hash: &CodeHash) -> Option<&Spent> {
        self.spent.iter().find(|spent| spent.hash == *hash)
    }

    #[cfg(test)]
    pub(super) fn set_file(&mut self, file: File) {
        self.file = file;
    }

    /// Writes it down. When this returns, it is on the disk.
    pub(super) fn put(&mut self, spent: Spent, book: &Book) -> io::Result<()> {
        if self.spent.len() >= MANY && !book.entries.is_empty() {
            let is_there = |spent: &Spent| book.entries.iter().any(|e| e.hash == spent.hash);
            self.spent.retain(is_there);
            self.broken = true;
        }
        if self.broken {
            let all: Vec<_> = self.spent.iter().copied().chain([spent]).collect();
            self.file = write(&self.folder, &all)?;
            self.broken = false;
        } else {
            let written = self.file.write_all(&record(SPENT, &spent));
            let written = written.and_then(|()| self.file.sync_data());
            self.broken = written.is_err();
            written?;
        }
        self.spent.push(spent);
        Ok(())
    }
}

fn write(folder: &Path, spent: &[Spent]) -> io::Result<File> {
    replace(folder, SPENT_FILE, &render(spent))
}

/// The file that says these.
#[must_use]
pub fn render(spent: &[Spent]) -> Vec<u8> {
    let head = Spent {
        hash: CodeHash([0; 32]),
        at: 0,
        by: Ipv6Addr::UNSPECIFIED.into(),
    };
    let mut bytes = record(HEAD, &head).to_vec();
    bytes.extend(spent.iter().flat_map(|spent| record(SPENT, spent)));
    bytes
}

fn record(kind: u8, spent: &Spent) -> [u8; RECORD] {
    let by = match spent.by {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let mut rest = spent.hash.0.to_vec();
    rest.extend(spent.at.to_le_bytes());
    rest.extend(by.octets());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(&rest);
    let head = [kind, 0, 0, 0].into_iter();
    let parts = head.chain(hasher.finalize().to_le_bytes()).chain(rest);
    let mut bytes = [0; RECORD];
    bytes
        .iter_mut()
        .zip(parts)
        .for_each(|(to, from)| *to = from);
    bytes
}

/// Those in a file of these bytes; `None` if it is not as it was written.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Vec<Spent>> {
    let (records, _half) = bytes.as_chunks::<RECORD>();
    let (first, rest) = records.split_first()?;
    let (HEAD, _) = parse_record(first)? else {
        return None;
    };
    let mut all = Vec::new();
    for (n, bytes) in rest.iter().enumerate() {
        match parse_record(bytes) {
            Some((SPENT, spent)) => all.push(spent),
            // Written, and not yet on the disk when the power went: nothing was done for it.
            None if n + 1 == rest.len() => {}
            _ => return None,
        }
    }
    Some(all)
}

fn parse_record(bytes: &[u8; RECORD]) -> Option<(u8, Spent)> {
    let (_, rest) = bytes.split_first_chunk::<8>()?;
    let (hash, rest) = rest.split_first_chunk()?;
    let (at, rest) = rest.split_first_chunk()?;
    let by: [u8; 16] = *rest.first_chunk()?;
    let spent = Spent {
        hash: CodeHash(*hash),
        at: u64::from_le_bytes(*at),
        by: IpAddr::from(by).to_canonical(),
    };
    let kind = *bytes.first()?;
    (record(kind, &spent) == *bytes).then_some((kind, spent))
}
