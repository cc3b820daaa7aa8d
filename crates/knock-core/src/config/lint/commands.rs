//! Commands that will not do what they seem to.
//!
//! A command is any text for a shell, so these look for the well-known words of the old recipes
//! and stay silent about everything else.

use alloc::format;
use core::ops::Range;

use super::super::keys::Key;
use super::super::report::Report;
use super::Linted;
use crate::template::Template;

/// Programs that change firewalls, without their directories.
const IPTABLES: [&str; 3] = ["iptables", "iptables-nft", "iptables-legacy"];
const IP6TABLES: [&str; 3] = ["ip6tables", "ip6tables-nft", "ip6tables-legacy"];
const NFT: [&str; 1] = ["nft"];

const ADDS: [&str; 6] = ["-A", "-I", "--append", "--insert", "add", "insert"];
const REMOVES: [&str; 6] = ["-D", "-F", "--delete", "--flush", "delete", "flush"];

/// What a template replaces.
const PLACEHOLDERS: [&str; 3] = ["%IP%", "%DOOR%", "%FAMILY%"];

pub(super) fn lint(doors: &[Linted<'_>], report: &mut Report) {
    let closed = doors.iter().any(|linted| {
        let mut texts = commands(linted).into_iter().flatten();
        texts.any(|(.., text)| text.has(&REMOVES))
    });
    for linted in doors {
        for (key, text) in commands(linted).into_iter().flatten() {
            placeholders(&text, report);
            if matches!(key, Key::StartCommand | Key::StartCommand6) {
                start(linted, key, &text, closed, report);
            }
        }
    }
}

fn start(linted: &Linted<'_>, key: Key, text: &Command<'_>, closed: bool, report: &mut Report) {
    let adds = text.is_firewall() && text.has(&ADDS);
    if let Some(span) = text.appends() {
        report.warn(
            span,
            "this rule goes to the end of the chain",
            "`-I`, which puts it first",
            "behind a rule that drops or rejects it has no effect",
        );
    }
    if adds && !text.str.contains("%IP%") && !text.str.contains("KNOCK_") {
        report.warn(
            text.span(),
            "this opens for everybody, not only for who knocked",
            "`%IP%` in it, the address of who knocked",
            (),
        );
    }
    let action = &linted.door.action;
    let commands = match key {
        Key::StartCommand => action.v4.as_ref(),
        _ => action.v6.as_ref(),
    };
    let stops = commands.is_some_and(|c| c.stop.is_some());
    if adds && !stops && !closed && !text.str.contains("timeout") {
        report.warn(
            text.span(),
            "what this opens is never closed",
            "a `stop_command` beside it, or a door that closes it",
            (),
        );
    }
    let targets = &linted.door.trigger.targets;
    let ipv6 = targets.is_empty() || targets.iter().any(|target| !target.is_ipv4());
    let falls_back = linted.places.value(Key::StartCommand6).is_none();
    if key == Key::StartCommand && ipv6 && falls_back && text.has_program(&IPTABLES) {
        report.warn(
            text.span(),
            "a knock over IPv6 runs this too, and iptables knows no IPv6 address",
            "a `start_command_6` beside it",
            "with ip6tables; or empty, to run nothing",
        );
    }
}

/// `%ip%` and the like stay as they are.
fn placeholders(text: &Command<'_>, report: &mut Report) {
    for (i, _) in text.str.match_indices('%') {
        let Some(rest) = text.str.get(i..) else {
            continue;
        };
        for placeholder in PLACEHOLDERS {
            let written = rest.get(..placeholder.len()).unwrap_or_default();
            if written != placeholder && written.eq_ignore_ascii_case(placeholder) {
                let at = text.at + i;
                report.warn(
                    at..at + written.len(),
                    format!("`{written}` is not replaced"),
                    format!("`{placeholder}`, in capitals"),
                    (),
                );
            }
        }
    }
}

/// A command and where it stands.
struct Command<'a> {
    str: &'a str,
    at: usize,
}

/// The commands of a door that are given and not empty.
fn commands<'a>(linted: &Linted<'a>) -> [Option<(Key, Command<'a>)>; 7] {
    let action = &linted.door.action;
    let (v4, v6) = (action.v4.as_ref(), action.v6.as_ref());
    let stop = |commands: Option<&'a crate::door::Commands>| commands?.stop.as_ref();
    [
        (Key::StartCommand, v4.map(|c| &c.start)),
        (Key::StartCommand6, v6.map(|c| &c.start)),
        (Key::StopCommand, stop(v4).or(stop(v6))),
        (Key::StopCommand6, stop(v6)),
        (Key::OnOpen, action.hooks.open.as_ref()),
        (Key::OnClose, action.hooks.close.as_ref()),
        (Key::OnRefuse, action.hooks.refuse.as_ref()),
    ]
    .map(|(key, template): (Key, Option<&'a Template>)| {
        let span = linted.places.value(key).filter(|span| !span.is_empty())?;
        let str = template?.as_str();
        Some((
            key,
            Command {
                str,
                at: span.start,
            },
        ))
    })
}

impl<'a> Command<'a> {
    fn span(&self) -> Range<usize> {
        self.at..self.at + self.str.len()
    }

    /// Its words, as far as blanks and the shell's signs divide it, each with its offset. All
    /// that divides is a single byte.
    fn words(&self) -> impl Iterator<Item = (usize, &'a str)> {
        let divides = |c: char| c.is_ascii_whitespace() || ";&|()\"'`".contains(c);
        let parts = self.str.split(divides).scan(0, |next, part| {
            let at = *next;
            *next += part.len() + 1;
            Some((at, part))
        });
        parts.filter(|(_, word)| !word.is_empty())
    }

    fn has(&self, wanted: &[&str]) -> bool {
        self.words().any(|(_, word)| wanted.contains(&word))
    }

    fn has_program(&self, wanted: &[&str]) -> bool {
        self.words().any(|(_, word)| {
            let name = word.rsplit('/').next().unwrap_or(word);
            wanted.contains(&name)
        })
    }

    fn is_firewall(&self) -> bool {
        self.has_program(&IPTABLES) || self.has_program(&IP6TABLES) || self.has_program(&NFT)
    }

    /// The `-A` of a rule for packets that come in.
    fn appends(&self) -> Option<Range<usize>> {
        if !self.has_program(&IPTABLES) && !self.has_program(&IP6TABLES) {
            return None;
        }
        let pairs = self.words().zip(self.words().skip(1));
        let mut appends = pairs.filter(|((_, word), (_, chain))| {
            ["-A", "--append"].contains(word) && ["INPUT", "FORWARD"].contains(chain)
        });
        let ((offset, word), _) = appends.next()?;
        let at = self.at + offset;
        Some(at..at + word.len())
    }
}
