//! The test bed: what `knockd` must do, as data, and the machines that hold a daemon to it.
//!
//! | module | what |
//! |---|---|
//! | [`bench`] | the budgets that need a running daemon, ours beside the original |
//! | [`case`] | a case: configuration, steps, expectations; read from `cases/*.toml` |
//! | [`script`] | the notation of the steps: `7000 8000:udp +1.2s HUP 9000/ack~vlan=5` |
//! | [`flood`] | first knocks from crowds of addresses that nobody has |
//! | [`torrent`] | hostile packets, as many as this machine can send |
//! | [`frame`] | a packet of a script as the bytes of an Ethernet frame |
//! | [`trace`] | the notation of what a daemon reported: `A.1 A.2 A!` |
//! | [`in_process`] | runs a case through `knock_core`, in virtual time |
//! | [`network`] | the namespaces of a case, and the raw socket that sends its packets |
//! | [`stream`] | random doors and packets, and how they are made small |
//! | [`classic`] | a naive model of the original, with a switch for each difference |
//! | [`site`] | a running daemon with a client beside it |
//! | [`scenario`] | a function that fails with a sentence, and what runs many of them |
//! | [`knockers`] | scenarios with real clients, firewalls and an sshd |
//! | [`guides`] | every command of the documentation, run as its reader would |
//! | [`faults`] | scenarios in which something dies or is damaged while doors are open |
//! | [`programs`] | where the programs under test are |
//! | [`live`] | runs a case against a real daemon |
#![forbid(unsafe_code)]

pub mod bench;
pub mod case;
pub mod classic;
pub mod faults;
pub mod flood;
pub mod frame;
pub mod guides;
pub mod in_process;
pub mod knockers;
pub mod live;
pub mod network;
pub mod programs;
pub mod scenario;
pub mod script;
pub mod site;
pub mod ssh;
pub mod stream;
pub mod torrent;
pub mod trace;

/// What can go wrong in the bed itself, as opposed to in a daemon under test: a sentence.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
