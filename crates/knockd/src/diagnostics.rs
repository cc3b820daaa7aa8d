//! Mistakes as a person reads them: place, line, caret, expectation and hint.
//!
//! Promise: what comes out is safe for a terminal, whatever bytes the file has; control
//! characters, and those that change the direction of text, are shown as visible ones.

use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use knock_core::config::{Diagnostic, Severity};

/// More than so many are counted, not shown; a file with more is no configuration.
const MAX_SHOWN: usize = 100;
/// Longer messages are cut, and no more characters are underlined: they quote the file.
const MAX_CHARACTERS: usize = 200;

/// Something about the file as a whole, or about the machine: a warning without a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What is wrong; lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// All `diagnostics` of the file `path` with the contents `bytes`, and a line that counts them;
/// nothing if there are none. Every line ends with a newline.
#[must_use]
pub fn render(path: &Path, bytes: &[u8], diagnostics: &[Diagnostic], color: bool) -> String {
    render_with_notes(path, bytes, diagnostics, &[], color)
}

/// As [`render`], with `notes` before the line that counts; it counts them as warnings.
#[must_use]
pub fn render_with_notes(
    path: &Path,
    bytes: &[u8],
    diagnostics: &[Diagnostic],
    notes: &[Note],
    color: bool,
) -> String {
    let mut count = Count::of(diagnostics);
    count.warnings += notes.len();
    let Some((level, summary)) = count.summary(path) else {
        return String::new();
    };
    let renderer = if color {
        Renderer::styled().hyperlink(false)
    } else {
        Renderer::plain()
    };
    let source = Source::new(path, bytes);
    let mut out = String::new();
    for diagnostic in shown(diagnostics) {
        out.push_str(&renderer.render(&[source.group(diagnostic)]));
        out.push_str("\n\n");
    }
    if diagnostics.len() > MAX_SHOWN {
        out.push_str("(the rest is left out)\n\n");
    }
    for note in notes {
        let message = Level::WARNING.primary_title(visible(&note.message));
        let group = message.element(Level::HELP.message(visible(&note.help)));
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    let summary = Group::with_title(level.primary_title(summary));
    out.push_str(&renderer.render(&[summary]));
    out.push('\n');
    out
}

/// A mistake in one line, for a log: `knockd.conf:3:12: error: message; expected …; hint`.
#[must_use]
pub fn one_line(path: &Path, bytes: &[u8], diagnostic: &Diagnostic) -> String {
    let source = Source::new(path, bytes);
    let place = source.place(diagnostic.span.start);
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut line = format!(
        "{}:{}:{}: {severity}: {}; expected {}",
        source.path,
        place.line,
        place.column,
        visible(&diagnostic.message),
        visible(&diagnostic.expected),
    );
    if let Some(help) = &diagnostic.help {
        line.push_str("; ");
        line.push_str(&visible(help));
    }
    line
}

/// The first [`MAX_SHOWN`]; where there are more, errors alone if there are any.
fn shown(diagnostics: &[Diagnostic]) -> impl Iterator<Item = &Diagnostic> {
    let is_error = |d: &Diagnostic| d.severity == Severity::Error;
    let only_errors = diagnostics.len() > MAX_SHOWN && diagnostics.iter().any(is_error);
    diagnostics
        .iter()
        .filter(move |d| !only_errors || is_error(d))
        .take(MAX_SHOWN)
}

/// How many there are of each.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Count {
    pub(crate) errors: usize,
    pub(crate) warnings: usize,
}

impl Count {
    pub(crate) fn of(diagnostics: &[Diagnostic]) -> Self {
        let errors = diagnostics
            .iter()
            .filter(|d| d.severity == Severity::Error)
            .count();
        Self {
            errors,
            warnings: diagnostics.len() - errors,
        }
    }

    fn summary(self, path: &Path) -> Option<(Level<'static>, String)> {
        let count = |n: usize, what: &str| match n {
            0 => None,
            1 => Some(format!("1 {what}")),
            n => Some(format!("{n} {what}s")),
        };
        let counts = [count(self.errors, "error"), count(self.warnings, "warning")];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        let level = match self.errors {
            0 => Level::WARNING,
            _ => Level::ERROR,
        };
        let path = visible(&path.to_string_lossy());
        (!counts.is_empty()).then(|| (level, format!("{path}: {}", counts.join(", "))))
    }
}

/// A file to quote from.
struct Source<'a> {
    path: String,
    bytes: &'a [u8],
    /// Where each line starts.
    lines: Vec<usize>,
}

/// Line and column, both from 1; the column counts characters, and bytes that are none.
struct Place {
    line: usize,
    column: usize,
}

/// A line fit for a terminal, and the bytes of it that are at fault.
struct Excerpt {
    text: String,
    span: Range<usize>,
}

impl<'a> Source<'a> {
    fn new(path: &Path, bytes: &'a [u8]) -> Self {
        let ends = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n');
        Self {
            path: visible(&path.to_string_lossy()),
            bytes,
            lines: std::iter::once(0)
                .chain(ends.map(|(at, _)| at + 1))
                .collect(),
        }
    }

    fn group(&self, diagnostic: &Diagnostic) -> Group<'_> {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let place = self.place(diagnostic.span.start);
        let excerpt = self.excerpt(&place, &diagnostic.span);
        let label = format!("expected {}", visible(&diagnostic.expected));
        let annotation = AnnotationKind::Primary.span(excerpt.span).label(label);
        let snippet = Snippet::source(excerpt.text)
            .path(self.path.clone())
            .line_start(place.line)
            .annotation(annotation);
        let group = level
            .primary_title(visible(&diagnostic.message))
            .element(snippet);
        match &diagnostic.help {
            Some(help) => group.element(Level::HELP.message(visible(help))),
            None => group,
        }
    }

    /// The line with the byte at `offset`, and how many characters are before it.
    fn place(&self, offset: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= offset);
        let before = self.line(line).get(..offset - self.start(line));
        let column = characters(before.unwrap_or_default()).count() + 1;
        Place { line, column }
    }

    /// Where line `line` (from 1) starts.
    fn start(&self, line: usize) -> usize {
        self.lines.get(line - 1).copied().unwrap_or(0)
    }

    /// Line `line` (from 1) without its end.
    fn line(&self, line: usize) -> &'a [u8] {
        let end = self
            .lines
            .get(line)
            .map_or(self.bytes.len(), |next| next - 1);
        let line = self.bytes.get(self.start(line)..end).unwrap_or_default();
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// The line of a mistake; the renderer cuts it to its width.
    fn excerpt(&self, place: &Place, span: &Range<usize>) -> Excerpt {
        let mut text = String::new();
        let mut marked = None;
        let mut offset = self.start(place.line);
        for (i, (c, len)) in characters(self.line(place.line)).enumerate() {
            if i + 1 == place.column {
                marked = Some(text.len()..text.len());
            }
            text.push(c);
            let under = offset < span.end && i < place.column + MAX_CHARACTERS;
            if let Some(marked) = marked.as_mut().filter(|_| under) {
                marked.end = text.len();
            }
            offset += len;
        }
        let end = text.len();
        Excerpt {
            span: marked.unwrap_or(end..end),
            text,
        }
    }
}

/// The characters of a line as they can be shown, each with the number of its bytes.
fn characters(bytes: &[u8]) -> impl Iterator<Item = (char, usize)> {
    bytes.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid().chars().map(|c| (shown_as(c), c.len_utf8()));
        let invalid = chunk
            .invalid()
            .iter()
            .map(|_| (char::REPLACEMENT_CHARACTER, 1));
        valid.chain(invalid)
    })
}

/// `text` with every character as it can be shown, up to [`MAX_CHARACTERS`].
fn visible(text: &str) -> String {
    let mut characters = text.chars().map(shown_as);
    let mut out: String = characters.by_ref().take(MAX_CHARACTERS).collect();
    if characters.next().is_some() {
        out.push('…');
    }
    out
}

/// Control characters as their pictures (Unicode block 2400); those that are invisible or change
/// the direction of text (UAX #9) as a replacement character. A tab stays.
fn shown_as(c: char) -> char {
    match c {
        '\t' => c,
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(c),
        '\x7f' => '\u{2421}',
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{e0000}'..='\u{e007f}' => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

#[cfg(test)]
mod tests;
