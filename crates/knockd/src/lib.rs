//! The daemon `knockd` and the administrator's tool `knockctl`: two small binaries over this
//! library.
#![forbid(unsafe_code)]

pub mod config_file;
pub mod ctl;
pub mod diagnostics;
pub mod lab;
pub mod listen;
pub mod names;
pub mod pcap;
pub mod services;
