//! The words of a command, as sh(1) divides them, for commands that ask nothing else of it.

use super::Why;

/// What the shell does more with than to divide words, outside of quotes.
const SPECIAL: &str = "|<>$`()*?[]~";
/// The same between double quotes.
const SPECIAL_IN_QUOTES: &str = "$`";

/// The simple commands of `text`, which follow each other by `;` or `&&`, in words.
pub(super) fn words(text: &str) -> Result<Vec<Vec<String>>, Why> {
    let mut commands = Vec::new();
    let mut command: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => quoted(&mut chars, '\'', "", word.get_or_insert_default())?,
            '"' => quoted(
                &mut chars,
                '"',
                SPECIAL_IN_QUOTES,
                word.get_or_insert_default(),
            )?,
            '\\' => word.get_or_insert_default().extend(chars.next()),
            '#' if word.is_none() => break,
            c if SPECIAL.contains(c) => return Err(shell(c)),
            ';' | '&' => {
                if c == '&' && chars.next_if_eq(&'&').is_none() {
                    return Err(shell(c));
                }
                command.extend(word.take());
                commands.push(std::mem::take(&mut command));
            }
            c if c.is_whitespace() => command.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    command.extend(word);
    commands.push(command);
    commands.retain(|command| !command.is_empty());
    Ok(commands)
}

/// Up to the quote that ends it.
fn quoted(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    quote: char,
    special: &str,
    word: &mut String,
) -> Result<(), Why> {
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => return Ok(()),
            '\\' if quote == '"' => word.extend(chars.next()),
            c if special.contains(c) => return Err(shell(c)),
            c => word.push(c),
        }
    }
    Err("a quote is not closed".to_owned())
}

fn shell(c: char) -> Why {
    format!("it needs the shell (`{c}`)")
}
