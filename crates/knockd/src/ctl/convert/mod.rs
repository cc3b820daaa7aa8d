//! `knockctl convert`: another program's configuration, or commands of a firewall, as native doors.
//!
//! Promises: what commands and rules mean is read, never run; what is not understood in every word
//! stays as it is, and a warning says where and why; converting what was converted changes nothing.

mod command;
mod draft;
mod format;
mod fwknop;
mod letmein;
mod mikrotik;
mod native;
mod quoted;
mod recent;
mod sets;
mod stages;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use knock_core::config::{Diagnostic, Severity, parse};
use knock_core::sequence::Protocol;
use knock_core::spa::Spa;
use similar::TextDiff;

use super::new_file;
use crate::config_file::{MAX_BYTES, reason};
use crate::diagnostics;
use crate::services::Services;

pub use format::Format;

/// The command line of `knockctl convert`.
#[derive(Debug, Args)]
pub struct Options {
    /// The file to convert; standard input if it is -
    file: PathBuf,
    /// What kind of file it is, where its content does not tell
    #[arg(long, value_enum, value_name = "FORMAT")]
    from: Option<Format>,
    /// Print what changes instead of the result
    #[arg(long)]
    diff: bool,
    /// Write the result to this file; nothing may be there
    #[arg(short, long, value_name = "FILE", conflicts_with = "diff")]
    output: Option<PathBuf>,
}

/// What came of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// A `knockd.conf`.
    pub text: Vec<u8>,
    /// What could not be carried over, or is different now, in the order of the file.
    pub notes: Vec<Note>,
}

/// Something to know about a line of the file that was converted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The number of the line, from 1; 0 for the whole file.
    pub line: usize,
    /// What; lower case, no full stop.
    pub text: String,
}

impl Note {
    /// What is new about doors that were not native before.
    fn guarded() -> Self {
        Self {
            line: 0,
            text: "what the doors open is closed to everybody else from now on: begin with `knockctl \
                   arm`; a firewall that drops it needs one line, which `knockctl doctor --firewall` has"
                .to_owned(),
        }
    }

    /// What is new about doors that a packet of another kind opened before.
    fn sealed() -> Self {
        Self {
            line: 0,
            text: format!(
                "sealed packets come to UDP port {} (`spa_port`), and `knock` sends them; each person \
                 enrols once (docs/guide/ssh-key.md)",
                Spa::PORT
            ),
        }
    }
}

/// Why nothing came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConvertError {
    /// It is none of the formats.
    Unknown,
    /// It is a `knockd.conf` with mistakes, which are these.
    Mistakes(Vec<Diagnostic>),
    /// There is nothing in it that opens anything.
    Nothing(Format),
    /// What would come of it is no configuration, such as with too many ports for a door.
    Unfit(String),
}

/// Finds the port of a service.
type Lookup<'a> = &'a dyn Fn(&str, Protocol) -> Option<u16>;

/// Converts the bytes of a file.
///
/// # Errors
/// If there is nothing to convert, or it cannot be told what it is.
pub fn convert(
    bytes: &[u8],
    format: Option<Format>,
    services: Lookup<'_>,
) -> Result<(Format, Converted), ConvertError> {
    let text = String::from_utf8_lossy(bytes);
    let format = format.or_else(|| Format::of(&text));
    let format = format.ok_or(ConvertError::Unknown)?;
    let mut converted = match format {
        Format::Knockd => native::convert(bytes, services)?,
        Format::Fwknop => fwknop::convert(&text),
        Format::Letmein => letmein::convert(&text),
        Format::Mikrotik => stages::convert(mikrotik::rules(&text)),
        Format::IptablesRecent => stages::convert(recent::rules(&text, services)),
        Format::NftablesSets => stages::convert(sets::rules(&text, services)),
    };
    if converted.text.is_empty() {
        return Err(ConvertError::Nothing(format));
    }
    let parsed = parse(&converted.text, services);
    if parsed.config.is_none() {
        let mut wrong = parsed.diagnostics.into_iter();
        let wrong = wrong.find(|diagnostic| diagnostic.severity == Severity::Error);
        let wrong = wrong.map(|wrong| wrong.message);
        return Err(ConvertError::Unfit(wrong.unwrap_or_default()));
    }
    converted.notes.sort();
    converted.notes.dedup();
    Ok((format, converted))
}

/// Runs `knockctl convert`; exits with 1 if nothing could be converted or written.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    match try_run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            anstream::eprintln!("knockctl: {}", why.trim_end());
            ExitCode::FAILURE
        }
    }
}

fn try_run(options: &Options) -> Result<(), String> {
    let path = &options.file;
    if let Some(output) = options
        .output
        .as_deref()
        .filter(|path| new_file::exists(path))
    {
        return Err(taken(output));
    }
    let bytes = read(path)?;
    let services = Services::system();
    let lookup = |name: &str, protocol| services.port(name, protocol);
    let (format, converted) =
        convert(&bytes, options.from, &lookup).map_err(|error| explained(&error, path, &bytes))?;
    let shown = path.display();
    anstream::eprintln!("{shown}: read as {}", format.name());
    for Note { line, text } in &converted.notes {
        match line {
            0 => anstream::eprintln!("warning: {shown}: {text}"),
            line => anstream::eprintln!("warning: {shown}:{line}: {text}"),
        }
    }
    if let Some(output) = &options.output {
        return write(output, &converted.text);
    }
    let text = if options.diff {
        difference(&bytes, &converted.text, path).into_bytes()
    } else {
        converted.text
    };
    let printed = super::check::print(io::stdout().lock(), &text);
    printed.map_err(|error| format!("cannot write: {error}"))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("{}: {}", path.display(), reason(&error));
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(failed)?)
    };
    source
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_BYTES) {
        return Err(format!(
            "{}: larger than {} MiB",
            path.display(),
            MAX_BYTES >> 20
        ));
    }
    Ok(bytes)
}

fn write(output: &Path, text: &[u8]) -> Result<(), String> {
    new_file::write(output, text).map_err(|error| match error {
        new_file::NewFileError::Exists(path) => taken(&path),
        error @ new_file::NewFileError::Folder(..) => error.to_string(),
    })?;
    let output = output.display();
    anstream::eprintln!("{output} is written; now: knockctl check -c {output}");
    Ok(())
}

fn taken(path: &Path) -> String {
    let path = path.display();
    format!("{path} is there already, and stays as it is: name another file with --output")
}

/// For people to read: bytes that are no text are shown as such.
fn difference(before: &[u8], after: &[u8], path: &Path) -> String {
    let names = (path.display().to_string(), "converted");
    let (before, after) = (
        String::from_utf8_lossy(before),
        String::from_utf8_lossy(after),
    );
    let diff = TextDiff::from_lines(before.as_ref(), after.as_ref());
    let mut diff = diff.unified_diff();
    diff.header(&names.0, names.1).to_string()
}

fn explained(error: &ConvertError, path: &Path, bytes: &[u8]) -> String {
    let shown = path.display();
    match error {
        ConvertError::Unknown => {
            let names: Vec<_> = Format::ALL.iter().map(|format| format.name()).collect();
            format!(
                "{shown}: it does not look like any of these: {}\nsay with --from what it is",
                names.join(", ")
            )
        }
        ConvertError::Mistakes(mistakes) => {
            let mistakes = diagnostics::render(path, bytes, mistakes, true);
            format!("{mistakes}mend these first: what is misread cannot be converted")
        }
        ConvertError::Nothing(format) => format!(
            "{shown}: read as {}, and nothing in it opens anything to who knocks",
            format.name()
        ),
        ConvertError::Unfit(why) => format!("{shown}: a door cannot be like this: {why}"),
    }
}
