//! TCP flags: what a segment carries, and what a door asks of it.

use core::fmt;

/// The low six flag bits of a TCP header (RFC 9293, 3.1), the ones that `tcpflags` can name.
#[derive(Copy, Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct TcpFlags(u8);

impl TcpFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment field is significant.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer is significant.
    pub const URG: Self = Self(0x20);

    /// Every flag with the name that `tcpflags` uses, in the order of their bits.
    pub const NAMED: [(&'static str, Self); 6] = [
        ("fin", Self::FIN),
        ("syn", Self::SYN),
        ("rst", Self::RST),
        ("psh", Self::PSH),
        ("ack", Self::ACK),
        ("urg", Self::URG),
    ];

    /// The flags of byte 13 of a TCP header; CWR and ECE are not kept.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0x3f)
    }

    /// The flags as the bits of byte 13 of a TCP header.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// These flags and those of `other`.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The flags that are in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// These flags without those of `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether no flag is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What a door asks of the flags of a TCP segment (`tcpflags`). UDP always matches.
///
/// The default asks for nothing, as the original does without `tcpflags`: any segment counts.
#[derive(Copy, Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct FlagMatch {
    set: TcpFlags,
    clear: TcpFlags,
}

impl FlagMatch {
    /// Asks for nothing.
    pub const ANY: Self = Self {
        set: TcpFlags::NONE,
        clear: TcpFlags::NONE,
    };

    /// This match, asking in addition that `flags` are set. For each flag the last word counts
    /// (`syn,!syn` is `!syn`), as in the original.
    #[must_use]
    pub const fn and_set(self, flags: TcpFlags) -> Self {
        Self {
            set: self.set.union(flags),
            clear: self.clear.difference(flags),
        }
    }

    /// This match, asking in addition that `flags` are clear; see [`FlagMatch::and_set`].
    #[must_use]
    pub const fn and_clear(self, flags: TcpFlags) -> Self {
        Self {
            set: self.set.difference(flags),
            clear: self.clear.union(flags),
        }
    }

    /// The flags that must be set.
    #[must_use]
    pub const fn must_be_set(self) -> TcpFlags {
        self.set
    }

    /// The flags that must be clear.
    #[must_use]
    pub const fn must_be_clear(self) -> TcpFlags {
        self.clear
    }

    /// Whether it asks for nothing.
    #[must_use]
    pub const fn is_any(self) -> bool {
        self.set.is_empty() && self.clear.is_empty()
    }

    /// Whether a segment with `flags` fits.
    #[must_use]
    pub const fn matches(self, flags: TcpFlags) -> bool {
        flags.bits() & (self.set.bits() | self.clear.bits()) == self.set.bits()
    }
}

impl fmt::Display for FlagMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, flag) in TcpFlags::NAMED {
            let sign = if !self.set.intersection(flag).is_empty() {
                ""
            } else if !self.clear.intersection(flag).is_empty() {
                "!"
            } else {
                continue;
            };
            write!(f, "{separator}{sign}{name}")?;
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_last_word_on_a_flag_counts() {
        let m = FlagMatch::ANY
            .and_set(TcpFlags::SYN)
            .and_clear(TcpFlags::SYN);
        assert_eq!(m.to_string(), "!syn");
        assert!(m.matches(TcpFlags::ACK) && !m.matches(TcpFlags::SYN));
    }

    #[test]
    fn syn_also_matches_syn_ack_unless_ack_is_refused() {
        let syn = FlagMatch::ANY.and_set(TcpFlags::SYN);
        let syn_ack = TcpFlags::SYN.union(TcpFlags::ACK);
        assert!(syn.matches(syn_ack));
        assert!(!syn.and_clear(TcpFlags::ACK).matches(syn_ack));
    }
}
