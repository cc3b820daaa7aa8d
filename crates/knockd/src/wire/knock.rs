//! What was in a sealed packet, on its way from the listener to the keeper: a message of one size.
//!
//! The listener has opened it, and vouches for nothing: who has signed it, and whether anybody has,
//! is for the keeper to find out. As with a [`super::Report`], there is exactly one byte string for
//! each message.

use std::net::IpAddr;

use knock_core::time::Timestamp;
use knock_spa::Unsealed;

use super::bytes::{Malformed, Reader, Writer};

/// A sealed packet that was opened.
#[derive(Clone, Debug)]
pub struct Knock {
    /// When it came, on the clock of [`super::Report::at`].
    pub at: Timestamp,
    /// Where it came from.
    pub source: IpAddr,
    /// Where it went: an answer comes from there. Of the family of the source.
    pub destination: IpAddr,
    /// The UDP port that it came from.
    pub source_port: u16,
    /// The UDP port that it went to.
    pub port: u16,
    /// The number of the interface that it came in by.
    pub interface: u32,
    /// What was in it.
    pub unsealed: Unsealed,
}

/// The bytes are no such message.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct NotAKnock;

/// Bytes before what was unsealed: a kind, a family, two ports, the length, the interface, the
/// time, two addresses.
const HEAD: usize = 1 + 1 + 2 + 2 + 2 + 4 + 8 + 16 + 16;

/// The length of an encoded knock, in bytes.
pub const KNOCK_LENGTH: usize = HEAD + Unsealed::MAX;

/// The first byte; a report begins with a smaller number.
const KNOCK: u8 = 0x80;

impl Knock {
    /// The knock as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let unsealed = self.unsealed.to_bytes();
        let mut to = Writer::default();
        to.0.reserve_exact(KNOCK_LENGTH);
        to.u8(KNOCK);
        to.u8(if self.source.is_ipv4() { 4 } else { 6 });
        to.u16(self.source_port);
        to.u16(self.port);
        to.u16(u16::try_from(unsealed.len()).unwrap_or(u16::MAX));
        to.u32(self.interface);
        to.u64(self.at.as_nanos());
        for address in [self.source, self.destination] {
            let end = to.0.len() + 16;
            match address {
                IpAddr::V4(address) => to.0.extend(address.octets()),
                IpAddr::V6(address) => to.0.extend(address.octets()),
            }
            to.0.resize(end, 0);
        }
        to.0.extend(unsealed);
        to.0.resize(KNOCK_LENGTH, 0);
        to.0
    }

    /// The knock that `bytes` are.
    ///
    /// # Errors
    /// If [`Knock::encode`] would not have written exactly these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotAKnock> {
        if bytes.len() != KNOCK_LENGTH {
            return Err(NotAKnock);
        }
        let knock = read(bytes).map_err(|Malformed| NotAKnock)?;
        if knock.encode() == bytes {
            Ok(knock)
        } else {
            Err(NotAKnock)
        }
    }
}

fn read(bytes: &[u8]) -> Result<Knock, Malformed> {
    let mut from = Reader(bytes);
    if from.u8()? != KNOCK {
        return Err(Malformed);
    }
    let family = from.u8()?;
    let (source_port, port) = (from.u16()?, from.u16()?);
    let length = usize::from(from.u16()?);
    let interface = from.u32()?;
    let at = Timestamp::from_nanos(from.u64()?);
    let mut address = || {
        let bytes: [u8; 16] = from.take()?;
        match (family, bytes) {
            (4, [a, b, c, d, ..]) => Ok(IpAddr::from([a, b, c, d])),
            (6, bytes) => Ok(IpAddr::from(bytes)),
            _ => Err(Malformed),
        }
    };
    let (source, destination) = (address()?, address()?);
    let unsealed = from.0.get(..length).ok_or(Malformed)?;
    Ok(Knock {
        at,
        source,
        destination,
        source_port,
        port,
        interface,
        unsealed: Unsealed::from_bytes(unsealed).ok_or(Malformed)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A request whose block has so many bytes.
    fn unsealed(block: usize, fill: u8) -> Unsealed {
        let mut bytes = vec![1];
        bytes.resize(1 + 4 + 16 + 32 + 32 + 80 + block, fill);
        Unsealed::from_bytes(&bytes).unwrap()
    }

    fn knock(v6: bool, block: usize, fill: u8) -> Knock {
        let address = |n: u8| match v6 {
            false => IpAddr::from([10, 77, 0, n]),
            true => IpAddr::from([fill; 16]),
        };
        Knock {
            at: Timestamp::from_millis(5),
            source: address(1),
            destination: address(2),
            source_port: 40_000,
            port: 51_443,
            interface: 3,
            unsealed: unsealed(block, fill),
        }
    }

    proptest! {
        #[test]
        fn every_knock_survives_the_way(v6: bool, block in 0_usize..=1040, fill: u8) {
            let bytes = knock(v6, block, fill).encode();
            prop_assert_eq!(bytes.len(), KNOCK_LENGTH);
            let again = Knock::decode(&bytes).unwrap();
            prop_assert_eq!(again.encode(), bytes);
            prop_assert_eq!(again.source.is_ipv6(), v6);
        }

        #[test]
        fn what_is_taken_is_what_would_have_been_written(
            v6: bool, block in 0_usize..=1040, at in 0..KNOCK_LENGTH, to: u8,
        ) {
            let mut bytes = knock(v6, block, 7).encode();
            bytes[at] = to;
            if let Ok(other) = Knock::decode(&bytes) {
                prop_assert_eq!(other.encode(), bytes);
            }
        }
    }

    #[test]
    fn another_length_is_refused() {
        let bytes = knock(false, 100, 1).encode();
        assert!(Knock::decode(&bytes).is_ok());
        for wrong in [&bytes[1..], &bytes[..KNOCK_LENGTH - 1], &[]] {
            assert_eq!(Knock::decode(wrong).err(), Some(NotAKnock));
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(Knock::decode(&longer).err(), Some(NotAKnock));
    }
}
