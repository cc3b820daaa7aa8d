//! The system calls that no well-kept crate wraps safely.
