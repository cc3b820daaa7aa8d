//! The pages whose commands the program `guides` runs: what can be said of them without running any.

use std::fs;
use std::path::{Path, PathBuf};

use testbed::guides::page::{self, Command, End, Item, Machine};
use testbed::guides::{pages, short};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// All blocks that are not run, with their pages.
fn skipped() -> Vec<(String, String)> {
    let reasons = |path: PathBuf| {
        let (items, _) = page::read(&text(&path));
        let reason = move |item| match item {
            Item::Skip { reason, .. } => Some((short(&path), reason)),
            _ => None,
        };
        items.into_iter().filter_map(reason)
    };
    pages().into_iter().flat_map(reasons).collect()
}

#[test]
fn every_block_says_what_it_is_and_where_it_runs() {
    let pages = pages();
    assert!(pages.len() >= 9, "{pages:?}");
    let mistakes = pages.iter().flat_map(|path| {
        let (_, mistakes) = page::read(&text(path));
        let name = short(path);
        mistakes.into_iter().map(move |why| format!("{name} {why}"))
    });
    let mistakes: Vec<_> = mistakes.collect();
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

/// Who adds to what is not run raises this number, and is asked why.
#[test]
fn few_blocks_are_not_run() {
    const AT_MOST: usize = 24;
    let skipped = skipped();
    assert!(skipped.len() <= AT_MOST, "{skipped:#?}");
}

#[test]
fn most_pages_have_commands_that_run() {
    for path in pages() {
        let (items, _) = page::read(&text(&path));
        let runs = items.iter().any(|item| matches!(item, Item::Run(_)));
        let is_index = path.ends_with("guide/README.md");
        assert_eq!(runs, !is_index, "{}", path.display());
    }
}

#[test]
fn the_index_has_every_guide() {
    let index = text(&root().join("docs/guide/README.md"));
    for path in pages() {
        let name = short(&path);
        let guide = name.strip_prefix("docs/guide/");
        let has_it = |name| name == "README.md" || index.contains(&format!("({name})"));
        assert!(
            guide.is_none_or(has_it),
            "docs/guide/README.md does not name {name}"
        );
    }
}

/// As GitHub makes them of headings.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn links_lead_somewhere() {
    for path in pages() {
        let page = text(&path);
        let here = path.parent().unwrap_or(Path::new("."));
        let links = page.split("](").skip(1);
        for link in links.filter_map(|rest| rest.split(')').next()) {
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                here.join(file)
            };
            assert!(target.exists(), "{}: {link}", path.display());
            let leads = place.is_empty() || anchors(&text(&target)).iter().any(|one| one == place);
            assert!(leads, "{}: {link}", path.display());
        }
    }
}

fn read(text: &str) -> Vec<Item> {
    let (items, mistakes) = page::read(text);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    items
}

fn command(line: usize, machine: Machine, text: &str) -> Command {
    Command {
        line,
        machine,
        text: text.into(),
        end: End::With(0),
        prints: Vec::new(),
    }
}

#[test]
fn a_block_of_commands_runs_where_its_programs_do_or_where_a_mark_says() {
    let items = read("```sh\nsudo a \\\n  b\n# no\nknock h 1  # hangs: why\n```\n");
    let mut hangs = command(5, Machine::Client, "knock h 1  # hangs: why");
    hangs.end = End::Never;
    let first = command(2, Machine::Server, "sudo a \\\n  b");
    assert_eq!(items, [Item::Run(first), Item::Run(hangs)]);
    let items = read("<!-- on: session -->\n<!-- exit: 3 -->\n\n```sh\ntrue\n```\n");
    let mut there = command(5, Machine::Session, "true");
    there.end = End::With(3);
    assert_eq!(items, [Item::Run(there)]);
}

#[test]
fn behind_a_prompt_stands_a_command_and_below_it_what_it_prints() {
    let items = read("```console\nserver# cat <<END\na\nEND\na\n\nyou@server$ id\n```\n");
    let mut cat = command(2, Machine::Server, "cat <<END\na\nEND");
    cat.prints = vec!["a".into()];
    let id = command(7, Machine::Session, "id");
    assert_eq!(items, [Item::Run(cat), Item::Run(id)]);
}

#[test]
fn what_the_reader_does_not_see_is_run_too() {
    let items = read("<!-- afresh -->\n<!-- given\nclient$ x\n-->\ntext\n");
    let given = command(3, Machine::Client, "x");
    assert_eq!(items, [Item::Afresh, Item::Run(given)]);
}

#[test]
fn what_is_typed_is_what_the_first_command_reads() {
    let items = read("<!-- typed: 1 2\\n -->\n```sh\nknock a\nknock b\n```\n");
    let first = command(3, Machine::Client, "printf %b '1 2\\n' | knock a");
    let second = command(4, Machine::Client, "knock b");
    assert_eq!(items, [Item::Run(first), Item::Run(second)]);
}

#[test]
fn of_a_line_that_differs_the_rest_must_be_as_shown() {
    let items = read("<!-- differs: take … now -->\n```text\n  take 5 now\ntake 5 later\n```\n");
    let lines = vec!["  take … now".to_owned(), "take 5 later".to_owned()];
    assert_eq!(items, [Item::See { line: 2, lines }]);
}

#[test]
fn a_mark_holds_for_the_next_block_alone() {
    let text = "<!-- not run: no phone here -->\n```sh\nx\n```\n\n```sh\nsudo y\n```\n";
    let skip = Item::Skip {
        line: 2,
        reason: "no phone here".into(),
    };
    let run = command(7, Machine::Server, "sudo y");
    assert_eq!(read(text), [skip, Item::Run(run)]);
    // What stands between takes it away.
    let (_, mistakes) = page::read("<!-- on: client -->\ntext\n```sh\nx\n```\n");
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
}

#[test]
fn what_cannot_be_understood_is_a_mistake_with_its_line() {
    for (text, said) in [
        ("```\nx\n```\n", "line 1: nothing is known of this block"),
        ("```sh\nx y\n```\n", "line 2: where does `x` run?"),
        ("\n    x\n", "line 2: an indented block"),
        (
            "<!-- not run: -->\n",
            "line 1: a mark `not run` has a reason",
        ),
        ("<!-- on: moon -->\n", "line 1: there is no machine `moon`"),
        (
            "<!-- on: client --> x\n",
            "line 1: a comment ends with the first",
        ),
        (
            "<!-- given\nclient$ echo '-->'\n-->\n",
            "line 1: a comment ends with",
        ),
        ("<!-- once -->\n", "line 1: `once` is no mark"),
        (
            "```console\nx\nclient$ y\n```\n",
            "line 2: what is printed stands before",
        ),
    ] {
        let (_, mistakes) = page::read(text);
        let first = mistakes.first().map_or("", String::as_str);
        assert!(first.starts_with(said), "{text}: {mistakes:?}");
    }
}
