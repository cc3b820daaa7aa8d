//! The text of `/proc/PID/limits` (proc(5)).

use std::fmt;

use serde::{Serialize, Serializer};

/// One of the limits of setrlimit(2); [`None`] is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Limit {
    pub(super) soft: Option<u64>,
    /// How far the process may raise it.
    pub(super) hard: Option<u64>,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |n| n.to_string());
        f.write_str(&text(self.soft))?;
        if self.soft != self.hard {
            write!(f, " (may raise it: {})", text(self.hard))?;
        }
        Ok(())
    }
}

/// The limits that matter here, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits(pub(super) [(Resource, Limit); 5]);

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Files,
    Processes,
    Core,
    FileSize,
    AddressSpace,
}

impl Resource {
    const ALL: [Self; 5] = [
        Self::Files,
        Self::Processes,
        Self::Core,
        Self::FileSize,
        Self::AddressSpace,
    ];

    /// As the file has it, before the values.
    fn key(self) -> &'static str {
        match self {
            Self::Files => "Max open files",
            Self::Processes => "Max processes",
            Self::Core => "Max core file size",
            Self::FileSize => "Max file size",
            Self::AddressSpace => "Max address space",
        }
    }

    /// For a person.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Files => "open files",
            Self::Processes => "processes",
            Self::Core => "core file",
            Self::FileSize => "file size",
            Self::AddressSpace => "address space",
        }
    }
}

impl Limits {
    /// Nothing if a line is missing.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut found = Vec::new();
        for resource in Resource::ALL {
            found.push((resource, limit(text, resource.key())?));
        }
        found.try_into().ok().map(Self)
    }
}

/// As an object: the name of each, in lower case with underscores, and both its values.
impl Serialize for Limits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry =
            |(resource, limit): (Resource, Limit)| (resource.name().replace(' ', "_"), limit);
        serializer.collect_map(self.0.map(entry))
    }
}

fn limit(text: &str, key: &str) -> Option<Limit> {
    let values = text.lines().find_map(|line| line.strip_prefix(key))?;
    let mut values = values.split_ascii_whitespace();
    let mut next = || match values.next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    };
    Some(Limit {
        soft: next()?,
        hard: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::texts::LIMITS;
    use super::*;

    #[test]
    fn a_file_without_its_lines_is_none() {
        assert_eq!(Limits::parse(""), None);
        assert_eq!(Limits::parse(&LIMITS.replace("Max processes", "Max")), None);
    }

    #[test]
    fn limits_are_read() {
        let limits = Limits::parse(LIMITS).unwrap();
        let texts = limits
            .0
            .map(|(resource, limit)| format!("{}: {limit}", resource.name()));
        let expected = [
            "open files: 16",
            "processes: 0",
            "core file: 0",
            "file size: 0",
            "address space: unlimited",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn a_limit_that_can_be_raised_says_how_far() {
        let raised = LIMITS.replace(
            "Max open files            16                   16 ",
            "Max open files            1024                 unlimited ",
        );
        let (_, limit) = Limits::parse(&raised).unwrap().0[0];
        assert_eq!(limit.to_string(), "1024 (may raise it: unlimited)");
    }
}
