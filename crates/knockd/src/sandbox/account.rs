//! The account that a process runs as.

use std::fmt;
use std::io;

use nix::unistd::{Gid, Uid, User, setgroups, setresgid, setresuid};
use rustix::io::Errno;

/// A user and its own group.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Why there is no such account.
#[derive(Debug)]
pub enum AccountError {
    /// Nobody has this name or number.
    Unknown(String),
    /// It could not be looked up.
    LookUp(String, io::Error),
    /// It is root, who can do anything.
    Root(String),
}

impl Account {
    /// The account that has this name, or this number.
    ///
    /// # Errors
    /// If there is none, or if it is root's.
    pub fn find(name: &str) -> Result<Self, AccountError> {
        let look_up = |error: nix::Error| AccountError::LookUp(name.to_owned(), error.into());
        let mut user = User::from_name(name).map_err(look_up)?;
        if let (None, Ok(number)) = (&user, name.parse()) {
            user = User::from_uid(Uid::from_raw(number)).map_err(look_up)?;
        }
        let user = user.ok_or_else(|| AccountError::Unknown(name.to_owned()))?;
        if user.uid.is_root() || user.gid.as_raw() == 0 {
            return Err(AccountError::Root(name.to_owned()));
        }
        Ok(Self {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        })
    }

    /// What systems have had for programs that own nothing, long before there was an account for
    /// each.
    pub const NOBODY: Self = Self {
        uid: 65_534,
        gid: 65_534,
    };
}

/// Lets this process be nobody but `account`, in its group alone.
pub(super) fn become_(account: Account) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let errno = |error: nix::Error| Errno::from_io_error(&error.into()).unwrap_or(Errno::PERM);
    // Without the groups of whoever started us it is refused in some containers, and it is the
    // account that counts; so the rest is done whatever comes of it.
    let groups = setgroups(&[]);
    setresgid(gid, gid, gid).map_err(errno)?;
    setresuid(uid, uid, uid).map_err(errno)?;
    groups.map_err(errno)
}

impl fmt::Display for AccountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "there is no account '{name}'"),
            Self::LookUp(name, error) => write!(f, "cannot look up the account '{name}': {error}"),
            Self::Root(name) => write!(f, "the account '{name}' is root's"),
        }
    }
}

impl std::error::Error for AccountError {}
