//! The values of keys other than `sequence`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::keys::Shape;
use super::report::Report;
use super::suggest;
use super::text::{Text, is_blank};
use crate::flags::{FlagMatch, TcpFlags};
use crate::target::{Target, TargetError};
use crate::time::InUnits;

/// The longest name of an interface: `IFNAMSIZ` of `linux/if.h`, without the final NUL.
const MAX_INTERFACE: usize = 15;

/// The longest time: 136 years.
const MAX_SECONDS: u64 = 0xffff_ffff;

/// What to write for `shape`, with its words or bounds.
pub(super) fn expected(shape: Shape) -> String {
    match shape {
        Shape::Choice(words) => one_of(words),
        Shape::Number { min, max } => format!("a number from {min} to {max}"),
        Shape::Within { min, max } => {
            format!("a time from {} to {}", InUnits(min), InUnits(max))
        }
        shape => shape.expected().into(),
    }
}

/// `yes` or `no` in their spellings.
pub(super) fn switch(value: Text<'_>, report: &mut Report) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|w| value.str.eq_ignore_ascii_case(w));
    if is(&["yes", "true", "on", "1"]) {
        Some(true)
    } else if is(&["no", "false", "off", "0"]) {
        Some(false)
    } else {
        let message = format!("`{}` is neither yes nor no", value.str);
        report.error(value.span(), message, Shape::Switch.expected(), ());
        None
    }
}

/// One of `words`; its index.
pub(super) fn choice(
    value: Text<'_>,
    words: &[&'static str],
    report: &mut Report,
) -> Option<usize> {
    let found = words.iter().position(|w| value.str.eq_ignore_ascii_case(w));
    if found.is_none() {
        let help = suggest::closest(value.str, words.iter().copied());
        report.error(
            value.span(),
            format!("`{}` is not known here", value.str),
            one_of(words),
            help.map(|word| format!("did you mean `{word}`?")),
        );
    }
    found
}

/// `a, b or c`.
fn one_of(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// A whole number from `min` to `max`.
pub(super) fn number(value: Text<'_>, min: u32, max: u32, report: &mut Report) -> Option<u32> {
    let digits = value.str.bytes().all(|b| b.is_ascii_digit());
    let number = value.str.parse().ok().filter(|_| digits);
    let in_range = number.filter(|n| (min..=max).contains(n));
    if in_range.is_none() {
        let message = match number {
            Some(number) => format!("{number} is out of range"),
            None => format!("`{}` is no whole number from {min} to {max}", value.str),
        };
        report.error(
            value.span(),
            message,
            expected(Shape::Number { min, max }),
            (),
        );
    }
    in_range
}

/// A time: seconds, or a number with a unit.
pub(super) fn duration(
    value: Text<'_>,
    negative_is_zero: bool,
    report: &mut Report,
) -> Option<Duration> {
    let (negative, unsigned) = match value.str.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, value.str.strip_prefix('+').unwrap_or(value.str)),
    };
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(unsigned.len());
    let (digits, unit) = unsigned.split_at(end);
    let unit = unit.trim_start_matches(is_blank);
    let expected = Shape::Duration { negative_is_zero }.expected();
    let millis = match unit {
        _ if digits.is_empty() => None,
        "" | "s" => Some(1000),
        "ms" => Some(1),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let Some(millis) = millis else {
        let message = format!("`{}` is no time", value.str);
        report.error(value.span(), message, expected, time_help(digits, unit));
        return None;
    };
    let count: u64 = digits.parse().unwrap_or(u64::MAX);
    let total = Duration::from_millis(count.saturating_mul(millis));
    if negative && !negative_is_zero {
        let message = "a time cannot be negative";
        report.error(value.span(), message, expected, ());
        None
    } else if negative {
        report.warn(
            value.span(),
            "a negative time is read as 0",
            expected,
            "with 0 only doors of a single step can open",
        );
        Some(Duration::ZERO)
    } else if total > Duration::from_secs(MAX_SECONDS) {
        let most = format!("at most {MAX_SECONDS} seconds");
        report.error(value.span(), "the time is too long", most, ());
        None
    } else {
        Some(total)
    }
}

/// A time from `min` to `max`.
pub(super) fn duration_within(
    value: Text<'_>,
    min: Duration,
    max: Duration,
    report: &mut Report,
) -> Option<Duration> {
    let time = duration(value, false, report)?;
    if (min..=max).contains(&time) {
        return Some(time);
    }
    let message = if time < min {
        "the time is too short"
    } else {
        "the time is too long"
    };
    let expected = expected(Shape::Within { min, max });
    report.error(value.span(), message, expected, ());
    None
}

fn time_help(digits: &str, unit: &str) -> Option<String> {
    if digits.is_empty() {
        return None;
    }
    if unit.starts_with(['.', ',']) {
        return Some("write fractions in milliseconds: 1500ms".into());
    }
    let unit = unit.to_ascii_lowercase();
    let meant = match unit.get(..1)? {
        _ if unit.starts_with("ms") || unit.starts_with("mil") => "ms",
        "s" => "s",
        "m" => "m",
        "h" => "h",
        _ => return None,
    };
    Some(format!("write {digits}{meant}"))
}

/// `flags` and what `value` adds: flags with commas between them, `!` before those that must be
/// clear.
pub(super) fn flags(value: Text<'_>, flags: FlagMatch, report: &mut Report) -> Option<FlagMatch> {
    let mut flags = flags;
    let mut complete = true;
    for element in value.elements() {
        let (clear, name) = match element.str.strip_prefix('!') {
            Some(name) => (true, name),
            None => (false, element.str),
        };
        let named = TcpFlags::NAMED
            .iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known));
        match named {
            Some((_, flag)) if clear => flags = flags.and_clear(*flag),
            Some((_, flag)) => flags = flags.and_set(*flag),
            None => {
                complete = false;
                unknown_flag(element, name, report);
            }
        }
    }
    Some(flags).filter(|_| complete)
}

fn unknown_flag(element: Text<'_>, name: &str, report: &mut Report) {
    let names = TcpFlags::NAMED.map(|(name, _)| name);
    let is = |words: [&str; 2]| words.iter().any(|w| name.eq_ignore_ascii_case(w));
    let help = if name.is_empty() {
        Some("a comma stands between two flags".to_string())
    } else if is(["ece", "cwr"]) {
        Some("the flags of congestion control cannot be asked for".into())
    } else if name.contains(is_blank) {
        Some("separate the flags with commas".into())
    } else {
        suggest::closest(name, names.into_iter()).map(|near| format!("did you mean `{near}`?"))
    };
    let message = if name.is_empty() {
        "a flag is missing".into()
    } else {
        format!("unknown TCP flag `{name}`")
    };
    report.error(element.span(), message, one_of(&names), help);
}

/// Addresses or networks with commas between them.
pub(super) fn targets(value: Text<'_>, report: &mut Report) -> Option<Vec<Target>> {
    let mut targets = Vec::new();
    let mut complete = true;
    for element in value.elements() {
        match element.str.parse::<Target>() {
            Ok(target) => targets.push(target),
            Err(error) => {
                complete = false;
                bad_target(element, error, report);
            }
        }
    }
    Some(targets).filter(|_| complete)
}

fn bad_target(element: Text<'_>, error: TargetError, report: &mut Report) {
    let slash = element.str.find('/');
    match (error, slash) {
        (TargetError::Prefix { max }, Some(slash)) => report.error(
            element.at + slash + 1..element.span().end,
            format!("`{}` has no such prefix", element.str),
            format!("a number from 0 to {max}"),
            (),
        ),
        _ if element.str.is_empty() => report.error(
            element.span(),
            "an address is missing",
            Shape::Targets.expected(),
            "without `target` a door listens at the addresses of the interface",
        ),
        _ => report.error(
            element.at..element.at + slash.unwrap_or(element.str.len()),
            format!("`{}` is no address", element.str),
            Shape::Targets.expected(),
            "names of hosts are not looked up",
        ),
    }
}

/// Names of interfaces with commas between them; none for an empty value, as in the original.
pub(super) fn interfaces(value: Text<'_>, report: &mut Report) -> Option<Vec<String>> {
    if value.str.is_empty() {
        report.warn(
            value.span(),
            "without a name this line has no effect",
            Shape::Interfaces.expected(),
            (),
        );
        return Some(Vec::new());
    }
    let mut names: Vec<String> = Vec::new();
    let mut complete = true;
    for element in value.elements() {
        match interface(element, report) {
            Some(name) if !names.iter().any(|n| n == name) => names.push(name.into()),
            Some(_) => report.warn(
                element.span(),
                format!("`{}` is named twice", element.str),
                "another interface",
                (),
            ),
            None => complete = false,
        }
    }
    Some(names).filter(|_| complete)
}

/// As `dev_valid_name` of the kernel's `net/core/dev.c` has it; `eth0:1`, a label of `eth0`, is
/// `eth0`.
fn interface<'a>(element: Text<'a>, report: &mut Report) -> Option<&'a str> {
    let name = match element.str.split_once(':') {
        Some((name, _)) if !name.is_empty() => {
            report.warn(
                element.span(),
                format!("`{}` is read as `{name}`", element.str),
                "the name of an interface",
                "a label has no packets of its own; `target` asks for its address",
            );
            name
        }
        _ => element.str,
    };
    let problem = if name.is_empty() {
        "an interface is missing".into()
    } else if name.contains(is_blank) {
        format!("`{name}` has a blank in it")
    } else if name.len() > MAX_INTERFACE {
        format!("`{name}` is longer than an interface's name can be")
    } else if name.contains(['/', ':']) || name == "." || name == ".." {
        format!("`{name}` cannot be an interface")
    } else {
        return Some(name);
    };
    let expected = if name.len() > MAX_INTERFACE {
        format!("at most {MAX_INTERFACE} bytes")
    } else {
        Shape::Interfaces.expected().into()
    };
    let help = name
        .contains(is_blank)
        .then(|| "separate the names with commas".into());
    report.error(element.span(), problem, expected, help);
    None
}
