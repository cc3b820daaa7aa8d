//! Reading the configuration again (SIGHUP), and what must be opened anew then.

use std::path::Path;
use std::sync::Arc;

use knock_core::door::Door;
use sd_notify::NotifyState;

use super::Failure;
use super::audit;
use super::confinement::{leaves_powers_to_commands, may_not_enter_homes};
use super::gatekeeper::{self, Gatekeeper};
use super::one_time::OneTimeDoors;
use super::pidfile::{Pidfile, PidfileError};
use super::sealed::{self, Sealed};
use super::serve::{Daemon, tell_manager};
use super::settings::Settings;
use crate::config_file::{LoadError, Loaded, load, reason};
use crate::diagnostics;
use crate::events::{Happened, Kind};
use crate::gate::{Plan, Standing};
use crate::keeper::Limits;
use crate::listen;
use crate::log::{Level, Line};
use crate::services::Services;

impl Daemon {
    /// Reads the configuration again. If anything is wrong with it, what runs goes on. What was doubted
    /// of it, or why it is not in force, a line each; the log has the same.
    pub(super) fn reload(&mut self) -> Result<Vec<String>, Vec<String>> {
        tell_reloading();
        // What was opened before the signal came belongs to the configuration before it.
        self.handle_side();
        let path = self.settings.cli.config.clone();
        let text = format!("re-reading config file: {}", path.display());
        self.scribe.note(Level::Info, "reload", text);
        let outcome = load(&path, &Services::system())
            .map_err(|error| mistakes(&error))
            .and_then(|loaded| self.adopt(loaded).map_err(|mistake| vec![mistake]));
        if let Err(mistakes) = &outcome {
            for text in mistakes {
                self.scribe.note(Level::Error, "reload", text);
            }
            self.keep_running();
        }
        tell_manager(&[NotifyState::Ready]);
        outcome
    }

    /// Goes by another configuration, or says why not; then what ran goes on.
    fn adopt(&mut self, loaded: Loaded) -> Result<Vec<String>, String> {
        let settings = self.settings.with(&loaded.config);
        let known = audit::known(&loaded.bytes, &loaded.config);
        let doubt = self.doubt_shadow(loaded.config.options.shadow);
        let doors: Arc<[Door]> = loaded.config.doors.into();
        let (one_time, lines) = OneTimeDoors::reopen(&doors, &settings.folder, settings.striking())
            .map_err(|failure| format!("error: {failure}"))?;
        let plan = settings.plan(&doors);
        self.reload_gate(plan, &settings.standing)
            .map_err(|failure| format!("error: the gate cannot be put up: {failure}"))?;
        self.reload_sealed(&settings, &doors)
            .map_err(|failure| format!("error: sealed packets: {failure}"))?;
        self.settings = settings;
        self.reopen_log();
        let lines_of_journal = self.owing.reopen(&self.settings.journal, &doors);
        self.keeper.raise_next(self.owing.next());
        lines_of_journal.into_iter().for_each(|line| self.log(line));
        let warnings = loaded.diagnostics.iter();
        let one_line = |d| diagnostics::one_line(&loaded.path, &loaded.bytes, d);
        let warnings: Vec<_> = warnings.map(one_line).collect();
        for text in &warnings {
            self.scribe.note(Level::Warning, "reload", text);
        }
        lines.into_iter().for_each(|line| self.log(line));
        let doubts = doubt.into_iter().chain(self.control.doubt(&self.settings));
        let doubts = doubts.chain(self.doubt_of_metrics());
        doubts
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|line| self.log(line));
        if let Err(failure) = self.lock_pidfile() {
            let text = format!("{failure}");
            self.scribe.note(Level::Warning, "pidfile", text);
        }
        if !self.powers_left && leaves_powers_to_commands(&self.settings, &doors) {
            let text = "commands run as the daemon now, which has given up at its start what they \
                        may need; restart it";
            self.scribe.note(Level::Warning, "sandbox", text);
        }
        self.one_time = one_time;
        let lines_of_audit = self.audit.change(self.doors.now(), &doors, known);
        lines_of_audit.into_iter().for_each(|line| self.log(line));
        self.doors.replace(doors);
        let limits = Limits {
            commands: self.settings.max_commands,
        };
        self.keeper.set_limits(limits, listen::now());
        let sequences = self.one_time.sequences();
        let doors = Arc::clone(self.doors.now());
        let attempts = self.settings.max_attempts;
        let spa_ports = self.settings.spa_ports.clone();
        self.side.set_site(self.sealed.as_ref().map(Sealed::site));
        let codes = self.sealed.as_ref().and_then(|sealed| sealed.paper.sieve());
        self.side.set_codes(codes);
        self.side.set_doors(doors, sequences, attempts, spa_ports);
        let names = self.settings.interfaces.names.clone();
        self.side.set_interfaces(names);
        let line = Line::new(Level::Info, "reload", "the configuration is in force");
        self.log(line.means(Happened::new(Kind::Reload)).quietly());
        Ok(warnings)
    }

    /// Goes by the keys as they are now.
    fn reload_sealed(
        &mut self,
        settings: &Settings,
        doors: &[Door],
    ) -> Result<(), sealed::Failure> {
        let lines = if let Some(sealed) = &mut self.sealed {
            sealed.reload(settings, doors)?
        } else if let Some((sealed, lines)) = Sealed::open(settings, doors, &mut self.reserve)? {
            self.sealed = Some(sealed);
            if may_not_enter_homes(settings, doors) {
                let text = "keys in homes that others cannot enter are not read before a restart: what \
                            that takes was given up at the start";
                self.scribe.note(Level::Warning, "keys", text);
            }
            lines
        } else {
            Vec::new()
        };
        lines.into_iter().for_each(|line| self.log(line));
        Ok(())
    }

    /// Puts the gate up as `plan` wants it, before anything else is changed.
    fn reload_gate(&mut self, plan: Plan, standing: &Standing) -> Result<(), gatekeeper::Failure> {
        let now = listen::now();
        let lines = if let Some(gatekeeper) = &mut self.gatekeeper {
            let lines = gatekeeper.reload(plan, standing.clone(), now);
            lines.map_err(gatekeeper::Failure::Gate)?
        } else if let Some((gatekeeper, lines)) = Gatekeeper::start(plan, standing.clone(), now)? {
            self.gatekeeper = Some(gatekeeper);
            lines
        } else {
            Vec::new()
        };
        lines.into_iter().for_each(|line| self.log(line));
        Ok(())
    }

    /// After a reload that came to nothing: the log is opened anew all the same, so that it can
    /// be rotated while the configuration is broken, and the interfaces are looked at.
    fn keep_running(&mut self) {
        let text = "the configuration that was running stays in force";
        let line = Line::new(Level::Warning, "reload", text);
        self.log(line.means(Happened::new(Kind::ReloadFailed)));
        self.reopen_log();
        let names = self.settings.interfaces.names.clone();
        self.side.set_interfaces(names);
    }

    fn reopen_log(&mut self) {
        if let Some(file) = &self.settings.log.file {
            let text = format!("re-opening log file: {}", file.display());
            self.scribe.note(Level::Info, "reload", text);
        }
        self.scribe.reopen(self.settings.log.clone());
        let lines = self.audit.reopen(&self.settings);
        lines.into_iter().for_each(|line| self.log(line));
    }

    /// Takes hold of the pidfile that the settings name, and lets go of another one.
    pub(super) fn lock_pidfile(&mut self) -> Result<(), Failure> {
        let Some(path) = self.settings.pidfile.clone() else {
            self.pidfile = None;
            return Ok(());
        };
        if self
            .pidfile
            .as_ref()
            .is_some_and(|pidfile| pidfile.path() == path)
        {
            return Ok(());
        }
        let (pidfile, line) = hold_pidfile(&path)?;
        self.pidfile = pidfile.or_else(|| self.pidfile.take());
        line.into_iter().for_each(|line| self.log(line));
        Ok(())
    }
}

/// Takes hold of the pidfile `path`. One that cannot be written is no reason not to run: what to say of
/// it.
pub(super) fn hold_pidfile(path: &Path) -> Result<(Option<Pidfile>, Option<Line>), Failure> {
    match Pidfile::create(path) {
        Ok(pidfile) => Ok((Some(pidfile), None)),
        Err(PidfileError::Io(error)) => {
            let why = reason(&error);
            let text = format!("could not create pid file {}: {why}", path.display());
            Ok((None, Some(Line::new(Level::Warning, "pidfile", text))))
        }
        Err(error) => Err((path.to_owned(), error).into()),
    }
}

fn tell_reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell_manager(&[NotifyState::Reloading, now]);
    }
}

/// What is wrong with a configuration, a line each.
fn mistakes(error: &LoadError) -> Vec<String> {
    match error {
        LoadError::Mistakes {
            path,
            bytes,
            diagnostics,
        } => diagnostics
            .iter()
            .map(|diagnostic| diagnostics::one_line(path, bytes, diagnostic))
            .collect(),
        other => vec![format!("error: {other}")],
    }
}
