//! Which of our addresses the server sees as they are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address of ours reaches the world unchanged, so that a request may name it. A
/// private one is translated on its way, or may be.
#[must_use]
pub const fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

const fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    // RFC 6598: between a provider and its customers.
    let shared = a == 100 && b & 0xc0 == 64;
    let special = address.is_private() || address.is_loopback() || address.is_link_local();
    !(shared || special || a == 0 || a >= 224)
}

/// RFC 4291, 2.4: what is handed out of 2000::/3.
const fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, ..] = address.octets();
    first & 0xe0 == 0x20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_translated_is_public() {
        for (address, public) in [
            ("203.0.113.7", true),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("127.0.0.1", false),
            ("169.254.1.1", false),
            ("0.0.0.0", false),
            ("2001:db8::7", true),
            ("fd00::1", false),
            ("fe80::1", false),
            ("::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }
}
