//! Steps and sequences: the ports that must be knocked, in their order.

use alloc::vec::Vec;
use core::fmt;

/// The transport protocol of a step or of a packet.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// Transmission Control Protocol, IP protocol number 6.
    Tcp,
    /// User Datagram Protocol, IP protocol number 17.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// One port of a sequence.
///
/// Port 0 can be a step: the original counts packets to it (it got there from `abc` or from a
/// trailing comma), and a packet to port 0 is a packet like any other.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Step {
    /// The protocol.
    pub protocol: Protocol,
    /// The destination port.
    pub port: u16,
}

impl Step {
    /// A TCP step.
    #[must_use]
    pub const fn tcp(port: u16) -> Self {
        Self {
            protocol: Protocol::Tcp,
            port,
        }
    }

    /// A UDP step.
    #[must_use]
    pub const fn udp(port: u16) -> Self {
        Self {
            protocol: Protocol::Udp,
            port,
        }
    }
}

/// As `sequence` writes it: `7000` for TCP, `7000:udp` for UDP.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Protocol::Tcp => write!(f, "{}", self.port),
            Protocol::Udp => write!(f, "{}:udp", self.port),
        }
    }
}

/// The steps of a door: at least one, at most [`Sequence::MAX`].
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Sequence(Vec<Step>);

/// Why steps are not a sequence.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum SequenceError {
    /// There is no step.
    Empty,
    /// There are more steps than [`Sequence::MAX`].
    TooLong,
}

impl Sequence {
    /// The most steps that a sequence may have, as in the original.
    pub const MAX: usize = 32;

    /// A sequence of `steps`.
    ///
    /// # Errors
    /// If there is none, or more than [`Sequence::MAX`].
    pub fn new(steps: Vec<Step>) -> Result<Self, SequenceError> {
        match steps.len() {
            0 => Err(SequenceError::Empty),
            n if n > Self::MAX => Err(SequenceError::TooLong),
            _ => Ok(Self(steps)),
        }
    }

    /// The steps, first to last; never empty.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

/// As `sequence` writes it: `7000,8000:udp`.
impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "," };
            write!(f, "{separator}{step}")?;
        }
        Ok(())
    }
}
