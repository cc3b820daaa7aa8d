//! A case: what a daemon is given, and what it must then do. `testing/README.md` is the manual.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::script::Word;
use crate::trace::Mark;
use crate::{Result, script, trace};

/// Who runs a case.
#[derive(Copy, Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "lowercase")]
pub enum Executor {
    /// `knock_core` in process, in virtual time.
    Virtual,
    /// Our `knockd` in a network namespace.
    Ours,
    /// The distribution's `knockd` in a network namespace.
    Theirs,
}

impl Executor {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 3] = [Self::Virtual, Self::Ours, Self::Theirs];

    /// Its name in case files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Virtual => "virtual",
            Self::Ours => "ours",
            Self::Theirs => "theirs",
        }
    }
}

/// A file of cases on one topic of the manual.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What the file is about, for its reader.
    #[serde(rename = "topic")]
    _topic: String,
    /// Texts that configurations name as `{NAME}`.
    #[serde(default)]
    snippets: BTreeMap<String, String>,
    #[serde(rename = "case")]
    cases: Vec<Case>,
}

/// A case as its file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Unique over all files; `k07` is row 7 of the original's measured behaviour.
    pub id: String,
    /// What it proves.
    pub title: String,
    /// The configuration. Unless `bare`, `[options]` with a log file stands before it.
    pub config: String,
    /// Nothing is put before `config`.
    #[serde(default)]
    pub bare: bool,
    /// Further files, by their name in `{dir}`.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// What kind of interface the server's is.
    #[serde(default)]
    pub medium: Medium,
    /// A shell command that fails where the case cannot run: it is skipped there.
    pub needs: Option<String>,
    /// Shell commands in the server's namespace before the daemon starts.
    #[serde(default)]
    pub before: Vec<String>,
    /// The daemon's arguments; `-c {conf} -i server0` if they are not given.
    pub args: Option<String>,
    /// The daemon goes to the background (`-d`); its pid is read from `{pid}`.
    #[serde(default)]
    pub background: bool,
    /// Packets and marks without another word are over IPv6.
    #[serde(default)]
    pub v6: bool,
    /// What is done to the daemon.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// From one packet to the next, in milliseconds.
    pub spacing: Option<u64>,
    /// The stages, openings and time-outs that the log must have, in order, and no others.
    pub trace: Option<String>,
    /// What the commands must have written to `{hits}`: lines in any order, and no others.
    pub hits: Option<Vec<String>>,
    /// The lines of `hits` are in this order.
    #[serde(default)]
    pub hits_in_order: bool,
    /// Lines that the log must have, in this order, others between them.
    #[serde(default)]
    pub log: Vec<String>,
    /// Texts that no line of the log may contain.
    #[serde(default)]
    pub log_lacks: Vec<String>,
    /// Texts that must be on standard error.
    #[serde(default)]
    pub stderr: Vec<String>,
    /// Texts that must be on standard error of ours.
    #[serde(default)]
    pub stderr_ours: Vec<String>,
    /// Texts that must be on standard output.
    #[serde(default)]
    pub stdout: Vec<String>,
    /// The exit status, 128 + n for a signal. If the daemon still runs after the last step it is
    /// sent SIGTERM, which gives 15.
    pub exit: Option<i32>,
    /// Whether the daemon comes up at all; if not, it exits with `exit` (1 if not given).
    #[serde(default = "yes")]
    pub starts: bool,
    /// Why the original cannot pass it: a defect of KNOCKD.md (`B3: …`) or a thing it does not
    /// have. It is then an error if it does pass.
    pub theirs: Option<String>,
    /// The trace of the original where that is marked: what exactly is wrong with it.
    pub theirs_trace: Option<String>,
    /// Who runs it, if not all that can.
    pub executors: Option<Vec<Executor>>,
    /// The seconds until what must happen has happened, if not the usual.
    pub patience: Option<u64>,
    /// The file's name without its extension.
    #[serde(skip)]
    pub topic: String,
}

const fn yes() -> bool {
    true
}

/// One step of a case.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(untagged)]
pub enum Step {
    /// Words of the notation of [`script`].
    Script(String),
    /// Anything else.
    Other(OtherStep),
}

/// A step that is no packet, pause or signal.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum OtherStep {
    /// A shell command in the server's namespace, which must succeed.
    Server(String),
    /// A shell command in the client's namespace, which must succeed.
    Client(String),
    /// A shell command in the server's namespace that must succeed in the end.
    Check(String),
    /// The new text of the configuration file.
    Config(String),
    /// Wait until the log has a line with this text.
    Until(String),
    /// What happens to the server's interface: `down`, `up`, `delete`, `make`.
    Link(LinkChange),
    /// Wait until the trace is as long as this one, and compare.
    Trace(String),
}

/// The kinds of interfaces that packets come in on.
#[derive(Copy, Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// Ethernet: one end of a virtual cable.
    #[default]
    Ethernet,
    /// A tun interface, which has no link layer.
    Tun,
    /// A point-to-point interface that says it is PPP.
    Ppp,
}

/// A change of the server's interface.
#[derive(Copy, Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum LinkChange {
    /// It is set down.
    Down,
    /// It is set up.
    Up,
    /// The cable is taken away, at both ends.
    Delete,
    /// A new cable with the same names and addresses.
    Make,
}

impl Case {
    /// The packets and pauses of a step.
    ///
    /// # Errors
    /// If it is not of the notation.
    pub fn words(&self, script: &str) -> Result<Vec<Word>> {
        script::parse(script, self.v6)
    }

    /// The marks that are expected, if the case expects any or none.
    ///
    /// # Errors
    /// If they are not of the notation.
    pub fn marks(&self) -> Result<Option<Vec<Mark>>> {
        let parse = |text: &String| trace::parse(text, self.v6);
        self.trace.as_ref().map(parse).transpose()
    }

    /// Whether `executor` runs it.
    #[must_use]
    pub fn runs_on(&self, executor: Executor) -> bool {
        match &self.executors {
            Some(list) => list.contains(&executor),
            None => executor != Executor::Virtual || self.is_pure(),
        }
    }

    /// Whether a process, a shell or another interface has no part in it.
    fn is_pure(&self) -> bool {
        let expects = self.trace.is_some() || !self.starts;
        let daemon = self.args.is_some() || self.background || !self.before.is_empty();
        let daemon = daemon || self.medium != Medium::Ethernet;
        let pure_step = |step: &Step| match step {
            Step::Script(text) => !["TERM", "INT", "USR1", "KILL"]
                .iter()
                .any(|signal| text.split_whitespace().any(|word| word == *signal)),
            Step::Other(OtherStep::Config(_) | OtherStep::Until(_) | OtherStep::Trace(_)) => true,
            Step::Other(_) => false,
        };
        expects && !daemon && self.steps.iter().all(pure_step)
    }

    /// `text` with `{log}`, `{hits}`, `{pid}`, `{conf}`, `{knockd}` (the daemon under test) and `{dir}`
    /// replaced by paths in `dir`.
    #[must_use]
    pub fn fill(text: &str, dir: &Path) -> String {
        let mut text = text.to_owned();
        for name in ["log", "hits", "pid", "conf", "knockd"] {
            let path = dir.join(name).display().to_string();
            text = text.replace(&format!("{{{name}}}"), &path);
        }
        text.replace("{dir}", &dir.display().to_string())
    }

    /// The text of a configuration file for this case.
    #[must_use]
    pub fn configuration(&self, text: &str, dir: &Path) -> String {
        let before = if self.bare {
            ""
        } else {
            "[options]\n\tlogfile = {log}\n"
        };
        Self::fill(&format!("{before}{text}"), dir)
    }

    /// How long to wait for what must happen.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.patience.unwrap_or(6))
    }
}

/// Reads every `*.toml` of `dir`, in the order of their names.
///
/// # Errors
/// If one cannot be read, is not of the form, or an id is there twice.
pub fn load(dir: &Path) -> Result<Vec<Case>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        let name = path.display();
        let text = fs::read_to_string(&path).map_err(|e| format!("{name}: {e}"))?;
        cases.extend(read(&text, &path).map_err(|e| format!("{name}: {e}"))?);
    }
    let mut ids = std::collections::HashSet::new();
    if let Some(twice) = cases.iter().find(|case| !ids.insert(case.id.clone())) {
        return Err(format!("the case {} is there twice", twice.id).into());
    }
    Ok(cases)
}

fn read(text: &str, path: &Path) -> Result<Vec<Case>> {
    let file: File = toml::from_str(text)?;
    let topic = path.file_stem().map(|s| s.to_string_lossy().into_owned());
    let mut cases = file.cases;
    for case in &mut cases {
        case.topic = topic.clone().unwrap_or_default();
        let mut configs = vec![&mut case.config];
        for step in &mut case.steps {
            if let Step::Other(OtherStep::Config(config)) = step {
                configs.push(config);
            }
        }
        for config in configs {
            for (name, snippet) in &file.snippets {
                *config = config.replace(&format!("{{{name}}}"), snippet);
            }
        }
        check(case).map_err(|e| format!("case {}: {e}", case.id))?;
    }
    Ok(cases)
}

/// Refuses what would only fail when the case runs.
fn check(case: &Case) -> Result<()> {
    case.marks()?;
    if let Some(trace) = &case.theirs_trace {
        trace::parse(trace, case.v6)?;
    }
    for step in &case.steps {
        match step {
            Step::Script(text) => drop(case.words(text)?),
            Step::Other(OtherStep::Trace(text)) => drop(trace::parse(text, case.v6)?),
            Step::Other(_) => {}
        }
    }
    let expects = case.trace.is_some()
        || case.hits.is_some()
        || !case.log.is_empty()
        || !case.stderr.is_empty()
        || !case.stdout.is_empty()
        || case.exit.is_some()
        || !case.starts
        || case.steps.iter().any(|s| {
            matches!(
                s,
                Step::Other(OtherStep::Check(_) | OtherStep::Trace(_) | OtherStep::Until(_))
            )
        });
    if !expects {
        return Err("it expects nothing".into());
    }
    if case.theirs_trace.is_some() && case.theirs.is_none() {
        return Err("`theirs_trace` without `theirs`".into());
    }
    Ok(())
}
