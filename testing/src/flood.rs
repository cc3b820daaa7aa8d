//! First knocks from crowds of addresses that nobody has.

use std::net::{IpAddr, Ipv4Addr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Result;
use crate::network::Network;
use crate::script::{Knock, Variation, packet};

/// Where its addresses begin: the space that carriers share (RFC 6598), which no case uses.
const FIRST: u32 = 0x6440_0000;
/// How many there are.
const ADDRESSES: u32 = 0x0040_0000;

/// A flood of SYNs to one port. No address comes twice within four million packets. Daemons do not
/// look at the IP checksum; it is wrong so that the server's own stack spends no time on a packet.
#[derive(Clone, Debug)]
pub struct Flood {
    knock: Knock,
    sent: u32,
}

impl Flood {
    /// A flood of SYNs to `port` of the server.
    ///
    /// # Errors
    /// Never, as far as is known.
    pub fn new(port: u16) -> Result<Self> {
        let mut knock = packet(&port.to_string())?;
        knock.variations.push(Variation::BadIpChecksum);
        Ok(Self { knock, sent: 0 })
    }

    /// Sends `count` packets, evenly over time, at most `rate` a second; how long it took.
    ///
    /// # Errors
    /// If the kernel does not take them.
    pub fn send(&mut self, network: &Network, count: u32, rate: u32) -> Result<Duration> {
        let start = Instant::now();
        let mut sent = 0;
        while sent < count {
            let due = start.elapsed().as_micros() * u128::from(rate) / 1_000_000;
            let due = u32::try_from(due).unwrap_or(u32::MAX).min(count);
            while sent < due {
                self.send_one(network)?;
                sent += 1;
            }
            // Many a millisecond go out together, as they do on a real line.
            sleep(Duration::from_micros(200));
        }
        Ok(start.elapsed())
    }

    fn send_one(&mut self, network: &Network) -> Result<()> {
        let address = FIRST + self.sent % ADDRESSES;
        self.knock.source = IpAddr::V4(Ipv4Addr::from_bits(address));
        self.sent = self.sent.wrapping_add(1);
        network.send(&self.knock)
    }
}
