//! Sealed packets: tag, limits, and then the public-key work.
//!
//! The limits stand after the tag, so that only who has a site key can use them up; and before the
//! work, so that who has one can make us work no more than a part of one processor.

use std::net::IpAddr;
use std::time::Duration;

use knock_core::packet::{Packet, payload};
use knock_core::time::Timestamp;
use knock_sys::Frame;

use crate::bucket::{Bucket, Networks};
use crate::wire::{Knock, Site};

/// Good tags in all: 4,000 a second, at about 0.1 ms each.
const ALL: u32 = 1_000;
const PERIOD: Duration = Duration::from_micros(250);

/// Of one network (/24, /56): less than of all, so that one alone leaves something for the others;
/// and more than the 2,000 a second under which real knocks of the same network must not suffer.
const ONE: u32 = 500;
const ONE_PERIOD: Duration = Duration::from_micros(400);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Sealed {
    site: knock_spa::Site,
    limits: Limits,
    pub(super) counts: Counts,
}

/// What came of datagrams at our ports.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) junk: u64,
    pub(super) limited: u64,
    pub(super) broken: u64,
    pub(super) opened: u64,
}

impl Sealed {
    /// With these keys, and a secret `seed`.
    pub(super) fn new(site: &Site, seed: [u64; 2], counts: Counts) -> Self {
        Self {
            site: site.open(),
            limits: Limits::new(seed),
            counts,
        }
    }

    /// Opens the `datagram` that `packet` carries, if there is one and it is worth it.
    pub(super) fn open(
        &mut self,
        packet: &Packet,
        datagram: Option<&[u8]>,
        interface: u32,
        now: Timestamp,
    ) -> Option<Knock> {
        let admitted = datagram.and_then(|datagram| self.site.admit(datagram));
        let Some(admitted) = admitted else {
            self.counts.junk = self.counts.junk.saturating_add(1);
            return None;
        };
        if !self.limits.take(packet.source, now) {
            self.counts.limited = self.counts.limited.saturating_add(1);
            return None;
        }
        let Ok(unsealed) = knock_spa::Site::unseal(&admitted) else {
            self.counts.broken = self.counts.broken.saturating_add(1);
            return None;
        };
        self.counts.opened = self.counts.opened.saturating_add(1);
        Some(Knock {
            at: now,
            source: packet.source,
            destination: packet.destination,
            source_port: packet.source_port,
            port: packet.destination_port,
            interface,
            unsealed,
        })
    }
}

/// As [`super::hearing`] reads packets, also behind a VLAN tag that the kernel has left.
pub(super) fn payload_of<'a>(frame: &Frame<'a>) -> Option<&'a [u8]> {
    let behind_tag = |why| match frame.bytes.split_first_chunk() {
        Some((&[_, _, high, low], rest)) if u16::from_be_bytes([high, low]) == frame.ether_type => {
            payload(frame.ether_type, rest)
        }
        _ => Err(why),
    };
    let found = payload(frame.ether_type, frame.bytes).or_else(behind_tag);
    found.ok()
}

/// The token buckets.
#[derive(Debug)]
struct Limits {
    all: Bucket,
    networks: Networks,
}

impl Limits {
    fn new(seed: [u64; 2]) -> Self {
        Self {
            all: Bucket::new(ALL, PERIOD),
            networks: Networks::new(seed, ONE, ONE_PERIOD),
        }
    }

    fn take(&mut self, source: IpAddr, now: Timestamp) -> bool {
        self.networks.take(source, now) && self.all.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(limits: &mut Limits, source: [u8; 4], count: u32, at: u64) -> usize {
        let now = Timestamp::from_millis(at);
        (0..count)
            .filter(|_| limits.take(IpAddr::from(source), now))
            .count()
    }

    #[test]
    fn one_network_leaves_something_for_the_others() {
        let mut limits = Limits::new([1, 2]);
        assert_eq!(taken(&mut limits, [10, 0, 0, 1], 10_000, 5_000), 500);
        assert_eq!(taken(&mut limits, [10, 0, 0, 2], 10_000, 5_000), 0);
        assert_eq!(taken(&mut limits, [10, 0, 1, 1], 10_000, 5_000), 500);
        assert_eq!(
            taken(&mut limits, [10, 0, 2, 1], 10_000, 5_000),
            0,
            "of all"
        );
        assert_eq!(taken(&mut limits, [10, 0, 0, 1], 10_000, 5_100), 250);
    }

    #[test]
    fn real_knocks_pass_while_their_own_network_brings_two_thousand_a_second() {
        let mut limits = Limits::new([3, 4]);
        for millis in 0..5_000 {
            assert_eq!(taken(&mut limits, [10, 0, 0, 7], 2, millis), 2);
            if millis % 250 == 0 {
                assert_eq!(taken(&mut limits, [10, 0, 0, 1], 1, millis), 1);
            }
        }
    }
}
