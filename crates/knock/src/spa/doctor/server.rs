//! What the server does: silence to strangers, an answer to its friends; clock and address by it.

use std::io;
use std::time::{Duration, Instant};

use knock_spa::{DoorName, Outcome as Says, Refusal};

use super::super::clock::wall_clock;
use super::super::exchange::{Answer, Verdict};
use super::super::keys::Keys;
use super::super::report::opens;
use super::super::report::{left, until, why};
use super::super::way::Way;
use super::{Asked, Doctor, Level, family, key_of, millis};

/// What a stranger sends: as long as a request.
const JUNK: usize = 256;
/// How long a stranger waits.
const PATIENCE: Duration = Duration::from_millis(700);
/// From here on a clock is worth mending, in milliseconds: a server allows five seconds at the least.
const OFF: u64 = 5_000;

/// What a stranger got at the port.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Heard {
    Nothing,
    /// ICMP's "port unreachable".
    Unreachable,
    /// So many bytes.
    Bytes(usize),
}

impl Doctor<'_> {
    /// Sends what a stranger might, on all ways, and says what came back.
    pub(super) fn silence(&mut self, ways: &[Way]) -> Vec<Heard> {
        let mut junk = [0; JUNK];
        getrandom::fill(&mut junk).ok();
        let until = Instant::now() + PATIENCE;
        for way in ways {
            way.socket().send(&junk).ok();
        }
        let heard = ways.iter().map(|way| listen(way, until));
        let heard: Vec<_> = heard.collect();
        for (way, heard) in ways.iter().zip(&heard) {
            let to = way.to();
            match heard {
                Heard::Nothing => self.ok("silence", format!("udp {to} is silent to a stranger")),
                Heard::Unreachable => self.ok(
                    "silence",
                    format!(
                        "a stranger at udp {to} gets an ICMP \"port unreachable\", as at any closed \
                         port: no firewall drops what comes there; knockd hears it all the same"
                    ),
                ),
                Heard::Bytes(length) => {
                    let text = format!("a stranger at udp {to} is answered with {length} bytes");
                    let todo = "knockd never does that: another program listens at `spa_port`; \
                                `knockctl check` on the server names it";
                    self.trouble("silence", text, todo);
                }
            }
        }
        heard
    }

    /// What each family was answered. Those that were answered well, if there is one.
    pub(super) fn answers(
        &mut self,
        asked: Vec<Asked>,
        keys: &Keys,
        door: &DoorName,
    ) -> Option<Vec<Answer>> {
        let any = asked.iter().any(|asked| asked.answer.verdict.is_good());
        for Asked { answer, heard } in &asked {
            if answer.verdict.is_good() {
                let key = key_of(answer, keys).map(ToString::to_string);
                let (key, what) = (key.unwrap_or_default(), opens(answer).unwrap_or_default());
                let (family, time) = (family(answer), millis(answer.round_trip()));
                let text = format!("{family}: {door} would open {what}, for {key}; after {time}");
                self.ok("answer", text);
            } else {
                self.no_answer(answer, Some(*heard), any, keys, door);
            }
        }
        let asked = asked.into_iter().map(|asked| asked.answer);
        let good: Vec<_> = asked.filter(|answer| answer.verdict.is_good()).collect();
        any.then_some(good)
    }

    /// What came of the real knock. Those families for which it is open.
    pub(super) fn opened(
        &mut self,
        answers: Vec<Answer>,
        keys: &Keys,
        door: &DoorName,
    ) -> Option<Vec<Answer>> {
        let any = answers.iter().any(|answer| answer.verdict.is_good());
        for answer in &answers {
            let Verdict::Answered { reply, .. } = &answer.verdict else {
                self.no_answer(answer, None, any, keys, door);
                continue;
            };
            if !answer.verdict.is_good() {
                self.no_answer(answer, None, any, keys, door);
                continue;
            }
            let until = until(left(reply), wall_clock());
            let (seen, time) = (reply.seen, millis(answer.round_trip()));
            let text = format!("{door} open for {seen}{until}; after {time}");
            self.ok("knock", text);
        }
        let good = answers.into_iter();
        let good: Vec<_> = good.filter(|answer| answer.verdict.is_good()).collect();
        any.then_some(good)
    }

    fn no_answer(
        &mut self,
        answer: &Answer,
        heard: Option<Heard>,
        others: bool,
        keys: &Keys,
        door: &DoorName,
    ) {
        let level = if others {
            Level::Warning
        } else {
            Level::Problem
        };
        let (family, to) = (family(answer), answer.to);
        let (text, todo) = match &answer.verdict {
            Verdict::Answered { reply, .. } => {
                let key = key_of(answer, keys).map(ToString::to_string);
                let key = key.unwrap_or_default();
                let (why, todo) = match reply.outcome {
                    Says::Refused(refusal) => (why(refusal), mend(refusal)),
                    _ => ("the address was not confirmed".to_owned(), "try again"),
                };
                let text = format!(
                    "{family}: {door} is refused for {}: {why}; key {key}",
                    reply.seen
                );
                (text, todo)
            }
            Verdict::Unknown(why) => (
                format!("{family}: {to}: {why}"),
                "this program may be too old for that server",
            ),
            Verdict::Silent => {
                let todo = match heard {
                    Some(Heard::Unreachable) => {
                        "the host is reached: look there whether knockd runs, and in its log \
                         (USR1 has it count sealed packets): are these keys in `authorized_keys`, \
                         or were the site's keys rotated (`knock enroll`)?"
                    }
                    _ => {
                        "look on the server whether knockd runs, whether a firewall before it drops \
                         this port, whether one of these keys is in `authorized_keys`; if its keys \
                         were rotated, `knock enroll`"
                    }
                };
                (format!("{family}: no answer from udp {to}"), todo)
            }
            Verdict::Unsent(error) => (
                format!("{family}: nothing could be sent to udp {to}: {error}"),
                "let this machine's own firewall send to that port",
            ),
            Verdict::Unsigned => (
                format!("no key signed: {}", keys.notes.join("; ")),
                "unlock it (`ssh-add`), touch it, or name another with --identity",
            ),
        };
        self.say(level, "answer", text, Some(todo));
    }

    pub(super) fn clock(&mut self, good: &[Answer]) {
        let quickest = good.iter().min_by_key(|answer| answer.round_trip());
        let Some(Verdict::Answered { ahead, after, .. }) = quickest.map(|answer| &answer.verdict)
        else {
            return;
        };
        let (off, give) = (ahead.unsigned_abs(), after.as_millis() / 2 + 1);
        let way = if *ahead < 0 { "behind" } else { "ahead of" };
        if off < OFF {
            let text = format!("{off} ms {way} the server's, give or take {give} ms");
            self.ok("clock", text);
        } else {
            let seconds = off / 1000;
            let text = format!("the clock here is {seconds} s {way} the server's");
            let todo = "set the one that is wrong (`timedatectl set-ntp true`): knock goes by the \
                        server's, at the price of a second packet";
            self.warning("clock", text, todo);
        }
    }

    /// Behind one address there may be many.
    pub(super) fn seen(&mut self, good: &[Answer]) {
        for answer in good {
            let Verdict::Answered { reply, .. } = &answer.verdict else {
                continue;
            };
            let (family, seen, local) = (family(answer), reply.seen, answer.local);
            self.ok(
                "address",
                if seen == local {
                    format!("{family}: the server sees {seen}, which is this machine's")
                } else {
                    format!(
                        "{family}: the server sees {seen}, and this machine is {local}: address \
                         translation; whoever shares {seen} is let in as well"
                    )
                },
            );
        }
    }
}

fn listen(way: &Way, until: Instant) -> Heard {
    let mut buffer = [0; 2048];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let socket = way.socket();
        if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
            return Heard::Nothing;
        }
        match socket.recv(&mut buffer) {
            Ok(length) => return Heard::Bytes(length),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Heard::Unreachable;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Heard::Nothing,
        }
    }
}

/// What to do about a refusal.
const fn mend(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownDoor => {
            "name another with --door, or have it added to `doors=` of this key's line on the server"
        }
        Refusal::ClockOff(_) => "set the clock",
        Refusal::Replay => "try again",
        Refusal::Expired(_) => "have the certificate, or `expiry-time=` of the key's line, renewed",
        Refusal::NotYetValid(_) => "wait, or have its beginning corrected",
        Refusal::Revoked => "have another key added on the server",
        Refusal::Principal => "have a certificate made for one of the line's `principals=`",
        Refusal::AddressNotAllowed => {
            "knock from an address of the line's `from=`, or have it widened"
        }
        Refusal::AddressMismatch => "use --no-claim",
        Refusal::TouchRequired => {
            "touch the key, or have `no-touch-required` added to its line on the server"
        }
        Refusal::VerifyRequired => {
            "use a key that asks for a PIN (`ssh-keygen -O verify-required`)"
        }
        Refusal::Rate => "wait a minute",
        Refusal::GateError => "see the log of knockd, and `knockctl doctor` on the server",
    }
}
