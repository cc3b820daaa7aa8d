//! Names to numbers, by the system's own resolver (`getaddrinfo`, RFC 3493, 6.1).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use dns_lookup::{AddrInfoHints, SockType, getaddrinfo};
use knock_core::sequence::Protocol;

/// An address family.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `address`.
    #[must_use]
    pub const fn of(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Why a name has no address that can be used.
#[derive(Debug)]
pub enum ResolveError {
    /// The resolver said no.
    Lookup(io::Error),
    /// The name has addresses, but none of the family that was asked for.
    NoAddress(Option<Family>),
    /// The text is no numeric address.
    NotNumeric,
}

/// What is wrong; lower case, no full stop.
impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lookup(error) => f.write_str(reason(&error.to_string())),
            Self::NoAddress(Some(family)) => write!(f, "it has no {family} address"),
            Self::NoAddress(None) => f.write_str("it has no address"),
            Self::NotNumeric => f.write_str("expected an IPv4 or IPv6 address"),
        }
    }
}

/// The resolver's own words, without those that the library sets before them.
fn reason(text: &str) -> &str {
    text.strip_prefix("failed to lookup address information: ")
        .unwrap_or(text)
}

impl std::error::Error for ResolveError {}

/// The address of `host`, a name or an address, with port 0: the first in the resolver's order
/// (RFC 6724) that is of `family`. An IPv6 address may be in brackets and may have a zone
/// (`fe80::1%eth0`).
///
/// # Errors
/// If the resolver does not know the host, or knows no such address.
pub fn host(host: &str, family: Option<Family>) -> Result<SocketAddr, ResolveError> {
    addresses(without_brackets(host))?
        .into_iter()
        .find(|address| family.is_none_or(|family| family == Family::of(address)))
        .ok_or(ResolveError::NoAddress(family))
}

/// The first address of each family that `host` has, in the resolver's order, with port 0; of one
/// family if one is asked for.
///
/// # Errors
/// As [`host`].
pub fn each_family(host: &str, family: Option<Family>) -> Result<Vec<SocketAddr>, ResolveError> {
    let mut found: Vec<SocketAddr> = Vec::with_capacity(2);
    for address in addresses(without_brackets(host))? {
        let is_new = found
            .iter()
            .all(|have| Family::of(have) != Family::of(&address));
        if is_new && family.is_none_or(|family| family == Family::of(&address)) {
            found.push(address);
        }
    }
    if found.is_empty() {
        return Err(ResolveError::NoAddress(family));
    }
    Ok(found)
}

/// As [`host`], but only for a numeric address: no name server is asked.
///
/// # Errors
/// If `text` is no address, or its zone is no interface.
pub fn numeric(text: &str) -> Result<SocketAddr, ResolveError> {
    let address = without_brackets(text);
    let without_zone = address.split_once('%').map_or(address, |(ip, _)| ip);
    if without_zone.parse::<IpAddr>().is_err() {
        return Err(ResolveError::NotNumeric);
    }
    host(address, None)
}

/// The port of a service, as the system's services database has it for `protocol`.
#[must_use]
pub fn service(name: &str, protocol: Protocol) -> Option<u16> {
    let hints = hints(match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::DGram,
    });
    let first = getaddrinfo(None, Some(name), Some(hints)).ok()?.next()?;
    Some(first.ok()?.sockaddr.port())
}

fn addresses(host: &str) -> Result<Vec<SocketAddr>, ResolveError> {
    // One socket type, so that each address comes once.
    let found = getaddrinfo(Some(host), None, Some(hints(SockType::DGram)))
        .map_err(|error| ResolveError::Lookup(error.into()))?;
    found
        .map(|info| info.map(|info| info.sockaddr))
        .collect::<io::Result<_>>()
        .map_err(ResolveError::Lookup)
}

fn hints(kind: SockType) -> AddrInfoHints {
    AddrInfoHints {
        socktype: kind.into(),
        ..AddrInfoHints::default()
    }
}

fn without_brackets(text: &str) -> &str {
    text.strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_need_no_resolver() {
        let v4 = host("192.0.2.7", None).unwrap();
        assert_eq!(v4, "192.0.2.7:0".parse().unwrap());
        for text in ["2001:db8::7", "[2001:db8::7]"] {
            assert_eq!(
                host(text, None).unwrap(),
                "[2001:db8::7]:0".parse().unwrap()
            );
        }
    }

    #[test]
    fn a_literal_of_the_other_family_is_refused() {
        let error = host("192.0.2.7", Some(Family::V6)).unwrap_err();
        assert!(matches!(error, ResolveError::NoAddress(Some(Family::V6))));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_zone_becomes_the_scope_of_the_address() {
        for text in ["fe80::1%lo", "[fe80::1%lo]"] {
            let SocketAddr::V6(address) = numeric(text).unwrap() else {
                panic!("{text}");
            };
            assert_eq!(address.scope_id(), 1, "{text}");
        }
        assert!(numeric("fe80::1%nosuch0").is_err());
    }

    #[test]
    fn a_source_is_never_looked_up() {
        for text in ["localhost", "", "192.0.2", "192.0.2.7:80", "%lo"] {
            assert!(
                matches!(numeric(text), Err(ResolveError::NotNumeric)),
                "{text}"
            );
        }
    }

    #[test]
    fn services_are_those_of_the_protocol() {
        assert_eq!(service("ssh", Protocol::Tcp), Some(22));
        assert_eq!(service("domain", Protocol::Udp), Some(53));
        assert_eq!(service("tftp", Protocol::Udp), Some(69));
        assert_eq!(service("tftp", Protocol::Tcp), None);
        assert_eq!(service("no\0such", Protocol::Tcp), None);
    }
}
