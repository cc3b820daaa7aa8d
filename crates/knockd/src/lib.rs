//! The daemon `knockd` and the administrator's tool `knockctl`: two small binaries over this
//! library.
#![forbid(unsafe_code)]

pub mod audit;
mod bucket;
pub mod cli;
mod clock;
pub mod config_file;
pub mod control;
pub mod ctl;
pub mod daemon;
pub mod diagnostics;
pub mod events;
pub mod gate;
pub mod journal;
pub mod keeper;
pub mod lab;
pub mod listen;
pub mod listener;
pub mod log;
pub mod metrics;
pub mod names;
pub mod pcap;
pub mod sandbox;
pub mod services;
pub mod spa;
mod turns;
pub mod wire;
