//! Reads what `nft -j list ruleset` prints (libnftables-json(5)).
//!
//! What is not understood becomes an unknown answer or an unknown verdict, never an error: it is
//! then told as such, and only if a packet gets there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use knock_core::target::Target;
use serde_json::Value;

use super::model::{
    Answer, Base, Chain, Engine, Family, Field, Hook, Item, Op, Rule, Table, Test, Verdict,
    icmp_type, kind, protocol, state, tcp_flag,
};
use crate::gate::MARK;

/// The gate's own table, which is not judged.
const OURS: (&str, &str) = ("inet", "postern");

/// The families that an IP packet of ours passes.
const FAMILIES: [&str; 3] = ["inet", "ip", "ip6"];

/// The tables of a ruleset; `None` if it is no such text.
pub(super) fn parse(text: &str) -> Option<Vec<Table>> {
    let whole: Value = serde_json::from_str(text).ok()?;
    let objects = whole.get("nftables")?.as_array()?;
    let mut reader = Reader::default();
    for object in objects {
        reader.set(object);
    }
    for object in objects {
        reader.chain(object);
    }
    for object in objects {
        reader.rule(object);
    }
    Some(reader.tables)
}

#[derive(Default)]
struct Reader {
    tables: Vec<Table>,
    /// Named sets and maps, by family, table and name, with their elements.
    sets: BTreeMap<(String, String, String), Vec<Value>>,
}

/// Where rules stand.
struct Here<'a> {
    family: &'a str,
    table: &'a str,
    sets: &'a BTreeMap<(String, String, String), Vec<Value>>,
}

impl Reader {
    fn set(&mut self, object: &Value) {
        for kind in ["set", "map"] {
            if let Some(set) = object.get(kind) {
                let key = (text(set, "family"), text(set, "table"), text(set, "name"));
                let elements = set.get("elem").and_then(Value::as_array);
                self.sets.insert(key, elements.cloned().unwrap_or_default());
            }
        }
    }

    fn table(&mut self, object: &Value) -> Option<&mut Table> {
        let (family, name) = (text(object, "family"), text(object, "table"));
        let family = FAMILIES.into_iter().find(|known| **known == family)?;
        if (family, name.as_str()) == OURS {
            return None;
        }
        let is_it = |table: &Table| table.family == family && table.name == name;
        let index = match self.tables.iter().position(is_it) {
            Some(index) => index,
            None => {
                self.tables.push(Table {
                    engine: Engine::Nft,
                    family,
                    name,
                    chains: Vec::new(),
                });
                self.tables.len() - 1
            }
        };
        self.tables.get_mut(index)
    }

    fn chain(&mut self, object: &Value) {
        let Some(chain) = object.get("chain") else {
            return;
        };
        let new = Chain {
            name: text(chain, "name"),
            base: base(chain),
            rules: Vec::new(),
        };
        if let Some(table) = self.table(chain) {
            table.chains.push(new);
        }
    }

    fn rule(&mut self, object: &Value) {
        let Some(rule) = object.get("rule") else {
            return;
        };
        let name = text(rule, "chain");
        let rules = Here {
            family: &text(rule, "family"),
            table: &text(rule, "table"),
            sets: &self.sets,
        }
        .rules(rule);
        let chain = self
            .table(rule)
            .and_then(|table| table.chains.iter_mut().find(|chain| chain.name == name));
        if let Some(chain) = chain {
            chain.rules.extend(rules);
        }
    }
}

fn text(object: &Value, key: &str) -> String {
    let text = object.get(key).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// Only chains that filter: those that translate see the first packet of a connection only.
fn base(chain: &Value) -> Option<Base> {
    if text(chain, "type") != "filter" {
        return None;
    }
    let hook = match text(chain, "hook").as_str() {
        "prerouting" => Hook::Prerouting,
        "input" => Hook::Input,
        "forward" => Hook::Forward,
        "output" => Hook::Output,
        "postrouting" => Hook::Postrouting,
        _ => return None,
    };
    Some(Base {
        hook,
        priority: chain.get("prio").and_then(Value::as_i64).unwrap_or(0),
        drops: text(chain, "policy") == "drop",
    })
}

impl Here<'_> {
    /// One for a rule with a verdict, one for each branch of a verdict map.
    fn rules(&self, rule: &Value) -> Vec<Rule> {
        let mut rules = Vec::new();
        let mut tests = Vec::new();
        let handle = rule.get("handle").and_then(Value::as_u64).unwrap_or(0);
        let chain = text(rule, "chain");
        let comment = rule.get("comment").and_then(Value::as_str);
        let comment = comment.map(|c| format!(" ({})", c.escape_debug()));
        let comment = comment.unwrap_or_default();
        let mut push = |tests: &[Test], (verdict, word): (Verdict, &str)| {
            rules.push(Rule {
                text: format!("{word}, handle {handle} of chain {chain}{comment}"),
                tests: tests.to_vec(),
                verdict,
            });
        };
        let statements = rule.get("expr").and_then(Value::as_array);
        for statement in statements.into_iter().flatten() {
            let Some((key, body)) = statement.as_object().and_then(|o| o.iter().next()) else {
                // Newer versions write some of them as plain words.
                tests.push(Test::fixed(Answer::Unknown));
                continue;
            };
            if let Some(verdict) = verdict(key, body) {
                push(&tests, verdict);
                continue;
            }
            match key.as_str() {
                "match" => tests.extend(self.compared(body)),
                "vmap" => {
                    for (branch, verdict) in self.branches(body) {
                        push(&[tests.as_slice(), &branch].concat(), verdict);
                    }
                }
                "limit" | "ct count" | "quota" => tests.extend(over(body)),
                "set" | "meter" => {
                    let inner = body.get("stmt");
                    let inner =
                        inner.and_then(|s| s.as_array().and_then(|a| a.first()).or(Some(s)));
                    let limit = inner.and_then(|s| s.as_object()?.values().next());
                    tests.extend(limit.and_then(over));
                }
                // A target of iptables; what it is cannot be seen here.
                "xt" if text(body, "type") == "target" => {
                    push(&tests, (Verdict::Unknown, "a target of iptables"));
                }
                "mangle" if unmarks(body) => push(&tests, (Verdict::Unmark, "a new ct mark")),
                "xt" => tests.push(Test::fixed(Answer::Unknown)),
                // Everything else goes on with the next statement: counter, log, notrack …
                _ => {}
            }
        }
        rules
    }

    fn compared(&self, body: &Value) -> Vec<Test> {
        let (Some(left), Some(right)) = (body.get("left"), body.get("right")) else {
            return vec![Test::fixed(Answer::Unknown)];
        };
        let op = match text(body, "op").as_str() {
            "==" | "in" => Op::Eq,
            "!=" => Op::Ne,
            "<" => Op::Lt,
            "<=" => Op::Le,
            ">" => Op::Gt,
            ">=" => Op::Ge,
            _ => return vec![Test::fixed(Answer::Unknown)],
        };
        // `in` means one of them, `==` all of them at once.
        let joined = right.as_array().filter(|_| text(body, "op") != "in");
        let joined = joined.map(|list| serde_json::json!({ "|": list }));
        let mut tests = self.asked(left, joined.as_ref().unwrap_or(right));
        if let Some(test) = tests.last_mut() {
            test.op = op;
        }
        tests
    }

    /// That `left` is what `right` says. The tests before the last are what it stands on, such as
    /// the protocol.
    fn asked(&self, left: &Value, right: &Value) -> Vec<Test> {
        let (left, mask) = match left.get("&").and_then(Value::as_array).map(Vec::as_slice) {
            Some([left, mask]) => (left, Some(mask)),
            _ => (left, None),
        };
        let (mut tests, named) = field(left);
        let mask = match mask {
            Some(mask) => match named.number(mask) {
                Some(mask) => Some(mask),
                None => return vec![Test::fixed(Answer::Unknown)],
            },
            None => None,
        };
        let mut items = Vec::new();
        self.items(&named, right, &mut items);
        tests.push(Test {
            mask,
            ..Test::is(named.field, items)
        });
        tests
    }

    fn items(&self, named: &Named, right: &Value, items: &mut Vec<Item>) {
        if let Some(set) = right.get("set") {
            return self.items(named, set, items);
        }
        if let Some(list) = right.as_array() {
            return list.iter().for_each(|one| self.items(named, one, items));
        }
        if let Some(name) = right.as_str().and_then(|name| name.strip_prefix('@')) {
            return match self.elements(name) {
                Some(list) => list
                    .iter()
                    .for_each(|one| items.push(named.item(key_of(one)))),
                None => items.push(Item::Unknown),
            };
        }
        items.push(named.item(right));
    }

    fn elements(&self, name: &str) -> Option<&Vec<Value>> {
        let key = (
            self.family.to_owned(),
            self.table.to_owned(),
            name.to_owned(),
        );
        self.sets.get(&key)
    }

    /// The branches of a verdict map; their keys exclude each other.
    fn branches(&self, body: &Value) -> Vec<(Vec<Test>, (Verdict, &'static str))> {
        let unknown = || {
            let test = Test::fixed(Answer::Unknown);
            vec![(vec![test], (Verdict::Unknown, "a map"))]
        };
        let (Some(key), Some(data)) = (body.get("key"), body.get("data")) else {
            return unknown();
        };
        let named = data.as_str().and_then(|name| name.strip_prefix('@'));
        let pairs = match named {
            Some(name) => self.elements(name),
            None => data.get("set").and_then(Value::as_array),
        };
        let Some(pairs) = pairs else {
            return unknown();
        };
        let branch = |pair: &Value| {
            let [value, then] = pair.as_array()?.as_slice() else {
                return None;
            };
            let (word, body) = then.as_object()?.iter().next()?;
            Some((self.asked(key, key_of(value)), verdict(word, body)?))
        };
        // What stands for all other keys comes last.
        let (others, keys): (Vec<_>, Vec<_>) = pairs.iter().partition(|pair| {
            let key = pair.as_array().and_then(|pair| pair.first());
            key.is_some_and(|key| key_of(key) == "*")
        });
        let branches = keys.into_iter().filter_map(branch);
        let others = others.into_iter().filter_map(|pair| {
            let (word, body) = pair.get(1)?.as_object()?.iter().next()?;
            Some((Vec::new(), verdict(word, body)?))
        });
        branches.chain(others).collect()
    }
}

/// An element may have a time-out, a counter or a comment.
fn key_of(element: &Value) -> &Value {
    let inner = element.get("elem").and_then(|inner| inner.get("val"));
    inner.unwrap_or(element)
}

fn verdict(key: &str, body: &Value) -> Option<(Verdict, &'static str)> {
    let target = || text(body, "target");
    Some(match key {
        "accept" => (Verdict::Accept, "accept"),
        "drop" => (Verdict::Drop, "drop"),
        "reject" => (Verdict::Drop, "reject"),
        "return" => (Verdict::Return, "return"),
        "jump" => (Verdict::Jump(target()), "jump"),
        "goto" => (Verdict::Goto(target()), "goto"),
        "queue" => (Verdict::Unknown, "queue"),
        "synproxy" => (Verdict::Unknown, "synproxy"),
        "tproxy" => (Verdict::Unknown, "tproxy"),
        _ => return None,
    })
}

/// Whether a statement that changes something takes the gate's bit out of the mark.
fn unmarks(body: &Value) -> bool {
    let (Some(key), Some(value)) = (body.get("key"), body.get("value")) else {
        return false;
    };
    is_mark(key) && !has_bit(value)
}

fn is_mark(value: &Value) -> bool {
    value.get("ct").is_some_and(|ct| text(ct, "key") == "mark")
}

/// Whether this has the gate's bit if the mark had it: it is the mark, or made of it.
fn has_bit(value: &Value) -> bool {
    let parts = |operator| match value.get(operator)?.as_array()?.as_slice() {
        [left, right] => Some((has_bit(left), has_bit(right))),
        _ => None,
    };
    if let Some(number) = value.as_u64() {
        return number & u64::from(MARK) != 0;
    }
    is_mark(value)
        || parts("|").is_some_and(|(left, right)| left || right)
        || parts("&").is_some_and(|(left, right)| left && right)
        || parts("^").is_some_and(|(left, right)| left != right)
}

/// A single connection is below every limit.
fn over(body: &Value) -> Option<Test> {
    let is_over = body.get("inv").and_then(Value::as_bool) == Some(true);
    is_over.then(|| Test::fixed(Answer::No))
}

/// A field, and how its values are written.
struct Named {
    field: Field,
    words: Words,
}

/// What words mean in the values of a field.
#[derive(Clone, Copy)]
enum Words {
    None,
    Families,
    Protocols,
    IcmpTypes(Family),
    States,
    Translations,
    Directions,
    Flags,
    Kinds,
    Interfaces,
    Addresses,
}

/// The field that `left` names, and the tests that come with it.
fn field(left: &Value) -> (Vec<Test>, Named) {
    let named = |field, words| Named { field, words };
    let alone = |field, words| (Vec::new(), named(field, words));
    let unknown = || alone(Field::Unknown, Words::None);
    let Some((kind, body)) = left.as_object().and_then(|object| object.iter().next()) else {
        return unknown();
    };
    let key = text(body, "key");
    match (kind.as_str(), key.as_str()) {
        ("payload", _) => payload(body),
        ("meta", "nfproto") => alone(Field::Family, Words::Families),
        ("meta", "l4proto") => alone(Field::Protocol, Words::Protocols),
        ("meta", "iif" | "iifname") => alone(Field::InInterface, Words::Interfaces),
        ("meta", "oif" | "oifname") => alone(Field::OutInterface, Words::Interfaces),
        ("meta", "pkttype") => alone(Field::DestinationKind, Words::Kinds),
        ("ct", "state") => alone(Field::State, Words::States),
        ("ct", "status") => alone(Field::Translated, Words::Translations),
        ("ct", "direction") => alone(Field::Direction, Words::Directions),
        ("ct", "mark") => alone(Field::Mark, Words::None),
        ("fib", _) => alone(fib(body), Words::Kinds),
        // The routing header was taken away (RFC 5095); no client sends one.
        ("exthdr", _) => alone(Field::Fixed(Answer::No), Words::None),
        ("concat", _) => {
            let parts = body.as_array().map(Vec::as_slice).unwrap_or_default();
            let (tests, fields): (Vec<_>, Vec<_>) = parts.iter().map(field).unzip();
            let fields = fields.into_iter().map(|named| named.field).collect();
            (
                tests.concat(),
                named(Field::Concat(fields), Words::Addresses),
            )
        }
        _ => unknown(),
    }
}

/// A question about a header asks first whether there is such a header.
fn payload(body: &Value) -> (Vec<Test>, Named) {
    let is = |field, number| vec![Test::is(field, vec![Item::Number(number)])];
    let header = text(body, "protocol");
    let mut tests = match header.as_str() {
        "ip" => is(Field::Family, 4),
        "ip6" => is(Field::Family, 6),
        "tcp" | "udp" | "icmp" | "icmpv6" | "sctp" | "dccp" | "udplite" | "ah" | "esp" => {
            is(Field::Protocol, protocol::named(&header))
        }
        _ => Vec::new(),
    };
    let (field, words) = match (header.as_str(), text(body, "field").as_str()) {
        ("ip" | "ip6", "saddr") => (Field::Source, Words::Addresses),
        ("ip" | "ip6", "daddr") => (Field::Destination, Words::Addresses),
        ("ip", "protocol") | ("ip6", "nexthdr") => (Field::Protocol, Words::Protocols),
        ("tcp" | "udp" | "th", "dport") => (Field::DestinationPort, Words::None),
        ("tcp" | "udp" | "th", "sport") => (Field::SourcePort, Words::None),
        ("tcp", "flags") => (Field::TcpFlags, Words::Flags),
        ("icmp", "type") => (Field::IcmpType, Words::IcmpTypes(Family::V4)),
        ("icmpv6", "type") => (Field::IcmpType, Words::IcmpTypes(Family::V6)),
        ("icmp" | "icmpv6", "code") => (Field::IcmpCode, Words::None),
        _ => (Field::Unknown, Words::None),
    };
    if header == "th" && matches!(field, Field::DestinationPort | Field::SourcePort) {
        let with_ports = [protocol::TCP, protocol::UDP].map(Item::Number);
        tests.push(Test::is(Field::Protocol, with_ports.into()));
    }
    (tests, Named { field, words })
}

/// What the routing table says: a client that was answered has passed the question whether there
/// is a way back to it.
fn fib(body: &Value) -> Field {
    let flags = body.get("flags").and_then(Value::as_array);
    let has = |flag: &str| flags.is_some_and(|flags| flags.iter().any(|f| f == flag));
    match text(body, "result").as_str() {
        "type" if has("daddr") => Field::DestinationKind,
        "type" if has("saddr") => Field::SourceKind,
        "oif" | "oifname" if has("saddr") => Field::WayBack,
        _ => Field::Unknown,
    }
}

impl Named {
    fn item(&self, value: &Value) -> Item {
        if let Some(range) = value.get("range").and_then(Value::as_array) {
            return self.range(range).unwrap_or(Item::Unknown);
        }
        if let Some(prefix) = value.get("prefix") {
            let length = prefix.get("len").and_then(Value::as_u64);
            let length = length.and_then(|length| u8::try_from(length).ok());
            let address = text(prefix, "addr").parse().ok();
            let network = address.zip(length).and_then(|(a, l)| Target::network(a, l));
            return network.map_or(Item::Unknown, Item::Network);
        }
        match (self.words, value.as_str()) {
            (Words::Interfaces, Some(name)) => Item::Name(name.to_owned()),
            (Words::Addresses, Some(address)) => match address.parse() {
                Ok(address) => Item::Network(Target::host(address)),
                Err(_) => Item::Unknown,
            },
            _ => self.number(value).map_or(Item::Unknown, Item::Number),
        }
    }

    fn range(&self, range: &[Value]) -> Option<Item> {
        let [first, last] = range else {
            return None;
        };
        if matches!(self.words, Words::Addresses) {
            let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
            return Some(Item::Addresses(address(first)?, address(last)?));
        }
        Some(Item::Range(self.number(first)?, self.number(last)?))
    }

    /// A number, a word, or several that are joined by "or".
    fn number(&self, value: &Value) -> Option<u64> {
        let number = value.as_u64().or_else(|| value.as_bool().map(u64::from));
        if number.is_some() {
            return number;
        }
        let joined = value.as_array().or_else(|| value.get("|")?.as_array());
        if let Some(list) = joined {
            let mut bits = list.iter().map(|one| self.number(one));
            return bits.try_fold(0, |all, bit| Some(all | bit?));
        }
        let word = value.as_str()?;
        match self.words {
            Words::Families => match word {
                "ipv4" => Some(4),
                "ipv6" => Some(6),
                _ => Some(u64::MAX),
            },
            Words::Protocols => Some(protocol::named(word)),
            Words::IcmpTypes(family) => Some(icmp_type(word, family)),
            Words::States => state::named(word),
            Words::Translations => match word {
                "dnat" => Some(1),
                "snat" => Some(2),
                _ => None,
            },
            Words::Directions => match word {
                "original" => Some(0),
                "reply" => Some(1),
                _ => None,
            },
            Words::Flags => tcp_flag(word),
            // The packet type of the link has one word of its own (linux/if_packet.h).
            Words::Kinds if word == "host" => Some(kind::LOCAL),
            Words::Kinds => kind::named(word),
            Words::None | Words::Interfaces | Words::Addresses => word.parse().ok(),
        }
    }
}
