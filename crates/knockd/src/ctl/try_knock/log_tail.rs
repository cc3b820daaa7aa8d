//! Follows the daemon's log file while it grows.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Most of a log that one step of the story reads; more than any honest one writes.
const MOST: u64 = 1 << 20;

/// A log file from its beginning, line by line.
#[derive(Debug)]
pub(super) struct LogTail {
    path: PathBuf,
    file: Option<File>,
    partial: String,
}

impl LogTail {
    /// The file need not exist yet.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            partial: String::new(),
        }
    }

    /// Gives every new line, without the time in front, to `each`, until `each` answers that it
    /// has seen what it wanted (`true`) or until `limit` is over (`false`).
    pub(super) fn wait_for(
        &mut self,
        limit: Duration,
        mut each: impl FnMut(&str) -> bool,
    ) -> io::Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            self.read()?;
            while let Some((line, rest)) = self.partial.split_once('\n') {
                let seen = !line.is_empty() && each(without_time(line));
                self.partial = rest.to_owned();
                if seen {
                    return Ok(true);
                }
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn read(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.file = match File::open(&self.path) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
        }
        let mut bytes = Vec::new();
        if let Some(file) = &mut self.file {
            file.take(MOST).read_to_end(&mut bytes)?;
        }
        self.partial.push_str(&String::from_utf8_lossy(&bytes));
        Ok(())
    }
}

/// The original writes `[2026-11-23 03:15] ` in front of each line.
fn without_time(line: &str) -> &str {
    let stamped = line.strip_prefix('[').and_then(|l| l.split_once("] "));
    stamped.map_or(line, |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_come_whole_once_and_without_their_time() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut tail = LogTail::new(file.path());
        let mut lines = Vec::new();
        let mut collect = |tail: &mut LogTail, wanted: &str| {
            tail.wait_for(Duration::ZERO, |line| {
                lines.push(line.to_owned());
                line == wanted
            })
        };
        write!(file, "[2026-11-23 03:15] one\n\ntwo\nthr").unwrap();
        assert!(collect(&mut tail, "one").unwrap());
        assert!(!collect(&mut tail, "three").unwrap());
        writeln!(file, "ee").unwrap();
        assert!(collect(&mut tail, "three").unwrap());
        assert_eq!(lines, ["one", "two", "three"]);
    }

    #[test]
    fn a_file_that_is_not_there_yet_is_waited_for() {
        let mut tail = LogTail::new(Path::new("/nonexistent/log"));
        assert!(!tail.wait_for(Duration::ZERO, |_| true).unwrap());
    }
}
