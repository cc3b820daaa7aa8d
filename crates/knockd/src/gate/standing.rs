//! Connections that stood before the gate did. Connection tracking begins with the first rule that
//! asks for it, and knows nothing of connections from before: the next packet of an ssh session that
//! rests would look like one out of nowhere, and be dropped. So their entries are made for them.
//!
//! Only TCP connections to this host can be known: the kernel's own list has them (`/proc/net/tcp`).

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Protocol,
    Status, Tuple,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};

use super::GateError;
use super::plan::{Plan, Way};
use super::wire::Wire;

/// The most connections that get an entry.
const MOST: usize = 65_536;

/// What the kernel gives an established connection (`nf_conntrack_tcp_timeout_established`): five days.
const SECONDS: u32 = 432_000;

/// Makes an entry for every connection to a port that `plan` guards, where there is none. A kernel that
/// cannot do it has no say in whether the gate is put up.
pub(super) fn keep(wire: &mut Wire, plan: &Plan) {
    let guarded = |local: SocketAddr| {
        plan.scopes.iter().any(|(targets, scope)| {
            let here = targets.is_empty() || targets.iter().any(|t| t.contains(local.ip()));
            here && scope.guarded.contains(&Way::Tcp(local.port()))
        })
    };
    for path in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        // Without IPv6 there is no second list.
        let Ok(file) = File::open(path) else { continue };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        let connections = lines.filter_map(|line| established(&line));
        let connections = connections.filter(|(local, _)| guarded(*local));
        for (local, remote) in connections.take(MOST) {
            match wire.create(entry(remote, local), "an entry of connection tracking") {
                // The second: there is one (EEXIST).
                Ok(()) | Err(GateError::Refused { .. }) => {}
                Err(_) => return,
            }
        }
    }
}

/// The two ends of an established connection, ours first, of a line of `/proc/net/tcp` (proc(5)).
fn established(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    /// `TCP_ESTABLISHED` of `net/tcp_states.h`.
    const ESTABLISHED: &str = "01";
    let mut words = line.split_whitespace().skip(1);
    let (local, remote) = (words.next()?, words.next()?);
    if words.next()? != ESTABLISHED {
        return None;
    }
    Some((end(local)?, end(remote)?))
}

/// Address and port in hexadecimal: the address as numbers of four bytes in the machine's order.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |place: usize| {
        let digits = address.get(place * 8..place * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = if address.len() == 8 {
        IpAddr::from(Ipv4Addr::from(word(0)?))
    } else {
        let words = [word(0)?, word(1)?, word(2)?, word(3)?];
        let octets: [u8; 16] = words.concat().try_into().ok()?;
        // A listener for both families has IPv4 connections in this form.
        Ipv6Addr::from(octets).to_canonical()
    };
    Some(SocketAddr::new(ip, port))
}

/// The entry of an established connection, which takes whatever numbers the next segments have.
fn entry(from: SocketAddr, to: SocketAddr) -> NetfilterMessage {
    /// `CTA_PROTOINFO_TCP_FLAGS_ORIGINAL` and `…_REPLY`: flags, and which of them are meant.
    const FLAGS: [u16; 2] = [4, 5];
    /// `TCP_CONNTRACK_ESTABLISHED` and `IP_CT_TCP_FLAG_BE_LIBERAL`.
    const ESTABLISHED: u8 = 3;
    const LIBERAL: u8 = 0x08;
    let liberal = |kind| ProtoInfoTCP::Other(DefaultNla::new(kind, vec![LIBERAL, LIBERAL]));
    let mut tcp = vec![ProtoInfoTCP::State(ESTABLISHED)];
    tcp.extend(FLAGS.map(liberal));
    let attributes = vec![
        ConntrackAttribute::CtaTupleOrig(tuple(from, to)),
        ConntrackAttribute::CtaTupleReply(tuple(to, from)),
        ConntrackAttribute::CtaStatus(Status::SeenReply | Status::Assured | Status::Confirmed),
        ConntrackAttribute::CtaTimeout(SECONDS),
        ConntrackAttribute::CtaProtoInfo(vec![ProtoInfo::TCP(tcp)]),
    ];
    let family = match from {
        SocketAddr::V4(_) => NetfilterProtoFamily::IPv4,
        SocketAddr::V6(_) => NetfilterProtoFamily::IPv6,
    };
    let header = NetfilterHeader::new(family, 0, 0);
    NetfilterMessage::new(header, ConntrackMessage::New(attributes))
}

fn tuple(from: SocketAddr, to: SocketAddr) -> Vec<Tuple> {
    vec![
        Tuple::Ip(vec![
            IPTuple::SourceAddress(from.ip()),
            IPTuple::DestinationAddress(to.ip()),
        ]),
        Tuple::Proto(vec![
            ProtoTuple::Protocol(Protocol::Tcp),
            ProtoTuple::SourcePort(from.port()),
            ProtoTuple::DestinationPort(to.port()),
        ]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_lines_of_both_lists_are_read() {
        let v4 = "  0: 0200000A:0016 0100000A:C350 01 00000000:00000000 00:00000000 00000000";
        let ends = (
            "10.0.0.2:22".parse().unwrap(),
            "10.0.0.1:50000".parse().unwrap(),
        );
        assert_eq!(established(v4), Some(ends));
        let v6 = "  1: 000077FD000000000000000002000000:0016 \
                  000077FD000000000000000001000000:C350 01 00000000:00000000";
        let ends = (
            "[fd77::2]:22".parse().unwrap(),
            "[fd77::1]:50000".parse().unwrap(),
        );
        assert_eq!(established(v6), Some(ends));
        let mapped = "  1: 0000000000000000FFFF00000200000A:0016 \
                      0000000000000000FFFF00000100000A:C350 01 00000000:00000000";
        let ends = (
            "10.0.0.2:22".parse().unwrap(),
            "10.0.0.1:50000".parse().unwrap(),
        );
        assert_eq!(established(mapped), Some(ends));
    }

    #[test]
    fn other_lines_are_no_connections() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt";
        let listening = "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000";
        for line in [
            head,
            listening,
            "",
            "0: é:0016 1:1 01",
            "0: 0200000A 0100000A:C350 01",
        ] {
            assert_eq!(established(line), None, "{line}");
        }
    }
}
