//! The packet side: from the wire to openings.
//!
//! [`PacketSide`] is what the acting side holds of it. Behind it a listener, which alone sees
//! packets, walks the kernel's ring, runs the engine, and sends [`Report`]s, fixed-size messages
//! that carry numbers only; and a watch follows the host's interfaces and addresses. The listener
//! is a thread; it shares nothing with the acting side but descriptors and messages.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use knock_core::door::{Door, DoorId};
use knock_core::engine;
use knock_core::sequence::Sequence;
use knock_core::time::Timestamp;
use knock_sys::{Ring, Size};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use rustix::time::{ClockId, clock_gettime};

mod capture;
mod echo;
mod limit;
mod links;
mod listener;
mod outbox;
mod remote;
pub mod report;
mod watch;

use capture::Capture;
use links::Links;
use listener::{Doors, Order};
use remote::Remote;
use watch::Watch;

pub use report::{Report, ReportKind};

/// What a packet side needs to know at its start.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The number of this set of doors; reports carry it.
    pub generation: u32,
    /// The doors; a door's id is its index.
    pub doors: Arc<[Door]>,
    /// The current sequences of the one-time doors; one that is not here is shut.
    pub sequences: Vec<(DoorId, Option<Sequence>)>,
    /// Attempts alive at once (`max_attempts`).
    pub max_attempts: u32,
    /// Names of interfaces, present or not; `any` for every one there is and will be.
    pub interfaces: Vec<String>,
    /// IPv6 is not looked at (`-4`).
    pub only_ipv4: bool,
    /// Every packet that passes the kernel's filter is reported (`-D`), within a rate limit.
    pub dump: bool,
}

/// Why packets cannot be seen.
#[derive(Debug)]
pub enum StartError {
    /// The capability `CAP_NET_RAW` is missing.
    Permission,
    /// The packet socket or its ring could not be made.
    Capture(io::Error),
    /// The kernel's interfaces could not be listed or followed.
    Links(io::Error),
    /// A channel or thread inside the daemon could not be made.
    Inside(io::Error),
}

/// What the acting side should hear of.
#[derive(Debug)]
pub enum Notice {
    /// A report of the listener.
    Report(Report),
    /// Something changed about an interface that was asked for by name. With `any` there are no
    /// such notices: hosts with containers would do nothing else.
    Interface {
        /// Its name.
        name: String,
        /// What changed.
        change: InterfaceChange,
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
    /// The listener has ended: nothing is heard any more. Told once.
    ListenerEnded,
    /// The listener sent bytes that are no report; they were thrown away.
    NotAReport,
}

/// What was counted since the start.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// What the engine counted.
    pub engine: engine::Counters,
    /// Attempts alive now.
    pub attempts: u64,
    /// Packets that passed the kernel's filter.
    pub seen: u64,
    /// Of these, packets that are no TCP or UDP packet which a door could count.
    pub not_knocks: u64,
    /// Packets that the kernel dropped because the ring was full.
    pub dropped: u64,
    /// Reports left out by the rate limit, or because the acting side was busy.
    pub lines_left_out: u64,
    /// Openings lost because the acting side was busy for too long.
    pub openings_lost: u64,
}

/// The acting side's end of the packet side; see the [module](self).
#[derive(Debug)]
pub struct PacketSide {
    reports: OwnedFd,
    watch: Watch,
    capture: Capture,
    listener: Remote,
    counters: Counters,
    notices: VecDeque<Notice>,
    /// Whether there is a listener no more.
    ended: bool,
}

/// Now, on the clock of [`Report::at`]: the system's monotonic clock.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_nanos(listener::nanos(clock_gettime(ClockId::Monotonic)))
}

/// The most reports that one call of [`PacketSide::handle_readable`] reads.
const REPORTS_A_CALL: usize = 1024;

impl PacketSide {
    /// Opens the packet socket, starts the listener and begins to follow the interfaces, in the
    /// caller's network namespace.
    ///
    /// # Errors
    /// If packets cannot be seen at all; an interface that is not there is none of these.
    pub fn start(setup: Setup) -> Result<Self, StartError> {
        let Setup {
            generation,
            doors,
            sequences,
            max_attempts,
            interfaces,
            only_ipv4,
            dump,
        } = setup;
        let watch = Watch::new(interfaces).map_err(StartError::Links)?;
        let ring = Ring::new(Size::default()).map_err(capture_error)?;
        let mut capture = Capture::new(&ring, only_ipv4).map_err(StartError::Inside)?;
        capture.set_doors(Arc::clone(&doors), &sequences);
        let mut notices = VecDeque::new();
        let problem = capture
            .attach(&watch.scope())
            .map_err(StartError::Capture)?;
        notices.extend(problem.map(Notice::Problem));
        ring.bind(0).map_err(StartError::Capture)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (reports, listeners_end) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .map_err(|errno| StartError::Inside(errno.into()))?;
        let doors = Doors {
            generation,
            doors,
            sequences,
            max_attempts,
        };
        let listener = Remote::start(ring, listeners_end, doors, watch.reach(), (only_ipv4, dump))
            .map_err(StartError::Inside)?;
        let mut side = Self {
            reports,
            watch,
            capture,
            listener,
            counters: Counters::default(),
            notices,
            ended: false,
        };
        side.tell_changes();
        Ok(side)
    }

    /// What to poll for input: the interfaces and, until [`Problem::ListenerEnded`], the reports.
    /// Then call [`PacketSide::handle_readable`].
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let reports = (!self.ended).then(|| self.reports.as_fd());
        std::iter::once(self.watch.as_fd()).chain(reports)
    }

    /// Reads what is there, up to a bound; never blocks. Harmless when nothing is. Then take the
    /// notices from [`PacketSide::poll_notice`] until there is none.
    pub fn handle_readable(&mut self) {
        match self.watch.handle_readable() {
            Ok(false) => {}
            Ok(true) => self.follow(),
            Err(error) => self.push_problem(Problem::Links(error)),
        }
        for _ in 0..REPORTS_A_CALL {
            if self.ended {
                return;
            }
            // One byte more than a report has, so that a longer message is not taken for one.
            let mut bytes = [0; report::LENGTH + 1];
            match recv(&self.reports, &mut bytes, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return self.listener_ended(),
                Ok((length, _)) => {
                    let report = bytes.get(..length).map(Report::decode);
                    self.notices.push_back(match report {
                        Some(Ok(report)) => Notice::Report(report),
                        _ => Notice::Problem(Problem::NotAReport),
                    });
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => return self.listener_ended(),
            }
        }
    }

    /// The next notice, oldest first. There may be some right after the start and after
    /// [`PacketSide::set_interfaces`] and [`PacketSide::set_doors`] too.
    #[must_use]
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Replaces the doors. Attempts at doors that did not change live on.
    pub fn set_doors(
        &mut self,
        generation: u32,
        doors: Arc<[Door]>,
        sequences: Vec<(DoorId, Option<Sequence>)>,
        max_attempts: u32,
    ) {
        self.capture.set_doors(Arc::clone(&doors), &sequences);
        self.attach();
        self.listener.tell(Order::Doors(Doors {
            generation,
            doors,
            sequences,
            max_attempts,
        }));
    }

    /// Gives a one-time door its current sequence, or shuts it.
    pub fn set_sequence(&mut self, door: DoorId, sequence: Option<Sequence>) {
        self.capture.set_sequence(door, sequence.clone());
        self.attach();
        self.listener.tell(Order::Sequence(door, sequence));
    }

    /// Replaces the names of the interfaces, and looks at all interfaces again.
    pub fn set_interfaces(&mut self, interfaces: Vec<String>) {
        if let Err(error) = self.watch.set_names(interfaces) {
            self.push_problem(Problem::Links(error));
        }
        self.follow();
    }

    /// What was counted so far. Waits for the listener at most 100 ms, and gives what was known
    /// before if it does not answer.
    #[must_use]
    pub fn counters(&mut self) -> Counters {
        if let Some(counters) = self.listener.counters() {
            self.counters = counters;
        }
        self.counters
    }

    /// Ends the listener.
    pub fn stop(self) {
        self.listener.stop();
    }

    /// Lets filter and listener follow the interfaces.
    fn follow(&mut self) {
        self.attach();
        self.listener.tell(Order::Reach(self.watch.reach()));
        self.tell_changes();
    }

    fn tell_changes(&mut self) {
        let changes = self.watch.take_changes();
        self.notices.extend(
            changes
                .into_iter()
                .map(|(name, change)| Notice::Interface { name, change }),
        );
    }

    fn attach(&mut self) {
        match self.capture.attach(&self.watch.scope()) {
            Ok(problem) => self.notices.extend(problem.map(Notice::Problem)),
            Err(error) => self.push_problem(Problem::Filter(error)),
        }
    }

    fn listener_ended(&mut self) {
        self.ended = true;
        self.push_problem(Problem::ListenerEnded);
    }

    fn push_problem(&mut self, problem: Problem) {
        self.notices.push_back(Notice::Problem(problem));
    }
}

fn capture_error(error: knock_sys::Error) -> StartError {
    match error {
        knock_sys::Error::Socket(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            StartError::Permission
        }
        knock_sys::Error::Socket(error)
        | knock_sys::Error::Ring(error)
        | knock_sys::Error::Map(error) => StartError::Capture(error),
        error @ knock_sys::Error::Size(_) => StartError::Capture(io::Error::other(error)),
    }
}

/// The interface to listen on when nobody named one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DefaultInterface {
    /// `eth0`, as in the original, since it is there.
    Eth0,
    /// There is no `eth0`; this one has the default route.
    DefaultRoute(String),
    /// There is neither: every interface.
    Any,
}

impl DefaultInterface {
    /// Its name, as [`Setup::interfaces`] has it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Eth0 => "eth0",
            Self::DefaultRoute(name) => name,
            Self::Any => ANY,
        }
    }
}

/// The name that stands for every interface.
pub const ANY: &str = "any";

/// Finds the interface to listen on when nobody named one.
///
/// # Errors
/// If the kernel's interfaces and routes cannot be listed.
pub fn default_interface() -> io::Result<DefaultInterface> {
    let links = Links::new()?;
    if links.index("eth0").is_some() {
        return Ok(DefaultInterface::Eth0);
    }
    let default = links.of_default_route()?;
    Ok(default.map_or(DefaultInterface::Any, DefaultInterface::DefaultRoute))
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permission => f.write_str(
                "cannot see packets: the capability CAP_NET_RAW is missing \
                 (start as root, or give the container or the unit CAP_NET_RAW)",
            ),
            Self::Capture(error) => write!(f, "cannot see packets: {error}"),
            Self::Links(error) => write!(f, "cannot follow the network interfaces: {error}"),
            Self::Inside(error) => write!(f, "cannot start the listener: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

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
            Self::ListenerEnded => f.write_str("the listener has ended: no knock is heard"),
            Self::NotAReport => f.write_str("the listener sent a message that is no report"),
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
