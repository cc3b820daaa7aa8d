//! A host with a folder for the files of a daemon.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use knockd::lab::{Host, Process};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

use crate::Outcome;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Site {
    pub(crate) host: Host,
    folder: TempDir,
}

impl Site {
    /// A host, and a folder with `config` as `knockd.conf`. The interface is `lo`.
    pub(crate) fn new(config: &str) -> Outcome<Self> {
        let site = Self {
            host: Host::new("server")?,
            folder: tempfile::tempdir()?,
        };
        site.write(
            "knockd.conf",
            &format!("[options]\ninterface = lo\n{config}"),
        )?;
        Ok(site)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(crate) fn write(&self, file: &str, text: &str) -> Outcome {
        Ok(fs::write(self.path(file), text)?)
    }

    /// What is in a file; nothing if there is none.
    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap_or_default()
    }

    /// `knockd` with these arguments, to be started in the folder and without standard streams.
    pub(crate) fn knockd(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_knockd"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Runs `command` until it ends and everybody has closed its standard streams.
    pub(crate) fn output(&self, command: &mut Command) -> Outcome<Output> {
        Ok(self.host.run(|| command.output())??)
    }

    /// Starts `knockd` with `log` as its log file, and waits until it says that it is up.
    pub(crate) fn start(&self, args: &[&str]) -> Outcome<Process> {
        let args = [&["-c", "knockd.conf", "-g", "log"], args].concat();
        let process = self.host.spawn(&mut self.knockd(&args))?;
        self.await_log("starting up")?;
        Ok(process)
    }

    /// A datagram to each port, in turn.
    pub(crate) fn knock(&self, ports: &[u16]) -> Outcome {
        let send = || {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            let mut ports = ports.iter();
            ports.try_for_each(|port| socket.send_to(&[0], ("127.0.0.1", *port)).map(drop))
        };
        Ok(self.host.run(send)??)
    }

    /// Waits until `text` is in the log.
    pub(crate) fn await_log(&self, text: &str) -> Outcome {
        eventually(&format!("{text:?} in the log"), || {
            self.read("log").contains(text)
        })
        .map_err(|error| format!("{error}:\n{}", self.read("log")).into())
    }
}

/// The listener of the daemon `keeper`: its only child, as long as no command runs.
pub(crate) fn listener_of(keeper: u32) -> Outcome<Pid> {
    let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"))?;
    let first = children.split_whitespace().next().ok_or("no child")?;
    Ok(Pid::from_raw(first.parse()?).ok_or("no process id")?)
}

/// The line `name` of the status of a process (proc_pid_status(5)), without its name.
pub(crate) fn status_of(pid: Pid, name: &str) -> Outcome<String> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_pid()))?;
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let words = value.ok_or("no such line")?.split_whitespace();
    Ok(words.collect::<Vec<_>>().join(" "))
}

/// A daemon that is nobody's child; killed when dropped.
pub(crate) struct Stranger(Pid);

impl Stranger {
    /// The one that a pid file names.
    pub(crate) fn of(pidfile: &Path) -> Outcome<Self> {
        let pid = fs::read_to_string(pidfile)?.trim().parse()?;
        Ok(Self(Pid::from_raw(pid).ok_or("no process id")?))
    }

    pub(crate) fn id(&self) -> i32 {
        self.0.as_raw_pid()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Outcome {
        Ok(kill_process(self.0, signal)?)
    }

    pub(crate) fn await_end(&self) -> Outcome {
        eventually("the end of the daemon", || {
            test_kill_process(self.0).is_err()
        })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        // It fails if it has ended, which is what we want.
        let _ended = kill_process(self.0, Signal::KILL);
    }
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            return Err(format!("it does not come about: {what}").into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The exit status of a process that ends.
pub(crate) fn exit_code(process: &mut Process) -> Outcome<Option<i32>> {
    let status = process.wait_at_most(PATIENCE)?.ok_or("it does not end")?;
    Ok(status.code())
}
