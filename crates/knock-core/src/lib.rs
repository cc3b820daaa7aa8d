//! The pure part of Postern: what a packet says, what a door wants, and when it opens.
//!
//! Nothing here reads a clock, a file, a socket or a random number: time, bytes and keys are
//! arguments, results are polled. So the daemon, `knockctl replay`, the tests and the fuzzers all
//! run the very same code.
//!
//! | module | what |
//! |---|---|
//! | [`packet`] | a view over hostile bytes: [`packet::Packet`] |
//! | [`door`] | [`door::Door`]: what must be knocked, and what then happens |
//! | [`spa`] | who may open a door with one sealed packet: [`spa::Spa`] |
//! | [`service`] | what a native door opens: [`service::Service`] |
//! | [`engine`] | one state machine for each (source, door): [`engine::Engine`] |
//! | [`filter`] | the doors as classic BPF, so that the kernel drops the rest |
//! | [`config`] | `knockd.conf`: text to doors, and every mistake with its place |
//! | [`one_time`] | files of sequences that are used once |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod config;
pub mod door;
pub mod engine;
pub mod filter;
pub mod flags;
pub mod one_time;
pub mod packet;
pub mod sequence;
pub mod service;
pub mod spa;
pub mod target;
pub mod template;
pub mod time;
