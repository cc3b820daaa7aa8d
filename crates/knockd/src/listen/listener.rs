//! The listener: the one part that sees packets. It knows no command and no file.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

use knock_core::door::{Door, DoorId};
use knock_core::engine::{Engine, Limits};
use knock_core::packet::{NotAKnock, Packet};
use knock_core::sequence::Sequence;
use knock_core::time::Timestamp;
use knock_sys::{PACKET_OUTGOING, Ring};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::Counters;
use super::echo::{Echoes, Sight};
use super::outbox::{Closed, Outbox};
use super::report::Report;
use crate::bucket::Bucket;

/// Packets that are taken from the ring before orders and time-outs are looked at.
const PACKETS_A_TURN: usize = 4096;

/// So many times packets wake us as soon as they come; beyond it one each period does, and the
/// others wait for [`REST`], so that a flood is read in batches: a wake-up costs more than many
/// packets. Somebody who knocks is slower than this, and is heard at once.
const WAKES: u32 = 256;
const WAKE_PERIOD: Duration = Duration::from_millis(4);

/// The longest that packets of a flood wait. The ring holds what a fast network can bring meanwhile.
const REST: Duration = Duration::from_millis(3);

/// What the acting side tells the listener.
#[derive(Debug)]
pub(super) enum Order {
    /// These are the doors now.
    Doors(Doors),
    /// A one-time door has this sequence now, or none.
    Sequence(DoorId, Option<Sequence>),
    /// These are the interfaces that count now, and their addresses.
    Reach(Reach),
    /// Tell what was counted.
    Counters(Sender<Counters>),
    /// End.
    Stop,
}

/// A set of doors.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) generation: u32,
    pub(super) doors: Arc<[Door]>,
    pub(super) sequences: Vec<(DoorId, Option<Sequence>)>,
    pub(super) max_attempts: u32,
}

/// Which interfaces count, and which addresses are their own.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    /// Indices, sorted; `None` for every interface. The kernel's filter has been told too, but
    /// what is in the ring already came by the filter before.
    pub(super) interfaces: Option<Arc<[u32]>>,
    /// Sorted.
    pub(super) locals: Arc<[(u32, IpAddr)]>,
}

impl Reach {
    fn counts(&self, interface: u32) -> bool {
        self.interfaces
            .as_ref()
            .is_none_or(|all| all.binary_search(&interface).is_ok())
    }

    fn is_local(&self, interface: u32, address: IpAddr) -> bool {
        self.locals.binary_search(&(interface, address)).is_ok()
    }
}

/// What the listener starts with.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) ring: Ring,
    pub(super) reports: OwnedFd,
    pub(super) orders: Receiver<Order>,
    /// Readable when there are orders.
    pub(super) wake: OwnedFd,
    pub(super) doors: Doors,
    pub(super) reach: Reach,
    pub(super) only_ipv4: bool,
    pub(super) dump: bool,
    pub(super) seed: [u64; 2],
}

#[derive(Debug)]
pub(super) struct Listener {
    ring: Ring,
    orders: Receiver<Order>,
    wake: OwnedFd,
    outbox: Outbox,
    engine: Engine,
    generation: u32,
    max_attempts: u32,
    seed: [u64; 2],
    /// Where a door has a target: what was seen last.
    echoes: Option<Echoes>,
    reach: Reach,
    only_ipv4: bool,
    dump: bool,
    /// The latest packet's time.
    last: Timestamp,
    wakes: Bucket,
    counters: Counters,
}

/// Whether to go on.
type Going = Result<(), Closed>;

impl Listener {
    pub(super) fn new(start: Start) -> Self {
        let Doors {
            generation,
            doors,
            sequences,
            max_attempts,
        } = start.doors;
        let echoes = echoes_of(&doors);
        let mut engine = Engine::new(&doors, Limits { max_attempts }, start.seed);
        for (door, sequence) in sequences {
            engine.set_sequence(door, sequence);
        }
        Self {
            ring: start.ring,
            orders: start.orders,
            wake: start.wake,
            outbox: Outbox::new(start.reports),
            engine,
            generation,
            max_attempts,
            seed: start.seed,
            echoes,
            reach: start.reach,
            only_ipv4: start.only_ipv4,
            dump: start.dump,
            last: Timestamp::ZERO,
            wakes: Bucket::new(WAKES, WAKE_PERIOD),
            counters: Counters::default(),
        }
    }

    /// Listens until it is told to stop, or nobody reads its reports any more.
    pub(super) fn run(mut self) {
        while self.turn().is_ok() {}
    }

    fn turn(&mut self) -> Going {
        let more = self.take_packets();
        self.obey()?;
        self.handle_timeout(more);
        self.outbox.flush()?;
        if more { Ok(()) } else { self.wait() }
    }

    /// Takes the packets that are there, up to a bound. Whether there may be more.
    fn take_packets(&mut self) -> bool {
        let clock = Clock::now();
        for _ in 0..PACKETS_A_TURN {
            let Some(frame) = self.ring.next_frame() else {
                return false;
            };
            if frame.packet_type == PACKET_OUTGOING || !self.reach.counts(frame.interface) {
                continue;
            }
            self.counters.seen = self.counters.seen.saturating_add(1);
            self.last = self.last.max(clock.monotonic(frame.realtime_nanos));
            let packet = packet_of(frame.ether_type, frame.bytes);
            // The filter does not look at the family behind a VLAN tag.
            let packet = packet.filter(|packet| !self.only_ipv4 || packet.source.is_ipv4());
            let Some(packet) = packet else {
                self.counters.not_knocks = self.counters.not_knocks.saturating_add(1);
                continue;
            };
            let local = self.reach.is_local(frame.interface, packet.destination);
            if self.dump {
                let report = Report::dump(self.generation, packet, frame.length, self.last);
                self.outbox.push(report, self.last);
            }
            let echoes = self.echoes.as_mut();
            match echoes.map_or(Sight::First, |e| e.see(&frame, local, self.last)) {
                Sight::First => self.engine.handle_packet(&packet, local, self.last),
                Sight::Again { local: false } if local => {
                    self.engine.handle_echo(&packet, self.last);
                }
                Sight::Again { .. } => {}
            }
            push_events(&mut self.engine, &mut self.outbox, self.generation);
        }
        true
    }

    /// Ends attempts whose time is over. While packets may still wait in the ring, only up to
    /// the latest one's time: they were there before the time-out.
    fn handle_timeout(&mut self, more: bool) {
        let now = if more { self.last } else { super::now() };
        while self.engine.poll_timeout().is_some_and(|due| due <= now) {
            self.engine.handle_timeout(now);
            push_events(&mut self.engine, &mut self.outbox, self.generation);
            if more {
                break;
            }
        }
        self.outbox.handle_timeout(self.generation, now);
    }

    fn wait(&mut self) -> Going {
        let now = super::now();
        let (packets, rest) = if self.wakes.take(now) {
            (PollFlags::IN, None)
        } else {
            (PollFlags::empty(), Some(now.saturating_add(REST)))
        };
        let due = [self.engine.poll_timeout(), self.outbox.poll_timeout(), rest];
        let due = due.into_iter().flatten().min();
        let timeout = due.map(|due| timespec(due.saturating_since(now).as_nanos()));
        let room = if self.outbox.is_waiting() {
            PollFlags::OUT
        } else {
            PollFlags::empty()
        };
        let mut fds = [
            PollFd::from_borrowed_fd(self.ring.as_fd(), packets),
            PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.outbox.as_fd(), room),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return Err(Closed),
        }
        let [ring, wake, outbox] = fds.map(|fd| fd.revents());
        let over = PollFlags::HUP | PollFlags::NVAL;
        if outbox.intersects(over | PollFlags::ERR)
            || wake.intersects(over)
            || ring.intersects(over)
        {
            return Err(Closed);
        }
        if ring.contains(PollFlags::ERR) {
            // An interface went down: the error is told once, and reading it clears it.
            let _told = rustix::net::sockopt::socket_error(self.ring.as_fd());
        }
        Ok(())
    }

    fn obey(&mut self) -> Going {
        let mut count = [0; 8];
        match rustix::io::read(&self.wake, &mut count) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(_) => return Err(Closed),
        }
        loop {
            match self.orders.try_recv() {
                Ok(order) => self.obey_one(order)?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(Closed),
            }
        }
    }

    fn obey_one(&mut self, order: Order) -> Going {
        match order {
            Order::Doors(doors) => self.set_doors(doors),
            Order::Sequence(door, sequence) => self.engine.set_sequence(door, sequence),
            Order::Reach(reach) => self.reach = reach,
            Order::Counters(answer) => {
                // Whoever asked may have stopped waiting.
                answer.send(self.counters()).ok();
            }
            Order::Stop => return Err(Closed),
        }
        Ok(())
    }

    fn set_doors(&mut self, doors: Doors) {
        self.echoes = echoes_of(&doors.doors);
        if doors.max_attempts == self.max_attempts {
            self.engine.set_doors(&doors.doors);
        } else {
            let limits = Limits {
                max_attempts: doors.max_attempts,
            };
            self.engine = Engine::new(&doors.doors, limits, self.seed);
            self.max_attempts = doors.max_attempts;
        }
        for (door, sequence) in doors.sequences {
            self.engine.set_sequence(door, sequence);
        }
        self.generation = doors.generation;
    }

    fn counters(&mut self) -> Counters {
        if let Ok(statistics) = self.ring.statistics() {
            let dropped = u64::from(statistics.drops);
            self.counters.dropped = self.counters.dropped.saturating_add(dropped);
        }
        let (lines_left_out, openings_lost) = self.outbox.losses();
        Counters {
            engine: self.engine.counters(),
            attempts: u64::try_from(self.engine.attempts()).unwrap_or(u64::MAX),
            lines_left_out,
            openings_lost,
            ..self.counters
        }
    }
}

/// Only doors with a target can take a packet for two.
fn echoes_of(doors: &[Door]) -> Option<Echoes> {
    let mut doors = doors.iter();
    doors
        .any(|door| !door.trigger.targets.is_empty())
        .then(Echoes::new)
}

fn push_events(engine: &mut Engine, outbox: &mut Outbox, generation: u32) {
    while let Some(event) = engine.poll_event() {
        outbox.push(Report::of_event(generation, &event), event.at);
    }
}

/// How the two clocks of the system stand to each other now. Packets are stamped by the one that
/// can be set; what is measured is measured by the other.
struct Clock {
    realtime: u64,
    monotonic: u64,
    /// How far the two readings may be apart, in nanoseconds.
    doubt: u64,
}

impl Clock {
    /// Reads both, one between two looks at the other: if somebody else had the processor
    /// meanwhile, they are read again.
    fn now() -> Self {
        let mut clock = Self::read();
        for _ in 0..3 {
            if clock.doubt < 100_000 {
                break;
            }
            let again = Self::read();
            if again.doubt < clock.doubt {
                clock = again;
            }
        }
        clock
    }

    fn read() -> Self {
        let before = nanos(clock_gettime(ClockId::Monotonic));
        let realtime = nanos(clock_gettime(ClockId::Realtime));
        let monotonic = nanos(clock_gettime(ClockId::Monotonic));
        Self {
            realtime,
            monotonic,
            doubt: monotonic.saturating_sub(before),
        }
    }

    /// The monotonic time of a packet stamped `realtime`; a stamp of the future is now.
    fn monotonic(&self, realtime: u64) -> Timestamp {
        let ago = self.realtime.saturating_sub(realtime);
        Timestamp::from_nanos(self.monotonic.saturating_sub(ago))
    }
}

pub(super) fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

fn timespec(nanos: u128) -> Timespec {
    let second = 1_000_000_000;
    Timespec {
        tv_sec: i64::try_from(nanos / second).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanos % second).unwrap_or(0),
    }
}

/// The packet of a frame of the ring.
///
/// From Linux 6.10 on the kernel announces the innermost ether type even where it has left a VLAN
/// tag, the inner of two, before the packet (`vlan_get_protocol_dgram` in `net/packet/af_packet.c`).
fn packet_of(ether_type: u16, bytes: &[u8]) -> Option<Packet> {
    let behind_tag = |_| match bytes.split_first_chunk() {
        Some((&[_, _, high, low], rest)) if u16::from_be_bytes([high, low]) == ether_type => {
            Packet::from_ether_type(ether_type, rest)
        }
        _ => Err(NotAKnock::Malformed),
    };
    Packet::from_ether_type(ether_type, bytes)
        .or_else(behind_tag)
        .ok()
}
