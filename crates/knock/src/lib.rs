//! The knocking client: one packet to each port, in order, and nothing more; or one sealed and signed
//! packet, and its answer.
//!
//! | module | what |
//! |---|---|
//! | [`step`] | [`step::Step`]: one argument, `7000`, `7000:udp`, `ssh` or `icmp:64` |
//! | [`resolve`] | a host to one address, a service to one port |
//! | [`shape`], [`pace`] | what packets are like, and how far apart |
//! | [`knocker`] | [`knocker::Knocker`]: sends one step |
//! | [`raw`] | packets that the system does not make by itself |
//! | [`device`] | ties a socket to a network interface, where the system can |
//! | [`reach`] | waits until a TCP port answers |
//! | [`profile`] | what a user has written down of a host |
//! | [`store`] | the files of profiles: where, and for whom |
//! | [`spa`] | single-packet authorization |
//! | [`cli`] | the command line, and every text that a user sees |
//!
//! All of it builds on Linux, the BSDs, macOS and Windows; what only one system has is behind a
//! `cfg` in [`knocker`], [`raw`], [`device`], [`store`] or [`spa`].
#![forbid(unsafe_code)]

pub mod cli;
pub mod device;
pub mod knocker;
pub mod pace;
pub mod profile;
pub mod raw;
pub mod reach;
pub mod resolve;
pub mod shape;
pub mod spa;
pub mod step;
pub mod store;
