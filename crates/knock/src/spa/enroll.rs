//! Fetch a profile over ssh: by the trust that is already there.

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::profile::{Profile, ProfileError};
use crate::store::MAX;

/// What to fetch, and from where.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// `[USER@]HOST`, for ssh.
    pub destination: String,
    /// The name of the profile; `None`: the host's.
    pub name: Option<String>,
    /// Whether it takes sudo.
    pub sudo: bool,
    /// Options of ssh's.
    pub ssh: Vec<String>,
}

/// What was stored.
#[derive(Debug)]
pub struct Enrolled {
    /// Its name.
    pub name: String,
    /// The profile.
    pub profile: Profile,
    /// Its file.
    pub path: PathBuf,
    /// Whether there was one with other keys.
    pub keys_changed: bool,
}

/// Why nothing was stored.
#[derive(Debug)]
pub enum EnrolError {
    /// ssh could not be started.
    Ssh(io::Error),
    /// ssh, or what it ran, ended so.
    Failed(String),
    /// What came is no profile, or it cannot be stored.
    Profile(ProfileError),
    /// It has no door that could be knocked at.
    NoDoor,
}

/// What is wrong; lower case, no full stop.
impl fmt::Display for EnrolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssh(error) => write!(f, "cannot run ssh: {error}"),
            Self::Failed(how) => write!(
                f,
                "`ssh … knockctl profile` failed ({how}): if it needs root there, try --sudo"
            ),
            Self::Profile(error) => error.fmt(f),
            Self::NoDoor => f.write_str("no door there takes single packets"),
        }
    }
}

impl std::error::Error for EnrolError {}

/// Runs `ssh DESTINATION knockctl profile`, and stores what it prints.
///
/// # Errors
/// If any of that fails. What was stored before then stays.
pub fn enroll(wanted: &Enrolment) -> Result<Enrolled, EnrolError> {
    let destination = wanted.destination.as_str();
    let host = destination
        .rsplit_once('@')
        .map_or(destination, |(_, host)| host);
    let name = wanted.name.as_deref().unwrap_or(host);
    // Before anybody is asked for a password.
    super::profile::path(name).map_err(EnrolError::Profile)?;
    super::profile::path(host).map_err(EnrolError::Profile)?;
    let printed = fetch(wanted)?;
    let text = object(&printed);
    let mut profile = Profile::parse(text, host).map_err(EnrolError::Profile)?;
    host.clone_into(&mut profile.host);
    if profile.doors.is_empty() {
        return Err(EnrolError::NoDoor);
    }
    let before = Profile::load(name).ok();
    let keys_changed = before.as_ref().is_some_and(|before| {
        before.keys.server != profile.keys.server
            || before.keys.site.expose() != profile.keys.site.expose()
    });
    profile.key = before.and_then(|before| before.key);
    let path = profile.save(name).map_err(EnrolError::Profile)?;
    Ok(Enrolled {
        name: name.to_owned(),
        profile,
        path,
        keys_changed,
    })
}

fn fetch(wanted: &Enrolment) -> Result<Vec<u8>, EnrolError> {
    let mut command = Command::new("ssh");
    command.args(&wanted.ssh).arg("--").arg(&wanted.destination);
    if wanted.sudo {
        command.arg("sudo");
    }
    command.args(["knockctl", "profile"]).stdout(Stdio::piped());
    let mut ssh = command.spawn().map_err(EnrolError::Ssh)?;
    let mut printed = Vec::new();
    let read = ssh
        .stdout
        .take()
        .map(|out| out.take(MAX).read_to_end(&mut printed));
    let ended = ssh.wait().map_err(EnrolError::Ssh)?;
    if let Some(Err(error)) = read {
        return Err(EnrolError::Ssh(error));
    }
    if ended.success() {
        Ok(printed)
    } else {
        Err(EnrolError::Failed(ended.to_string()))
    }
}

/// The profile is one line; a login script may print others before and after it.
fn object(printed: &[u8]) -> &[u8] {
    let mut lines = printed.split(|c| *c == b'\n').map(<[u8]>::trim_ascii);
    let is_object = |line: &&[u8]| line.starts_with(b"{") && line.ends_with(b"}");
    lines.find(is_object).unwrap_or(printed)
}
