//! The options before a key: their names, and how they are written (AUTHORIZED_KEYS FILE FORMAT in
//! sshd(8)).

use alloc::string::String;
use core::ops::Range;

/// What an option is to us.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Known {
    From,
    ExpiryTime,
    CertAuthority,
    Principals,
    VerifyRequired,
    NoTouchRequired,
    Doors,
    /// For the session that comes after; with a value or without.
    Session {
        value: bool,
    },
}

impl Known {
    const ALL: [(&'static str, Self); 25] = [
        ("from", Self::From),
        ("expiry-time", Self::ExpiryTime),
        ("cert-authority", Self::CertAuthority),
        ("principals", Self::Principals),
        ("verify-required", Self::VerifyRequired),
        ("no-touch-required", Self::NoTouchRequired),
        ("doors", Self::Doors),
        ("restrict", Self::Session { value: false }),
        ("agent-forwarding", Self::Session { value: false }),
        ("no-agent-forwarding", Self::Session { value: false }),
        ("port-forwarding", Self::Session { value: false }),
        ("no-port-forwarding", Self::Session { value: false }),
        ("X11-forwarding", Self::Session { value: false }),
        ("no-X11-forwarding", Self::Session { value: false }),
        ("pty", Self::Session { value: false }),
        ("no-pty", Self::Session { value: false }),
        ("user-rc", Self::Session { value: false }),
        ("no-user-rc", Self::Session { value: false }),
        ("command", Self::Session { value: true }),
        ("environment", Self::Session { value: true }),
        ("permitopen", Self::Session { value: true }),
        ("permitlisten", Self::Session { value: true }),
        ("tunnel", Self::Session { value: true }),
        // Removed from OpenSSH, and it still reads them.
        ("no-trusted-X11-forwarding", Self::Session { value: false }),
        ("trusted-X11-forwarding", Self::Session { value: false }),
    ];

    /// sshd does not look at case.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(each, known)| each.eq_ignore_ascii_case(name).then_some(known))
    }

    pub(super) const fn wants_value(self) -> bool {
        match self {
            Self::From | Self::ExpiryTime | Self::Principals | Self::Doors => true,
            Self::CertAuthority | Self::VerifyRequired | Self::NoTouchRequired => false,
            Self::Session { value } => value,
        }
    }

    /// Whether it may stand once only. Two lists of addresses would leave open which counts.
    pub(super) const fn once(self) -> bool {
        self.wants_value() && !matches!(self, Self::Session { .. })
    }
}

/// One option as it is written; places are bytes in the line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Written {
    pub(super) name: Range<usize>,
    /// Between the quotes, `\"` read as `"`, and where that begins.
    pub(super) value: Option<(usize, String)>,
}

/// Why options cannot be taken apart.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Broken {
    /// A `"` without a second one.
    Quote(usize),
    /// Something else than a name, a comma or a blank.
    Stray(usize),
}

/// Takes apart what stands before the key; returns where that ends.
pub(super) fn take_apart(line: &str, mut each: impl FnMut(Written)) -> Result<usize, Broken> {
    let bytes = line.as_bytes();
    let byte = |at: usize| bytes.get(at).copied();
    let mut at = 0;
    loop {
        let start = at;
        while byte(at).is_some_and(|c| c.is_ascii_alphanumeric() || c == b'-') {
            at += 1;
        }
        let name = start..at;
        if name.is_empty() {
            return Err(Broken::Stray(at));
        }
        let mut value = None;
        if byte(at) == Some(b'=') {
            at += 1;
            if byte(at) != Some(b'"') {
                return Err(Broken::Stray(at));
            }
            let (text, end) = quoted(line, at).ok_or(Broken::Quote(at))?;
            value = Some((at + 1, text));
            at = end;
        }
        each(Written { name, value });
        match byte(at) {
            Some(b',') => at += 1,
            None | Some(b' ' | b'\t') => return Ok(at),
            Some(_) => return Err(Broken::Stray(at)),
        }
    }
}

/// The text after the quote at `at`, and the place after the closing one.
fn quoted(line: &str, at: usize) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut chars = line.get(at + 1..)?.char_indices().peekable();
    while let Some((offset, c)) = chars.next() {
        match c {
            '"' => return Some((text, at + 1 + offset + 1)),
            '\\' if chars.next_if(|(_, next)| *next == '"').is_some() => text.push('"'),
            other => text.push(other),
        }
    }
    None
}

/// Words between blanks.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\t']).filter(|word| !word.is_empty())
}
