//! `knock`: see the manual page.
#![forbid(unsafe_code)]

fn main() {}
