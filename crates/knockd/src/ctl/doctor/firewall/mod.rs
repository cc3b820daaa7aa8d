//! Whether the administrator's own firewall drops what the gate has let in, and the one line that
//! admits it.
//!
//! The gate guards ports for those who did not knock; it cannot overrule a firewall behind it that
//! drops by default. So it marks granted connections with [`MARK`], for a rule to ask for. This
//! module reads the rulesets of this machine (nftables, both kinds of iptables, and so firewalld and
//! ufw), follows a granted connection through them, and tells where it ends. It changes nothing.
//!
//! Promises: it says that something is dropped, or that nothing is, only if it follows from rules
//! that it understands; all else is `unknown`, with the rule. The connection that it follows comes
//! from an address that no list of the firewall has. Not followed: bridges, devices (`netdev`),
//! and translation of destinations.

mod advice;
mod judge;
mod model;
mod nft;
mod packet;
mod read;
#[cfg(test)]
mod tests;
mod walk;
mod xtables;

use std::fmt;
use std::net::IpAddr;

use knock_core::door::Door;
use knock_core::target::Target;
use nix::ifaddrs::getifaddrs;
use serde::Serialize;

use super::print::level;
use super::verdict::Level;
use crate::gate::MARK;
use judge::Wanted;
use read::Rulesets;

/// What is known of the firewall.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Look {
    verdicts: Vec<Verdict>,
}

/// One sentence about a firewall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    level: Level,
    text: String,
    /// What to run, exactly.
    line: Option<String>,
    /// What else to do, or why.
    help: Option<String>,
}

/// Looks at the firewalls of this thread's network namespace, for what `doors` open to those who
/// knock at `interfaces` (none for any). `None` if no door opens anything by itself.
#[must_use]
pub fn look(doors: &[Door], interfaces: &[String]) -> Option<Look> {
    let wanted = Wanted::of(doors, interfaces, &local_addresses())?;
    Some(Look::of(&Rulesets::read(), &wanted))
}

impl Look {
    fn of(rulesets: &Rulesets, wanted: &Wanted) -> Self {
        let mut verdicts = judge::judge(&rulesets.tables, wanted);
        let unread = rulesets.unread.iter().map(|what| Verdict {
            level: Level::Unknown,
            text: format!("cannot be read: {what}"),
            line: None,
            help: Some("run this as root, with nft and iptables installed".to_owned()),
        });
        if !rulesets.unread.is_empty() {
            // Half of a firewall lets nothing through for certain.
            verdicts.retain(|verdict| verdict.level != Level::Ok);
        }
        verdicts.extend(unread);
        Self { verdicts }
    }

    /// There is no configuration that somebody named.
    pub(super) fn skipped(text: String) -> Self {
        let help = "say with -c which file has the doors";
        Self::only(Level::Note, text, help)
    }

    /// The configuration cannot be read.
    pub(super) fn unread(text: String) -> Self {
        Self::only(Level::Unknown, text, "see knockctl check")
    }

    fn only(level: Level, text: String, help: &str) -> Self {
        let verdict = Verdict {
            level,
            text,
            line: None,
            help: Some(help.to_owned()),
        };
        Self {
            verdicts: vec![verdict],
        }
    }

    /// Whether nothing is amiss or unknown.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let is_well = |verdict: &Verdict| matches!(verdict.level, Level::Ok | Level::Note);
        self.verdicts.iter().all(is_well)
    }

    /// The lines to run, exactly.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        let lines = self.verdicts.iter();
        lines.filter_map(|verdict| verdict.line.as_deref())
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for verdict in &self.verdicts {
            let (style, word) = level(verdict.level);
            writeln!(f, "{style}{word:<8}{style:#}firewall: {}", verdict.text)?;
            let steps = verdict.line.iter().chain(&verdict.help);
            for (index, step) in steps.enumerate() {
                let arrow = if index == 0 { "=>" } else { "  " };
                writeln!(f, "        {arrow} {step}")?;
            }
        }
        Ok(())
    }
}

/// Those that a stranger may connect to: none of the loopback interface, and none that only the
/// neighbours reach.
fn local_addresses() -> Vec<Target> {
    let Ok(all) = getifaddrs() else {
        return Vec::new();
    };
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let storage = interface.address?;
        let v4 = storage.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        let v6 = storage.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip()));
        v4.or(v6)
    };
    let is_public = |address: &IpAddr| match address {
        IpAddr::V4(a) => !a.is_loopback() && !a.is_link_local(),
        IpAddr::V6(a) => !a.is_loopback() && !a.is_unicast_link_local(),
    };
    let all = all.filter_map(address).filter(is_public);
    all.map(Target::host).collect()
}
