//! The packet side: from the wire to openings, as the keeper has it.
//!
//! Behind [`PacketSide`] is the listener, a process of its own that alone sees packets
//! ([`crate::listener`]): it is started here, told what to hear, and replaced when it dies. Here
//! is also what needs no packet: the kernel's filter, which follows the doors, and a watch over
//! the host's interfaces and addresses.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use knock_core::door::{Door, DoorId};
use knock_core::sequence::Sequence;
use knock_core::time::Timestamp;
use knock_spa::code::Sieve;
use knock_sys::{RingSocket, SpareSocket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::rand::{GetRandomFlags, getrandom};

mod capture;
mod child;
mod counters;
mod failure;
mod intake;
mod links;
mod notice;
mod recall;
mod sealed;
mod supervisor;
mod told;
mod usual;
mod watch;
mod widen;

use capture::Capture;
use failure::capture_error;
use recall::Recall;
use supervisor::{Manner, Supervisor};
use watch::Watch;

use crate::listener::{Confinement, RING, WIDE_RING};
use crate::sandbox::{Account, Layer, State};
use crate::wire::{Checksum, Counter, Doors, Order, Settings, Site};

pub use crate::wire::{Knock, Report, ReportKind};
pub use counters::{Counters, SealedCounters};
pub use failure::StartError;
pub use intake::{Intake, Message, Misbehaviour};
pub use knock_core::config::Sandbox;
pub use notice::{InterfaceChange, Notice, Problem};
pub use usual::{ANY, DefaultInterface, default_interface, interface_of_default_route};

/// What a packet side needs to know at its start.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The doors; a door's id is its index.
    pub doors: Arc<[Door]>,
    /// The current sequences of the one-time doors; one that is not here is shut.
    pub sequences: Vec<(DoorId, Option<Sequence>)>,
    /// Attempts alive at once (`max_attempts`).
    pub max_attempts: u32,
    /// The UDP ports at which sealed packets arrive ([`knock_core::config::Config::spa_ports`]).
    pub spa_ports: Vec<u16>,
    /// Names of interfaces, present or not; `any` for every one there is and will be.
    pub interfaces: Vec<String>,
    /// IPv6 is not looked at (`-4`).
    pub only_ipv4: bool,
    /// What opens sealed packets.
    pub site: Option<Site>,
    /// What may be a code on paper; `None` if there is none.
    pub codes: Option<Sieve>,
    /// Every packet that passes the kernel's filter is reported (`-D`), within a rate limit.
    pub dump: bool,
    /// The program that is the listener when it is called so ([`crate::listener::NAME`]).
    pub program: PathBuf,
    /// Whom the listener is to be; nobody else than the keeper if there is none.
    pub account: Option<Account>,
    /// How the listener is confined.
    pub sandbox: Sandbox,
}

/// See the [module](self).
#[derive(Debug)]
pub struct PacketSide {
    watch: Watch,
    capture: Capture,
    supervisor: Supervisor,
    settings: Settings,
    doors: Doors,
    site: Option<Site>,
    codes: Option<Sieve>,
    /// For a larger ring, if one is needed later: what it takes to make a socket is given up.
    spare: Option<SpareSocket>,
    recall: Recall,
    /// What the listener has said when it was last asked.
    counted: BTreeMap<Counter, u64>,
    /// What the listeners before it have said.
    counted_before: BTreeMap<Counter, u64>,
    notices: VecDeque<Notice>,
}

/// Now, on the clock of [`Report::at`]: that of the system since its start, sleep included.
#[must_use]
pub fn now() -> Timestamp {
    crate::clock::now()
}

/// The most reports that one call of [`PacketSide::handle_readable`] reads.
const REPORTS_A_CALL: usize = 1024;

/// How long the listener is waited for when it is asked something.
const PATIENCE: Duration = Duration::from_millis(100);

impl PacketSide {
    /// Opens the packet socket, starts the listener, waits until it is ready, and begins to follow
    /// the interfaces, in the caller's network namespace.
    ///
    /// # Errors
    /// If packets cannot be seen at all; an interface that is not there is none of these.
    pub fn start(setup: Setup) -> Result<Self, StartError> {
        let Setup {
            doors,
            sequences,
            max_attempts,
            spa_ports,
            interfaces,
            only_ipv4,
            site,
            codes,
            dump,
            program,
            account,
            sandbox,
        } = setup;
        let inside = StartError::Inside;
        let watch = Watch::new(interfaces).map_err(StartError::Links)?;
        let wide = !spa_ports.is_empty();
        let socket = RingSocket::new(if wide { WIDE_RING } else { RING }).map_err(capture_error)?;
        let spare = if wide { None } else { SpareSocket::new().ok() };
        let shared = Arc::new(socket.as_fd().try_clone_to_owned().map_err(inside)?);
        let mut capture = Capture::new(Arc::clone(&shared), only_ipv4);
        capture.set_doors(Arc::clone(&doors), &sequences, &spa_ports);
        capture.set_codes(codes.is_some());
        let problem = capture
            .attach(&watch.scope())
            .map_err(StartError::Capture)?;
        socket.bind(0).map_err(StartError::Capture)?;
        let manner = Manner {
            program,
            confinement: Confinement {
                account,
                on: sandbox != Sandbox::Off,
            },
            strictly: sandbox == Sandbox::Require,
            wide,
        };
        let mut side = Self {
            watch,
            capture,
            supervisor: Supervisor::new(manner, shared),
            settings: Settings {
                only_ipv4,
                dump,
                seed: [random().map_err(inside)?, random().map_err(inside)?],
            },
            doors: Doors {
                checksum: Checksum::of(&doors),
                doors,
                sequences,
                max_attempts,
                spa_ports,
            },
            site,
            codes,
            spare,
            recall: Recall::default(),
            counted: BTreeMap::new(),
            counted_before: BTreeMap::new(),
            notices: problem.map(Notice::Problem).into_iter().collect(),
        };
        side.start_listener(now()).map_err(inside)?;
        side.wait_until_ready()?;
        side.tell_changes();
        Ok(side)
    }

    /// What to poll. Then call [`PacketSide::handle_readable`].
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let watch = PollFd::from_borrowed_fd(self.watch.as_fd(), PollFlags::IN);
        std::iter::once(watch).chain(self.supervisor.poll_fds())
    }

    /// When [`PacketSide::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.supervisor.poll_timeout()
    }

    /// Starts a listener when it is time to. Harmless at any other.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.supervisor.is_late(now) {
            self.misbehaved(Misbehaviour::Slow);
        }
        if self.supervisor.is_due(now)
            && let Err(error) = self.start_listener(now)
        {
            self.push_problem(Problem::NoListener(error));
        }
    }

    /// Reads what is there, up to a bound; never blocks. Harmless when nothing is. Then take the
    /// notices from [`PacketSide::poll_notice`] until there is none.
    pub fn handle_readable(&mut self) {
        match self.watch.handle_readable() {
            Ok(false) => {}
            Ok(true) => self.follow(),
            Err(error) => self.push_problem(Problem::Links(error)),
        }
        let now = now();
        let flushed = self.supervisor.flush(now);
        self.note_end(flushed);
        for _ in 0..REPORTS_A_CALL {
            match self.supervisor.hear(now) {
                Ok(Some(message)) => self.take_message(message, now),
                Ok(None) => break,
                Err(end) => self.note_end(Err(end)),
            }
        }
        // The first that ends is followed by another at once.
        self.handle_timeout(now);
    }

    /// The next notice, oldest first. There may be some right after the start and after any other
    /// call.
    #[must_use]
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// The next notice, if it is a sealed packet: those that have come together can be looked at
    /// together. Otherwise it waits for [`PacketSide::poll_notice`].
    #[must_use]
    pub fn poll_knock(&mut self) -> Option<Box<Knock>> {
        match self.notices.pop_front()? {
            Notice::Knock(knock) => Some(knock),
            other => {
                self.notices.push_front(other);
                None
            }
        }
    }

    /// The process id of the listener, if there is one.
    #[must_use]
    pub fn listener(&self) -> Option<u32> {
        self.supervisor.id()
    }

    /// What the listener is held by.
    #[must_use]
    pub fn layers(&self) -> &[(Layer, State)] {
        self.supervisor.layers()
    }

    /// The listener has said what cannot be: it is ended, and another one follows.
    pub fn misbehaved(&mut self, why: Misbehaviour) {
        let end = self.supervisor.end(Some(why), now());
        self.note_end(Err(end));
    }

    /// Replaces the doors. Attempts at doors that did not change live on. If there are ports of sealed
    /// packets for the first time, another listener follows, whose ring has room for them.
    pub fn set_doors(
        &mut self,
        doors: Arc<[Door]>,
        sequences: Vec<(DoorId, Option<Sequence>)>,
        max_attempts: u32,
        spa_ports: Vec<u16>,
    ) {
        let widens = !spa_ports.is_empty() && !self.supervisor.has_wide_ring();
        if widens && let Err(error) = self.widen() {
            self.push_problem(Problem::NoRoom(error));
        }
        self.recall.follow(&self.doors.doors, &doors);
        self.capture
            .set_doors(Arc::clone(&doors), &sequences, &spa_ports);
        self.attach();
        self.doors = Doors {
            checksum: Checksum::of(&doors),
            doors,
            sequences,
            max_attempts,
            spa_ports,
        };
        self.tell(&Order::Doors(self.doors.clone()));
        // One that was ended above is followed at once, and is told all of this.
        self.handle_timeout(now());
    }

    /// Gives a one-time door its current sequence, or shuts it.
    pub fn set_sequence(&mut self, door: DoorId, sequence: Option<Sequence>) {
        self.capture.set_sequence(door, sequence.clone());
        self.attach();
        self.doors.sequences.retain(|(id, _)| *id != door);
        self.doors.sequences.push((door, sequence.clone()));
        self.tell(&Order::Sequence(door, sequence));
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
        self.ask();
        let of = |counter| {
            let counts = [&self.counted, &self.counted_before];
            let counts = counts.map(|counts| counts.get(&counter).copied().unwrap_or(0));
            counts.into_iter().fold(0, u64::saturating_add)
        };
        Counters::of(of)
    }

    /// Asks the listener for what it has counted. Whether it has answered in time; then all that it had
    /// to say before is heard too.
    fn ask(&mut self) -> bool {
        let known = std::mem::take(&mut self.counted);
        self.tell(&Order::Counters);
        let deadline = now().saturating_add(PATIENCE);
        while self.counted.len() < Counter::ALL.len() && self.wait_for_listener(deadline) {}
        let answered = self.counted.len() == Counter::ALL.len();
        for (counter, value) in known {
            self.counted.entry(counter).or_insert(value);
        }
        answered
    }

    fn start_listener(&mut self, now: Timestamp) -> io::Result<()> {
        self.supervisor.start(now)?;
        // What an end has kept from it is told to the next.
        self.tell(&Order::Settings(self.settings));
        self.tell(&Order::Reach(self.watch.reach()));
        self.tell(&Order::Doors(self.doors.clone()));
        self.tell(&Order::Site(self.site.clone()));
        self.tell(&Order::Codes(self.codes.clone()));
        let attempts: Vec<_> = self.recall.attempts(now).collect();
        for (door, source, progress) in attempts {
            self.tell(&Order::Attempt(door, source, progress));
        }
        self.tell(&Order::Begin);
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<(), StartError> {
        while !self.supervisor.is_ready() {
            let deadline = self.supervisor.poll_timeout();
            let waited = deadline.is_some_and(|deadline| self.wait_for_listener(deadline));
            if waited && self.supervisor.is_running() {
                continue;
            }
            let end = self.notices.iter().find_map(|notice| match notice {
                Notice::Problem(Problem::Listener(end)) => Some(end.clone()),
                _ => None,
            });
            let slow = || format!("the listener {}", Misbehaviour::Slow);
            return Err(StartError::Listener(end.unwrap_or_else(slow)));
        }
        Ok(())
    }

    /// Waits until the listener has something to say, and hears it; whether it was in time.
    fn wait_for_listener(&mut self, deadline: Timestamp) -> bool {
        let left = deadline.saturating_since(now());
        let Ok(left) = Timespec::try_from(left) else {
            return false;
        };
        let mut fds: Vec<_> = self.supervisor.poll_fds().collect();
        if fds.is_empty() || !poll(&mut fds, Some(&left)).is_ok_and(|ready| ready > 0) {
            return false;
        }
        drop(fds);
        let now = now();
        let flushed = self.supervisor.flush(now);
        self.note_end(flushed);
        match self.supervisor.hear(now) {
            Ok(Some(message)) => self.take_message(message, now),
            Ok(None) => {}
            Err(end) => self.note_end(Err(end)),
        }
        true
    }

    fn take_message(&mut self, message: Message, now: Timestamp) {
        match message {
            Message::Report(report) => self.take(report, now),
            Message::Knock(knock) => self.notices.push_back(Notice::Knock(knock)),
        }
    }

    /// Takes a report: what is for the keeper becomes a notice.
    fn take(&mut self, report: Report, now: Timestamp) {
        match report.kind {
            ReportKind::Layer(layer, state) => self.supervisor.holds(layer, state),
            ReportKind::Ready => match self.supervisor.becomes_ready(now) {
                Ok(again) => {
                    let layers = self.supervisor.layers().to_vec();
                    self.notices.push_back(Notice::Ready { layers, again });
                }
                Err(end) => self.note_end(Err(end)),
            },
            ReportKind::Counter(counter, value) => {
                self.counted.insert(counter, value);
            }
            _ => {
                if report.doors == self.doors.checksum {
                    self.recall.note(&report, &self.doors.doors, now);
                }
                self.notices.push_back(Notice::Report(report));
            }
        }
    }

    /// Lets filter and listener follow the interfaces.
    fn follow(&mut self) {
        self.attach();
        self.tell(&Order::Reach(self.watch.reach()));
        self.tell_changes();
    }

    fn tell(&mut self, order: &Order) {
        let told = self.supervisor.tell(order, now());
        self.note_end(told);
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

    /// Takes note of the end of a listener, if it is one.
    fn note_end(&mut self, result: Result<(), String>) {
        let Err(end) = result else { return };
        self.keep_counts();
        self.push_problem(Problem::Listener(end));
    }

    /// Adds what a listener that has ended has counted to what those before it have.
    fn keep_counts(&mut self) {
        // Its attempts go on with the next; they are not added up.
        self.counted.remove(&Counter::Attempts);
        for (counter, value) in std::mem::take(&mut self.counted) {
            let sum = self.counted_before.entry(counter).or_default();
            *sum = sum.saturating_add(value);
        }
    }

    fn push_problem(&mut self, problem: Problem) {
        self.notices.push_back(Notice::Problem(problem));
    }
}

/// A random number.
pub(crate) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += getrandom(rest, GetRandomFlags::empty())?;
    }
    Ok(u64::from_ne_bytes(bytes))
}
