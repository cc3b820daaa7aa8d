//! `cargo xtask <job>`: every job that CI runs.

fn main() {}
