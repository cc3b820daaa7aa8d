//! What a command has printed, beside what a page shows.

/// What stands for anything in a line, or for any lines.
const ANYTHING: &str = "…";

/// Nothing if `printed` is what the page `shows`, from its first line to its last; or a part of it.
///
/// # Errors
/// The first line that is not there.
pub(super) fn compare(shows: &[String], printed: &str, part: bool) -> Result<(), String> {
    let printed: Vec<_> = printed.trim_end().lines().map(plain).collect();
    let shows: Vec<_> = shows.iter().map(|line| plain(line)).collect();
    let starts = if part { printed.len() } else { 0 };
    let mut best = 0;
    for start in 0..=starts {
        let rest = printed.get(start..).unwrap_or_default();
        match agree(&shows, rest, part) {
            Ok(()) => return Ok(()),
            Err(count) => best = best.max(count),
        }
    }
    let missing = shows.get(best).map_or("(no more)", String::as_str);
    Err(format!(
        "it does not print: {missing}\nbut:\n{}",
        printed.join("\n")
    ))
}

/// How many lines agree before the first that does not.
fn agree(shows: &[String], printed: &[String], part: bool) -> Result<(), usize> {
    let Some((first, rest)) = shows.split_first() else {
        return if part || printed.is_empty() {
            Ok(())
        } else {
            Err(0)
        };
    };
    if first.trim() == ANYTHING {
        let mut best = 0;
        for start in 0..=printed.len() {
            match agree(rest, printed.get(start..).unwrap_or_default(), part) {
                Ok(()) => return Ok(()),
                Err(count) => best = best.max(count),
            }
        }
        return Err(best + 1);
    }
    match printed.split_first() {
        Some((line, after)) if is_like(first, line) => {
            agree(rest, after, part).map_err(|count| count + 1)
        }
        _ => Err(0),
    }
}

/// Whether `line` is `shown`, in which a `…` stands for anything.
pub(super) fn is_like(shown: &str, line: &str) -> bool {
    let Some((begin, rest)) = shown.split_once(ANYTHING) else {
        return shown == line;
    };
    let Some(mut line) = line.strip_prefix(begin) else {
        return false;
    };
    let mut parts: Vec<_> = rest.split(ANYTHING).collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = line.split_once(part) else {
            return false;
        };
        line = after;
    }
    line.ends_with(end)
}

/// A line without what differs from day to day: times, dates, fingerprints of keys and hashes. Blanks at
/// the end mean nothing.
fn plain(line: &str) -> String {
    line.trim_end()
        .split(' ')
        .map(plain_word)
        .collect::<Vec<_>>()
        .join(" ")
}

fn plain_word(word: &str) -> String {
    let core = word.trim_matches(|c: char| "[](),;:".contains(c));
    if core.is_empty() {
        return word.to_owned();
    }
    let parts = |separator: char| {
        let parts = core.split('.').next().unwrap_or_default().split(separator);
        let is_number = |part: &str| part.chars().all(|c| c.is_ascii_digit());
        parts
            .map(|part| if is_number(part) { part.len() } else { 0 })
            .collect::<Vec<_>>()
    };
    let stand_in = if core.starts_with("SHA256:") && core.len() > "SHA256:".len() {
        "SHA256:KEY"
    } else if core.len() == 64 && core.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        "HASH"
    } else if matches!(parts(':').as_slice(), [2, 2] | [2, 2, 2]) {
        "TIME"
    } else if parts('-') == [4, 2, 2] {
        "DATE"
    } else {
        return word.to_owned();
    };
    word.replacen(core, stand_in, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_shown_must_be_all_unless_it_is_a_part() {
        let shows = lines("one\ntwo");
        assert_eq!(compare(&shows, "one\ntwo\n", false), Ok(()));
        assert!(compare(&shows, "one\ntwo\nthree\n", false).is_err());
        assert_eq!(compare(&shows, "zero\none\ntwo\nthree\n", true), Ok(()));
        assert!(compare(&shows, "one\nand\ntwo\n", true).is_err());
        assert!(compare(&shows, "", true).is_err());
    }

    #[test]
    fn an_ellipsis_is_any_text_or_any_lines() {
        let shows = lines("open for … (… s)\n…\nend");
        assert_eq!(compare(&shows, "open for me (30 s)\nend", false), Ok(()));
        assert_eq!(
            compare(&shows, "open for me (3 s)\nx\ny\nend", false),
            Ok(())
        );
        assert!(compare(&shows, "open for me (30 s\nend", false).is_err());
        assert!(compare(&shows, "open for me (30 s)\nx", false).is_err());
    }

    #[test]
    fn times_dates_and_keys_differ_and_addresses_do_not() {
        let shows = lines("[2026-01-02 03:04] until 14:03:10 UTC, by SHA256:abc");
        let said = "[2027-11-12 13:14] until 04:03:10.5 UTC, by SHA256:Xyz+/";
        assert_eq!(compare(&shows, said, false), Ok(()));
        assert!(compare(&lines("for 203.0.113.7"), "for 203.0.113.8", false).is_err());
        assert!(compare(&lines("at 203.0.113.7:22"), "at 203.0.113.7:23", false).is_err());
        assert!(compare(&lines("for 30s"), "for 29s", false).is_err());
        assert!(compare(&lines("to 2001:db8::7"), "to 2001:db8::8", false).is_err());
    }

    #[test]
    fn the_first_line_that_is_not_there_is_named() {
        let error = compare(&lines("one\nthree"), "one\ntwo", false);
        let error = error.expect_err("they differ");
        assert!(error.starts_with("it does not print: three\n"), "{error}");
    }
}
