//! The command line of single packets: `knock HOST`, and the subcommands.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Parser;
use clap::error::ErrorKind;
use knock_spa::{DoorName, Purpose, UnixMillis};
use serde_json::{Value, json};

use super::wait::{Voice, Waited};
use super::{Args, Route, complain, say, source};
use crate::pace::seconds;
use crate::reach::{self, PATIENCE, WaitFor};
use crate::spa::connect;
use crate::spa::enroll::{self, EnrolError, Enrolment};
use crate::spa::knock::{self, KnockError, Outcome, Wanted};
use crate::spa::profile::ProfileError;
use crate::spa::{profile, report, ssh_config};
use crate::store::StoreError;

/// What only single packets have.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Single packets")]
pub struct Options {
    #[command(flatten)]
    pub(super) door: Door,
    /// Close what was opened before
    #[arg(long, conflicts_with_all = ["ask", "open_for"])]
    close: bool,
    /// Only ask whether the door would open
    #[arg(long)]
    ask: bool,
}

/// Which door, by which key.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Door {
    /// The door to knock at (the default is the profile's first)
    #[arg(long, value_name = "NAME", value_parser = door)]
    pub(super) door: Option<DoorName>,
    /// Open it for TIME: 30, 30s, 10m, 2h
    #[arg(long = "for", id = "open_for", value_name = "TIME", value_parser = seconds)]
    pub(super) open_for: Option<NonZeroU32>,
    /// Sign with this key, and no other
    #[arg(long, value_name = "FILE")]
    pub(super) identity: Option<PathBuf>,
    /// Do not name a public address of ours in the packet
    #[arg(long)]
    pub(super) no_claim: bool,
}

impl Options {
    /// Whether there is any of them.
    pub(super) const fn is_given(&self) -> bool {
        let door = &self.door;
        self.close
            || self.ask
            || door.no_claim
            || door.door.is_some()
            || door.open_for.is_some()
            || door.identity.is_some()
    }
}

/// Fetch the profile of a host over ssh, and store it for `knock HOST`.
///
/// Runs `ssh [USER@]HOST knockctl profile`.
#[derive(Debug, Parser)]
#[command(name = "knock enroll", bin_name = "knock enroll")]
pub struct Enroll {
    /// Run knockctl with sudo, which must not ask for a password
    #[arg(long)]
    sudo: bool,
    /// Store it under this name (the default is HOST)
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Whom to ask
    #[arg(value_name = "[USER@]HOST")]
    destination: String,
    /// Options for ssh, after `--`
    #[arg(last = true, value_name = "SSH-OPTION")]
    ssh: Vec<String>,
}

/// Knock, connect to a TCP port, and pass bytes: for ssh's ProxyCommand.
#[derive(Debug, Parser)]
#[command(
    name = "knock connect",
    bin_name = "knock connect",
    infer_long_args = true
)]
pub struct Connect {
    #[command(flatten)]
    door: Door,
    #[command(flatten)]
    route: Route,
    /// A host that was enrolled
    host: String,
    /// The port to connect to
    port: NonZeroU16,
}

/// Print lines for ~/.ssh/config, so that ssh knocks by itself.
#[derive(Debug, Parser)]
#[command(name = "knock ssh-config", bin_name = "knock ssh-config")]
pub struct SshConfig {
    /// A host that was enrolled
    host: String,
}

/// Runs a subcommand, if the first argument is one: its exit code.
pub(super) fn subcommand(args: &[OsString]) -> Option<u8> {
    let (word, rest) = args.get(1..)?.split_first()?;
    match word.to_str()? {
        "enroll" => Some(parsed(rest, enroll)),
        "connect" => Some(parsed(rest, connect)),
        "ssh-config" => Some(parsed(rest, ssh_config)),
        "doctor" => Some(parsed(rest, super::doctor::run)),
        "profile" => Some(parsed(rest, super::profile::run)),
        _ => None,
    }
}

fn parsed<T: Parser>(rest: &[OsString], run: impl FnOnce(&T) -> u8) -> u8 {
    let name = OsString::from("knock");
    match T::try_parse_from(std::iter::once(&name).chain(rest)) {
        Ok(args) => run(&args),
        Err(error) => {
            let printed = error.print().is_ok();
            let help = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            if help && printed { 0 } else { report::USAGE }
        }
    }
}

/// The code of a command line that is wrong: 1, as the original has it, but not where 1 would say
/// that a server refused.
pub(super) fn code_of_usage(args: &[OsString]) -> u8 {
    const OURS: [&str; 7] = [
        "--door",
        "--for",
        "--close",
        "--ask",
        "--json",
        "--identity",
        "--no-claim",
    ];
    let ours = args.iter().filter_map(|arg| arg.to_str()).any(|arg| {
        let name = arg.split_once('=').map_or(arg, |(name, _)| name);
        OURS.contains(&name) || ["-q", "--quiet"].contains(&name)
    });
    if ours { report::USAGE } else { 1 }
}

/// `knock HOST`.
pub(super) fn knock(args: &Args) -> u8 {
    let options = &args.single;
    let voice = args.voice();
    // To the original, ports are missing.
    let is_ours = options.is_given() || args.waiting.wait.is_some() || voice != Voice::Lines;
    let missing = if is_ours { report::USAGE } else { 1 };
    if let Some(problem) = nonsense(args) {
        complain(problem);
        return missing;
    }
    let purpose = match (options.close, options.ask) {
        (true, _) => Purpose::Close,
        (_, true) => Purpose::Ask,
        _ => Purpose::Open,
    };
    let wanted = match wanted(&args.host, &options.door, &args.route, purpose) {
        Ok(wanted) => wanted,
        Err(problem) => {
            complain(&problem);
            return report::USAGE;
        }
    };
    let mut rounds = 1;
    loop {
        match round(&wanted, args, voice) {
            Ok(round) if round.code == report::SILENT && rounds < args.waiting.rounds() => {}
            Ok(round) => {
                round.tell(&wanted.host, rounds, voice);
                return round.code;
            }
            Err(error) => return refused(&wanted.host, &error, missing, voice),
        }
        rounds = rounds.saturating_add(1);
    }
}

/// What was asked for and has no meaning without ports.
fn nonsense(args: &Args) -> Option<&'static str> {
    let options = &args.single;
    if args.udp || args.delay.is_some() {
        Some("without ports, one packet is sent: there is nothing for --udp and --delay to say")
    } else if args.sequence.is_given() {
        Some(
            "without ports, one sealed packet is sent: there is nothing for --flags, --payload, \
             --source-port and --spacing to say",
        )
    } else if args.waiting.wait.is_some() && (options.close || options.ask) {
        Some("--wait: nothing is opened with --ask and --close")
    } else {
        args.waiting.problem()
    }
}

/// One packet, its answer, and a wait.
struct Round {
    outcome: Outcome,
    waited: Option<Result<Waited, String>>,
    code: u8,
}

fn round(wanted: &Wanted, args: &Args, voice: Voice) -> Result<Round, KnockError> {
    let mut tell = teller(args.route.verbose, voice == Voice::Quiet);
    let outcome = knock::knock(wanted, &mut tell)?;
    let waited = wait(wanted, args, &outcome, voice);
    let code = match &waited {
        Some(Ok(waited)) => waited.code(),
        Some(Err(_)) => report::USAGE,
        None => report::code(&outcome.answers),
    };
    Ok(Round {
        outcome,
        waited,
        code,
    })
}

/// Waits, if that is asked for and we were let in.
fn wait(
    wanted: &Wanted,
    args: &Args,
    outcome: &Outcome,
    voice: Voice,
) -> Option<Result<Waited, String>> {
    let wait = args.waiting.wait?;
    let (local, answer) = report::let_in(outcome)?;
    let what = report::opens(answer).unwrap_or_default();
    let port = match wait {
        WaitFor::Port(port) => Some(port.get()),
        WaitFor::Opened => report::tcp_ports(what).first().copied(),
    };
    let Some(port) = port else {
        return Some(Err(format!(
            "--wait: the door opens '{}', of which no TCP port can be waited for: name one, as in \
             --wait tcp/22",
            what.escape_debug()
        )));
    };
    let mut to = answer.to;
    to.set_port(port);
    let way = reach::Way {
        to,
        from: Some(SocketAddr::new(local, 0)),
        interface: wanted.interface.as_deref(),
    };
    let first = reach::first_patience(answer.round_trip());
    Some(Ok(Waited::for_port(way, first, &args.waiting, voice)))
}

impl Round {
    fn tell(&self, host: &str, rounds: u32, voice: Voice) {
        match voice {
            Voice::Quiet => {}
            Voice::Json => say(&self.json(host).to_string()),
            Voice::Lines => {
                let lines = lines(&self.outcome);
                lines.done.iter().for_each(|line| say(line));
                lines.problems.iter().for_each(|line| complain(line));
                match &self.waited {
                    Some(Ok(waited)) => waited.tell(rounds),
                    Some(Err(problem)) => complain(problem),
                    None => {}
                }
            }
        }
    }

    fn json(&self, host: &str) -> Value {
        let mut object = report::json(host, &self.outcome);
        let waited = match &self.waited {
            Some(Ok(waited)) => waited.json(),
            Some(Err(problem)) => json!({ "answers": false, "reason": problem }),
            None => return object,
        };
        if let Some(fields) = object.as_object_mut() {
            fields.insert("exit".to_owned(), json!(self.code));
            fields.insert("wait".to_owned(), waited);
        }
        object
    }
}

/// Nothing could be asked.
fn refused(host: &str, error: &KnockError, missing: u8, voice: Voice) -> u8 {
    let code = match error {
        KnockError::Profile(ProfileError::Store(StoreError::Missing(_))) => missing,
        _ => report::code_of_error(error),
    };
    if voice != Voice::Quiet || code == report::USAGE {
        complain(&error_text(host, error));
    }
    code
}

/// As [`wanted`], of a host or of a profile of single packets.
pub(super) fn wanted_by_name(
    name: &str,
    door: &Door,
    route: &Route,
    purpose: Purpose,
) -> Result<Wanted, String> {
    let applied = super::profile::applied_to_single(name, (door, route));
    let (host, door, route) = applied.map_err(|error| error.to_string())?;
    wanted(&host, &door, &route, purpose)
}

/// A host's name may end with the dot of the root, so that it is no subcommand.
fn wanted(host: &str, door: &Door, route: &Route, purpose: Purpose) -> Result<Wanted, String> {
    let source = route.source.as_deref().map(source).transpose()?;
    Ok(Wanted {
        host: host.to_owned(),
        door: door.door.clone(),
        open_for: door.open_for,
        purpose,
        identity: door.identity.clone(),
        claim: !door.no_claim,
        family: route.family(),
        source,
        interface: route.interface.clone(),
        first_only: false,
    })
}

fn lines(outcome: &Outcome) -> report::Lines {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let now = UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    report::lines(outcome, now)
}

/// Standard output is for the answer, or for ssh.
pub(super) fn teller(verbose: bool, quiet: bool) -> impl FnMut(&str) {
    move |text| {
        if verbose || (!quiet && text.starts_with(TOUCH)) {
            writeln!(io::stderr(), "{text}").ok();
        }
    }
}

/// What is said to whom must do something now, also without `--verbose`.
const TOUCH: &str = "confirm that you are there";

fn error_text(host: &str, error: &KnockError) -> String {
    let name = host.escape_debug();
    match error {
        KnockError::Profile(ProfileError::Store(StoreError::Missing(_))) => {
            format!("{error}: run `knock enroll [USER@]{name}`, or name the ports to knock at")
        }
        KnockError::Resolve(_) => format!("cannot resolve '{name}': {error}"),
        KnockError::Route(_) => format!("cannot knock at '{name}': {error}"),
        _ => error.to_string(),
    }
}

fn connect(args: &Connect) -> u8 {
    let wanted = match wanted_by_name(&args.host, &args.door, &args.route, Purpose::Open) {
        Ok(wanted) => Wanted {
            first_only: true,
            ..wanted
        },
        Err(problem) => {
            complain(&problem);
            return report::USAGE;
        }
    };
    let outcome = match knock::knock(&wanted, &mut teller(args.route.verbose, false)) {
        Ok(outcome) => outcome,
        Err(error) => {
            complain(&error_text(&wanted.host, &error));
            return report::code_of_error(&error);
        }
    };
    let Some((local, answer)) = report::let_in(&outcome) else {
        lines(&outcome)
            .problems
            .iter()
            .for_each(|line| complain(line));
        return report::code(&outcome.answers);
    };
    let mut to: SocketAddr = answer.to;
    to.set_port(args.port.get());
    let way = reach::Way {
        to,
        from: Some(SocketAddr::new(local, 0)),
        interface: wanted.interface.as_deref(),
    };
    let stream = reach::connect(way, reach::first_patience(answer.round_trip()), PATIENCE);
    let passed = match stream {
        Ok(stream) => connect::pass(&stream),
        Err(error) => {
            let door = &outcome.door;
            complain(&format!(
                "{door} is open, but tcp {to} cannot be reached: {error}"
            ));
            return report::SILENT;
        }
    };
    match passed {
        Ok(()) => report::DONE,
        Err(error) => {
            complain(&format!("tcp {to}: {error}"));
            report::SYSTEM
        }
    }
}

fn enroll(args: &Enroll) -> u8 {
    let wanted = Enrolment {
        destination: args.destination.clone(),
        name: args.name.clone(),
        sudo: args.sudo,
        ssh: args.ssh.clone(),
    };
    let enrolled = match enroll::enroll(&wanted) {
        Ok(enrolled) => enrolled,
        Err(error) => {
            complain(&error.to_string());
            return match error {
                EnrolError::Profile(ProfileError::Store(StoreError::Name(_))) => report::USAGE,
                _ => report::SYSTEM,
            };
        }
    };
    let doors: Vec<_> = enrolled
        .profile
        .doors
        .iter()
        .map(DoorName::as_str)
        .collect();
    let doors = doors.join(", ");
    let changed = if enrolled.keys_changed {
        "; its keys have changed"
    } else {
        ""
    };
    let name = &enrolled.name;
    let path = enrolled.path.display();
    say(&format!("{name}: doors {doors}; stored in {path}{changed}"));
    report::DONE
}

fn ssh_config(args: &SshConfig) -> u8 {
    if let Err(error) = profile::path(&args.host) {
        complain(&error.to_string());
        return report::USAGE;
    }
    say(ssh_config::stanza(&args.host).trim_end());
    report::DONE
}

fn door(text: &str) -> Result<DoorName, String> {
    DoorName::new(text).map_err(|why| why.to_string())
}
