//! Lists of addresses as `from=` of `authorized_keys` has them (`PATTERNS` in ssh_config(5)).

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

/// A list of addresses, networks and patterns. A `!` before one takes out again what it matches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddressList(Box<[Entry]>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Entry {
    negated: bool,
    what: What,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum What {
    Network { base: IpAddr, bits: u8 },
    Pattern(Box<str>),
}

impl AddressList {
    /// The most entries of one list.
    pub const MAX: usize = 256;

    /// Reads a list with commas: addresses, `192.0.2.0/24`, `2001:db8::/32`, `192.0.2.*`, each
    /// with a `!` before it or not.
    ///
    /// # Errors
    /// If it is empty, or an entry is none of these: names of hosts cannot be looked up here.
    pub fn new(text: &str) -> Result<Self, BadAddress> {
        Self::read(text, true)
    }

    /// The same of networks and addresses only, as `source-address` of a certificate has them.
    ///
    /// # Errors
    /// If it is empty, or has something else.
    pub fn of_networks(text: &str) -> Result<Self, BadAddress> {
        Self::read(text, false)
    }

    fn read(text: &str, patterns: bool) -> Result<Self, BadAddress> {
        let mut entries = Vec::new();
        let mut at = 0;
        for part in text.split(',') {
            let wrong = |why| BadAddress {
                at,
                length: part.len(),
                why,
            };
            let entry = entry(part, patterns).map_err(wrong)?;
            if entries.len() == Self::MAX {
                return Err(wrong(Why::TooMany));
            }
            entries.push(entry);
            at += part.len() + 1;
        }
        Ok(Self(entries.into_boxed_slice()))
    }

    /// Whether the address is in it: one entry matches, and none with a `!`.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let text = address.to_string();
        let matches = |negated| {
            let mut of_this_sign = self.0.iter().filter(move |each| each.negated == negated);
            of_this_sign.any(|each| each.what.matches(address, &text))
        };
        matches(false) && !matches(true)
    }
}

impl What {
    fn matches(&self, address: IpAddr, text: &str) -> bool {
        match self {
            Self::Network { base, bits } => network(address, *bits) == Some(*base),
            Self::Pattern(pattern) => glob(pattern.as_bytes(), text.as_bytes()),
        }
    }
}

fn entry(part: &str, patterns: bool) -> Result<Entry, Why> {
    let (negated, rest) = match part.strip_prefix('!').filter(|_| patterns) {
        Some(rest) => (true, rest),
        None => (false, part),
    };
    if rest.is_empty() {
        return Err(Why::Empty);
    }
    let what = if patterns && rest.contains(['*', '?']) {
        pattern(rest)?
    } else {
        let (address, bits) = match rest.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (rest, None),
        };
        let base = IpAddr::from_str(address).map_err(|_| Why::NotAnAddress)?;
        let base = if bits.is_none() {
            base.to_canonical()
        } else {
            base
        };
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => length(bits)
                .filter(|bits| *bits <= most)
                .ok_or(Why::PrefixLength)?,
        };
        if network(base, bits) != Some(base) {
            return Err(Why::HostBits);
        }
        What::Network { base, bits }
    };
    Ok(Entry { negated, what })
}

/// Of addresses, not of names: what no address is written with is refused.
fn pattern(text: &str) -> Result<What, Why> {
    let six = text.contains(':');
    let fits = |c: char| match c {
        '*' | '?' | '.' => true,
        ':' => six,
        _ => c.is_ascii_digit() || six && matches!(c, 'a'..='f'),
    };
    if text.len() > 64 || !text.chars().all(fits) {
        return Err(Why::NotAnAddress);
    }
    Ok(What::Pattern(text.to_owned().into_boxed_str()))
}

fn length(text: &str) -> Option<u8> {
    text.bytes().all(|c| c.is_ascii_digit()).then_some(())?;
    text.parse().ok()
}

/// The first `bits` bits of an address, the rest zero.
fn network(address: IpAddr, bits: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => {
            let rest = 32_u32.checked_sub(bits.into())?;
            let mask = u32::MAX.checked_shl(rest).unwrap_or(0);
            Some(IpAddr::V4((v4.to_bits() & mask).into()))
        }
        IpAddr::V6(v6) => {
            let rest = 128_u32.checked_sub(bits.into())?;
            let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
            Some(IpAddr::V6((v6.to_bits() & mask).into()))
        }
    }
}

/// `*` is any text, `?` one character. The time is at most the product of the two lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (pattern, text);
    let mut back: Option<(&[u8], &[u8])> = None;
    loop {
        match (p, t) {
            ([b'*', rest @ ..], _) => {
                back = Some((rest, t));
                p = rest;
            }
            ([], []) => return true,
            ([c, p_rest @ ..], [d, t_rest @ ..]) if *c == b'?' || c == d => {
                (p, t) = (p_rest, t_rest);
            }
            _ => {
                let Some((after, [_, t_rest @ ..])) = back else {
                    return false;
                };
                back = Some((after, t_rest));
                (p, t) = (after, t_rest);
            }
        }
    }
}

/// An entry that is none, and where it stands in the list, in bytes.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct BadAddress {
    /// Where it begins.
    pub at: usize,
    /// How long it is.
    pub length: usize,
    why: Why,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Why {
    Empty,
    NotAnAddress,
    PrefixLength,
    HostBits,
    TooMany,
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.why {
            Why::Empty => "nothing between the commas",
            Why::NotAnAddress => {
                "not an address, a network or a pattern of addresses \
                (names of hosts are not looked up)"
            }
            Why::PrefixLength => "a prefix has at most 32 bits (IPv4) or 128 (IPv6)",
            Why::HostBits => "the address has bits after its prefix",
            Why::TooMany => "too many addresses",
        })
    }
}

impl core::error::Error for BadAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(list: &str, address: &str) -> bool {
        let address = address.parse().expect("an address");
        AddressList::new(list).expect(list).allows(address)
    }

    #[test]
    fn one_entry_must_match_and_none_with_a_mark() {
        assert!(allows("192.0.2.0/24", "192.0.2.7"));
        assert!(!allows("192.0.2.0/24", "192.0.3.7"));
        assert!(!allows("192.0.2.0/24,!192.0.2.7", "192.0.2.7"));
        assert!(
            !allows("!192.0.2.7", "192.0.2.8"),
            "only a negation allows nothing"
        );
        assert!(allows("10.0.0.*,2001:db8::/32", "2001:db8::1"));
        assert!(allows("10.0.0.*", "10.0.0.77"));
        assert!(allows("10.0.?.1", "10.0.9.1"));
        assert!(!allows("10.0.?.1", "10.0.19.1"));
        assert!(allows("*", "fe80::1"));
        assert!(allows("192.0.2.7", "::ffff:192.0.2.7"));
        assert!(allows("0.0.0.0/0", "1.2.3.4") && !allows("0.0.0.0/0", "::1"));
    }

    #[test]
    fn what_cannot_be_checked_is_refused_with_its_place() {
        for (list, at, why) in [
            ("", 0, Why::Empty),
            ("10.0.0.1,,::1", 9, Why::Empty),
            ("10.0.0.1,*.example.com", 9, Why::NotAnAddress),
            ("bad.cafe", 0, Why::NotAnAddress),
            ("10.0.0.0/33", 0, Why::PrefixLength),
            ("10.0.0.0/+8", 0, Why::PrefixLength),
            ("10.0.0.1/24", 0, Why::HostBits),
        ] {
            let bad = AddressList::new(list).expect_err(list);
            assert_eq!((bad.at, bad.why), (at, why), "{list}");
        }
    }
}
