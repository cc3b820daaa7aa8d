//! The table as messages: what `nft list table inet postern` shows.
//!
//! A packet that goes on with a known connection is let through first. A new one is let through if
//! any scope has a grant for it, dropped if any scope guards it, and otherwise none of our business.

use knock_core::target::Target;
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::nftables::{ChainAttribute, Hook, HookNumber, InetHookNumber};
use netlink_packet_netfilter::nftables::{MetaKey, Operator, Register};
use netlink_packet_netfilter::nftables::{SetAttribute, SetDescription, SetFlags};
use netlink_packet_netfilter::nftables::{TableAttribute, TableFlags};

use super::batch::Batch;
use super::names::{
    ADMIT, BASE, TABLE, chain, comment, grants_chain, guard_chain, guarded_ping_set, guarded_set,
    set, table,
};
use super::plan::{Plan, Scope, Shape, Way, has, list};
use super::rules::{ESTABLISHED, INVALID, NETWORK, RELATED, Rule, TRANSPORT, UNTRACKED};

/// The bit of the connection mark (`ct mark`) that connections carry which came in by a grant. One
/// rule in the administrator's own firewall admits them: `ct mark & 0x20000000 != 0 accept`.
pub const MARK: u32 = 0x2000_0000;

/// The bit of the connection mark of a connection that was ended (`kill`): its packets need a grant
/// as if they were new ones.
pub const ENDED: u32 = 0x1000_0000;

/// The most elements of a set.
pub(super) const MAX_ELEMENTS: u32 = 1_048_576;

/// After connection tracking (-200), before destination NAT (-100).
pub(super) const PRIORITY: i32 = -150;

/// Numbers of nft's data types, for those who list the sets.
const IPV4_ADDR: u32 = 7;
const IPV6_ADDR: u32 = 8;
const INET_PROTO: u32 = 12;
const INET_SERVICE: u32 = 13;

const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// The table itself.
pub(super) fn put_table(batch: &mut Batch) {
    let mut message = table();
    let about = "Postern: ports that open to who has knocked. Managed by knockd.";
    message.attributes.extend([
        TableAttribute::Flags(TableFlags::empty()),
        TableAttribute::UserData(comment(0, about)),
    ]);
    batch.add(NfTablesMessage::NewTable(message), "the table");
}

/// Chains and sets: all that rules refer to.
pub(super) fn put_frame(batch: &mut Batch, plan: &Plan) {
    put_base(batch);
    put_chain(batch, ADMIT, "has a grant");
    for (targets, scope) in &plan.scopes {
        let place = place(targets);
        put_chain(
            batch,
            &grants_chain(targets),
            &format!("grants for {place}"),
        );
        put_chain(batch, &guard_chain(targets), &format!("guards {place}"));
        for shape in &scope.sets {
            put_granted(batch, targets, *shape);
        }
        let (ports, pings) = (guarded_set(targets), guarded_ping_set(targets));
        let port = (INET_PROTO << 6) | INET_SERVICE;
        put_set(batch, &ports, port, 8, "closed unless granted");
        if scope.guarded.contains(&Way::Ping) {
            put_set(batch, &pings, INET_PROTO, 1, "closed unless granted");
        }
    }
}

/// All rules, in their order.
pub(super) fn put_rules(batch: &mut Batch, plan: &Plan) {
    let mut put = |rule: Rule, about: &str| batch.append(rule.message(about), "a rule");
    let base = || Rule::of(BASE);
    put(base().interface(1).accept(), "this host to itself");
    put(
        base()
            .without_mark(ENDED)
            .state(ESTABLISHED | RELATED)
            .accept(),
        "connections that stand",
    );
    put(
        cannot_begin(base().state(INVALID | UNTRACKED)).accept(),
        "cannot begin a connection",
    );
    for name in [grants_chain, guard_chain] {
        for targets in plan.scopes.keys() {
            let chain = name(targets);
            if targets.is_empty() {
                put(base().for_this_host().jump(&chain), "");
            }
            for target in targets.iter() {
                put(to(base(), *target).jump(&chain), "");
            }
        }
    }
    let admit = || Rule::of(ADMIT);
    put(
        admit().count().mark(MARK, ENDED),
        "mark for other firewalls",
    );
    put(admit().accept(), "");
    for (targets, scope) in &plan.scopes {
        for shape in &scope.sets {
            put(granted(targets, *shape).go_to(ADMIT), "");
        }
        put_guard(&mut put, targets, scope);
    }
}

/// How many rules [`put_rules`] makes.
pub(super) fn count_rules(plan: &Plan) -> usize {
    let scopes = plan.scopes.iter().map(|(targets, scope)| {
        let ping = Way::Ping;
        let families = [true, false].into_iter().filter(|v4| has(targets, *v4));
        let pings = if scope.guarded.contains(&ping) {
            families.count()
        } else {
            0
        };
        2 * targets.len().max(1) + scope.sets.len() + 1 + pings
    });
    5 + scopes.sum::<usize>()
}

fn put_guard(put: &mut impl FnMut(Rule, &str), targets: &[Target], scope: &Scope) {
    let chain = guard_chain(targets);
    let ports = Rule::of(&chain)
        .meta(MetaKey::L4Proto, Register::Reg1)
        .load(TRANSPORT, 2, 2, Register::Reg32_01)
        .lookup(&guarded_set(targets));
    put(ports.count().drop(), "no grant");
    if !scope.guarded.contains(&Way::Ping) {
        return;
    }
    for ipv4 in [true, false] {
        if has(targets, ipv4) {
            let ping = echo_request(Rule::of(&chain), ipv4);
            let ping = ping.meta(MetaKey::L4Proto, Register::Reg1);
            let ping = ping.lookup(&guarded_ping_set(targets));
            put(ping.count().drop(), "no grant");
        }
    }
}

/// The packet's source is in a set, together with what it wants.
fn granted(targets: &[Target], shape: Shape) -> Rule {
    let mut rule = Rule::of(&grants_chain(targets));
    let (offset, length, full) = if shape.ipv4 {
        (12, 4, 32)
    } else {
        (8, 16, 128)
    };
    rule = if shape.ping {
        echo_request(rule, shape.ipv4)
    } else {
        rule.family(shape.ipv4)
    };
    rule = rule.load(NETWORK, offset, length, Register::Reg1);
    if shape.width < full {
        rule = rule.mask(Register::Reg1, mask(shape));
    }
    if !shape.ping {
        let (protocol, port) = if shape.ipv4 {
            (Register::Reg32_01, Register::Reg32_02)
        } else {
            (Register::Reg32_04, Register::Reg32_05)
        };
        rule = rule.meta(MetaKey::L4Proto, protocol);
        rule = rule.load(TRANSPORT, 2, 2, port);
    }
    rule.lookup(&shape.name(targets))
}

/// The bits of a source that count.
fn mask(shape: Shape) -> Vec<u8> {
    let width = u32::from(shape.width);
    if shape.ipv4 {
        let bits = u32::MAX.checked_shl(32 - width).unwrap_or(0);
        bits.to_be_bytes().to_vec()
    } else {
        let bits = u128::MAX.checked_shl(128 - width).unwrap_or(0);
        bits.to_be_bytes().to_vec()
    }
}

/// ICMP's type 8, ICMPv6's type 128. Nothing else of these protocols is ever guarded.
fn echo_request(rule: Rule, ipv4: bool) -> Rule {
    let (protocol, kind) = if ipv4 { (ICMP, 8) } else { (ICMPV6, 128) };
    let rule = rule.family(ipv4).protocol(protocol);
    let rule = rule.load(TRANSPORT, 0, 1, Register::Reg1);
    rule.compare(Operator::Equal, vec![kind])
}

/// TCP, but not a first segment (RFC 9293, 3.10.7.2: a listener takes one with SYN, without ACK and
/// RST): it is part of what connection tracking has no knowledge of.
fn cannot_begin(rule: Rule) -> Rule {
    const RST_SYN_ACK: u8 = 0x16;
    const SYN: u8 = 0x02;
    let rule = rule.protocol(TCP);
    let rule = rule.load(TRANSPORT, 13, 1, Register::Reg1);
    let rule = rule.mask(Register::Reg1, vec![RST_SYN_ACK]);
    rule.compare(Operator::NotEqual, vec![SYN])
}

/// The packet's destination lies in `target`.
fn to(rule: Rule, target: Target) -> Rule {
    let shape = Shape {
        ping: false,
        ipv4: target.is_ipv4(),
        width: target.prefix(),
    };
    let (offset, length, full) = if shape.ipv4 {
        (16, 4, 32)
    } else {
        (24, 16, 128)
    };
    let mut rule = rule.family(shape.ipv4);
    rule = rule.load(NETWORK, offset, length, Register::Reg1);
    if shape.width < full {
        rule = rule.mask(Register::Reg1, mask(shape));
    }
    rule.compare(Operator::Equal, octets(target))
}

/// The bytes of a network's first address.
pub(super) fn octets(target: Target) -> Vec<u8> {
    match target.address() {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn put_base(batch: &mut Batch) {
    let mut message = chain(BASE);
    message.attributes.extend([
        ChainAttribute::Hook(vec![
            Hook::Number(HookNumber::Inet(InetHookNumber::PreRouting)),
            Hook::Priority(PRIORITY.cast_unsigned()),
        ]),
        ChainAttribute::Policy(1),
        ChainAttribute::Type("filter".to_owned()),
    ]);
    batch.add(
        NfTablesMessage::NewChain(message),
        format!("the chain {BASE}"),
    );
}

fn put_chain(batch: &mut Batch, name: &str, about: &str) {
    let mut message = chain(name);
    message
        .attributes
        .push(ChainAttribute::UserData(comment(0, about)));
    batch.add(
        NfTablesMessage::NewChain(message),
        format!("the chain {name}"),
    );
}

fn put_granted(batch: &mut Batch, targets: &[Target], shape: Shape) {
    let (address, length) = if shape.ipv4 {
        (IPV4_ADDR, 4)
    } else {
        (IPV6_ADDR, 16)
    };
    let (kind, length) = if shape.ping {
        (address, length)
    } else {
        (
            (address << 12) | (INET_PROTO << 6) | INET_SERVICE,
            length + 8,
        )
    };
    put_set(batch, &shape.name(targets), kind, length, "who has knocked");
}

/// A hash set with time-outs.
fn put_set(batch: &mut Batch, name: &str, kind: u32, length: u32, about: &str) {
    /// `NFTNL_UDATA_SET_COMMENT` of libnftnl.
    const COMMENT: u8 = 7;
    let mut message = set(name);
    message.attributes.extend([
        SetAttribute::Flags(SetFlags::Timeout),
        SetAttribute::KeyType(kind),
        SetAttribute::KeyLen(length),
        SetAttribute::Id(u32::try_from(batch.len()).unwrap_or(0)),
        SetAttribute::Description(vec![SetDescription::Size(MAX_ELEMENTS)]),
        SetAttribute::UserData(comment(COMMENT, about)),
    ]);
    batch.add(NfTablesMessage::NewSet(message), format!("the set {name}"));
}

/// A scope in a comment.
fn place(targets: &[Target]) -> String {
    if targets.is_empty() {
        "this host".to_owned()
    } else {
        list(targets)
    }
}

/// Takes away every rule of the table.
pub(super) fn flush_rules(batch: &mut Batch) {
    use netlink_packet_netfilter::nftables::{RuleAttribute, RuleMessage};
    let attributes = vec![RuleAttribute::Table(TABLE.to_owned())];
    let message = NfTablesMessage::DeleteRule(RuleMessage { attributes });
    batch.delete(message, "the rules");
}

/// Whether a chain that the kernel has is our base chain, in its place and awake.
pub(super) fn is_base(attributes: &[ChainAttribute]) -> bool {
    let number = Hook::Number(HookNumber::Inet(InetHookNumber::PreRouting));
    let priority = Hook::Priority(PRIORITY.cast_unsigned());
    let hooked = attributes.iter().any(|attribute| match attribute {
        ChainAttribute::Hook(hook) => hook.contains(&number) && hook.contains(&priority),
        _ => false,
    });
    let kind = ChainAttribute::Type("filter".to_owned());
    hooked && attributes.contains(&kind) && attributes.contains(&ChainAttribute::Policy(1))
}
