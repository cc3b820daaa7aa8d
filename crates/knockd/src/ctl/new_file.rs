//! A file that is new: there whole or not at all, for its owner alone, and in no other's place.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config_file::reason;

/// Why it was not written. Nothing has changed then.
#[derive(Debug)]
pub(super) enum NewFileError {
    /// Something has this name already.
    Exists(PathBuf),
    /// The folder is not there, or may not be written to, or has no room.
    Folder(PathBuf, io::Error),
}

impl fmt::Display for NewFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(path) => {
                write!(f, "{} is there already, and stays as it is", path.display())
            }
            Self::Folder(path, error) => {
                write!(f, "cannot write in {}: {}", path.display(), reason(error))
            }
        }
    }
}

/// Whether something has this name, also a link that leads nowhere.
pub(super) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Writes `text`, as it is, to `path`, with mode 0600. When this returns, it is on the disk.
///
/// # Errors
/// If something is there, or the folder is not for us.
pub(super) fn write(path: &Path, text: &[u8]) -> Result<(), NewFileError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let failed = |error| NewFileError::Folder(folder.to_owned(), error);
    if exists(path) {
        return Err(NewFileError::Exists(path.to_owned()));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = folder.join(format!(".{name}.{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(&draft).and_then(|mut file| {
        file.write_all(text)?;
        file.sync_all()
    });
    // Unlike a renaming, a second name never takes the place of another file.
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match linked.and(removed) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(NewFileError::Exists(path.to_owned()))
        }
        Err(error) => Err(failed(error)),
        Ok(()) => File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_new_file_is_for_its_owner_alone_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("knockd.conf");
        write(&path, b"[A]\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[A]\n");
        assert_eq!(
            path.metadata().unwrap().permissions().mode() & 0o7777,
            0o600
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_there_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("knockd.conf");
        fs::write(&path, "mine").unwrap();
        let link = folder.path().join("link");
        symlink("/nonexistent/file", &link).unwrap();
        for path in [&path, &link, &folder.path().to_owned()] {
            let error = write(path, b"theirs").unwrap_err();
            assert!(matches!(error, NewFileError::Exists(_)), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = write(Path::new("/nonexistent/knockd.conf"), b"").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot write in /nonexistent: No such file or directory"
        );
    }
}
