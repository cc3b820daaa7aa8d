//! The panels, from top to bottom.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Row, Sparkline, Table, Widget};

use super::View;
use crate::control::{Door, GrantState};
use crate::ctl::watch::look::{Tone, short, span};
use crate::ctl::watch::rates::Rate;
use crate::ctl::watch::world::{GrantId, Open, Told};
use crate::events::{Grant, Level};

/// A grant that ends so soon is told apart.
const SOON: std::time::Duration = std::time::Duration::from_secs(10);

/// Attempts of at least that width have their time too.
const WIDE_ATTEMPTS: u16 = 36;

/// The most steps that are drawn one by one.
const DRAWN: u16 = 8;

/// How much of each thing happens a second.
pub(super) fn rates(view: View<'_>, area: Rect, buffer: &mut Buffer) {
    let columns = Layout::horizontal([Constraint::Fill(1); Rate::ALL.len()]).spacing(1);
    let areas: [Rect; Rate::ALL.len()] = columns.areas(area);
    let known = &view.state.world().rates;
    for (rate, area) in Rate::ALL.into_iter().zip(areas) {
        let [title, bars] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        let (series, now) = known.of(rate, bars.width.into());
        let mut text = format!(" {}/s", short(now));
        let total = format!(", {}", short(known.total(rate)));
        if rate.name().len() + text.len() + total.len() <= usize::from(area.width) {
            text.push_str(&total);
        }
        let words = vec![
            view.tone(rate.name(), Tone::Title),
            view.tone(&text, Tone::Plain),
        ];
        Line::from(words).render(title, buffer);
        // The latest is at the right.
        let free = usize::from(bars.width).saturating_sub(series.len());
        let series = std::iter::repeat_n(0, free).chain(series);
        Sparkline::default()
            .data(series)
            .bar_set(view.look.bars())
            .style(view.look.style(Tone::Good))
            .render(bars, buffer);
    }
}

/// The doors, what they open, and how many have them open.
pub(super) fn doors(view: View<'_>, area: Rect, buffer: &mut Buffer) {
    let world = view.state.world();
    let doors = world.status().map(|(status, _)| status.doors.as_slice());
    let doors = doors.unwrap_or_default();
    let grants = world.grants();
    let inside = view.panel(&format!("doors {} ", doors.len()), area, buffer);
    let shown = doors.iter().filter(|door| view.state.passes(&[&door.name]));
    let rows = shown.map(|door| {
        let count = grants.iter().filter(|(id, _)| id.door == door.name).count();
        let (count, tone) = match count {
            0 => ("-".to_owned(), Tone::Dim),
            count => (format!("{count} open"), Tone::Good),
        };
        vec![
            view.tone(&door.name, Tone::Plain),
            view.tone(&opens(door), Tone::Plain),
            view.tone(&count, tone),
        ]
    });
    let widths = [
        Constraint::Fill(2),
        Constraint::Fill(3),
        Constraint::Length(8),
    ];
    table(view, rows.collect(), &widths, inside, buffer);
}

/// What a door does, in a few words.
fn opens(door: &Door) -> String {
    match &door.closes {
        Some(other) => format!("closes {other}"),
        None if door.open.is_empty() && door.commands => "commands".to_owned(),
        None if door.commands => format!("{}, commands", door.open.join(", ")),
        None => door.open.join(", "),
    }
}

/// The attempts that are under way, and how far they have come.
pub(super) fn attempts(view: View<'_>, area: Rect, buffer: &mut Buffer) {
    let world = view.state.world();
    let title = format!("attempts {} ", short(world.attempts_in_all()));
    let inside = view.panel(&title, area, buffer);
    let now = view.time();
    let shown = world
        .attempts()
        .into_iter()
        .filter(|((door, source), _)| view.state.passes(&[door, &source.to_string()]));
    let rows = shown.map(|((door, source), attempt)| {
        let all = world.steps_of(door);
        let left = attempt.ends.map(|ends| span(ends.saturating_sub(now)));
        let steps = view.look.steps(attempt.stage, all, DRAWN);
        let tone = if attempt.stage > 1 {
            Tone::Warning
        } else {
            Tone::Plain
        };
        vec![
            view.tone(&source.to_string(), Tone::Plain),
            view.tone(door, Tone::Plain),
            // Its characters are ours.
            Span::styled(
                format!("{steps} {}/{all}", attempt.stage)
                    .trim_start()
                    .to_owned(),
                view.look.style(tone),
            ),
            view.tone(&left.unwrap_or_default(), Tone::Plain),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let steps = rows.iter().filter_map(|row| row.get(2)).map(Span::width);
    let steps = u16::try_from(steps.max().unwrap_or(0)).unwrap_or(0);
    let time = if inside.width < WIDE_ATTEMPTS { 0 } else { 5 };
    let widths = [
        Constraint::Fill(5),
        Constraint::Fill(2),
        Constraint::Length(steps),
        Constraint::Length(time),
    ];
    table(view, rows, &widths, inside, buffer);
}

/// What is open, for whom, and for how long.
pub(super) fn grants(view: View<'_>, area: Rect, buffer: &mut Buffer) {
    let world = view.state.world();
    let title = format!("grants {} ", short(world.grants_in_all()));
    let inside = view.panel(&title, area, buffer);
    let selected = view.state.selected();
    let all = world.grants().into_iter();
    let shown: Vec<_> = all
        .filter(|(id, _)| view.state.passes(&[&id.door, &id.to]))
        .collect();
    let place = shown.iter().position(|(id, _)| Some(*id) == selected);
    // What is chosen is on the screen.
    let height = usize::from(inside.height);
    let first = place.map_or(0, |place| (place + 1).saturating_sub(height));
    let shown = shown.into_iter().skip(first).take(height);
    let rows = shown.map(|(id, open)| {
        let row = grant(view, id, open);
        if Some(id) == selected {
            row.style(view.look.style(Tone::Chosen))
        } else {
            row
        }
    });
    let widths = [
        Constraint::Length(1),
        Constraint::Fill(5),
        Constraint::Fill(3),
        Constraint::Fill(3),
        Constraint::Fill(4),
        Constraint::Length(7),
    ];
    Table::new(rows, widths).render(inside, buffer);
}

fn grant(view: View<'_>, id: &GrantId, open: &Open) -> Row<'static> {
    let what = match id.grant {
        Grant::Gate => open.services.join(", "),
        Grant::Commands(number) => format!("commands {number}"),
    };
    let who = open.who.as_ref().map(ToString::to_string);
    let left = open.ends.map(|ends| ends.saturating_sub(view.time()));
    let (text, tone) = match (open.state, left) {
        (GrantState::Opening, _) => ("opening".to_owned(), Tone::Warning),
        (GrantState::Closing, _) => ("closing".to_owned(), Tone::Warning),
        (GrantState::Open, None) => ("open".to_owned(), Tone::Good),
        (GrantState::Open, Some(left)) if left < SOON => (span(left), Tone::Warning),
        (GrantState::Open, Some(left)) => (span(left), Tone::Good),
    };
    let mark = if Some(id) == view.state.selected() {
        ">"
    } else {
        ""
    };
    let left = Line::from(view.tone(&text, tone)).right_aligned();
    Row::new([
        Text::from(view.tone(mark, Tone::Title)),
        Text::from(view.tone(&id.to, Tone::Plain)),
        Text::from(view.tone(&id.door, Tone::Plain)),
        Text::from(view.tone(&what, Tone::Plain)),
        Text::from(view.tone(&who.unwrap_or_default(), Tone::Plain)),
        Text::from(left),
    ])
}

/// What has happened, latest first.
pub(super) fn log(view: View<'_>, area: Rect, buffer: &mut Buffer) {
    let world = view.state.world();
    let steps = if view.state.shows_steps() {
        ""
    } else {
        ", without steps"
    };
    let left_out = match world.not_told() {
        0 => String::new(),
        count => format!(", {} left out", short(count)),
    };
    let inside = view.panel(&format!("log{steps}{left_out} "), area, buffer);
    let told = world.log(view.state.shows_steps()).into_iter();
    let shown = told.filter(|told| {
        view.state
            .passes(&names(told).each_ref().map(String::as_str))
    });
    let lines = shown.take(inside.height.into()).map(|told| {
        let tone = match told.event.level {
            Level::Debug => Tone::Dim,
            Level::Info => Tone::Plain,
            Level::Warning => Tone::Warning,
            Level::Error => Tone::Bad,
        };
        Line::from(vec![
            view.tone(&view.look.clock(told.event.time), Tone::Dim),
            view.tone(&format!(" {}", told.event.text), tone),
        ])
    });
    Text::from_iter(lines).render(inside, buffer);
}

/// What of an event passes the filter.
fn names(told: &Told) -> [String; 3] {
    let event = &told.event;
    [
        event.door.clone().unwrap_or_default(),
        event
            .source
            .map(|source| source.to_string())
            .unwrap_or_default(),
        event.to.clone().unwrap_or_default(),
    ]
}

fn table(
    view: View<'_>,
    rows: Vec<Vec<Span<'static>>>,
    widths: &[Constraint],
    area: Rect,
    buffer: &mut Buffer,
) {
    let height = usize::from(area.height);
    let more = rows.len().saturating_sub(height);
    let last = height.saturating_sub(1);
    let shown = if more > 0 { last } else { height };
    let rows_shown = rows.into_iter().take(shown).map(Row::new);
    Table::new(rows_shown, widths).render(area, buffer);
    if more > 0 && height > 0 {
        let text = format!("and {} more", more + 1);
        let line = Rect {
            y: area.bottom() - 1,
            height: 1,
            ..area
        };
        Line::from(view.tone(&text, Tone::Dim)).render(line, buffer);
    }
}
