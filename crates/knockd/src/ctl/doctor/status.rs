//! The text of `/proc/PID/status` (proc(5)).

use std::collections::BTreeSet;

use serde::Serialize;

use super::capabilities::Capabilities;

/// The numbers of an account or of a group that a process acts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Ids {
    pub(super) real: u32,
    pub(super) effective: u32,
    pub(super) saved: u32,
    /// The one that files are asked for with.
    pub(super) fs: u32,
}

impl Ids {
    pub(super) fn all(self) -> [u32; 4] {
        [self.real, self.effective, self.saved, self.fs]
    }

    /// The number, if all four are the same.
    pub(super) fn only(self) -> Option<u32> {
        let Self { real, .. } = self;
        self.all().iter().all(|id| *id == real).then_some(real)
    }
}

/// The five sets of capabilities(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Sets {
    pub(super) effective: Capabilities,
    pub(super) permitted: Capabilities,
    pub(super) inheritable: Capabilities,
    pub(super) bounding: Capabilities,
    pub(super) ambient: Capabilities,
}

impl Sets {
    /// What the process can use, or get without anybody's help.
    pub(super) fn held(&self) -> Capabilities {
        let held = self.effective.union(self.permitted);
        held.union(self.inheritable).union(self.ambient)
    }
}

/// What a thread may do; threads of a process can differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Rights {
    pub(super) user: Ids,
    pub(super) group: Ids,
    /// Supplementary groups.
    pub(super) groups: BTreeSet<u32>,
    pub(super) capabilities: Sets,
    /// Nothing if the kernel does not say.
    pub(super) no_new_privs: Option<bool>,
    /// Nothing if the kernel has no seccomp.
    pub(super) seccomp: Option<Seccomp>,
}

/// The mode of seccomp(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "mode", content = "filters", rename_all = "snake_case")]
pub(super) enum Seccomp {
    Off,
    Strict,
    /// How many filters there are; kernels before 5.9 do not say.
    Filter(Option<u32>),
}

/// One `status` file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Status {
    /// The name that the process goes by (`comm`); at most 15 bytes.
    pub(super) name: String,
    pub(super) parent: u32,
    pub(super) threads: u32,
    #[serde(skip)]
    pub(super) is_zombie: bool,
    #[serde(flatten)]
    pub(super) rights: Rights,
}

impl Status {
    /// Nothing if a line is missing that every kernel writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let number = |key| field(text, key).and_then(|value| value.parse().ok());
        Some(Self {
            name: field(text, "Name")?.to_owned(),
            parent: number("PPid")?,
            threads: number("Threads")?,
            is_zombie: field(text, "State")?.starts_with(['Z', 'X']),
            rights: Rights::parse(text)?,
        })
    }
}

impl Rights {
    fn parse(text: &str) -> Option<Self> {
        let set = |key| Capabilities::parse(field(text, key)?);
        let groups = field(text, "Groups")?.split_ascii_whitespace();
        Some(Self {
            user: ids(field(text, "Uid")?)?,
            group: ids(field(text, "Gid")?)?,
            groups: groups.map(str::parse).collect::<Result<_, _>>().ok()?,
            capabilities: Sets {
                effective: set("CapEff")?,
                permitted: set("CapPrm")?,
                inheritable: set("CapInh")?,
                bounding: set("CapBnd")?,
                // Since Linux 4.3; before, no process had any.
                ambient: set("CapAmb").unwrap_or(Capabilities::NONE),
            },
            no_new_privs: field(text, "NoNewPrivs").map(|value| value != "0"),
            seccomp: seccomp(text),
        })
    }
}

fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(value.trim())
}

fn ids(value: &str) -> Option<Ids> {
    let mut numbers = value.split_ascii_whitespace().map(|n| n.parse().ok());
    let mut next = || numbers.next().flatten();
    Some(Ids {
        real: next()?,
        effective: next()?,
        saved: next()?,
        fs: next()?,
    })
}

fn seccomp(text: &str) -> Option<Seccomp> {
    match field(text, "Seccomp")? {
        "0" => Some(Seccomp::Off),
        "1" => Some(Seccomp::Strict),
        "2" => {
            let filters = field(text, "Seccomp_filters");
            Some(Seccomp::Filter(filters.and_then(|n| n.parse().ok())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::texts::{KEEPER, LISTENER};
    use super::*;

    #[test]
    fn a_confined_process_is_read() {
        let status = Status::parse(LISTENER).unwrap();
        assert_eq!(
            (status.name.as_str(), status.parent),
            ("knockd-listener", 812)
        );
        assert_eq!(status.threads, 1);
        assert!(!status.is_zombie);
        let rights = status.rights;
        assert_eq!(rights.user.only(), Some(998));
        assert_eq!(rights.group.only(), Some(997));
        assert_eq!(rights.groups, BTreeSet::new());
        assert!(rights.capabilities.held().is_empty());
        assert_eq!(rights.no_new_privs, Some(true));
        assert_eq!(rights.seccomp, Some(Seccomp::Filter(Some(1))));
    }

    #[test]
    fn the_four_numbers_of_an_account_can_differ() {
        let text = KEEPER.replace("Uid:\t0\t0\t0\t0", "Uid:\t1000\t0\t0\t0");
        let user = Status::parse(&text).unwrap().rights.user;
        assert_eq!(user.all(), [1000, 0, 0, 0]);
        assert_eq!(user.only(), None);
    }

    #[test]
    fn an_old_kernel_says_less() {
        let lacks = ["NoNewPrivs", "Seccomp", "CapAmb"];
        let lines = LISTENER
            .lines()
            .filter(|l| !lacks.iter().any(|key| l.starts_with(key)));
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        let rights = Status::parse(&text).unwrap().rights;
        assert_eq!((rights.no_new_privs, rights.seccomp), (None, None));
        assert!(rights.capabilities.ambient.is_empty());
        let text = LISTENER.replace("Seccomp_filters:\t1\n", "");
        let rights = Status::parse(&text).unwrap().rights;
        assert_eq!(rights.seccomp, Some(Seccomp::Filter(None)));
    }

    #[test]
    fn a_file_without_its_lines_is_none() {
        assert_eq!(Status::parse(""), None);
        assert_eq!(Status::parse(&KEEPER.replace("CapEff", "Cap")), None);
    }
}
