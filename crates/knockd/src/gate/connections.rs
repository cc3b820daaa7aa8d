//! Ends connections that came in by a grant (`kill`), by way of connection tracking's netlink
//! (`nf_conntrack_netlink.c`).
//!
//! An entry is not deleted: the next packet of the server's would make a new one, and the client's
//! would then belong to a connection that stands. It gets a mark instead, with which the table's
//! first rules do not let it through any more.

use std::net::{IpAddr, SocketAddr};

use knock_core::target::Target;
use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};

use super::GateError;
use super::plan::{Targets, Way};
use super::table::{ENDED, MARK};
use super::wire::Wire;

/// `CTA_ZONE` and `CTA_MARK_MASK` of `linux/netfilter/nfnetlink_conntrack.h`.
const ZONE: u16 = 18;
const MARK_MASK: u16 = 21;

/// The most connections that one call ends.
const MOST: usize = 65_536;

/// Ends the connections from `sources` to any of `ways` that came in by a grant. How many they were.
pub(super) fn end(
    wire: &mut Wire,
    sources: Target,
    ways: &[Way],
    targets: &Targets,
) -> Result<usize, GateError> {
    let question = message(sources, ConntrackMessage::Get(mark(MARK, MARK)));
    let matching = |attributes: &[ConntrackAttribute]| {
        original(attributes).is_some_and(|connection| {
            sources.contains(connection.from)
                && ways.contains(&connection.way)
                && (targets.is_empty() || targets.iter().any(|t| t.contains(connection.to)))
        })
    };
    let found = wire.dump(&question, "connection tracking", |answer| {
        match answer.parse()? {
            NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) => {
                matching(&attributes).then_some(attributes)
            }
            _ => None,
        }
    })?;
    let mut ended = 0;
    for mut attributes in found.into_iter().take(MOST) {
        attributes.retain(|attribute| match attribute {
            ConntrackAttribute::CtaTupleOrig(_) => true,
            ConntrackAttribute::Other(other) => netlink_packet_core::Nla::kind(other) == ZONE,
            _ => false,
        });
        attributes.extend(mark(ENDED, ENDED));
        let change = message(sources, ConntrackMessage::New(attributes));
        match wire.change(change, "the end of a connection") {
            Ok(()) => ended += 1,
            // It has ended by itself.
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ended)
}

/// Whether a TCP connection that `client` has opened came in by a grant, and still may.
pub(super) fn has_admitted(wire: &mut Wire, client: SocketAddr) -> Result<bool, GateError> {
    let marked = mark(MARK, MARK | ENDED);
    let question = message(Target::host(client.ip()), ConntrackMessage::Get(marked));
    let found = wire.dump(&question, "connection tracking", |answer| {
        let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = answer.parse()?
        else {
            return None;
        };
        original(&attributes).filter(|connection| {
            let from = SocketAddr::new(connection.from, connection.from_port);
            from == client && matches!(connection.way, Way::Tcp(_))
        })
    })?;
    Ok(!found.is_empty())
}

/// The direction in which a connection was opened.
struct Connection {
    from: IpAddr,
    from_port: u16,
    to: IpAddr,
    way: Way,
}

fn original(attributes: &[ConntrackAttribute]) -> Option<Connection> {
    let tuples = attributes.iter().find_map(|attribute| match attribute {
        ConntrackAttribute::CtaTupleOrig(tuples) => Some(tuples),
        _ => None,
    })?;
    let (mut from, mut to, mut protocol) = (None, None, None);
    let (mut from_port, mut port) = (0, 0);
    for tuple in tuples {
        match tuple {
            Tuple::Ip(parts) => {
                for part in parts {
                    match part {
                        IPTuple::SourceAddress(address) => from = Some(*address),
                        IPTuple::DestinationAddress(address) => to = Some(*address),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(parts) => {
                for part in parts {
                    match part {
                        ProtoTuple::Protocol(number) => protocol = Some(*number),
                        ProtoTuple::SourcePort(number) => from_port = *number,
                        ProtoTuple::DestinationPort(number) => port = *number,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let way = match protocol? {
        Protocol::Tcp => Way::Tcp(port),
        Protocol::Udp => Way::Udp(port),
        Protocol::Icmp | Protocol::Ipv6Icmp => Way::Ping,
        _ => return None,
    };
    Some(Connection {
        from: from?,
        from_port,
        to: to?,
        way,
    })
}

/// These bits of the mark, and which bits are meant.
fn mark(bits: u32, mask: u32) -> Vec<ConntrackAttribute> {
    let mask = DefaultNla::new(MARK_MASK, mask.to_be_bytes().to_vec());
    vec![
        ConntrackAttribute::CtaMark(bits),
        ConntrackAttribute::Other(mask),
    ]
}

fn message(sources: Target, message: ConntrackMessage) -> NetfilterMessage {
    let family = if sources.is_ipv4() {
        NetfilterProtoFamily::IPv4
    } else {
        NetfilterProtoFamily::IPv6
    };
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message)
}
