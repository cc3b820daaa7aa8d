//! The files that a user keeps of hosts: where they are, and that they are this user's alone.

use std::env;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process;

/// The longest file that is read, in bytes.
pub const MAX: u64 = 65_536;

/// Why a file cannot be had.
#[derive(Debug)]
pub enum StoreError {
    /// The name can be no host's.
    Name(String),
    /// The system names no folder for configuration.
    NoFolder,
    /// There is no file of this name.
    Missing(PathBuf),
    /// The file cannot be read or written.
    Io(PathBuf, io::Error),
    /// Others than this user may do something with it: its mode, and whether it is another's.
    Open(PathBuf, u32, bool),
}

/// What is wrong; lower case, no full stop.
impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "'{}' is no host's name", name.escape_debug()),
            Self::NoFolder => f.write_str("neither XDG_CONFIG_HOME nor HOME names a folder"),
            Self::Missing(path) => write!(f, "there is no profile {}", path.display()),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Open(path, _, true) => {
                let path = path.display();
                write!(f, "{path}: it belongs to somebody else: `chown` it")
            }
            Self::Open(path, mode, false) => {
                let path = path.display();
                write!(
                    f,
                    "{path}: others may read or write it (mode {mode:04o}): `chmod 600 {path}`"
                )
            }
        }
    }
}

impl std::error::Error for StoreError {}

/// The folder of profiles.
///
/// # Errors
/// If the system names no folder for configuration.
pub fn profiles() -> Result<PathBuf, StoreError> {
    let folder = configuration().ok_or(StoreError::NoFolder)?;
    Ok(folder.join("knock").join("profiles"))
}

/// The file of `host` in the folder of profiles, with this extension.
///
/// # Errors
/// If the name can be no host's, or there is no folder.
pub fn path(host: &str, extension: &str) -> Result<PathBuf, StoreError> {
    let name = file_name(host).ok_or_else(|| StoreError::Name(host.to_owned()))?;
    Ok(profiles()?.join(format!("{name}.{extension}")))
}

/// A host's name is a file's name, but for letters that Windows does not take. A name that begins
/// with a dot or a hyphen, or has a slash, is no host's.
fn file_name(host: &str) -> Option<String> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let may_have = |c: char| c.is_alphanumeric() || "-._:%".contains(c);
    let ok = !host.is_empty()
        && host.len() <= 200
        && !host.starts_with(['.', '-'])
        && host.chars().all(may_have);
    ok.then(|| host.to_lowercase().replace([':', '%'], "_"))
}

/// Reads a file.
///
/// # Errors
/// If there is none, or it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    content(&open(path)?, path)
}

/// Reads a file that only this user may know.
///
/// # Errors
/// As [`read`], and if others may read or write it, or it is another's. Windows is not asked for
/// that: what is in a user's folder there is that user's by inheritance.
pub fn read_private(path: &Path) -> Result<Vec<u8>, StoreError> {
    let file = open(path)?;
    refuse_if_open(&file, path)?;
    content(&file, path)
}

fn open(path: &Path) -> Result<fs::File, StoreError> {
    fs::File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::Missing(path.to_owned()),
        _ => StoreError::Io(path.to_owned(), error),
    })
}

fn content(file: &fs::File, path: &Path) -> Result<Vec<u8>, StoreError> {
    let mut text = Vec::new();
    file.take(MAX)
        .read_to_end(&mut text)
        .map_err(|error| StoreError::Io(path.to_owned(), error))?;
    Ok(text)
}

/// Of the open file, so that nobody can change it between the look and the reading.
#[cfg(unix)]
fn refuse_if_open(file: &fs::File, path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::MetadataExt;

    let data = file.metadata();
    let data = data.map_err(|error| StoreError::Io(path.to_owned(), error))?;
    let mode = data.mode() & 0o777;
    let me = rustix::process::geteuid().as_raw();
    let is_anothers = data.uid() != me && data.uid() != 0;
    if is_anothers || mode & 0o077 != 0 {
        return Err(StoreError::Open(path.to_owned(), mode, is_anothers));
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_if_open(_: &fs::File, _: &Path) -> Result<(), StoreError> {
    Ok(())
}

/// Writes a file, whole or not at all, for this user alone, and the folders that it needs.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    replace(path, content).map_err(|error| StoreError::Io(path.to_owned(), error))
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    private_folder(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}", process::id()));
    let written = private_file(&beside)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        fs::remove_file(&beside).ok();
    }
    written
}

/// The user's folder for configuration.
#[cfg(not(windows))]
fn configuration() -> Option<PathBuf> {
    // XDG Base Directory Specification: a relative path is to be ignored.
    let xdg = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    xdg.filter(|path| path.is_absolute())
        .or_else(|| env::home_dir().map(|home| home.join(".config")))
}

#[cfg(windows)]
fn configuration() -> Option<PathBuf> {
    env::var_os("APPDATA").map(PathBuf::from)
}

#[cfg(unix)]
fn private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

#[cfg(not(unix))]
fn private_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

fn private_file(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_for_this_user_alone_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/host.json");
        for text in ["one", "two"] {
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(read_private(&path).unwrap(), text.as_bytes());
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&path), 0o600);
            assert_eq!(mode(path.parent().unwrap()), 0o700);
        }
        let names = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(names, 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_or_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        write(&path, b"x").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read_private(&path).unwrap_err();
            assert!(matches!(error, StoreError::Open(..)), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
            assert_eq!(read(&path).unwrap(), b"x");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(read_private(&path).is_ok());
    }

    #[test]
    fn a_name_is_never_a_path() {
        for name in [
            "", ".", "..", "../x", "a/b", "a\\b", "-o", "a b", "a\0", ".ssh",
        ] {
            assert_eq!(file_name(name), None, "{name}");
        }
        let known = |name| file_name(name).unwrap();
        assert_eq!(known("Server.Example.com."), "server.example.com");
        assert_eq!(known("[fe80::1%eth0]"), "fe80__1_eth0");
    }
}
