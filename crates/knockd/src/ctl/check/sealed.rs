//! What is amiss with the files of those who may open doors with sealed packets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use knock_core::spa::KeySource;
use knock_spa::Revoked;
use knock_spa::keys::Mistake;
use nix::unistd::{User, geteuid};

use super::files::Warning;
use crate::config_file::reason;
use crate::spa::people::read_file;

/// The most mistakes of a file that are told.
const MAX_TOLD: usize = 8;

/// What keeps the keys of `source` from being read, and who could add some. What a pattern stands
/// for may come later.
pub(super) fn keys(source: &KeySource) -> Vec<Warning> {
    let home = match source.account().map(User::from_name) {
        None => PathBuf::from("/"),
        Some(Ok(Some(user))) => user.dir,
        Some(Ok(None)) => {
            let account = source.account().unwrap_or_default();
            return vec![(
                format!("there is no account `{account}`"),
                "the name of an account of this machine".into(),
                None,
            )];
        }
        // A database that cannot be read is no answer.
        Some(Err(_)) => return Vec::new(),
    };
    let plain = |name: &&str| !name.contains(['*', '?']);
    let path = source
        .names()
        .take_while(plain)
        .fold(home, |p, n| p.join(n));
    if source.is_pattern() {
        directory(&path).into_iter().collect()
    } else {
        file(&path).into_iter().collect()
    }
}

fn directory(path: &Path) -> Option<Warning> {
    let Ok(metadata) = fs::metadata(path) else {
        let message = format!("there is no directory `{}`", path.display());
        return Some((message, "a pattern in a directory that exists".into(), None));
    };
    changeable(path, &metadata)
}

fn file(path: &Path) -> Option<Warning> {
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            let message = format!("`{shown}` cannot be read: {}", reason(&error));
            let expected = "a file in the format of authorized_keys";
            return Some((message, expected.into(), Some("sshd(8) describes it")));
        }
    };
    if metadata.is_dir() {
        let message = format!("`{shown}` is a directory");
        let help = "a pattern such as /etc/knockd/keys/* names the files in it";
        return Some((message, "the path of a file".into(), Some(help)));
    }
    changeable(path, &metadata)
}

/// What keeps the list of what is revoked from being read: then nobody is let in.
pub(super) fn revoked(path: &Path) -> Vec<Warning> {
    let expected = "a list of public keys, fingerprints, serial: and id: lines";
    let shown = path.display();
    let bytes = match read_file(path, geteuid().as_raw()) {
        Ok(bytes) => bytes,
        Err(why) => {
            let message = format!("`{shown}` is not taken: {why}");
            return vec![(message, expected.into(), Some(FAILS_CLOSED))];
        }
    };
    let mistakes = Revoked::read(&bytes).err().unwrap_or_default();
    let told = |mistake: &Mistake| {
        let message = format!("{shown}:{mistake}");
        (message, expected.to_owned(), Some(FAILS_CLOSED))
    };
    mistakes.iter().take(MAX_TOLD).map(told).collect()
}

const FAILS_CLOSED: &str = "as long as it is so, no sealed packet is taken";

/// Whoever can write there can let themselves in. `sshd` asks the same (`StrictModes` of
/// `sshd_config(5)`).
fn changeable(path: &Path, metadata: &fs::Metadata) -> Option<Warning> {
    let mode = metadata.permissions().mode() & 0o7777;
    // In a directory with this bit, as /tmp, others cannot replace a file, but can add one.
    (mode & 0o022 != 0).then(|| {
        let shown = path.display();
        (
            format!("others than its owner can change `{shown}` (mode {mode:04o})"),
            "keys that only their owner can change".into(),
            Some("chmod go-w"),
        )
    })
}

/// Why nothing can be kept in the directory `path`: what is wrong, and what was expected.
pub(super) fn no_directory(path: &Path) -> Option<(String, &'static str)> {
    if path.is_dir() {
        return None;
    }
    if path.exists() {
        return Some(("this is no directory".into(), "the path of a directory"));
    }
    let parent = path.parent()?;
    (!parent.is_dir()).then(|| {
        let message = format!("there is no directory `{}`", parent.display());
        (message, "a directory in one that exists")
    })
}
