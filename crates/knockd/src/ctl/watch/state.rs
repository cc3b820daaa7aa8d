//! What is shown, and what keys do to it. Pure: neither terminal nor socket, and time is told.

use std::net::IpAddr;
use std::time::Duration;

use super::world::{GrantId, Moment, World};
use crate::control::{Answer, Status};

/// How long a notice stays.
const NOTICE: Duration = Duration::from_secs(6);

/// The longest filter: a line of the smallest screen.
const MAX_FILTER: usize = 40;

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    live: World,
    /// What was there when it was paused.
    frozen: Option<(Box<World>, Moment)>,
    /// Why there is no connection, and since when; `None` while there is one.
    waiting: Option<(String, Moment)>,
    filter: String,
    mode: Mode,
    selected: Option<GrantId>,
    notice: Option<(String, Moment)>,
    shows_steps: bool,
}

/// What keys are for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) enum Mode {
    /// For everything.
    #[default]
    Usual,
    /// To write the filter; here is what it was.
    Filter(String),
    /// To say whether this is to be closed.
    Ask(GrantId),
    /// To leave the help.
    Help,
}

/// A key.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Key {
    Char(char),
    Up,
    Down,
    Enter,
    Escape,
    Backspace,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-Z.
    Suspend,
}

/// What is to be done for somebody at the keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Wish {
    Quit,
    /// Stop until it is told to go on.
    Suspend,
    /// Close what this door has opened for this address.
    Close(String, IpAddr),
}

impl State {
    /// Takes what the daemon has answered.
    pub(super) fn handle_answer(&mut self, answer: Answer, now: Moment) {
        match answer {
            Answer::Status(status) => self.handle_status(*status, now),
            Answer::Event(event) => self.live.handle_event(event, now),
            Answer::Missed { count } => self.live.handle_missed(count),
            Answer::Closed { closed, .. } => {
                let text = match closed.len() {
                    0 => "it was closed already".to_owned(),
                    1 => "closed".to_owned(),
                    more => format!("{more} grants closed"),
                };
                self.notice = Some((text, now));
            }
            Answer::Error { message, .. } => self.notice = Some((message, now)),
            _ => {}
        }
    }

    fn handle_status(&mut self, status: Status, now: Moment) {
        self.waiting = None;
        self.live.handle_status(status, now);
    }

    /// Says that there is no connection, and why.
    pub(super) fn handle_loss(&mut self, why: &str, now: Moment) {
        let since = self.waiting.take().map_or(now, |(_, since)| since);
        self.waiting = Some((why.to_owned(), since));
    }

    /// From which event on to ask for more; `None` for all.
    pub(super) fn next_event(&self) -> Option<u64> {
        self.live.next_event()
    }

    /// Does what a key is for.
    pub(super) fn handle_key(&mut self, key: Key, now: Moment) -> Option<Wish> {
        match key {
            Key::Interrupt => return Some(Wish::Quit),
            Key::Suspend => return Some(Wish::Suspend),
            _ => {}
        }
        self.notice = None;
        match std::mem::take(&mut self.mode) {
            Mode::Usual => self.usual(key, now),
            Mode::Filter(before) => {
                self.mode = self.write_filter(key, before);
                None
            }
            Mode::Ask(id) => self.answer_for(key, &id, now),
            Mode::Help => None,
        }
    }

    fn usual(&mut self, key: Key, now: Moment) -> Option<Wish> {
        match key {
            Key::Char('q') => return Some(Wish::Quit),
            Key::Char('?' | 'h') => self.mode = Mode::Help,
            Key::Char('p' | ' ') => {
                self.frozen = match self.frozen {
                    Some(_) => None,
                    None => Some((Box::new(self.live.clone()), now)),
                };
            }
            Key::Char('s') => self.shows_steps = !self.shows_steps,
            Key::Char('/') => self.mode = Mode::Filter(self.filter.clone()),
            Key::Up | Key::Char('k') => {
                self.select(|place| place.map_or(0, |p| p.saturating_sub(1)));
            }
            Key::Down | Key::Char('j') => self.select(|place| place.map_or(0, |p| p + 1)),
            Key::Enter | Key::Char('c') => self.ask(now),
            Key::Escape if self.selected.is_some() => self.selected = None,
            Key::Escape => self.filter.clear(),
            _ => {}
        }
        None
    }

    fn select(&mut self, from: impl Fn(Option<usize>) -> usize) {
        let grants: Vec<_> = self.grants().into_iter().cloned().collect();
        let is_selected = |id: &GrantId| Some(id) == self.selected.as_ref();
        let place = from(grants.iter().position(is_selected));
        self.selected = grants.get(place).or(grants.last()).cloned();
    }

    fn ask(&mut self, now: Moment) {
        match self.selected().cloned() {
            Some(id) => self.mode = Mode::Ask(id),
            None => {
                let text = "choose a grant with the arrow keys, or j and k, first";
                self.notice = Some((text.to_owned(), now));
            }
        }
    }

    fn answer_for(&mut self, key: Key, id: &GrantId, now: Moment) -> Option<Wish> {
        if !matches!(key, Key::Char('y' | 'Y')) {
            self.notice = Some(("not closed".to_owned(), now));
            return None;
        }
        if self.waiting.is_some() {
            self.notice = Some(("not closed: there is no connection".to_owned(), now));
            return None;
        }
        // Of a network, any address gains by it.
        let address = id.to.split('/').next()?.parse().ok()?;
        Some(Wish::Close(id.door.clone(), address))
    }

    fn write_filter(&mut self, key: Key, before: String) -> Mode {
        match key {
            Key::Enter => return Mode::Usual,
            Key::Escape => {
                self.filter = before;
                return Mode::Usual;
            }
            Key::Backspace => drop(self.filter.pop()),
            Key::Char(c) if self.filter.chars().count() < MAX_FILTER => self.filter.push(c),
            _ => {}
        }
        Mode::Filter(before)
    }

    /// The grants that pass the filter, as they are shown.
    pub(super) fn grants(&self) -> Vec<&GrantId> {
        let grants = self.world().grants().into_iter().map(|(id, _)| id);
        grants
            .filter(|id| self.passes(&[&id.door, &id.to]))
            .collect()
    }

    /// Whether what has these names passes the filter.
    pub(super) fn passes(&self, names: &[&str]) -> bool {
        let wanted = self.filter.to_lowercase();
        wanted.is_empty()
            || names
                .iter()
                .any(|name| name.to_lowercase().contains(&wanted))
    }

    /// What is shown: as it is now, or as it was when it was paused.
    pub(super) fn world(&self) -> &World {
        self.frozen.as_ref().map_or(&self.live, |(world, _)| world)
    }

    /// The time of what is shown.
    pub(super) fn time(&self, now: Moment) -> Moment {
        self.frozen.as_ref().map_or(now, |(_, then)| *then)
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.frozen.is_some()
    }

    pub(super) const fn shows_steps(&self) -> bool {
        self.shows_steps
    }

    pub(super) const fn mode(&self) -> &Mode {
        &self.mode
    }

    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    /// Why there is no connection, and for how long.
    pub(super) fn waiting(&self, now: Moment) -> Option<(&str, Duration)> {
        let (why, since) = self.waiting.as_ref()?;
        Some((why, now.saturating_sub(*since)))
    }

    /// The grant that was chosen, as long as it is there.
    pub(super) fn selected(&self) -> Option<&GrantId> {
        let selected = self.selected.as_ref()?;
        self.grants().into_iter().find(|id| *id == selected)
    }

    /// What was said last, for a while.
    pub(super) fn notice(&self, now: Moment) -> Option<&str> {
        let (text, at) = self.notice.as_ref()?;
        (now.saturating_sub(*at) < NOTICE).then_some(text)
    }
}
