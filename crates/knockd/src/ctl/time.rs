//! Times on the command line.

use std::time::Duration;

const EXPECTED: &str = "a number with s, m or h is expected, such as 2m";

/// A number with `s`, `m` or `h`, or of seconds.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(number.len()..).unwrap_or_default() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(EXPECTED.into()),
    };
    let number: u64 = number.parse().map_err(|_| EXPECTED)?;
    Ok(Duration::from_secs(number.saturating_mul(unit)))
}
