//! The site's own keys: this epoch's, and those of the one before, in the file `spa-keys`.
//!
//! Text, one line an epoch, the later first: `epoch N server BASE64 site BASE64`. Mode 0600, made
//! at the first start with a door that sealed packets open, and replaced whole by a rotation.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use knock_spa::{Epoch, EpochNumber, ServerKey, Servers, SiteKey};

use super::SystemRng;
use super::base64::{decode, encode};
use super::replace::replace;
use crate::config_file::reason;
use crate::wire::{Keys, Site};

/// The file's name, in `state_dir`.
pub const FILE: &str = "spa-keys";

/// More than two epochs take.
const MOST: u64 = 4096;

/// The keys of a site.
#[derive(Clone, Debug)]
pub struct Store {
    /// This epoch's.
    pub current: Epoch,
    /// Those of the one before, which clients may still have.
    pub previous: Option<Epoch>,
}

/// Why there are no keys.
#[derive(Debug)]
pub enum StoreError {
    /// The file cannot be read or written.
    Io(PathBuf, io::Error),
    /// It is not what was written.
    Malformed(PathBuf),
    /// Others than its owner can read it.
    Open(PathBuf, u32),
    /// There are keys already.
    Exists(PathBuf),
    /// There are none yet.
    Missing(PathBuf),
}

impl Store {
    /// New keys.
    #[must_use]
    pub fn generate() -> Self {
        Self {
            current: epoch(1),
            previous: None,
        }
    }

    /// The keys in `folder`; `None` if there is no file.
    ///
    /// # Errors
    /// If the file cannot be read, is malformed, or others can read it.
    pub fn load(folder: &Path) -> Result<Option<Self>, StoreError> {
        let path = folder.join(FILE);
        let io = |error| StoreError::Io(path.clone(), error);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let mode = file.metadata().map_err(io)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(StoreError::Open(path, mode));
        }
        let mut text = String::new();
        file.take(MOST).read_to_string(&mut text).map_err(io)?;
        Self::read(&text)
            .map(Some)
            .ok_or(StoreError::Malformed(path))
    }

    /// The keys in `folder`, new ones if there are none. Whether they are new.
    ///
    /// # Errors
    /// As [`Store::load`], or if they cannot be written.
    pub fn load_or_make(folder: &Path) -> Result<(Self, bool), StoreError> {
        if let Some(store) = Self::load(folder)? {
            return Ok((store, false));
        }
        let store = Self::generate();
        store.save(folder)?;
        Ok((store, true))
    }

    /// A new epoch; what was this one's is the one's before.
    #[must_use]
    pub fn rotated(self) -> Self {
        Self {
            current: epoch(self.current.number.0.saturating_add(1)),
            previous: Some(self.current),
        }
    }

    /// Writes the file, durably and at once.
    ///
    /// # Errors
    /// If it cannot be written; then the one before is there.
    pub fn save(&self, folder: &Path) -> Result<(), StoreError> {
        replace(folder, FILE, self.text().as_bytes())
            .map(drop)
            .map_err(|error| StoreError::Io(folder.join(FILE), error))
    }

    fn text(&self) -> String {
        let epochs = [Some(&self.current), self.previous.as_ref()];
        let line = |epoch: &Epoch| {
            format!(
                "epoch {} server {} site {}\n",
                epoch.number.0,
                encode(epoch.server.expose()),
                encode(epoch.site.expose())
            )
        };
        epochs.into_iter().flatten().map(line).collect()
    }

    fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let current = read_epoch(lines.next()?)?;
        let previous = match lines.next() {
            None => None,
            Some(line) => Some(read_epoch(line)?),
        };
        let store = Self { current, previous };
        (store.text() == text).then_some(store)
    }

    /// What the listener is told.
    #[must_use]
    pub fn site(&self) -> Site {
        Site {
            current: Keys::of(&self.current),
            previous: self.previous.as_ref().map(Keys::of),
        }
    }

    /// What is verified with.
    #[must_use]
    pub fn servers(&self) -> Servers {
        let public = |epoch: &Epoch| (epoch.number, epoch.server.public());
        Servers {
            current: public(&self.current),
            previous: self.previous.as_ref().map(public),
        }
    }
}

fn epoch(number: u32) -> Epoch {
    Epoch {
        number: EpochNumber(number),
        server: ServerKey::generate(&mut SystemRng),
        site: SiteKey::generate(&mut SystemRng),
    }
}

fn read_epoch(line: &str) -> Option<Epoch> {
    let words: Vec<_> = line.split(' ').collect();
    let ["epoch", number, "server", server, "site", site] = words[..] else {
        return None;
    };
    let key = |text| decode(text)?.try_into().ok();
    Some(Epoch {
        number: EpochNumber(number.parse().ok()?),
        server: ServerKey::from_bytes(key(server)?),
        site: SiteKey::from_bytes(key(site)?),
    })
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {}", path.display(), reason(error)),
            Self::Malformed(path) => write!(f, "{}: no keys of a site", path.display()),
            Self::Open(path, mode) => write!(
                f,
                "{}: others can read the site's keys (mode {mode:04o}): \
                 chmod 600, and then rotate them",
                path.display()
            ),
            Self::Exists(path) => write!(f, "{}: there are keys already", path.display()),
            Self::Missing(path) => write!(
                f,
                "{}: there are no keys yet (knockctl keys init, or start knockd)",
                path.display()
            ),
        }
    }
}

impl std::error::Error for StoreError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_made_once_and_a_rotation_keeps_those_before() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("a/b");
        let (made, true) = Store::load_or_make(&inside).unwrap() else {
            panic!("not new");
        };
        let (again, false) = Store::load_or_make(&inside).unwrap() else {
            panic!("new");
        };
        assert_eq!(made.site(), again.site());
        let mode = fs::metadata(inside.join(FILE)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        again.rotated().save(&inside).unwrap();
        let rotated = Store::load(&inside).unwrap().unwrap();
        assert_eq!(rotated.current.number, EpochNumber(2));
        assert_eq!(rotated.site().previous, Some(made.site().current));
    }

    #[test]
    fn a_file_that_others_can_read_or_that_was_changed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Store::generate().save(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Store::load(folder.path());
        assert!(matches!(refused, Err(StoreError::Open(_, 0o640))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "epoch 1 server AA== site AA==\n").unwrap();
        let refused = Store::load(folder.path());
        assert!(matches!(refused, Err(StoreError::Malformed(_))));
    }
}
