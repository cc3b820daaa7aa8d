//! All that the kernel tells of one process.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

use super::descriptors::{self, Descriptor};
use super::limits::Limits;
use super::status::Status;
use crate::config_file;

/// What a process is in the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    Keeper,
    Listener,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Keeper => "keeper",
            Self::Listener => "listener",
        }
    }
}

/// Something that was read, or why it could not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Seen<T> {
    Read(T),
    Unread {
        #[serde(rename = "unread")]
        reason: String,
    },
}

impl<T> From<io::Result<T>> for Seen<T> {
    fn from(result: io::Result<T>) -> Self {
        match result {
            Ok(value) => Self::Read(value),
            Err(error) => Self::Unread {
                reason: config_file::reason(&error),
            },
        }
    }
}

/// One process of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Process {
    pub(super) role: Role,
    pub(super) pid: u32,
    /// The path of its program.
    pub(super) program: Seen<String>,
    #[serde(flatten)]
    pub(super) status: Status,
    /// Threads whose rights are not those of the first one.
    pub(super) other_threads: BTreeSet<u32>,
    /// Whether others of its account may look into it; nothing if that cannot be told.
    pub(super) dumpable: Option<bool>,
    pub(super) descriptors: Seen<Vec<Descriptor>>,
    pub(super) limits: Seen<Limits>,
    /// The namespaces that are not those of this command.
    pub(super) other_namespaces: Seen<BTreeSet<String>>,
}

impl Process {
    /// Reads the process `pid` in `proc`, which is `/proc`.
    ///
    /// # Errors
    /// If there is no such process. What may not be read is no error.
    pub(super) fn read(proc: &Path, pid: u32, role: Role) -> io::Result<Self> {
        let directory = proc.join(pid.to_string());
        let status = status(&directory)?;
        Ok(Self {
            role,
            pid,
            program: program(&directory).into(),
            other_threads: other_threads(&directory, &status)?,
            dumpable: dumpable(&directory, status.rights.user.effective)?,
            status,
            descriptors: descriptors::read(&directory).into(),
            limits: limits(&directory).into(),
            other_namespaces: other_namespaces(&directory, &proc.join("self")).into(),
        })
    }
}

/// The status of the process or thread whose directory is `directory`.
///
/// # Errors
/// If there is none, or it is not one that this program understands.
pub(super) fn status(directory: &Path) -> io::Result<Status> {
    let text = fs::read_to_string(directory.join("status"))?;
    Status::parse(&text).ok_or_else(|| io::Error::other("its status has lines missing"))
}

/// The path of the program that runs in the process whose directory is `directory`.
///
/// # Errors
/// If it may not be read, or there is no such process.
pub(super) fn program(directory: &Path) -> io::Result<String> {
    let path = fs::read_link(directory.join("exe"))?;
    Ok(path.to_string_lossy().into_owned())
}

fn limits(directory: &Path) -> io::Result<Limits> {
    let text = fs::read_to_string(directory.join("limits"))?;
    Limits::parse(&text).ok_or_else(|| io::Error::other("lines are missing"))
}

/// A thread can end while this reads.
fn other_threads(directory: &Path, first: &Status) -> io::Result<BTreeSet<u32>> {
    let mut others = BTreeSet::new();
    for entry in fs::read_dir(directory.join("task"))? {
        let entry = entry?;
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let (Some(number), Ok(status)) = (number, status(&entry.path()))
            && status.rights != first.rights
        {
            others.insert(number);
        }
    }
    Ok(others)
}

/// The files of a process in `/proc` belong to its effective user, those of one that is not
/// dumpable to root (proc(5)). The directory itself always belongs to the user, as the kernel's
/// `task_dump_owner` says; so one of the files is asked.
fn dumpable(directory: &Path, user: u32) -> io::Result<Option<bool>> {
    let owner = fs::metadata(directory.join("status"))?.uid();
    Ok(is_dumpable(owner, user))
}

fn is_dumpable(owner: u32, user: u32) -> Option<bool> {
    match owner {
        _ if user == 0 => None,
        _ if owner == user => Some(true),
        0 => Some(false),
        // Root of a user namespace, maybe.
        _ => None,
    }
}

fn other_namespaces(directory: &Path, here: &Path) -> io::Result<BTreeSet<String>> {
    let mut others = BTreeSet::new();
    for entry in fs::read_dir(here.join("ns"))? {
        let name = entry?.file_name();
        let of = |process: &Path| fs::read_link(process.join("ns").join(&name));
        if of(directory)? != of(here)? {
            others.insert(name.to_string_lossy().into_owned());
        }
    }
    Ok(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_another_account_is_dumpable_if_its_files_are_its_own() {
        assert_eq!(is_dumpable(998, 998), Some(true));
        assert_eq!(is_dumpable(0, 998), Some(false));
        assert_eq!(is_dumpable(0, 0), None);
        assert_eq!(is_dumpable(65534, 998), None);
    }

    #[test]
    fn this_process_is_read_from_the_kernel() {
        let pid = std::process::id();
        let process = Process::read(Path::new("/proc"), pid, Role::Keeper).unwrap();
        let ids = process.status.rights.user.all();
        assert_eq!(ids[1], nix::unistd::geteuid().as_raw());
        let program = std::env::current_exe().unwrap();
        assert_eq!(
            process.program,
            Seen::Read(program.to_str().unwrap().into())
        );
        assert!(process.status.threads >= 2, "{process:?}");
        assert_eq!(process.other_threads, BTreeSet::new());
        assert_eq!(process.other_namespaces, Seen::Read(BTreeSet::new()));
        let (files, _) =
            nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
        let Seen::Read(limits) = process.limits else {
            panic!("{process:?}")
        };
        assert_eq!(limits.0[0].1.soft, Some(files));
    }

    #[test]
    fn no_process_is_an_error() {
        let error = Process::read(Path::new("/proc"), 0, Role::Keeper).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
