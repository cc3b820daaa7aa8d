//! Runs commands as `/bin/sh -c` does, each in a process group of its own, with nothing of the
//! daemon's but its standard output and error.
//!
//! Where the shell would only start a program, it is left out: to start it first takes about as long
//! as all that is between a knock and its command.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, Uid, User};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::background;
use super::words::plain_words;
use crate::clock;
use crate::config_file::reason;
use crate::keeper::{End, Job, JobId, Occasion, failed};
use crate::log::{Level, Line};

/// The commands that run.
#[derive(Debug)]
pub(super) struct Runner {
    running: Vec<Running>,
    /// What every command reads. To open it anew costs as much as the rest of a start.
    nothing: File,
}

#[derive(Debug)]
struct Running {
    task: Task,
    child: Child,
}

/// What a command is for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Task {
    /// A grant, on this occasion.
    Grant(JobId, Occasion),
    /// The hook with this number.
    Hook(u64),
}

/// What is to be run.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// For the shell.
    pub(super) command: String,
    /// As whom; `None` for the daemon's own account.
    pub(super) user: Option<Arc<str>>,
    /// What it finds in its environment, besides the daemon's.
    pub(super) environment: Vec<(&'static str, String)>,
}

/// A command that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) task: Task,
    pub(super) end: End,
}

/// What each command that is about a door finds in its environment.
pub(super) fn basics(source: IpAddr, door: &str, event: &str) -> Vec<(&'static str, String)> {
    let family = if source.is_ipv4() { "inet" } else { "inet6" };
    vec![
        ("KNOCK_IP", source.to_string()),
        ("KNOCK_DOOR", door.to_owned()),
        ("KNOCK_FAMILY", family.to_owned()),
        ("KNOCK_EVENT", event.to_owned()),
    ]
}

impl Program {
    /// The command of a grant.
    fn of(job: &Job) -> Self {
        let event = match job.occasion {
            Occasion::Start => "start",
            Occasion::Stop => "stop",
        };
        Self {
            command: job.command.clone(),
            user: job.user.clone(),
            environment: basics(job.source, &job.door, event),
        }
    }
}

impl Runner {
    /// Nothing runs.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            running: Vec::new(),
            nothing: File::open("/dev/null")?,
        })
    }

    /// Starts the command of a grant. If that fails, the line says why.
    pub(super) fn start_job(&mut self, job: &Job) -> Result<(), Line> {
        let started = self.start(Task::Grant(job.id, job.occasion), &Program::of(job));
        started.map_err(|why| {
            let text = format!("error: command fork failed! ({why})");
            let line = Line::of_door(&job.door, "command-failed", &text);
            let line = line.about(job.source).at(Level::Error);
            line.means(failed(job.id, job.source))
        })
    }

    /// Starts a command. If that fails, says why.
    pub(super) fn start(&mut self, task: Task, program: &Program) -> Result<(), String> {
        let child = self.spawn(program).map_err(|error| reason(&error))?;
        self.running.push(Running { task, child });
        Ok(())
    }

    /// Runs a command until it ends, at most for `patience`; then it is killed. Why it is not as it
    /// should be, if so.
    pub(super) fn run(&self, program: &Program, patience: Duration) -> Result<(), String> {
        let mut child = self.spawn(program).map_err(|error| reason(&error))?;
        let ended = await_end(&child, patience);
        if !ended.as_ref().is_ok_and(|ended| *ended) {
            kill(&child);
        }
        let status = child.wait().map_err(|error| reason(&error))?;
        match ended {
            Ok(true) => end_of(status).complaint().map_or(Ok(()), Err),
            Ok(false) => {
                let seconds = patience.as_secs();
                Err(format!("takes longer than {seconds} seconds and is ended"))
            }
            Err(error) => Err(format!("cannot be waited for: {}", reason(&error))),
        }
    }

    /// Kills a command and what it has started in its process group.
    pub(super) fn kill(&self, task: Task) {
        let mut running = self.running.iter();
        if let Some(running) = running.find(|running| running.task == task) {
            kill(&running.child);
        }
    }

    /// Takes the commands that have ended since it was last asked, but not the process `other`.
    /// Never waits.
    pub(super) fn reap(&mut self, other: Option<u32>) -> Vec<Ended> {
        let mut ended = Vec::new();
        self.running.retain_mut(|running| {
            let status = match running.child.try_wait() {
                Ok(None) => return true,
                Ok(Some(status)) => end_of(status),
                // Somebody else has reaped it: how it ended is not known.
                Err(_) => End::Exited(0),
            };
            ended.push(Ended {
                task: running.task,
                end: status,
            });
            false
        });
        if std::process::id() == 1 {
            self.bury_orphans(other);
        }
        ended
    }

    /// As the first process of a container we are handed what commands leave behind in the
    /// background, and nobody else takes their exit status.
    fn bury_orphans(&self, other: Option<u32>) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        while let Ok(status) = waitid(Id::All, flags | WaitPidFlag::WNOWAIT) {
            let Some(pid) = status.pid() else { return };
            if self.is_command(pid) || is(pid, other) {
                // It has ended just now; whoever waits for it is told.
                return;
            }
            // One that is gone needs nothing more.
            waitid(Id::Pid(pid), flags).ok();
        }
    }

    fn spawn(&self, what: &Program) -> io::Result<Child> {
        if let Some((program, words)) = plain_words(&what.command)
            .as_deref()
            .and_then(<[_]>::split_first)
        {
            let mut command = Command::new(program);
            command.args(words);
            if let Ok(child) = self.prepared(command, what)?.spawn() {
                return Ok(child);
            }
            // The shell says why it cannot be started, or knows how: a script may have no `#!`.
        }
        let mut command = Command::new("/bin/sh");
        command.args(["-c", what.command.as_str()]);
        self.prepared(command, what)?.spawn()
    }

    /// `command` as those of doors are run.
    fn prepared(&self, mut command: Command, what: &Program) -> io::Result<Command> {
        command
            .stdin(self.nothing.try_clone()?)
            .process_group(0)
            .env_remove(background::MARK)
            .env_remove("NOTIFY_SOCKET")
            .envs(what.environment.iter().map(|(key, value)| (*key, value)));
        if let Some(name) = &what.user {
            run_as(&mut command, name)?;
        }
        Ok(command)
    }

    fn is_command(&self, pid: Pid) -> bool {
        let mut ids = self.running.iter().map(|running| running.child.id());
        ids.any(|id| is(pid, Some(id)))
    }
}

fn is(pid: Pid, id: Option<u32>) -> bool {
    id.is_some_and(|id| i32::try_from(id) == Ok(pid.as_raw()))
}

/// Each command leads a process group of its own, and `child` has not been waited for, so that the number
/// is still its.
fn kill(child: &Child) {
    let leader = i32::try_from(child.id()).ok();
    if let Some(leader) = leader.and_then(rustix::process::Pid::from_raw) {
        // It may have ended just now.
        kill_process_group(leader, Signal::KILL).ok();
    }
}

/// Waits for the end of `child`, which is not waited for yet; whether it came in time.
fn await_end(child: &Child, patience: Duration) -> io::Result<bool> {
    let handle = pidfd_open(rustix::process::Pid::from_child(child), PidfdFlags::empty())?;
    let deadline = clock::now().saturating_add(patience);
    loop {
        let left = deadline.saturating_since(clock::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn end_of(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code),
        (None, Some(signal)) => End::Killed(signal),
        (None, None) => End::Exited(0),
    }
}

/// Lets `command` run as the account `name`, or with the user id that it is, in that account's
/// group and in no other.
fn run_as(command: &mut Command, name: &str) -> io::Result<()> {
    let by_id = || name.parse().ok().map(Uid::from_raw).map(User::from_uid);
    let user = match User::from_name(name).map_err(io::Error::from)? {
        Some(user) => Some(user),
        None => by_id().transpose().map_err(io::Error::from)?.flatten(),
    };
    let user = user.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no account '{name}'"),
        )
    })?;
    let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
    if (uid, gid)
        == (
            nix::unistd::geteuid().as_raw(),
            nix::unistd::getegid().as_raw(),
        )
    {
        return Ok(());
    }
    // As root, this leaves the supplementary groups too.
    command.uid(uid).gid(gid);
    command
        .env("HOME", &user.dir)
        .env("USER", &user.name)
        .env("LOGNAME", &user.name);
    Ok(())
}
