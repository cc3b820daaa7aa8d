//! What the keeper gives up.
//!
//! It runs whatever commands the administrator has written, as root if they say nothing else, and
//! what they need cannot be told. So what they can gain (the bounding set) stays as it was as long
//! as there is one that runs as root; but the keeper itself, which reads the configuration and the
//! listener's reports, holds no more than it uses. It sees no packet; of the network it has a use for
//! the gate alone, and only if a door is native.

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use std::path::{Path, PathBuf};

use super::privileges::bound;

/// What the configuration asks of the keeper.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Some command runs.
    pub commands: bool,
    /// Some command runs as whoever the daemon runs as.
    pub commands_as_daemon: bool,
    /// Files that it reads or writes, now or after a reload: there or not yet.
    pub files: Vec<PathBuf>,
    /// Keys of people are read, wherever they are.
    pub keys: bool,
    /// Some door is native: the gate is put up and opened.
    pub gate: bool,
}

/// Gives up, for good, the capabilities that nothing in `needs` is a reason to keep. Call it before
/// there is another thread.
///
/// # Errors
/// What the kernel says; then nothing, or not everything, was given up.
pub fn give_up(needs: &Needs) -> Result<(), Errno> {
    let now = capabilities(None)?;
    if !geteuid().is_root() {
        return give_up_as_user(needs, now);
    }
    // SETUID, SETGID: the listener's account and those of commands, when they are started. SETPCAP:
    // so that a new listener can empty its bounding set. SYS_NICE: so that it can have its priority.
    // KILL: to end a listener.
    let mut kept = CapabilitySet::SETUID
        | CapabilitySet::SETGID
        | CapabilitySet::SETPCAP
        | CapabilitySet::SYS_NICE
        | CapabilitySet::KILL;
    if needs.gate {
        kept |= CapabilitySet::NET_ADMIN;
    }
    if needs.files.iter().any(|file| needs_override(file, now)) {
        kept |= CapabilitySet::DAC_OVERRIDE;
    }
    // A home, and what is in it, may be open to nobody but its owner.
    if needs.keys {
        kept |= CapabilitySet::DAC_READ_SEARCH;
    }
    kept &= now.permitted;
    if !needs.commands_as_daemon && now.effective.contains(CapabilitySet::SETPCAP) {
        bound(kept)?;
    }
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )
}

/// An ordinary user's daemon hands its ambient capabilities on to its commands, as the original
/// does; without commands it has no use for any.
fn give_up_as_user(needs: &Needs, now: CapabilitySets) -> Result<(), Errno> {
    let none = CapabilitySet::empty();
    let used = if needs.gate {
        now.permitted & CapabilitySet::NET_ADMIN
    } else {
        none
    };
    let rest = if needs.commands {
        CapabilitySets {
            effective: used,
            ..now
        }
    } else {
        CapabilitySets {
            effective: used,
            permitted: used,
            inheritable: none,
        }
    };
    set_capabilities(None, rest)
}

/// Whether root needs `CAP_DAC_OVERRIDE` to use `file`, or to make it: in somebody's own folder,
/// for instance.
fn needs_override(file: &Path, now: CapabilitySets) -> bool {
    let powers = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    let without = CapabilitySets {
        effective: now.effective.difference(powers),
        ..now
    };
    if set_capabilities(None, without).is_err() {
        return true;
    }
    let can = |path: &Path, access| accessat(CWD, path, access, AtFlags::EACCESS);
    let usable = match can(file, Access::READ_OK | Access::WRITE_OK) {
        Err(Errno::NOENT) => {
            let folder = file.parent().unwrap_or(Path::new("/"));
            let usable = can(folder, Access::WRITE_OK | Access::EXEC_OK);
            // What is not there with the power either does not call for it.
            usable.is_ok() || usable == Err(Errno::NOENT)
        }
        // Nobody can write there.
        Err(Errno::ROFS) => true,
        result => result.is_ok(),
    };
    set_capabilities(None, now).is_err() || !usable
}
