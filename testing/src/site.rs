//! A server with a running daemon, and a client beside it: what scenarios with real programs need.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use knockd::lab::{Host, Process};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::Result;
use crate::case::{Case, Medium};
use crate::network::Network;
use crate::trace::{self, Mark};

/// How long a daemon may take to do what it must.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running daemon and its surroundings.
#[derive(Debug)]
pub struct Site {
    /// The namespaces.
    pub network: Network,
    daemon: Process,
    dir: TempDir,
}

impl Site {
    /// Runs `before` on the server, then starts the daemon with the doors of `config`, which may
    /// name `{hits}` and `{dir}`.
    ///
    /// # Errors
    /// If it does not start.
    pub fn new(program: &Path, config: &str, before: &[&str]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("testbed-").tempdir()?;
        let network = Network::new(Medium::Ethernet)?;
        for command in before {
            if !network.server_shell(command)?.success() {
                return Err(format!("`{command}` failed").into());
            }
        }
        let text = Case::fill(config, dir.path());
        let options = format!("[options]\nlogfile = {}/log\n", dir.path().display());
        fs::write(dir.path().join("conf"), options + &text)?;
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(dir.path().join("conf"))
            .args(["-i", "server0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(dir.path().join("stderr"))?);
        let daemon = network.server.spawn(&mut command)?;
        let site = Self {
            network,
            daemon,
            dir,
        };
        site.wait_for_line("starting up")
            .map_err(|e| format!("{e}\n{}", site.read("stderr")))?;
        Ok(site)
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
        Ok(kill(
            Pid::from_raw(i32::try_from(self.daemon.id())?),
            signal,
        )?)
    }

    /// Waits until the daemon has ended, and how long it took.
    ///
    /// # Errors
    /// If it does not end.
    pub fn wait_for_end(&mut self) -> Result<Duration> {
        let started = Instant::now();
        self.daemon
            .wait_at_most(PATIENCE)?
            .ok_or("the daemon does not end")?;
        Ok(started.elapsed())
    }
}

fn shell(host: &Host, command: &str, dir: &Path) -> Result<Output> {
    let (out, err) = (dir.join("shell.out"), dir.join("shell.err"));
    let mut bash = Command::new("bash");
    bash.args(["-c", command])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?);
    let status = host.spawn(&mut bash)?.wait()?;
    Ok(Output {
        status,
        stdout: fs::read(out)?,
        stderr: fs::read(err)?,
    })
}
