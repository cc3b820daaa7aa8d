//! An expanded command is no longer than it may be, has no placeholder left that it did not bring
//! along, and is the command itself where there was none.
#![no_main]

use knock_core::template::{Template, TooLong};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _bytes_used_up = hold(Unstructured::new(data)).is_err();
});

fn hold(mut u: Unstructured<'_>) -> Result<()> {
    let u = &mut u;
    let source = fuzz::address(u)?;
    let door: String = u.arbitrary()?;
    let parts = ["%IP%", "%DOOR%", "%FAMILY%", "%", " ", "knock "];
    let mut text = String::new();
    for _ in 0..u.int_in_range(0..=40)? {
        text.push_str(u.choose(&parts)?);
    }
    text.push_str(&u.arbitrary::<String>()?);

    // The same, by an expansion that knows nothing of the other: at every placeholder, the first
    // from the left, on what has not been looked at.
    let family = if source.is_ipv4() { "inet" } else { "inet6" };
    let values = [
        ("%IP%", source.to_string()),
        ("%DOOR%", door.clone()),
        ("%FAMILY%", family.into()),
    ];
    let mut expected = String::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        match values.iter().find(|(key, _)| text[at..].starts_with(key)) {
            Some((key, value)) => {
                expected.push_str(value);
                at += key.len();
            }
            None => {
                expected.push(c);
                at += c.len_utf8();
            }
        }
    }
    let expanded = Template::new(text).expand(source, &door);
    if expected.len() > Template::MAX_EXPANDED {
        assert_eq!(expanded, Err(TooLong));
    } else {
        assert_eq!(expanded, Ok(expected));
    }
    Ok(())
}
