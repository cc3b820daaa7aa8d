//! The daemon `knockd` and the administrator's tool `knockctl`: two small binaries over this
//! library.
#![forbid(unsafe_code)]

pub mod ctl;
pub mod lab;
pub mod listen;
