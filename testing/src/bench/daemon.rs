//! A daemon that is measured: its process, its commands, its log.

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

use crate::Result;
use crate::case::Medium;
use crate::network::{Network, SERVER_INTERFACE};
use crate::script::{Knock, packet};

/// Longer than anything takes that is measured: the original needs 2 s for 200 doors.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command that costs next to nothing, so that what is measured is the way to it; the same for
/// both sides. [`Daemon::wait_for_command`] sees it.
pub(super) const COMMAND: &str = "echo >> {fifo}";

/// A running daemon in a network of its own.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) network: Network,
    process: Process,
    /// Where commands report.
    fifo: File,
    dir: TempDir,
    /// When it was started.
    pub(super) started: Instant,
}

impl Daemon {
    /// Starts `program` with `config`, options first without their heading, in which `{fifo}` stands
    /// for what [`COMMAND`] writes to. It has said that it runs when this returns.
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
        let mut daemon = Self {
            process: network.server.spawn(&mut command)?,
            network,
            fifo,
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
    pub(super) fn command_runs(&mut self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left.as_micros().div_ceil(1000))?;
            poll(
                &mut [PollFd::new(self.fifo.as_fd(), PollFlags::POLLIN)],
                timeout,
            )?;
            match self.fifo.read(&mut [0; 64]) {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    /// Waits until [`COMMAND`] has run.
    ///
    /// # Errors
    /// If it does not run.
    pub(super) fn wait_for_command(&mut self) -> Result<()> {
        if self.command_runs(Duration::from_secs(5))? {
            return Ok(());
        }
        let log = self.log()?;
        let start = log.len().saturating_sub(500);
        let end = log.get(start..).unwrap_or_default();
        Err(format!("a door did not open; the log ends\n{end}").into())
    }

    /// CPU time of its process so far, in user space and in the kernel on its behalf, as the
    /// scheduler accounts it. What the kernel does with a packet before the process sees it is
    /// charged to the sender, on this cable.
    ///
    /// # Errors
    /// If it has ended, or the kernel does not tell.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let mut nanos = 0;
        for text in self.of_threads("schedstat")? {
            let first = text.split_whitespace().next();
            nanos += first.ok_or("no scheduler statistics")?.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// How often its threads were switched away from: each wake-up ends so.
    ///
    /// # Errors
    /// If it has ended.
    pub(super) fn switches(&self) -> Result<u64> {
        let mut switches = 0;
        for text in self.of_threads("status")? {
            for name in ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"] {
                switches += field(&text, name)?;
            }
        }
        Ok(switches)
    }

    /// Its resident memory in bytes, what it shares with others included.
    ///
    /// # Errors
    /// If it has ended.
    pub(super) fn resident(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        Ok(field(&text, "VmRSS")? * 1024)
    }

    fn of_threads(&self, name: &str) -> Result<Vec<String>> {
        let mut texts = Vec::new();
        for thread in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            texts.push(fs::read_to_string(thread?.path().join(name))?);
        }
        Ok(texts)
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

fn write_config(dir: &Path, config: &str) -> Result<()> {
    let fifo = dir.join("fifo");
    let text = config.replace("{fifo}", &fifo.to_string_lossy());
    let log = dir.join("log");
    let text = format!("[options]\nlogfile = {}\n{text}", log.display());
    Ok(fs::write(dir.join("conf"), text)?)
}

/// The number after `name:` in one of proc(5)'s status files.
fn field(text: &str, name: &str) -> Result<u64> {
    let value = text.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix(':')?;
        value.split_whitespace().next()?.parse().ok()
    });
    value.ok_or_else(|| format!("no {name} of the process").into())
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
}
