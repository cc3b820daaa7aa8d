//! Going into the background (`-d`), in safe code: the program starts itself once more.
//!
//! The one that the user started waits until the other one is ready, so its exit status and
//! standard error say how the start went. The other one leads a session of its own. They are
//! tied by the other's standard input: a byte through it is "ready".

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use rustix::fs::{Mode, OFlags};

/// Set for the one that goes into the background, to the process id of the one that starts it.
/// Its commands do not get to see it.
pub(super) const MARK: &str = "KNOCKD_IN_BACKGROUND";

/// Which one this is.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// It stays where it was started.
    Foreground,
    /// It starts the one in the background, and ends.
    Launcher,
    /// The one in the background.
    Background,
}

/// Which one this is, with or without `-d`.
pub(super) fn stage(daemon: bool) -> Stage {
    if !daemon {
        Stage::Foreground
    } else if names(MARK, rustix::process::getppid().map(|pid| pid.as_raw_pid())) {
        Stage::Background
    } else if is_main_of_a_notifying_service() {
        Stage::Foreground
    } else {
        Stage::Launcher
    }
}

/// Whether we are the process that systemd started and from which it expects to hear: that one
/// must stay. `$SYSTEMD_EXEC_PID` (systemd.exec(5)) tells it from those that only inherited
/// `$NOTIFY_SOCKET`, as in a container or from a service's script, which wait for `-d` to return.
fn is_main_of_a_notifying_service() -> bool {
    let own = i32::try_from(std::process::id()).ok();
    std::env::var_os("NOTIFY_SOCKET").is_some() && names("SYSTEMD_EXEC_PID", own)
}

/// Whether the environment variable `key` is the process id `pid`.
fn names(key: &str, pid: Option<i32>) -> bool {
    std::env::var(key).is_ok_and(|value| value.parse().ok().is_some_and(|it| pid == Some(it)))
}

/// Starts the one in the background, and gives how its start went.
pub(super) fn start() -> io::Result<ExitCode> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_else(|| "knockd".into());
    let mut child = Command::new(std::env::current_exe()?)
        .arg0(name)
        .args(args)
        .env(MARK, std::process::id().to_string())
        // What it would tell is not what whoever waits there wants to know: not our start, but
        // that of what started us.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()?;
    let mut ready = [0];
    if ours.read(&mut ready)? == ready.len() {
        return Ok(ExitCode::SUCCESS);
    }
    let code = child.wait()?.code().unwrap_or(1);
    Ok(u8::try_from(code).unwrap_or(1).into())
}

/// Leaves terminal, session and folder behind, as `daemon(3)` does. Commands that are started
/// from now on get `/dev/null` as standard streams.
pub(super) fn settle() -> io::Result<()> {
    rustix::process::setsid().or_else(|errno| match errno {
        // Already its own session's leader.
        rustix::io::Errno::PERM => rustix::process::getsid(None),
        errno => Err(errno),
    })?;
    std::env::set_current_dir("/")?;
    Ok(())
}

/// Says that the start went well, and lets go of the streams that it could have failed on.
pub(super) fn ready() -> io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    // The other one may have been killed meanwhile; we go on.
    rustix::io::write(rustix::stdio::stdin(), &[1]).ok();
    rustix::stdio::dup2_stdin(&null)?;
    Ok(())
}
