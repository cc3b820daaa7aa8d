//! The two hosts, the daemon and the client: what both stories play with.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::log_tail::LogTail;
use super::probe::{self, Answer};
use super::story::Story;
use super::{Options, TryError, programs};
use crate::lab::{Host, Process};

/// Who knocks.
pub(super) const KNOCKER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
/// Who does not.
pub(super) const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 99));
/// Where the daemon is.
pub(super) const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));
/// The server's interface.
pub(super) const INTERFACE: &str = "eth0";

/// How long silence must last to count as closed.
const SILENCE: Duration = Duration::from_secs(1);
/// For what should come about at once, on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How a port should be.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Expect {
    /// Closed, at the first attempt.
    Closed,
    /// Open, once the command that the log has announced has ended.
    Opened,
    /// Closed, once the command that the log has announced has ended.
    ClosedAgain,
}

impl Expect {
    const fn holds(self, answer: &Answer) -> bool {
        answer.is_open() == matches!(self, Self::Opened)
    }

    fn may_take_a_moment(self) -> bool {
        self != Self::Closed
    }
}

/// The hosts, the programs, and the daemon's log.
pub(super) struct Stage<'a> {
    pub(super) story: &'a Story,
    pub(super) client: Host,
    pub(super) server: Host,
    log: LogTail,
    /// The lines of the log that have been quoted.
    quoted: Vec<String>,
    directory: PathBuf,
    knockd: PathBuf,
    knock: PathBuf,
}

impl<'a> Stage<'a> {
    /// Finds the programs and builds the hosts. `log` is where the daemon will write, if the
    /// configuration says it.
    pub(super) fn build(
        options: &Options,
        story: &'a Story,
        log: Option<&Path>,
    ) -> Result<Self, TryError> {
        let knockd = programs::ours("knockd", options.knockd.as_deref())?;
        let knock = programs::ours("knock", options.knock.as_deref())?;
        // `/run` is a new file system, which ends with us.
        let directory = PathBuf::from("/run/knockctl-try");
        fs::create_dir(&directory).map_err(|e| TryError::Io("make a directory in /run", e))?;
        let log = log.map_or_else(|| directory.join("knockd.log"), Path::to_owned);
        let (client, server) = (Host::new("client")?, Host::new("server")?);
        client.connect("eth0", &server, INTERFACE)?;
        for address in [KNOCKER, STRANGER] {
            client.add_address("eth0", &format!("{address}/24"))?;
        }
        server.add_address(INTERFACE, &format!("{SERVER}/24"))?;
        Ok(Self {
            story,
            client,
            server,
            log: LogTail::new(&log),
            quoted: Vec::new(),
            directory,
            knockd,
            knock,
        })
    }

    /// Starts the daemon with the configuration `config`, told as `shown`.
    pub(super) fn start(&mut self, config: &[u8], shown: &str) -> Result<Process, TryError> {
        let path = self.directory.join("knockd.conf");
        fs::write(&path, config).map_err(|e| TryError::Io("write the configuration", e))?;
        let mut command = Command::new(&self.knockd);
        command
            .args([OsStr::new("-c"), path.as_os_str()])
            .args(["-i", INTERFACE, "-g"])
            .arg(self.directory.join("knockd.log"))
            .arg("-p")
            .arg(self.directory.join("knockd.pid"))
            .env("PATH", programs::search_path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        self.story.command("server", shown);
        let daemon = self.server.spawn(&mut command)?;
        self.log_until("starting up, listening on ")?;
        Ok(daemon)
    }

    /// Knocks from the first address, with arguments as the client takes them.
    pub(super) fn knock(&self, to: IpAddr, steps: &[String]) -> Result<(), TryError> {
        let line = format!("knock {to} {}", steps.join(" "));
        self.story.command("client", line);
        let mut command = Command::new(&self.knock);
        command.arg(to.to_string()).args(steps);
        let status = self.client.spawn(&mut command)?.wait_at_most(PATIENCE);
        let status = status.map_err(|error| TryError::Io("wait for knock", error))?;
        if !status.is_some_and(|status| status.success()) {
            let seen = status.map_or("it hangs".to_owned(), |status| status.to_string());
            self.story.check(false, "knock can send", seen);
        }
        Ok(())
    }

    /// Quotes the log until a line holds `text`; that none does is a failed check.
    pub(super) fn log_until(&mut self, text: &str) -> Result<bool, TryError> {
        let found = self.log_within(PATIENCE, |line| line.contains(text))?;
        if !found {
            let seen = format!("not within {} s", PATIENCE.as_secs());
            self.story
                .check(false, format_args!("the log says `{text}`"), seen);
        }
        Ok(found)
    }

    /// Quotes the log for `limit`, or until `wanted` says so.
    pub(super) fn log_within(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Result<bool, TryError> {
        let (story, quoted) = (self.story, &mut self.quoted);
        self.log
            .wait_for(limit, |line| {
                story.quote("knockd", line);
                quoted.push(line.to_owned());
                wanted(line)
            })
            .map_err(|error| TryError::Io("read the log", error))
    }

    /// The lines of the log that have been quoted since this was last called.
    pub(super) fn take_quoted(&mut self) -> Vec<String> {
        std::mem::take(&mut self.quoted)
    }

    /// One attempt to connect.
    pub(super) fn connect(&self, from: IpAddr, to: SocketAddr) -> Result<Answer, TryError> {
        probe::connect(&self.client, from, to, SILENCE)
    }

    /// Checks whether a service can be reached from an address.
    pub(super) fn reach(
        &self,
        claim: &str,
        from: IpAddr,
        to: SocketAddr,
        expect: Expect,
    ) -> Result<Answer, TryError> {
        let deadline = Instant::now() + PATIENCE;
        let mut answer = self.connect(from, to)?;
        while !expect.holds(&answer) && expect.may_take_a_moment() && Instant::now() < deadline {
            answer = self.connect(from, to)?;
        }
        let holds = expect.holds(&answer);
        self.story
            .check(holds, format_args!("{claim} ({from})"), &answer);
        Ok(answer)
    }

    /// Stops the daemon, takes everything down, and checks that nothing is left.
    pub(super) fn end(mut self, mut daemon: Process) -> Result<(), TryError> {
        self.stop(&mut daemon)?;
        drop(daemon);
        let (story, directory) = (self.story, self.directory.clone());
        drop(self);
        nothing_left(story, &directory).map_err(|e| TryError::Io("look for what is left", e))
    }

    fn stop(&mut self, daemon: &mut Process) -> Result<(), TryError> {
        self.story.command("server", "kill -TERM $(pidof knockd)");
        let start = Instant::now();
        let io = |error| TryError::Io("stop the daemon", error);
        daemon.signal(Signal::TERM).map_err(io)?;
        let status = daemon.wait_at_most(PATIENCE).map_err(io)?;
        let took = start.elapsed().as_millis();
        self.log_until("shutting down")?;
        let code = status.and_then(|status| status.code());
        let seen = code.map_or("it did not exit".to_owned(), |code| {
            format!("exit status {code} after {took} ms")
        });
        // The original's exit status for SIGTERM is the signal's number.
        self.story
            .check(code == Some(15), "the daemon stops when told", seen);
        Ok(())
    }
}

/// Checks that of all processes only ours are left, and no file.
fn nothing_left(story: &Story, directory: &Path) -> io::Result<()> {
    fs::remove_dir_all(directory)?;
    let own = std::process::id();
    let shown = fs::read_link("/proc/self")?;
    if shown.to_str().and_then(|pid| pid.parse().ok()) != Some(own) {
        let text = "This container keeps its own /proc: what is left cannot be counted from here.";
        story.say(text);
        return Ok(());
    }
    // Init collects what has just ended, so it may take a moment.
    let deadline = Instant::now() + PATIENCE;
    let mut others = others(own)?;
    while others > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
        others = self::others(own)?;
    }
    let seen = format!("{others} processes, 0 files");
    story.check(others == 0, "nothing is left behind", seen);
    Ok(())
}

/// How many processes there are beside init and us.
fn others(own: u32) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse::<u32>().ok());
        count += usize::from(pid.is_some_and(|pid| pid != 1 && pid != own));
    }
    Ok(count)
}
