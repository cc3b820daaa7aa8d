//! What a process gives up: layers that the kernel holds it to, each by itself enough to make a
//! fault in the process useless for most ends.
//!
//! The listener gives up everything ([`confine`]). The keeper gives up the capabilities that its
//! doors do not need ([`keeper`]). A layer that the kernel does not offer is told, and the others
//! are taken all the same: whether that will do is for the keeper to say (`sandbox = require`).

mod account;
pub mod keeper;
mod limits;
mod paths;
mod privileges;
mod system_calls;

use std::fmt;
use std::os::fd::RawFd;

use rustix::io::Errno;

pub use account::{Account, AccountError};

/// A layer.
#[derive(Copy, Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Layer {
    /// An account of its own, without supplementary groups (credentials(7)).
    Account,
    /// No capability, in any set (capabilities(7)).
    Capabilities,
    /// No gain of privileges by executing anything (`PR_SET_NO_NEW_PRIVS`).
    NoNewPrivileges,
    /// Nobody but root may trace it or read its memory (`PR_SET_DUMPABLE`).
    Undumpable,
    /// No path and no network (landlock(7)).
    Landlock,
    /// No process, no file of any size, no further descriptor (getrlimit(2)).
    Limits,
    /// A few system calls; any other one ends the process (seccomp(2)).
    Seccomp,
}

/// Whether a layer is in force.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// It is.
    On,
    /// As far as the kernel goes: of Landlock, its version (ABI).
    Partly(u32),
    /// It is not: the error number that said so (errno(3)), or 0.
    Missing(i32),
}

impl Layer {
    /// All, in the order in which they are put on.
    pub const ALL: [Self; 7] = [
        Self::Account,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::Undumpable,
        // It needs a descriptor for a moment.
        Self::Landlock,
        Self::Limits,
        Self::Seccomp,
    ];

    /// Its place in [`Layer::ALL`].
    #[must_use]
    pub fn number(self) -> u8 {
        let number = Self::ALL.iter().position(|layer| *layer == self);
        number.and_then(|n| u8::try_from(n).ok()).unwrap_or(u8::MAX)
    }

    /// The layer with this number.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "account of its own",
            Self::Capabilities => "dropped capabilities",
            Self::NoNewPrivileges => "no_new_privs",
            Self::Undumpable => "dumpable off",
            Self::Limits => "resource limits",
            Self::Landlock => "Landlock",
            Self::Seccomp => "seccomp",
        })
    }
}

impl State {
    /// As two numbers, which [`State::of_numbers`] takes.
    #[must_use]
    pub fn numbers(self) -> (u8, u64) {
        match self {
            Self::On => (0, 0),
            Self::Partly(version) => (1, version.into()),
            Self::Missing(errno) => (2, u64::from(errno.cast_unsigned())),
        }
    }

    /// What these numbers mean.
    #[must_use]
    pub fn of_numbers(state: u8, number: u64) -> Option<Self> {
        let number = u32::try_from(number).ok()?;
        match state {
            0 => Some(Self::On),
            1 => Some(Self::Partly(number)),
            2 => Some(Self::Missing(number.cast_signed())),
            _ => None,
        }
    }

    /// Whether the layer is there at all.
    #[must_use]
    pub const fn holds(self) -> bool {
        matches!(self, Self::On | Self::Partly(_))
    }

    fn of(done: Result<(), Errno>) -> Self {
        match done {
            Ok(()) => Self::On,
            Err(errno) => Self::Missing(errno.raw_os_error()),
        }
    }
}

/// The descriptors that a confined process goes on using.
#[derive(Copy, Clone, Debug)]
pub struct Descriptors {
    /// It reads orders from it.
    pub orders: RawFd,
    /// It sends reports to it.
    pub reports: RawFd,
    /// It writes last words to it.
    pub words: RawFd,
    /// It asks it how many packets were dropped.
    pub packets: RawFd,
}

impl Descriptors {
    fn highest(&self) -> RawFd {
        let others = self.orders.max(self.reports).max(self.words);
        others.max(self.packets)
    }
}

/// Gives up everything but what the listener needs, for good: this process, as `account` if one
/// is given, can afterwards do nothing but use these descriptors. Call it before there is another
/// thread.
///
/// Each of `layers` is put on, in the order of [`Layer::ALL`], and told whether it is in force.
#[must_use]
pub fn confine(
    account: Option<Account>,
    descriptors: Descriptors,
    layers: &[Layer],
) -> Vec<(Layer, State)> {
    // What could be gained is given up first: another account may not even do that.
    let bounded = if layers.contains(&Layer::Capabilities) {
        privileges::empty_bounding_set()
    } else {
        Ok(())
    };
    let put_on = |layer: Layer| match layer {
        Layer::Account => account.map(|account| State::of(account::become_(account))),
        Layer::Capabilities => Some(State::of(privileges::drop_all().and(bounded))),
        Layer::NoNewPrivileges => Some(State::of(privileges::gain_none())),
        Layer::Undumpable => Some(State::of(privileges::be_untraceable())),
        Layer::Limits => Some(State::of(limits::set(descriptors.highest()))),
        Layer::Landlock => Some(paths::allow_none()),
        Layer::Seccomp => Some(system_calls::allow_few(descriptors)),
    };
    let wanted = Layer::ALL
        .into_iter()
        .filter(|layer| layers.contains(layer));
    wanted
        .filter_map(|layer| put_on(layer).map(|state| (layer, state)))
        .collect()
}
