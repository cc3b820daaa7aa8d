//! How things look: with colour or without, in Unicode or ASCII.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::{bar, border};

/// What the terminal, and who sits there, can read.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) colour: bool,
    pub(super) unicode: bool,
    pub(super) zone: TimeZone,
}

/// How much something wants to be seen.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Tone {
    Plain,
    Title,
    Dim,
    Good,
    Warning,
    Bad,
    /// What keys work on.
    Chosen,
}

impl Look {
    /// What the environment says: `NO_COLOR` (no-color.org), and of the locale its character set.
    pub(super) fn from_environment() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = set("LC_ALL")
            .or_else(|| set("LC_CTYPE"))
            .or_else(|| set("LANG"));
        Self {
            colour: set("NO_COLOR").is_none(),
            unicode: locale.is_some_and(|locale| is_utf8(&locale)),
            zone: TimeZone::system(),
        }
    }

    /// The style of a tone. Without colour each still differs where it must.
    pub(super) fn style(&self, tone: Tone) -> Style {
        let (colour, modifier) = match tone {
            Tone::Plain => (None, Modifier::empty()),
            Tone::Title => (Some(Color::Cyan), Modifier::BOLD),
            Tone::Dim => (None, Modifier::DIM),
            Tone::Good => (Some(Color::Green), Modifier::empty()),
            Tone::Warning => (Some(Color::Yellow), Modifier::BOLD),
            Tone::Bad => (Some(Color::Red), Modifier::BOLD),
            Tone::Chosen => (None, Modifier::REVERSED),
        };
        let style = Style::new().add_modifier(modifier);
        match colour {
            Some(colour) if self.colour => style.fg(colour),
            _ => style,
        }
    }

    /// `text` in characters that the terminal shows one after the other: none that controls it or turns
    /// the direction of writing round, and in ASCII no other.
    pub(super) fn clean(&self, text: &str) -> String {
        let one = |c: char| match c {
            _ if c.is_control() => '?',
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => '?',
            _ if !self.unicode && !c.is_ascii() => '?',
            _ => c,
        };
        text.chars().map(one).collect()
    }

    /// A time on the wall.
    pub(super) fn clock(&self, time: Timestamp) -> String {
        let there = time.to_zoned(self.zone.clone());
        format!(
            "{:02}:{:02}:{:02}",
            there.hour(),
            there.minute(),
            there.second()
        )
    }

    /// Steps taken and steps to take, at most `width` of them.
    pub(super) fn steps(&self, taken: u16, all: u16, width: u16) -> String {
        let (done, open) = if self.unicode {
            ("●", "○")
        } else {
            ("#", "-")
        };
        if all > width {
            return String::new();
        }
        let left = usize::from(all.saturating_sub(taken));
        done.repeat(usize::from(taken.min(all))) + &open.repeat(left)
    }

    pub(super) const fn border(&self) -> border::Set<'static> {
        if self.unicode {
            return border::PLAIN;
        }
        border::Set {
            top_left: "+",
            top_right: "+",
            bottom_left: "+",
            bottom_right: "+",
            vertical_left: "|",
            vertical_right: "|",
            horizontal_top: "-",
            horizontal_bottom: "-",
        }
    }

    pub(super) const fn bars(&self) -> bar::Set<'static> {
        if self.unicode {
            return bar::NINE_LEVELS;
        }
        bar::Set {
            full: "#",
            seven_eighths: "%",
            three_quarters: "*",
            five_eighths: "+",
            half: "=",
            three_eighths: "-",
            one_quarter: ":",
            one_eighth: ".",
            empty: " ",
        }
    }
}

fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// A time that is left or has passed: `0:09`, `1:02:03`, `3d 4h`.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}:{rest:02}"),
        (0, _) => format!("{hours}:{minutes:02}:{rest:02}"),
        _ => format!("{days}d {hours}h"),
    }
}

/// A number in at most five characters: `9999`, `12.3k`, `456M`.
pub(super) fn short(number: u64) -> String {
    const UNITS: [char; 6] = ['k', 'M', 'G', 'T', 'P', 'E'];
    if number < 10_000 {
        return number.to_string();
    }
    let mut tenths = number / 100;
    for unit in UNITS {
        if tenths < 1000 {
            return format!("{}.{}{unit}", tenths / 10, tenths % 10);
        }
        if tenths < 10_000 {
            return format!("{}{unit}", tenths / 10);
        }
        tenths /= 1000;
    }
    "many".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let numbers = [
            0,
            9_999,
            10_000,
            99_999,
            123_456,
            999_999,
            1_000_000,
            u64::MAX,
        ];
        let short: Vec<_> = numbers.map(short).to_vec();
        let expected = [
            "0", "9999", "10.0k", "99.9k", "123k", "999k", "1.0M", "18.4E",
        ];
        assert_eq!(short, expected);
    }

    #[test]
    fn times_are_short() {
        let times = [9, 83, 3723, 273_600].map(|s| span(Duration::from_secs(s)));
        assert_eq!(times, ["0:09", "1:23", "1:02:03", "3d 4h"]);
    }

    #[test]
    fn no_text_controls_the_terminal() {
        let look = |unicode| Look {
            colour: true,
            unicode,
            zone: TimeZone::UTC,
        };
        let text = "a\u{1b}[2J\u{202e}b\nö";
        assert_eq!(look(true).clean(text), "a?[2J?b?ö");
        assert_eq!(look(false).clean(text), "a?[2J?b??");
    }
}
