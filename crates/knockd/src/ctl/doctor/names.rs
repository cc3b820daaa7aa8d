//! The names of accounts and groups, looked up once so that all the rest is without a database.

use std::collections::BTreeMap;
use std::fmt;

use nix::unistd::{Gid, Group, Uid, User};
use serde::Serialize;

use super::process::Process;

/// The names of all accounts and groups that a report speaks of, as far as they have one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Names {
    pub(super) users: BTreeMap<u32, String>,
    pub(super) groups: BTreeMap<u32, String>,
}

/// A number, and its name if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named<'a> {
    number: u32,
    name: Option<&'a str>,
}

impl Named<'_> {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name == Some(name)
    }
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "{} ({})", name.escape_debug(), self.number),
            None => write!(f, "{}", self.number),
        }
    }
}

impl Names {
    /// Asks the databases of this machine.
    pub(super) fn of(processes: &[Process]) -> Self {
        let mut names = Self::default();
        for rights in processes.iter().map(|process| &process.status.rights) {
            for number in rights.user.all() {
                if let Ok(Some(user)) = User::from_uid(Uid::from_raw(number)) {
                    names.users.insert(number, user.name);
                }
            }
            for number in rights
                .group
                .all()
                .into_iter()
                .chain(rights.groups.iter().copied())
            {
                if let Ok(Some(group)) = Group::from_gid(Gid::from_raw(number)) {
                    names.groups.insert(number, group.name);
                }
            }
        }
        names
    }

    pub(super) fn user(&self, number: u32) -> Named<'_> {
        let name = self.users.get(&number).map(String::as_str);
        Named { number, name }
    }

    pub(super) fn group(&self, number: u32) -> Named<'_> {
        let name = self.groups.get(&number).map(String::as_str);
        Named { number, name }
    }
}
