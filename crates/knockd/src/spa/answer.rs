//! One datagram back, from the port that was knocked at, without a port that is open.
//!
//! A raw socket of `IPPROTO_RAW` sends whole IP packets and never receives one (raw(7)). It is opened
//! before the keeper gives up the capability for that, and needs none afterwards.
//!
//! An answer is never longer than what it answers, and there are never more of them than packets that
//! the listener's limits let through: 4,000 a second in all. What opens a door is answered once. Of
//! what opens none, whoever has recorded a packet can have the answer sent again and again to where
//! he says that he is: so those are limited, to 20 a second for one network (/24, /56) after 50 at
//! once, which is 3.8 kB a second at somebody who never asked.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use knock_core::time::Timestamp;
use knock_spa::Outcome;
use knock_spa::rand_core::Rng as _;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::SystemRng;
use crate::bucket::Networks;
use crate::wire::Knock;

/// The sockets, one for each version of IP; one that the system does not have is missing.
#[derive(Debug)]
pub struct Answers {
    v4: Option<Socket>,
    v6: Option<Socket>,
    idle: Networks,
}

/// Answers to one network for which nothing was done: so many at once, then one each period.
const IDLE: u32 = 50;
const IDLE_PERIOD: Duration = Duration::from_millis(50);

/// `IPPROTO_RAW` and `IPPROTO_UDP`.
const RAW: i32 = 255;
const UDP: u8 = 17;

/// The time to live of answers.
const TTL: u8 = 64;

impl Answers {
    /// Opens the sockets.
    ///
    /// # Errors
    /// If there is neither.
    pub fn open() -> io::Result<Self> {
        let open = |domain| -> io::Result<Socket> {
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(RAW)))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        match (open(Domain::IPV4), open(Domain::IPV6)) {
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => Ok(Self {
                v4: v4.ok(),
                v6: v6.ok(),
                idle: idle(),
            }),
        }
    }

    /// Whether this may be answered to `source` at `now`: what was done is, anything else within a
    /// limit for its network.
    pub fn may_send(&mut self, source: IpAddr, outcome: &Outcome, now: Timestamp) -> bool {
        is_done(outcome) || self.idle.take(source, now)
    }

    /// Answers a knock.
    ///
    /// # Errors
    /// What the kernel says; nobody will be told.
    pub fn send(&self, knock: &Knock, datagram: &[u8]) -> io::Result<()> {
        let to = (knock.source, knock.source_port);
        let from = (knock.destination, knock.port);
        let (socket, packet) = match (from.0, to.0) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (&self.v4, packet_v4((own, from.1), (other, to.1), datagram))
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (&self.v6, packet_v6((own, from.1), (other, to.1), datagram))
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let address = match to.0 {
            IpAddr::V4(address) => SocketAddr::V4(SocketAddrV4::new(address, 0)),
            IpAddr::V6(address) => {
                let scope = if address.is_unicast_link_local() {
                    knock.interface
                } else {
                    0
                };
                SocketAddr::V6(SocketAddrV6::new(address, 0, 0, scope))
            }
        };
        let socket = socket.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        socket.send_to(&packet, &SockAddr::from(address))?;
        Ok(())
    }
}

fn idle() -> Networks {
    let seed = [SystemRng.next_u64(), SystemRng.next_u64()];
    Networks::new(seed, IDLE, IDLE_PERIOD)
}

/// Whether the packet has used itself up by what was done for it: it is answered so once.
const fn is_done(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Opened { .. } | Outcome::Closed | Outcome::WouldOpen { .. } => true,
        Outcome::Confirm(_) | Outcome::Refused(_) => false,
    }
}

/// An IPv4 packet (RFC 791, 3.1); its checksum is the kernel's (raw(7)).
fn packet_v4(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), data: &[u8]) -> Vec<u8> {
    let mut pseudo = from.0.octets().to_vec();
    pseudo.extend(to.0.octets());
    let udp = datagram(&pseudo, from.1, to.1, data);
    let length = u16::try_from(20 + udp.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    // Not to be fragmented.
    packet.extend([0, 0, 0x40, 0, TTL, UDP, 0, 0]);
    packet.extend(pseudo);
    packet.extend(udp);
    packet
}

/// An IPv6 packet (RFC 8200, 3).
fn packet_v6(from: (Ipv6Addr, u16), to: (Ipv6Addr, u16), data: &[u8]) -> Vec<u8> {
    let mut pseudo = from.0.octets().to_vec();
    pseudo.extend(to.0.octets());
    let udp = datagram(&pseudo, from.1, to.1, data);
    let length = u16::try_from(udp.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([UDP, TTL]);
    packet.extend(pseudo);
    packet.extend(udp);
    packet
}

/// A UDP datagram (RFC 768) between these addresses.
fn datagram(addresses: &[u8], from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + data.len()).unwrap_or(u16::MAX);
    let mut udp = Vec::with_capacity(length.into());
    for field in [from, to, length, 0] {
        udp.extend(field.to_be_bytes());
    }
    udp.extend(data);
    let sum = sum(addresses) + sum(&udp) + u32::from(UDP) + u32::from(length);
    let mut folded = (sum & 0xffff) + (sum >> 16);
    folded = (folded & 0xffff) + (folded >> 16);
    // A sum of zero is written the other way; zero is for none.
    let checksum = match !u16::try_from(folded).unwrap_or(0) {
        0 => u16::MAX,
        checksum => checksum,
    };
    if let Some(place) = udp.get_mut(6..8) {
        place.copy_from_slice(&checksum.to_be_bytes());
    }
    udp
}

/// Half words, added up.
fn sum(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    };
    bytes.chunks(2).map(word).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{SlicedPacket, TransportSlice};
    use knock_spa::Refusal;

    #[test]
    fn what_opens_nothing_is_answered_within_a_limit_for_each_network() {
        let mut answers = Answers {
            v4: None,
            v6: None,
            idle: idle(),
        };
        let mut answered = |source: [u8; 4], outcome: &Outcome, count: usize, at: u64| {
            let (source, now) = (IpAddr::from(source), Timestamp::from_millis(at));
            let may = (0..count).filter(|_| answers.may_send(source, outcome, now));
            may.count()
        };
        let late = Outcome::Refused(Refusal::ClockOff(100_000));
        let elsewhere = Outcome::Refused(Refusal::AddressMismatch);
        assert_eq!(answered([192, 0, 2, 1], &late, 40, 5_000), 40);
        assert_eq!(answered([192, 0, 2, 2], &elsewhere, 40, 5_000), 10);
        assert_eq!(answered([192, 0, 2, 1], &late, 40, 5_999), 19);
        assert_eq!(answered([192, 0, 2, 1], &Outcome::Closed, 400, 6_000), 400);
        assert_eq!(answered([198, 51, 100, 1], &late, 40, 6_000), 40, "others");
    }

    #[test]
    fn packets_are_as_others_build_them() {
        for length in [0, 1, 159, 160] {
            let data: Vec<u8> = (0..length).collect();
            let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(192, 0, 2, 255));
            let ours = packet_v4((a, 51_443), (b, 4), &data);
            let parsed = SlicedPacket::from_ip(&ours).unwrap();
            let Some(TransportSlice::Udp(udp)) = parsed.transport else {
                panic!("no datagram");
            };
            let header = udp.to_header();
            let right = header.calc_checksum_ipv4_raw(a.octets(), b.octets(), &data);
            assert_eq!(header.checksum, right.unwrap());
            let (a, b): (Ipv6Addr, Ipv6Addr) = (
                "fd77::1".parse().unwrap(),
                "2001:db8::ffff".parse().unwrap(),
            );
            let ours = packet_v6((a, 51_443), (b, 4), &data);
            let parsed = SlicedPacket::from_ip(&ours).unwrap();
            let Some(TransportSlice::Udp(udp)) = parsed.transport else {
                panic!("no datagram");
            };
            let header = udp.to_header();
            let right = header.calc_checksum_ipv6_raw(a.octets(), b.octets(), &data);
            assert_eq!(header.checksum, right.unwrap());
        }
    }
}
