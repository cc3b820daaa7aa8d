//! The one line that admits what was granted, in the language of the firewall that drops it.
//!
//! Wherever a firewall can ask for the mark of a connection, the line asks for that and for nothing
//! else: it admits nobody while there is no gate, it is the same for every door, and as the mark
//! stays on the connection, it admits what follows the first packet, too. firewalld cannot ask for
//! it, and what `nft` or direct rules add is either gone after its next reload or does not outweigh
//! its reject (firewalld.direct(5), "Packet accept/drop precedence"); there the port is opened, and
//! the gate alone keeps it shut.

use knock_core::service::Service;

use super::model::{Engine, Family, Hook, Table};
use super::walk::Place;
use crate::gate::MARK;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advice {
    /// A command for the shell; `None` if no line helps.
    pub(super) line: Option<String>,
    /// How it lasts, or what else to do.
    pub(super) help: String,
}

/// Who wrote a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Firewalld,
    Ufw,
    /// The administrator.
    Own,
}

impl Owner {
    pub(super) fn of(table: &Table) -> Self {
        let has = |name| table.chain(name).is_some();
        let is_xtables = matches!(table.engine, Engine::Xtables(_));
        if table.name == "firewalld" || (has("INPUT_ZONES") && has("INPUT_direct")) {
            return Self::Firewalld;
        }
        if is_xtables && (has("ufw-before-input") || has("ufw6-before-input")) {
            return Self::Ufw;
        }
        Self::Own
    }
}

/// Where packets are dropped, and which.
pub(super) struct Loss<'a> {
    pub(super) table: &'a Table,
    pub(super) hook: Hook,
    pub(super) place: &'a Place,
    pub(super) services: &'a [Service],
    pub(super) families: &'a [Family],
}

impl Loss<'_> {
    /// The chain that the kernel enters.
    fn chain(&self) -> &str {
        self.place.chains.first().map_or("", String::as_str)
    }

    /// Names the place for a person.
    pub(super) fn describe(&self) -> String {
        let (table, chain) = (self.table, self.chain());
        match (Owner::of(table), &table.engine) {
            (Owner::Firewalld, _) => match self.zone() {
                Some(zone) => format!("firewalld, zone {zone},"),
                None => format!("firewalld, chain {chain},"),
            },
            (Owner::Ufw, Engine::Xtables(program)) => format!("ufw, {program} {chain},"),
            (_, Engine::Xtables(program)) if table.name == "filter" => {
                format!("{program} {chain}")
            }
            (_, Engine::Xtables(program)) => format!("{program} -t {} {chain}", table.name),
            (_, Engine::Nft) => format!("nft {} {} {chain}", table.family, table.name),
        }
    }

    /// What drops.
    pub(super) fn rule(&self) -> &str {
        self.place.rule.as_deref().unwrap_or("policy drop")
    }

    /// firewalld names its chains after zones: `filter_IN_public_allow`, or `IN_public` of its older
    /// backend.
    pub(super) fn zone(&self) -> Option<&str> {
        let mut chains = self.place.chains.iter();
        chains.find_map(|name| {
            let name = name.strip_prefix("filter_").unwrap_or(name);
            let zone = name.strip_prefix("IN_")?;
            (!zone.starts_with("policy_")).then_some(zone)
        })
    }

    pub(super) fn advice(&self) -> Advice {
        match Owner::of(self.table) {
            Owner::Firewalld => self.firewalld(),
            Owner::Ufw => self.ufw(),
            Owner::Own => match &self.table.engine {
                Engine::Nft => self.nft(),
                Engine::Xtables(program) => self.iptables(program),
            },
        }
    }

    fn nft(&self) -> Advice {
        let (family, table, chain) = (self.table.family, &self.table.name, self.chain());
        if !is_plain(table) || !is_plain(chain) {
            return Advice {
                line: None,
                help: format!("accept `{}` first in this chain", nft_match()),
            };
        }
        Advice {
            line: Some(format!(
                "nft insert rule {family} {table} {chain} {} accept",
                nft_match()
            )),
            help: "so that it lasts, put `".to_owned()
                + &nft_match()
                + " accept` first in this chain where it is made, such as /etc/nftables.conf",
        }
    }

    fn iptables(&self, program: &str) -> Advice {
        let table = match self.table.name.as_str() {
            "filter" => String::new(),
            other => format!("-t {other} "),
        };
        // Docker puts its rules before all others again and again, but never before these.
        let chain = match self.chain() {
            "FORWARD" if self.table.chain("DOCKER-USER").is_some() => "DOCKER-USER",
            chain => chain,
        };
        Advice {
            line: Some(format!("{program} {table}-I {chain} {}", xtables_rule())),
            help: "so that it lasts, save the rules: netfilter-persistent save, or as your \
                   system does it"
                .to_owned(),
        }
    }

    /// In `before.rules`, which ufw loads before the rules that its commands make: those know
    /// ports and addresses, but no marks.
    fn ufw(&self) -> Advice {
        let (six, file) = match self.table.family {
            "ip6" => ("6", "before6.rules"),
            _ => ("", "before.rules"),
        };
        let way = match self.hook {
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Prerouting | Hook::Postrouting => return self.no_line(),
        };
        Advice {
            line: Some(format!(
                "sed -i '/^# End required lines/a -A ufw{six}-before-{way} {}' /etc/ufw/{file} \
                 && ufw reload",
                xtables_rule()
            )),
            help: "it lasts, and admits nobody without a grant".to_owned(),
        }
    }

    fn firewalld(&self) -> Advice {
        let refuses = ["_deny", "_pre"];
        let is_refused = self
            .place
            .chains
            .iter()
            .any(|name| refuses.iter().any(|end| name.ends_with(end)) && name.contains("IN_"));
        if is_refused && self.place.rule.is_some() {
            return Advice {
                line: None,
                help: "a rule of yours refuses it, and no other outweighs that: take it away; \
                       firewall-cmd --list-all-zones shows it"
                    .to_owned(),
            };
        }
        let but = "firewalld cannot ask for the mark, so the gate alone keeps the port shut: \
                   close it here before you take the gate down";
        match self.hook {
            Hook::Input => {
                let zone = self.zone().map(|zone| format!("--zone={zone} "));
                let zone = zone.unwrap_or_default();
                Advice {
                    line: Some(self.commands(&format!("firewall-cmd {zone}"), &[])),
                    help: format!("so that it lasts, the same with --permanent; {but}"),
                }
            }
            Hook::Forward => {
                let zones = ["--add-ingress-zone=ANY", "--add-egress-zone=ANY"];
                let commands = self.commands("firewall-cmd --permanent --policy=postern ", &zones);
                Advice {
                    line: Some(format!(
                        "firewall-cmd --permanent --new-policy=postern; {commands} && \
                         firewall-cmd --reload"
                    )),
                    help: format!("it lasts; {but}"),
                }
            }
            Hook::Prerouting | Hook::Output | Hook::Postrouting => self.no_line(),
        }
    }

    /// Those that open all services: firewall-cmd takes several options of one kind, but not of
    /// two.
    fn commands(&self, command: &str, first: &[&str]) -> String {
        let mut kinds: Vec<String> = first.iter().map(|&option| option.to_owned()).collect();
        let mut ports = Vec::new();
        let mut protocols = Vec::new();
        for service in self.services {
            match service {
                Service::Tcp(these) => ports.push(format!("--add-port={these}/tcp")),
                Service::Udp(these) => ports.push(format!("--add-port={these}/udp")),
                Service::Icmp => protocols.extend(self.families.iter().map(|f| match f {
                    Family::V4 => "--add-protocol=icmp".to_owned(),
                    Family::V6 => "--add-protocol=ipv6-icmp".to_owned(),
                })),
            }
        }
        let lists = [ports, protocols];
        kinds.extend(lists.iter().filter(|l| !l.is_empty()).map(|l| l.join(" ")));
        let commands = kinds.iter().map(|options| format!("{command}{options}"));
        commands.collect::<Vec<_>>().join(" && ")
    }

    /// Where these programs have no place for a rule.
    fn no_line(&self) -> Advice {
        Advice {
            line: None,
            help: format!("see to it that chain {} lets it through", self.chain()),
        }
    }
}

/// What a name may be without quotes, in the shell and for nft (`string` of its `scanner.l`).
fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

fn nft_match() -> String {
    format!("ct mark and {MARK:#x} == {MARK:#x}")
}

fn xtables_rule() -> String {
    format!("-m connmark --mark {MARK:#x}/{MARK:#x} -j ACCEPT")
}
