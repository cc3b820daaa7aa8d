//! A report as text for a person.

use std::collections::BTreeSet;
use std::fmt::{self, Display};

use anstyle::{AnsiColor, Style};

use super::Report;
use super::names::{Named, Names};
use super::process::{Process, Seen};
use super::status::{Ids, Seccomp, Sets};
use super::verdict::{Level, Verdict};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const DOUBT: Style = AnsiColor::Yellow.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const BOLD: Style = Style::new().bold();

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for process in &self.processes {
            head(f, process)?;
            self.rights(f, process)?;
            outlook(f, process)?;
            writeln!(f)?;
        }
        writeln!(f, "{BOLD}Landlock{BOLD:#}: {}\n", self.landlock)?;
        let mut verdicts = self.verdicts.iter().peekable();
        while let Some(this) = verdicts.next() {
            let is_last = verdicts.peek().is_none_or(|next| next.help != this.help);
            verdict(f, this, this.help.filter(|_| is_last))?;
        }
        self.firewall.iter().try_for_each(|look| look.fmt(f))
    }
}

impl Report {
    fn rights(&self, f: &mut fmt::Formatter<'_>, process: &Process) -> fmt::Result {
        let rights = &process.status.rights;
        line(f, "user", ids(rights.user, |n| self.names.user(n)))?;
        line(f, "group", ids(rights.group, |n| self.names.group(n)))?;
        line(f, "other groups", groups(&rights.groups, &self.names))?;
        self.capabilities(f, &rights.capabilities)?;
        line(
            f,
            "no new privileges",
            or_unknown(rights.no_new_privs.map(yes_no)),
        )?;
        line(f, "seccomp", seccomp(rights.seccomp))?;
        line(f, "dumpable", or_unknown(process.dumpable.map(yes_no)))
    }

    fn capabilities(&self, f: &mut fmt::Formatter<'_>, sets: &Sets) -> fmt::Result {
        writeln!(f, "  capabilities")?;
        for (name, set) in [
            ("  effective", sets.effective),
            ("  permitted", sets.permitted),
            ("  inheritable", sets.inheritable),
            ("  bounding", sets.bounding),
            ("  ambient", sets.ambient),
        ] {
            line(f, name, set.describe(self.all_capabilities))?;
        }
        Ok(())
    }
}

fn head(f: &mut fmt::Formatter<'_>, process: &Process) -> fmt::Result {
    let (role, pid) = (process.role.name(), process.pid);
    let name = process.status.name.escape_debug();
    writeln!(f, "{BOLD}{role}{BOLD:#}: process {pid}, {name}")?;
    let program = seen(&process.program, |path| path.escape_debug().to_string());
    line(f, "program", program)
}

/// What it has of the world around it.
fn outlook(f: &mut fmt::Formatter<'_>, process: &Process) -> fmt::Result {
    line(f, "threads", threads(process))?;
    let namespaces = seen(&process.other_namespaces, |others| match others.len() {
        0 => "those of this command".to_owned(),
        _ => format!("its own: {}", words(others.iter(), " ")),
    });
    line(f, "namespaces", namespaces)?;
    match &process.limits {
        Seen::Read(limits) => {
            writeln!(f, "  limits")?;
            for (resource, limit) in limits.0 {
                line(f, &format!("  {}", resource.name()), limit)?;
            }
        }
        unread @ Seen::Unread { .. } => line(f, "limits", seen(unread, |_| String::new()))?,
    }
    match &process.descriptors {
        Seen::Read(descriptors) => {
            writeln!(f, "  descriptors")?;
            for descriptor in descriptors {
                line(f, &format!("  {}", descriptor.number), descriptor)?;
            }
            Ok(())
        }
        unread @ Seen::Unread { .. } => line(f, "descriptors", seen(unread, |_| String::new())),
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "  {name:<18} {value}")
}

fn ids<'a>(ids: Ids, name: impl Fn(u32) -> Named<'a>) -> String {
    if let Some(number) = ids.only() {
        return name(number).to_string();
    }
    let Ids {
        real,
        effective,
        saved,
        fs,
    } = ids;
    let named = [
        ("real", real),
        ("effective", effective),
        ("saved", saved),
        ("fs", fs),
    ];
    words(
        named
            .map(|(which, number)| format!("{which} {}", name(number)))
            .iter(),
        ", ",
    )
}

fn groups(groups: &BTreeSet<u32>, names: &Names) -> String {
    if groups.is_empty() {
        return "none".to_owned();
    }
    words(groups.iter().map(|number| names.group(*number)), ", ")
}

fn seccomp(seccomp: Option<Seccomp>) -> String {
    match seccomp {
        None => "not in this kernel".to_owned(),
        Some(Seccomp::Off) => "off".to_owned(),
        Some(Seccomp::Strict) => "strict".to_owned(),
        Some(Seccomp::Filter(None)) => "filter".to_owned(),
        Some(Seccomp::Filter(Some(n))) => format!("filter ({n})"),
    }
}

fn threads(process: &Process) -> String {
    let (count, others) = (process.status.threads, &process.other_threads);
    if others.is_empty() {
        return count.to_string();
    }
    format!(
        "{count}, of them with other rights: {}",
        words(others.iter(), " ")
    )
}

fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn or_unknown(value: Option<String>) -> String {
    value.unwrap_or_else(|| "cannot be told".to_owned())
}

fn seen<T>(seen: &Seen<T>, text: impl Fn(&T) -> String) -> String {
    match seen {
        Seen::Read(value) => text(value),
        Seen::Unread { reason } => format!("cannot be read: {reason}"),
    }
}

fn words(items: impl Iterator<Item = impl Display>, between: &str) -> String {
    items
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(between)
}

/// Help for several verdicts stands below the last of them.
fn verdict(f: &mut fmt::Formatter<'_>, verdict: &Verdict, help: Option<&str>) -> fmt::Result {
    let (style, word) = level(verdict.level);
    let (role, text) = (verdict.role.name(), &verdict.text);
    writeln!(f, "{style}{word:<8}{style:#}{role}: {text}")?;
    match help {
        Some(help) => writeln!(f, "        => {help}"),
        None => Ok(()),
    }
}

/// The word for a level, and how it looks.
pub(super) fn level(level: Level) -> (Style, &'static str) {
    match level {
        Level::Ok => (GOOD, "ok"),
        Level::Note => (DOUBT, "note"),
        Level::Unknown => (DOUBT, "unknown"),
        Level::Amiss => (BAD, "AMISS"),
    }
}
