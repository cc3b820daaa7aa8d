//! The screen in `docs/guide/watch.md`: real output, of which what does not change from one time to the
//! next is compared.

use crate::Outcome;

const PAGE: &str = include_str!("../../../../docs/guide/watch.md");

/// The screen that the page shows.
pub(crate) fn screen() -> Outcome<&'static str> {
    let (_, from) = PAGE.split_once("```text\nknockd ").ok_or("no screen")?;
    let (screen, _) = from.split_once("```").ok_or("no end of the screen")?;
    Ok(screen)
}

/// The words of a screen without what changes: numbers, bars, and whose attempts come first.
pub(crate) fn fixed(screen: &str) -> Vec<String> {
    let words = screen.split_whitespace().filter_map(|word| {
        let word = word.trim_start_matches("knockd");
        let is_bar = word.chars().all(|c| ('\u{2581}'..='\u{2588}').contains(&c));
        let is_step = word.contains(['●', '○', '/']) && word.len() < 16;
        let fixed = word
            .trim_end_matches(['k', 'M'])
            .replace(|c: char| c.is_ascii_digit(), "");
        let has_words = fixed.chars().any(char::is_alphabetic);
        (has_words && !is_bar && !is_step).then_some(fixed)
    });
    let mut words: Vec<_> = words.collect();
    words.sort();
    words.dedup();
    words
}
