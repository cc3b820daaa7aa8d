//! A daemon that is measured: its process, its commands, its log.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use knockd::lab::Process;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use tempfile::TempDir;

use super::accounts::{Accounts, Usage};
use crate::Result;
use crate::case::Medium;
use crate::network::{Network, SERVER_INTERFACE};
use crate::script::{Knock, packet};

/// Longer than anything takes that is measured: the original needs 2 s for 200 doors.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than an answer takes.
const ANSWER: Duration = Duration::from_secs(10);

/// A command that costs next to nothing, so that what is measured is the way to it; the same for
/// both sides. [`Daemon::wait_for_command`] sees it.
pub(super) const COMMAND: &str = "echo >> {fifo}";

/// A running daemon in a network of its own.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) network: Network,
    process: Process,
    accounts: RefCell<Accounts>,
    /// Where commands report.
    fifo: File,
    /// What they have reported, and nobody has asked for yet.
    said: RefCell<Vec<u8>>,
    dir: TempDir,
    /// When it was started.
    pub(super) started: Instant,
}

impl Daemon {
    /// Starts `program` with `config`, options first without their heading, in which `{fifo}` stands
    /// for what [`COMMAND`] writes to, and `{dir}` for a folder that goes with it. It has said that
    /// it runs when this returns.
    ///
    /// # Errors
    /// If it does not start.
    pub(super) fn start(program: &Path, config: &str) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("testbed-").tempdir()?;
        let network = Network::new(Medium::Ethernet)?;
        let path = dir.path().join("fifo");
        mkfifo(&path, Mode::S_IRWXU)?;
        // Open for writing as well: it never ends, and commands never wait for a reader.
        let fifo = File::options()
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(&path)?;
        write_config(dir.path(), config)?;
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(dir.path().join("conf"))
            .args(["-i", SERVER_INTERFACE])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(dir.path().join("stderr"))?);
        let started = Instant::now();
        let process = network.server.spawn(&mut command)?;
        let mut daemon = Self {
            accounts: RefCell::new(Accounts::of(process.id())),
            process,
            network,
            fifo,
            said: RefCell::default(),
            dir,
            started,
        };
        daemon.wait_for_start()?;
        Ok(daemon)
    }

    fn wait_for_start(&mut self) -> Result<()> {
        while !self.log()?.contains("starting up") {
            if let Some(status) = self.process.try_wait()? {
                let stderr = fs::read_to_string(self.dir.path().join("stderr"))?;
                return Err(format!("it ended: {status}\n{stderr}").into());
            }
            self.give_up_after(PATIENCE)?;
            sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    fn give_up_after(&self, limit: Duration) -> Result<()> {
        if self.started.elapsed() > limit {
            return Err(format!("it does not start within {limit:?}").into());
        }
        Ok(())
    }

    /// Replaces its configuration and tells it so; see [`Daemon::start`].
    ///
    /// # Errors
    /// If it has ended.
    pub(super) fn reload(&self, config: &str) -> Result<()> {
        write_config(self.dir.path(), config)?;
        self.signal(Signal::SIGHUP)
    }

    /// # Errors
    /// If it has ended.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(
            Pid::from_raw(i32::try_from(self.process.id())?),
            signal,
        )?)
    }

    /// What it has logged so far.
    ///
    /// # Errors
    /// If the log cannot be read, other than that it is not there.
    pub(super) fn log(&self) -> Result<String> {
        match fs::read(self.dir.path().join("log")) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// A SYN to `port`, from 10.77.0.1.
    ///
    /// # Errors
    /// If the kernel does not take it.
    pub(super) fn knock(&self, port: u16) -> Result<()> {
        self.send(&packet(&port.to_string())?)
    }

    /// # Errors
    /// If the kernel does not take it.
    pub(super) fn send(&self, knock: &Knock) -> Result<()> {
        self.network.send(knock)
    }

    /// Waits until [`COMMAND`] has run, at most `limit`, and whether it has.
    ///
    /// # Errors
    /// If the pipe cannot be read.
    pub(super) fn command_runs(&self, limit: Duration) -> Result<bool> {
        let ran = self.next_command(limit)?.is_some();
        self.said.borrow_mut().clear();
        Ok(ran)
    }

    /// The next line that a command writes to `{fifo}`, if one does within `limit`.
    ///
    /// # Errors
    /// If the pipe cannot be read.
    pub(super) fn next_command(&self, limit: Duration) -> Result<Option<String>> {
        let deadline = Instant::now() + limit;
        let mut said = self.said.borrow_mut();
        loop {
            if let Some(end) = said.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = said.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left.as_micros().div_ceil(1000))?;
            poll(
                &mut [PollFd::new(self.fifo.as_fd(), PollFlags::POLLIN)],
                timeout,
            )?;
            let mut bytes = [0; 64];
            match (&self.fifo).read(&mut bytes) {
                Ok(length) => said.extend(bytes.iter().take(length)),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
                Err(_) if left.is_zero() => return Ok(None),
                Err(_) => {}
            }
        }
    }

    /// Waits until [`COMMAND`] has run.
    ///
    /// # Errors
    /// If it does not run.
    pub(super) fn wait_for_command(&self) -> Result<()> {
        if self.command_runs(Duration::from_secs(5))? {
            return Ok(());
        }
        let end = self.end_of_log()?;
        Err(format!("a door did not open; the log ends\n{end}").into())
    }

    /// The last lines of its log.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(super) fn end_of_log(&self) -> Result<String> {
        let log = self.log()?;
        let start = log.len().saturating_sub(500);
        Ok(log.get(start..).unwrap_or_default().to_owned())
    }

    /// CPU time so far, see [`Accounts::usage`].
    ///
    /// # Errors
    /// If it has ended, or the kernel does not tell.
    pub(super) fn cpu(&self) -> Result<Duration> {
        Ok(self.usage()?.cpu)
    }

    /// See [`Accounts::usage`].
    ///
    /// # Errors
    /// If it has ended, or the kernel does not tell.
    pub(super) fn usage(&self) -> Result<Usage> {
        self.accounts.borrow_mut().usage()
    }

    /// See [`Accounts::switches`].
    ///
    /// # Errors
    /// If it has ended.
    pub(super) fn switches(&self) -> Result<u64> {
        self.accounts.borrow_mut().switches()
    }

    /// See [`Accounts::resident`].
    ///
    /// # Errors
    /// If it has ended.
    pub(super) fn resident(&self) -> Result<u64> {
        self.accounts.borrow().resident()
    }

    /// What ours says when it is asked for its state.
    ///
    /// # Errors
    /// If it does not answer.
    pub(super) fn status(&self) -> Result<Status> {
        let asked = self.log()?.len();
        self.signal(Signal::SIGUSR1)?;
        let deadline = Instant::now() + ANSWER;
        while Instant::now() < deadline {
            let log = self.log()?;
            if let Some(status) = Status::read(log.get(asked..).unwrap_or_default()) {
                return Ok(status);
            }
            sleep(Duration::from_millis(10));
        }
        let end = self.end_of_log()?;
        Err(format!("it does not say how it is; the log ends\n{end}").into())
    }

    /// Waits until it has nothing left to do: uses no CPU for a while.
    ///
    /// # Errors
    /// If it has ended, or is never done.
    pub(super) fn settle(&self) -> Result<()> {
        const QUIET: Duration = Duration::from_millis(200);
        let deadline = Instant::now() + PATIENCE;
        let mut before = self.cpu()?;
        while Instant::now() < deadline {
            sleep(QUIET);
            let now = self.cpu()?;
            if now == before {
                return Ok(());
            }
            before = now;
        }
        Err("it does not come to rest".into())
    }
}

/// Of what ours says of itself (`SIGUSR1`).
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Status {
    /// Attempts alive.
    pub(super) attempts: u64,
    /// Packets that it has handled.
    pub(super) seen: u64,
    /// Packets that found no room in its ring.
    pub(super) dropped: u64,
    /// Lines that are not in the log.
    pub(super) left_out: u64,
}

impl Status {
    /// The newest of `log`, if it is whole.
    fn read(log: &str) -> Option<Self> {
        let lines = log.lines().rev().filter(|line| line.contains("] status: "));
        let number = |what: &str| {
            let (before, _) = lines.clone().find_map(|line| line.split_once(what))?;
            before.rsplit(' ').next()?.parse().ok()
        };
        Some(Self {
            left_out: number(" log lines left out")?,
            attempts: number(" attempts, ")?,
            seen: number(" packets seen, ")?,
            dropped: number(" dropped by the kernel")?,
        })
    }
}

fn write_config(dir: &Path, config: &str) -> Result<()> {
    let fifo = dir.join("fifo");
    let text = config.replace("{fifo}", &fifo.to_string_lossy());
    let text = text.replace("{dir}", &dir.to_string_lossy());
    let log = dir.join("log");
    let text = format!("[options]\nlogfile = {}\n{text}", log.display());
    Ok(fs::write(dir.join("conf"), text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_when_all_of_it_is_there() {
        let lines = [
            "[2026-01-01 00:00] status: 2 doors, 7 attempts, 0 grants, 0 commands running, 0 waiting",
            "[2026-01-01 00:00] status: 31 packets seen, 4 dropped by the kernel, 0 no knocks, 9 knocks",
            "[2026-01-01 00:00] status: 5 attempts given up, 0 openings lost, 0 without commands, \
             6 log lines left out",
            "[2026-01-01 00:00] 8 packets came faster than they could be read, and were dropped by \
             the kernel",
        ];
        let status = Status {
            attempts: 7,
            seen: 31,
            dropped: 4,
            left_out: 6,
        };
        assert_eq!(Status::read(&lines.join("\n")), Some(status));
        assert_eq!(Status::read(&lines[..2].join("\n")), None);
    }
}
