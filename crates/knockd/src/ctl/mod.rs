//! `knockctl`, the administrator's tool: one subcommand a module.
//!
//! Exit status of all of them: 0 if all is well, 1 if something was found or failed, 2 if the
//! command line is wrong.

pub mod arm;
pub mod audit;
pub mod check;
pub mod close;
pub mod codes;
pub mod convert;
mod daemon;
pub mod doctor;
pub mod events;
pub mod gate;
pub mod init;
pub mod keys;
pub mod log_level;
pub mod metrics;
mod new_file;
pub mod open;
pub mod profile;
mod qr;
pub mod reload;
pub mod replay;
pub mod status;
mod time;
pub mod try_knock;
pub mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use knock_core::service::Service;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "knockctl",
    version,
    about = "Try, check, replay, guard and examine what knockd does",
    after_help = "Exit status: 0 if all is well, 1 if something was found or failed, \
                  2 if the command line is wrong."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a first configuration, by a short dialogue or by options
    Init(init::Options),
    /// Turn another program's configuration, or commands of a firewall, into native doors
    Convert(convert::Options),
    /// Read a configuration and tell every mistake and doubt
    Check(check::Options),
    /// Show a knock that opens a port, in throw-away network namespaces
    Try(try_knock::Options),
    /// Tell what a capture file would have opened, when, and why not
    Replay(replay::Options),
    /// Guard the ports of native doors, let them go, or show them
    Gate(gate::Options),
    /// Guard ports for a trial that ends by itself unless it is confirmed
    Arm(arm::Options),
    /// Verify the audit trail, or tell who could reach what, and when
    Audit(audit::Options),
    /// Make, replace or show the keys of sealed packets
    Keys(keys::Options),
    /// Make, list or revoke codes on paper, for when nothing else works
    Codes(codes::Options),
    /// Print what a client must know to send sealed packets: a secret
    Profile(profile::Options),
    /// Show how the running daemon is: doors, attempts, grants, counters, the gate
    Status(status::Options),
    /// Show what the running daemon does as it happens, on the whole screen
    Watch(watch::Options),
    /// Open a door for an address, as its knock would
    Open(open::Options),
    /// Close what is open, before its time
    Close(close::Options),
    /// Show what has happened, and what happens from now on
    Events(events::Options),
    /// Print the numbers of the running daemon for Prometheus
    Metrics(metrics::Options),
    /// Let the daemon read its configuration again, and tell what came of it
    Reload(reload::Options),
    /// Let the daemon log more, or less, until the next reload
    LogLevel(log_level::Options),
    /// Show what each process of the running daemon may do, and what is amiss
    Doctor(doctor::Options),
}

/// Services as `open` has them: `tcp/22, udp/51820`.
fn listed(services: &[Service]) -> String {
    let all: Vec<_> = services.iter().map(ToString::to_string).collect();
    all.join(", ")
}

/// Reads the command line, does what it says, and gives the exit status.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Init(options) => init::run(&options),
        Command::Convert(options) => convert::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Try(options) => try_knock::run(&options),
        Command::Replay(options) => replay::run(&options),
        Command::Gate(options) => gate::run(&options),
        Command::Arm(options) => arm::run(&options),
        Command::Audit(options) => audit::run(&options),
        Command::Keys(options) => keys::run(&options),
        Command::Codes(options) => codes::run(&options),
        Command::Profile(options) => profile::run(&options),
        Command::Status(options) => status::run(&options),
        Command::Watch(options) => watch::run(&options),
        Command::Open(options) => open::run(&options),
        Command::Close(options) => close::run(&options),
        Command::Events(options) => events::run(&options),
        Command::Metrics(options) => metrics::run(&options),
        Command::Reload(options) => reload::run(&options),
        Command::LogLevel(options) => log_level::run(&options),
        Command::Doctor(options) => doctor::run(&options),
    }
}
