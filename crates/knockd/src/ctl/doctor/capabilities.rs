//! Sets of capabilities, as `/proc/PID/status` has them: a bit for each, in hexadecimal.

use serde::{Serialize, Serializer};

/// `include/uapi/linux/capability.h`, in its order: the place is the number.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// A set that lacks no more than this many is told by what it lacks.
const FEW: u32 = 5;

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Capabilities(u64);

impl Capabilities {
    pub(super) const NONE: Self = Self(0);

    /// The digits of a line such as `CapEff`.
    pub(super) fn parse(digits: &str) -> Option<Self> {
        u64::from_str_radix(digits, 16).ok().map(Self)
    }

    /// All that the kernel knows, from the text of `/proc/sys/kernel/cap_last_cap`. Where that
    /// cannot be read, those that have a name here.
    pub(super) fn all(last: &str) -> Self {
        let last: u32 = last.trim().parse().unwrap_or(40);
        Self(u64::MAX >> 63_u32.saturating_sub(last))
    }

    pub(super) fn is_empty(self) -> bool {
        self == Self::NONE
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// In the order of their numbers; one without a name here has its number.
    pub(super) fn names(self) -> Vec<String> {
        let held = (0..u64::BITS).filter(|number| self.0 >> number & 1 == 1);
        let name = |number: u32| {
            let known = usize::try_from(number).ok().and_then(|at| NAMES.get(at));
            known.map_or_else(|| format!("CAP_{number}"), |name| (*name).to_owned())
        };
        held.map(name).collect()
    }

    /// Whether it is told by what it lacks.
    pub(super) fn is_most_of(self, all: Self) -> bool {
        self.0.count_ones() > FEW && all.without(self).0.count_ones() <= FEW
    }

    /// For a person: `none`, `all`, `all but …`, or the names.
    pub(super) fn describe(self, all: Self) -> String {
        let lacking = all.without(self);
        if self.is_empty() {
            return "none".to_owned();
        }
        if !self.is_most_of(all) {
            return self.names().join(" ");
        }
        if lacking.is_empty() {
            return "all".to_owned();
        }
        format!("all but {}", lacking.names().join(" "))
    }
}

/// As a list of names.
impl Serialize for Capabilities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.names().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(digits: &str) -> String {
        let all = Capabilities::all("40\n");
        Capabilities::parse(digits).unwrap().describe(all)
    }

    #[test]
    fn a_set_is_told_by_names_or_by_what_it_lacks() {
        assert_eq!(describe("0000000000000000"), "none");
        assert_eq!(describe("000001ffffffffff"), "all");
        assert_eq!(describe("000001fffeffffff"), "all but CAP_SYS_RESOURCE");
        assert_eq!(describe("0000000000003000"), "CAP_NET_ADMIN CAP_NET_RAW");
        assert_eq!(
            describe("0000010000000001"),
            "CAP_CHOWN CAP_CHECKPOINT_RESTORE"
        );
    }

    #[test]
    fn a_capability_of_a_newer_kernel_has_its_number() {
        assert_eq!(describe("0000020000000000"), "CAP_41");
    }

    #[test]
    fn all_is_what_the_kernel_knows() {
        let old = Capabilities::all("37");
        assert_eq!(Capabilities::parse("3fffffffff").unwrap(), old);
        assert_eq!(old.describe(old), "all");
        assert_eq!(Capabilities::all(""), Capabilities::all("40"));
        assert_eq!(Capabilities::all("63").names().len(), 64);
        assert_eq!(Capabilities::all("4000000000").names().len(), 64);
    }

    #[test]
    fn what_is_no_number_is_no_set() {
        assert_eq!(Capabilities::parse("all"), None);
    }
}
