//! Codes on paper at the daemon: spent first, then the door.
//!
//! Nobody is answered. Who has sent what a line is worth is in the log, loudly if it was a code.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use knock_core::door::{Door, DoorId};
use knock_core::time::InUnits;
use knock_spa::code::{Code, Sieve};

use super::sealed::time_of;
use super::serve::Daemon;
use super::settings::Settings;
use crate::clock;
use crate::config_file::reason;
use crate::events::{Happened, Kind, Reason, Who};
use crate::keeper::{DoorRef, Opener};
use crate::listen;
use crate::log::{Level, Line};
use crate::spa::codes::{Codes, Found, Receipt, Spent};
use crate::spa::watch::FolderWatch;
use crate::wire::CodeBytes;

/// What the daemon has for codes on paper.
#[derive(Default)]
pub(super) struct Paper {
    /// None if it cannot be told which are spent: then none is taken.
    codes: Option<Codes>,
    watch: Option<FolderWatch>,
    opened: u64,
    refused: u64,
}

impl Paper {
    /// Reads the codes of these settings. A shadow takes none, since each would have to be spent.
    pub(super) fn open_for(&mut self, settings: &Settings) -> Vec<Line> {
        if settings.shadow {
            let text = "shadow: codes on paper are not looked at";
            return vec![Line::new(Level::Info, "codes", text)];
        }
        self.open(&settings.state_dir)
    }

    /// Reads what is in `folder`. What is worth saying. That there are no codes to be had is no reason
    /// to do without sealed packets.
    fn open(&mut self, folder: &Path) -> Vec<Line> {
        // Before the files are read: what changes from now on is told.
        let (watch, mut lines) = match FolderWatch::new(folder) {
            Ok(watch) => (Some(watch), Vec::new()),
            Err(error) => {
                let text = format!(
                    "{} cannot be watched ({}): codes that are made from now on count after a reload",
                    folder.display(),
                    reason(&error)
                );
                (None, vec![Line::new(Level::Warning, "codes", text)])
            }
        };
        self.watch = watch;
        // The file of those that are spent has one writer.
        self.codes = None;
        match Codes::open(folder, seconds()) {
            Ok((codes, more)) => {
                lines.extend(more);
                self.codes = Some(codes);
            }
            Err(error) => {
                let text = format!("{error}: no code on paper is taken");
                lines.push(Line::new(Level::Error, "codes", text));
            }
        }
        lines
    }

    /// What the listener is told.
    pub(super) fn sieve(&self) -> Option<Sieve> {
        self.codes.as_ref().and_then(Codes::sieve)
    }

    /// What to poll: then call [`Daemon::follow_codes`].
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(FolderWatch::as_fd)
    }

    pub(super) fn status(&self) -> String {
        let left = self.codes.as_ref().map_or(0, Codes::left);
        let (opened, refused) = (self.opened, self.refused);
        format!("{left} left, {opened} used, {refused} refused")
    }
}

impl Daemon {
    /// Looks whether codes were made or revoked. Harmless at any time.
    pub(super) fn follow_codes(&mut self) {
        let Some(sealed) = &mut self.sealed else {
            return;
        };
        let paper = &mut sealed.paper;
        if !paper.watch.as_ref().is_some_and(FolderWatch::take) {
            return;
        }
        let lines = paper.codes.as_mut().and_then(Codes::follow);
        let sieve = paper.sieve();
        self.side.set_codes(sieve);
        for line in lines.into_iter().flatten() {
            self.log(line);
        }
    }

    /// The listener has heard what may be a code.
    pub(super) fn handle_code(&mut self, code: CodeBytes, source: IpAddr) {
        if self.ending.is_some() {
            return;
        }
        let Some(mut sealed) = self.sealed.take() else {
            return;
        };
        self.take_code(&mut sealed.paper, &Code::from_bytes(code.0), source);
        self.side.set_codes(sealed.paper.sieve());
        self.sealed = Some(sealed);
        self.perform();
    }

    fn take_code(&mut self, paper: &mut Paper, code: &Code, source: IpAddr) {
        let Some(codes) = &mut paper.codes else {
            return;
        };
        let lines = codes.follow();
        lines.into_iter().flatten().for_each(|line| self.log(line));
        let happened = |reason| {
            let happened = Happened::new(Kind::Refuse).because(reason);
            happened.by(Some(Who::Code))
        };
        let refused = |door: &str, reason, why: &str| {
            let text = format!("refused: {why}");
            Line::of_source(source, door, "refused", &text).means(happened(reason))
        };
        paper.refused = paper.refused.saturating_add(1);
        let line = match codes.find(code) {
            Found::Unknown => {
                let text = format!("{source}: refused: what looks like a code on paper is none");
                let line = Line::new(Level::Info, "refused", text).about(source);
                line.means(happened(Reason::UnknownCode).by(None))
            }
            Found::Spent(spent, door) => {
                let text = format!("this code on paper is spent, {}", told(&spent));
                refused(door.as_str(), Reason::Spent, &text).at(Level::Warning)
            }
            Found::Good(entry) => {
                let name = entry.door.clone();
                match find_door(self.doors.now(), name.as_str()) {
                    None => {
                        let text = "a code on paper is for this door, which sealed packets do not \
                                    open; it is not spent";
                        refused(name.as_str(), Reason::UnknownDoor, text).at(Level::Error)
                    }
                    Some(door) => match codes.spend(entry, source, seconds()) {
                        Ok(receipt) => {
                            paper.refused = paper.refused.saturating_sub(1);
                            paper.opened = paper.opened.saturating_add(1);
                            return self.open_for_code(&door, receipt, source);
                        }
                        Err(error) => {
                            let why = reason(&error);
                            let text = format!("that it is spent cannot be written down ({why})");
                            refused(name.as_str(), Reason::NotWritten, &text).at(Level::Error)
                        }
                    },
                }
            }
        };
        self.keeper.tell(line, listen::now());
    }

    /// Opens a door for somebody who had a code, as a knock would.
    fn open_for_code(&mut self, door: &DoorRef, receipt: Receipt, source: IpAddr) {
        let now = listen::now();
        let Receipt { door: name, left } = receipt;
        let left = match left {
            0 => "none is".to_owned(),
            1 => "one is".to_owned(),
            more => format!("{more} are"),
        };
        let text = format!("a code on paper was used and is spent; {left} left for this door");
        let line = Line::of_source(source, name.as_str(), "code", &text);
        self.keeper.tell(line.at(Level::Warning), now);
        let time = InUnits(time_of(door, None));
        let opener = Opener {
            how: &format!("opened by a code on paper for {time}"),
            who: Some(&Who::Code),
        };
        if !self.open_sealed(door, source, &opener, now).is_done() {
            let text = "what the code was for is not open, or not all of it";
            let line = Line::of_source(source, &door.name, "refused", text);
            self.keeper.tell(line.at(Level::Error), now);
        }
    }
}

/// The door with this name, if sealed packets open it.
fn find_door(doors: &Arc<[Door]>, name: &str) -> Option<DoorRef> {
    let mut all = (0_u16..).zip(doors.iter());
    let (id, _) = all.find(|(_, door)| door.spa.is_some() && door.name == name)?;
    DoorRef::new(doors, DoorId(id))
}

/// When it was spent, and by whom, as far as that is known.
fn told(spent: &Spent) -> String {
    if spent.by.is_unspecified() {
        return "as far as can be told".to_owned();
    }
    let at = i64::try_from(spent.at).ok();
    let at = at.and_then(|at| jiff::Timestamp::from_second(at).ok());
    let at = at.map_or_else(String::new, |at| format!(" at {at}"));
    format!("by {}{at}", spent.by)
}

/// Of the clock, since 1970: only to be shown.
fn seconds() -> u64 {
    clock::realtime() / 1_000_000_000
}
