//! The journal of what is owed on file systems that are full, small or read-only, and with a
//! process that is killed in the middle of it.
//!
//! File systems are mounted in namespaces of our own, so `main` must come before any thread.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write, stdout};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use knockd::journal::{
    AppendError, BootId, Deadline, Journal, JournalError, Moment, Opened, Owed, When,
};
use knockd::lab::{Identity, isolate};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::mount::{MsFlags, mount};

type Tried<T = ()> = Result<T, Box<dyn Error>>;

const NONE: Option<&str> = None;

fn main() -> ExitCode {
    if let Err(error) = isolate(Identity::RootIfNeeded) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let arguments: Vec<String> = env::args().collect();
    if let [_, probe, path] = arguments.as_slice() {
        let probed = match probe.as_str() {
            "probe-limit" => probe_limit(Path::new(path)),
            "probe-kill" => probe_kill(Path::new(path)),
            _ => Err("no such probe".into()),
        };
        return match probed {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let trial = |name: &str, test: fn() -> Tried| {
        let test = move || test().map_err(|error| Failed::from(error.to_string()));
        Trial::test(format!("journal_{name}"), test)
    };
    let trials = vec![
        trial("on_a_full_file_system_refuses_and_goes_on", full),
        trial("on_a_read_only_file_system_says_so", read_only),
        trial("at_the_limit_of_file_sizes_refuses", limited),
        trial("of_a_killed_process_has_all_that_was_confirmed", killed),
    ];
    // One after the other: a process that another test is about to start has our locks for a moment.
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A file system of 64 KiB.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Tried<Self> {
        let folder = tempfile::tempdir()?;
        let options = Some("size=64k,mode=700");
        mount(
            Some("tmpfs"),
            folder.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            options,
        )?;
        Ok(Self(folder))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("owed")
    }

    fn make_read_only(&self) -> Tried {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_BIND;
        Ok(mount(NONE, self.0.path(), NONE, flags, NONE)?)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // It ends with the namespace, if not here.
        let _stays = nix::mount::umount(self.0.path()).is_err();
    }
}

fn now() -> Tried<Moment> {
    Ok(Moment::now(BootId::read()?))
}

fn open(path: &Path) -> Tried<(Journal, Opened)> {
    Ok(Journal::open(path, &now()?)?)
}

fn owed(id: u64) -> Owed {
    Owed {
        id,
        door: "ssh".into(),
        source: IpAddr::from([192, 0, 2, 1]),
        command: format!("close {id} {}", "#".repeat(200)),
        user: None,
    }
}

/// How many are confirmed until one is refused, and how.
fn fill(journal: &mut Journal) -> Tried<(u64, AppendError)> {
    for id in 0..10_000 {
        if let Err(error) = journal.owe(&owed(id)) {
            return Ok((id, error));
        }
    }
    Err("it is never full".into())
}

fn full() -> Tried {
    let small = Small::mount()?;
    let (mut journal, _) = open(&small.path())?;
    let (all, error) = fill(&mut journal)?;
    assert!(matches!(error, AppendError::NoSpace), "{error}");
    assert!(all > 100 && !journal.is_broken(), "{all}");

    // What is struck off takes some bytes too; where there is none of them it is remembered.
    let struck = (0..all).take_while(|id| journal.strike(*id).is_ok());
    assert!(struck.count() < 100);
    assert!(journal.is_broken());
    let left = journal.owed().count();
    let whole = fs::read(small.path())?;
    assert!(journal.owe(&owed(all)).is_err());
    assert_eq!(fs::read(small.path())?, whole);

    // Somebody makes room.
    let larger = MsFlags::MS_REMOUNT;
    mount(NONE, small.0.path(), NONE, larger, Some("size=1m"))?;
    journal.mend()?;
    assert!(!journal.is_broken());
    drop(journal);
    let (_, opened) = open(&small.path())?;
    assert_eq!(opened.owed.len(), left);
    assert!(opened.notes.is_empty(), "{:?}", opened.notes);
    Ok(())
}

fn read_only() -> Tried {
    let small = Small::mount()?;
    drop(open(&small.path())?);
    small.make_read_only()?;
    for path in [
        small.path(),
        small.0.path().join("new"),
        small.0.path().join("folder/new"),
    ] {
        let opened = Journal::open(&path, &now()?);
        assert!(matches!(opened, Err(JournalError::ReadOnly)), "{opened:?}");
    }
    Ok(())
}

/// `ulimit -f`: a write beyond it fails, if its signal is ignored.
fn limited() -> Tried {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("owed");
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" probe-limit \"$1\"";
    let mut shell = Command::new("sh");
    let output = shell
        .args(["-c", script])
        .arg(env::current_exe()?)
        .arg(&path)
        .output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let all: usize = String::from_utf8(output.stdout)?.trim().parse()?;
    let (_, opened) = open(&path)?;
    assert_eq!(opened.owed.len(), all);
    assert!(opened.notes.is_empty(), "{:?}", opened.notes);
    Ok(())
}

fn probe_limit(path: &Path) -> Tried {
    let (mut journal, _) = open(path)?;
    let (all, error) = fill(&mut journal)?;
    assert!(matches!(error, AppendError::NoSpace), "{error}");
    assert!(all > 10 && !journal.is_broken());
    println!("{all}");
    Ok(())
}

/// Owes, opens and strikes without end, and says what is confirmed.
fn probe_kill(path: &Path) -> Tried {
    let (mut journal, opened) = open(path)?;
    for due in opened.owed {
        journal.strike(due.owed.id)?;
    }
    let mut out = stdout().lock();
    for id in journal.next_id().. {
        journal.owe(&owed(id))?;
        writeln!(out, "owed {id}")?;
        journal.until(id, Deadline::after(&now()?, Duration::from_secs(60)))?;
        if let Some(old) = id.checked_sub(3)
            && journal.owed().any(|(owed, _)| owed.id == old)
        {
            writeln!(out, "strikes {old}")?;
            journal.strike(old)?;
            writeln!(out, "struck {old}")?;
        }
    }
    Ok(())
}

fn killed() -> Tried {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("owed");
    for lines in [1, 2, 3, 50, 333, 700] {
        let mut command = Command::new(env::current_exe()?);
        command.arg("probe-kill").arg(&path).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut said = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let mut heard: Vec<String> = said.by_ref().take(lines).collect::<Result<_, _>>()?;
        child.kill()?;
        heard.extend(said.map_while(Result::ok));
        child.wait()?;

        let is_whole = |line: &&String| line.split(' ').count() == 2;
        let about = |what: &str| -> Vec<u64> {
            let lines = heard.iter().filter(is_whole);
            let ids = lines.filter_map(|line| line.strip_prefix(what)?.trim().parse().ok());
            ids.collect()
        };
        let (struck, strikes) = (about("struck "), about("strikes "));
        let (_, opened) = open(&path)?;
        let found: Vec<u64> = opened.owed.iter().map(|due| due.owed.id).collect();
        for id in about("owed ") {
            assert!(strikes.contains(&id) || found.contains(&id), "{id} is lost");
        }
        assert!(!found.iter().any(|id| struck.contains(id)), "one is back");
        assert!(found.len() <= 5, "{found:?}");
        let left = |when| !matches!(when, When::Overdue | When::Stopping);
        assert!(opened.owed.iter().all(|due| left(due.when)));
    }
    Ok(())
}
