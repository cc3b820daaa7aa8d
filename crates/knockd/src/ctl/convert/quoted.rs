//! Words of a line: divided by blanks, unless these stand between quotes.

/// The words of `line`; `quotes` keep what is between two of them together, and go, and a backslash
/// takes the next letter as it is.
pub(super) fn words(line: &str, quotes: &[char]) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match quote {
            Some(end) if c == end => quote = None,
            None if quotes.contains(&c) => quote = Some(c),
            _ if c == '\\' => word.extend(chars.next()),
            None if c.is_whitespace() => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}
