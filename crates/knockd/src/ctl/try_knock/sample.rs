//! The story with the sample configuration: closed, knocked, open for one, closed by itself.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::log_tail::LogTail;
use super::probe::{self, Answer};
use super::story::Story;
use super::{Options, TryError, firewall, programs};
use crate::lab::{Host, Process};

/// The configuration that is tried.
const CONFIG: &str = include_str!("sample.conf");
const STEPS: [&str; 3] = ["7000", "9000", "8000"];
/// `cmd_timeout` of [`CONFIG`].
const OPEN_FOR: Duration = Duration::from_secs(3);

const KNOCKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 99));
const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 2));
const DOOR: SocketAddr = SocketAddr::new(SERVER, 22);

/// How long silence must last to count as closed.
const SILENCE: Duration = Duration::from_secs(1);
/// For what should come about at once, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything that the story plays with.
struct Stage<'a> {
    story: &'a Story,
    client: Host,
    server: Host,
    log: LogTail,
}

/// Tells the story from beginning to end.
pub(super) fn tell(options: &Options, story: &Story) -> Result<(), TryError> {
    let knockd = programs::ours("knockd", options.knockd.as_deref())?;
    let knock = programs::ours("knock", options.knock.as_deref())?;
    programs::installed("nft", "nftables")?;
    let directory = scratch()?;
    let mut stage = Stage::build(story, &directory)?;

    let mut daemon = stage.start(&knockd, &directory)?;
    stage.reach("port 22 is closed for the knocker", KNOCKER, Expect::Closed)?;
    stage.knock(&knock)?;
    let opened = Instant::now();
    let answer = stage.reach("port 22 is open for the knocker", KNOCKER, Expect::Opened)?;
    stage.reach(
        "it is still closed for a second address",
        STRANGER,
        Expect::Closed,
    )?;
    stage.closes(opened)?;
    stage.reach(
        "port 22 is closed again for the knocker",
        KNOCKER,
        Expect::ClosedAgain,
    )?;
    if let Answer::Open(stream, _) = answer {
        let alive = probe::is_alive(&stream);
        let seen = if alive {
            "it still carries bytes"
        } else {
            "it is dead"
        };
        story.check(alive, "the connection made meanwhile lives on", seen);
    }
    stage.stop(&mut daemon)?;
    drop(daemon);
    drop(stage);
    nothing_left(story, &directory)
}

/// How the port should be.
#[derive(Copy, Clone, Eq, PartialEq)]
enum Expect {
    /// Silent, at the first attempt.
    Closed,
    /// Open, once the command that the log has announced has ended.
    Opened,
    /// Silent, once the command that the log has announced has ended.
    ClosedAgain,
}

impl Expect {
    const fn holds(self, answer: &Answer) -> bool {
        match self {
            Self::Opened => answer.is_open(),
            Self::Closed | Self::ClosedAgain => matches!(answer, Answer::Silent(_)),
        }
    }

    fn may_take_a_moment(self) -> bool {
        self != Self::Closed
    }
}

impl<'a> Stage<'a> {
    fn build(story: &'a Story, directory: &Path) -> Result<Self, TryError> {
        story.say(format_args!(
            "Two throw-away network namespaces on one virtual cable. Your own network is not touched.\n\n  \
             client  {KNOCKER}, and {STRANGER} for a stranger\n  \
             server  {SERVER}, port 22 behind an nftables firewall that drops by default\n\n\
             knockd.conf on the server:\n\n{CONFIG}",
        ));
        let (client, server) = (Host::new("client")?, Host::new("server")?);
        client.connect("eth0", &server, "eth0")?;
        client.add_address("eth0", &format!("{KNOCKER}/24"))?;
        client.add_address("eth0", &format!("{STRANGER}/24"))?;
        server.add_address("eth0", &format!("{SERVER}/24"))?;
        firewall::load(&server, firewall::NFT)?;
        probe::serve(&server, DOOR)?;
        let log = LogTail::new(&directory.join("knockd.log"));
        Ok(Self {
            story,
            client,
            server,
            log,
        })
    }

    fn start(&mut self, knockd: &Path, directory: &Path) -> Result<Process, TryError> {
        let config = directory.join("knockd.conf");
        fs::write(&config, CONFIG)
            .map_err(|error| TryError::Io("write the configuration", error))?;
        let mut command = Command::new(knockd);
        command
            .arg("-c")
            .arg(config)
            .args(["-i", "eth0", "-g"])
            .arg(directory.join("knockd.log"))
            .arg("-p")
            .arg(directory.join("knockd.pid"))
            .env("PATH", programs::search_path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        self.story
            .command("server", "knockd -c knockd.conf -i eth0");
        let daemon = self.server.spawn(&mut command)?;
        self.log_until("starting up, listening on eth0")?;
        Ok(daemon)
    }

    fn knock(&mut self, knock: &Path) -> Result<(), TryError> {
        let line = format!("knock {SERVER} {}", STEPS.join(" "));
        self.story.command("client", line);
        let mut command = Command::new(knock);
        command.arg(SERVER.to_string()).args(STEPS);
        let status = self.client.spawn(&mut command)?.wait_at_most(PATIENCE);
        let status = status.map_err(|error| TryError::Io("wait for knock", error))?;
        if !status.is_some_and(|status| status.success()) {
            self.story
                .check(false, "knock can send", format_args!("{status:?}"));
        }
        self.log_until("ssh: running command: ")?;
        Ok(())
    }

    /// Quotes the log until a line holds `text`; that none does is a failed check.
    fn log_until(&mut self, text: &str) -> Result<(), TryError> {
        let story = self.story;
        let found = self.log.wait_for(PATIENCE, |line| {
            story.quote("knockd", line);
            line.contains(text)
        });
        if !found.map_err(|error| TryError::Io("read the log", error))? {
            let seen = format!("not within {} s", PATIENCE.as_secs());
            story.check(false, format_args!("the log says `{text}`"), seen);
        }
        Ok(())
    }

    /// Checks whether the service can be reached from an address.
    fn reach(&self, claim: &str, from: IpAddr, expect: Expect) -> Result<Answer, TryError> {
        let deadline = Instant::now() + PATIENCE;
        let mut answer = probe::connect(&self.client, from, DOOR, SILENCE)?;
        while !expect.holds(&answer) && expect.may_take_a_moment() && Instant::now() < deadline {
            answer = probe::connect(&self.client, from, DOOR, SILENCE)?;
        }
        let holds = expect.holds(&answer);
        self.story
            .check(holds, format_args!("{claim} ({from})"), &answer);
        Ok(answer)
    }

    fn closes(&mut self, opened: Instant) -> Result<(), TryError> {
        self.story.say("\nNow we only wait.");
        let story = self.story;
        let found = self.log.wait_for(OPEN_FOR + PATIENCE, |line| {
            story.quote("knockd", line);
            line.contains("ssh: running command: nft delete")
        });
        let found = found.map_err(|error| TryError::Io("read the log", error))?;
        let seen = format!("after {:.1} s", opened.elapsed().as_secs_f32());
        story.check(found, "the daemon closes it by itself", seen);
        Ok(())
    }

    fn stop(&mut self, daemon: &mut Process) -> Result<(), TryError> {
        self.story.command("server", "kill -TERM $(pidof knockd)");
        let start = Instant::now();
        let io = |error| TryError::Io("stop the daemon", error);
        daemon.signal(Signal::TERM).map_err(io)?;
        let status = daemon.wait_at_most(PATIENCE).map_err(io)?;
        self.log_until("shutting down")?;
        let took = start.elapsed().as_millis();
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

/// A directory that nobody else sees: `/run` is a new file system that ends with us.
fn scratch() -> Result<PathBuf, TryError> {
    let path = PathBuf::from("/run/knockctl-try");
    fs::create_dir(&path).map_err(|error| TryError::Io("make a directory in /run", error))?;
    Ok(path)
}

/// Checks that of all processes only ours are left, and no file.
fn nothing_left(story: &Story, directory: &Path) -> Result<(), TryError> {
    let io = |error| TryError::Io("look for what is left", error);
    fs::remove_dir_all(directory).map_err(io)?;
    let own = std::process::id();
    let shown = fs::read_link("/proc/self").map_err(io)?;
    if shown.to_str().and_then(|pid| pid.parse().ok()) != Some(own) {
        story.say(
            "This container keeps its own /proc, so what is left cannot be counted from here.",
        );
        return Ok(());
    }
    let mut others = 0_usize;
    for entry in fs::read_dir("/proc").map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let pid = name.to_str().and_then(|name| name.parse::<u32>().ok());
        others += usize::from(pid.is_some_and(|pid| pid != 1 && pid != own));
    }
    story.check(
        others == 0,
        "nothing is left behind",
        format_args!("{others} processes, 0 files"),
    );
    Ok(())
}
