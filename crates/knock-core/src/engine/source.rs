//! Addresses and events as whole words.
//!
//! An [`IpAddr`] is 17 bytes that are written in parts and copied in other parts. A processor
//! that copies what it has just written in parts waits until all its writes have reached the
//! cache; behind a write to a million attempts that is the time of a miss, for each packet. So
//! within the engine an address is two words and a flag, and an event that waits is four words.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Event, EventKind};
use crate::door::DoorId;
use crate::sequence::{Protocol, Step};
use crate::time::Timestamp;

/// An address. The families never mix.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Source {
    /// 0 for IPv4.
    pub(super) high: u64,
    pub(super) low: u64,
    pub(super) v6: bool,
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self {
                high: 0,
                low: u64::from(address.to_bits()),
                v6: false,
            },
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, low @ ..] = address.octets();
                Self {
                    high: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
                    low: u64::from_be_bytes(low),
                    v6: true,
                }
            }
        }
    }
}

impl From<Source> for IpAddr {
    fn from(source: Source) -> Self {
        if source.v6 {
            let bits = (u128::from(source.high) << 64) | u128::from(source.low);
            Self::V6(Ipv6Addr::from_bits(bits))
        } else {
            let [_, _, _, _, a, b, c, d] = source.low.to_be_bytes();
            Self::V4(Ipv4Addr::new(a, b, c, d))
        }
    }
}

/// An event that waits to be polled.
#[derive(Copy, Clone, Debug)]
pub(super) struct Packed([u64; 4]);

impl Packed {
    pub(super) fn new(door: u16, source: Source, at: Timestamp, kind: EventKind) -> Self {
        let (what, stage, by) = match kind {
            EventKind::Stage(stage) => (0, stage, None),
            EventKind::Opening => (1, 0, None),
            EventKind::Timeout { stage } => (2, stage, None),
            EventKind::Broken { stage, by } => (3, stage, Some(by)),
        };
        let udp = by.is_some_and(|step| step.protocol == Protocol::Udp);
        let [p, q] = by.map_or(0, |step| step.port).to_le_bytes();
        let [d, e] = door.to_le_bytes();
        let rest = [what, stage, u8::from(udp), u8::from(source.v6), p, q, d, e];
        let rest = u64::from_le_bytes(rest);
        Self([source.high, source.low, at.as_nanos(), rest])
    }
}

impl From<Packed> for Event {
    fn from(packed: Packed) -> Self {
        let [high, low, at, rest] = packed.0;
        let [what, stage, udp, v6, p, q, d, e] = rest.to_le_bytes();
        let by = Step {
            protocol: if udp == 0 {
                Protocol::Tcp
            } else {
                Protocol::Udp
            },
            port: u16::from_le_bytes([p, q]),
        };
        let v6 = v6 != 0;
        Self {
            door: DoorId(u16::from_le_bytes([d, e])),
            source: Source { high, low, v6 }.into(),
            at: Timestamp::from_nanos(at),
            kind: match what {
                0 => EventKind::Stage(stage),
                1 => EventKind::Opening,
                2 => EventKind::Timeout { stage },
                _ => EventKind::Broken { stage, by },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_is_lost_in_packing(
            door in 0..=u16::MAX,
            bits in prop::num::u128::ANY,
            at in prop::num::u64::ANY,
            stage in prop::num::u8::ANY,
            port in 0..=u16::MAX,
            udp in prop::bool::ANY,
            what in 0..4,
        ) {
            let by = if udp { Step::udp(port) } else { Step::tcp(port) };
            let kind = match what {
                0 => EventKind::Stage(stage),
                1 => EventKind::Opening,
                2 => EventKind::Timeout { stage },
                _ => EventKind::Broken { stage, by },
            };
            let [a, b, c, d, ..] = bits.to_le_bytes();
            for address in [IpAddr::from([a, b, c, d]), Ipv6Addr::from_bits(bits).into()] {
                let (door, at) = (DoorId(door), Timestamp::from_nanos(at));
                let event = Event { door, source: address, at, kind };
                let source = Source::from(address);
                prop_assert_eq!(IpAddr::from(source), address);
                prop_assert_eq!(Event::from(Packed::new(door.0, source, at, kind)), event);
            }
        }
    }
}
