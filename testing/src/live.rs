//! Runs a case against a real daemon: two network namespaces, a virtual cable between them, raw
//! frames in at one end, the daemon at the other.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;

use knockd::lab::Process;
use nix::sys::signal::{Signal as Unix, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::Result;
use crate::case::{Case, Executor, Medium, OtherStep, Step};
use crate::network::Network;
use crate::script::{Signal, Word};
use crate::trace::{self, Mark};

/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(10);
/// How long starting and stopping may take. The original waits for its sleeping children.
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon to be tested.
#[derive(Clone, Debug)]
pub struct Subject {
    /// [`Executor::Ours`] or [`Executor::Theirs`].
    pub executor: Executor,
    /// Its program.
    pub program: PathBuf,
}

impl Subject {
    /// From one packet to the next, unless the case says otherwise.
    fn spacing(&self, case: &Case) -> Duration {
        let usual = match self.executor {
            // The original replaces its filter when a one-time sequence is used, and is deaf
            // meanwhile (O08).
            Executor::Theirs if case.config.contains("{dir}/ots") => 300,
            Executor::Theirs => 30,
            _ => 10,
        };
        Duration::from_millis(case.spacing.unwrap_or(usual))
    }

    /// How long nothing must happen before nothing more will: the original sees packets up to
    /// 60 ms late.
    const fn quiet(&self) -> Duration {
        Duration::from_millis(match self.executor {
            Executor::Theirs => 150,
            _ => 100,
        })
    }

    /// How long to wait for what must happen; less where it is known that it will not.
    fn patience(&self, case: &Case) -> Duration {
        match (self.executor, &case.theirs) {
            (Executor::Theirs, Some(_)) => Duration::from_secs(case.patience.unwrap_or(1)),
            _ => case.patience(),
        }
    }
}

/// What a run of a case gave.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The machine lacks what the case needs.
    pub skipped: bool,
    /// What is wrong; nothing if all is as expected.
    pub wrong: Vec<String>,
    /// The marks of the log.
    pub marks: Vec<Mark>,
    /// The log.
    pub log: String,
}

/// Runs `case` on `subject`.
///
/// # Errors
/// If the bed itself fails: no namespace, no such program, a `before` command that fails.
pub fn run(case: &Case, subject: &Subject) -> Result<Outcome> {
    let dir = tempfile::Builder::new().prefix("testbed-").tempdir()?;
    for (name, text) in &case.files {
        fs::write(dir.path().join(name), Case::fill(text, dir.path()))?;
    }
    symlink(&subject.program, dir.path().join("knockd"))?;
    if let Some(command) = &case.needs
        && !Network::new(Medium::Ethernet)?
            .server_shell(command)?
            .success()
    {
        return Ok(Outcome {
            skipped: true,
            ..Outcome::default()
        });
    }
    let network = Network::new(case.medium)?;
    for command in &case.before {
        let command = Case::fill(command, dir.path());
        if !network.server_shell(&command)?.success() {
            return Err(format!("`{command}` failed").into());
        }
    }
    let mut run = Run {
        case,
        subject,
        dir,
        network,
        wrong: Vec::new(),
        ended: None,
    };
    run.write_config(&case.config)?;
    let mut daemon = run.start()?;
    if run.wrong.is_empty() && run.ended.is_none() {
        run.steps(&mut daemon)?;
        run.wait_for_expectations(&mut daemon)?;
        run.finish(&mut daemon)?;
    }
    drop(daemon);
    run.compare_texts()?;
    Ok(Outcome {
        skipped: false,
        marks: trace::from_log(run.log().lines()),
        log: run.log(),
        wrong: run.wrong,
    })
}

struct Run<'a> {
    case: &'a Case,
    subject: &'a Subject,
    dir: TempDir,
    network: Network,
    wrong: Vec<String>,
    ended: Option<ExitStatus>,
}

impl Run<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.path(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log(&self) -> String {
        self.read("log")
    }

    fn write_config(&self, text: &str) -> Result<()> {
        let text = self.case.configuration(text, self.dir.path());
        Ok(fs::write(self.path("conf"), text)?)
    }

    /// Starts the daemon and waits until it listens, or has ended.
    fn start(&mut self) -> Result<Process> {
        let usual = "-c {conf} -i server0";
        let args = self.case.args.as_deref().unwrap_or(usual);
        let args = Case::fill(args, self.dir.path());
        let mut command = Command::new(&self.subject.program);
        command
            .args(args.split_whitespace())
            .current_dir(self.dir.path())
            .env("TESTBED_MARK", "inherited")
            .stdin(File::open("/dev/null")?)
            .stdout(File::create(self.path("stdout"))?)
            .stderr(File::create(self.path("stderr"))?);
        let mut process = self.network.server.spawn(&mut command)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = process.try_wait()? {
                if self.case.background && status.success() {
                    self.wait_for_pidfile(deadline)?;
                } else {
                    self.has_ended(status);
                }
                return Ok(process);
            }
            if self.is_ready() {
                if !self.case.starts {
                    self.wrong.push("it starts".into());
                }
                return Ok(process);
            }
            sleep(GLANCE);
        }
        self.wrong.push("it neither starts nor ends".into());
        Ok(process)
    }

    fn is_ready(&self) -> bool {
        if self.case.background {
            return false;
        }
        if self.logs() {
            return self.log().contains("starting up");
        }
        let listening = self.network.packet_sockets() > 0;
        if listening {
            // There is no line to wait for: what is left is to compile the filter.
            sleep(Duration::from_millis(200));
        }
        listening
    }

    /// Whether the daemon was told to write `{log}`.
    fn logs(&self) -> bool {
        let args = self.case.args.as_deref().unwrap_or("");
        !self.case.bare || self.case.config.contains("{log}") || args.contains("{log}")
    }

    fn wait_for_pidfile(&mut self, deadline: Instant) -> Result<()> {
        while Instant::now() < deadline {
            let there = !self.read("pid").is_empty() || !self.case_names_a_pidfile();
            if there && self.log().contains("starting up") {
                return Ok(());
            }
            sleep(GLANCE);
        }
        self.wrong
            .push("in the background it does not start".into());
        Ok(())
    }

    fn case_names_a_pidfile(&self) -> bool {
        let args = self.case.args.as_deref().unwrap_or("");
        args.contains("{pid}") || self.case.config.contains("{pid}")
    }

    fn has_ended(&mut self, status: ExitStatus) {
        self.ended = Some(status);
        if self.case.starts {
            let stderr = self.read("stderr");
            self.wrong.push(format!("it ended: {status}\n{stderr}"));
        } else {
            self.compare_status(status, 1);
        }
    }

    fn compare_status(&mut self, status: ExitStatus, usual: i32) {
        let expected = self.case.exit.unwrap_or(usual);
        let got = status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        if got != expected {
            self.wrong
                .push(format!("exit status: expected {expected}, got {got}"));
        }
    }

    fn pid(&self, daemon: &Process) -> Result<Pid> {
        let pid = if self.case.background {
            self.read("pid").trim().parse()?
        } else {
            i32::try_from(daemon.id())?
        };
        Ok(Pid::from_raw(pid))
    }

    fn steps(&mut self, daemon: &mut Process) -> Result<()> {
        for step in &self.case.steps {
            match step {
                Step::Script(text) => {
                    for word in self.case.words(text)? {
                        self.word(&word, daemon)?;
                    }
                }
                Step::Other(other) => self.other(other)?,
            }
        }
        Ok(())
    }

    fn word(&mut self, word: &Word, daemon: &mut Process) -> Result<()> {
        match word {
            Word::Packet(knock) => {
                self.network.send(knock)?;
                sleep(self.subject.spacing(self.case));
            }
            Word::Pause(pause) => sleep(*pause),
            Word::Align(fraction) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
                let into = Duration::from_nanos(now.subsec_nanos().into());
                let second = Duration::from_secs(1);
                sleep((second + *fraction).saturating_sub(into));
            }
            Word::Signal(signal) => self.signal(*signal, daemon)?,
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal, daemon: &mut Process) -> Result<()> {
        if let Some(status) = daemon.try_wait()?
            && !self.case.background
        {
            self.wrong
                .push(format!("it had ended before {signal:?}: {status}"));
            return Ok(());
        }
        // The original is deaf to what was in its buffer before: give it time to look.
        sleep(self.subject.quiet());
        let lines = self.log().lines().count();
        kill(self.pid(daemon)?, unix(signal)).map_err(|e| format!("{signal:?}: {e}"))?;
        if signal == Signal::Hup {
            // Both say so in the log, except that the original may have just closed it.
            let deadline = Instant::now() + self.subject.quiet() * 3;
            while self.log().lines().count() == lines && Instant::now() < deadline {
                sleep(GLANCE);
            }
            sleep(self.subject.quiet());
        }
        Ok(())
    }

    fn other(&mut self, step: &OtherStep) -> Result<()> {
        let fill = |text: &String| Case::fill(text, self.dir.path());
        match step {
            OtherStep::Server(text) | OtherStep::Client(text) => {
                let command = fill(text);
                let on_the_server = matches!(step, OtherStep::Server(_));
                let status = if on_the_server {
                    self.network.server_shell(&command)?
                } else {
                    self.network.client_shell(&command)?
                };
                if !status.success() {
                    self.wrong.push(format!("`{command}` failed: {status}"));
                }
            }
            OtherStep::Check(text) => {
                let command = fill(text);
                let deadline = Instant::now() + self.subject.patience(self.case);
                while !self.network.server_shell(&command)?.success() {
                    if Instant::now() >= deadline {
                        self.wrong.push(format!("`{command}` never holds"));
                        break;
                    }
                    sleep(GLANCE * 5);
                }
            }
            OtherStep::Link(change) => self.network.change_link(*change)?,
            OtherStep::Config(text) => self.write_config(text)?,
            OtherStep::Until(text) => {
                let text = fill(text);
                let deadline = Instant::now() + self.subject.patience(self.case);
                while !self.log().contains(&text) {
                    if Instant::now() >= deadline {
                        self.wrong.push(format!("no log line with `{text}`"));
                        break;
                    }
                    sleep(GLANCE);
                }
            }
            OtherStep::Trace(text) => {
                let expected = trace::parse(text, self.case.v6)?;
                self.wait_for_marks(&expected)?;
                let marks = trace::from_log(self.log().lines());
                self.compare_marks(&expected, &marks);
            }
        }
        Ok(())
    }

    /// Waits until the log has these marks, or can no longer come to have them.
    fn wait_for_marks(&self, expected: &[Mark]) -> Result<()> {
        let deadline = Instant::now() + self.subject.patience(self.case);
        loop {
            let marks = trace::from_log(self.log().lines());
            if marks == expected || !expected.starts_with(&marks) || Instant::now() >= deadline {
                return Ok(());
            }
            sleep(GLANCE);
        }
    }

    fn wait_for_expectations(&mut self, daemon: &mut Process) -> Result<()> {
        let deadline = Instant::now() + self.subject.patience(self.case);
        if let Some(expected) = self.case.marks()? {
            self.wait_for_marks(&expected)?;
        }
        while self.compare_hits().is_some() && Instant::now() < deadline {
            sleep(GLANCE);
        }
        while !self.missing_lines().is_empty() && Instant::now() < deadline {
            sleep(GLANCE);
        }
        // Then nothing more may come.
        let (mut before, mut since) = (self.everything(), Instant::now());
        while since.elapsed() < self.subject.quiet() {
            sleep(GLANCE);
            let now = self.everything();
            if now != before {
                (before, since) = (now, Instant::now());
            }
        }
        if let Some(status) = daemon.try_wait()?
            && !self.case.background
            && !self.is_told_to_end()
            && self.case.exit.is_none()
        {
            self.ended = Some(status);
            self.wrong.push(format!("it ended: {status}"));
        }
        Ok(())
    }

    fn everything(&self) -> (String, String) {
        (self.log(), self.read("hits"))
    }

    fn is_told_to_end(&self) -> bool {
        let ends = |step: &Step| match step {
            Step::Script(text) => self.case.words(text).is_ok_and(|words| {
                words
                    .iter()
                    .any(|word| matches!(word, Word::Signal(s) if s.ends_the_daemon()))
            }),
            Step::Other(_) => false,
        };
        self.case.steps.iter().any(ends)
    }

    /// Compares the trace, then ends the daemon and compares how it ended.
    fn finish(&mut self, daemon: &mut Process) -> Result<()> {
        if let Some(expected) = self.case.marks()? {
            let marks = trace::from_log(self.log().lines());
            self.compare_marks(&expected, &marks);
        }
        self.wrong.extend(self.compare_hits());
        if self.ended.is_some() {
            return Ok(());
        }
        if self.case.background {
            return self.finish_background(daemon);
        }
        if !self.is_told_to_end() && daemon.try_wait()?.is_none() {
            kill(self.pid(daemon)?, Unix::SIGTERM)?;
        }
        match daemon.wait_at_most(PATIENCE)? {
            Some(status) => self.compare_status(status, 15),
            None => self.wrong.push("it does not end".into()),
        }
        // A command that ran at the end may have written its line only now.
        if self.is_told_to_end() {
            self.wrong.retain(|w| !w.starts_with("hits:"));
            let deadline = Instant::now() + Duration::from_secs(1);
            while self.compare_hits().is_some() && Instant::now() < deadline {
                sleep(GLANCE);
            }
            self.wrong.extend(self.compare_hits());
        }
        Ok(())
    }

    fn finish_background(&mut self, daemon: &Process) -> Result<()> {
        let Ok(pid) = self.pid(daemon) else {
            return Ok(());
        };
        if !self.is_told_to_end() && kill(pid, Unix::SIGTERM).is_err() {
            self.wrong.push("it had ended".into());
        }
        let deadline = Instant::now() + PATIENCE;
        while kill(pid, None).is_ok() {
            if Instant::now() >= deadline {
                self.wrong.push("it does not end".into());
                break;
            }
            sleep(GLANCE);
        }
        Ok(())
    }

    fn compare_marks(&mut self, expected: &[Mark], marks: &[Mark]) {
        if expected != marks {
            self.wrong.push(format!(
                "trace: expected {}\n          got      {}",
                trace::write(expected, self.case.v6),
                trace::write(marks, self.case.v6)
            ));
        }
    }

    /// What is wrong with the lines that the commands wrote.
    fn compare_hits(&self) -> Option<String> {
        let expected = self.case.hits.as_ref()?;
        let hits = self.read("hits");
        let mut got: Vec<_> = hits.lines().map(str::to_owned).collect();
        let fill = |text: &String| Case::fill(text, self.dir.path());
        let mut wanted: Vec<_> = expected.iter().map(fill).collect();
        if !self.case.hits_in_order {
            got.sort();
            wanted.sort();
        }
        (got != wanted).then(|| format!("hits: expected {wanted:?}\n         got      {got:?}"))
    }

    /// The lines of `log` that are not there in their order.
    fn missing_lines(&self) -> Vec<String> {
        let log = self.log();
        let mut lines = log.lines().filter_map(trace::log_text);
        let fill = |text: &String| Case::fill(text, self.dir.path());
        let wanted = self.case.log.iter().map(fill);
        wanted
            .filter(|text| !lines.any(|line| line == text))
            .collect()
    }

    fn compare_texts(&mut self) -> Result<()> {
        for line in self.missing_lines() {
            self.wrong.push(format!("the log lacks: {line}"));
        }
        for text in &self.case.log_lacks {
            if self.log().contains(text.as_str()) {
                self.wrong.push(format!("the log has: {text}"));
            }
        }
        let ours: &[String] = match self.subject.executor {
            Executor::Ours => &self.case.stderr_ours,
            _ => &[],
        };
        let stderr = self.case.stderr.iter().chain(ours).map(|t| ("stderr", t));
        let stdout = self.case.stdout.iter().map(|t| ("stdout", t));
        for (name, text) in stderr.chain(stdout) {
            let got = self.read(name);
            let text = Case::fill(text, self.dir.path());
            if !got.contains(&text) {
                self.wrong.push(format!(
                    "{name} lacks `{text}`; it is:\n{}",
                    first_lines(&got)
                ));
            }
        }
        Ok(())
    }
}

fn first_lines(text: &str) -> String {
    text.lines().take(12).collect::<Vec<_>>().join("\n")
}

const fn unix(signal: Signal) -> Unix {
    match signal {
        Signal::Hup => Unix::SIGHUP,
        Signal::Term => Unix::SIGTERM,
        Signal::Int => Unix::SIGINT,
        Signal::Usr1 => Unix::SIGUSR1,
        Signal::Kill => Unix::SIGKILL,
    }
}

/// Where the program `name` of the distribution is, if it is installed.
#[must_use]
pub fn installed(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file())
}
