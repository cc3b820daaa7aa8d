//! A server with a running daemon, and a client beside it: what scenarios with real programs need.

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use knockd::lab::{Host, Process};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::Result;
use crate::case::{Case, Medium};
use crate::network::{Network, SERVER_INTERFACE};
use crate::trace::{self, Mark};

/// How long a daemon may take to do what it must.
const PATIENCE: Duration = Duration::from_secs(20);

/// A door that tells that everything before has been seen.
const SENTINEL: &str = "\n[sentinel]\n\tsequence = 65000:udp\n";
const SENTINEL_PORT: u16 = 65000;

/// A running daemon and its surroundings.
#[derive(Debug)]
pub struct Site {
    /// The namespaces.
    pub network: Network,
    daemon: Option<Process>,
    dir: TempDir,
    sentinels: Cell<usize>,
    program: PathBuf,
    interface: String,
}

impl Site {
    /// Runs `before` on the server, then starts the daemon with the doors of `config`, which may
    /// name `{hits}` and `{dir}`.
    ///
    /// # Errors
    /// If it does not start.
    pub fn new(program: &Path, config: &str, before: &[&str]) -> Result<Self> {
        let network = Network::new(Medium::Ethernet)?;
        for command in before {
            if !network.server_shell(command)?.success() {
                return Err(format!("`{command}` failed").into());
            }
        }
        Self::on(network, SERVER_INTERFACE, program, config)
    }

    /// Starts the daemon in a network that is there already, to listen at `interface` of the server.
    /// `config` may begin with more options.
    ///
    /// # Errors
    /// If it does not start.
    pub fn on(network: Network, interface: &str, program: &Path, config: &str) -> Result<Self> {
        let mut site = Self::prepare(network, interface, program, config)?;
        site.start()?;
        Ok(site)
    }

    /// As [`Site::on`], with a daemon that is not started yet.
    ///
    /// # Errors
    /// If there is no room for its files.
    pub fn prepare(
        network: Network,
        interface: &str,
        program: &Path,
        config: &str,
    ) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("testbed-").tempdir()?;
        let site = Self {
            network,
            daemon: None,
            dir,
            sentinels: Cell::new(0),
            program: program.to_owned(),
            interface: interface.to_owned(),
        };
        site.write_config(config)?;
        Ok(site)
    }

    /// Writes the configuration anew, as [`Site::on`] takes it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_config(&self, config: &str) -> Result<()> {
        let text = Case::fill(config, self.dir.path());
        let log = self.path("log");
        let text = format!("[options]\nlogfile = {}\n{text}{SENTINEL}", log.display());
        // Who reads it meanwhile has the one of before.
        let new = self.path("conf.new");
        fs::write(&new, text)?;
        Ok(fs::rename(new, self.path("conf"))?)
    }

    /// Starts the daemon, for the first time or again, and waits until it listens.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(&mut self) -> Result<()> {
        self.start_by(&[])
    }

    /// As [`Site::start`], by another program that becomes it (setpriv(1), unshare(1)).
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_by(&mut self, by: &[&str]) -> Result<()> {
        let starts = || self.read("log").matches("starting up").count();
        let before = starts();
        let mut daemon = self.spawn(by)?;
        let deadline = Instant::now() + PATIENCE;
        while starts() == before {
            let ended = daemon.try_wait()?;
            if ended.is_some() || Instant::now() >= deadline {
                let (ended, stderr) = (format!("{ended:?}"), self.read("stderr"));
                return Err(format!("it does not start: {ended}\n{stderr}").into());
            }
            sleep(Duration::from_millis(10));
        }
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Starts a daemon that must refuse: how it ended, and what it said.
    ///
    /// # Errors
    /// If it does not end.
    pub fn start_in_vain(&self, by: &[&str]) -> Result<(ExitStatus, String)> {
        let status = self.spawn(by)?.wait_at_most(PATIENCE)?;
        let status = status.ok_or("it runs, and should have refused")?;
        Ok((status, self.read("stderr")))
    }

    fn spawn(&self, by: &[&str]) -> Result<Process> {
        let conf = self.path("conf");
        let words = by
            .iter()
            .map(|word| Case::fill(word, self.dir.path()).into());
        let mut words = words
            .chain([
                self.program.clone().into_os_string(),
                "-c".into(),
                conf.into(),
            ])
            .chain(["-i".into(), self.interface.clone().into()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .env("XTABLES_LOCKFILE", self.path("xtables.lock"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.path("stderr"))?);
        Ok(self.network.server.spawn(&mut command)?)
    }

    /// A path in the site's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The text of a file in the site's directory; empty if it is not there.
    #[must_use]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The marks of the log.
    #[must_use]
    pub fn marks(&self) -> Vec<Mark> {
        trace::from_log(self.read("log").lines())
    }

    /// How often the log says that `door` has opened, for whomever.
    #[must_use]
    pub fn openings(&self, door: &str) -> usize {
        let text = format!(": {door}: OPEN SESAME");
        let log = self.read("log");
        log.lines().filter(|line| line.ends_with(&text)).count()
    }

    /// The daemon's process; 0 if it was not started.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.daemon.as_ref().map_or(0, |daemon| daemon.id())
    }

    /// The daemon's listener: its only child that is not a command.
    ///
    /// # Errors
    /// If there is none.
    pub fn listener(&self) -> Result<Pid> {
        let keeper = self.process();
        let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"))?;
        let mut children = children.split_whitespace();
        let is_listener = |pid: &&str| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.starts_with("knockd")
        };
        let pid = children.find(is_listener).ok_or("there is no listener")?;
        Ok(Pid::from_raw(pid.parse()?))
    }

    /// Waits until the daemon has seen everything that the client has sent it before now; `server`
    /// is an address that the client reaches.
    ///
    /// # Errors
    /// If it does not see it.
    pub fn settle(&self, server: &str) -> Result<()> {
        let to = SocketAddr::new(server.parse()?, SENTINEL_PORT);
        self.sentinels.set(self.sentinels.get() + 1);
        let send = move || -> io::Result<usize> {
            let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
            UdpSocket::bind(any)?.send_to(b"x", to)
        };
        self.network.client.run(send)??;
        self.wait_until("it sees the last packet", PATIENCE, || {
            self.openings("sentinel") >= self.sentinels.get()
        })
    }

    /// Nothing if `holds`, else what should be, and the end of the log.
    ///
    /// # Errors
    /// If it does not hold.
    pub fn require(&self, holds: bool, what: impl FnOnce() -> String) -> Result<()> {
        if holds {
            return Ok(());
        }
        let end = self.end_of_log();
        Err(format!("{}\nthe log ends\n{end}", what()).into())
    }

    /// The last lines of the log.
    #[must_use]
    pub fn end_of_log(&self) -> String {
        let log = self.read("log");
        let lines: Vec<_> = log.lines().collect();
        let start = lines.len().saturating_sub(12);
        lines.get(start..).unwrap_or_default().join("\n")
    }

    /// Waits for a line of the log with this text.
    ///
    /// # Errors
    /// If it does not come.
    pub fn wait_for_line(&self, text: &str) -> Result<()> {
        self.wait_until(&format!("a log line with `{text}`"), PATIENCE, || {
            self.read("log").contains(text)
        })
    }

    /// Waits for `condition`.
    ///
    /// # Errors
    /// If it does not come to hold within `limit`.
    pub fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        condition: impl Fn() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !condition() {
            if Instant::now() >= deadline {
                let end = self.end_of_log();
                return Err(format!("{what}: not within {limit:?}; the log ends\n{end}").into());
            }
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Runs a shell command on the client and waits for its end.
    ///
    /// # Errors
    /// If there is no shell.
    pub fn client(&self, command: &str) -> Result<Output> {
        shell(&self.network.client, command, self.dir.path())
    }

    /// Runs a program on the client, in the site's directory, and waits for its end.
    ///
    /// # Errors
    /// If there is no such program, or it hangs.
    pub fn client_runs(&self, command: &mut Command) -> Result<Output> {
        finish(&self.network.client, command, self.dir.path())
    }

    /// Runs a shell command on the server and waits for its end.
    ///
    /// # Errors
    /// If there is no shell.
    pub fn server(&self, command: &str) -> Result<Output> {
        shell(&self.network.server, command, self.dir.path())
    }

    /// Runs a shell command on the server that must succeed.
    ///
    /// # Errors
    /// If it does not.
    pub fn server_must(&self, command: &str) -> Result<()> {
        let output = self.server(command)?;
        if output.status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("`{command}`: {}\n{stderr}", output.status).into())
    }

    /// Sends the daemon a signal.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let daemon = self.daemon.as_ref().ok_or("no daemon was started")?;
        Ok(kill(Pid::from_raw(i32::try_from(daemon.id())?), signal)?)
    }

    /// Kills the daemon's first process, the keeper, and waits for its end.
    ///
    /// # Errors
    /// If it has ended by itself.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        let (status, _) = self.wait_for_end()?;
        let killed = status.signal() == Some(9);
        self.require(killed, || format!("it had ended before: {status}"))
    }

    /// Waits until the daemon has ended: how it did, and how long it took.
    ///
    /// # Errors
    /// If it does not end.
    pub fn wait_for_end(&mut self) -> Result<(ExitStatus, Duration)> {
        let started = Instant::now();
        let daemon = self.daemon.as_mut().ok_or("no daemon was started")?;
        let status = daemon.wait_at_most(PATIENCE)?;
        Ok((status.ok_or("the daemon does not end")?, started.elapsed()))
    }
}

fn shell(host: &Host, command: &str, dir: &Path) -> Result<Output> {
    finish(host, Command::new("bash").args(["-c", command]), dir)
}

fn finish(host: &Host, command: &mut Command, dir: &Path) -> Result<Output> {
    let (out, err) = (dir.join("shell.out"), dir.join("shell.err"));
    command
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?);
    let status = host.spawn(command)?.wait_at_most(PATIENCE * 3)?;
    Ok(Output {
        status: status.ok_or_else(|| format!("it hangs: {command:?}"))?,
        stdout: fs::read(out)?,
        stderr: fs::read(err)?,
    })
}
