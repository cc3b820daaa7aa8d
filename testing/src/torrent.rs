//! Hostile packets, as many as this machine can send, while something else goes on.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::Result;
use crate::network::Network;
use crate::script::packet;

/// Packets that are sent with one system call.
const BATCH: usize = 64;

/// Where a packet's addresses begin in a frame without VLAN tags (RFC 791, 3.1; RFC 8200, 3).
const SOURCE_V4: usize = 14 + 12;
const SOURCE_V6: usize = 14 + 8;

/// How many packets, and how fast.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Pace {
    /// As fast as so many threads can.
    Full(usize),
    /// So many a second, by one thread.
    PerSecond(u32),
}

impl Pace {
    /// All that this machine can send.
    #[must_use]
    pub fn all() -> Self {
        Self::Full(thread::available_parallelism().map_or(1, usize::from))
    }

    const fn senders(self) -> usize {
        match self {
            Self::Full(senders) => senders,
            Self::PerSecond(_) => 1,
        }
    }

    /// Whether another batch is due, of which `sent` packets were sent since `started`.
    fn is_due(self, sent: u64, started: Instant) -> bool {
        match self {
            Self::Full(_) => true,
            Self::PerSecond(rate) => {
                let due = started.elapsed().as_millis() * u128::from(rate) / 1000;
                u128::from(sent) < due
            }
        }
    }
}

/// Where hostile packets claim to come from.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Sources {
    /// One source: whatever the frame says.
    One,
    /// Over IPv4, a quarter of all addresses there are (64.0.0.0/2); over IPv6, 2000::/3.
    Anybody,
    /// The client's neighbours: of its own /24 those from 100 on, or of its own /64 nearly all.
    Neighbours,
}

/// Packets that are alike but for their source.
#[derive(Clone, Debug)]
pub struct Hostile {
    frame: Vec<u8>,
    sources: Sources,
}

impl Hostile {
    /// The packet `word` of the notation (see [`crate::script`]), in such a way that the server's own
    /// stack drops it at once: what the kernel answers to it is not what is looked at here.
    ///
    /// # Errors
    /// If `word` is no packet.
    pub fn new(network: &Network, word: &str, sources: Sources) -> Result<Self> {
        let mut knock = packet(word)?;
        // Daemons look neither at the IP checksum nor, behind a bridge, at whose frame it was.
        knock.variations.push(match knock.source {
            IpAddr::V4(_) => crate::script::Variation::BadIpChecksum,
            IpAddr::V6(_) => crate::script::Variation::ForeignMac,
        });
        Ok(Self::raw(network.frame(&knock)?, sources))
    }

    /// A frame, byte by byte, in which only the source changes.
    #[must_use]
    pub const fn raw(frame: Vec<u8>, sources: Sources) -> Self {
        Self { frame, sources }
    }

    /// Gives it a new source.
    fn vary(&mut self, random: &mut Rng) {
        let low = random.u64(..).to_be_bytes();
        let [a, b, c, d, ..] = low;
        let v4 = self.frame.get(12..14) == Some(&[0x08, 0x00]);
        match (self.sources, v4) {
            (Sources::One, _) => {}
            (Sources::Anybody, true) => self.patch(SOURCE_V4, &[0x40 | (a & 0x3f), b, c, d]),
            (Sources::Anybody, false) => {
                let high = random.u64(..) >> 3 | 0x2000_0000_0000_0000;
                self.patch(SOURCE_V6, &high.to_be_bytes());
                self.patch(SOURCE_V6 + 8, &low);
            }
            (Sources::Neighbours, true) => self.patch(SOURCE_V4 + 3, &[random.u8(100..255)]),
            (Sources::Neighbours, false) => self.patch(SOURCE_V6 + 8, &[0x80 | a, b, c, d]),
        }
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        for (old, new) in self.frame.iter_mut().skip(at).zip(bytes) {
            *old = *new;
        }
    }
}

impl AsRef<[u8]> for Hostile {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

/// What was sent.
#[derive(Copy, Clone, Debug, Default)]
pub struct Sent {
    /// Packets.
    pub packets: u64,
    /// For so long.
    pub time: Duration,
}

impl Sent {
    /// Packets a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        u32::try_from(self.packets).map_or(f64::INFINITY, f64::from) / self.time.as_secs_f64()
    }
}

/// Does `job` while `hostile` packets are sent in turn from the client; what came of it, and what was
/// sent.
///
/// # Errors
/// What `job` says, or if the kernel does not take the packets.
pub fn during<T>(
    network: &Network,
    hostile: &[Hostile],
    pace: Pace,
    job: impl FnOnce() -> Result<T>,
) -> Result<(T, Sent)> {
    let started = Instant::now();
    let (stop, packets) = (AtomicBool::new(false), AtomicU64::new(0));
    let send = || -> Result<()> {
        let mut batches = network.batches(BATCH)?;
        let mut random = Rng::new();
        let count = hostile.len().max(BATCH);
        let mut round: Vec<Hostile> = hostile.iter().cycle().take(count).cloned().collect();
        while !stop.load(Ordering::Relaxed) {
            for batch in round.chunks_mut(BATCH) {
                for hostile in &mut *batch {
                    hostile.vary(&mut random);
                }
                let sent = batches.send(batch)?;
                packets.fetch_add(u64::try_from(sent)?, Ordering::Relaxed);
            }
            while !pace.is_due(packets.load(Ordering::Relaxed), started)
                && !stop.load(Ordering::Relaxed)
            {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    };
    let done = thread::scope(|scope| -> Result<T> {
        let threads: Vec<_> = (0..pace.senders()).map(|_| scope.spawn(send)).collect();
        let done = job();
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| "a sender panicked")??;
        }
        done
    })?;
    let sent = Sent {
        packets: packets.into_inner(),
        time: started.elapsed(),
    };
    Ok((done, sent))
}
