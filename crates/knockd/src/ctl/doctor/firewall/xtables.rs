//! Reads what `iptables-save` and its kin print (iptables(8), iptables-extensions(8)).

use knock_core::target::Target;

use super::MARK;
use super::model::{
    Answer, Base, Chain, Engine, Family, Field, Hook, Item, Rule, Table, Test, Verdict, icmp_type,
    kind, protocol, state, tcp_flag,
};

/// What iptables-nft says of a table that only nft can show; it prints an empty one then.
const INCOMPATIBLE: &str = "incompatible";

/// Targets that let a packet go on to the next rule (iptables-extensions(8)).
const GO_ON: [&str; 24] = [
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CONNMARK",
    "CONNSECMARK",
    "CT",
    "DSCP",
    "ECN",
    "HL",
    "HMARK",
    "IDLETIMER",
    "LED",
    "LOG",
    "MARK",
    "NFLOG",
    "NOTRACK",
    "RATEEST",
    "SECMARK",
    "SET",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TEE",
    "TOS",
    "TTL",
];

/// Matches that ask only what their options say.
const MODULES: [&str; 24] = [
    "addrtype",
    "comment",
    "connlimit",
    "connmark",
    "conntrack",
    "hashlimit",
    "hl",
    "icmp",
    "icmp6",
    "iprange",
    "limit",
    "mark",
    "multiport",
    "pkttype",
    "recent",
    "rpfilter",
    "rt",
    "sctp",
    "set",
    "state",
    "tcp",
    "tcpmss",
    "ttl",
    "udp",
];

/// The tables of one program's output. `program` is what changes them, such as `iptables`.
pub(super) fn parse(text: &str, program: &str, family: Family) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut incompatible = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# Table `") {
            let name = comment.split('\'').next().unwrap_or_default();
            if comment.contains(INCOMPATIBLE) {
                incompatible.push(name.to_owned());
            }
        } else if let Some(name) = line.strip_prefix('*') {
            tables.push(Table {
                engine: Engine::Xtables(program.to_owned()),
                family: match family {
                    Family::V4 => "ip",
                    Family::V6 => "ip6",
                },
                name: name.trim().to_owned(),
                chains: Vec::new(),
            });
        } else if let Some(table) = tables.last_mut() {
            if let Some(chain) = line.strip_prefix(':') {
                table.chains.extend(self::chain(chain, &table.name));
            } else if line.starts_with("-A ") {
                rule(line, family, table);
            }
        }
    }
    tables.retain(|table| !incompatible.contains(&table.name));
    tables
}

/// `INPUT DROP [0:0]`, or `mine - [0:0]`.
fn chain(line: &str, table: &str) -> Option<Chain> {
    let mut words = line.split_whitespace();
    let (name, policy) = (words.next()?, words.next()?);
    let hook = match name {
        "PREROUTING" => Some(Hook::Prerouting),
        "INPUT" => Some(Hook::Input),
        "FORWARD" => Some(Hook::Forward),
        "OUTPUT" => Some(Hook::Output),
        "POSTROUTING" => Some(Hook::Postrouting),
        _ => None,
    };
    // `enum nf_ip_hook_priorities` of linux/netfilter_ipv4.h.
    let priority = match table {
        "raw" => Some(-300),
        "mangle" => Some(-150),
        "security" => Some(50),
        "nat" => None,
        _ => Some(0),
    };
    let base = hook.zip(priority).filter(|_| policy != "-");
    Some(Chain {
        name: name.to_owned(),
        base: base.map(|(hook, priority)| Base {
            hook,
            priority,
            drops: policy == "DROP",
        }),
        rules: Vec::new(),
    })
}

fn rule(line: &str, family: Family, table: &mut Table) {
    let words = words(line);
    let mut words = words.iter().map(String::as_str).peekable();
    words.next();
    let Some(name) = words.next() else {
        return;
    };
    let mut tests = Vec::new();
    let mut verdict = None;
    let mut negated = false;
    let mut modules = Vec::new();
    while let Some(option) = words.next() {
        if option == "!" {
            negated = true;
            continue;
        }
        // What follows a target is its own business.
        if let "-j" | "-g" = option {
            let target = words.next().unwrap_or_default();
            verdict = self::verdict(target, option == "-g", table);
            let rest: Vec<_> = words.collect();
            if target == "CONNMARK" && unmarks(&rest) {
                verdict = Some(Verdict::Unmark);
            }
            break;
        }
        let mut values = Vec::new();
        while let Some(value) = words.next_if(|word| !word.starts_with('-') && *word != "!") {
            values.push(value);
        }
        if option == "--comment" {
            // It may begin with a dash.
            words.next_if(|_| values.is_empty());
            continue;
        }
        if option == "-m" {
            let is_strange = values.iter().any(|module| !MODULES.contains(module));
            tests.extend(is_strange.then(|| Test::fixed(Answer::Unknown)));
            modules.extend(values);
            continue;
        }
        let tested = test(option, &values, &modules, family);
        tests.extend(tested.into_iter().map(|test| test.unless(negated)));
        negated = false;
    }
    let chain = table.chains.iter_mut().find(|chain| chain.name == name);
    if let (Some(chain), Some(verdict)) = (chain, verdict) {
        chain.rules.push(Rule {
            text: line.to_owned(),
            tests,
            verdict,
        });
    }
}

/// Whether these options of `CONNMARK` take the gate's bit out of the mark.
fn unmarks(options: &[&str]) -> bool {
    let value = |name: &str| {
        let mut options = options.iter().copied().skip_while(|option| *option != name);
        options.nth(1)
    };
    let bit = |number: Option<u64>| number.is_none_or(|number| number & u64::from(MARK) != 0);
    if let Some(set) = value("--set-xmark").or(value("--set-mark")) {
        // Bits of the mask are cleared, then those of the value flipped.
        let (value, mask) = set.split_once('/').unwrap_or((set, "0xffffffff"));
        return bit(number(mask)) && !number(value).is_some_and(|value| bit(Some(value)));
    }
    if options.contains(&"--save-mark") {
        return bit(value("--ctmask").and_then(number));
    }
    false
}

/// `None` if the packet goes on to the next rule whatever the tests say.
fn verdict(target: &str, goes: bool, table: &Table) -> Option<Verdict> {
    Some(match target {
        "ACCEPT" => Verdict::Accept,
        "DROP" | "REJECT" | "TARPIT" => Verdict::Drop,
        "RETURN" => Verdict::Return,
        other if table.chain(other).is_some() && goes => Verdict::Goto(other.to_owned()),
        other if table.chain(other).is_some() => Verdict::Jump(other.to_owned()),
        other if GO_ON.contains(&other) => return None,
        _ => Verdict::Unknown,
    })
}

/// What one option asks; nothing if it only belongs to another one.
fn test(option: &str, values: &[&str], modules: &[&str], family: Family) -> Option<Test> {
    let value = values.first().copied().unwrap_or_default();
    let list = |one: &dyn Fn(&str) -> Item| value.split(',').map(one).collect::<Vec<_>>();
    let named = |number: Option<u64>| number.map_or(Item::Unknown, Item::Number);
    let module = modules.last().copied().unwrap_or_default();
    Some(match (option, module) {
        ("-p", _) if value == "all" => return None,
        ("-p", _) => Test::is(Field::Protocol, vec![Item::Number(protocol::named(value))]),
        ("-s", _) => Test::is(Field::Source, list(&network)),
        ("-d", _) => Test::is(Field::Destination, list(&network)),
        ("-i", _) => Test::is(Field::InInterface, vec![interface(value)]),
        ("-o", _) => Test::is(Field::OutInterface, vec![interface(value)]),
        ("-f", _) => Test::fixed(Answer::No),
        ("--dport" | "--dports" | "--destination-port", _) => {
            Test::is(Field::DestinationPort, list(&ports))
        }
        ("--sport" | "--sports" | "--source-port", _) => Test::is(Field::SourcePort, list(&ports)),
        ("--ctstate" | "--state", _) => {
            let state = |name: &str| match name {
                // Not states, and not ours: see `Field::Translated`.
                "DNAT" | "SNAT" => Item::Number(u64::MAX),
                name => named(state::named(name)),
            };
            Test::is(Field::State, list(&state))
        }
        ("--ctdir", _) => Test::is(
            Field::Direction,
            vec![Item::Number((value != "ORIGINAL").into())],
        ),
        ("--mark", "connmark") => mark(value).unwrap_or_else(|| Test::fixed(Answer::Unknown)),
        ("--icmp-type", _) if value == "any" => return None,
        ("--icmp-type" | "--icmpv6-type", _) => {
            let kind = value.split('/').next().unwrap_or_default();
            Test::is(Field::IcmpType, vec![Item::Number(icmp_type(kind, family))])
        }
        ("--dst-type", _) => Test::is(
            Field::DestinationKind,
            list(&|name: &str| named(kind::named(name))),
        ),
        ("--src-type", _) => Test::is(
            Field::SourceKind,
            list(&|name: &str| named(kind::named(name))),
        ),
        ("--pkt-type", _) => {
            let name = if value == "unicast" { "local" } else { value };
            Test::is(Field::DestinationKind, vec![named(kind::named(name))])
        }
        ("--tcp-flags", _) => flags(values).unwrap_or_else(|| Test::fixed(Answer::Unknown)),
        ("--match-set", _) => match values.get(1) {
            // A stranger's address is in no set.
            Some(of) if of.contains("src") => Test::is(Field::Source, Vec::new()),
            _ => Test::fixed(Answer::Unknown),
        },
        // A single connection is below every limit, and on no list of those that came before.
        ("--connlimit-above" | "--hashlimit-above" | "--update" | "--rcheck", _) => {
            Test::fixed(Answer::No)
        }
        ("--connlimit-upto" | "--hashlimit-upto" | "--set", _) => Test::fixed(Answer::Yes),
        // It asks for packets that have no way back; without it, for those that have one.
        ("--invert", "rpfilter") => Test::fixed(Answer::No),
        ("--rt-type", _) => Test::fixed(Answer::No),
        ("--src-range", _) => Test::is(Field::Source, Vec::new()),
        (other, _) if is_detail(other, module) => return None,
        _ => Test::fixed(Answer::Unknown),
    })
}

/// Options that only say how another one of the same module is meant.
fn is_detail(option: &str, module: &str) -> bool {
    matches!(
        module,
        "limit" | "recent" | "connlimit" | "hashlimit" | "rpfilter"
    ) || option == "--limit-iface-in"
}

fn network(text: &str) -> Item {
    text.parse()
        .map_or(Item::Unknown, |network: Target| Item::Network(network))
}

fn interface(name: &str) -> Item {
    Item::Name(match name.strip_suffix('+') {
        Some(start) => format!("{start}*"),
        None => name.to_owned(),
    })
}

fn ports(text: &str) -> Item {
    let number = |text: &str| text.parse::<u64>().ok();
    let range = match text.split_once(':') {
        None => number(text).map(Item::Number),
        Some((first, last)) => number(first)
            .zip(number(last))
            .map(|(first, last)| Item::Range(first, last)),
    };
    range.unwrap_or(Item::Unknown)
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// `0x20000000/0x20000000`, or without a mask.
fn mark(text: &str) -> Option<Test> {
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (number(value)?, Some(number(mask)?)),
        None => (number(text)?, None),
    };
    Some(Test {
        mask,
        ..Test::is(Field::Mark, vec![Item::Number(value)])
    })
}

/// `FIN,SYN,RST,ACK SYN`: of the first flags, the second are set.
fn flags(values: &[&str]) -> Option<Test> {
    let bits = |names: &str| {
        let mut names = names.split(',').map(tcp_flag);
        names.try_fold(0, |all, bit| Some(all | bit?))
    };
    let [mask, set] = values else {
        return None;
    };
    Some(Test {
        mask: Some(bits(mask)?),
        ..Test::is(Field::TcpFlags, vec![Item::Number(bits(set)?)])
    })
}

/// The words of a line; those in quotes are one.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let (mut is_quoted, mut is_escaped) = (false, false);
    for c in line.chars() {
        if is_escaped {
            word.get_or_insert_default().push(c);
            is_escaped = false;
        } else if c == '\\' {
            is_escaped = true;
        } else if c == '"' {
            is_quoted = !is_quoted;
            word.get_or_insert_default();
        } else if c == ' ' && !is_quoted {
            words.extend(word.take());
        } else {
            word.get_or_insert_default().push(c);
        }
    }
    words.extend(word);
    words
}
