//! Reading bytes that somebody else wrote: what is taken is checked once, nothing is indexed.

/// What is left of a message.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A `string` of RFC 4251, section 5: four bytes of length, then the bytes.
    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.bytes(length)
    }

    pub(crate) const fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// Appends a `string` of RFC 4251. Nothing here is longer than 4 GiB.
pub(crate) fn put_string(out: &mut alloc::vec::Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(bytes);
}

/// Whether padding is what it must be, so that no byte of a message is free.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// An address of either family as this protocol carries it: 4 or 6, then sixteen bytes, of which
/// IPv4 uses the first four.
pub(crate) mod address {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    pub(crate) fn put(address: Option<IpAddr>) -> (u8, [u8; 16]) {
        match address.map(|address| address.to_canonical()) {
            None => (0, [0; 16]),
            Some(IpAddr::V4(v4)) => {
                let mut bytes = [0; 16];
                if let Some(first) = bytes.first_chunk_mut() {
                    *first = v4.octets();
                }
                (4, bytes)
            }
            Some(IpAddr::V6(v6)) => (6, v6.octets()),
        }
    }

    /// `None` if it is not the one way to write it; `Some(None)` if there is no address.
    pub(crate) fn take(family: u8, bytes: [u8; 16]) -> Option<Option<IpAddr>> {
        let address = match family {
            0 => None,
            4 => {
                let (first, _) = bytes.split_first_chunk::<4>()?;
                Some(IpAddr::V4(Ipv4Addr::from(*first)))
            }
            6 => Some(IpAddr::V6(Ipv6Addr::from(bytes))),
            _ => return None,
        };
        (put(address) == (family, bytes)).then_some(address)
    }
}
