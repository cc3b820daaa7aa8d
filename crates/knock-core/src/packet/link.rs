//! What stands before the IP header: ether types, VLAN tags and the headers of pcap files.

use super::ip::{self, View};
use super::{LinkType, NotAKnock, take};

/// The most VLAN tags that are stepped over: a service tag and a customer tag.
const MAX_TAGS: usize = 2;

/// Ether types (<https://www.iana.org/assignments/ieee-802-numbers>).
mod ether {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const IPV6: u16 = 0x86dd;
    /// IEEE 802.1Q.
    pub(super) const VLAN: u16 = 0x8100;
    /// IEEE 802.1ad, the outer of two tags.
    pub(super) const SERVICE_VLAN: u16 = 0x88a8;
    /// The outer of two tags, before the standard.
    pub(super) const OLD_SERVICE_VLAN: u16 = 0x9100;
}

/// What follows a header that announced `ether_type`.
#[inline]
pub(super) fn ether_type<'a, V: View<'a>>(
    mut ether_type: u16,
    mut bytes: &'a [u8],
) -> Result<V, NotAKnock> {
    for _ in 0..=MAX_TAGS {
        match ether_type {
            ether::IPV4 => return ip::v4(bytes),
            ether::IPV6 => return ip::v6(bytes),
            ether::VLAN | ether::SERVICE_VLAN | ether::OLD_SERVICE_VLAN => {
                let (&[_, _, t0, t1], rest) = take::<4>(bytes)?;
                ether_type = u16::from_be_bytes([t0, t1]);
                bytes = rest;
            }
            _ => break,
        }
    }
    Err(NotAKnock::Malformed)
}

/// An IP packet without a header before it.
pub(super) fn version<'a, V: View<'a>>(bytes: &'a [u8]) -> Result<V, NotAKnock> {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => ip::v4(bytes),
        Some(6) => ip::v6(bytes),
        Some(_) => Err(NotAKnock::Malformed),
        None => Err(NotAKnock::Truncated),
    }
}

/// A frame of a pcap file.
pub(super) fn frame<'a, V: View<'a>>(link: LinkType, bytes: &'a [u8]) -> Result<V, NotAKnock> {
    match link {
        LinkType::RawIp => version(bytes),
        LinkType::Ethernet => {
            let (&[.., t0, t1], rest) = take::<14>(bytes)?;
            ether_type(u16::from_be_bytes([t0, t1]), rest)
        }
        LinkType::LinuxSll => {
            let (&[.., t0, t1], rest) = take::<16>(bytes)?;
            ether_type(u16::from_be_bytes([t0, t1]), rest)
        }
        LinkType::LinuxSll2 => {
            let (&[t0, t1, ..], rest) = take::<20>(bytes)?;
            ether_type(u16::from_be_bytes([t0, t1]), rest)
        }
        LinkType::Loopback => {
            let (family, rest) = take::<4>(bytes)?;
            loopback(*family, rest)
        }
    }
}

/// A BSD loopback frame: its address family is in the byte order of the machine that captured
/// it, and the number of `AF_INET6` is each system's own.
fn loopback<'a, V: View<'a>>(family: [u8; 4], bytes: &'a [u8]) -> Result<V, NotAKnock> {
    let family = match family {
        [0, 0, 0, family] | [family, 0, 0, 0] => family,
        _ => return Err(NotAKnock::Malformed),
    };
    match family {
        2 => ip::v4(bytes),
        // Linux; NetBSD and OpenBSD; FreeBSD; macOS.
        10 | 24 | 28 | 30 => ip::v6(bytes),
        _ => Err(NotAKnock::Malformed),
    }
}
