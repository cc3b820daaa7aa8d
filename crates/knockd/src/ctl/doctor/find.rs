//! Which processes are the daemon's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::process;

/// The file name of the daemon's program.
const PROGRAM: &str = "knockd";

/// The names that the daemon's processes go by, for those whose program may not be read.
const KEEPER: &str = "knockd";
const LISTENER: &str = "knockd-listener";

/// What the kernel adds to the path of a program that is no longer there, such as after an upgrade.
const DELETED: &str = " (deleted)";

/// The daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Daemon {
    pub(in super::super) keeper: u32,
    /// One, in a daemon that is well.
    pub(in super::super) listeners: Vec<u32>,
}

/// Why there is none to look at.
#[derive(Debug)]
pub(in super::super) enum FindError {
    /// The list of processes cannot be read.
    Processes(io::Error),
    /// None runs that can be seen.
    None,
    /// Several do, with these numbers.
    Several(Vec<u32>),
    /// There is no process of the number that was given.
    NoProcess(u32),
    /// The pidfile that was given cannot be read, or holds no number.
    Pidfile(PathBuf, io::Error),
    /// The pidfile names a process that is none of the daemon: its number, and its name if it runs.
    Stale(PathBuf, u32, Option<String>),
}

/// How the daemon is to be found.
#[derive(Debug)]
pub(in super::super) enum By<'a> {
    /// This process.
    Pid(u32),
    /// The process that this file names.
    Pidfile(&'a Path),
    /// The process that one of these files names, or else the only one that looks like it.
    Search(&'a [PathBuf]),
}

/// Finds the daemon among the processes of `proc`, which is `/proc`.
///
/// # Errors
/// If there is none, or it is not clear which.
pub(in super::super) fn find(proc: &Path, by: &By<'_>) -> Result<Daemon, FindError> {
    let all = Processes::read(proc).map_err(FindError::Processes)?;
    match by {
        By::Pid(pid) => {
            let process = all.get(*pid).ok_or(FindError::NoProcess(*pid))?;
            Ok(all.daemon(process))
        }
        By::Pidfile(path) => {
            let failed = |error| FindError::Pidfile((*path).to_owned(), error);
            let pid = named_in(path).map_err(failed)?;
            let process = all.get(pid);
            let ours = process.filter(|process| process.is_knockd());
            let name = process.map(|process| process.name.clone());
            let stale = || FindError::Stale((*path).to_owned(), pid, name);
            Ok(all.daemon(ours.ok_or_else(stale)?))
        }
        By::Search(pidfiles) => {
            let named = pidfiles
                .iter()
                .filter_map(|path| all.get(named_in(path).ok()?));
            match named.clone().find(|process| process.is_knockd()) {
                Some(process) => Ok(all.daemon(process)),
                None => all.only(),
            }
        }
    }
}

/// The number in a pidfile.
fn named_in(path: &Path) -> io::Result<u32> {
    let text = fs::read_to_string(path)?;
    let number = text.trim().parse();
    number.map_err(|_| io::Error::other("it does not hold the number of a process"))
}

/// What is known of any process.
#[derive(Clone, Debug)]
struct Candidate {
    pid: u32,
    parent: u32,
    /// Nothing if it may not be read.
    program: Option<String>,
    name: String,
}

impl Candidate {
    fn is_knockd(&self) -> bool {
        match &self.program {
            Some(program) => {
                let path = Path::new(program.strip_suffix(DELETED).unwrap_or(program));
                path.file_name().is_some_and(|name| name == PROGRAM)
            }
            None => [KEEPER, LISTENER].contains(&self.name.as_str()),
        }
    }

    /// The listener is the keeper's own program, run anew.
    fn is_listener_of(&self, keeper: &Self) -> bool {
        let same = match (&self.program, &keeper.program) {
            (Some(own), Some(program)) => own == program,
            _ => self.name == LISTENER,
        };
        same && self.parent == keeper.pid && self.pid != keeper.pid
    }
}

/// All processes that can be seen and have not ended.
#[derive(Clone, Debug)]
struct Processes(Vec<Candidate>);

impl Processes {
    fn read(proc: &Path) -> io::Result<Self> {
        let mut all = Vec::new();
        for entry in fs::read_dir(proc)? {
            let entry = entry?;
            let number = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let (Some(pid), path) = (number, entry.path()) else {
                continue;
            };
            if let Ok(status) = process::status(&path)
                && !status.is_zombie
            {
                all.push(Candidate {
                    pid,
                    parent: status.parent,
                    program: process::program(&path).ok(),
                    name: status.name,
                });
            }
        }
        all.sort_by_key(|process| process.pid);
        Ok(Self(all))
    }

    fn get(&self, pid: u32) -> Option<&Candidate> {
        self.0.iter().find(|process| process.pid == pid)
    }

    /// The daemon that `process` is of: a listener leads to its keeper.
    fn daemon(&self, process: &Candidate) -> Daemon {
        let parent = self.get(process.parent);
        let keeper = parent.filter(|parent| process.is_listener_of(parent));
        let keeper = keeper.unwrap_or(process);
        let listeners = self.0.iter().filter(|p| p.is_listener_of(keeper));
        Daemon {
            keeper: keeper.pid,
            listeners: listeners.map(|listener| listener.pid).collect(),
        }
    }

    fn only(&self) -> Result<Daemon, FindError> {
        let is_knockd = |process: &&Candidate| process.is_knockd();
        let has_keeper = |p: &Candidate| self.get(p.parent).as_ref().is_some_and(is_knockd);
        let mut keepers = self.0.iter().filter(is_knockd).filter(|p| !has_keeper(p));
        match (keepers.next(), keepers.next()) {
            (None, _) => Err(FindError::None),
            (Some(keeper), None) => Ok(self.daemon(keeper)),
            (Some(first), Some(second)) => {
                let more = [first, second].into_iter().chain(keepers);
                Err(FindError::Several(
                    more.map(|process| process.pid).collect(),
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::texts::KEEPER;
    use super::*;
    use std::os::unix::fs::symlink;

    /// A directory with processes in it.
    struct Proc(tempfile::TempDir);

    impl Proc {
        /// Number, parent, name, and program if that can be read.
        fn of(processes: &[(u32, u32, &str, Option<&str>)]) -> Self {
            let proc = Self(tempfile::tempdir().unwrap());
            for (pid, parent, name, program) in processes {
                let directory = proc.0.path().join(pid.to_string());
                fs::create_dir(&directory).unwrap();
                let text = KEEPER.replace("Name:\tknockd", &format!("Name:\t{name}"));
                let text = text.replace("PPid:\t1\n", &format!("PPid:\t{parent}\n"));
                fs::write(directory.join("status"), text).unwrap();
                if let Some(program) = program {
                    symlink(program, directory.join("exe")).unwrap();
                }
            }
            proc
        }

        fn pidfile(&self, text: &str) -> PathBuf {
            let path = self.0.path().join("knockd.pid");
            fs::write(&path, text).unwrap();
            path
        }

        fn find(&self, by: &By<'_>) -> Result<(u32, Vec<u32>), FindError> {
            let daemon = find(self.0.path(), by)?;
            Ok((daemon.keeper, daemon.listeners))
        }
    }

    const OURS: Option<&str> = Some("/usr/sbin/knockd");
    const DAEMON: [(u32, u32, &str, Option<&str>); 5] = [
        (1, 0, "init", Some("/sbin/init")),
        (812, 1, "knockd", OURS),
        (813, 812, "knockd-listener", OURS),
        (814, 812, "sh", Some("/bin/dash")),
        (900, 1, "bash", Some("/bin/bash")),
    ];

    #[test]
    fn the_daemon_is_the_only_program_of_its_name_and_the_listener_its_child() {
        let proc = Proc::of(&DAEMON);
        assert_eq!(proc.find(&By::Search(&[])).unwrap(), (812, vec![813]));
    }

    #[test]
    fn a_program_that_was_replaced_is_still_it() {
        let ours = Some("/usr/sbin/knockd (deleted)");
        let proc = Proc::of(&[(812, 1, "knockd", ours), (813, 812, "x", ours)]);
        assert_eq!(proc.find(&By::Search(&[])).unwrap(), (812, vec![813]));
    }

    #[test]
    fn a_program_that_may_not_be_read_goes_by_its_name() {
        let proc = Proc::of(&[
            (812, 1, "knockd", None),
            (813, 812, "knockd-listener", None),
            (814, 812, "knockd", None),
        ]);
        assert_eq!(proc.find(&By::Search(&[])).unwrap(), (812, vec![813]));
    }

    #[test]
    fn the_number_of_the_listener_leads_to_its_keeper() {
        let proc = Proc::of(&DAEMON);
        assert_eq!(proc.find(&By::Pid(812)).unwrap(), (812, vec![813]));
        assert_eq!(proc.find(&By::Pid(813)).unwrap(), (812, vec![813]));
        assert_eq!(proc.find(&By::Pid(900)).unwrap(), (900, vec![]));
        let none = proc.find(&By::Pid(5000));
        assert!(matches!(none, Err(FindError::NoProcess(5000))), "{none:?}");
    }

    #[test]
    fn of_several_daemons_none_is_chosen_but_by_a_pidfile() {
        let proc = Proc::of(&[
            (812, 1, "knockd", OURS),
            (813, 812, "knockd-listener", OURS),
            (912, 1, "knockd", OURS),
        ]);
        let several = proc.find(&By::Search(&[]));
        let Err(FindError::Several(pids)) = several else {
            panic!("{several:?}")
        };
        assert_eq!(pids, [812, 912]);
        let pidfile = proc.pidfile("912\n");
        assert_eq!(proc.find(&By::Pidfile(&pidfile)).unwrap(), (912, vec![]));
        assert_eq!(proc.find(&By::Search(&[pidfile])).unwrap(), (912, vec![]));
    }

    #[test]
    fn a_pidfile_that_is_stale_is_told_if_it_was_asked_for() {
        let proc = Proc::of(&DAEMON);
        let pidfile = proc.pidfile("900\n");
        let stale = proc.find(&By::Pidfile(&pidfile));
        let Err(FindError::Stale(_, 900, Some(name))) = stale else {
            panic!("{stale:?}")
        };
        assert_eq!(name, "bash");
        assert_eq!(
            proc.find(&By::Search(std::slice::from_ref(&pidfile)))
                .unwrap(),
            (812, vec![813])
        );
        proc.pidfile("5000");
        let stale = proc.find(&By::Pidfile(&pidfile));
        assert!(
            matches!(stale, Err(FindError::Stale(_, 5000, None))),
            "{stale:?}"
        );
        proc.pidfile("none");
        let wrong = proc.find(&By::Pidfile(&pidfile));
        assert!(matches!(wrong, Err(FindError::Pidfile(..))), "{wrong:?}");
    }

    #[test]
    fn no_daemon_is_told() {
        let proc = Proc::of(&[(1, 0, "init", Some("/sbin/init"))]);
        let none = proc.find(&By::Search(&["/nonexistent".into()]));
        assert!(matches!(none, Err(FindError::None)), "{none:?}");
    }
}
