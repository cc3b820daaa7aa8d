//! Command templates: the text of a command with the places where a grant's data goes.

use alloc::string::{String, ToString};
use core::fmt;
use core::net::IpAddr;

/// A command as the configuration has it, with `%IP%`, `%DOOR%` and `%FAMILY%` still in it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Template(String);

/// The expanded command would be longer than [`Template::MAX_EXPANDED`]; it must not run.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct TooLong;

impl Template {
    /// The most bytes that an expanded command may have, as in the original.
    pub const MAX_EXPANDED: usize = 4095;

    /// A template with the text `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text before expansion.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The command for `source` at the door `door`: every `%IP%` is the address, `%FAMILY%` is
    /// `inet` or `inet6`, and `%DOOR%` the door's name. Only the address comes from the network,
    /// and an address has no character that a shell would act on.
    ///
    /// What is put in is not looked at again, so a door named `%IP%` stays `%IP%`.
    ///
    /// # Errors
    /// If the command would be longer than [`Template::MAX_EXPANDED`] bytes.
    pub fn expand(&self, source: IpAddr, door: &str) -> Result<String, TooLong> {
        let family = if source.is_ipv4() { "inet" } else { "inet6" };
        let address = source.to_string();
        let values = [
            ("%IP%", address.as_str()),
            ("%DOOR%", door),
            ("%FAMILY%", family),
        ];
        let mut expanded = String::new();
        let mut rest = self.0.as_str();
        while let Some(at) = rest.find('%') {
            let (plain, tail) = rest.split_at(at);
            expanded.push_str(plain);
            let known = values
                .iter()
                .find_map(|(key, v)| Some((tail.strip_prefix(key)?, *v)));
            let (after, value) = known.unwrap_or((tail.strip_prefix('%').unwrap_or(""), "%"));
            expanded.push_str(value);
            rest = after;
        }
        expanded.push_str(rest);
        if expanded.len() > Self::MAX_EXPANDED {
            Err(TooLong)
        } else {
            Ok(expanded)
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn expand(text: &str) -> Result<String, TooLong> {
        Template::new(text).expand(IpAddr::from([10, 77, 0, 1]), "ssh")
    }

    #[test]
    fn every_placeholder_is_replaced_and_nothing_else() {
        assert_eq!(expand("a %IP% b %IP%").unwrap(), "a 10.77.0.1 b 10.77.0.1");
        assert_eq!(
            expand("%%IP%% %ip% 100% %DOOR%/%FAMILY%").unwrap(),
            "%10.77.0.1% %ip% 100% ssh/inet"
        );
        assert_eq!(expand("").unwrap(), "");
    }

    #[test]
    fn a_door_named_like_a_placeholder_is_not_expanded_again() {
        let command = Template::new("%DOOR%").expand(IpAddr::from([0; 16]), "%IP%");
        assert_eq!(command.unwrap(), "%IP%");
    }

    #[test]
    fn the_limit_is_on_the_expanded_text() {
        let fits = "x".repeat(Template::MAX_EXPANDED - "10.77.0.1".len());
        assert!(expand(&format!("{fits}%IP%")).is_ok());
        assert_eq!(expand(&format!("{fits}y%IP%")), Err(TooLong));
    }
}
