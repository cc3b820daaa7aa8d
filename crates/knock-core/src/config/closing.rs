//! `close`: which door a door closes. It may come later in the file, so this is looked at when all
//! are known.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use super::door::DoorDraft;
use super::keys::{Key, Shape};
use super::report::Report;
use super::suggest;
use super::text::is_blank;

/// So many wrong names are compared with all others; a file with more is no configuration.
const MAX_SUGGESTED: usize = 16;

/// By its name, how many doors have `open`, or may have it in a line that is lost.
type Native<'a> = BTreeMap<&'a str, usize>;

/// Notes each `close` that names no door that opens something.
pub(super) fn check(doors: &[DoorDraft], report: &mut Report) {
    let mut names = Native::new();
    for door in doors {
        *names.entry(&door.name).or_default() += usize::from(door.suspect || opens(door));
    }
    // The header of such a section is lost: its name may be any.
    if names.contains_key("") {
        return;
    }
    let mut suggested = 0;
    for door in doors {
        let Some(name) = &door.close else { continue };
        let place = door.keys.iter().rfind(|place| place.key == Key::Close);
        let span = place.map_or_else(|| door.header.clone(), |place| place.value.clone());
        let own = *name == door.name;
        let (message, help): (String, Option<String>) = match names.get(name.as_str()) {
            Some(_) if own && opens(door) => (
                "a door cannot close itself".into(),
                Some("it closes by itself when `open_for` is over".into()),
            ),
            Some(1..) => continue,
            Some(_) if own => (
                "a door cannot close itself".into(),
                Some("name the door that has `open`".into()),
            ),
            Some(_) => (
                format!("the door `{name}` has no `open`, so there is nothing to close"),
                Some("what commands have opened a command must close".into()),
            ),
            None if suggested < MAX_SUGGESTED => {
                suggested += 1;
                (
                    format!("there is no door `{name}`"),
                    instead(name, &door.name, &names),
                )
            }
            None => (format!("there is no door `{name}`"), None),
        };
        report.error(span, message, Shape::Door.expected(), help);
    }
}

fn opens(door: &DoorDraft) -> bool {
    door.keys.iter().any(|place| place.key == Key::Open)
}

/// The door that was probably meant.
fn instead(name: &str, own: &str, names: &Native<'_>) -> Option<String> {
    let before_comment = name
        .split_once(" #")
        .map(|(name, _)| name.trim_matches(is_blank));
    if before_comment.is_some_and(|name| names.contains_key(name)) {
        return Some("a comment stands on a line of its own".into());
    }
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    if let Some(bare) = bare.filter(|bare| names.contains_key(bare)) {
        return Some(format!("write `{bare}`, without brackets"));
    }
    let mut others = names.keys().copied().filter(|other| *other != own);
    if let Some(blanks) = others.find(|other| other.trim_matches(is_blank) == name) {
        return Some(format!("the name of `[{blanks}]` has blanks in it"));
    }
    let native = names
        .iter()
        .filter(|(other, native)| **native > 0 && **other != own);
    let near = suggest::closest(name, native.map(|(other, _)| *other))?;
    Some(format!("did you mean `{near}`?"))
}
