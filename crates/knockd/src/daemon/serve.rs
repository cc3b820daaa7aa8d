//! The running daemon: one loop that waits for signals, reports, the ends of commands and time.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use knock_core::config::{Config, OnStop, Options};
use knock_core::door::Door;
use knock_core::time::Timestamp;
use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use super::Failure;
use super::alarm::Alarm;
use super::audit::Audit;
use super::background::{self, Stage};
use super::confinement::{self, Chosen};
use super::gatekeeper::Gatekeeper;
use super::hooks::Hooks;
use super::once::Once;
use super::one_time::OneTimeDoors;
use super::operator::Control;
use super::owing::Owing;
use super::pidfile::Pidfile;
use super::reload::hold_pidfile;
use super::runner::{Runner, Task};
use super::scribe::Scribe;
use super::sealed::Sealed;
use super::settings::Settings;
use crate::audit::Digest;
use crate::events::{Happened, Kind, Memory, RunId};
use crate::journal::Owed;
use crate::keeper::{Action, End, Generations, JobId, Keeper, Limits, Record};
use crate::listen::{self, DefaultInterface, PacketSide, Setup};
use crate::log::{Level, Line};
use crate::metrics::server::Server;
use crate::sandbox::{Layer, State};
use crate::spa::answer::Answers;
use crate::turns;

/// At a stop, how long commands are waited for that no stop command follows: they go on without
/// the daemon.
const PATIENCE_WITH_UNOWED: Duration = Duration::from_millis(40);

/// At a stop, how long start commands may take to end before they are closed over their heads.
const PATIENCE_WITH_STARTS: Duration = Duration::from_secs(3);

/// At a stop, how long everything may take. Service managers wait longer.
const PATIENCE: Duration = Duration::from_secs(6);

/// This program, also when it has been replaced on disk meanwhile (proc_pid_exe(5)).
const LISTENER_PROGRAM: &str = "/proc/self/exe";

type Signals = SignalDelivery<UnixStream, SignalOnly>;

/// The daemon.
pub(super) struct Daemon {
    pub(super) settings: Settings,
    pub(super) doors: Generations,
    pub(super) one_time: OneTimeDoors,
    pub(super) side: PacketSide,
    pub(super) keeper: Keeper,
    pub(super) owing: Owing,
    /// Where there are native doors.
    pub(super) gatekeeper: Option<Gatekeeper>,
    /// Where doors are opened by sealed packets.
    pub(super) sealed: Option<Sealed>,
    /// To answer sealed packets with, if a reload brings the first door for them: what it takes to
    /// open it is given up.
    pub(super) reserve: Option<Answers>,
    pub(super) runner: Runner,
    pub(super) hooks: Hooks,
    pub(super) scribe: Scribe,
    pub(super) events: Memory,
    pub(super) control: Control,
    pub(super) metrics: Server,
    /// When it was started.
    pub(super) started: Timestamp,
    pub(super) audit: Audit,
    signals: Signals,
    alarm: Alarm,
    pub(super) pidfile: Option<Pidfile>,
    /// What is to be said about confinement once it runs.
    doubts: Vec<(Level, String)>,
    /// What is to be said of what was taken up; but the first line says that the daemon starts.
    taken_up: Vec<Line>,
    /// Whether commands can have what the daemon was started with.
    pub(super) powers_left: bool,
    /// What was last told of the listener's sandbox.
    pub(super) told_layers: Vec<(Layer, State)>,
    pub(super) ending: Option<Ending>,
}

/// The daemon is to end.
#[derive(Copy, Clone, Debug)]
pub(super) struct Ending {
    code: u8,
    /// When commands that owe nothing are waited for no longer.
    unowed: Timestamp,
    /// When start commands are waited for no longer; `None` after that.
    starts: Option<Timestamp>,
    /// When nothing is waited for any longer.
    all: Timestamp,
}

impl Daemon {
    /// Gets hold of everything that it needs.
    pub(super) fn new(
        settings: Settings,
        config: Config,
        known: (Digest, Options),
    ) -> Result<Self, Failure> {
        let signals = signals().map_err(|error| Failure::System("receive signals", error))?;
        let doors: Arc<[Door]> = config.doors.into();
        let (one_time, lines) = OneTimeDoors::open(&doors, &settings.folder, settings.striking())?;
        let doors = Generations::new(doors);
        let chosen = Chosen::new(&settings)?;
        let metrics = super::metrics::open(&settings)?;
        let mut reserve = (!settings.shadow).then(|| Answers::open().ok()).flatten();
        let (sealed, lines_of_keys) = Sealed::open(&settings, doors.now(), &mut reserve)?.unzip();
        let runner = Runner::new().map_err(|error| Failure::System("open /dev/null", error))?;
        // Nobody else of this pidfile runs from here on.
        let pidfile = settings.pidfile.as_deref().map(hold_pidfile);
        let (pidfile, line_of_pidfile) = pidfile.transpose()?.unwrap_or_default();
        let lines_of_start = Once::Start.run(&runner, settings.on_start.as_deref());
        let side = PacketSide::start(Setup {
            site: sealed.as_ref().map(Sealed::site),
            codes: sealed.as_ref().and_then(|sealed| sealed.paper.sieve()),
            doors: Arc::clone(doors.now()),
            sequences: one_time.sequences(),
            max_attempts: settings.max_attempts,
            spa_ports: settings.spa_ports.clone(),
            interfaces: settings.interfaces.names.clone(),
            only_ipv4: settings.cli.only_ip_v4,
            // In the background nobody would see it.
            dump: settings.cli.debug && !settings.background,
            program: LISTENER_PROGRAM.into(),
            account: chosen.account,
            sandbox: settings.sandbox,
        });
        let side = side.map_err(Failure::Listen)?;
        if settings.background {
            let settled = background::settle();
            settled.map_err(|error| Failure::System("go into the background", error))?;
        }
        turns::come_soon();
        let powers = confinement::give_up_powers(&settings, doors.now());
        let powers_left = confinement::leaves_powers_to_commands(&settings, doors.now());
        let scribe = Scribe::open(settings.log.clone(), settings.cli.lookup);
        let scribe = scribe.map_err(|error| Failure::System("look up names", error))?;
        let (audit, lines_of_audit) = Audit::open(&settings, known);
        let run = listen::random().map_err(|error| Failure::System("have a number", error))?;
        let mut daemon = Self {
            keeper: Keeper::new(
                Limits {
                    commands: settings.max_commands,
                },
                JobId::default(),
            ),
            owing: Owing::default(),
            gatekeeper: None,
            sealed,
            reserve,
            alarm: Alarm::new().map_err(|error| Failure::System("have a timer", error))?,
            settings,
            doors,
            one_time,
            side,
            runner,
            hooks: Hooks::new(),
            scribe,
            events: Memory::new(RunId::new(run)),
            control: Control::default(),
            metrics,
            started: listen::now(),
            audit,
            signals,
            pidfile,
            taken_up: [lines_of_start, lines_of_audit].concat(),
            doubts: chosen.warning.into_iter().chain(powers.err()).collect(),
            powers_left,
            told_layers: Vec::new(),
            ending: None,
        };
        let (control, line) = Control::open(&daemon.settings)?;
        daemon.control = control;
        daemon.taken_up.extend(line);
        let lines_of_keys = lines_of_keys.into_iter().flatten();
        line_of_pidfile
            .into_iter()
            .chain(lines)
            .chain(lines_of_keys)
            .for_each(|line| daemon.log(line));
        daemon.take_up()?;
        Ok(daemon)
    }

    /// Takes up what a daemon before this one has left: what it owes, and the gate.
    fn take_up(&mut self) -> Result<(), Failure> {
        let doors = Arc::clone(self.doors.now());
        let (owing, owed, lines) = Owing::open(&self.settings.journal, &doors)?;
        self.owing = owing;
        self.taken_up.extend(lines);
        self.keeper.raise_next(self.owing.next());
        // Only now: what is left of a time is counted from when the journal was read, and a disk has
        // its time too.
        let now = listen::now();
        self.keeper.recover(owed, now);
        let standing = self.settings.standing.clone();
        let plan = self.settings.plan(&doors);
        if let Some((gatekeeper, lines)) = Gatekeeper::start(plan, standing, now)? {
            self.gatekeeper = Some(gatekeeper);
            self.taken_up.extend(lines);
        }
        Ok(())
    }

    /// Runs until a signal ends it; gives the exit status.
    pub(super) fn run(mut self, stage: Stage) -> ExitCode {
        self.say_hello();
        if stage == Stage::Background
            && let Err(error) = background::ready()
        {
            let text = format!("cannot leave the terminal: {error}");
            self.scribe.note(Level::Warning, "background", text);
        }
        tell_manager(&[NotifyState::Ready]);
        let code = loop {
            self.perform();
            self.control.tell(&self.events);
            if let Some(ending) = self.ending.filter(|ending| self.is_over(ending)) {
                break ending.code;
            }
            if let Err(error) = self.wait() {
                let text = format!("cannot wait for events: {error}");
                self.scribe.note(Level::Error, "daemon", text);
                self.end(1);
            }
            self.handle_signals();
            self.handle_side();
            self.follow_codes();
            self.handle_operators();
            self.handle_scrapes();
            if let Some(gatekeeper) = &mut self.gatekeeper {
                gatekeeper.handle_readable(listen::now());
            }
            if let Some(code) = self.handle_timeout() {
                break code;
            }
        };
        let mut lines = Once::Exit.run(&self.runner, self.settings.on_exit.as_deref());
        lines.extend(self.audit.finish());
        lines.into_iter().for_each(|line| self.log(line));
        self.scribe.finish();
        self.control.tell(&self.events);
        // Before the pidfile: whoever is next finds it free.
        drop(self.audit);
        drop(self.side);
        drop(self.pidfile);
        code.into()
    }

    /// Waits until there is something to do.
    fn wait(&mut self) -> io::Result<()> {
        let now = listen::now();
        let due = [
            self.keeper.poll_timeout(),
            self.owing.poll_timeout(),
            self.gatekeeper.as_ref().and_then(Gatekeeper::poll_timeout),
            self.scribe.poll_timeout(),
            self.hooks.poll_timeout(),
            self.side.poll_timeout(),
            self.control.poll_timeout(now),
            self.metrics.poll_timeout(),
            self.ending
                .map(|ending| ending.starts.unwrap_or(ending.all)),
            self.ending
                .map(|ending| ending.unowed)
                .filter(|unowed| *unowed > now),
        ];
        self.alarm.set(due.into_iter().flatten().min())?;
        let own = [self.signals.get_read().as_fd(), self.alarm.as_fd()];
        let gate = self.gatekeeper.iter().flat_map(Gatekeeper::fds);
        let codes = self.sealed.as_ref().and_then(|sealed| sealed.paper.fd());
        let sources = own.into_iter().chain(self.scribe.fd());
        let sources = sources.chain(codes).chain(gate);
        let mut fds: Vec<_> = sources
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .chain(self.side.poll_fds())
            .chain(self.control.poll_fds())
            .chain(self.metrics.poll_fds())
            .collect();
        let waited = match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        };
        self.alarm.clear();
        waited
    }

    /// Does what the keeper says.
    pub(super) fn perform(&mut self) {
        let mut records: Vec<Record> = Vec::new();
        while let Some(action) = self.keeper.poll_action() {
            match action {
                Action::Log(line) => self.log(line),
                Action::Owe(owed) => self.owe(owed),
                Action::Record(record) => records.push(record),
                Action::Run(job) => {
                    self.record(&mut records);
                    if let Err(line) = self.runner.start_job(&job) {
                        self.log(line);
                        let now = listen::now();
                        self.keeper
                            .handle_end(job.id, job.occasion, End::NotStarted, now);
                    }
                }
            }
        }
        self.record(&mut records);
        self.run_hooks();
    }

    fn owe(&mut self, owed: Owed) {
        let now = listen::now();
        let id = JobId(owed.id);
        let written = self.owing.owe(owed, now);
        let is_on_disk = written.is_ok();
        if let Err(line) = written {
            self.keeper.tell(line, now);
        }
        self.keeper.handle_owed(id, is_on_disk, now);
    }

    fn record(&mut self, records: &mut Vec<Record>) {
        let written = self.owing.record(records, listen::now());
        records.clear();
        if let Err(line) = written {
            self.log(line);
        }
    }

    fn handle_signals(&mut self) {
        let pending: Vec<_> = self.signals.pending().collect();
        for signal in pending {
            match signal {
                SIGCHLD => self.reap(),
                // At the end there is nothing left to read a configuration for.
                SIGHUP if self.ending.is_some() => {}
                // What came of it is in the log.
                SIGHUP => drop(self.reload()),
                SIGUSR1 => self.say_status(),
                SIGINT => self.end(2),
                // A log that may not grow any more: the write says so.
                SIGXFSZ => {}
                _ => self.end(15),
            }
        }
    }

    fn reap(&mut self) {
        for ended in self.runner.reap(self.side.listener()) {
            let now = listen::now();
            match ended.task {
                Task::Grant(id, occasion) => self.keeper.handle_end(id, occasion, ended.end, now),
                Task::Hook(id) => self.hook_ended(&ended, id),
            }
        }
    }

    /// Handles what is due; gives an exit status when patience is over.
    fn handle_timeout(&mut self) -> Option<u8> {
        let now = listen::now();
        self.scribe.handle_timeout(now);
        self.side.handle_timeout(now);
        self.keeper.handle_timeout(now);
        let lines = self.hooks.handle_timeout(&mut self.runner, now);
        lines.into_iter().for_each(|line| self.log(line));
        let line = self.owing.handle_timeout(now);
        line.into_iter().for_each(|line| self.log(line));
        if let Some(gatekeeper) = &mut self.gatekeeper {
            let lines = gatekeeper.handle_timeout(now);
            lines
                .into_iter()
                .for_each(|line| self.keeper.tell(line, now));
        }
        let ending = self.ending.as_mut()?;
        if ending.starts.is_some_and(|starts| starts <= now) {
            ending.starts = None;
            self.keeper.stop_all(now);
        }
        if ending.all > now {
            return None;
        }
        let code = ending.code;
        let (grants, ..) = self.keeper.counts();
        let text = format!("commands that have not ended: {grants}; going without them");
        self.scribe.note(Level::Error, "stop", text);
        Some(code)
    }

    /// Whether nothing is owed any more, and what runs without owing anything had its moment.
    fn is_over(&self, ending: &Ending) -> bool {
        self.keeper.is_idle() || (!self.keeper.owes() && ending.unowed <= listen::now())
    }

    /// Begins the end, with this exit status. Asking again changes nothing.
    fn end(&mut self, code: u8) {
        if self.ending.is_some() {
            return;
        }
        let now = listen::now();
        tell_manager(&[NotifyState::Stopping]);
        let line = Line::new(Level::Info, "stop", "shutting down");
        self.log(line.means(Happened::new(Kind::Stop)));
        self.ending = Some(Ending {
            code,
            unowed: now.saturating_add(PATIENCE_WITH_UNOWED),
            starts: Some(now.saturating_add(PATIENCE_WITH_STARTS)),
            all: now.saturating_add(PATIENCE),
        });
        let mut on_stop = self.settings.on_stop;
        if on_stop == OnStop::Keep && self.keeper.owes() && !self.owing.is_durable() {
            let text = "there is no journal to keep what is owed in: commands are closed now";
            self.scribe.note(Level::Warning, "stop", text);
            on_stop = OnStop::Close;
        }
        if let Some(gatekeeper) = &mut self.gatekeeper {
            let lines = gatekeeper.stop(self.settings.on_stop, now);
            lines
                .into_iter()
                .for_each(|line| self.keeper.tell(line, now));
        }
        self.keeper.stop(on_stop, now);
    }

    fn say_hello(&mut self) {
        let names = self.settings.interfaces.names.join(", ");
        match &self.settings.interfaces.default {
            None | Some(DefaultInterface::Eth0) => {}
            Some(DefaultInterface::DefaultRoute(name)) => {
                let text = format!(
                    "no interface was named and there is no eth0: {name} has the default route"
                );
                self.scribe.note(Level::Info, "interface", text);
            }
            Some(DefaultInterface::Any) => {
                let text = "no interface was named, and there is neither eth0 nor a default route";
                self.scribe.note(Level::Warning, "interface", text);
            }
        }
        let text = format!("starting up, listening on {names}");
        tell_manager(&[NotifyState::Status(&text)]);
        let line = Line::new(Level::Info, "start", text);
        self.log(line.means(Happened::new(Kind::Start)));
        let lines = self.audit.first(self.doors.now());
        lines.into_iter().for_each(|line| self.log(line));
        self.say_shadow();
        for (level, text) in std::mem::take(&mut self.doubts) {
            self.scribe.note(level, "sandbox", text);
        }
        for line in std::mem::take(&mut self.taken_up) {
            self.log(line);
        }
        self.handle_side();
    }

    /// Says `line` to whoever wants to know: programs, and the log.
    pub(super) fn log(&mut self, line: Line) {
        if let Some(event) = self.events.keep(&line) {
            self.witness(&event);
        }
        if !line.is_quiet() {
            self.scribe.line(line, listen::now());
        }
    }
}

/// Signals arrive as bytes in a pipe; nothing works in their handlers.
///
/// Whoever started us may have had some blocked, which is inherited: then nothing could end us.
fn signals() -> io::Result<Signals> {
    SigSet::empty().thread_set_mask()?;
    let (read, write) = UnixStream::pair()?;
    let wanted = [SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ];
    SignalDelivery::with_pipe(read, write, SignalOnly, wanted)
}

/// Tells the service manager, where there is one. It may be gone.
pub(super) fn tell_manager(states: &[NotifyState<'_>]) {
    sd_notify::notify(states).ok();
}
