//! Any file of codes is read as it would be written, or refused; and whatever is damaged in a file of
//! spent ones, no code that was acted on comes back: it is there still, or all count as spent.
#![no_main]

use std::net::IpAddr;

use knock_spa::code::{Code, CodeHash, Sieve};
use knockd::spa::codes::{Book, Spent, parse_spent, render_spent};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _bytes_used_up = hold(Unstructured::new(data)).is_err();
});

fn hold(mut u: Unstructured<'_>) -> Result<()> {
    if u.arbitrary()? {
        return any_bytes(u.take_rest());
    }
    let count = u.int_in_range(0..=8)?;
    let mut spent = Vec::new();
    for _ in 0..count {
        let by: [u8; 16] = u.arbitrary()?;
        spent.push(Spent {
            hash: CodeHash(u.arbitrary()?),
            at: u.arbitrary()?,
            by: IpAddr::from(by).to_canonical(),
        });
    }
    let mut bytes = render_spent(&spent);
    assert_eq!(parse_spent(&bytes).as_ref(), Some(&spent));
    let place = u.int_in_range(0..=bytes.len() - 1)?;
    let whole = if u.arbitrary()? {
        // What is cut off was not acted on, unless it was there whole.
        bytes.truncate(place);
        (place / 64).saturating_sub(1)
    } else {
        bytes[place] ^= u.int_in_range(1..=255)?;
        // Of the last record it cannot be told whether it was ever whole.
        spent.len().saturating_sub(1)
    };
    if let Some(read) = parse_spent(&bytes) {
        assert!(read.len() >= whole && spent.starts_with(&read));
    }
    Ok(())
}

fn any_bytes(bytes: &[u8]) -> Result<()> {
    if let Some(spent) = parse_spent(bytes) {
        assert_eq!(parse_spent(&render_spent(&spent)), Some(spent));
    }
    if let Some(book) = std::str::from_utf8(bytes).ok().and_then(Book::read) {
        assert_eq!(book.text().as_bytes(), bytes);
        assert!(book.entries.len() <= CodeHash::MAX);
        let sieve = Sieve::new(&book.salt, book.entries.iter().map(|entry| &entry.hash));
        assert_eq!(sieve.marks.len(), book.entries.len());
        if let Some(code) = Code::parse(bytes) {
            let hashes: Vec<_> = book.entries.iter().map(|entry| entry.hash).collect();
            let found = code.hash(&book.salt).find(&hashes).is_some();
            assert!(sieve.may_be(&code) || !found);
        }
    }
    Ok(())
}
