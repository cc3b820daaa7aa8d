//! Sealed packets at the daemon: from what the listener has opened to the answer.
//!
//! Nobody is answered whose signature is not good. What is granted is put down in `spa-marks` before
//! anything is done for it, and "opened" is said after the kernel has done it.

mod knocks;
mod state;

pub(super) use state::files;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use knock_core::door::{Closing, Door};
use knock_core::time::{InUnits, Timestamp};
use knock_spa::reply::What;
use knock_spa::{
    Circumstances, Cookie, CookieKey, Decision, DoorRule, KeyId, Mark, Outcome, Purpose, Refusal,
    Reply, Request, Servers, UnixMillis, Unsealed, UnsealedRequest,
};

use super::codes::Paper;
use super::serve::Daemon;
use super::settings::Settings;
use crate::clock;
use crate::config_file::reason;
use crate::events::{Happened, Reason, Who};
use crate::keeper::{Begun, DoorRef, Opener, Why};
use crate::listen::{self, Knock};
use crate::log::{Level, Line};
use crate::spa::SystemRng;
use crate::spa::answer::Answers;
use crate::spa::marks::Marks;
use crate::spa::people::People;
use crate::spa::store::{Store, StoreError};
use crate::wire::Site;

/// So many of the latest grants are remembered with their sources: who sends one again is told so
/// there, and nobody is told elsewhere.
const REMEMBERED: usize = 1_024;

/// What the daemon has where doors are opened by sealed packets.
pub(super) struct Sealed {
    folder: PathBuf,
    store: Store,
    servers: Servers,
    people: People,
    marks: Marks,
    cookies: CookieKey,
    /// Nothing for a shadow, which answers nobody.
    answers: Option<Answers>,
    pub(super) paper: Paper,
    granted: VecDeque<(KeyId, UnixMillis, IpAddr)>,
    counts: Counts,
}

#[derive(Copy, Clone, Debug, Default)]
struct Counts {
    granted: u64,
    refused: u64,
    unproven: u64,
    unanswered: u64,
}

/// Why sealed packets cannot be taken.
#[derive(Debug)]
pub(super) enum Failure {
    Store(StoreError),
    Marks(PathBuf, io::Error),
    Answers(io::Error),
}

/// What comes of a packet whose signature is good.
struct Judged {
    who: String,
    request: Request,
    /// Its door's place.
    door: Option<u16>,
    verdict: Verdict,
}

/// What came of an opening.
#[derive(Debug, Default)]
pub(super) struct Came {
    /// What the gate has opened.
    pub(super) gate: Option<Happened>,
    /// What the commands do; `None` if not all that was to be opened is.
    pub(super) commands: Option<Begun>,
}

impl Came {
    /// Whether all that was to be opened is.
    pub(super) const fn is_done(&self) -> bool {
        self.commands.is_some()
    }
}

enum Verdict {
    Granted(Mark),
    Confirm(Cookie),
    Refused(Refusal),
}

impl Judged {
    /// What is to be on the disk before anything is done for it.
    const fn mark(&self) -> Option<Mark> {
        match self.verdict {
            Verdict::Granted(mark) => Some(mark),
            Verdict::Confirm(_) | Verdict::Refused(_) => None,
        }
    }
}

fn now_millis() -> UnixMillis {
    UnixMillis(clock::realtime() / 1_000_000)
}

impl Sealed {
    /// Gets hold of all that is needed for `doors`; `None` if sealed packets open none of them. Takes
    /// what is to answer with from `reserve`, if it is there.
    pub(super) fn open(
        settings: &Settings,
        doors: &[Door],
        reserve: &mut Option<Answers>,
    ) -> Result<Option<(Self, Vec<Line>)>, Failure> {
        if doors.iter().all(|door| door.spa.is_none()) {
            return Ok(None);
        }
        let folder = &settings.state_dir;
        let Some((store, new)) = state::keys(settings).map_err(Failure::Store)? else {
            return Ok(None);
        };
        let (marks, lost) = state::marks(settings)?;
        let answers = match reserve.take() {
            _ if settings.shadow => None,
            Some(answers) => Some(answers),
            None => Some(Answers::open().map_err(Failure::Answers)?),
        };
        let (people, mut lines) = People::new(doors, settings.revoked_keys.as_deref());
        if new {
            let text = format!("new keys of this site are in {}", folder.display());
            lines.push(Line::new(Level::Info, "keys", text));
        }
        if lost {
            let text = "what was accepted before could not be read: nothing from before now is";
            lines.push(Line::new(Level::Warning, "keys", text));
        }
        let mut paper = Paper::default();
        let lines_of_codes = paper.open_for(settings);
        let sealed = Self {
            folder: folder.clone(),
            servers: store.servers(),
            store,
            people,
            marks,
            cookies: CookieKey::generate(&mut SystemRng),
            answers,
            paper,
            granted: VecDeque::new(),
            counts: Counts::default(),
        };
        lines.push(sealed.hello());
        lines.extend(lines_of_codes);
        Ok(Some((sealed, lines)))
    }

    /// Goes by other settings and doors, and by the keys as they are now in the file. If that fails,
    /// everything stays as it was.
    pub(super) fn reload(
        &mut self,
        settings: &Settings,
        doors: &[Door],
    ) -> Result<Vec<Line>, Failure> {
        let folder = &settings.state_dir;
        let store = state::keys(settings).map_err(Failure::Store)?;
        if *folder != self.folder {
            (self.marks, _) = state::marks(settings)?;
            self.folder.clone_from(folder);
        }
        self.marks.set_tolerance(settings.spa_window);
        if let Some((store, _)) = store {
            (self.store, self.servers) = (store.clone(), store.servers());
        }
        let (people, mut lines) = People::new(doors, settings.revoked_keys.as_deref());
        self.people = people;
        self.cookies = CookieKey::generate(&mut SystemRng);
        lines.push(self.hello());
        lines.extend(self.paper.open_for(settings));
        Ok(lines)
    }

    /// What the listener is told.
    pub(super) fn site(&self) -> Site {
        self.store.site()
    }

    pub(super) fn status(&self) -> String {
        let Counts {
            granted,
            refused,
            unproven,
            unanswered,
        } = self.counts;
        format!(
            "{} keys, {granted} granted, {refused} refused, {unproven} without a good signature, \
             {unanswered} not answered",
            self.people.ring.len()
        )
    }

    fn hello(&self) -> Line {
        let keys = self.people.ring.len();
        let epoch = self.store.current.number.0;
        let text = format!("sealed packets of {keys} keys are taken (epoch {epoch})");
        let level = if keys == 0 {
            Level::Warning
        } else {
            Level::Info
        };
        Line::new(level, "keys", text)
    }

    /// Reads the keys of people anew if they have changed.
    fn follow(&mut self) -> Vec<Line> {
        let Some(mut lines) = self.people.follow() else {
            return Vec::new();
        };
        self.cookies = CookieKey::generate(&mut SystemRng);
        lines.push(self.hello());
        lines
    }

    /// Who it was, and whether it is granted; `None` if nobody has signed it.
    fn judge(&mut self, knock: &Knock, doors: &[Door]) -> Option<Judged> {
        let judged = match &knock.unsealed {
            Unsealed::Request(unsealed) => self.judge_request(unsealed, knock.source, doors),
            Unsealed::Confirmation(confirmation) => {
                let confirmed = confirmation.verify(&self.cookies).ok();
                confirmed.map(|confirmed| {
                    let request = confirmed.request().clone();
                    let (door, here) = here(&self.cookies, &request, knock.source, doors);
                    let verdict = confirmed.judge(&here, &mut self.marks.window);
                    Judged {
                        who: self.people.name(request.key),
                        request,
                        door,
                        verdict: verdict.map_or_else(Verdict::Refused, Verdict::Granted),
                    }
                })
            }
        };
        if judged.is_none() {
            self.counts.unproven = self.counts.unproven.saturating_add(1);
        }
        judged
    }

    fn judge_request(
        &mut self,
        unsealed: &UnsealedRequest,
        source: IpAddr,
        doors: &[Door],
    ) -> Option<Judged> {
        let knock = knock_spa::verify(unsealed, &self.servers, &self.people.ring).ok()?;
        let request = knock.request().clone();
        let line = knock.lines().first()?;
        let mut who = self.people.name(line.key.id());
        if let Some(certificate) = knock.certificate() {
            who = format!("{} certified by {who}", certificate.key_id());
        }
        let (door, here) = here(&self.cookies, &request, source, doors);
        let must_claim = door
            .and_then(|door| doors.get(usize::from(door))?.spa.as_ref())
            .is_some_and(|spa| spa.require_claim && request.purpose == Purpose::Open);
        let source = source.to_canonical();
        let same_family = |claimed: &IpAddr| claimed.is_ipv4() == source.is_ipv4();
        let window = &mut self.marks.window;
        let fresh = window.check(request.key, request.time, here.now);
        let verdict = match fresh {
            Ok(()) if must_claim && !request.claimed.as_ref().is_some_and(same_family) => {
                Verdict::Refused(Refusal::AddressMismatch)
            }
            _ => match knock.judge(&here, window) {
                Decision::Granted { mark, .. } => Verdict::Granted(mark),
                Decision::Confirm(cookie) => Verdict::Confirm(cookie),
                Decision::Refused(refusal) => Verdict::Refused(refusal),
            },
        };
        Some(Judged {
            who,
            request,
            door,
            verdict,
        })
    }

    /// Whether what is refused as seen before was granted to this source: then it is told so.
    fn was_granted(&self, request: &Request, source: IpAddr) -> bool {
        let this = (request.key, request.time, source);
        self.granted.contains(&this)
    }

    fn remember(&mut self, request: &Request, source: IpAddr) {
        self.granted.truncate(REMEMBERED - 1);
        self.granted.push_front((request.key, request.time, source));
    }

    fn answer(&mut self, knock: &Knock, outcome: Outcome) {
        let reply = Reply {
            time: now_millis(),
            seen: knock.source.to_canonical(),
            outcome,
        };
        let now = listen::now();
        let Some(answers) = &mut self.answers else {
            return;
        };
        if !answers.may_send(knock.source, &reply.outcome, now) {
            self.counts.unanswered = self.counts.unanswered.saturating_add(1);
            return;
        }
        let datagram = reply.seal(knock.unsealed.channel(), &mut SystemRng);
        if answers.send(knock, &datagram).is_err() {
            self.counts.unanswered = self.counts.unanswered.saturating_add(1);
        }
    }
}

/// What is known of a request besides itself, and the place of its door.
fn here<'a>(
    cookies: &'a CookieKey,
    request: &Request,
    source: IpAddr,
    doors: &[Door],
) -> (Option<u16>, Circumstances<'a>) {
    let mut all = (0_u16..).zip(doors);
    let found = all.find(|(_, door)| door.spa.is_some() && door.name == request.door.as_str());
    let rule = found.and_then(|(_, door)| door.spa.as_ref());
    let here = Circumstances {
        source,
        now: now_millis(),
        door: rule.map(|spa| DoorRule {
            confirm: spa.confirm,
        }),
        cookies,
    };
    (found.map(|(id, _)| id), here)
}

impl Daemon {
    /// Does what is granted.
    fn act(
        &mut self,
        door: &DoorRef,
        request: &Request,
        source: IpAddr,
        who: &str,
        now: Timestamp,
    ) -> Outcome {
        let time = time_of(door, request.open_for);
        let until = closes_by_itself(door, source)
            .then(|| now_millis().0.saturating_add(millis(time)))
            .map(UnixMillis);
        let what = what_of(door);
        match request.purpose {
            Purpose::Ask => Outcome::WouldOpen { until, what },
            Purpose::Close => {
                let closing = Closing {
                    door: door.name.clone(),
                    kill: false,
                };
                let text = format!("closed by {who}");
                let who = Who::Key(who.to_owned());
                let why = Why {
                    who: Some(&who),
                    ..Why::new(&text, Reason::CloseKnock)
                };
                self.take_back_for(&closing, door, source, &why, now);
                Outcome::Closed
            }
            Purpose::Open => {
                let Some(door) = door.lasting(time) else {
                    return Outcome::Refused(Refusal::GateError);
                };
                let opener = Opener {
                    how: &format!("opened by {who} for {}", InUnits(time)),
                    who: Some(&Who::Key(who.to_owned())),
                };
                if self.open_sealed(&door, source, &opener, now).is_done() {
                    Outcome::Opened { until, what }
                } else {
                    Outcome::Refused(Refusal::GateError)
                }
            }
        }
    }

    /// Opens the door, the gate first. What came of it.
    pub(super) fn open_sealed(
        &mut self,
        door: &DoorRef,
        source: IpAddr,
        opener: &Opener<'_>,
        now: Timestamp,
    ) -> Came {
        let mut came = Came::default();
        if self.settings.shadow {
            self.would_open(door, source, opener.who, now);
            return came;
        }
        if let Some(gatekeeper) = &mut self.gatekeeper
            && let Some(opened) = gatekeeper.handle_opening(door, source, opener.who, now)
        {
            let happened = opened.line.happened().cloned();
            self.keeper.tell(opened.line, now);
            if !opened.done {
                return came;
            }
            came.gate = happened;
        } else if door.action.native.is_some() {
            return came;
        }
        let (_, refused) = self.keeper.losses();
        let begun = self.keeper.handle_sealed(door, source, opener, now);
        if let Some(closing) = &door.action.close {
            let text = format!("closed by {}", door.name);
            let why = Why {
                who: opener.who,
                ..Why::new(&text, Reason::CloseKnock)
            };
            self.take_back_for(closing, door, source, &why, now);
        }
        self.perform();
        if self.keeper.losses().1 == refused {
            came.commands = Some(begun);
        }
        came
    }
}

/// For how long the door is opened: as it was asked for, within the door's bounds.
pub(super) fn time_of(door: &Door, asked: Option<NonZeroU32>) -> Duration {
    let native = door.action.native.as_ref();
    let own = native.map_or(door.action.cmd_timeout, |native| native.open_for);
    let Some(asked) = asked else {
        return own;
    };
    let most = door.spa.as_ref().and_then(|spa| spa.ttl_max);
    Duration::from_secs(asked.get().into()).min(most.unwrap_or(own))
}

/// Whether what the door gives `source` has an end.
pub(super) fn closes_by_itself(door: &Door, source: IpAddr) -> bool {
    let commands = door.action.for_source(source);
    door.action.native.is_some() || commands.is_some_and(|commands| commands.stop.is_some())
}

fn what_of(door: &Door) -> What {
    let native = door.action.native.iter();
    let services: Vec<_> = native
        .flat_map(|native| native.open.iter().map(ToString::to_string))
        .collect();
    if services.is_empty() {
        What::new(&door.name)
    } else {
        What::new(&services.join(", "))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Marks(folder, error) => {
                let path = folder.join(crate::spa::marks::FILE);
                write!(f, "{}: {}", path.display(), reason(error))
            }
            Self::Answers(error) => write!(f, "no socket to answer with: {}", reason(error)),
        }
    }
}
