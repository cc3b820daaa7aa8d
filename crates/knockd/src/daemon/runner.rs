//! Runs commands as `/bin/sh -c` does, each in a process group of its own, with nothing of the
//! daemon's but its standard output and error.
//!
//! Where the shell would only start a program, it is left out: to start it first takes about as long
//! as all that is between a knock and its command.

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, Uid, User};

use super::background;
use super::words::plain_words;
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
    id: JobId,
    occasion: Occasion,
    child: Child,
}

/// A command that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) id: JobId,
    pub(super) occasion: Occasion,
    pub(super) end: End,
}

impl Runner {
    /// Nothing runs.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            running: Vec::new(),
            nothing: File::open("/dev/null")?,
        })
    }

    /// Starts a command. If that fails, the line says why.
    pub(super) fn start(&mut self, job: &Job) -> Result<(), Line> {
        match self.spawn(job) {
            Ok(child) => {
                self.running.push(Running {
                    id: job.id,
                    occasion: job.occasion,
                    child,
                });
                Ok(())
            }
            Err(error) => {
                let text = format!("error: command fork failed! ({})", reason(&error));
                let line = Line::of_door(&job.door, "command-failed", &text);
                let line = line.about(job.source).at(Level::Error);
                Err(line.means(failed(job.id, job.source)))
            }
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
                id: running.id,
                occasion: running.occasion,
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

    fn spawn(&self, job: &Job) -> io::Result<Child> {
        if let Some((program, words)) = plain_words(&job.command)
            .as_deref()
            .and_then(<[_]>::split_first)
        {
            let mut command = Command::new(program);
            command.args(words);
            if let Ok(child) = self.prepared(command, job)?.spawn() {
                return Ok(child);
            }
            // The shell says why it cannot be started, or knows how: a script may have no `#!`.
        }
        let mut command = Command::new("/bin/sh");
        command.args(["-c", job.command.as_str()]);
        self.prepared(command, job)?.spawn()
    }

    /// `command` as those of doors are run.
    fn prepared(&self, mut command: Command, job: &Job) -> io::Result<Command> {
        let family = if job.source.is_ipv4() {
            "inet"
        } else {
            "inet6"
        };
        let event = match job.occasion {
            Occasion::Start => "start",
            Occasion::Stop => "stop",
        };
        command
            .stdin(self.nothing.try_clone()?)
            .process_group(0)
            .env_remove(background::MARK)
            .env_remove("NOTIFY_SOCKET")
            .env("KNOCK_IP", job.source.to_string())
            .env("KNOCK_DOOR", &*job.door)
            .env("KNOCK_FAMILY", family)
            .env("KNOCK_EVENT", event);
        if let Some(name) = &job.user {
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
