//! A page of documentation as what its reader does, in order. `testing/README.md` has the notation.

use std::fmt;

use super::machine::quote;
use super::mark::{self, Mark};
use super::output::is_like;

/// Where a command runs.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum Machine {
    /// Where `knockd` runs.
    Server,
    /// The reader's own.
    Client,
    /// A second client, whose addresses are translated by [`Machine::Carrier`].
    Phone,
    /// The router between the phone and the rest.
    Carrier,
    /// An ssh session on the server, which came from the client.
    Session,
}

impl Machine {
    /// All, with the words of marks and prompts for them.
    const NAMES: [(&'static str, Self); 6] = [
        ("server", Self::Server),
        ("client", Self::Client),
        ("phone", Self::Phone),
        ("carrier", Self::Carrier),
        ("session", Self::Session),
        ("you@server", Self::Session),
    ];

    /// The machine of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let mut all = Self::NAMES.into_iter();
        all.find(|(known, _)| *known == name).map(|(_, one)| one)
    }

    /// Where a program runs if nothing else is said.
    fn of_program(path: &str) -> Option<Self> {
        match path.rsplit('/').next().unwrap_or_default() {
            "knock" | "ssh" | "ssh-add" | "scp" | "ping" | "nc" | "printf" => Some(Self::Client),
            "sudo" | "knockd" | "knockctl" | "systemctl" | "journalctl" | "nft" | "iptables"
            | "ip6tables" | "sysctl" | "tcpdump" => Some(Self::Server),
            _ => None,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = Self::NAMES.into_iter();
        let name = all.find(|(_, one)| one == self).map(|(name, _)| name);
        f.write_str(name.unwrap_or_default())
    }
}

/// How a command must end.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// With this exit status.
    With(i32),
    /// With any but 0: its comment begins with `fails`.
    Badly,
    /// Not by itself, and is then interrupted: its comment begins with `hangs`.
    Never,
}

/// One command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    /// Its line in the page; the first is 1.
    pub line: usize,
    /// Where it runs.
    pub machine: Machine,
    /// What the shell gets.
    pub text: String,
    /// How it must end.
    pub end: End,
    /// All that it must print, if the page shows it.
    pub prints: Vec<String>,
}

/// What the reader does, or looks at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Item {
    /// Begins with new machines.
    Afresh,
    /// Runs a command.
    Run(Command),
    /// Writes a file.
    Write {
        /// Where.
        machine: Machine,
        /// Its path; a `~` is the reader's home.
        path: String,
        /// What is in it.
        text: String,
    },
    /// Looks at what the command before has printed, or at a part of that.
    See {
        /// Where it begins.
        line: usize,
        /// What must stand there, line by line.
        lines: Vec<String>,
    },
    /// Does nothing: this cannot be done here.
    Skip {
        /// Where it begins.
        line: usize,
        /// Why.
        reason: String,
    },
}

/// What is to be done for a page; and the mistakes in it, each with its line.
#[must_use]
pub fn read(text: &str) -> (Vec<Item>, Vec<String>) {
    let mut reader = Reader::default();
    let mut lines = text.lines().zip(1..).peekable();
    let mut is_list = false;
    let mut after_blank = true;
    while let Some((line, number)) = lines.next() {
        let trimmed = line.trim_start();
        if let Some(info) = trimmed.strip_prefix("```") {
            let indent = line.len() - trimmed.len();
            let inside = lines.by_ref().take_while(|(line, _)| line.trim() != "```");
            let body: Vec<_> = inside
                .map(|(line, number)| (line.get(indent..).unwrap_or_default(), number))
                .collect();
            reader.fence(info.trim(), number, &body);
        } else if let Some(begin) = trimmed.strip_prefix("<!--") {
            let mut comment = vec![(begin, number)];
            while !comment.last().is_some_and(|(line, _)| line.contains("-->")) {
                let Some(next) = lines.next() else { break };
                comment.push(next);
            }
            reader.comment(&comment);
        } else if line.starts_with("    ") && after_blank && !is_list {
            reader.mistake(number, "an indented block: put it between fences");
            while lines.next_if(|(line, _)| !line.trim().is_empty()).is_some() {}
        } else if !trimmed.is_empty() {
            reader.marks.clear();
            if line.len() == trimmed.len() {
                is_list = trimmed.starts_with(['*', '-']) || trimmed.starts_with(char::is_numeric);
            }
        }
        after_blank = trimmed.is_empty();
    }
    (reader.items, reader.mistakes)
}

#[derive(Default)]
struct Reader {
    items: Vec<Item>,
    mistakes: Vec<String>,
    /// Those that wait for the next fence.
    marks: Vec<Mark>,
}

impl Reader {
    fn mistake(&mut self, line: usize, text: &str) {
        self.mistakes.push(format!("line {line}: {text}"));
    }

    fn comment(&mut self, lines: &[(&str, usize)]) {
        let number = lines.first().map_or(0, |(_, number)| *number);
        let text: Vec<_> = lines.iter().map(|(line, _)| *line).collect();
        let text = text.join("\n");
        // A browser ends it at the first of them, wherever that stands.
        let Some(text) = text
            .trim_end()
            .strip_suffix("-->")
            .filter(|t| !t.contains("-->"))
        else {
            return self.mistake(
                number,
                "a comment ends with the first `-->`, and its line with it",
            );
        };
        match mark::parse(text.trim()) {
            Ok(Mark::Given) => {
                let hidden: Vec<_> = lines
                    .iter()
                    .skip(1)
                    .copied()
                    .filter(|(line, _)| line.trim() != "-->")
                    .collect();
                self.console(&hidden, None);
            }
            Ok(Mark::Afresh) => self.items.push(Item::Afresh),
            Ok(mark) => self.marks.push(mark),
            Err(why) => self.mistake(number, &why),
        }
    }

    fn fence(&mut self, info: &str, line: usize, body: &[(&str, usize)]) {
        let (mut machine, mut file, mut exit) = (None, None, None);
        let (mut typed, mut differs) = (None, Vec::new());
        let begin = self.items.len();
        for mark in std::mem::take(&mut self.marks) {
            match mark {
                Mark::NotRun(reason) => return self.items.push(Item::Skip { line, reason }),
                Mark::On(one) => machine = Some(one),
                Mark::File(one, path) => file = Some((one, path)),
                Mark::Exit(status) => exit = Some(status),
                Mark::Typed(text) => typed = Some(text),
                Mark::Differs(line) => differs.push(line),
                Mark::Given | Mark::Afresh => {}
            }
        }
        let text = || body.iter().map(|(line, _)| format!("{line}\n")).collect();
        match (info, file) {
            ("sh", None) => self.commands(body, machine, exit),
            ("console", None) => self.console(body, exit),
            ("text", None) => {
                let lines = body.iter().map(|(line, _)| (*line).to_owned()).collect();
                self.items.push(Item::See { line, lines });
            }
            ("conf", None) => self.items.push(Item::Write {
                machine: Machine::Server,
                path: "/etc/knockd.conf".into(),
                text: text(),
            }),
            (_, Some((machine, path))) => self.items.push(Item::Write {
                machine,
                path,
                text: text(),
            }),
            _ => self.mistake(line, mark::UNKNOWN_BLOCK),
        }
        let made = self.items.get_mut(begin..).unwrap_or_default();
        made.iter_mut().for_each(|item| loosen(item, &differs));
        if let (Some(Item::Run(command)), Some(typed)) = (made.first_mut(), typed) {
            let (answers, text) = (quote(&typed), &command.text);
            command.text = format!("printf %b {answers} | {text}");
        }
    }

    /// Nothing but commands.
    fn commands(&mut self, body: &[(&str, usize)], on: Option<Machine>, exit: Option<i32>) {
        let mut lines = body.iter().copied().peekable();
        let mut last = None;
        while let Some((first, line)) = lines.next() {
            if first.trim().is_empty() || first.trim_start().starts_with('#') {
                continue;
            }
            let text = whole(first, &mut lines);
            let program = text.split_whitespace().next().unwrap_or_default();
            match on.or_else(|| Machine::of_program(program)) {
                Some(machine) => {
                    last = Some(self.items.len());
                    self.items.push(Item::Run(command(line, machine, text)));
                }
                None => self.mistake(line, &mark::unknown_machine(program)),
            }
        }
        self.exits(last, exit);
    }

    /// Commands behind prompts, and what each of them prints.
    fn console(&mut self, body: &[(&str, usize)], exit: Option<i32>) {
        let begin = self.items.len();
        let mut lines = body.iter().copied().peekable();
        let mut last = None;
        while let Some((first, line)) = lines.next() {
            if let Some((machine, text)) = prompt(first) {
                let text = whole(text, &mut lines);
                last = Some(self.items.len());
                self.items.push(Item::Run(command(line, machine, text)));
                continue;
            }
            match last.and_then(|last| self.items.get_mut(last)) {
                Some(Item::Run(command)) => command.prints.push(first.to_owned()),
                _ => self.mistake(line, mark::NO_PROMPT),
            }
        }
        self.items.iter_mut().skip(begin).for_each(trim_end);
        self.exits(last, exit);
    }

    /// The last command of a block ends with `exit`.
    fn exits(&mut self, last: Option<usize>, exit: Option<i32>) {
        let item = last.and_then(|last| self.items.get_mut(last));
        if let (Some(Item::Run(command)), Some(exit)) = (item, exit) {
            command.end = End::With(exit);
        }
    }
}

/// Lines that differ each time are compared by what stays.
fn loosen(item: &mut Item, differs: &[String]) {
    let lines = match item {
        Item::See { lines, .. } => lines,
        Item::Run(command) => &mut command.prints,
        _ => return,
    };
    for line in lines {
        let same = differs.iter().find(|kept| is_like(kept, line.trim()));
        if let Some(kept) = same {
            let blanks = line.len() - line.trim_start().len();
            *line = format!("{}{kept}", " ".repeat(blanks));
        }
    }
}

/// Empty lines at the end of what is printed mean nothing.
fn trim_end(item: &mut Item) {
    if let Item::Run(command) = item {
        while command
            .prints
            .last()
            .is_some_and(|line| line.trim().is_empty())
        {
            command.prints.pop();
        }
    }
}

/// `server# knockctl check`: the machine and the command.
fn prompt(line: &str) -> Option<(Machine, &str)> {
    let (name, text) = line.split_once(['#', '$'])?;
    Some((Machine::of_name(name)?, text.strip_prefix(' ')?))
}

/// A command to its end: lines that end with a backslash go on, and so does one with `<<WORD` to
/// that word.
fn whole<'a>(
    first: &str,
    lines: &mut std::iter::Peekable<impl Iterator<Item = (&'a str, usize)>>,
) -> String {
    let mut text = first.to_owned();
    while text.ends_with('\\') {
        let Some((next, _)) = lines.next() else { break };
        text.push('\n');
        text.push_str(next);
    }
    let word = text.split_once("<<").map(|(_, rest)| rest);
    let word = word.and_then(|rest| rest.split_whitespace().next());
    if let Some(word) = word.map(|word| word.trim_matches('\'').to_owned()) {
        for (next, _) in lines {
            text.push('\n');
            text.push_str(next);
            if next == word {
                break;
            }
        }
    }
    text
}

fn command(line: usize, machine: Machine, text: String) -> Command {
    let comment = text.split_once(" # ").map(|(_, comment)| comment.trim());
    let begins = |word: &str| comment.is_some_and(|comment| comment.starts_with(word));
    let end = if begins("hangs") {
        End::Never
    } else if begins("fails") {
        End::Badly
    } else {
        End::With(0)
    };
    Command {
        line,
        machine,
        text,
        end,
        prints: Vec::new(),
    }
}
