//! `docs/compat.md` names a test for each difference from the original, and those tests exist; so do
//! those that `README.md`, `SECURITY.md` and `docs/spa-protocol.md` name.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What a row says for which nobody has written a test.
const NONE: &str = "none yet";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page() -> String {
    fs::read_to_string(root().join("docs/compat.md")).unwrap_or_default()
}

/// The first and the last cell of each difference: its id and its tests.
fn rows(page: &str) -> Vec<(&str, &str)> {
    let rows = page.lines().filter(|line| line.starts_with("| C"));
    rows.map(|row| {
        let cells = row.trim_matches('|').split(" | ");
        let id = cells.clone().next().unwrap_or_default();
        (id.trim(), cells.last().unwrap_or_default().trim())
    })
    .collect()
}

/// All of `prefix: name` between backquotes.
fn references(text: &str) -> BTreeSet<(&str, &str)> {
    let is_word = |word: &str| {
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        !word.is_empty() && word.chars().all(letters)
    };
    let quoted = text
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted
        .filter_map(|quoted| quoted.split_once(": "))
        .filter(|(prefix, name)| is_word(prefix) && is_word(name) && *name != "name")
        .collect()
}

/// Where the Rust tests of a prefix are; other prefixes are files of cases.
fn sources(prefix: &str) -> &'static [&'static str] {
    match prefix {
        "config" => &["crates/knock-core/src/config"],
        "engine" => &["crates/knock-core/src/engine"],
        "filter" => &["crates/knock-core/src/filter"],
        "log" => &["crates/knockd/src/log"],
        "listen" => &["crates/knockd/src/listen", "crates/knockd/tests/listen"],
        "control" => &["crates/knockd/src/control", "crates/knockd/tests/control"],
        "audit" => &["crates/knockd/src/audit", "crates/knockd/tests/audit"],
        "daemon" => &["crates/knockd/src/daemon", "crates/knockd/tests/daemon"],
        "keeper" => &["crates/knockd/src/keeper"],
        "gate" => &["crates/knockd/src/gate", "crates/knockd/tests/gate"],
        "journal" => &[
            "crates/knockd/src/journal",
            "crates/knockd/tests/journal.rs",
        ],
        "firewall" => &["crates/knockd/tests/firewall"],
        "metrics" => &["crates/knockd/src/metrics", "crates/knockd/tests/metrics"],
        "watch" => &["crates/knockd/src/ctl/watch", "crates/knockd/tests/watch"],
        "spa" => &[
            "crates/knock-spa/src",
            "crates/knock-spa/tests",
            "crates/knockd/src/listen/intake.rs",
            "crates/knockd/src/listener/codes.rs",
            "crates/knockd/src/listener/sealed.rs",
            "crates/knockd/src/spa",
            "crates/knockd/tests/spa",
        ],
        "compat" => &["crates/knock/tests/compat.rs"],
        "convert" => &["crates/knockd/tests/convert"],
        "first" => &["crates/knockd/src/ctl/init", "crates/knockd/tests/first"],
        "cli" => &["crates/knockd/src"],
        "profile" => &["crates/knock/tests/profile.rs"],
        "step" => &["crates/knock/src"],
        "wire" => &["crates/knock/tests/wire"],
        "check" => &["crates/knockd/tests"],
        "try" => &["crates/knockd/tests/try.rs"],
        _ => &[],
    }
}

/// The text of a file of Rust, or of all those below a folder.
fn text_below(path: &Path) -> String {
    if path.extension().is_some_and(|extension| extension == "rs") {
        return fs::read_to_string(path).unwrap_or_default();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| text_below(&entry.path())).collect()
}

fn exists(prefix: &str, name: &str) -> bool {
    let sources = sources(prefix);
    if !sources.is_empty() {
        let texts = sources.iter().map(|path| text_below(&root().join(path)));
        let text: String = texts.collect();
        // A property takes arguments, and a case that is data has its name as text.
        return text.contains(&format!("fn {name}(")) || text.contains(&format!("\"{name}\""));
    }
    let cases = root().join(format!("testing/cases/{prefix}.toml"));
    let text = fs::read_to_string(cases).unwrap_or_default();
    text.lines().any(|line| line == format!("id = \"{name}\""))
}

#[test]
fn every_difference_names_a_test_or_says_that_there_is_none() {
    let page = page();
    let rows = rows(&page);
    assert!(rows.len() > 50, "{} rows", rows.len());
    for (id, tests) in rows {
        assert_ne!(
            tests == NONE,
            !references(tests).is_empty(),
            "{id}: {tests}"
        );
    }
}

#[test]
fn every_difference_has_an_id_of_its_own() {
    let page = page();
    let ids: Vec<_> = rows(&page).into_iter().map(|(id, _)| id).collect();
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
}

#[test]
fn the_tests_that_are_named_exist() {
    let page = page();
    let missing: Vec<_> = references(&page)
        .into_iter()
        .filter(|(prefix, name)| !exists(prefix, name))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_tests_that_the_readme_names_exist() {
    let page = fs::read_to_string(root().join("README.md")).unwrap_or_default();
    let references = references(&page);
    assert!(references.len() >= 8, "{references:?}");
    for (prefix, name) in references {
        assert!(exists(prefix, name), "{prefix}: {name}");
    }
    let topics = page.lines().filter(|line| line.starts_with('|'));
    let tests = topics.filter_map(|line| line.trim_end_matches('|').rsplit('|').next());
    let named = tests.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    for topic in named.filter(|name| !name.contains([' ', ':', '/'])) {
        let cases = root().join(format!("testing/cases/{topic}.toml"));
        assert!(cases.is_file(), "{topic}");
    }
}

/// All that is between backquotes, also where a line ends within it; each paragraph by itself, so that
/// a backquote too many spoils no more than one.
fn quotations(page: &str) -> Vec<String> {
    let paragraphs = page.split("\n\n");
    let quoted = paragraphs.flat_map(|text| text.split('`').skip(1).step_by(2));
    let in_one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    quoted.map(in_one_line).collect()
}

/// A test is named by a sentence.
fn is_sentence(word: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    word.chars().all(is_letter) && word.matches('_').count() >= 3
}

#[test]
fn the_tests_that_the_threat_model_names_exist() {
    let page = fs::read_to_string(root().join("SECURITY.md")).unwrap_or_default();
    let quoted = quotations(&page);
    let text: String = quoted
        .iter()
        .map(|quoted| format!("`{quoted}`\n"))
        .collect();
    let references = references(&text);
    assert!(
        references.len() >= 60,
        "{}: {references:?}",
        references.len()
    );
    let missing: Vec<_> = references
        .iter()
        .filter(|(prefix, name)| !exists(prefix, name))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
    let bare: Vec<_> = quoted.iter().filter(|word| is_sentence(word)).collect();
    assert!(bare.is_empty(), "of what? {bare:#?}");
}

#[test]
fn the_tests_that_the_protocol_names_exist() {
    let page = fs::read_to_string(root().join("docs/spa-protocol.md")).unwrap_or_default();
    let quoted = quotations(&page);
    let names: Vec<_> = quoted.iter().filter(|word| is_sentence(word)).collect();
    assert!(names.len() >= 12, "{}: {names:?}", names.len());
    let missing: Vec<_> = names.iter().filter(|name| !exists("spa", name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
