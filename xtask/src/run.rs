//! Running other programs: each is printed before it runs, and its failure is the job's.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Instant;

/// How a job ended.
pub(crate) type Outcome = Result<(), Failure>;

/// Why a job failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A program could not be started.
    Start { line: String, error: std::io::Error },
    /// A program ended with a failure.
    Status { line: String, status: ExitStatus },
    /// Something is not as it must be; the text says what to do.
    Said(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { line, error } => write!(f, "cannot start `{line}`: {error}"),
            Self::Status { line, status } => write!(f, "`{line}` failed: {status}"),
            Self::Said(text) => f.write_str(text),
        }
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The cargo that runs us, in `folder` of the repository.
pub(crate) fn cargo(folder: &str) -> Command {
    let mut command = program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root().join(folder));
    command
}

/// The program `name`, in the repository's root.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root());
    command
}

/// Runs `command` to its end.
pub(crate) fn execute(command: &mut Command) -> Outcome {
    let line = line(command);
    eprintln!("xtask: {line}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::Status { line, status }),
        Err(error) => Err(Failure::Start { line, error }),
    }
}

/// Runs `job`, and says how long it took.
pub(crate) fn timed(name: &str, job: impl FnOnce() -> Outcome) -> Outcome {
    eprintln!("\nxtask: == {name}");
    let start = Instant::now();
    job()?;
    eprintln!(
        "xtask: == {name}: done in {:.0} s",
        start.elapsed().as_secs_f32()
    );
    Ok(())
}

/// Whether `name` is a program in `PATH` or in the folders of the system's own tools.
pub(crate) fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .any(|folder| folder.join(name).is_file())
}

fn line(command: &Command) -> String {
    let name = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = std::iter::once(name).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
