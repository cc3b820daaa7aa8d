//! Ask and be answered: a fresh packet for each key, each family and each try, over one socket a
//! family. Whatever arrives that does not open is nobody's answer and changes nothing.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use getrandom::SysRng;
use knock_spa::rand_core::UnwrapErr;
use knock_spa::reply::BadReply;
use knock_spa::{DoorName, Draft, Outcome, Pending, Purpose, Refusal, Reply, Request, Suite};

use super::clock::{Clock, ahead_of};
use super::keys::Keys;
use super::own::is_public;
use super::way::Way;

/// How many datagrams wait to be looked at. Those that come then are lost, and asked for again.
const WAITING: usize = 64;
/// How long a reader may live after the end.
const LINGER: Duration = Duration::from_millis(250);

/// What is asked.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The site's keys.
    pub profile: &'a knock_spa::Profile,
    /// The door.
    pub door: DoorName,
    /// What is to happen to it.
    pub purpose: Purpose,
    /// For how long.
    pub open_for: Option<NonZeroU32>,
    /// Whether a public address of ours is named in the request.
    pub claim: bool,
    /// Whether one family that is let in is enough.
    pub first_only: bool,
}

/// How long is waited.
#[derive(Copy, Clone, Debug)]
pub struct Timing {
    /// For an answer.
    pub answer: Duration,
    /// For an answer, before the next key is tried as well.
    pub next_key: Duration,
    /// How often each key is tried.
    pub rounds: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(1),
            next_key: Duration::from_millis(400),
            rounds: 3,
        }
    }
}

/// What came of one family.
#[derive(Debug)]
pub struct Answer {
    /// Where it was asked.
    pub to: SocketAddr,
    /// Our address on that way.
    pub local: IpAddr,
    /// What came of it.
    pub verdict: Verdict,
}

impl Answer {
    /// How long it took; a second if there is none.
    #[must_use]
    pub const fn round_trip(&self) -> Duration {
        match self.verdict {
            Verdict::Answered { after, .. } => after,
            _ => Duration::from_secs(1),
        }
    }
}

/// What came of asking.
#[derive(Debug)]
pub enum Verdict {
    /// The server has answered.
    Answered {
        /// What it says.
        reply: Reply,
        /// The number of the key.
        key: usize,
        /// How long it took.
        after: Duration,
        /// By how many milliseconds our clock is ahead of the server's, half of `after` aside.
        ahead: i64,
    },
    /// It has answered what this program does not know.
    Unknown(BadReply),
    /// It has not answered any key.
    Silent,
    /// Nothing could be sent.
    Unsent(io::Error),
    /// No key would sign.
    Unsigned,
}

impl Verdict {
    /// Whether what was asked for was done.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        matches!(self, Self::Answered { reply, .. } if !matches!(reply.outcome, Outcome::Refused(_) | Outcome::Confirm(_)))
    }
}

struct Sent {
    key: usize,
    at: Instant,
    pending: Pending,
    corrected: bool,
    confirmed: bool,
}

struct State {
    way: Way,
    sent: Vec<Sent>,
    refused: BTreeMap<usize, (Reply, Duration, i64)>,
    verdict: Option<Verdict>,
}

struct Exchange<'a> {
    ask: &'a Ask<'a>,
    keys: &'a mut Keys,
    timing: Timing,
    clock: Clock,
    corrected: bool,
    only: Option<usize>,
    dead: Vec<usize>,
    states: Vec<State>,
    heard: Receiver<(usize, Vec<u8>)>,
    alive: Arc<AtomicBool>,
    tell: &'a mut dyn FnMut(&str),
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.alive.store(false, Ordering::Relaxed);
    }
}

/// Asks on all ways at once, key after key, and gives what came of each. `tell` is told what is
/// done meanwhile.
///
/// # Errors
/// If the system has no random numbers, or no threads.
pub fn run(
    ask: &Ask<'_>,
    ways: Vec<Way>,
    keys: &mut Keys,
    timing: Timing,
    tell: &mut dyn FnMut(&str),
) -> io::Result<Vec<Answer>> {
    // Afterwards the system does not fail to give them.
    getrandom::fill(&mut [0; 32]).map_err(io::Error::other)?;
    let alive = Arc::new(AtomicBool::new(true));
    let (says, heard) = sync_channel(WAITING);
    for (number, way) in ways.iter().enumerate() {
        listen(number, way.socket().try_clone()?, says.clone(), &alive)?;
    }
    let states = ways.into_iter().map(State::new).collect();
    let mut exchange = Exchange {
        ask,
        keys,
        timing,
        clock: Clock::default(),
        corrected: false,
        only: None,
        dead: Vec::new(),
        states,
        heard,
        alive,
        tell,
    };
    exchange.run();
    Ok(exchange.answers())
}

/// Reads what comes, until nobody wants it any more.
fn listen(
    number: usize,
    socket: UdpSocket,
    says: SyncSender<(usize, Vec<u8>)>,
    alive: &Arc<AtomicBool>,
) -> io::Result<()> {
    socket.set_read_timeout(Some(LINGER))?;
    let alive = Arc::clone(alive);
    let read = move || {
        let mut buffer = [0; 2048];
        while alive.load(Ordering::Relaxed) {
            match socket.recv(&mut buffer) {
                Ok(length) => {
                    let datagram = buffer.get(..length).unwrap_or_default();
                    says.try_send((number, datagram.to_vec())).ok();
                }
                // Also what an ICMP message says, which anybody can have sent.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return,
                Err(error) if is_patience(&error) => {}
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    };
    thread::Builder::new().spawn(read).map(drop)
}

fn is_patience(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

impl State {
    fn new(way: Way) -> Self {
        Self {
            way,
            sent: Vec::new(),
            refused: BTreeMap::new(),
            verdict: None,
        }
    }

    const fn is_open(&self) -> bool {
        self.verdict.is_none()
    }

    fn may_try(&self, key: usize) -> bool {
        self.is_open() && !self.refused.contains_key(&key)
    }

    /// Once more if it fails: the error may be what an ICMP message has left.
    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let socket = self.way.socket();
        socket
            .send(datagram)
            .or_else(|_| socket.send(datagram))
            .map(drop)
    }
}

impl Exchange<'_> {
    fn run(&mut self) {
        let count = self.keys.all().len();
        for _ in 0..self.timing.rounds {
            for key in 0..count {
                if self.is_over() {
                    return;
                }
                if !self.may_try(key) || !self.send_all(key) {
                    continue;
                }
                let more = (key.saturating_add(1)..count).any(|next| self.may_try(next));
                self.wait(
                    key,
                    if more {
                        self.timing.next_key
                    } else {
                        self.timing.answer
                    },
                );
            }
        }
    }

    fn is_over(&self) -> bool {
        let good = |state: &State| state.verdict.as_ref().is_some_and(Verdict::is_good);
        let all = self.states.iter().all(|state| !state.is_open());
        all || (self.ask.first_only && self.states.iter().any(good))
    }

    fn may_try(&self, key: usize) -> bool {
        self.only.is_none_or(|only| only == key)
            && !self.dead.contains(&key)
            && self.states.iter().any(|state| state.may_try(key))
    }

    /// Sends a fresh packet on each way. Whether there was one.
    fn send_all(&mut self, key: usize) -> bool {
        let mut sent = false;
        for number in 0..self.states.len() {
            sent |= self.send(number, key);
        }
        sent
    }

    fn send(&mut self, number: usize, key: usize) -> bool {
        let Some(state) = self.states.get(number).filter(|state| state.may_try(key)) else {
            return false;
        };
        if self.dead.contains(&key) {
            return false;
        }
        let local = state.way.local();
        let (datagram, pending) = match self.packet(key, local) {
            Ok(packet) => packet,
            Err(why) => {
                self.dead.push(key);
                self.keys.notes.push(why);
                return false;
            }
        };
        let corrected = self.corrected;
        let Some(state) = self.states.get_mut(number) else {
            return false;
        };
        if let Err(error) = state.send(&datagram) {
            state.verdict = Some(Verdict::Unsent(error));
            return false;
        }
        state.sent.push(Sent {
            key,
            at: Instant::now(),
            pending,
            corrected,
            confirmed: false,
        });
        true
    }

    fn packet(&mut self, number: usize, local: IpAddr) -> Result<(Vec<u8>, Pending), String> {
        let key = self.keys.all().get(number).ok_or("no such key")?;
        let name = key.to_string();
        if key.is_security_key() {
            (self.tell)(&format!(
                "confirm that you are there, with the security key {name}"
            ));
        }
        let certificate = key.certificate.clone();
        let request = Request {
            suite: Suite::X25519,
            purpose: self.ask.purpose,
            time: self.clock.now(),
            key: key.public.id(),
            door: self.ask.door.clone(),
            open_for: self.ask.open_for,
            claimed: Some(local).filter(|local| self.ask.claim && is_public(*local)),
        };
        let with_name = |why: String| format!("{name}: {why}");
        let draft = Draft::new(self.ask.profile, request, &mut UnwrapErr(SysRng))
            .map_err(|why| why.to_string())?;
        let signature = self.keys.sign(number, &draft.to_sign());
        let signature = signature.ok_or("no such key")?;
        let signature = signature.map_err(|why| with_name(why.to_string()))?;
        draft
            .seal(signature, certificate.as_deref())
            .map_err(|why| with_name(why.to_string()))
    }

    /// Waits for an answer to this key, on all ways.
    fn wait(&mut self, key: usize, patience: Duration) {
        let mut until = Instant::now() + patience;
        let mut key = key;
        while !self.is_over() && self.states.iter().any(|state| state.may_try(key)) {
            let left = until.saturating_duration_since(Instant::now());
            let Ok((number, datagram)) = self.heard.recv_timeout(left) else {
                return;
            };
            if let Some(next) = self.handle(number, &datagram) {
                key = next;
                until = Instant::now() + self.timing.answer;
            }
        }
    }

    /// Takes a datagram. Gives the key whose answer is to be waited for anew.
    fn handle(&mut self, number: usize, datagram: &[u8]) -> Option<usize> {
        let corrected = self.corrected;
        let state = self
            .states
            .get_mut(number)
            .filter(|state| state.is_open())?;
        let mut opened =
            state
                .sent
                .iter_mut()
                .filter_map(|sent| match sent.pending.open(datagram) {
                    Err(BadReply::Length | BadReply::NotForThis) => None,
                    other => Some((sent, other)),
                });
        let (sent, reply) = opened.next()?;
        let (key, after) = (sent.key, sent.at.elapsed());
        let reply = match reply {
            Ok(reply) => reply,
            Err(why) => {
                state.verdict = Some(Verdict::Unknown(why));
                return None;
            }
        };
        let ahead = ahead_of(&reply, after);
        match &reply.outcome {
            Outcome::Opened { .. } | Outcome::Closed | Outcome::WouldOpen { .. } => {
                self.only = Some(key);
                state.verdict = Some(Verdict::Answered {
                    reply,
                    key,
                    after,
                    ahead,
                });
                None
            }
            Outcome::Confirm(_) if sent.confirmed => None,
            Outcome::Confirm(_) => {
                sent.confirmed = true;
                let (datagram, pending) = sent.pending.confirm(&reply, &mut UnwrapErr(SysRng))?;
                let at = sent.at;
                state.send(&datagram).ok();
                state.sent.push(Sent {
                    key,
                    at,
                    pending,
                    corrected,
                    confirmed: true,
                });
                Some(key)
            }
            Outcome::Refused(Refusal::ClockOff(_)) if corrected && !sent.corrected => None,
            Outcome::Refused(Refusal::ClockOff(by)) if !corrected => {
                let by = *by;
                (self.tell)(&format!("{}: asking by its clock", Refusal::ClockOff(by)));
                self.corrected = true;
                self.clock.correct(by);
                self.send_all(key).then_some(key)
            }
            // Another machine with this key was as quick: the next packet has another time.
            Outcome::Refused(Refusal::Replay) => None,
            Outcome::Refused(
                Refusal::AddressMismatch
                | Refusal::Rate
                | Refusal::GateError
                | Refusal::ClockOff(_),
            ) => {
                state.verdict = Some(Verdict::Answered {
                    reply,
                    key,
                    after,
                    ahead,
                });
                None
            }
            Outcome::Refused(_) => {
                state.refused.insert(key, (reply, after, ahead));
                None
            }
        }
    }

    /// A way without a verdict was refused for each key that was answered, or was not answered.
    fn answers(mut self) -> Vec<Answer> {
        let states = std::mem::take(&mut self.states);
        let answer = |state: State| {
            let refused = state.refused.into_iter().next();
            let none_sent = state.sent.is_empty();
            let verdict = state.verdict.unwrap_or(match refused {
                Some((key, (reply, after, ahead))) => Verdict::Answered {
                    reply,
                    key,
                    after,
                    ahead,
                },
                None if none_sent => Verdict::Unsigned,
                None => Verdict::Silent,
            });
            Answer {
                to: state.way.to(),
                local: state.way.local(),
                verdict,
            }
        };
        states.into_iter().map(answer).collect()
    }
}
