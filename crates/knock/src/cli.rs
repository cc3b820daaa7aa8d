//! The command line: the original's options, exit codes and `-v` line, and ours beside them.

pub mod doctor;
pub mod profile;
pub mod sequence;
pub mod single;
pub mod wait;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Command, CommandFactory, Parser, ValueHint};

use crate::resolve::{self, Family};
use crate::spa::report;
use crate::spa::ssh_settings::ASKED;
use wait::Voice;

/// The profile that is meant where no host is named.
const PROFILE: &str = "KNOCK_PROFILE";

/// Knock at the ports of a host, in their order: one packet each.
#[derive(Debug, Parser)]
#[command(
    name = "knock",
    version,
    disable_help_flag = true,
    disable_version_flag = true,
    infer_long_args = true,
    args_override_self = true,
    override_usage = "knock [options] <host> <port[:proto]> [port[:proto]] ...\n       \
                      knock [options] <host | profile>\n       \
                      knock enroll | connect | ssh-config | doctor | profile ... (each has --help)",
    after_help = "A port is a number or a service name, proto is tcp (the default) or udp;\n\
                  icmp or icmp:SIZE is an echo request. Nothing is sent unless every argument\n\
                  is right. Exit status: 0 if every packet was sent, or if the port answers that\n\
                  is waited for; 3 if it does not; else 1.\n\n\
                  Without a port, a profile says what is sent (`knock profile add`), or one sealed\n\
                  packet is, signed by an SSH key, and answered.\n\
                  Exit status: 0 done, 1 refused, 2 usage, 3 no answer, 4 no key, 5 no way there.\n\n\
                  Examples:\n  \
                  knock server.example.com 7000 8000:udp 9000\n  \
                  knock -d 300 -6 server.example.com 7000 8000 9000 && ssh server.example.com\n  \
                  knock --wait tcp/22 --retry 2 server.example.com 7000 8000 9000\n  \
                  knock enroll admin@server.example.com\n  \
                  knock --for 10m server.example.com && ssh server.example.com"
)]
pub struct Args {
    /// Send every knock over UDP (the default is TCP)
    #[arg(short, long)]
    udp: bool,
    /// Wait MS milliseconds after each knock
    // The short forms of the long name are those that were unique before --door was there.
    #[arg(short, long, alias = "d", value_name = "MS", value_parser = delay, allow_hyphen_values = true)]
    delay: Option<Duration>,
    #[command(flatten)]
    route: Route,
    #[command(flatten)]
    saying: Saying,
    /// Print the version
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// Print this help
    #[arg(short, long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    waiting: wait::Waiting,
    #[command(flatten)]
    sequence: sequence::Packets,
    #[command(flatten)]
    single: single::Options,
    /// Host name, IPv4 or IPv6 address (also fe80::1%eth0), or a profile
    #[arg(hide = true, value_hint = ValueHint::Hostname)]
    host: String,
    /// Ports, in the order of the door's sequence
    #[arg(hide = true, value_name = "PORT[:PROTO]")]
    ports: Vec<String>,
}

/// By which way.
#[derive(Clone, Debug, clap::Args)]
pub struct Route {
    /// Use IPv4 only
    #[arg(short = '4', long, overrides_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6 only
    #[arg(short = '6', long, overrides_with = "ipv4")]
    ipv6: bool,
    /// Send through this network interface
    #[arg(short, long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    interface: Option<String>,
    /// Send from this address of ours
    #[arg(long, value_name = "ADDR")]
    source: Option<String>,
    /// Say where each knock goes
    #[arg(short, long)]
    verbose: bool,
}

/// How much is said.
#[derive(Copy, Clone, Debug, Default, clap::Args)]
pub struct Saying {
    /// Print what came of it as JSON
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Print neither what came of it nor why nothing did
    #[arg(short, long)]
    quiet: bool,
}

impl Args {
    const fn voice(&self) -> Voice {
        match (self.saying.json, self.saying.quiet) {
            (true, _) => Voice::Json,
            (_, true) => Voice::Quiet,
            _ => Voice::Lines,
        }
    }
}

/// Runs the program and gives its exit code: 0 if every packet was sent or `-V` was asked for,
/// else 1, as the original has it also for `-h` and a wrong command line.
///
/// Single packets have codes of their own, in [`crate::spa::report`].
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    // Whoever asks ssh what it would do for a host does not want it done.
    if std::env::var_os(ASKED).is_some() {
        return 0;
    }
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(code) = single::subcommand(&args) {
        return code;
    }
    let args = match parse(&args) {
        Ok(args) => args,
        Err(error) => {
            let version = error.kind() == ErrorKind::DisplayVersion;
            let printed = error.print().is_ok();
            let usage = single::code_of_usage(&args);
            return if version && printed { 0 } else { usage };
        }
    };
    let args = match profile::applied(args) {
        Ok(args) => args,
        Err(error) => {
            complain(&error.to_string());
            return report::USAGE;
        }
    };
    if args.ports.is_empty() {
        return single::knock(&args);
    }
    if args.single.is_given() {
        complain("with ports, a sequence is sent, for which there is no such option as --door");
        return report::USAGE;
    }
    sequence::knock(&args)
}

/// The whole command line, for what writes completions: the subcommands are found by their first word
/// before anything is parsed, so [`Args`] alone does not name them.
#[must_use]
pub fn command() -> Command {
    let subcommands = [
        single::Enroll::command().name("enroll"),
        single::Connect::command().name("connect"),
        single::SshConfig::command().name("ssh-config"),
        doctor::Doctor::command().name("doctor"),
        profile::Profile::command().name("profile"),
    ];
    Args::command()
        .disable_help_subcommand(true)
        .subcommands(subcommands)
}

/// Reads the command line. Where no host is named, it is the profile that the environment names.
///
/// # Errors
/// What is wrong with it, or what it asks to be printed.
pub fn parse(args: &[OsString]) -> Result<Args, clap::Error> {
    let args = wait::joined(args);
    let profile = std::env::var_os(PROFILE).filter(|name| !name.is_empty());
    match (Args::try_parse_from(&args), profile) {
        (Err(error), Some(name)) if error.kind() == ErrorKind::MissingRequiredArgument => {
            Args::try_parse_from(args.iter().chain([&name]))
        }
        (parsed, _) => parsed,
    }
}

fn source(text: &str) -> Result<SocketAddr, String> {
    resolve::numeric(text).map_err(|error| format!("--source '{}': {error}", text.escape_debug()))
}

impl Route {
    const fn family(&self) -> Option<Family> {
        match (self.ipv4, self.ipv6) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            _ => None,
        }
    }
}

fn delay(text: &str) -> Result<Duration, String> {
    if text.starts_with('-') {
        return Err("delay cannot be negative".to_owned());
    }
    text.parse::<u32>()
        .map(|millis| Duration::from_millis(millis.into()))
        .map_err(|_| "expected a number of milliseconds".to_owned())
}

/// A closed standard output keeps nobody from knocking.
fn say(line: &str) {
    writeln!(io::stdout(), "{line}").ok();
}

/// There is nowhere to report that standard error is closed.
fn complain(problem: &str) {
    let words = without_number(problem);
    writeln!(io::stderr(), "knock: {words}").ok();
}

/// The library sets the system's number after its words: `No such device (os error 19)`.
fn without_number(problem: &str) -> &str {
    problem
        .rsplit_once(" (os error ")
        .map_or(problem, |(words, _)| words)
}
