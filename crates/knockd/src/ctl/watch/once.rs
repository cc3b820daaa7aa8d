//! One screen as plain text.

use std::path::Path;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::look::Look;
use super::state::State;
use super::view::{View, draw};
use super::world::Moment;
use crate::control::client::{ClientError, Connection};
use crate::control::{Answer, Request};

/// The size of a screen of which nothing is said.
const USUAL: (u16, u16) = (80, 24);

/// The largest that is drawn.
const LARGEST: (u16, u16) = (500, 500);

/// What the daemon at `path` does, as [`super::session::run`] would show it now.
pub(super) fn text(path: &Path, look: Look) -> Result<String, ClientError> {
    let mut state = State::default();
    let mut connection = Connection::open(path)?;
    let status = connection.ask(&Request::Status {})?;
    state.handle_answer(status, Moment::ZERO);
    let mut answer = connection.ask(&Request::Events {
        since: None,
        follow: false,
    })?;
    while !matches!(answer, Answer::End { .. }) {
        state.handle_answer(answer, Moment::ZERO);
        answer = connection.hear()?;
    }
    let look = Look {
        colour: false,
        ..look
    };
    let view = View {
        state: &state,
        look: &look,
        now: Moment::ZERO,
    };
    let (width, height) = size();
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    draw(view, area, &mut buffer);
    Ok(lines(&buffer))
}

/// What is drawn, a line each, without what makes it look better.
pub(super) fn lines(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let rows = buffer.content.chunks(width).map(|row| {
        let row: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        row.trim_end().to_owned()
    });
    rows.collect::<Vec<_>>().join("\n")
}

/// As the environment says, as for other programs that fill a screen.
fn size() -> (u16, u16) {
    let of = |name, usual, largest| {
        let set = std::env::var(name).ok();
        let number = set.and_then(|value| value.parse().ok());
        number
            .filter(|number| *number > 0)
            .map_or(usual, |n: u16| n.min(largest))
    };
    (
        of("COLUMNS", USUAL.0, LARGEST.0),
        of("LINES", USUAL.1, LARGEST.1),
    )
}
