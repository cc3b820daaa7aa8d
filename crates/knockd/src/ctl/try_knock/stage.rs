//! The two hosts, the daemon and the client: what both stories play with.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::log_tail::LogTail;
use super::probe::{self, Answer, Spot};
use super::story::Story;
use super::{Options, TryError, programs};
use crate::lab::{Host, LabError, Process};

/// The addresses of one version of IP.
#[derive(Debug)]
pub(super) struct Family {
    /// Who knocks.
    pub(super) knocker: IpAddr,
    /// Who does not.
    pub(super) stranger: IpAddr,
    /// Where the daemon is.
    pub(super) server: IpAddr,
    bits: u8,
}

pub(super) const V4: Family = Family {
    knocker: IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1)),
    stranger: IpAddr::V4(Ipv4Addr::new(10, 77, 0, 99)),
    server: IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2)),
    bits: 24,
};

pub(super) const V6: Family = Family {
    knocker: IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1)),
    stranger: IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x99)),
    server: IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2)),
    bits: 64,
};

/// Who knocks, where a story is told over IPv4 alone.
pub(super) const KNOCKER: IpAddr = V4.knocker;
/// Who does not.
pub(super) const STRANGER: IpAddr = V4.stranger;
/// Where the daemon is.
pub(super) const SERVER: IpAddr = V4.server;
/// The server's interface.
pub(super) const INTERFACE: &str = "eth0";

/// Between two attempts to connect, while a port is waited for.
const PAUSE: Duration = Duration::from_millis(20);

/// How long silence must last to count as closed.
const SILENCE: Duration = Duration::from_secs(1);
/// For what should come about at once, on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How a port should be.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Expect {
    /// Closed, at the first attempt.
    Closed,
    /// Open, once what the log has announced is done, or a new interface has found its feet.
    Opened,
    /// Closed, once what the log has announced is done.
    ClosedAgain,
}

impl Expect {
    const fn holds(self, answer: &Answer) -> bool {
        answer.is_open() == matches!(self, Self::Opened)
    }

    const fn may_take_a_moment(self) -> bool {
        matches!(self, Self::Opened | Self::ClosedAgain)
    }
}

/// The hosts, the programs, and the daemon's log.
pub(super) struct Stage<'a> {
    pub(super) story: &'a Story,
    pub(super) client: Host,
    pub(super) server: Host,
    has_ipv6: bool,
    log: LogTail,
    /// The lines of the log that have been quoted since the last step of the story.
    quoted: Vec<String>,
    directory: PathBuf,
    knockd: PathBuf,
    knock: PathBuf,
}

impl<'a> Stage<'a> {
    /// Finds the programs and builds the hosts.
    pub(super) fn build(options: &Options, story: &'a Story) -> Result<Self, TryError> {
        let knockd = programs::ours("knockd", options.knockd.as_deref())?;
        let knock = programs::ours("knock", options.knock.as_deref())?;
        // `/run` is a new file system, which ends with us.
        let directory = PathBuf::from("/run/knockctl-try");
        fs::create_dir(&directory).map_err(|e| TryError::Io("make a directory in /run", e))?;
        let log = directory.join("knockd.log");
        let (client, server) = (Host::new("client")?, Host::new("server")?);
        client.connect("eth0", &server, INTERFACE)?;
        give_addresses(&client, &server, &V4)?;
        // A kernel without IPv6 has no use for its addresses.
        let has_ipv6 = give_addresses(&client, &server, &V6).is_ok();
        Ok(Self {
            story,
            client,
            server,
            has_ipv6,
            log: LogTail::new(&log),
            quoted: Vec::new(),
            directory,
            knockd,
            knock,
        })
    }

    /// Whether the hosts have addresses of [`V6`] too.
    pub(super) const fn has_ipv6(&self) -> bool {
        self.has_ipv6
    }

    /// Starts the daemon with the configuration `config`, told as `shown`.
    pub(super) fn start(&mut self, config: &[u8], shown: &str) -> Result<Process, TryError> {
        let path = self.directory.join("knockd.conf");
        fs::write(&path, config).map_err(|e| TryError::Io("write the configuration", e))?;
        let mut command = Command::new(&self.knockd);
        command
            .args([OsStr::new("-c"), path.as_os_str()])
            .args(["-i", INTERFACE, "-p"])
            .arg(self.directory.join("knockd.pid"))
            .env("PATH", programs::search_path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        self.story.command("server", shown);
        let mut daemon = self.server.spawn(&mut command)?;
        let io = |error| TryError::Io("wait for the daemon", error);
        let deadline = Instant::now() + PATIENCE;
        let up = |line: &str| line.contains("starting up, listening on ");
        while !self.log_within(PAUSE, up)? {
            if let Some(status) = daemon.wait_at_most(Duration::ZERO).map_err(io)? {
                return Err(TryError::Refused(format!("knockd has ended: {status}")));
            }
            if Instant::now() >= deadline {
                let seen = format!("not within {} s", PATIENCE.as_secs());
                self.story.check(false, "the daemon starts", seen);
                break;
            }
        }
        Ok(daemon)
    }

    /// The lines that make a configuration log, and keep what the daemon remembers, in a place that
    /// is thrown away: what is open and owed, and what an administrator has said of the gate. Not
    /// every daemon knows a `journal`.
    pub(super) fn state(&self, journal: bool) -> String {
        let path = |name| self.directory.join(name).display().to_string();
        let mut lines = format!("\n[options]\n    logfile = {}\n", path("knockd.log"));
        if journal {
            lines.push_str(&format!("    journal = {}\n", path("journal")));
        }
        lines
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

    /// As [`Stage::log_within`], but a line that has been quoted in this step of the story counts.
    pub(super) fn log_said(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Result<bool, TryError> {
        if self.quoted.iter().any(|line| wanted(line)) {
            return Ok(true);
        }
        self.log_within(limit, wanted)
    }

    /// The lines of the log that have been quoted in this step of the story; the next one begins.
    pub(super) fn take_quoted(&mut self) -> Vec<String> {
        std::mem::take(&mut self.quoted)
    }

    /// One attempt to connect; what the log says meanwhile is quoted.
    pub(super) fn connect(&mut self, from: IpAddr, to: Spot) -> Result<Answer, TryError> {
        let answer = probe::connect(&self.client, from, to, SILENCE)?;
        self.log_within(Duration::ZERO, |_| false)?;
        Ok(answer)
    }

    /// Checks whether a service can be reached from an address.
    pub(super) fn reach(
        &mut self,
        claim: &str,
        from: IpAddr,
        to: Spot,
        expect: Expect,
    ) -> Result<Answer, TryError> {
        let deadline = Instant::now() + PATIENCE;
        let mut answer = self.connect(from, to)?;
        while !expect.holds(&answer) && expect.may_take_a_moment() && Instant::now() < deadline {
            thread::sleep(PAUSE);
            answer = self.connect(from, to)?;
        }
        let holds = expect.holds(&answer);
        self.story
            .check(holds, format_args!("{claim} ({from})"), &answer);
        Ok(answer)
    }

    /// Checks that a service that was opened at `opened` closes by itself.
    pub(super) fn closes(
        &mut self,
        claim: &str,
        from: IpAddr,
        to: Spot,
        opened: Instant,
    ) -> Result<(), TryError> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = opened.elapsed();
        let mut answer = self.connect(from, to)?;
        while answer.is_open() && Instant::now() < deadline {
            thread::sleep(PAUSE);
            seen = opened.elapsed();
            answer = self.connect(from, to)?;
        }
        let seen = format!("after {:.1} s, then {answer}", seen.as_secs_f32());
        self.story
            .check(!answer.is_open(), format_args!("{claim} ({from})"), seen);
        Ok(())
    }

    /// Stops the daemon, takes everything down, and checks that nothing is left.
    pub(super) fn end(mut self, mut daemon: Process) -> Result<(), TryError> {
        self.stop(&mut daemon)?;
        drop(daemon);
        self.leave()
    }

    /// Takes everything down, and checks that nothing is left.
    pub(super) fn leave(self) -> Result<(), TryError> {
        let (story, directory) = (self.story, self.directory.clone());
        drop(self);
        nothing_left(story, &directory).map_err(|e| TryError::Io("look for what is left", e))
    }

    /// Kills the daemon, which cannot even notice.
    pub(super) fn kill(&self, mut daemon: Process) -> Result<(), TryError> {
        // The oldest is the one that was started; its listener ends with it.
        self.story.command("server", "pkill -KILL -o knockd");
        let io = |error| TryError::Io("kill the daemon", error);
        daemon.signal(Signal::KILL).map_err(io)?;
        let status = daemon.wait_at_most(PATIENCE).map_err(io)?;
        let seen = status.map_or("it lives".to_owned(), |status| status.to_string());
        self.story
            .check(status.is_some(), "the daemon is gone", seen);
        Ok(())
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

fn give_addresses(client: &Host, server: &Host, family: &Family) -> Result<(), LabError> {
    let bits = family.bits;
    // Who does not say from where it sends does so from the address that was added first over IPv4,
    // and from the one that was added last over IPv6.
    let mut addresses = [family.knocker, family.stranger];
    if family.server.is_ipv6() {
        addresses.reverse();
    }
    for address in addresses {
        client.add_address("eth0", &format!("{address}/{bits}"))?;
    }
    server.add_address(INTERFACE, &format!("{}/{bits}", family.server))
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
        thread::sleep(Duration::from_millis(5));
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
