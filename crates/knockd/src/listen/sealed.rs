//! What the listener must know of sealed packets and codes, besides their ports.

use knock_spa::code::Sieve;

use super::PacketSide;
use crate::wire::{Order, Site};

impl PacketSide {
    /// Replaces the keys of sealed packets.
    pub fn set_site(&mut self, site: Option<Site>) {
        if site != self.site {
            self.site = site;
            self.tell(&Order::Site(self.site.clone()));
        }
    }

    /// Replaces what may be a code on paper; `None` if there is none. When this returns, new ones are
    /// heard: the listener is waited for, at most 100 ms.
    pub fn set_codes(&mut self, codes: Option<Sieve>) {
        if codes == self.codes {
            return;
        }
        let is_known = |mark| {
            self.codes
                .as_ref()
                .is_some_and(|old| old.marks.contains(mark))
        };
        let mut marks = codes.iter().flat_map(|new| &new.marks);
        let has_new = marks.any(|mark| !is_known(mark));
        self.codes = codes;
        self.tell(&Order::Codes(self.codes.clone()));
        if has_new {
            self.ask();
        }
        self.capture.set_codes(self.codes.is_some());
        self.attach();
    }
}
