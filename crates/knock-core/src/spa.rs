//! Single-packet authorization: who may open a door with one sealed packet, and how long such a
//! packet is.
//!
//! What is in a packet, and whether it is genuine, is not known here.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::sequence::is_blank;

/// How a door is opened by a sealed packet (`authorized_keys` and what belongs to it).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spa {
    /// Where the public keys are of those who may open it: at least one, at most
    /// [`Spa::MAX_SOURCES`].
    pub keys: Vec<KeySource>,
    /// The longest time that a client may ask for (`ttl_max`): from [`crate::door::Native::MIN_TIME`]
    /// to [`crate::door::Native::MAX_TIME`]. `None` for no longer than the door is open anyway, which is its
    /// `open_for` for what the kernel opens and its `cmd_timeout` for commands.
    pub ttl_max: Option<Duration>,
    /// Whether the client must confirm its address with a second packet, if the first has not
    /// claimed one.
    pub confirm: bool,
    /// Whether a packet that does not claim its source address is refused.
    pub require_claim: bool,
}

impl Spa {
    /// The shortest payload of a sealed packet, in bytes.
    pub const MIN: u16 = 64;

    /// The longest payload of a sealed packet, in bytes: with its headers it fits the smallest
    /// packet that every link of IPv6 carries (RFC 8200, 5: 1,280 bytes).
    pub const MAX: u16 = 1_200;

    /// The shortest payload of a code on paper, in bytes: sixteen characters.
    pub const CODE_MIN: u16 = 16;

    /// The longest: with three hyphens and the end of a line.
    pub const CODE_MAX: u16 = 21;

    /// Where sealed packets arrive if nothing is said.
    pub const PORT: u16 = 51_443;

    /// The most ports at which they arrive: each costs instructions of the kernel's filter.
    pub const MAX_PORTS: usize = 8;

    /// The most places of keys that a door names.
    pub const MAX_SOURCES: usize = 64;

    /// How far the time in a packet may be from ours if nothing is said.
    pub const WINDOW: Duration = Duration::from_secs(60);

    /// The least of it: clocks and networks are no better.
    pub const MIN_WINDOW: Duration = Duration::from_secs(5);

    /// The most of it: packets are remembered for so long.
    pub const MAX_WINDOW: Duration = Duration::from_secs(600);

    /// Where what must outlive the daemon is kept if nothing is said.
    pub const STATE_DIR: &'static str = "/var/lib/knockd";

    /// Whether a payload of so many bytes can be a sealed packet.
    #[must_use]
    pub fn fits(bytes: usize) -> bool {
        (usize::from(Self::MIN)..=usize::from(Self::MAX)).contains(&bytes)
    }

    /// Whether a payload of so many bytes can be a code on paper.
    #[must_use]
    pub fn fits_code(bytes: usize) -> bool {
        (usize::from(Self::CODE_MIN)..=usize::from(Self::CODE_MAX)).contains(&bytes)
    }
}

/// A file of public keys, or a pattern for several: from `/` on, or below the home of an account.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeySource {
    account: Option<String>,
    /// From `/` on; below the home if there is an account.
    path: String,
}

/// Why a text names no place of keys.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum KeySourceError {
    /// There is nothing.
    Empty,
    /// It begins neither with `/` nor with `~`.
    Relative,
    /// `~` without a name: it would depend on who started the daemon.
    NoAccount,
    /// What follows `~` can be no name of an account.
    BadAccount,
    /// It ends where a directory does.
    Directory,
    /// `**`, which elsewhere goes down into directories.
    Recursive,
}

impl KeySource {
    /// The place that `text` names: `/etc/knockd/keys/*`, `~admin/.ssh/authorized_keys`.
    ///
    /// # Errors
    /// If it names none.
    pub fn new(text: &str) -> Result<Self, KeySourceError> {
        let (account, path) = match text.strip_prefix('~') {
            _ if text.is_empty() => return Err(KeySourceError::Empty),
            None => (None, text),
            Some(rest) => {
                let (account, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                if account.is_empty() {
                    return Err(KeySourceError::NoAccount);
                }
                if account.contains(|c| is_blank(c) || is_wildcard(c)) {
                    return Err(KeySourceError::BadAccount);
                }
                (Some(account), path)
            }
        };
        if path.is_empty() || path.ends_with('/') {
            return Err(KeySourceError::Directory);
        }
        if !path.starts_with('/') {
            return Err(KeySourceError::Relative);
        }
        if path.contains("**") {
            return Err(KeySourceError::Recursive);
        }
        Ok(Self {
            account: account.map(String::from),
            path: path.into(),
        })
    }

    /// The account whose home the path is below, if it is.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// The path, which begins with `/`; below the home of [`KeySource::account`], if there is one.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The names on the way to the file, outermost first; what [`matches()`] takes for a pattern.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter(|name| !name.is_empty())
    }

    /// Whether it can be several files, or none without a mistake.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.path.contains(is_wildcard)
    }
}

/// As it is written in `knockd.conf`.
impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(account) = &self.account {
            write!(f, "~{account}")?;
        }
        f.write_str(&self.path)
    }
}

const fn is_wildcard(c: char) -> bool {
    matches!(c, '*' | '?')
}

/// Whether the name of a file or directory fits a name of [`KeySource::names`]: `*` stands for any
/// characters, also none, and `?` for one. As in a shell (POSIX.1-2024, XCU 2.14.3), neither
/// stands for a period at the beginning, so that what an editor leaves behind is no key.
///
/// Takes at most as many steps as the product of both lengths.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (mut wanted, mut there) = (pattern.chars(), name.chars());
    // After the last `*`: what is wanted then, and what it has not stood for yet.
    let mut retry = None;
    loop {
        let before = there.clone();
        match (wanted.next(), there.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                there = before;
                retry = Some((wanted.clone(), there.clone()));
                continue;
            }
            (Some('?'), Some(_)) => continue,
            (Some(wanted), Some(there)) if wanted == there => continue,
            _ => {}
        }
        let Some((after, mut rest)) = retry.take() else {
            return false;
        };
        if rest.next().is_none() {
            return false;
        }
        (wanted, there) = (after.clone(), rest.clone());
        retry = Some((after, rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn a_place_of_keys_is_absolute_or_in_somebodys_home() {
        let place = KeySource::new("~admin/.ssh//authorized_keys").unwrap();
        assert_eq!(
            (place.account(), place.path()),
            (Some("admin"), "/.ssh//authorized_keys")
        );
        assert!(place.names().eq([".ssh", "authorized_keys"]));
        assert!(!place.is_pattern());
        let place = KeySource::new("/etc/knockd/keys/*.pub").unwrap();
        assert_eq!(place.account(), None);
        assert!(place.is_pattern());
        assert_eq!(place.to_string(), "/etc/knockd/keys/*.pub");
        for (text, error) in [
            ("", KeySourceError::Empty),
            ("keys", KeySourceError::Relative),
            ("./keys", KeySourceError::Relative),
            ("~/.ssh/authorized_keys", KeySourceError::NoAccount),
            ("~", KeySourceError::NoAccount),
            ("~*/.ssh/authorized_keys", KeySourceError::BadAccount),
            ("~a b/keys", KeySourceError::BadAccount),
            ("~admin", KeySourceError::Directory),
            ("/etc/keys/", KeySourceError::Directory),
            ("/", KeySourceError::Directory),
            ("/home/**/keys", KeySourceError::Recursive),
        ] {
            assert_eq!(KeySource::new(text), Err(error), "{text}");
        }
    }

    #[test]
    fn hidden_files_must_be_named() {
        assert!(!matches("*", ".swp") && !matches("?swp", ".swp"));
        assert!(matches(".*", ".swp") && matches(".ssh", ".ssh"));
        assert!(matches("*", "a.pub~") && !matches("*.pub", "a.pub~"));
    }

    /// The same, by trying everything.
    fn by_definition(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), None) => by_definition(rest, name),
            (Some(('*', rest)), Some((_, after))) => {
                by_definition(rest, name) || by_definition(pattern, after)
            }
            (Some(('?', rest)), Some((_, after))) => by_definition(rest, after),
            (Some((a, rest)), Some((b, after))) => a == b && by_definition(rest, after),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_name_fits_as_defined(pattern in "[ab*?é]{0,8}", name in "[abé]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(
                matches(&pattern, &name),
                by_definition(&chars(&pattern), &chars(&name))
            );
        }

        #[test]
        fn a_place_is_written_as_it_was_read(text in "~?[a-c*?/ ]{0,12}") {
            if let Ok(place) = KeySource::new(&text) {
                prop_assert_eq!(place.to_string(), text);
                prop_assert!(place.names().count() > 0);
            }
        }
    }

    #[test]
    fn many_asterisks_cost_no_more_than_the_product_of_the_lengths() {
        assert!(!matches(&"a*".repeat(120), &"a".repeat(110)));
        assert!(!matches(&("*a".repeat(120) + "b"), &"a".repeat(255)));
    }
}
