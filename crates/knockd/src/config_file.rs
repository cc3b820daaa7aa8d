//! `knockd.conf` from the disk, for the daemon and its tools.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use knock_core::config::{self, Config, Diagnostic, Places, SERVICE_HELP};
use nix::errno::Errno;

use crate::diagnostics;
use crate::services::Services;

/// No configuration is larger: 65,535 doors with a kilobyte for each. It keeps a path such as
/// `/dev/zero` from filling the memory.
pub const MAX_BYTES: u64 = 64 << 20;

/// A configuration that can run, and the file it is from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Where the file is.
    pub path: PathBuf,
    /// The file as it was read, for [`diagnostics::render`].
    pub bytes: Vec<u8>,
    /// Warnings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// Where everything stands in the file.
    pub places: Places,
}

/// Why there is no configuration. Its text is for a person and may have many lines.
#[derive(Debug)]
pub enum LoadError {
    /// The file cannot be read.
    Read {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file is larger than [`MAX_BYTES`].
    TooLarge {
        /// Where it is.
        path: PathBuf,
    },
    /// There are mistakes in the file, at least one of them an error.
    Mistakes {
        /// Where it is.
        path: PathBuf,
        /// The file as it was read.
        bytes: Vec<u8>,
        /// Errors and warnings, in the order of the file.
        diagnostics: Vec<Diagnostic>,
    },
}

/// Reads and parses the file `path`.
///
/// # Errors
/// If it cannot be read, or has an error in it.
pub fn load(path: &Path, services: &Services) -> Result<Loaded, LoadError> {
    let path = path.to_path_buf();
    let bytes = match read(&path) {
        Ok(bytes) => bytes,
        Err(error) => return Err(LoadError::Read { path, error }),
    };
    if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_BYTES) {
        return Err(LoadError::TooLarge { path });
    }
    let parsed = config::parse(&bytes, &|name, protocol| services.port(name, protocol));
    let mut diagnostics = parsed.diagnostics;
    if let Some((file, error)) = services.failure() {
        say_why(&mut diagnostics, file, error);
    }
    match parsed.config {
        Some(config) => Ok(Loaded {
            config,
            path,
            bytes,
            diagnostics,
            places: parsed.places,
        }),
        None => Err(LoadError::Mistakes {
            path,
            bytes,
            diagnostics,
        }),
    }
}

/// At most one byte more than [`MAX_BYTES`].
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A service may be unknown only because the file of services could not be read.
fn say_why(diagnostics: &mut [Diagnostic], file: &Path, error: &io::Error) {
    for diagnostic in diagnostics {
        if diagnostic.help.as_deref() == Some(SERVICE_HELP) {
            let file = file.display();
            let why = reason(error);
            diagnostic.help = Some(format!(
                "{file} cannot be read ({why}); a number always works"
            ));
        }
    }
}

/// The system's words for an error, without its number, as `strerror(3)` has them.
#[must_use]
pub fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().into(),
        None => error.to_string(),
    }
}

impl LoadError {
    /// The text of the error, with colours if it goes to a terminal.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        match self {
            Self::Read { path, error } => format!("{}: {}\n", path.display(), reason(error)),
            Self::TooLarge { path } => {
                format!("{}: larger than {} MiB\n", path.display(), MAX_BYTES >> 20)
            }
            Self::Mistakes {
                path,
                bytes,
                diagnostics,
            } => diagnostics::render(path, bytes, diagnostics, color),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for LoadError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn a_missing_file_is_told_in_the_words_of_the_original() {
        let error = load(Path::new("/nonexistent"), &Services::system()).unwrap_err();
        assert_eq!(error.to_string(), "/nonexistent: No such file or directory");
    }

    #[test]
    fn a_file_is_loaded_with_its_warnings() {
        let file = file("[A]\nsequence = 010,8000\n");
        let loaded = load(file.path(), &Services::system()).unwrap();
        assert_eq!(loaded.config.doors.len(), 1);
        assert_eq!(loaded.diagnostics.len(), 1);
        assert_eq!(&loaded.bytes[loaded.diagnostics[0].span.clone()], b"010");
    }

    #[test]
    fn names_of_services_are_looked_up() {
        let services = file("ssh 22/tcp\n");
        let config = file("[A]\nsequence = ssh,7000\n");
        let loaded = load(config.path(), &Services::at(services.path())).unwrap();
        assert_eq!(loaded.diagnostics, []);
    }

    #[test]
    fn a_missing_file_of_services_is_given_as_the_reason() {
        let config = file("[A]\nsequence = ssh,7000\n");
        let error = load(config.path(), &Services::at("/nonexistent")).unwrap_err();
        let LoadError::Mistakes { diagnostics, .. } = error else {
            panic!("an error in the file")
        };
        assert_eq!(
            diagnostics[0].help.as_deref(),
            Some("/nonexistent cannot be read (No such file or directory); a number always works")
        );
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let error = load(Path::new("/dev/zero"), &Services::system()).unwrap_err();
        assert!(matches!(error, LoadError::TooLarge { .. }));
    }
}
