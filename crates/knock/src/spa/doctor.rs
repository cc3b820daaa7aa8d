//! `knock doctor HOST`: each thing that a knock needs, looked at by itself, in the order in which a
//! knock needs it. One line each: well, to be known, or a problem, and then what to do.
//!
//! Nothing is opened before it was looked whether the port is closed; with `may_open` false nothing
//! is opened at all. The server is asked with [`Purpose::Ask`] first, and names the ports itself.

mod machine;
mod ports;
mod server;

use std::fmt;
use std::time::Duration;

use knock_spa::{DoorName, Purpose};

use super::exchange::{self, Answer, Ask, Timing, Verdict};
use super::keys::{Key, Keys};
use super::knock::{self, Wanted};
use super::profile::Profile;
use super::way::Way;
use crate::resolve::Family;

/// What is to be looked at, and how far that may go.
#[derive(Clone, Debug)]
pub struct Visit {
    /// What a knock would do; its purpose does not count.
    pub wanted: Wanted,
    /// Whether the door may be opened.
    pub may_open: bool,
    /// The TCP port behind the door, where the server does not say it.
    pub port: Option<u16>,
}

/// How something is.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// To be known; a knock works nevertheless.
    Warning,
    /// In the way of a knock, or of what it is for.
    Problem,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

/// What was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// How it is.
    pub level: Level,
    /// What was looked at, in a word.
    pub about: &'static str,
    /// What was found.
    pub text: String,
    /// What to do, of a problem always.
    pub todo: Option<String>,
}

/// `problem  port  tcp/22 was open before the knock: …: what to do`
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8} {:8} {}", self.level, self.about, self.text)?;
        match &self.todo {
            Some(todo) => write!(f, "; {todo}"),
            None => Ok(()),
        }
    }
}

/// Looks at everything. `says` is given each line as soon as it is known, `tell` is told what is done
/// meanwhile, as with a knock. What follows from a problem is not looked at.
pub fn examine(visit: &Visit, says: &mut dyn FnMut(Line), tell: &mut dyn FnMut(&str)) {
    let mut doctor = Doctor { visit, says, tell };
    doctor.examine();
}

struct Doctor<'a> {
    visit: &'a Visit,
    says: &'a mut dyn FnMut(Line),
    tell: &'a mut dyn FnMut(&str),
}

/// One family that was asked, and what its way is like.
struct Asked {
    answer: Answer,
    heard: server::Heard,
}

impl Doctor<'_> {
    /// `None` as soon as the rest would only say the same again.
    fn examine(&mut self) -> Option<()> {
        let mut profile = self.profile()?;
        let door = self.door(&profile)?;
        self.ssh(&mut profile);
        let addresses = self.names(&profile)?;
        let ways = self.routes(&addresses, &profile)?;
        let mut keys = self.keys(&mut profile)?;
        let heard = self.silence(&ways);
        let answers = self.ask(&profile, &door, ways, &mut keys, Purpose::Ask)?;
        let asked = answers.into_iter().zip(heard);
        let asked: Vec<_> = asked
            .map(|(answer, heard)| Asked { answer, heard })
            .collect();
        let good = self.answers(asked, &keys, &door)?;
        self.remember(&good, &keys, profile.clone());
        self.clock(&good);
        self.seen(&good);
        let ports = self.ports_of(&good);
        self.before(&good, &ports, |doctor, purpose| {
            let ways = doctor.ways_to(&good)?;
            doctor.ask(&profile, &door, ways, &mut keys, purpose)
        });
        if !self.visit.may_open {
            return None;
        }
        let ways = self.ways_to(&good)?;
        let opened = self.ask(&profile, &door, ways, &mut keys, Purpose::Open)?;
        let opened = self.opened(opened, &keys, &door)?;
        self.after(&opened, &ports);
        None
    }

    /// Asks on these ways; what the system has against it is a problem.
    fn ask(
        &mut self,
        profile: &Profile,
        door: &DoorName,
        ways: Vec<Way>,
        keys: &mut Keys,
        purpose: Purpose,
    ) -> Option<Vec<Answer>> {
        let wanted = &self.visit.wanted;
        let ask = Ask {
            profile: &profile.keys,
            door: door.clone(),
            purpose,
            open_for: wanted.open_for,
            claim: wanted.claim,
            first_only: false,
        };
        match exchange::run(&ask, ways, keys, Timing::default(), self.tell) {
            Ok(answers) => Some(answers),
            Err(error) => {
                let text = format!("this machine cannot ask: {error}");
                self.problem("answer", text, "see what its limits are (`ulimit -a`)")
            }
        }
    }

    /// Anew, to the same addresses: what is late for one question must not answer the next.
    fn ways_to(&mut self, good: &[Answer]) -> Option<Vec<Way>> {
        let again = |answer: &Answer| knock::way(&self.visit.wanted, answer.to);
        let ways = good.iter().map(again).collect::<Result<_, _>>();
        match ways {
            Ok(ways) => Some(ways),
            Err(error) => {
                let text = format!("the way is gone: {error}");
                self.problem(
                    "route",
                    text,
                    "look whether the network is up, and try again",
                )
            }
        }
    }

    /// What a knock remembers.
    fn remember(&mut self, good: &[Answer], keys: &Keys, mut profile: Profile) {
        let wanted = &self.visit.wanted;
        let key = good.first().and_then(|answer| key_of(answer, keys));
        if let (Some(key), None) = (key, &wanted.identity) {
            profile.key = Some(key.fingerprint());
        }
        if let Err(error) = profile.save(&wanted.host) {
            let todo = "make room, or the folder yours: until then each knock looks for the key";
            self.warning("profile", error.to_string(), todo);
        }
    }

    fn say(&mut self, level: Level, about: &'static str, text: String, todo: Option<&str>) {
        (self.says)(Line {
            level,
            about,
            text,
            todo: todo.map(str::to_owned),
        });
    }

    fn ok(&mut self, about: &'static str, text: impl Into<String>) {
        self.say(Level::Ok, about, text.into(), None);
    }

    fn warning(&mut self, about: &'static str, text: impl Into<String>, todo: &str) {
        self.say(Level::Warning, about, text.into(), Some(todo));
    }

    fn trouble(&mut self, about: &'static str, text: impl Into<String>, todo: &str) {
        self.say(Level::Problem, about, text.into(), Some(todo));
    }

    /// [`Doctor::trouble`] that leaves nothing to look at.
    fn problem<T>(
        &mut self,
        about: &'static str,
        text: impl Into<String>,
        todo: &str,
    ) -> Option<T> {
        self.trouble(about, text, todo);
        None
    }
}

fn key_of<'a>(answer: &Answer, keys: &'a Keys) -> Option<&'a Key> {
    match answer.verdict {
        Verdict::Answered { key, .. } => keys.all().get(key),
        _ => None,
    }
}

/// `1.2 ms`
fn millis(time: Duration) -> String {
    let tenths = time.as_micros() / 100;
    format!("{}.{} ms", tenths / 10, tenths % 10)
}

fn family(answer: &Answer) -> Family {
    Family::of(&answer.to)
}
