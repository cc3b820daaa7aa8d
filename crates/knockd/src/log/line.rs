//! One line of the log, before it is known where it goes.

use std::net::IpAddr;

use crate::events::Happened;

/// How much a line matters.
#[derive(Copy, Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// What a stranger does in vain.
    Debug,
    /// What the original logs.
    Info,
    /// Something is not as it was meant.
    Warning,
    /// Something that was asked for did not happen.
    Error,
}

impl Level {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// The priority of `syslog(3)`.
    #[must_use]
    pub const fn priority(self) -> u8 {
        match self {
            Self::Debug => 7,
            Self::Info => 5,
            Self::Warning => 4,
            Self::Error => 3,
        }
    }
}

/// One line of the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// What kind of thing happened, one stable word for programs.
    pub event: &'static str,
    /// The door that it is about.
    pub door: Option<String>,
    /// The source that it is about.
    pub source: Option<IpAddr>,
    /// Whether the text is led by the source (`<ip>: …`).
    led: bool,
    /// The words after that.
    text: String,
    /// What it says to programs that want to know what happens.
    happened: Option<Box<Happened>>,
    /// Whether it is for them alone.
    quiet: bool,
}

impl Line {
    /// A line about nobody in particular.
    #[must_use]
    pub fn new(level: Level, event: &'static str, text: impl Into<String>) -> Self {
        Self {
            level,
            event,
            door: None,
            source: None,
            led: false,
            text: text.into(),
            happened: None,
            quiet: false,
        }
    }

    /// `<source>: <door>: <text>`.
    #[must_use]
    pub fn of_source(source: IpAddr, door: &str, event: &'static str, text: &str) -> Self {
        Self {
            source: Some(source),
            led: true,
            ..Self::of_door(door, event, text)
        }
    }

    /// `<door>: <text>`.
    #[must_use]
    pub fn of_door(door: &str, event: &'static str, text: &str) -> Self {
        let text = format!("{door}: {text}");
        Self {
            door: Some(door.to_owned()),
            ..Self::new(Level::Info, event, text)
        }
    }

    /// This line, about `source` although the text does not say so.
    #[must_use]
    pub fn about(self, source: IpAddr) -> Self {
        Self {
            source: Some(source),
            ..self
        }
    }

    /// This line, about the door `door` although the text does not say so.
    #[must_use]
    pub fn of(self, door: &str) -> Self {
        Self {
            door: Some(door.to_owned()),
            ..self
        }
    }

    /// This line at `level`.
    #[must_use]
    pub fn at(self, level: Level) -> Self {
        Self { level, ..self }
    }

    /// This line, about something that programs are told of too.
    #[must_use]
    pub fn means(self, happened: Happened) -> Self {
        Self {
            happened: Some(Box::new(happened)),
            ..self
        }
    }

    /// This, as an event and no line: the log says it otherwise, or has enough.
    #[must_use]
    pub fn quietly(self) -> Self {
        Self {
            quiet: true,
            ..self
        }
    }

    /// Whether the log is to have it.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// What it means to programs.
    #[must_use]
    pub fn happened(&self) -> Option<&Happened> {
        self.happened.as_deref()
    }

    /// Whether the text is led by the source, so that the source's name belongs into it.
    #[must_use]
    pub const fn is_led(&self) -> bool {
        self.led
    }

    /// The text, with the source's name `host` where the line is led by its source, and without
    /// control characters, so that it stays one line whatever it quotes.
    #[must_use]
    pub fn message(&self, host: Option<&str>) -> String {
        let mut message = String::with_capacity(self.text.len() + 64);
        if let (true, Some(source)) = (self.led, self.source) {
            message.push_str(&source.to_string());
            if let Some(host) = host {
                message.push_str(" (");
                escape_into(&mut message, host);
                message.push(')');
            }
            message.push_str(": ");
        }
        escape_into(&mut message, &self.text);
        message
    }
}

/// `text` without control characters: `\n` is `\n`, others are `\x1b` or `\u{9b}`. A tab stays,
/// because commands have them.
pub(super) fn escape_into(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\t' => out.push('\t'),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                out.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
}
