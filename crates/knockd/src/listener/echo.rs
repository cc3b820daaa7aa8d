//! Packets that are seen twice: on a port and on its bridge or bond, behind a VLAN tag and on the
//! VLAN's interface, on what carries a macvlan and on it.
//!
//! An address is that of one interface, so doors without a target hear such a packet once. Doors
//! with a target ask only where it goes, so they must be told. Nothing but the packet itself says
//! that it is the same: its first bytes and its length, within moments, on another interface.

use std::time::Duration;

use knock_core::time::Timestamp;
use knock_sys::Frame;

/// How many packets can come between the two: a few, from other processors.
const REMEMBERED: usize = 8;

/// How long it takes a packet to get from one interface to the other, generously.
const MOMENT: Duration = Duration::from_millis(10);

/// Bytes that are compared: ports, and what tells a packet from the next one (IP identification,
/// TCP sequence number), behind the longest IPv4 header or the IPv6 header.
const HEAD: usize = 80;

/// The latest packets.
#[derive(Debug)]
pub(super) struct Echoes {
    seen: [Seen; REMEMBERED],
    next: usize,
}

#[derive(Copy, Clone, Debug)]
struct Seen {
    interface: u32,
    at: Timestamp,
    local: bool,
    length: u32,
    head: [u8; HEAD],
}

/// Whether a packet was seen before.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Sight {
    /// No.
    First,
    /// It was, on another interface; `local`: which had its destination's address.
    Again {
        /// Whether it was local there.
        local: bool,
    },
}

impl Echoes {
    pub(super) const fn new() -> Self {
        let nothing = Seen {
            interface: 0,
            at: Timestamp::ZERO,
            local: false,
            length: 0,
            head: [0; HEAD],
        };
        Self {
            seen: [nothing; REMEMBERED],
            next: 0,
        }
    }

    /// Takes a packet that came in at `at`; `local`: to an address of the interface it came by.
    pub(super) fn see(&mut self, frame: &Frame<'_>, local: bool, at: Timestamp) -> Sight {
        let mut head = [0; HEAD];
        for (to, from) in head.iter_mut().zip(frame.bytes) {
            *to = *from;
        }
        let same = |seen: &&mut Seen| {
            seen.length == frame.length
                && at.saturating_since(seen.at) <= MOMENT
                && seen.head == head
        };
        if let Some(seen) = self.seen.iter_mut().find(same) {
            if seen.interface == frame.interface {
                // The sender has repeated it.
                (seen.at, seen.local) = (at, local);
                return Sight::First;
            }
            // Of one that is seen a third time, it matters whether it was local before.
            let before = seen.local;
            seen.local |= local;
            return Sight::Again { local: before };
        }
        let now = Seen {
            interface: frame.interface,
            at,
            local,
            length: frame.length,
            head,
        };
        if let Some(place) = self.seen.get_mut(self.next) {
            *place = now;
        }
        self.next = (self.next + 1) % REMEMBERED;
        Sight::First
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(interface: u32, bytes: &[u8]) -> Frame<'_> {
        Frame {
            interface,
            ether_type: 0x0800,
            packet_type: 0,
            realtime_nanos: 0,
            length: 60,
            bytes,
        }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    #[test]
    fn the_same_packet_on_another_interface_within_a_moment_is_seen_again() {
        let mut echoes = Echoes::new();
        let (one, two) = ([1; 60], [2; 60]);
        assert_eq!(echoes.see(&frame(2, &one), false, at(0)), Sight::First);
        assert_eq!(echoes.see(&frame(2, &two), false, at(0)), Sight::First);
        let again = |local| Sight::Again { local };
        assert_eq!(echoes.see(&frame(3, &one), true, at(1)), again(false));
        assert_eq!(echoes.see(&frame(4, &one), true, at(1)), again(true));
        assert_eq!(echoes.see(&frame(3, &two), true, at(11)), Sight::First);
    }

    #[test]
    fn a_packet_that_is_sent_again_is_another_one() {
        let mut echoes = Echoes::new();
        let same = [1; 60];
        for n in 0..20 {
            assert_eq!(echoes.see(&frame(2, &same), false, at(n)), Sight::First);
            let again = Sight::Again { local: false };
            assert_eq!(echoes.see(&frame(3, &same), true, at(n)), again);
        }
    }

    #[test]
    fn a_few_packets_may_come_between() {
        let mut echoes = Echoes::new();
        let first = [100; 60];
        assert_eq!(echoes.see(&frame(2, &first), false, at(0)), Sight::First);
        for n in 1..8 {
            assert_eq!(echoes.see(&frame(2, &[n; 60]), false, at(0)), Sight::First);
        }
        let again = Sight::Again { local: false };
        assert_eq!(echoes.see(&frame(3, &first), true, at(0)), again);
    }
}
