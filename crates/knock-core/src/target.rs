//! Targets: the destination addresses at which a door listens (`target`).

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

/// An address or a network in CIDR notation: the packet's destination must lie in it.
///
/// The host bits of a network need not be zero (`192.0.2.9/24` is `192.0.2.0/24`).
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Target {
    network: IpAddr,
    prefix: u8,
}

/// Why a text is not a target.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum TargetError {
    /// The part before the `/` is no IPv4 or IPv6 address.
    Address,
    /// The part after the `/` is no number from 0 to the most that the family has.
    Prefix {
        /// 32 for IPv4, 128 for IPv6.
        max: u8,
    },
}

impl Target {
    /// The single address `address`.
    #[must_use]
    pub const fn host(address: IpAddr) -> Self {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Self {
            network: address,
            prefix,
        }
    }

    /// The network of the first `prefix` bits of `address`; `None` if the family has fewer.
    #[must_use]
    pub fn network(address: IpAddr, prefix: u8) -> Option<Self> {
        let network = match address {
            IpAddr::V4(a) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4((a.to_bits() & mask).into())
            }
            IpAddr::V6(a) if prefix <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6((a.to_bits() & mask).into())
            }
            _ => return None,
        };
        Some(Self { network, prefix })
    }

    /// Whether `address` lies in it. The families never mix: `::ffff:192.0.2.1` is IPv6.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::network(address, self.prefix).is_some_and(|n| n.network == self.network)
    }

    /// Whether an address can lie in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// Whether all addresses of `other` lie in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.network)
    }

    /// Its first address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.network
    }

    /// How many bits of [`Target::address`] count.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether its addresses are IPv4.
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.network.is_ipv4()
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| TargetError::Address)?;
        let Some(prefix) = prefix else {
            return Ok(Self::host(address));
        };
        let max = Self::host(address).prefix;
        let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix = prefix
            .parse()
            .ok()
            .filter(|_| digits)
            .ok_or(TargetError::Prefix { max })?;
        Self::network(address, prefix).ok_or(TargetError::Prefix { max })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::host(self.network) {
            write!(f, "{}", self.network)
        } else {
            write!(f, "{}/{}", self.network, self.prefix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_other() {
        assert!(target("192.0.2.9/24").contains(address("192.0.2.255")));
        assert!(!target("192.0.2.9/24").contains(address("192.0.3.0")));
        assert!(target("2001:db8::/32").contains(address("2001:db8:ffff::1")));
        assert!(target("0.0.0.0/0").contains(address("203.0.113.7")));
        assert!(!target("0.0.0.0/0").contains(address("::1")));
    }

    #[test]
    fn networks_overlap_if_one_holds_the_other() {
        assert!(target("10.0.0.0/8").overlaps(&target("10.1.2.3")));
        assert!(target("10.1.2.3").overlaps(&target("10.0.0.0/8")));
        assert!(!target("10.1.0.0/16").overlaps(&target("10.2.0.0/16")));
        assert!(!target("0.0.0.0/0").overlaps(&target("::/0")));
    }

    #[test]
    fn any_spelling_of_an_address_is_the_address() {
        assert_eq!(target("FD77:0::2"), target("fd77::2"));
    }

    #[test]
    fn nonsense_is_refused_with_its_part_named() {
        assert_eq!("host".parse::<Target>(), Err(TargetError::Address));
        assert_eq!(
            "10.0.0.1/33".parse::<Target>(),
            Err(TargetError::Prefix { max: 32 })
        );
        assert_eq!(
            "10.0.0.1/+8".parse::<Target>(),
            Err(TargetError::Prefix { max: 32 })
        );
        assert_eq!(
            "::/129".parse::<Target>(),
            Err(TargetError::Prefix { max: 128 })
        );
        assert_eq!("".parse::<Target>(), Err(TargetError::Address));
    }
}
