//! Marks: comments of HTML above a block, which say what the reader is told in words.

use super::page::Machine;

/// What is said of a block whose kind is not known.
pub(super) const UNKNOWN_BLOCK: &str = "nothing is known of this block: call it `sh` (commands), \
     `console` (commands behind `server#`, `client$` and the like, and what they print), `text` \
     (what the command before prints) or `conf` (knockd.conf); or put a mark above it: \
     <!-- file: MACHINE:PATH --> if it is the text of a file, <!-- not run: REASON --> if it cannot \
     be done in namespaces";

/// What is said of a line of a `console` block above its first prompt.
pub(super) const NO_PROMPT: &str = "what is printed stands before every prompt: commands begin with \
     `server# `, `client$ `, `you@server$ `, `phone$ ` or `carrier# `";

/// A mark.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Mark {
    /// `on: MACHINE`.
    On(Machine),
    /// `file: MACHINE:PATH`.
    File(Machine, String),
    /// `exit: STATUS`, of the last command.
    Exit(i32),
    /// `typed: TEXT`, what is typed at the first command; `\n` is the return key.
    Typed(String),
    /// `differs: LINE`, a line that is another one each time, with a `…` for what differs.
    Differs(String),
    /// `not run: REASON`.
    NotRun(String),
    /// `given`, and commands behind prompts, which the reader does not see.
    Given,
    /// `afresh`.
    Afresh,
}

/// How a block is told whose machine is not known.
pub(super) fn unknown_machine(program: &str) -> String {
    format!(
        "where does `{program}` run? Put <!-- on: MACHINE --> above the block \
         (server, client, session, phone or carrier)"
    )
}

/// The mark in a comment.
pub(super) fn parse(text: &str) -> Result<Mark, String> {
    let (key, value) = text.split_once(':').unwrap_or((text, ""));
    let value = value.trim();
    let machine =
        |name: &str| Machine::of_name(name).ok_or_else(|| format!("there is no machine `{name}`"));
    match key {
        "on" => Ok(Mark::On(machine(value)?)),
        "file" => {
            let (name, path) = value
                .split_once(':')
                .ok_or("a mark `file` has MACHINE:PATH")?;
            Ok(Mark::File(machine(name)?, path.trim().to_owned()))
        }
        "exit" => {
            let status = value.parse();
            status
                .map(Mark::Exit)
                .map_err(|_| format!("`{value}` is no exit status"))
        }
        "typed" => Ok(Mark::Typed(value.to_owned())),
        "differs" => Ok(Mark::Differs(value.to_owned())),
        "not run" if value.split_whitespace().count() < 2 => {
            Err("a mark `not run` has a reason, in words".into())
        }
        "not run" => Ok(Mark::NotRun(value.to_owned())),
        "afresh" => Ok(Mark::Afresh),
        _ if text.starts_with("given\n") => Ok(Mark::Given),
        _ => Err(format!(
            "`{key}` is no mark: there are on, file, exit, typed, differs, not run, given, \
             afresh"
        )),
    }
}
