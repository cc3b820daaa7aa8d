//! What the kernel has: the truth, whatever we believe.

use std::collections::BTreeMap;
use std::time::Duration;

use knock_core::target::Target;
use netlink_packet_netfilter::NetfilterMessageInner;
use netlink_packet_netfilter::nftables::Expressions;
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::nftables::{ChainAttribute, ChainMessage};
use netlink_packet_netfilter::nftables::{ExpressionAttribute, ListAttribute};
use netlink_packet_netfilter::nftables::{RuleAttribute, RuleMessage};
use netlink_packet_netfilter::nftables::{SetAttribute, SetMessage};
use netlink_packet_netfilter::nftables::{TableAttribute, TableMessage};

use super::GateError;
use super::batch::inet;
use super::elements::{self, Element, Entry, guarded_keys, way_from_key};
use super::names::{ADMIT, TABLE, guard_chain, set, table};
use super::plan::{Guarded, Plan, Shape, Targets, Way};
use super::wire::Wire;

/// What the kernel has of the gate.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reading {
    /// What is guarded, and for how long; `None` for good.
    pub guarded: Vec<(Guarded, Option<Duration>)>,
    /// What is granted.
    pub granted: Vec<Granted>,
    /// Packets of new connections that a grant has let through.
    pub admitted: u64,
    /// Packets that were dropped for want of a grant.
    pub dropped: u64,
}

/// An element of a set of grants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Granted {
    /// The name of the door that gave it.
    pub door: String,
    /// Who may come through.
    pub sources: Target,
    /// Where to.
    pub at: Guarded,
    /// For how long; `None` for ever, which is none of ours.
    pub left: Option<Duration>,
}

/// All of the table but its elements and counters. The kernel gives what is made anew a number of
/// its own, so that a rule that was replaced by its like is not the same.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Snapshot {
    pub(super) table: Vec<TableAttribute>,
    pub(super) chains: BTreeMap<String, Vec<ChainAttribute>>,
    pub(super) sets: BTreeMap<String, Vec<SetAttribute>>,
    pub(super) rules: Vec<Vec<RuleAttribute>>,
}

/// What of the table stands; `None` if there is no table.
pub(super) fn snapshot(wire: &mut Wire) -> Result<Option<Snapshot>, GateError> {
    let Some(table) = read_table(wire)? else {
        return Ok(None);
    };
    Ok(Some(Snapshot {
        table,
        chains: read_chains(wire)?,
        sets: read_sets(wire)?,
        rules: read_rules(wire)?.into_iter().map(still).collect(),
    }))
}

fn read_table(wire: &mut Wire) -> Result<Option<Vec<TableAttribute>>, GateError> {
    let question = inet(NfTablesMessage::GetTable(table()));
    let mut found = None;
    let asked = wire.ask(&question, Some(1), "the table", |answer| {
        if let Some(NetfilterMessageInner::NfTables(NfTablesMessage::NewTable(table))) =
            answer.parse()
        {
            found = Some(table.attributes);
        }
    });
    match asked {
        Ok(()) => {}
        Err(error) if error.is_gone() => return Ok(None),
        Err(error) => return Err(error),
    }
    if let Some(attributes) = &mut found {
        attributes.retain(|attribute| !matches!(attribute, TableAttribute::Use(_)));
    }
    Ok(found)
}

fn read_chains(wire: &mut Wire) -> Result<BTreeMap<String, Vec<ChainAttribute>>, GateError> {
    // The kernel knows no question for the chains of one table.
    let question = ChainMessage { attributes: vec![] };
    let question = inet(NfTablesMessage::GetChain(question));
    let ours = ChainAttribute::Table(TABLE.to_owned());
    let chains = wire.dump(&question, "the chains", |answer| {
        let Some(NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(chain))) =
            answer.parse()
        else {
            return None;
        };
        let mut attributes = chain.attributes;
        if !attributes.contains(&ours) {
            return None;
        }
        let name = attributes.iter().find_map(|attribute| match attribute {
            ChainAttribute::Name(name) => Some(name.clone()),
            _ => None,
        })?;
        attributes.retain(|attribute| {
            !matches!(
                attribute,
                ChainAttribute::Use(_) | ChainAttribute::Counter(_)
            )
        });
        Some((name, attributes))
    })?;
    Ok(chains.into_iter().collect())
}

fn read_sets(wire: &mut Wire) -> Result<BTreeMap<String, Vec<SetAttribute>>, GateError> {
    let attributes = vec![SetAttribute::Table(TABLE.to_owned())];
    let question = inet(NfTablesMessage::GetSet(SetMessage { attributes }));
    let sets = wire.dump(&question, "the sets", |answer| {
        let Some(NetfilterMessageInner::NfTables(NfTablesMessage::NewSet(set))) = answer.parse()
        else {
            return None;
        };
        let mut attributes = set.attributes;
        let name = attributes.iter().find_map(|attribute| match attribute {
            SetAttribute::Name(name) => Some(name.clone()),
            _ => None,
        })?;
        attributes.retain(|attribute| !matches!(attribute, SetAttribute::Count(_)));
        Some((name, attributes))
    })?;
    Ok(sets.into_iter().collect())
}

fn read_rules(wire: &mut Wire) -> Result<Vec<Vec<RuleAttribute>>, GateError> {
    let attributes = vec![RuleAttribute::Table(TABLE.to_owned())];
    let question = inet(NfTablesMessage::GetRule(RuleMessage { attributes }));
    wire.dump(&question, "the rules", |answer| match answer.parse()? {
        NetfilterMessageInner::NfTables(NfTablesMessage::NewRule(rule)) => Some(rule.attributes),
        _ => None,
    })
}

/// A rule without what its counter says.
fn still(mut rule: Vec<RuleAttribute>) -> Vec<RuleAttribute> {
    for expression in expressions(&mut rule) {
        if let Expressions::Other {
            expression_type,
            attributes,
        } = expression
            && expression_type == "counter"
        {
            attributes.clear();
        }
    }
    rule
}

fn expressions(rule: &mut [RuleAttribute]) -> impl Iterator<Item = &mut Expressions> {
    let lists = rule.iter_mut().filter_map(|attribute| match attribute {
        RuleAttribute::Expressions(list) => Some(list),
        _ => None,
    });
    let elements = lists.flatten().filter_map(|element| match element {
        ListAttribute::Element(attributes) => Some(attributes),
        _ => None,
    });
    elements.flatten().filter_map(|attribute| match attribute {
        ExpressionAttribute::Data(expression) => Some(expression),
        _ => None,
    })
}

/// What the kernel has, of the scopes that `plan` has; `None` if there is no table.
pub(super) fn reading(wire: &mut Wire, plan: &Plan) -> Result<Option<Reading>, GateError> {
    if read_table(wire)?.is_none() {
        return Ok(None);
    }
    let mut reading = Reading::default();
    let sets = read_sets(wire)?;
    for targets in plan.scopes.keys() {
        reading.guarded.extend(read_guarded(wire, targets, &sets)?);
        for (element, entry) in read_granted(wire, targets, &sets)? {
            reading.granted.push(Granted {
                door: entry.comment,
                sources: element.sources,
                at: Guarded {
                    targets: targets.clone(),
                    way: element.way,
                },
                left: entry.stays,
            });
        }
    }
    let guards: Vec<_> = plan
        .scopes
        .keys()
        .map(|targets| guard_chain(targets))
        .collect();
    for mut rule in read_rules(wire)? {
        let chain = rule.iter().find_map(|attribute| match attribute {
            RuleAttribute::Chain(name) => Some(name.clone()),
            _ => None,
        });
        let packets = packets(&mut rule);
        match chain {
            Some(chain) if chain == ADMIT => reading.admitted += packets,
            Some(chain) if guards.contains(&chain) => reading.dropped += packets,
            _ => {}
        }
    }
    Ok(Some(reading))
}

/// What is guarded in a scope.
pub(super) fn read_guarded(
    wire: &mut Wire,
    targets: &Targets,
    sets: &BTreeMap<String, Vec<SetAttribute>>,
) -> Result<Vec<(Guarded, Option<Duration>)>, GateError> {
    let mut found = Vec::new();
    for way in [Way::Tcp(1), Way::Ping] {
        let (name, _) = guarded_keys(targets, way);
        if !sets.contains_key(&name) {
            continue;
        }
        let mut entries = read_set(wire, &name)?;
        if way == Way::Ping {
            // For each family there is one, of the same time.
            entries.truncate(1);
        }
        found.extend(entries.into_iter().filter_map(|entry| {
            let way = match way {
                Way::Ping => way,
                _ => way_from_key(&entry.key)?,
            };
            let targets = targets.clone();
            Some((Guarded { targets, way }, entry.stays))
        }));
    }
    Ok(found)
}

/// What is granted in a scope, in sets of whatever shape.
pub(super) fn read_granted(
    wire: &mut Wire,
    targets: &Targets,
    sets: &BTreeMap<String, Vec<SetAttribute>>,
) -> Result<Vec<(Element, Entry)>, GateError> {
    let mut found = Vec::new();
    for name in sets.keys() {
        let Some(shape) = Shape::from_name(name, targets) else {
            continue;
        };
        let entries = read_set(wire, name)?.into_iter();
        found.extend(entries.filter_map(|entry| {
            let element = Element::from_key(targets, shape, &entry.key)?;
            Some((element, entry))
        }));
    }
    Ok(found)
}

/// All elements of a set.
pub(super) fn read_set(wire: &mut Wire, name: &str) -> Result<Vec<Entry>, GateError> {
    let question = inet(elements::question_for_all(name));
    let what = format!("elements of {name}");
    let found = wire.dump(&question, &what, |answer| Some(elements::answer(answer)))?;
    Ok(found.into_iter().flatten().collect())
}

/// Those elements of a set that have these keys.
pub(super) fn read_back(
    wire: &mut Wire,
    set: &str,
    keys: &[Vec<u8>],
) -> Result<Vec<Entry>, GateError> {
    /// Each is answered by a message of its own, and all of them before we read the first: they must
    /// fit into the socket.
    const AT_ONCE: usize = 32;
    let mut found = Vec::new();
    for keys in keys.chunks(AT_ONCE) {
        let question = inet(elements::question(set, keys));
        let what = format!("elements of {set}");
        let asked = wire.ask(&question, Some(keys.len()), &what, |answer| {
            found.extend(elements::answer(answer));
        });
        match asked {
            Err(error) if error.is_gone() => return Err(GateError::NotReadBack { what }),
            other => other?,
        }
    }
    Ok(found)
}

/// What a rule's counter says.
fn packets(rule: &mut [RuleAttribute]) -> u64 {
    use netlink_packet_core::{Emitable, Nla};
    /// `NFTA_COUNTER_PACKETS`.
    const PACKETS: u16 = 2;
    let mut counters = expressions(rule).filter_map(|expression| match expression {
        Expressions::Other {
            expression_type,
            attributes,
        } if expression_type == "counter" => Some(attributes),
        _ => None,
    });
    let counted = counters.find_map(|attributes| {
        let packets = attributes.iter().find(|a| a.kind() == PACKETS)?;
        let mut bytes = vec![0; packets.buffer_len()];
        packets.emit(&mut bytes);
        let value = bytes.get(4..)?.first_chunk()?;
        Some(u64::from_be_bytes(*value))
    });
    counted.unwrap_or(0)
}

/// The names of all sets, and the message that names one: to take it away.
pub(super) fn delete_set(name: &str) -> NfTablesMessage {
    NfTablesMessage::DeleteSet(set(name))
}

/// A message about the table that takes it away.
pub(super) fn delete_table() -> NfTablesMessage {
    NfTablesMessage::DeleteTable(TableMessage {
        attributes: table().attributes,
    })
}
