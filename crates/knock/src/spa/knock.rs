//! From what a user wants to what the server says.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use knock_spa::{DoorName, Purpose};

use super::exchange::{self, Answer, Ask, Timing, Verdict};
use super::keys::{IdentityError, Key, Keys};
use super::profile::{Profile, ProfileError};
use super::ssh_settings::SshSettings;
use super::way::Way;
use crate::knocker::RouteError;
use crate::resolve::{self, Family, ResolveError};

/// What a user wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The host, by the name that it was enrolled with.
    pub host: String,
    /// The door; `None`: the profile's first.
    pub door: Option<DoorName>,
    /// For how long; `None` leaves it to the door.
    pub open_for: Option<NonZeroU32>,
    /// What is to happen to the door.
    pub purpose: Purpose,
    /// The only key that may sign.
    pub identity: Option<PathBuf>,
    /// Whether a public address of ours is named.
    pub claim: bool,
    /// The only family that is used.
    pub family: Option<Family>,
    /// Our address.
    pub source: Option<SocketAddr>,
    /// Our interface.
    pub interface: Option<String>,
    /// Whether one family that is let in is enough.
    pub first_only: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The door that was asked for.
    pub door: DoorName,
    /// What was asked for.
    pub purpose: Purpose,
    /// What came of each family.
    pub answers: Vec<Answer>,
    /// The keys that were tried.
    pub keys: Keys,
}

impl Outcome {
    /// The key that an answer is for.
    #[must_use]
    pub fn key(&self, number: usize) -> Option<&Key> {
        self.keys.all().get(number)
    }
}

/// Why nothing was asked.
#[derive(Debug)]
pub enum KnockError {
    /// There is no profile that can be used.
    Profile(ProfileError),
    /// The profile has no door, and none was named.
    NoDoor,
    /// The key that was named cannot be used.
    Identity(PathBuf, IdentityError),
    /// There is no key, for these reasons.
    NoKey(Vec<String>),
    /// The host has no address.
    Resolve(ResolveError),
    /// There is no way to any of its addresses.
    Route(RouteError),
    /// The system has no random numbers or no threads.
    System(io::Error),
}

/// What is wrong; lower case, no full stop.
impl fmt::Display for KnockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile(error) => error.fmt(f),
            Self::NoDoor => f.write_str("the profile names no door (see --door)"),
            Self::Identity(path, error) => write!(f, "--identity {}: {error}", path.display()),
            Self::NoKey(notes) => {
                f.write_str(
                    "no key: ssh-agent has none, and there is none in a file that ssh would try",
                )?;
                notes.iter().try_for_each(|note| write!(f, "; {note}"))
            }
            Self::Resolve(error) => error.fmt(f),
            Self::Route(error) => error.fmt(f),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for KnockError {}

/// Asks. `tell` is told what is done meanwhile.
///
/// # Errors
/// If nothing could be asked.
pub fn knock(wanted: &Wanted, tell: &mut dyn FnMut(&str)) -> Result<Outcome, KnockError> {
    let mut profile = Profile::load(&wanted.host).map_err(KnockError::Profile)?;
    let door = wanted
        .door
        .clone()
        .or_else(|| profile.doors.first().cloned());
    let door = door.ok_or(KnockError::NoDoor)?;
    let before = profile.clone();
    let said_now = ask_ssh(wanted, &mut profile);
    let mut keys = keys(wanted, &mut profile, said_now)?;
    let ways = ways(wanted, &profile)?;
    for way in &ways {
        tell(&format!("asking {} for {door}", way.to()));
    }
    for key in keys.all() {
        tell(&format!("with {key}"));
    }
    let ask = Ask {
        profile: &profile.keys,
        door: door.clone(),
        purpose: wanted.purpose,
        open_for: wanted.open_for,
        claim: wanted.claim,
        first_only: wanted.first_only,
    };
    let answers = exchange::run(&ask, ways, &mut keys, Timing::default(), tell);
    let answers = answers.map_err(KnockError::System)?;
    let outcome = Outcome {
        door,
        purpose: wanted.purpose,
        answers,
        keys,
    };
    remember(wanted, &before, profile, &outcome, tell);
    Ok(outcome)
}

/// Asks ssh for its configuration of the host, if it never was asked. Whether it was now.
pub(super) fn ask_ssh(wanted: &Wanted, profile: &mut Profile) -> bool {
    let never = profile.ssh.is_none();
    if never {
        profile.ssh = SshSettings::ask(&wanted.host);
    }
    never
}

/// The keys at hand. If by what ssh has said before the key is not found that was let in, it is asked
/// again.
pub(super) fn keys(
    wanted: &Wanted,
    profile: &mut Profile,
    said_now: bool,
) -> Result<Keys, KnockError> {
    let settings = profile.ssh.clone().unwrap_or_default();
    if let Some(path) = &wanted.identity {
        let error = |error| KnockError::Identity(path.clone(), error);
        return Keys::of_file(path, &settings.agent()).map_err(error);
    }
    let known = profile.key.as_deref();
    let mut keys = Keys::of_user(known, &settings);
    let is_known = |key: &Key| known.is_none_or(|known| known == key.fingerprint());
    if !said_now && !keys.all().first().is_some_and(is_known) {
        profile.ssh = SshSettings::ask(&wanted.host);
        keys = Keys::of_user(known, &profile.ssh.clone().unwrap_or_default());
    }
    if keys.all().is_empty() {
        return Err(KnockError::NoKey(keys.notes));
    }
    Ok(keys)
}

/// A way for each family. One that the system has no route for is no way, if there is another.
fn ways(wanted: &Wanted, profile: &Profile) -> Result<Vec<Way>, KnockError> {
    let (mut ways, mut why) = (Vec::new(), None);
    for mut to in addresses(wanted, profile)?.0 {
        to.set_port(profile.port.get());
        match way(wanted, to) {
            Ok(way) => ways.push(way),
            Err(error) => why = why.or(Some(error)),
        }
    }
    match (ways.is_empty(), why) {
        (true, Some(error)) => Err(KnockError::Route(error)),
        _ => Ok(ways),
    }
}

pub(super) fn way(wanted: &Wanted, to: SocketAddr) -> Result<Way, RouteError> {
    Way::new(to, wanted.source, wanted.interface.as_deref())
}

/// By what the addresses were found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum By {
    /// This name.
    Name(String),
    /// The profile, in which the server has named them: no name has any.
    Profile,
}

/// The addresses of the host as ssh will use them: of the name that ssh's configuration has for it,
/// if it has one; of a name that nobody knows, those that the server named.
pub(super) fn addresses(
    wanted: &Wanted,
    profile: &Profile,
) -> Result<(Vec<SocketAddr>, By), KnockError> {
    let family = wanted.family.or(wanted.source.as_ref().map(Family::of));
    let name = host_name(wanted, profile);
    let error = match resolve::each_family(&name, family) {
        Ok(found) => return Ok((found, By::Name(name))),
        Err(ResolveError::Lookup(error)) => error,
        Err(other) => return Err(KnockError::Resolve(other)),
    };
    let mut known: Vec<SocketAddr> = Vec::new();
    for ip in &profile.addresses {
        let address = SocketAddr::new(*ip, 0);
        let of = Family::of(&address);
        let is_new = known.iter().all(|have| Family::of(have) != of);
        if is_new && family.is_none_or(|family| family == of) {
            known.push(address);
        }
    }
    if known.is_empty() {
        return Err(KnockError::Resolve(ResolveError::Lookup(error)));
    }
    Ok((known, By::Profile))
}

/// `HostName` of ssh's configuration, or the name itself.
fn host_name(wanted: &Wanted, profile: &Profile) -> String {
    let named = profile.ssh.as_ref().map(|ssh| ssh.host_name.as_str());
    let named = named.filter(|name| !name.is_empty());
    named.unwrap_or(&wanted.host).to_owned()
}

/// The key that was let in is tried first the next time, and what ssh said is kept as long as it is
/// of use. If that cannot be written, it is not.
fn remember(
    wanted: &Wanted,
    before: &Profile,
    mut profile: Profile,
    outcome: &Outcome,
    tell: &mut dyn FnMut(&str),
) {
    let good = outcome
        .answers
        .iter()
        .find_map(|answer| match &answer.verdict {
            Verdict::Answered { key, .. } if answer.verdict.is_good() => Some(*key),
            _ => None,
        });
    let key = good.and_then(|key| outcome.key(key)).map(Key::fingerprint);
    if key.is_none() {
        profile.ssh = None;
    } else if wanted.identity.is_none() {
        profile.key = key;
    }
    if (&profile.key, &profile.ssh) == (&before.key, &before.ssh) {
        return;
    }
    if let Err(error) = profile.save(&wanted.host) {
        tell(&error.to_string());
    }
}
