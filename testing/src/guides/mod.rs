//! The guides, done line by line as their reader would, on machines that are namespaces; and wrong
//! guides, which must fail. `testing/README.md` says how a guide says what to run.

mod machine;
pub mod mark;
mod output;
pub mod page;
mod world;
mod wrong;

use std::fs;
use std::path::{Path, PathBuf};

use self::page::{Command, Item};
use self::world::World;
use crate::Result;
use crate::scenario::{Programs, Scenario};

/// What has to be installed: no more than for other scenarios.
const NEEDS: [&str; 12] = [
    "unshare",
    "mount",
    "timeout",
    "python3",
    "ip",
    "iptables",
    "nft",
    "setpriv",
    "tcpdump",
    "sshd",
    "ssh",
    "ssh-keygen",
];

/// If this variable is set, all commands are shown with what they print, for those who write a page.
const TRANSCRIPT: &str = "GUIDES_TRANSCRIPT";

/// All pages, and what proves that they are looked at.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let pages = pages().into_iter().map(|path| {
        let name = format!("guide: {}", short(&path));
        Scenario::new(name, &NEEDS, move |programs| follow(&path, programs)).for_root()
    });
    pages.chain(wrong::scenarios()).collect()
}

/// The pages whose commands are run: every guide, the one for migration, and the README.
#[must_use]
pub fn pages() -> Vec<PathBuf> {
    let root = root();
    let guides = fs::read_dir(root.join("docs/guide")).into_iter().flatten();
    let mut pages: Vec<_> = guides.flatten().map(|entry| entry.path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    pages.extend([root.join("docs/migrate.md"), root.join("README.md")]);
    pages
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The name of a page: its path from the root of the repository.
#[must_use]
pub fn short(path: &Path) -> String {
    let name = path.strip_prefix(root()).unwrap_or(path);
    name.display().to_string()
}

fn follow(path: &Path, programs: &Programs) -> Result<()> {
    let text = fs::read_to_string(path)?;
    let skipped = follow_text(&text, programs)?;
    for (line, reason) in skipped {
        println!("      {} line {line} is not run: {reason}", short(path));
    }
    Ok(())
}

/// Does all that a page says; what of it cannot be done here, with its line and the reason.
fn follow_text(text: &str, programs: &Programs) -> Result<Vec<(usize, String)>> {
    let (items, mistakes) = page::read(text);
    if !mistakes.is_empty() {
        return Err(mistakes.join("\n").into());
    }
    let mut skipped = Vec::new();
    let mut world = None;
    let (mut printed, mut all_printed) = (String::new(), String::new());
    for item in items {
        match item {
            Item::Afresh => world = None,
            Item::Skip { line, reason } => skipped.push((line, reason)),
            Item::See { line, lines } => {
                let seen = output::compare(&lines, &printed, true);
                seen.map_err(|why| format!("line {line}: {why}"))?;
            }
            Item::Write {
                machine,
                path,
                text,
            } => made(&mut world, programs)?.write(machine, &path, &text)?,
            Item::Run(command) => {
                let command = copied(command, &all_printed)?;
                printed = run(made(&mut world, programs)?, &command)?;
                all_printed.push_str(&printed);
            }
        }
    }
    Ok(skipped)
}

/// A command whose comment begins with `your line` is an example: in its place the reader takes the line
/// that was printed, known by the same first two words.
fn copied(mut command: Command, printed: &str) -> Result<Command> {
    let Some((example, _)) = command.text.split_once(" # your line") else {
        return Ok(command);
    };
    let begin = |line: &str| {
        let words: Vec<_> = line.split_whitespace().take(2).collect();
        words.join(" ")
    };
    let mut lines = printed.lines().rev();
    let line = lines.find(|line| begin(line) == begin(example));
    let line = line.ok_or_else(|| {
        let number = command.line;
        format!(
            "line {number}: no line like `{}` was printed",
            example.trim()
        )
    })?;
    line.trim().clone_into(&mut command.text);
    Ok(command)
}

/// The machines, made when they are needed first.
fn made<'a>(world: &'a mut Option<World>, programs: &Programs) -> Result<&'a mut World> {
    if world.is_none() {
        *world = Some(World::new(programs)?);
    }
    world.as_mut().ok_or_else(|| "no machines".into())
}

fn run(world: &mut World, command: &Command) -> Result<String> {
    let place = || {
        let (line, machine, text) = (command.line, command.machine, &command.text);
        format!("line {line}: `{text}` on {machine}")
    };
    let outcome = world
        .run(command)
        .map_err(|why| format!("{}: {why}", place()))?;
    let printed = outcome.said;
    if std::env::var_os(TRANSCRIPT).is_some() {
        println!("{} {}\n{printed}", command.machine, command.text);
    }
    world::ended(command.end, outcome.status)
        .map_err(|why| format!("{}: {why}; it printed\n{printed}", place()))?;
    if !command.prints.is_empty() {
        let seen = output::compare(&command.prints, &printed, false);
        seen.map_err(|why| format!("{}: {why}", place()))?;
    }
    Ok(printed)
}
