//! What an administrator has said of the gate beside the configuration: that it is down, or that a
//! part of it is on trial (`knockctl gate down`, `knockctl arm`). It stands in files, so that every
//! process that puts the gate up, now or after a reboot, goes by the same words.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use knock_core::config::{JournalPlace, Options};
use knock_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Guarded, Plan, Trial};
use crate::journal::{BootId, Moment};

/// The most bytes of a file: 65,536 ports, each with its destinations.
const MOST: u64 = 16 << 20;

/// Where the words stand.
#[derive(Clone, Debug)]
pub struct Standing {
    folder: PathBuf,
}

/// What holds of a plan now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Said {
    /// The gate is to be down, until somebody says `knockctl gate up` or the machine starts anew.
    pub down: bool,
    /// What of the plan is guarded for a while only, and until when; a time in the past: not any
    /// more.
    pub trial: Trial,
}

/// The file of a trial.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct TrialFile {
    version: u32,
    /// In which boot it was begun: another one has ended it.
    boot: String,
    /// `CLOCK_BOOTTIME`, in nanoseconds.
    until: u64,
    /// What is on trial, as [`Guarded`] is written.
    guarded: BTreeSet<String>,
}

/// The file that says that the gate is down.
#[derive(Debug, Deserialize, Serialize)]
struct DownFile {
    boot: String,
}

const VERSION: u32 = 1;

impl Standing {
    /// The folder of a configuration with these options: that of the journal, since whoever can
    /// change what is owed can open doors anyway.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        let journal = options.journal.path().unwrap_or(JournalPlace::USUAL);
        let folder = Path::new(journal).parent().unwrap_or(Path::new("/"));
        Self {
            folder: folder.to_owned(),
        }
    }

    /// What was said of `plan`, as it is now.
    ///
    /// # Errors
    /// If there are words and they cannot be read.
    pub fn read(&self, plan: &Plan, now: Timestamp) -> io::Result<Said> {
        let moment = Moment::now(BootId::read()?);
        let down: Option<DownFile> = self.load(&self.down())?;
        let trial: Option<TrialFile> = self.load(&self.trial())?;
        let boot = moment.boot.to_string();
        Ok(Said {
            down: down.is_some_and(|down| down.boot == boot),
            trial: trial.map_or_else(Trial::new, |trial| trial.of(plan, &boot, &moment, now)),
        })
    }

    /// Begins a trial of `guarded` for `time`, in place of another one.
    ///
    /// # Errors
    /// If it cannot be written down, durably.
    pub fn begin_trial(
        &self,
        guarded: impl IntoIterator<Item = Guarded>,
        time: Duration,
    ) -> io::Result<()> {
        let moment = Moment::now(BootId::read()?);
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let file = TrialFile {
            version: VERSION,
            boot: moment.boot.to_string(),
            until: moment.boottime.saturating_add(time),
            guarded: guarded.into_iter().map(|one| one.to_string()).collect(),
        };
        self.store(&self.trial(), &file)
    }

    /// Ends the trial now: what was on it is not guarded, until it is confirmed or tried again.
    ///
    /// # Errors
    /// As [`Standing::begin_trial`].
    pub fn fail_trial(&self) -> io::Result<bool> {
        let Some(file) = self.load::<TrialFile>(&self.trial())? else {
            return Ok(false);
        };
        self.store(&self.trial(), &TrialFile { until: 0, ..file })?;
        Ok(true)
    }

    /// Forgets the trial: everything is guarded for good. Whether there was one.
    ///
    /// # Errors
    /// If it cannot be brought about, durably.
    pub fn confirm_trial(&self) -> io::Result<bool> {
        self.remove(&self.trial())
    }

    /// Says that the gate is to be down until the machine starts anew.
    ///
    /// # Errors
    /// If it cannot be written down, durably.
    pub fn say_down(&self) -> io::Result<()> {
        let boot = BootId::read()?.to_string();
        self.store(&self.down(), &DownFile { boot })
    }

    /// Takes that back. Whether it was said.
    ///
    /// # Errors
    /// If it cannot be brought about, durably.
    pub fn say_up(&self) -> io::Result<bool> {
        self.remove(&self.down())
    }

    fn trial(&self) -> PathBuf {
        self.folder.join("trial")
    }

    fn down(&self) -> PathBuf {
        self.folder.join("gate-down")
    }

    fn load<T: for<'a> Deserialize<'a>>(&self, path: &Path) -> io::Result<Option<T>> {
        use io::Read;
        let file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(about(path, &error)),
        };
        let mut text = String::new();
        let read = file.take(MOST).read_to_string(&mut text);
        read.map_err(|error| about(path, &error))?;
        let value = serde_json::from_str(&text);
        value.map(Some).map_err(|error| about(path, &error.into()))
    }

    /// Writes a file so that it is there as a whole or as it was.
    fn store(&self, path: &Path, value: &impl Serialize) -> io::Result<()> {
        let written = || {
            let made = fs::DirBuilder::new().mode(0o700).create(&self.folder);
            if let Err(error) = made
                && error.kind() != io::ErrorKind::AlreadyExists
            {
                return Err(error);
            }
            let new = path.with_extension("new");
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&new)?;
            serde_json::to_writer(&mut file, value)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            fs::File::open(&self.folder)?.sync_all()
        };
        written().map_err(|error: io::Error| about(path, &error))
    }

    fn remove(&self, path: &Path) -> io::Result<bool> {
        match fs::remove_file(path) {
            Ok(()) => {
                fs::File::open(&self.folder)?.sync_all()?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(about(path, &error)),
        }
    }
}

impl TrialFile {
    /// What of `plan` it is about, each with its end on the clock of `now`.
    fn of(&self, plan: &Plan, boot: &str, moment: &Moment, now: Timestamp) -> Trial {
        let left = if self.boot == boot {
            self.until.saturating_sub(moment.boottime)
        } else {
            0
        };
        let until = now.saturating_add(Duration::from_nanos(left));
        let guarded = plan.guarded();
        let guarded = guarded.filter(|one| self.guarded.contains(&one.to_string()));
        guarded.map(|one| (one, until)).collect()
    }
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    let why = crate::config_file::reason(error);
    io::Error::new(error.kind(), format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use knock_core::config;

    fn plan(open: &str) -> Plan {
        let text = format!("[A]\nsequence = 7000\ntcpflags = syn\nopen = {open}\n");
        let parsed = config::parse(text.as_bytes(), &|_, _| None);
        Plan::of(&parsed.config.unwrap().doors)
    }

    fn standing() -> (tempfile::TempDir, Standing) {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        (dir, Standing { folder })
    }

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    #[test]
    fn nothing_said_is_nothing_on_trial_and_nothing_down() {
        let (_dir, standing) = standing();
        assert_eq!(
            standing.read(&plan("tcp/22"), NOW).unwrap(),
            Said::default()
        );
        assert!(!standing.confirm_trial().unwrap());
        assert!(!standing.fail_trial().unwrap());
        assert!(!standing.say_up().unwrap());
    }

    #[test]
    fn a_trial_is_about_what_it_names_until_its_end() {
        let (_dir, standing) = standing();
        let minute = Duration::from_secs(60);
        standing
            .begin_trial(plan("tcp/22").guarded(), minute)
            .unwrap();
        let said = standing.read(&plan("tcp/22, udp/53"), NOW).unwrap();
        let trial: Vec<_> = said.trial.into_iter().collect();
        assert_eq!(trial.len(), 1);
        assert_eq!(trial[0].0.to_string(), "tcp/22");
        let left = trial[0].1.saturating_since(NOW);
        assert!(left <= minute && left > minute - Duration::from_secs(5));
        assert!(standing.confirm_trial().unwrap());
        assert_eq!(
            standing.read(&plan("tcp/22"), NOW).unwrap(),
            Said::default()
        );
    }

    #[test]
    fn a_trial_that_failed_or_of_another_boot_is_over_and_not_forgotten() {
        let (_dir, standing) = standing();
        standing
            .begin_trial(plan("tcp/22").guarded(), Duration::from_secs(60))
            .unwrap();
        let path = standing.trial();
        let of_now = fs::read_to_string(&path).unwrap();
        let boot = BootId::read().unwrap().to_string();
        fs::write(&path, of_now.replace(&boot, &"0".repeat(boot.len()))).unwrap();
        let over = |said: Said| said.trial.into_values().eq([NOW]);
        assert!(over(standing.read(&plan("tcp/22"), NOW).unwrap()));
        fs::write(&path, of_now).unwrap();
        assert!(!over(standing.read(&plan("tcp/22"), NOW).unwrap()));
        assert!(standing.fail_trial().unwrap());
        assert!(over(standing.read(&plan("tcp/22"), NOW).unwrap()));
    }

    #[test]
    fn down_is_down_until_another_boot() {
        let (_dir, standing) = standing();
        standing.say_down().unwrap();
        assert!(standing.read(&plan("tcp/22"), NOW).unwrap().down);
        let path = standing.down();
        fs::write(&path, r#"{"boot":"another"}"#).unwrap();
        assert!(!standing.read(&plan("tcp/22"), NOW).unwrap().down);
        standing.say_down().unwrap();
        assert!(standing.say_up().unwrap());
        assert!(!standing.read(&plan("tcp/22"), NOW).unwrap().down);
    }

    #[test]
    fn words_that_cannot_be_read_are_an_error_that_names_the_file() {
        let (_dir, standing) = standing();
        standing.say_down().unwrap();
        fs::write(standing.trial(), "{").unwrap();
        let error = standing.read(&plan("tcp/22"), NOW).unwrap_err();
        assert!(error.to_string().contains("state/trial: "), "{error}");
    }
}
