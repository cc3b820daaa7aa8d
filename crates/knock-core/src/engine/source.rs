//! Addresses as whole words.
//!
//! An [`IpAddr`] is 17 bytes that are written in parts and copied in other parts. A processor
//! that copies what it has just written in parts waits until all its writes have reached the
//! cache; behind a write to a million attempts that is the time of a miss, for each packet. So
//! within the engine an address is two words and a flag.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_address_is_the_same_again(bits in prop::num::u128::ANY) {
            let [a, b, c, d, ..] = bits.to_le_bytes();
            for address in [IpAddr::from([a, b, c, d]), Ipv6Addr::from_bits(bits).into()] {
                prop_assert_eq!(IpAddr::from(Source::from(address)), address);
            }
        }
    }
}
