//! `docs/guide/log.md` has every line that the daemon logs at the levels warning and error.

use std::fs;
use std::path::Path;

const GUIDE: &str = include_str!("../../../docs/guide/log.md");

/// The shortest part of a line by which it can be known.
const LEAST: usize = 8;

/// How many lines above its level the text of a line may begin.
const ABOVE: usize = 14;

/// The sources of the daemon below a folder, without their tests and without `knockctl`.
fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && name != "ctl" {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            found.push((path.display().to_string(), code.to_owned()));
        }
    }
}

/// The last literal of these lines that has words in it.
fn last_sentence(lines: &[&str]) -> Option<String> {
    let text = lines.join("\n");
    let literals = text.split('"').skip(1).step_by(2);
    let joined = literals.map(|literal| {
        let parts = literal.split("\\\n").map(str::trim_start);
        parts.collect::<String>()
    });
    let sentences = joined.filter(|literal| literal.contains(' ') && literal.len() > LEAST);
    sentences.last()
}

/// What of a line is always the same: its longest part between what is filled in.
fn fixed_part(literal: &str) -> &str {
    let parts = literal.split('{').enumerate().map(|(i, part)| match i {
        0 => part,
        _ => part.split_once('}').map_or("", |(_, rest)| rest),
    });
    parts
        .max_by_key(|part| part.len())
        .unwrap_or_default()
        .trim()
}

/// The text that is logged where a line ends with `before` and a level; `above` are the lines before it.
fn logged(above: &[&str], before: &str) -> Option<String> {
    let near = above.len().saturating_sub(ABOVE);
    let mut window: Vec<_> = above.iter().skip(near).copied().collect();
    window.push(before);
    // A literal that the window cuts in two is none.
    let is_whole = |line: &&str| line.matches('"').count().is_multiple_of(2);
    let begin = window.iter().position(is_whole)?;
    last_sentence(window.get(begin..)?)
}

/// The fixed part of each line at these levels, and the file that it is in.
fn lines() -> Vec<(String, String)> {
    let mut all = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    let mut found = Vec::new();
    for (path, code) in all {
        let mut above: Vec<&str> = Vec::new();
        for line in code.lines() {
            let level = ["Level::Warning", "Level::Error"].into_iter();
            let before = level.filter_map(|level| line.split_once(level)).next();
            let text = before.and_then(|(before, _)| logged(&above, before));
            let part = text.as_deref().map(fixed_part).unwrap_or_default();
            if part.len() >= LEAST {
                found.push((path.clone(), part.to_owned()));
            }
            above.push(line);
        }
    }
    found
}

#[test]
fn every_warning_and_error_of_the_log_is_in_the_guide() {
    let guide = GUIDE.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines = lines();
    assert!(lines.len() >= 55, "{}: {lines:#?}", lines.len());
    let missing = lines.iter().filter(|(_, part)| !guide.contains(part));
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
