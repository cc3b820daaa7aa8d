//! `knockctl audit`: whether the audit trail is as it was written, and what it tells.

mod report;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::gate::File;
use crate::audit::{Files, Head, ReadError, rotated};

/// The command line of `knockctl audit`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Look whether any line is missing, altered, doubled or out of its place
    Verify(verify::Options),
    /// Tell who could reach what, and when
    Report(report::Options),
}

/// Where the trail is.
#[derive(Debug, Args)]
struct Trail {
    /// The files of the trail, in any order; those of the configuration if none is named
    files: Vec<PathBuf>,
    #[command(flatten)]
    file: File,
}

/// The files of a trail, and what the daemon has kept apart of its end.
struct Found {
    files: Files,
    head: Option<Head>,
    /// Why there is no head to go by, or none that is of these files.
    no_head: Option<String>,
}

/// Runs `knockctl audit`; exits with 1 if something is amiss with the trail, or it cannot be read.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    match &options.what {
        What::Verify(options) => verify::run(options),
        What::Report(options) => report::run(options),
    }
}

impl Trail {
    /// Finds the files. The head is read before them: meanwhile the daemon may write on.
    fn find(&self) -> Result<Found, String> {
        let wrong = |error: ReadError| error.to_string();
        let config = self.file.load().map(|wanted| wanted.loaded.config.options);
        if !self.files.is_empty() {
            let (head, no_head) = match &config {
                Ok(options) => head(&options.state_dir, options.audit_file.as_deref()),
                Err(_) => (None, Some("without a configuration".to_owned())),
            };
            // Of other files it says nothing.
            let is_named = |head: &Head| self.files.iter().any(|file| same(file, &head.path));
            let (head, other) = match head {
                Some(head) if is_named(&head) => (Some(head), None),
                Some(head) => (None, Some(format!("{} is not among the files", head.path))),
                None => (None, no_head),
            };
            return Ok(Found {
                files: Files::in_order(self.files.clone()).map_err(wrong)?,
                head,
                no_head: other,
            });
        }
        let options = config?;
        let Some(path) = &options.audit_file else {
            let path = self.file.path().display();
            return Err(format!("{path}: there is no `audit_file`; name the files"));
        };
        let (head, no_head) = head(&options.state_dir, Some(path));
        let found = rotated(path.as_ref());
        if found.is_empty() {
            return Err(format!("{path}: there is no trail yet"));
        }
        Ok(Found {
            files: Files::in_order(found).map_err(wrong)?,
            head,
            no_head,
        })
    }
}

/// What is kept apart in `folder` of the trail `path`, or why it is of no use.
fn head(folder: &str, path: Option<&str>) -> (Option<Head>, Option<String>) {
    match Head::load(folder.as_ref()) {
        Ok(Some(head)) if path.is_none_or(|path| path == head.path) => (Some(head), None),
        Ok(Some(head)) => (None, Some(format!("it is of {}", head.path))),
        Ok(None) => (None, Some("there is none".to_owned())),
        Err(error) => (None, Some(crate::config_file::reason(&error))),
    }
}

fn same(file: &Path, path: &str) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    file.as_os_str() == path || real(file).is_some_and(|file| Some(file) == real(path.as_ref()))
}
