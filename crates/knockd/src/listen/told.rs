//! What the packet side can tell of itself at any time.

use std::net::IpAddr;

use knock_core::door::DoorId;
use knock_core::time::Timestamp;

use super::PacketSide;

impl PacketSide {
    /// The attempts that are under way at `now`, as far as they were reported: door, source, steps
    /// taken, end. Those that end first come first.
    pub fn attempts(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = (DoorId, IpAddr, u8, Timestamp)> {
        let attempts = self.recall.attempts(now);
        // Who only cools down is not under way.
        let attempts = attempts.filter(|(_, _, progress)| progress.stage > 0);
        attempts.map(|(door, source, progress)| (door, source, progress.stage, progress.until))
    }

    /// The interfaces that were asked for: their names, whether they are up, and their addresses.
    pub fn interfaces(&self) -> impl Iterator<Item = (&str, bool, Vec<IpAddr>)> {
        self.watch.interfaces()
    }
}
