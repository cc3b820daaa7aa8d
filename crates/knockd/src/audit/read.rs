//! The files of a trail, as they are, or compressed by gzip(1) after a rotation.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::entry::{Link, MAX_LINE};
use super::verify::Place;
use crate::config_file::reason;

/// With what a compressed file begins (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The files of a trail, in the order of their lines.
#[derive(Clone, Debug)]
pub struct Files(Vec<PathBuf>);

/// A file that cannot be read (to its end).
#[derive(Debug)]
pub struct ReadError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

impl Files {
    /// `paths`, by the numbers of their first lines. A file without any comes last.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn in_order(paths: impl IntoIterator<Item = PathBuf>) -> Result<Self, ReadError> {
        let mut all = Vec::new();
        for path in paths {
            let first = first(&path).map_err(|error| ReadError {
                path: path.clone(),
                error,
            })?;
            all.push((first, path));
        }
        all.sort_by_key(|(first, _)| first.unwrap_or(u64::MAX));
        Ok(Self(all.into_iter().map(|(_, path)| path).collect()))
    }

    /// The file of a line.
    #[must_use]
    pub fn path(&self, place: Place) -> &Path {
        self.0
            .get(place.file)
            .map_or(Path::new(""), PathBuf::as_path)
    }

    /// Gives each line, without its end, to `take`, with whether it has one.
    ///
    /// # Errors
    /// If a file cannot be read to its end.
    pub fn each(&self, mut take: impl FnMut(Place, &[u8], bool)) -> Result<(), ReadError> {
        for (file, path) in self.0.iter().enumerate() {
            let mut number = 0;
            let read = open(path).and_then(|reader| {
                lines(reader, |line, is_whole| {
                    number += 1;
                    take(Place { file, line: number }, line, is_whole);
                })
            });
            read.map_err(|error| ReadError {
                path: path.clone(),
                error,
            })?;
        }
        Ok(())
    }
}

/// `path`, if it is there, and what a rotation has made of it beside it: `path.1`, `path.2.gz`,
/// `path-20261127`.
#[must_use]
pub fn rotated(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let is_one = |other: &OsStr| {
        let rest = other.to_str().and_then(|other| other.strip_prefix(name));
        rest.is_some_and(|rest| {
            let number = rest.strip_suffix(".gz").unwrap_or(rest);
            let number = number.strip_prefix(['.', '-']).unwrap_or_default();
            let is_number = number.chars().all(|c| c.is_ascii_digit() || c == '-');
            rest.is_empty() || (is_number && !number.is_empty())
        })
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    let mut found: Vec<_> = names.filter(|other| is_one(other)).collect();
    found.sort_unstable();
    found.iter().map(|name| folder.join(name)).collect()
}

/// Gives each line of `reader`, without its end, to `take`, with whether it has one. Of a line that is
/// longer than any, only the beginning.
///
/// # Errors
/// If it cannot be read to its end.
pub fn lines(mut reader: impl BufRead, mut take: impl FnMut(&[u8], bool)) -> io::Result<()> {
    let most = u64::try_from(MAX_LINE)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.by_ref().take(most).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(());
        }
        let is_whole =
            line.pop_if(|last| *last == b'\n').is_some() || skip_line(&mut reader, length)?;
        take(&line, is_whole);
    }
}

/// After the beginning of a line, of this length: skips the rest. Whether there was an end.
fn skip_line(reader: &mut impl BufRead, length: usize) -> io::Result<bool> {
    if length <= MAX_LINE {
        return Ok(false);
    }
    loop {
        let bytes = reader.fill_buf()?;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(bytes.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() || used == 0 {
            return Ok(end.is_some());
        }
    }
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let mut file = File::open(path)?;
    let mut magic = Vec::new();
    (&mut file).take(2).read_to_end(&mut magic)?;
    file.rewind()?;
    let reader = BufReader::new(file);
    Ok(if magic == GZIP {
        Box::new(BufReader::new(MultiGzDecoder::new(reader)))
    } else {
        Box::new(reader)
    })
}

/// The number of the first line that has one.
fn first(path: &Path) -> io::Result<Option<u64>> {
    let mut line = Vec::new();
    let most = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    open(path)?.take(most).read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice::<Link>(&line)
        .ok()
        .map(|link| link.seq))
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), reason(&self.error))
    }
}
