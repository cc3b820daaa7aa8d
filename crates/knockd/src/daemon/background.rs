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

/// Set for the one that goes into the background. Its commands do not get to see it.
pub(super) const MARK: &str = "KNOCKD_IN_BACKGROUND";

/// Which one this is.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// The one that was started.
    Foreground,
    /// The one that it started.
    Background,
}

pub(super) fn stage() -> Stage {
    if std::env::var_os(MARK).is_some() {
        Stage::Background
    } else {
        Stage::Foreground
    }
}

/// Starts the one in the background, and gives how its start went.
pub(super) fn start() -> io::Result<ExitCode> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_else(|| "knockd".into());
    let mut child = Command::new(std::env::current_exe()?)
        .arg0(name)
        .args(args)
        .env(MARK, "1")
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
