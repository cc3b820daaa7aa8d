//! From what is known to what is on the screen. Draws, and decides nothing.

mod panels;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Widget, Wrap};

use super::look::{Look, Tone, span};
use super::state::{Mode, State};
use super::world::Moment;
use crate::control::{GateState, LayerState, Status};

/// The smallest screen that shows anything of use.
const SMALLEST: (u16, u16) = (50, 12);

/// A screen of at least that height has more room for everything but the log.
const HIGH: u16 = 20;

const KEYS: &str = "? help  q quit  p pause  / filter  arrows choose  c close  s steps";

const HELP: &str = "\
q, Ctrl-C   quit
p, space    pause, and go on
/           show only what has a text in it
            (Enter keeps it, Esc takes it back)
up, down    choose a grant (also k, j)
c, Enter    close the one chosen; asks first
s           show what strangers do, or not
Esc         choose none; show everything
?, h        this help";

/// What drawing needs to know.
#[derive(Copy, Clone)]
pub(super) struct View<'a> {
    pub(super) state: &'a State,
    pub(super) look: &'a Look,
    pub(super) now: Moment,
}

/// Draws everything.
pub(super) fn draw(view: View<'_>, area: Rect, buffer: &mut Buffer) {
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        return too_small(area, buffer);
    }
    let extra = u16::from(area.height >= HIGH);
    let rows = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(2 + extra),
        Constraint::Fill(3),
        Constraint::Fill(3),
        Constraint::Fill(4),
        Constraint::Length(1),
    ]);
    let [head, rates, doors, grants, log, foot] = rows.areas(area);
    view.head(head, buffer);
    panels::rates(view, rates, buffer);
    let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(1);
    let [left, right] = halves.areas(doors);
    panels::doors(view, left, buffer);
    panels::attempts(view, right, buffer);
    panels::grants(view, grants, buffer);
    panels::log(view, log, buffer);
    view.foot(foot, buffer);
    if *view.state.mode() == Mode::Help {
        view.help(area, buffer);
    }
}

fn too_small(area: Rect, buffer: &mut Buffer) {
    let text = format!(
        "{}x{} is too small: {}x{} is needed",
        area.width, area.height, SMALLEST.0, SMALLEST.1
    );
    Paragraph::new(text)
        .wrap(Wrap { trim: true })
        .render(area, buffer);
}

impl View<'_> {
    /// The time of what is shown.
    fn time(&self) -> Moment {
        self.state.time(self.now)
    }

    fn head(&self, area: Rect, buffer: &mut Buffer) {
        let mut words = vec![self.tone("knockd", Tone::Title)];
        match (self.state.waiting(self.now), self.state.world().status()) {
            (Some((why, time)), _) => {
                let text = format!(" is not there: {why}; waiting for {}", span(time));
                words.push(self.tone(&text, Tone::Bad));
            }
            (None, None) => words.push(self.tone(" is asked", Tone::Dim)),
            (None, Some((status, _))) => words.extend(self.standing(status)),
        }
        let clock = self.state.world().wall(self.time());
        let clock = clock.map(|time| self.look.clock(time)).unwrap_or_default();
        let width = u16::try_from(clock.len() + 1).unwrap_or(0);
        let [left, right] =
            Layout::horizontal([Constraint::Fill(1), Constraint::Length(width)]).areas(area);
        Line::from(words).render(left, buffer);
        let tone = if self.state.is_paused() {
            Tone::Warning
        } else {
            Tone::Plain
        };
        Line::from(self.tone(&clock, tone))
            .right_aligned()
            .render(right, buffer);
    }

    /// How the daemon is, in a few words; what is wrong first.
    fn standing(&self, status: &Status) -> Vec<Span<'static>> {
        let mut words = vec![self.tone(&format!(" {}", status.program), Tone::Plain)];
        if let Some(gate) = &status.gate {
            let (text, tone) = match (gate.state, &gate.trouble) {
                (GateState::Up, None) => ("  gate up", Tone::Good),
                (GateState::Up, Some(_)) => ("  GATE DAMAGED", Tone::Bad),
                (GateState::Down, _) => ("  GATE DOWN", Tone::Bad),
                (GateState::Absent, _) => ("  GATE ABSENT", Tone::Bad),
                (GateState::Unreadable, _) => ("  GATE UNREADABLE", Tone::Bad),
            };
            words.push(self.tone(text, tone));
        }
        words.push(match &status.listener {
            None => self.tone("  NO LISTENER", Tone::Bad),
            Some(listener) if listener.layers.is_empty() => {
                self.tone("  listener not confined", Tone::Warning)
            }
            Some(listener) => {
                let whole = listener
                    .layers
                    .iter()
                    .all(|one| one.state != LayerState::Missing);
                let (text, tone) = if whole {
                    ("  listener confined", Tone::Good)
                } else {
                    ("  listener confined in part", Tone::Warning)
                };
                self.tone(text, tone)
            }
        });
        let up = status.now.duration_since(status.started);
        let up = Moment::try_from(up).unwrap_or_default();
        words.push(self.tone(&format!("  up {}", span(up)), Tone::Plain));
        let names = status.interfaces.iter().map(|one| {
            let down = if one.up { "" } else { " (down)" };
            format!("{}{down}", one.name)
        });
        let names: Vec<_> = names.collect();
        words.push(self.tone(&format!("  on {}", names.join(", ")), Tone::Plain));
        words
    }

    fn foot(&self, area: Rect, buffer: &mut Buffer) {
        let line = match (self.state.mode(), self.state.notice(self.now)) {
            (Mode::Ask(id), _) => {
                let text = format!("Close {} for {}? y/n", id.door, id.to);
                self.tone(&text, Tone::Chosen)
            }
            (Mode::Filter(_), _) => {
                let text = format!("show only: {}_", self.state.filter());
                self.tone(&text, Tone::Chosen)
            }
            (_, Some(notice)) => self.tone(notice, Tone::Warning),
            _ if self.state.is_paused() => self.tone("PAUSED: p goes on", Tone::Warning),
            _ if !self.state.filter().is_empty() => {
                let text = format!(
                    "only what has \"{}\": Esc shows everything",
                    self.state.filter()
                );
                self.tone(&text, Tone::Warning)
            }
            _ => self.tone(KEYS, Tone::Dim),
        };
        Line::from(line).render(area, buffer);
    }

    fn help(&self, area: Rect, buffer: &mut Buffer) {
        let height = u16::try_from(HELP.lines().count()).unwrap_or(0) + 2;
        let inside = area.centered(Constraint::Max(52), Constraint::Max(height));
        Clear.render(inside, buffer);
        let block = Block::bordered()
            .border_set(self.look.border())
            .title(" keys ")
            .title_style(self.look.style(Tone::Title));
        Paragraph::new(HELP).block(block).render(inside, buffer);
    }

    /// A panel under a rule with a title; gives the room below.
    fn panel(&self, title: &str, area: Rect, buffer: &mut Buffer) -> Rect {
        let block = Block::new()
            .borders(Borders::TOP)
            .border_set(self.look.border())
            .border_style(self.look.style(Tone::Dim))
            .title(self.tone(title, Tone::Title));
        let inside = block.inner(area);
        block.render(area, buffer);
        inside
    }

    fn tone(&self, text: &str, tone: Tone) -> Span<'static> {
        Span::styled(self.look.clean(text), self.look.style(tone))
    }
}
