//! Lines to sections, keys and values.

mod settings;

use alloc::format;
use alloc::vec::Vec;

use super::closing;
use super::door::DoorDraft;
use super::keys::{self, Key, KeySpec, Shape};
use super::report::Report;
use super::text::{Text, is_blank};
use super::values;
use super::{Config, KeyPlace, Options, Parsed, Places, Services};

/// The original reads lines of at most so many bytes and takes the rest for another line.
const ORIGINAL_LINE: usize = 4095;
/// The original cuts names of sections to so many bytes.
const ORIGINAL_NAME: usize = 127;
/// A [`crate::door::DoorId`] counts no further.
const MAX_DOORS: usize = 0xffff;

/// The section that lines belong to.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Section {
    /// Before the first header.
    None,
    Options,
    /// The last of the doors.
    Door,
}

/// Reads a file line by line.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    services: Services<'a>,
    report: Report,
    section: Section,
    options: Options,
    options_keys: Vec<KeyPlace>,
    strict: bool,
    doors: Vec<DoorDraft>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], services: Services<'a>) -> Self {
        Self {
            bytes,
            services,
            report: Report::default(),
            section: Section::None,
            options: Options::default(),
            options_keys: Vec::new(),
            strict: false,
            doors: Vec::new(),
        }
    }

    pub(super) fn read(mut self) -> Parsed {
        let mut at = self.byte_order_mark();
        let rest = self.bytes.get(at..).unwrap_or_default();
        for line in rest.split_inclusive(|b| *b == b'\n') {
            self.line(line, at);
            at += line.len();
        }
        self.finish()
    }

    /// Skips a byte order mark; the original takes it for a part of the first line.
    fn byte_order_mark(&mut self) -> usize {
        if self.bytes.starts_with(b"\xef\xbb\xbf") {
            self.report.warn(
                0..3,
                "the file starts with a byte order mark, which is skipped",
                "the first line",
                "save the file as UTF-8 without a byte order mark; the original refuses it",
            );
            3
        } else if self.bytes.starts_with(b"\xff\xfe") || self.bytes.starts_with(b"\xfe\xff") {
            self.report.error(
                0..2,
                "the file is UTF-16",
                "plain text or UTF-8",
                "save the file as UTF-8 without a byte order mark",
            );
            self.bytes.len()
        } else {
            0
        }
    }

    fn line(&mut self, bytes: &[u8], at: usize) {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let first = bytes.iter().find(|b| !is_blank(char::from(**b)));
        if matches!(first, None | Some(b'#')) {
            return;
        }
        if bytes.len() > ORIGINAL_LINE {
            self.report.warn(
                at + ORIGINAL_LINE..at + ORIGINAL_LINE + 1,
                "a very long line",
                format!("at most {ORIGINAL_LINE} bytes in a line"),
                "the original takes the rest for another line",
            );
        }
        match readable(bytes) {
            Ok(str) => self.text(Text { str, at }.trim()),
            Err((bad, message)) => {
                self.report.error(
                    at + bad..at + bad + 1,
                    message,
                    "a character of UTF-8 text",
                    "only comments may hold other bytes",
                );
                self.unreadable(first == Some(&b'['), at, bytes.len());
            }
        }
    }

    /// After a line that is lost: what seems to be missing may have been in it.
    fn unreadable(&mut self, header: bool, at: usize, len: usize) {
        if header {
            self.open_door("", at..at + len, true);
        } else if let Some(door) = self.doors.last_mut() {
            door.suspect = true;
        }
    }

    fn text(&mut self, line: Text<'_>) {
        if line.str.starts_with('[') {
            self.header(line);
        } else if let Some((key, value)) = line.split_once('=') {
            self.entry(key.trim(), Some(value.trim()), line);
        } else {
            self.entry(line, None, line);
        }
    }

    fn header(&mut self, line: Text<'_>) {
        let inner = line.str.strip_prefix('[').unwrap_or(line.str);
        let Some(name) = inner.strip_suffix(']') else {
            let help = if inner.contains(']') {
                "nothing may follow the bracket, not even a comment"
            } else {
                "a section starts with its name in brackets"
            };
            let end = line.span().end;
            self.report
                .error(end..end, "the section header is not closed", "`]`", help);
            let name = inner.split(']').next().unwrap_or_default();
            self.open(name, line, true);
            return;
        };
        if name.is_empty() {
            self.report.error(
                line.span(),
                "a section without a name",
                "a name between the brackets",
                (),
            );
        } else if name.len() > ORIGINAL_NAME {
            let name_at = line.at + 1;
            self.report.warn(
                name_at + ORIGINAL_NAME..name_at + ORIGINAL_NAME + 1,
                "a very long name",
                format!("at most {ORIGINAL_NAME} bytes"),
                "the original cuts it here",
            );
        }
        self.open(name, line, name.is_empty());
    }

    fn open(&mut self, name: &str, line: Text<'_>, suspect: bool) {
        if name == "options" {
            self.section = Section::Options;
            return;
        }
        if name.trim_matches(is_blank).eq_ignore_ascii_case("options") {
            self.report.warn(
                line.span(),
                format!("`[{name}]` is a door of that name"),
                "`[options]`, in small letters and without blanks, or another name",
                (),
            );
        }
        self.open_door(name, line.span(), suspect);
    }

    fn open_door(&mut self, name: &str, header: core::ops::Range<usize>, suspect: bool) {
        self.section = Section::Door;
        if self.doors.len() == MAX_DOORS {
            self.report.error(
                header.clone(),
                "too many doors",
                format!("at most {MAX_DOORS} doors"),
                (),
            );
        }
        self.doors
            .push(DoorDraft::new(name.into(), header, suspect));
    }

    fn entry(&mut self, key: Text<'_>, value: Option<Text<'_>>, line: Text<'_>) {
        let Some(spec) = keys::find(key.str) else {
            self.unknown(key, value, line);
            return;
        };
        let in_options = match self.section {
            Section::Options => true,
            Section::Door => false,
            Section::None => {
                self.outside(spec, line);
                return;
            }
        };
        if !spec.may_stand(in_options) && !self.misplaced(spec, key, line) {
            return;
        }
        let end = line.span().end;
        let value_span = value.map_or(end..end, Text::span);
        self.place(spec, line.span(), value_span);
        match (value, spec.shape) {
            (Some(value), _) => self.value(spec, value),
            (None, Shape::Switch) => self.set_switch(spec.key, true),
            (None, shape) => self.report.error(
                end..end,
                format!("`{}` has no value", spec.name),
                format!("`=` and {}", values::expected(shape)),
                (),
            ),
        }
    }

    fn unknown(&mut self, key: Text<'_>, value: Option<Text<'_>>, line: Text<'_>) {
        if line.str.starts_with([';', '/']) {
            self.report.error(
                line.at..line.at + 1,
                "this is neither a section nor a key",
                "`[section]`, `key = value` or `# comment`",
                "comments start with #",
            );
            return;
        }
        if key.str.is_empty() {
            self.report.error(
                line.at..line.at,
                "a key is missing",
                "the name of a key",
                (),
            );
            return;
        }
        if value.is_none() && key.str.contains(is_blank) {
            let word = key.str.split(is_blank).next().unwrap_or_default();
            let word = word.trim_end_matches(':');
            let help = keys::find(word).map(|spec| format!("write `{} = …`", spec.name));
            self.report.error(
                line.span(),
                "this is neither a section nor a key",
                "`[section]`, `key = value` or `# comment`",
                help,
            );
            return;
        }
        let near = keys::suggest(key.str, self.section == Section::Options);
        self.report.error(
            key.span(),
            format!("unknown key `{}`", key.str),
            "a key of knockd.conf(5)",
            near.map(|near| format!("did you mean `{near}`?")),
        );
        // The sequence may be what the mistyped key meant to give.
        if let Some(door) = self.doors.last_mut() {
            let opening = ["sequence", "one_time_sequences", "spa", "authorized_keys"];
            door.suspect |= near.is_some_and(|near| opening.contains(&near));
        }
    }

    fn outside(&mut self, spec: &KeySpec, line: Text<'_>) {
        let expected = if spec.may_stand(true) {
            "`[options]` above this line"
        } else {
            "the door's `[name]` above this line"
        };
        let message = format!("`{}` stands in no section", spec.name);
        self.report.error(line.span(), message, expected, ());
    }

    /// Whether a key at the wrong place counts all the same; either way it is noted.
    fn misplaced(&mut self, spec: &KeySpec, key: Text<'_>, line: Text<'_>) -> bool {
        if spec.key == Key::UseSyslog {
            self.report.warn(
                line.span(),
                "`usesyslog` holds for the whole daemon, not for this door",
                "`usesyslog` in `[options]`",
                (),
            );
            return true;
        }
        let (message, expected) = if spec.may_stand(true) {
            (
                format!("`{}` is no key of a door", spec.name),
                "this key in `[options]`",
            )
        } else {
            (
                format!("`{}` is no option", spec.name),
                "this key in the section of a door",
            )
        };
        self.report.error(key.span(), message, expected, ());
        false
    }

    /// Keeps the key's place, and notes that an earlier one loses its effect.
    fn place(
        &mut self,
        spec: &KeySpec,
        line: core::ops::Range<usize>,
        value: core::ops::Range<usize>,
    ) {
        let door = self
            .doors
            .last_mut()
            .filter(|_| self.section == Section::Door);
        let keys = match door {
            Some(door) => &mut door.keys,
            None => &mut self.options_keys,
        };
        let replaces = |earlier: Key| match spec.key {
            Key::TcpFlags => false,
            Key::Sequence | Key::OneTimeSequences => {
                matches!(earlier, Key::Sequence | Key::OneTimeSequences)
            }
            key => key == earlier,
        };
        if let Some(earlier) = keys.iter().rfind(|earlier| replaces(earlier.key)) {
            self.report.warn(
                earlier.line.clone(),
                format!("a later `{}` takes the place of this", spec.name),
                "one of the two",
                "the last one counts",
            );
        }
        keys.push(KeyPlace {
            key: spec.key,
            line,
            value,
        });
    }

    fn finish(mut self) -> Parsed {
        let mut doors = Vec::with_capacity(self.doors.len());
        let mut places = Places {
            options: self.options_keys,
            doors: Vec::with_capacity(self.doors.len()),
        };
        closing::check(&self.doors, &mut self.report);
        for draft in self.doors {
            let (door, place) = draft.finish(self.strict, &self.options.hooks, &mut self.report);
            doors.extend(door);
            places.doors.push(place);
        }
        let config = Config {
            options: self.options,
            doors,
        };
        Parsed {
            config: Some(config).filter(|_| !self.report.has_errors()),
            diagnostics: self.report.into_sorted(),
            places,
        }
    }
}

/// The line as text; or the offset of its first byte that is none, and what is wrong with it.
fn readable(bytes: &[u8]) -> Result<&str, (usize, &'static str)> {
    let str = core::str::from_utf8(bytes)
        .map_err(|error| (error.valid_up_to(), "this byte is not UTF-8"))?;
    match str.find('\0') {
        Some(nul) => Err((nul, "a NUL byte in the text")),
        None => Ok(str),
    }
}
