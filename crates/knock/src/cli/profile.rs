//! `knock profile`, and what a profile says in place of the command line.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Parser, Subcommand, ValueHint};
use knock_core::sequence::Protocol;
use knock_spa::DoorName;
use serde_json::json;

use super::single::Door;
use super::{Args, Route, complain, say};
use crate::pace::{Limit, Spacing};
use crate::profile::{self, ProfileError, Saved};
use crate::reach::WaitFor;
use crate::resolve::{self, Family};
use crate::shape::{Flags, Payload};
use crate::spa::{profile as enrolled, report};
use crate::step::Step;
use crate::store::{self, MAX, StoreError};

/// Profiles: what is known of a host, so that its ports stand on no command line.
#[derive(Debug, Parser)]
#[command(
    name = "knock profile",
    bin_name = "knock profile",
    infer_long_args = true
)]
pub struct Profile {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the profiles
    List,
    /// Show one, with its ports
    Show {
        /// Its name
        name: String,
    },
    /// Make one of a sequence, whose ports are asked for, or read from standard input
    Add(Box<Add>),
}

#[derive(Debug, clap::Args)]
struct Add {
    /// The host (the default is NAME)
    #[arg(long, value_name = "HOST", value_hint = ValueHint::Hostname)]
    host: Option<String>,
    /// Replace the one that there is
    #[arg(long)]
    force: bool,
    /// Wait MS milliseconds after each knock
    #[arg(short, long, value_name = "MS", conflicts_with = "spacing")]
    delay: Option<u32>,
    /// Wait TIME between two knocks, more or less: 100ms, 100ms+-50%
    #[arg(long, value_name = "TIME", value_parser = checked::<Spacing>)]
    spacing: Option<String>,
    /// Send TCP packets with these flags: syn,!ack
    #[arg(long, value_name = "FLAGS", value_parser = checked::<Flags>)]
    flags: Option<String>,
    /// What UDP packets carry: TEXT, @FILE, hex:00ff
    #[arg(long, value_name = "TEXT", value_parser = checked::<Payload>)]
    payload: Option<String>,
    /// Send TCP and UDP packets from this port
    #[arg(long, value_name = "PORT")]
    source_port: Option<NonZeroU16>,
    /// Wait until this port answers
    #[arg(long, value_name = "tcp/PORT", value_parser = checked::<WaitFor>)]
    wait: Option<String>,
    /// Wait for TIME after each knock (the default is 10s)
    #[arg(long, value_name = "TIME", value_parser = checked::<Limit>)]
    timeout: Option<String>,
    /// Knock up to N times more while it does not answer
    #[arg(long, value_name = "N")]
    retry: Option<u8>,
    /// Use IPv4 only
    #[arg(short = '4', long, overrides_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6 only
    #[arg(short = '6', long, overrides_with = "ipv4")]
    ipv6: bool,
    /// Its name: that of the host, or any other
    name: String,
}

/// A text that can be read as `T`, as it was written.
fn checked<T: FromStr>(text: &str) -> Result<String, T::Err> {
    text.parse::<T>().map(|_| text.to_owned())
}

/// What the command line leaves open, as the profile has it that stands in place of a host. With ports
/// on the command line no profile is looked at, as with the original.
pub(super) fn applied(mut args: Args) -> Result<Args, ProfileError> {
    if !args.ports.is_empty() {
        return Ok(args);
    }
    let Some(saved) = Saved::load(&args.host)? else {
        return Ok(args);
    };
    args.host = host(&args.host, &saved)?;
    args.ports = saved.ports.iter().map(ToString::to_string).collect();
    if args.delay.is_none() && args.sequence.spacing.is_none() {
        let millis = saved.delay.map(u64::from);
        args.delay = millis.map(std::time::Duration::from_millis);
        args.sequence.spacing = saved.spacing;
    }
    args.route = route(args.route, &saved);
    args.single.door = door(args.single.door, &saved);
    let sequence = &mut args.sequence;
    sequence.flags = sequence.flags.or(saved.flags);
    sequence.payload = sequence.payload.take().or(saved.payload);
    sequence.source_port = sequence.source_port.or(saved.source_port);
    let waiting = &mut args.waiting;
    let named = waiting.wait.filter(|wait| *wait != WaitFor::Opened);
    waiting.wait = named.or(saved.wait).or(waiting.wait);
    waiting.timeout = waiting.timeout.or(saved.timeout);
    waiting.retry = waiting.retry.or(saved.retry);
    Ok(args)
}

/// The same for what knows single packets alone: host, door and way.
pub(super) fn applied_to_single(
    name: &str,
    given: (&Door, &Route),
) -> Result<(String, Door, Route), ProfileError> {
    let (given_door, given_route) = (given.0.clone(), given.1.clone());
    let Some(saved) = Saved::load(name)? else {
        return Ok((name.to_owned(), given_door, given_route));
    };
    if !saved.ports.is_empty() {
        let why = format!("it is a sequence: only `knock {name}` sends that, see --wait");
        return Err(ProfileError::Text(profile::path(name)?, why));
    }
    let host = host(name, &saved)?;
    Ok((host, door(given_door, &saved), route(given_route, &saved)))
}

/// A profile is called as its host, if it does not say otherwise.
fn host(name: &str, saved: &Saved) -> Result<String, ProfileError> {
    match &saved.host {
        Some(host) => Ok(host.clone()),
        None if profile::is_path(name) => {
            let why = "it names no host: host = \"server.example.com\"".to_owned();
            Err(ProfileError::Text(name.into(), why))
        }
        None => Ok(name.to_owned()),
    }
}

fn route(given: Route, saved: &Saved) -> Route {
    let (ipv4, ipv6) = match given.family() {
        Some(_) => (given.ipv4, given.ipv6),
        None => (
            saved.family == Some(Family::V4),
            saved.family == Some(Family::V6),
        ),
    };
    Route {
        ipv4,
        ipv6,
        source: given.source.or_else(|| saved.source.clone()),
        interface: given.interface.or_else(|| saved.interface.clone()),
        verbose: given.verbose,
    }
}

fn door(given: Door, saved: &Saved) -> Door {
    Door {
        door: given.door.or_else(|| saved.door.clone()),
        open_for: given.open_for.or(saved.open_for),
        identity: given.identity.or_else(|| saved.identity.clone()),
        no_claim: given.no_claim || saved.no_claim,
    }
}

/// Runs the subcommand: its exit code.
pub(super) fn run(args: &Profile) -> u8 {
    let done = match &args.what {
        What::List => list(),
        What::Show { name } => show(name),
        What::Add(add) => make(add),
    };
    match done {
        Ok(()) => report::DONE,
        Err(problem) => {
            complain(&problem.text);
            problem.code
        }
    }
}

/// What was not done, and the exit code.
struct Problem {
    text: String,
    code: u8,
}

/// The command line, or what was typed.
const fn usage(text: String) -> Problem {
    Problem {
        text,
        code: report::USAGE,
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Io(..) => report::SYSTEM,
            _ => report::USAGE,
        };
        let text = error.to_string();
        Self { text, code }
    }
}

fn list() -> Result<(), Problem> {
    let folder = store::profiles()?;
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::Io(folder, error).into()),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if let Some(text) = described(&path, &name).filter(|_| !name.starts_with('.')) {
            say(&format!("{name:24} {text}"));
        }
    }
    Ok(())
}

/// What a file of the folder is; `None` if it is none of ours.
fn described(path: &Path, name: &str) -> Option<String> {
    match path.extension()?.to_str()? {
        "toml" => Some(match Saved::load_from(path) {
            Ok(saved) => described_saved(&saved, name),
            Err(error) => format!("problem: {}", first_line(&error.to_string())),
        }),
        "json" => Some(match enrolled::Profile::load_from(path, name) {
            Ok(profile) => {
                let (host, doors) = (&profile.host, doors(&profile));
                format!("{host}, single packets, doors {doors}")
            }
            Err(error) => format!("problem: {}", first_line(&error.to_string())),
        }),
        _ => None,
    }
}

/// Not which ports: a list is looked at by more people than one.
fn described_saved(saved: &Saved, name: &str) -> String {
    let host = saved.host.as_deref().unwrap_or(name);
    match saved.ports.len() {
        0 => format!("{host}, single packets, options"),
        1 => format!("{host}, a sequence of one port"),
        more => format!("{host}, a sequence of {more} ports"),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn doors(profile: &enrolled::Profile) -> String {
    let doors: Vec<_> = profile.doors.iter().map(DoorName::as_str).collect();
    doors.join(", ")
}

fn show(name: &str) -> Result<(), Problem> {
    let path = profile::path(name)?;
    let is_there = match store::read_private(&path) {
        Ok(text) => {
            say(&format!("# {}", path.display()));
            say(String::from_utf8_lossy(&text).trim_end());
            Saved::load_from(&path).map_err(|error| usage(error.to_string()))?;
            true
        }
        Err(StoreError::Missing(_)) => false,
        Err(other) => return Err(other.into()),
    };
    match enrolled::Profile::load(name) {
        Ok(profile) => {
            say_enrolled(name, &profile);
            Ok(())
        }
        Err(enrolled::ProfileError::Store(StoreError::Missing(_))) if is_there => Ok(()),
        Err(enrolled::ProfileError::Store(StoreError::Missing(_))) => {
            Err(StoreError::Missing(path).into())
        }
        Err(error) => Err(usage(error.to_string())),
    }
}

/// Without the keys, which nobody reads.
fn say_enrolled(name: &str, profile: &enrolled::Profile) {
    if let Ok(path) = enrolled::path(name) {
        say(&format!("# {}", path.display()));
    }
    let addresses: Vec<_> = profile.addresses.iter().map(ToString::to_string).collect();
    say(&format!("# host      {}", profile.host));
    say(&format!("# addresses {}", addresses.join(", ")));
    say(&format!("# port      udp/{}", profile.port));
    say(&format!("# epoch     {}", profile.epoch));
    say(&format!("# doors     {}", doors(profile)));
    if let Some(key) = &profile.key {
        say(&format!("# key       {key}"));
    }
}

fn make(add: &Add) -> Result<(), Problem> {
    let path = profile::path(&add.name)?;
    if profile::is_path(&add.name) && add.host.is_none() {
        return Err(usage("say which host (--host)".to_owned()));
    }
    if path.exists() && !add.force {
        let path = path.display();
        return Err(usage(format!(
            "there is {path} already (--force replaces it)"
        )));
    }
    let steps = steps(&asked()?).map_err(usage)?;
    let text = text(add, &steps);
    // What is stored can be read again.
    Saved::parse(&text).map_err(usage)?;
    store::write(&path, text.as_bytes())?;
    let steps = steps.len();
    let ports = if steps == 1 { "port" } else { "ports" };
    let name = &add.name;
    say(&format!(
        "{name}: {steps} {ports}; stored in {}",
        path.display()
    ));
    Ok(())
}

/// The ports, as they are typed unseen, or as standard input has them.
fn asked() -> Result<String, Problem> {
    let read = if io::stdin().is_terminal() {
        rpassword::prompt_password("Ports, in their order (such as 7000 8000:udp; not shown): ")
    } else {
        let mut text = String::new();
        let input = io::stdin().lock();
        input.take(MAX).read_to_string(&mut text).map(|_| text)
    };
    read.map_err(|error| Problem {
        text: format!("cannot read the ports: {error}"),
        code: report::SYSTEM,
    })
}

/// Ports between blanks or commas.
fn steps(text: &str) -> Result<Vec<Step>, String> {
    let words = text.split([' ', ',', '\t', '\r', '\n']);
    let words = words.filter(|word| !word.is_empty());
    let step = |word: &str| {
        let step = Step::parse(word, Protocol::Tcp, &resolve::service);
        step.map_err(|error| format!("'{}': {error}", word.escape_debug()))
    };
    let steps: Vec<Step> = words.map(step).collect::<Result<_, _>>()?;
    if steps.is_empty() {
        return Err("no ports: expected at least one, such as 7000 8000:udp".to_owned());
    }
    Ok(steps)
}

/// The text of a profile. A string of JSON is one of TOML.
fn text(add: &Add, steps: &[Step]) -> String {
    let mut lines = Vec::new();
    let mut set = |key: &str, value: Option<serde_json::Value>| {
        lines.extend(value.map(|value| format!("{key} = {value}\n")));
    };
    set("host", add.host.as_ref().map(|host| json!(host)));
    let ports = steps.iter().map(|step| match step {
        Step::Port(Protocol::Tcp, port) => json!(port),
        other => json!(other.to_string()),
    });
    set("ports", Some(ports.collect()));
    let family = match (add.ipv4, add.ipv6) {
        (true, _) => Some(4),
        (_, true) => Some(6),
        _ => None,
    };
    set("family", family.map(|family| json!(family)));
    set("delay", add.delay.map(|delay| json!(delay)));
    set("source_port", add.source_port.map(|port| json!(port)));
    set("retry", add.retry.map(|retry| json!(retry)));
    for (key, value) in [
        ("spacing", &add.spacing),
        ("flags", &add.flags),
        ("payload", &add.payload),
        ("wait", &add.wait),
        ("timeout", &add.timeout),
    ] {
        set(key, value.as_ref().map(|value| json!(value)));
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stand_between_blanks_commas_and_lines() {
        let written = |text: &str| {
            let steps = steps(text)?;
            let words: Vec<_> = steps.iter().map(ToString::to_string).collect();
            Ok::<_, String>(words.join(" "))
        };
        assert_eq!(
            written("7000, 8000:udp\n icmp:9\r\n").as_deref(),
            Ok("7000 8000:udp icmp:9")
        );
        assert!(written(" \n").is_err());
        assert!(written("7000 70000").unwrap_err().starts_with("'70000': "));
    }

    #[test]
    fn what_is_made_is_what_was_said() {
        let line = "profile add --host h.example --spacing 100ms±50% --flags syn,!ack \
                    --payload a\"b\\c --source-port 99 --wait tcp/22 --timeout 3s --retry 2 -6 web";
        let What::Add(add) = Profile::try_parse_from(line.split(' ')).unwrap().what else {
            panic!("not add");
        };
        let saved = Saved::parse(&text(&add, &steps("7000 8:udp").unwrap())).unwrap();
        assert_eq!(saved.host.as_deref(), Some("h.example"));
        let ports: Vec<_> = saved.ports.iter().map(ToString::to_string).collect();
        assert_eq!(ports, ["7000", "8:udp"]);
        assert_eq!(saved.spacing, "100ms±50%".parse().ok());
        assert_eq!(saved.payload.unwrap().bytes(), b"a\"b\\c");
        assert_eq!(saved.wait, "tcp/22".parse().ok());
        assert_eq!((saved.retry, saved.family), (Some(2), Some(Family::V6)));
        assert_eq!(saved.source_port, NonZeroU16::new(99));
    }
}
