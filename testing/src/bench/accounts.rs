//! What a daemon uses, in all the processes that are the daemon: the one that was started, and the
//! listener that it may have started. The commands that it runs are not the daemon.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Result;

/// CPU time so far.
///
/// The scheduler counts a thread's time to the nanosecond, but not how it divides into user space
/// and kernel: that is known from where each tick (4 ms, or so) found the thread, in all that
/// `/proc/PID/stat` says. So the time is taken from the first, and the share that was spent in user
/// space from the second, and only what ran for a second or so has a share that is worth something.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Usage {
    /// In user space and in the kernel on its behalf.
    pub(super) cpu: Duration,
    /// Ready to run, while others had the processor.
    pub(super) waited: Duration,
    user_ticks: u64,
    system_ticks: u64,
}

impl Usage {
    /// What was used since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            waited: self.waited.saturating_sub(earlier.waited),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }

    /// Both together.
    pub(super) fn plus(&self, other: &Self) -> Self {
        Self {
            cpu: self.cpu + other.cpu,
            waited: self.waited + other.waited,
            user_ticks: self.user_ticks + other.user_ticks,
            system_ticks: self.system_ticks + other.system_ticks,
        }
    }

    /// In user space alone; all of it where no tick has found it.
    pub(super) fn user(&self) -> Duration {
        let ticks = u32::try_from(self.user_ticks + self.system_ticks).unwrap_or(u32::MAX);
        let user = u32::try_from(self.user_ticks).unwrap_or(u32::MAX);
        if ticks == 0 {
            return self.cpu;
        }
        self.cpu.mul_f64(f64::from(user) / f64::from(ticks))
    }
}

/// The accounts of a process and its listener.
#[derive(Debug)]
pub(super) struct Accounts {
    process: u32,
    cpu: Ledger,
    waited: Ledger,
    switches: Ledger,
    user_ticks: Ledger,
    system_ticks: Ledger,
}

impl Accounts {
    pub(super) fn of(process: u32) -> Self {
        Self {
            process,
            cpu: Ledger::default(),
            waited: Ledger::default(),
            switches: Ledger::default(),
            user_ticks: Ledger::default(),
            system_ticks: Ledger::default(),
        }
    }

    /// CPU time so far. What the kernel does with a packet before the process sees it is charged to
    /// the sender, on this cable.
    ///
    /// # Errors
    /// If it has ended, or the kernel does not tell.
    pub(super) fn usage(&mut self) -> Result<Usage> {
        let (mut ran, mut waited) = (Vec::new(), Vec::new());
        for (thread, text) in self.of_threads("schedstat")? {
            let mut fields = text.split_whitespace();
            let mut next = || fields.next().ok_or("no scheduler statistics");
            ran.push((thread.clone(), next()?.parse()?));
            waited.push((thread, next()?.parse()?));
        }
        let (mut user, mut system) = (Vec::new(), Vec::new());
        for directory in self.processes()? {
            let Some(text) = while_it_lives(fs::read_to_string(directory.join("stat")))? else {
                continue;
            };
            let [user_ticks, system_ticks] = ticks(&text).ok_or("no ticks of the process")?;
            user.push((directory.clone(), user_ticks));
            system.push((directory, system_ticks));
        }
        Ok(Usage {
            cpu: Duration::from_nanos(self.cpu.total(ran)),
            waited: Duration::from_nanos(self.waited.total(waited)),
            user_ticks: self.user_ticks.total(user),
            system_ticks: self.system_ticks.total(system),
        })
    }

    /// How often its threads were switched away from: each wake-up ends so.
    ///
    /// # Errors
    /// If it has ended.
    pub(super) fn switches(&mut self) -> Result<u64> {
        let mut switches = Vec::new();
        for (thread, text) in self.of_threads("status")? {
            let mut count = 0;
            for name in ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"] {
                count += field(&text, name)?;
            }
            switches.push((thread, count));
        }
        Ok(self.switches.total(switches))
    }

    /// Its resident memory in bytes. A page that several processes share counts as one in all
    /// (PSS of proc(5)), so that a program that is two processes does not count twice.
    ///
    /// # Errors
    /// If it has ended.
    pub(super) fn resident(&self) -> Result<u64> {
        let mut kilobytes = 0;
        for directory in self.processes()? {
            let path = directory.join("smaps_rollup");
            if let Some(text) = while_it_lives(fs::read_to_string(path))? {
                kilobytes += field(&text, "Pss")?;
            }
        }
        Ok(kilobytes * 1024)
    }

    /// The file `name` of each thread.
    fn of_threads(&self, name: &str) -> Result<Vec<(PathBuf, String)>> {
        let mut texts = Vec::new();
        for process in self.processes()? {
            let Some(threads) = while_it_lives(fs::read_dir(process.join("task")))? else {
                continue;
            };
            for thread in threads {
                let thread = thread?.path();
                if let Some(text) = while_it_lives(fs::read_to_string(thread.join(name)))? {
                    texts.push((thread, text));
                }
            }
        }
        Ok(texts)
    }

    /// Its directories in `/proc`: the process, and each child that runs the same program under
    /// another command line. A child that is about to become a command still has its parent's.
    fn processes(&self) -> Result<Vec<PathBuf>> {
        let process = Path::new("/proc").join(self.process.to_string());
        let (program, arguments) = (program(&process)?, fs::read(process.join("cmdline"))?);
        let parent = self.process.into();
        let mut all = vec![process];
        for entry in fs::read_dir("/proc")? {
            let child = entry?.path();
            let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
            if !child
                .file_name()
                .is_some_and(|name| name.to_str().is_some_and(is_number))
            {
                continue;
            }
            let status = fs::read_to_string(child.join("status")).unwrap_or_default();
            if field(&status, "PPid").ok() != Some(parent) {
                continue;
            }
            let same_program = self::program(&child).is_ok_and(|other| other == program);
            let other_arguments = fs::read(child.join("cmdline")).is_ok_and(|a| a != arguments);
            if same_program && other_arguments {
                all.push(child);
            }
        }
        Ok(all)
    }
}

/// The file that a process runs.
fn program(process: &Path) -> io::Result<(u64, u64)> {
    let file = fs::metadata(process.join("exe"))?;
    Ok((file.dev(), file.ino()))
}

/// Nothing if what was read had ended meanwhile.
fn while_it_lives<T>(read: io::Result<T>) -> Result<Option<T>> {
    /// `ESRCH`: the file was open, and its process ended.
    const NO_PROCESS: i32 = 3;
    match read {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(NO_PROCESS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A figure of each thread or process that only rises. The total does so too, also when one ends.
#[derive(Debug, Default)]
struct Ledger {
    last: HashMap<PathBuf, u64>,
    /// Of those whose number another one has now.
    ended: u64,
}

impl Ledger {
    fn total(&mut self, now: impl IntoIterator<Item = (PathBuf, u64)>) -> u64 {
        for (whose, figure) in now {
            let before = self.last.insert(whose, figure).unwrap_or(0);
            if figure < before {
                self.ended += before;
            }
        }
        self.ended + self.last.values().sum::<u64>()
    }
}

/// The number after `name:` in one of proc(5)'s status files.
fn field(text: &str, name: &str) -> Result<u64> {
    let value = text.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix(':')?;
        value.split_whitespace().next()?.parse().ok()
    });
    value.ok_or_else(|| format!("no {name} of the process").into())
}

/// Ticks in user space and in the kernel: fields 14 and 15 of `/proc/PID/stat`. The second field,
/// in parentheses, may have any characters.
fn ticks(text: &str) -> Option<[u64; 2]> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some([fields.next()?.parse().ok()?, fields.next()?.parse().ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "VmRSS:\t    5120 kB\nnonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(field(text, "VmRSS").unwrap(), 5120);
        assert_eq!(field(text, "nonvoluntary_ctxt_switches").unwrap(), 7);
        field(text, "voluntary_ctxt_switches").unwrap_err();
    }

    #[test]
    fn ticks_are_found_behind_any_name() {
        let text = "7 (knockd) 1 (x) S 1 7 7 0 -1 4194560 95 0 0 0 12 34 0 0 20 0 1 0 5";
        assert_eq!(ticks(text), Some([12, 34]));
        assert_eq!(ticks("7 (knockd) S 1"), None);
    }

    #[test]
    fn a_total_never_falls() {
        let mut ledger = Ledger::default();
        let of = |name: &str, figure| (PathBuf::from(name), figure);
        assert_eq!(ledger.total([of("1", 10), of("2", 5)]), 15);
        assert_eq!(ledger.total([of("1", 12)]), 17, "2 has ended");
        assert_eq!(ledger.total([of("1", 12), of("2", 1)]), 18, "a new 2");
    }

    #[test]
    fn the_time_is_divided_as_the_ticks_are() {
        let mut usage = Usage {
            cpu: Duration::from_millis(100),
            waited: Duration::ZERO,
            user_ticks: 3,
            system_ticks: 1,
        };
        assert_eq!(usage.user(), Duration::from_millis(75));
        (usage.user_ticks, usage.system_ticks) = (0, 0);
        assert_eq!(usage.user(), usage.cpu);
    }

    #[test]
    fn a_process_has_accounts() {
        let mut accounts = Accounts::of(std::process::id());
        assert!(accounts.usage().unwrap().cpu > Duration::ZERO);
        assert!(accounts.resident().unwrap() > 100_000);
        accounts.switches().unwrap();
    }
}
