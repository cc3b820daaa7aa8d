//! What the firewalls of this machine are, as the programs that change them print it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use super::model::{Engine, Family, Table};
use super::{nft, xtables};
use crate::config_file;

/// Programs that print rulesets, those that change them, and the family.
const SAVERS: [(&str, &str, Family); 2] = [
    ("iptables", "iptables-legacy", Family::V4),
    ("ip6tables", "ip6tables-legacy", Family::V6),
];

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Rulesets {
    pub(super) tables: Vec<Table>,
    /// What could not be read, and why.
    pub(super) unread: Vec<String>,
}

/// Why a program told nothing.
enum Silence {
    /// It is not installed.
    Missing,
    Failed(String),
}

impl Rulesets {
    /// Of the network namespace of this thread.
    pub(super) fn read() -> Self {
        let mut found = Self::default();
        for (program, legacy, family) in SAVERS {
            found.xtables(program, legacy, family);
        }
        match run("nft", &["-j", "list", "ruleset"]) {
            Ok(text) => match nft::parse(&text) {
                Some(tables) => found.nft(tables),
                None => found.unread("nftables", "what nft -j prints is not understood"),
            },
            Err(Silence::Missing) => found.unread("nftables", "there is no program nft"),
            Err(Silence::Failed(reason)) => found.unread("nftables", &reason),
        }
        found
    }

    fn unread(&mut self, what: &str, reason: &str) {
        self.unread.push(format!("{what}: {reason}"));
    }

    /// The tables of `program`, and those of the older kind if `program` is of the newer one.
    fn xtables(&mut self, program: &str, legacy: &str, family: Family) {
        let mut is_legacy = false;
        match run(&format!("{program}-save"), &[]) {
            Ok(text) => {
                is_legacy = !text.contains("nf_tables") && !text.trim().is_empty();
                self.tables.extend(xtables::parse(&text, program, family));
            }
            // Then nft may know all that there is.
            Err(Silence::Missing) => {}
            Err(Silence::Failed(reason)) => self.unread(program, &reason),
        }
        if is_legacy || !has_legacy(family) {
            return;
        }
        match run(&format!("{legacy}-save"), &[]) {
            Ok(text) => self.tables.extend(xtables::parse(&text, legacy, family)),
            Err(Silence::Missing) => {
                self.unread(
                    legacy,
                    "it has tables, but there is no program to list them",
                );
            }
            Err(Silence::Failed(reason)) => self.unread(legacy, &reason),
        }
    }

    /// Those that iptables has told of already say more in its own words.
    fn nft(&mut self, tables: Vec<Table>) {
        let known = |table: &Table| {
            self.tables.iter().any(|other| {
                let by_nft = matches!(&other.engine, Engine::Xtables(program)
                    if !program.ends_with("-legacy"));
                by_nft && other.family == table.family && other.name == table.name
            })
        };
        let new: Vec<_> = tables.into_iter().filter(|table| !known(table)).collect();
        self.tables.extend(new);
    }
}

/// Whether the older kind of iptables has tables here; asking its own program could make some.
fn has_legacy(family: Family) -> bool {
    let file = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    fs::read_to_string(Path::new(file)).is_ok_and(|names| !names.trim().is_empty())
}

/// What a program prints; it lists and changes nothing.
fn run(program: &str, arguments: &[&str]) -> Result<String, Silence> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        // An account's own path often lacks the administrator's programs.
        .env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => Silence::Missing,
            _ => Silence::Failed(config_file::reason(&error)),
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let first = errors.lines().find(|line| !line.trim().is_empty());
    let first = first.unwrap_or("it says nothing of why").escape_debug();
    Err(Silence::Failed(format!("{program} fails: {first}")))
}
