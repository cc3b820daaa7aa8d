//! Namespaces around the whole process, so that whatever it starts ends with it.
//!
//! Three processes come of one: the *outer* one that the user started, which makes the namespaces
//! and waits; the *init* of the new process namespace, which collects orphans; and the *inner*
//! one, in which [`isolate()`] returns. Each is the same program, started again with the same
//! arguments. If the outer one is killed, the kernel kills init, and with it all the rest.

use std::env;
use std::fs;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, exit};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};
use rustix::process::{Pid, WaitOptions, wait};

use super::LabError;

/// Which of the three processes this one is; absent in the outer one.
pub(super) const STAGE: &str = "POSTERN_LAB_STAGE";

/// Who we are inside.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Identity {
    /// The machine's root if that is who we are, otherwise as [`Identity::UserNamespace`].
    RootIfNeeded,
    /// Root of a new user namespace, with no power over anything outside, even if we are the
    /// machine's root. Only our own account exists inside.
    UserNamespace,
}

/// Puts the process into namespaces of its own: network (empty, without the machine's
/// interfaces), processes, mounts (with its own `/proc` and an empty `/run`) and, where `identity`
/// asks for it, users.
///
/// Must come first in `main`, before any thread. It starts the program again with the same
/// arguments and **returns only there**; the process that called it first waits, and exits with
/// the status of the second. Called again inside, it does nothing.
///
/// # Errors
/// [`LabError::Refused`] if the kernel does not allow it; its text says what to do.
pub fn isolate(identity: Identity) -> Result<(), LabError> {
    match env::var(STAGE).as_deref() {
        Ok("inner") => Ok(()),
        Ok("init") => init(),
        _ => outer(identity),
    }
}

fn outer(identity: Identity) -> Result<(), LabError> {
    let root = Uid::effective().is_root();
    let new = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET;
    if root && identity == Identity::RootIfNeeded {
        match unshare(new) {
            Ok(()) => return wait_for(again("init")?),
            // Root without its capabilities, as in most containers.
            Err(Errno::EPERM) => {}
            Err(error) => return Err(LabError::refused("namespaces")(error)),
        }
    }
    enter_user_namespace()?;
    unshare(new).map_err(LabError::refused("namespaces"))?;
    wait_for(again("init")?)
}

/// We become root of a new user namespace; only our own ids exist there (user_namespaces(7)).
fn enter_user_namespace() -> Result<(), LabError> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(LabError::refused("a user namespace"))?;
    let refused = LabError::refused("a user namespace");
    fs::write("/proc/self/setgroups", "deny").map_err(&refused)?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(&refused)?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(&refused)
}

/// This program once more, as the given stage.
fn again(stage: &str) -> Result<Child, LabError> {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| "knockctl".into());
    // Not `/proc/self/exe`: once `/proc` is another one, `self` is nobody in it.
    let program = env::current_exe().map_err(LabError::system("find this program's own file"))?;
    Command::new(program)
        .arg0(name)
        .args(arguments)
        .env(STAGE, stage)
        .spawn()
        .map_err(LabError::refused("a process namespace"))
}

/// The outer process: nothing left to do but to end as the inner one did.
fn wait_for(mut init: Child) -> Result<(), LabError> {
    let status = init
        .wait()
        .map_err(LabError::system("wait for a process"))?;
    exit(code(status))
}

/// Init: prepares the mounts, starts the inner process, collects orphans until that one ends.
fn init() -> Result<(), LabError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(LabError::system("ask to end with the parent process"))?;
    prepare_mounts()?;
    let inner = Pid::from_child(&again("inner")?);
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == inner => {
                let by_signal = || status.terminating_signal().map_or(1, after_signal);
                exit(status.exit_status().unwrap_or_else(by_signal));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(LabError::system("wait for a process")(error)),
        }
    }
}

/// The exit status by which shells tell that a signal ended a process.
const fn after_signal(signal: i32) -> i32 {
    128_i32.saturating_add(signal)
}

/// A mount namespace of our own is a copy; what we mount must not spread to the original.
fn prepare_mounts() -> Result<(), LabError> {
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).map_err(LabError::refused("private mounts"))?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    // Containers that mask parts of /proc do not allow a new one. The old one also works: it
    // shows the processes by their outer numbers.
    let _proc: io::Result<()> = mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        safe | MsFlags::MS_NOEXEC,
        none,
    )
    .map_err(Into::into);
    if we_live_below("/run") {
        return Ok(());
    }
    // Lock files (iptables) and pid files that an ordinary user could not write, and that we
    // do not want to share with the machine.
    if mount(Some("tmpfs"), "/run", Some("tmpfs"), safe, Some("mode=755")).is_ok() {
        fs::create_dir("/run/lock").map_err(LabError::system("make /run/lock"))?;
    }
    Ok(())
}

fn we_live_below(directory: &str) -> bool {
    let below = |path: io::Result<std::path::PathBuf>| path.is_ok_and(|p| p.starts_with(directory));
    below(env::current_exe()) || below(env::current_dir()) || !Path::new(directory).is_dir()
}

fn code(status: ExitStatus) -> i32 {
    let by_signal = || status.signal().map_or(1, after_signal);
    status.code().unwrap_or_else(by_signal)
}
