//! Which known word a misspelled one was meant to be.

use alloc::vec::Vec;

/// Longer words are nobody's slip of the pen; this also bounds the work.
const MAX_WORD: usize = 32;

/// No more letters may be wrong.
const MAX_WRONG: usize = 3;

/// The candidate nearest to `word` in any case, if it is near enough: a third of its letters may
/// be wrong. Of several equally near the first is taken.
pub(super) fn closest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    if word.len() > MAX_WORD {
        return None;
    }
    candidates
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= MAX_WRONG)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3).min(MAX_WRONG))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The Levenshtein distance of two words, letter case ignored.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (1..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().zip(b.bytes()) {
            let substituted = diagonal + usize::from(!from.eq_ignore_ascii_case(&to));
            diagonal = *cell;
            left = substituted.min(left + 1).min(*cell + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_letters_put_in_left_out_and_changed() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("SYN", "syn"), 0);
        assert_eq!(distance("ab", "ba"), 2);
    }
}
