//! Files that the configuration names, and the configuration itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use knock_core::one_time;

use crate::config_file::reason;
use crate::diagnostics::Note;

/// So many wrong lines of one file are told one by one.
const MAX_BAD_LINES: usize = 10;

/// What is wrong, what was expected, and a hint.
pub(super) type Warning = (String, String, Option<&'static str>);

/// The configuration holds the sequences, which are secrets.
pub(super) fn readable_by_all(path: &Path) -> Option<Note> {
    let metadata = path.metadata().ok().filter(fs::Metadata::is_file)?;
    let mode = metadata.permissions().mode() & 0o7777;
    (mode & 0o004 != 0).then(|| Note {
        message: format!("every account of this machine can read the sequences (mode {mode:04o})"),
        help: format!("chmod 600 {}", path.display()),
    })
}

/// Why a file cannot be written at `path`: what is wrong, and what was expected.
pub(super) fn cannot_create(path: &Path) -> Option<(String, &'static str)> {
    if path.is_relative() {
        let message = "a relative path depends on where knockd is started";
        return Some((
            message.into(),
            "a path from / on; with -d knockd goes there",
        ));
    }
    let directory = path.parent()?;
    if path.is_dir() {
        return Some(("this is a directory".into(), "the path of a file"));
    }
    (!directory.is_dir()).then(|| {
        let message = format!("there is no directory `{}`", directory.display());
        (message, "a file in a directory that exists")
    })
}

/// What is wrong with a file of one-time sequences.
pub(super) fn one_time(path: &Path) -> Vec<Warning> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("this file cannot be read: {}", reason(&error));
            return vec![(message, "a file with a sequence in each line".into(), None)];
        }
    };
    let mut warnings = Vec::new();
    let mode = path
        .metadata()
        .map_or(0, |m| m.permissions().mode() & 0o7777);
    if mode & 0o006 != 0 {
        let message = format!("every account can read or change this file (mode {mode:04o})");
        warnings.push((
            message,
            "a file for its owner alone".into(),
            Some("chmod 600"),
        ));
    }
    let found = one_time::parse(&bytes);
    for bad in found.bad.iter().take(MAX_BAD_LINES) {
        let message = format!(
            "line {} of this file is skipped: {}",
            bad.number, bad.problem
        );
        warnings.push((
            message,
            "a sequence in each line, or a comment".into(),
            None,
        ));
    }
    if let Some(more) = found
        .bad
        .len()
        .checked_sub(MAX_BAD_LINES)
        .filter(|n| *n > 0)
    {
        let message = format!("{more} more lines of this file are skipped");
        warnings.push((
            message,
            "a sequence in each line, or a comment".into(),
            None,
        ));
    }
    if found.current.is_none() {
        let message = "no sequence is left in this file, so that the door stays shut";
        warnings.push((message.into(), "a line that is not struck off".into(), None));
    }
    warnings
}
