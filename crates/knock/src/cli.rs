//! The command line: the original's options, exit codes and `-v` line, and ours beside them.

pub mod doctor;
pub mod single;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Command, CommandFactory, Parser};
use knock_core::sequence::Protocol;

use crate::knocker::{Knocker, RouteError};
use crate::resolve::{self, Family};
use crate::spa::report;
use crate::spa::ssh_settings::ASKED;
use crate::step::Step;

/// The pause between two steps where `-d` gives none. The original takes about as long to look
/// up the host anew for each port, and needs it without knowing: receivers with several queues
/// hand over packets of different ports in any order if they come within some ten microseconds.
const DEFAULT_PAUSE: Duration = Duration::from_millis(1);

/// The pause after the last step where `-d` gives none: a door takes some tenths of a millisecond
/// to open, and a busy machine some whole ones. So `knock … && ssh …` does not find it closed, and
/// lose a second to a SYN that must be sent again.
const LAST_PAUSE: Duration = Duration::from_millis(5);

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
                      knock [options] <host>\n       \
                      knock enroll | connect | ssh-config | doctor ... (each has --help)",
    after_help = "A port is a number or a service name, proto is tcp (the default) or udp.\n\
                  Nothing is sent unless every argument is right. Exit status: 0 if every packet\n\
                  was sent, else 1.\n\n\
                  Without a port, one sealed packet is sent, signed by an SSH key, and answered.\n\
                  Exit status: 0 done, 1 refused, 2 usage, 3 no answer, 4 no key, 5 no way there.\n\n\
                  Examples:\n  \
                  knock server.example.com 7000 8000:udp 9000\n  \
                  knock -d 300 -6 server.example.com 7000 8000 9000 && ssh server.example.com\n  \
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
    single: single::Options,
    /// Print the version
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// Print this help
    #[arg(short, long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Host name, IPv4 or IPv6 address (also fe80::1%eth0)
    #[arg(hide = true)]
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

/// What to do: all of it checked, nothing of it sent yet.
#[derive(Debug)]
struct Request {
    knocker: Knocker,
    steps: Vec<Step>,
    delay: Option<Duration>,
    verbose: bool,
}

/// The whole command line, with its subcommands, for those who describe it: completions of shells.
#[must_use]
pub fn command() -> Command {
    let command = Args::command().disable_help_subcommand(true);
    command.subcommands(single::subcommands())
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
    let args = match Args::try_parse_from(&args) {
        Ok(args) => args,
        Err(error) => {
            let version = error.kind() == ErrorKind::DisplayVersion;
            let printed = error.print().is_ok();
            let usage = single::code_of_usage(&args);
            return if version && printed { 0 } else { usage };
        }
    };
    if args.ports.is_empty() {
        return single::knock(&args);
    }
    if args.single.is_given() {
        complain("with ports, a sequence is sent, for which there is no such option as --door");
        return report::USAGE;
    }
    let problems = match request(&args) {
        Ok(request) => send(&request),
        Err(problems) => problems,
    };
    for problem in &problems {
        complain(problem);
    }
    u8::from(!problems.is_empty())
}

/// Checks everything, and reports every mistake that can be seen at once.
fn request(args: &Args) -> Result<Request, Vec<String>> {
    let steps = steps(args);
    let source = args.route.source.as_deref().map(source).transpose();
    let (steps, source) = match (steps, source) {
        (Ok(steps), Ok(source)) => (steps, source),
        (steps, source) => {
            let mut problems = steps.err().unwrap_or_default();
            problems.extend(source.err());
            return Err(problems);
        }
    };
    let knocker = knocker(args, source).map_err(|problem| vec![problem])?;
    Ok(Request {
        knocker,
        steps,
        delay: args.delay,
        verbose: args.route.verbose,
    })
}

fn steps(args: &Args) -> Result<Vec<Step>, Vec<String>> {
    let mut steps = Vec::with_capacity(args.ports.len());
    let mut problems = Vec::new();
    for text in &args.ports {
        match step(text, args.udp) {
            Ok(step) => steps.push(step),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(steps)
    } else {
        Err(problems)
    }
}

fn step(text: &str, udp: bool) -> Result<Step, String> {
    let default = if udp { Protocol::Udp } else { Protocol::Tcp };
    let step = Step::parse(text, default, &resolve::service)
        .map_err(|error| format!("'{}': {error}", text.escape_debug()))?;
    Ok(if udp { step.over_udp() } else { step })
}

fn source(text: &str) -> Result<SocketAddr, String> {
    resolve::numeric(text).map_err(|error| format!("--source '{}': {error}", text.escape_debug()))
}

fn knocker(args: &Args, source: Option<SocketAddr>) -> Result<Knocker, String> {
    let host = args.host.escape_debug();
    let asked = args.route.family();
    let of_source = source.as_ref().map(Family::of);
    if let (Some(asked), Some(of_source)) = (asked, of_source)
        && asked != of_source
    {
        return Err(format!(
            "--source is an {of_source} address, but {asked} is asked for"
        ));
    }
    let to = resolve::host(&args.host, asked.or(of_source))
        .map_err(|error| format!("cannot resolve '{host}': {error}"))?;
    let interface = args.route.interface.as_deref();
    Knocker::new(to, source, interface).map_err(|error| match &error {
        RouteError::Socket(_) => format!("cannot knock at '{host}': {error}"),
        RouteError::Interface(_) => {
            let name = interface.unwrap_or_default().escape_debug();
            format!("cannot use interface '{name}': {error}")
        }
        RouteError::Source(_) => {
            let source = args.route.source.as_deref().unwrap_or_default();
            format!("cannot send from '{}': {error}", source.escape_debug())
        }
    })
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

/// Knocks at every port, also after one could not be sent: each may be a door of its own. Gives
/// what could not be sent.
fn send(request: &Request) -> Vec<String> {
    let mut problems = Vec::new();
    for (i, &step) in request.steps.iter().enumerate() {
        let (protocol, address) = (step.protocol(), request.knocker.address(step));
        if request.verbose {
            say(&format!("hitting {protocol} {address}"));
        }
        if let Err(error) = request.knocker.knock(step) {
            let number = i.saturating_add(1);
            problems.push(format!(
                "could not send knock {number}, {protocol} {address}: {error}"
            ));
        }
        // Also after the last, as the original: `knock -d 500 … && ssh …` may rely on it.
        let is_last = i.saturating_add(1) == request.steps.len();
        let pause = if is_last { LAST_PAUSE } else { DEFAULT_PAUSE };
        thread::sleep(request.delay.unwrap_or(pause));
    }
    problems
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
