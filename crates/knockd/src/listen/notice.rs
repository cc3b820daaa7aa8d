//! What the packet side has to say.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::sandbox::{Layer, State};
use crate::wire::{Knock, Report};

/// What the keeper should hear of.
#[derive(Debug)]
pub enum Notice {
    /// A report of the listener.
    Report(Report),
    /// A sealed packet that the listener has opened.
    Knock(Box<Knock>),
    /// Something changed about an interface that was asked for by name. With `any` there are no
    /// such notices: hosts with containers would do nothing else.
    Interface {
        /// Its name.
        name: String,
        /// What changed.
        change: InterfaceChange,
    },
    /// A listener is ready.
    Ready {
        /// What it is held by.
        layers: Vec<(Layer, State)>,
        /// How long there was none, if there was one before it.
        again: Option<Duration>,
    },
    /// Something is wrong; the daemon goes on as well as it can.
    Problem(Problem),
}

/// What changed about an interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum InterfaceChange {
    /// It is not there at the start, or when first asked for; it is waited for.
    Absent,
    /// It came into being.
    Appeared,
    /// It went away; it is waited for.
    Gone,
    /// It was switched on.
    Up,
    /// It is, or was, switched off.
    Down,
    /// It has no address (any more), so that only doors with targets can hear anything on it.
    NoAddress,
    /// It has these addresses now, sorted.
    Addresses(Vec<IpAddr>),
}

/// What is wrong on the packet side.
#[derive(Debug)]
pub enum Problem {
    /// The kernel refused the filter for these doors; one that passes every port is in force.
    FilterTooLarge(io::Error),
    /// The kernel refused every filter; the one before stays in force.
    Filter(io::Error),
    /// Interfaces could not be followed; they are looked at again on the next change or reload.
    Links(io::Error),
    /// The listener has ended, or was ended: how, in words. Another one follows; what comes
    /// meanwhile waits in the ring.
    Listener(String),
    /// There is no room for whole packets, so that sealed ones are not heard until a restart.
    NoRoom(io::Error),
    /// No listener could be started; it is tried again.
    NoListener(io::Error),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FilterTooLarge(error) => write!(
                f,
                "the kernel refused the packet filter for these doors ({error}); \
                 a wider one is used, which costs more time a packet"
            ),
            Self::Filter(error) => write!(f, "the kernel refused the packet filter: {error}"),
            Self::Links(error) => write!(f, "cannot follow the network interfaces: {error}"),
            Self::Listener(end) => write!(f, "{end}; another one is started"),
            Self::NoRoom(error) => write!(
                f,
                "sealed packets are not heard before the daemon is restarted: {error}"
            ),
            Self::NoListener(error) => write!(f, "cannot start the listener: {error}"),
        }
    }
}

impl std::error::Error for Problem {}

/// The most addresses that a line names: with thousands of them, each that comes or goes would
/// repeat all.
const ADDRESSES_A_LINE: usize = 8;

impl fmt::Display for InterfaceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("is not there; waiting for it"),
            Self::Appeared => f.write_str("appeared"),
            Self::Gone => f.write_str("is gone; waiting for it"),
            Self::Up => f.write_str("is up"),
            Self::Down => f.write_str("is down"),
            Self::NoAddress => f.write_str("has no address"),
            Self::Addresses(addresses) => {
                f.write_str("has")?;
                for (i, address) in addresses.iter().take(ADDRESSES_A_LINE).enumerate() {
                    write!(f, "{}{address}", if i == 0 { " " } else { ", " })?;
                }
                match addresses.len().checked_sub(ADDRESSES_A_LINE) {
                    None | Some(0) => Ok(()),
                    Some(more) => write!(f, " and {more} more"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_about_addresses_does_not_grow_with_their_number() {
        let addresses = |count: u8| {
            let all = (1..=count).map(|n| IpAddr::from([10, 0, 0, n]));
            InterfaceChange::Addresses(all.collect()).to_string()
        };
        assert_eq!(addresses(2), "has 10.0.0.1, 10.0.0.2");
        assert!(addresses(8).ends_with(", 10.0.0.8"));
        assert!(addresses(200).ends_with(", 10.0.0.8 and 192 more"));
    }
}
