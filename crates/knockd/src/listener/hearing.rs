//! The listener at work: packets out of the ring, through the engine, to reports.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use knock_core::door::Door;
use knock_core::engine::{Engine, Event, HugePages, Limits, Prefetch, Prepared};
use knock_core::packet::{NotAKnock, Packet};
use knock_core::sequence::Protocol;
use knock_core::time::Timestamp;
use knock_sys::{PACKET_OUTGOING, Ring, fetch, use_huge_pages};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::codes::{Codes, Seen};
use super::echo::{Echoes, Sight};
use super::inbox::{Closed, Inbox};
use super::outbox::Outbox;
use super::sealed::{Counts, Sealed, payload_of};
use crate::bucket::Bucket;
use crate::clock::{Clock, now};
use crate::sandbox::{Layer, State};
use crate::wire::{Checksum, Counter, Doors, Order, Reach, Report, ReportKind, Settings};

/// Packets that are taken from the ring before orders and time-outs are looked at, in as many
/// batches.
const PACKETS_A_TURN: usize = 4096;

/// Packets that are read before the first of them is handled. In a flood from everywhere, each
/// comes to another place of a large table; so many places are fetched in the time of one.
const BATCH: usize = 16;

/// So many times packets wake us as soon as they come; beyond it one each period does, and the
/// others wait for [`REST`], so that a flood is read in batches: a wake-up costs more than many
/// packets. Somebody who knocks is slower than this, and is heard at once.
const WAKES: u32 = 256;
const WAKE_PERIOD: Duration = Duration::from_millis(4);

/// The longest that packets of a flood wait. The ring holds what a fast network can bring meanwhile.
const REST: Duration = Duration::from_millis(3);

/// How long after packets have come it is looked whether the kernel has dropped some.
const DROPS_PERIOD: Duration = Duration::from_secs(1);

impl Reach {
    const NOWHERE: Self = Self {
        interfaces: Some(Vec::new()),
        locals: Vec::new(),
    };

    fn counts(&self, interface: u32) -> bool {
        self.interfaces
            .as_ref()
            .is_none_or(|all| all.binary_search(&interface).is_ok())
    }

    /// Whether `address` is one of `interface`; `guess` is where the last one was that is.
    fn is_local(&self, interface: u32, address: IpAddr, guess: &mut usize) -> bool {
        let local = (interface, address);
        if self.locals.get(*guess) == Some(&local) {
            return true;
        }
        let found = self.locals.binary_search(&local);
        *guess = found.unwrap_or(*guess);
        found.is_ok()
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Listener {
    ring: Ring,
    inbox: Inbox,
    outbox: Outbox,
    settings: Settings,
    engine: Engine,
    doors: Checksum,
    /// Where a door has a target: what was seen last.
    echoes: Option<Echoes>,
    reach: Reach,
    /// Where among its addresses the last packet's was.
    latest_local: usize,
    /// Where sealed packets are heard.
    sealed: Option<Sealed>,
    codes: Codes,
    spa_ports: Vec<u16>,
    /// Whether the keeper has told all that must be known before the first packet.
    begun: bool,
    /// Packets that were read and not handled; empty between turns.
    batch: Vec<Waiting>,
    /// The latest packet's time.
    last: Timestamp,
    wakes: Bucket,
    /// When to look for drops; `None` while there is nothing that they could be of.
    drops_due: Option<Timestamp>,
    seen: u64,
    not_knocks: u64,
    dropped: u64,
}

/// A packet that waits for the engine.
#[derive(Debug)]
struct Waiting {
    packet: Packet,
    prepared: Prepared,
    at: Timestamp,
    local: bool,
    /// It was handled before, where it was not local.
    again: bool,
}

/// The processor's.
struct Caches;

impl Prefetch for Caches {
    fn prefetch<T>(&self, place: &T) {
        fetch(place);
    }
}

/// The system's.
struct Pages;

impl HugePages for Pages {
    fn back<T>(&self, memory: &Vec<T>) {
        // Without them it is slower, and that is all.
        let _as_it_can = use_huge_pages(memory).is_ok();
    }
}

/// Whether to go on.
type Going = Result<(), Closed>;

impl Listener {
    /// A listener that is held by what is said of these layers, and hears nothing yet.
    pub(super) fn begin(ring: Ring, inbox: Inbox, outbox: Outbox, held: &[(Layer, State)]) -> Self {
        let mut listener = Self {
            ring,
            inbox,
            outbox,
            settings: Settings {
                only_ipv4: false,
                dump: false,
                seed: [0; 2],
            },
            engine: Engine::new(&[], Limits { max_attempts: 1 }, [0; 2]),
            doors: Checksum::of(&[]),
            echoes: None,
            reach: Reach::NOWHERE,
            latest_local: 0,
            sealed: None,
            codes: Codes::new(),
            spa_ports: Vec::new(),
            begun: false,
            batch: Vec::with_capacity(BATCH),
            last: Timestamp::ZERO,
            wakes: Bucket::new(WAKES, WAKE_PERIOD),
            drops_due: None,
            seen: 0,
            not_knocks: 0,
            dropped: 0,
        };
        for (layer, state) in held {
            listener.say(ReportKind::Layer(*layer, *state), now());
        }
        listener
    }

    /// Listens until the keeper is gone.
    pub(super) fn run(&mut self) {
        while self.turn().is_ok() {}
    }

    fn turn(&mut self) -> Going {
        let more = self.begun && self.take_packets();
        self.inbox.fill()?;
        while let Some(order) = self.inbox.next()? {
            self.obey(order);
        }
        self.handle_timeout(more);
        self.outbox.flush()?;
        // It may take milliseconds: nobody who has knocked waits for it.
        self.engine.use_huge_pages(&Pages);
        if more { Ok(()) } else { self.wait() }
    }

    fn say(&mut self, kind: ReportKind, now: Timestamp) {
        let report = Report::general(self.doors, kind, now);
        self.outbox.push(report, now);
    }

    /// Takes the packets that are there, up to a bound. Whether there may be more.
    fn take_packets(&mut self) -> bool {
        let clock = Clock::now();
        // What is dumped stands before what comes of it.
        let size = if self.settings.dump { 1 } else { BATCH };
        for _ in 0..PACKETS_A_TURN / size {
            let more = self.read(&clock, size);
            self.handle_batch();
            if !more {
                return false;
            }
        }
        true
    }

    /// Reads packets that the engine wants to see, out of `count` frames. Whether there may be more.
    fn read(&mut self, clock: &Clock, count: usize) -> bool {
        for _ in 0..count {
            let Some(frame) = self.ring.next_frame() else {
                return false;
            };
            self.drops_due
                .get_or_insert_with(|| clock.steady_now().saturating_add(DROPS_PERIOD));
            if frame.packet_type == PACKET_OUTGOING || !self.reach.counts(frame.interface) {
                continue;
            }
            self.seen = self.seen.saturating_add(1);
            self.last = self.last.max(clock.steady(frame.realtime_nanos));
            let at = self.last;
            let packet = packet_of(frame.ether_type, frame.bytes);
            // The filter does not look at the family behind a VLAN tag.
            let packet =
                packet.filter(|packet| !self.settings.only_ipv4 || packet.source.is_ipv4());
            let Some(packet) = packet else {
                self.not_knocks = self.not_knocks.saturating_add(1);
                continue;
            };
            let local =
                self.reach
                    .is_local(frame.interface, packet.destination, &mut self.latest_local);
            if self.settings.dump {
                let report = Report::dump(self.doors, packet, frame.length, at);
                self.outbox.push(report, at);
            }
            if let Some(sealed) = self
                .sealed
                .as_mut()
                .filter(|_| local && is_at(&self.spa_ports, &packet))
            {
                let datagram = payload_of(&frame);
                match self.codes.see(datagram.unwrap_or_default(), at) {
                    Seen::Tell(code) => {
                        let report = Report::code(self.doors, packet.source, code, at);
                        self.outbox.push(report, at);
                    }
                    Seen::Counted => {}
                    Seen::NoCode => {
                        let knock = sealed.open(&packet, datagram, frame.interface, at);
                        knock
                            .into_iter()
                            .for_each(|knock| self.outbox.push_knock(knock));
                    }
                }
            }
            let echoes = self.echoes.as_mut();
            let again = match echoes.map_or(Sight::First, |e| e.see(&frame, local, at)) {
                Sight::First => false,
                Sight::Again { local: false } if local => true,
                Sight::Again { .. } => continue,
            };
            let prepared = self.engine.prepare(&packet, self.batch.len(), &Caches);
            self.batch.push(Waiting {
                packet,
                prepared,
                at,
                local,
                again,
            });
        }
        true
    }

    /// Has the engine handle what was read; meanwhile the next frames come.
    fn handle_batch(&mut self) {
        for (n, waiting) in self.batch.iter().enumerate() {
            self.ring.fetch(n);
            let Waiting {
                packet,
                prepared,
                at,
                local,
                again,
            } = waiting;
            if *again {
                self.engine.handle_echo(packet, *at);
                while let Some(event) = self.engine.poll_event() {
                    self.outbox.push_event(self.doors, &event);
                }
                continue;
            }
            let (outbox, doors) = (&mut self.outbox, self.doors);
            let tell = |event: Event| outbox.push_event(doors, &event);
            self.engine
                .handle_prepared(packet, *prepared, *local, *at, tell);
        }
        self.batch.clear();
    }

    /// Ends attempts whose time is over. While packets may still wait in the ring, only up to
    /// the latest one's time: they were there before the time-out.
    fn handle_timeout(&mut self, more: bool) {
        let now = if more { self.last } else { now() };
        while self.engine.poll_timeout().is_some_and(|due| due <= now) {
            let (outbox, doors) = (&mut self.outbox, self.doors);
            let tell = |event: Event| outbox.push_event(doors, &event);
            self.engine.handle_timeout_prefetched(now, &Caches, tell);
            if more {
                break;
            }
        }
        if self.drops_due.is_some_and(|due| due <= now) {
            self.drops_due = None;
            self.look_for_drops(now);
        }
        self.outbox.handle_timeout(self.doors, now);
    }

    fn look_for_drops(&mut self, now: Timestamp) {
        let packets = self.ring.statistics().map_or(0, |counted| counted.drops);
        if packets > 0 {
            self.dropped = self.dropped.saturating_add(packets.into());
            self.say(ReportKind::Dropped { packets }, now);
        }
    }

    fn wait(&mut self) -> Going {
        let now = now();
        let (packets, rest) = if !self.begun {
            (PollFlags::empty(), None)
        } else if self.wakes.take(now) {
            (PollFlags::IN, None)
        } else {
            (PollFlags::empty(), Some(now.saturating_add(REST)))
        };
        let due = [
            self.engine.poll_timeout(),
            self.outbox.poll_timeout(),
            self.drops_due,
            rest,
        ];
        let due = due.into_iter().flatten().min();
        let timeout = due.map(|due| timespec(due.saturating_since(now).as_nanos()));
        let room = if self.outbox.is_waiting() {
            PollFlags::OUT
        } else {
            PollFlags::empty()
        };
        let mut fds = [
            PollFd::from_borrowed_fd(self.ring.as_fd(), packets),
            PollFd::from_borrowed_fd(self.inbox.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.outbox.as_fd(), room),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return Err(Closed),
        }
        let [ring, inbox, outbox] = fds.map(|fd| fd.revents());
        let over = PollFlags::HUP | PollFlags::NVAL;
        if outbox.intersects(over | PollFlags::ERR)
            || inbox.intersects(PollFlags::NVAL)
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

    fn obey(&mut self, order: Order) {
        match order {
            Order::Settings(settings) => {
                self.settings = settings;
                self.engine = Engine::new(&[], Limits { max_attempts: 1 }, settings.seed);
            }
            Order::Doors(doors) => self.set_doors(doors),
            Order::Sequence(door, sequence) => self.engine.set_sequence(door, sequence),
            Order::Reach(reach) => self.reach = reach,
            Order::Attempt(door, source, progress) => self.engine.restore(door, source, progress),
            Order::Site(site) => {
                let counts = self.sealed.as_ref().map(|sealed| sealed.counts);
                let seed = self.settings.seed;
                self.sealed = site.map(|site| Sealed::new(&site, seed, counts.unwrap_or_default()));
            }
            Order::Codes(sieve) => self.codes.sieve = sieve,
            Order::Begin => {
                self.begun = true;
                self.say(ReportKind::Ready, now());
            }
            Order::Counters => self.count(),
        }
    }

    fn set_doors(&mut self, doors: Doors) {
        let Doors {
            checksum,
            doors,
            sequences,
            max_attempts,
            spa_ports,
        } = doors;
        self.echoes = echoes_of(&doors);
        self.engine.set_limits(Limits { max_attempts });
        self.engine.set_doors(&doors);
        for (door, sequence) in sequences {
            self.engine.set_sequence(door, sequence);
        }
        self.doors = checksum;
        self.spa_ports = spa_ports;
    }

    /// Tells what was counted.
    fn count(&mut self) {
        let now = now();
        self.look_for_drops(now);
        let engine = self.engine.counters();
        let (left_out, openings_lost) = self.outbox.losses();
        let sealed = self.sealed.as_ref().map(|sealed| sealed.counts);
        let Counts {
            junk,
            limited,
            broken,
            opened,
        } = sealed.unwrap_or_default();
        for counter in Counter::ALL {
            let value = match counter {
                Counter::Packets => engine.packets,
                Counter::Knocks => engine.knocks,
                Counter::Broken => engine.broken,
                Counter::Timeouts => engine.timeouts,
                Counter::Openings => engine.openings,
                Counter::Evictions => engine.evictions,
                Counter::Attempts => u64::try_from(self.engine.attempts()).unwrap_or(u64::MAX),
                Counter::Seen => self.seen,
                Counter::NotKnocks => self.not_knocks,
                Counter::Dropped => self.dropped,
                Counter::LeftOut => left_out,
                Counter::OpeningsLost => openings_lost,
                Counter::SealedJunk => junk,
                Counter::SealedLimited => limited.saturating_add(self.outbox.knocks_lost()),
                Counter::SealedBroken => broken,
                Counter::SealedOpened => opened,
                Counter::CodesUnknown => self.codes.unknown,
                Counter::CodesLimited => self.codes.limited,
            };
            self.say(ReportKind::Counter(counter, value), now);
        }
    }
}

/// Whether it is a datagram to one of these ports.
fn is_at(ports: &[u16], packet: &Packet) -> bool {
    packet.protocol == Protocol::Udp && ports.contains(&packet.destination_port)
}

/// Only doors with a target can take a packet for two.
fn echoes_of(doors: &[Door]) -> Option<Echoes> {
    let mut doors = doors.iter();
    doors
        .any(|door| !door.trigger.targets.is_empty())
        .then(Echoes::new)
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
