//! `knock HOST PORT …`: a packet to each port, and what came of it.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use knock_core::sequence::Protocol;
use serde_json::{Value, json};

use super::wait::{Voice, Waited};
use super::{Args, complain, say, source, without_number};
use crate::knocker::{Knocker, RouteError};
use crate::pace::{Pace, Spacing};
use crate::reach::{self, WaitFor};
use crate::resolve::{self, Family};
use crate::shape::{Flags, Payload, Shape};
use crate::spa::report;
use crate::spa::utc::Utc;
use crate::step::Step;

/// The pause between two steps where `-d` gives none. The original takes about as long to look
/// up the host anew for each port, and needs it without knowing: receivers with several queues
/// hand over packets of different ports in any order if they come within some ten microseconds.
const DEFAULT_PAUSE: Duration = Duration::from_millis(1);

/// The pause after the last step where `-d` gives none: a door takes some tenths of a millisecond
/// to open, and a busy machine some whole ones. So `knock … && ssh …` does not find it closed, and
/// lose a second to a SYN that must be sent again.
const LAST_PAUSE: Duration = Duration::from_millis(5);

/// How long the first attempt at a port is given that is waited for: nothing has said yet how far
/// away it is.
const FIRST_ATTEMPT: Duration = Duration::from_millis(250);

/// What only sequences have.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Packets of a sequence")]
pub struct Packets {
    /// Wait TIME between two knocks, more or less: 100ms, 100ms+-50%
    #[arg(long, value_name = "TIME", conflicts_with = "delay")]
    pub(super) spacing: Option<Spacing>,
    /// Send TCP packets with these flags: syn,!ack
    #[arg(long, value_name = "FLAGS")]
    pub(super) flags: Option<Flags>,
    /// What UDP packets carry: TEXT, @FILE, hex:00ff
    #[arg(long, value_name = "TEXT", value_hint = clap::ValueHint::Other)]
    pub(super) payload: Option<Payload>,
    /// Send TCP and UDP packets from this port
    #[arg(long, value_name = "PORT")]
    pub(super) source_port: Option<NonZeroU16>,
}

impl Packets {
    /// Whether there is any of them.
    pub(super) const fn is_given(&self) -> bool {
        self.spacing.is_some()
            || self.flags.is_some()
            || self.payload.is_some()
            || self.source_port.is_some()
    }
}

/// What to do: all of it checked, nothing of it sent yet.
#[derive(Debug)]
struct Request {
    knocker: Knocker,
    steps: Vec<Step>,
    pace: Pace,
    verbose: bool,
    source: Option<SocketAddr>,
    wait: Option<NonZeroU16>,
}

/// A packet, and what came of it.
struct Sent {
    round: u32,
    step: Step,
    to: SocketAddr,
    at: Duration,
    problem: Option<String>,
}

/// Knocks, waits where that is asked for, and says what came of it: the exit code.
pub(super) fn knock(args: &Args) -> u8 {
    let voice = args.voice();
    let request = match request(args) {
        Ok(request) => request,
        Err(problems) => {
            problems.iter().for_each(|problem| complain(problem));
            return 1;
        }
    };
    let (mut sent, mut waited, mut rounds) = (Vec::new(), None, 0);
    while rounds < args.waiting.rounds() {
        rounds = rounds.saturating_add(1);
        send(&request, rounds, voice, &mut sent);
        let Some(port) = request.wait else { break };
        let result = wait(args, &request, port, voice);
        let is_open = result.is_open();
        waited = Some(result);
        if is_open {
            break;
        }
    }
    let unsent = sent.iter().any(|sent| sent.problem.is_some());
    let code = match &waited {
        Some(waited) if waited.is_open() => report::DONE,
        _ if unsent => 1,
        Some(waited) => waited.code(),
        None => report::DONE,
    };
    match voice {
        Voice::Json => say(&object(args, code, &sent, waited.as_ref()).to_string()),
        Voice::Lines => waited.iter().for_each(|waited| waited.tell(rounds)),
        Voice::Quiet => {}
    }
    code
}

fn wait(args: &Args, request: &Request, port: NonZeroU16, voice: Voice) -> Waited {
    let way = reach::Way {
        to: request.knocker.address(Step::Port(Protocol::Tcp, port)),
        from: request.source,
        interface: args.route.interface.as_deref(),
    };
    Waited::for_port(way, FIRST_ATTEMPT, &args.waiting, voice)
}

/// Checks everything, and reports every mistake that can be seen at once.
fn request(args: &Args) -> Result<Request, Vec<String>> {
    let mut problems: Vec<String> = args
        .waiting
        .problem()
        .map(str::to_owned)
        .into_iter()
        .collect();
    let steps = args.ports.iter().map(|text| step(text, args.udp));
    let steps: Vec<Step> = steps
        .filter_map(|step| step.map_err(|problem| problems.push(problem)).ok())
        .collect();
    let source = args.route.source.as_deref().map(source).transpose();
    let source = source
        .map_err(|problem| problems.push(problem))
        .ok()
        .flatten();
    let wait = match args.waiting.wait {
        Some(WaitFor::Port(port)) => Some(port),
        None => None,
        Some(WaitFor::Opened) => {
            problems.push("--wait: nothing says which port: --wait tcp/22".to_owned());
            None
        }
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let knocker = knocker(args, source, &steps).map_err(|problem| vec![problem])?;
    let pace = match (args.delay, args.sequence.spacing) {
        (Some(delay), _) => Pace::Delay(delay),
        (None, Some(spacing)) => Pace::Spacing(spacing),
        (None, None) => Pace::Shortest,
    };
    Ok(Request {
        knocker,
        steps,
        pace,
        verbose: args.route.verbose && args.voice() == Voice::Lines,
        source,
        wait,
    })
}

fn step(text: &str, udp: bool) -> Result<Step, String> {
    let default = if udp { Protocol::Udp } else { Protocol::Tcp };
    let step = Step::parse(text, default, &resolve::service)
        .map_err(|error| format!("'{}': {error}", text.escape_debug()))?;
    Ok(if udp { step.over_udp() } else { step })
}

fn knocker(args: &Args, source: Option<SocketAddr>, steps: &[Step]) -> Result<Knocker, String> {
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
    let shape = Shape {
        flags: args.sequence.flags,
        payload: args.sequence.payload.clone().unwrap_or_default(),
        source_port: args.sequence.source_port,
    };
    let knocker = Knocker::new(to, source, interface, shape);
    knocker
        .and_then(|knocker| {
            steps.iter().try_for_each(|step| knocker.may_send(*step))?;
            Ok(knocker)
        })
        .map_err(|error| refusal(args, &error))
}

/// Why nothing can be sent, and what to do about it where that is not plain.
fn refusal(args: &Args, error: &RouteError) -> String {
    let host = args.host.escape_debug();
    match error {
        RouteError::Socket(_) => format!("cannot knock at '{host}': {error}"),
        RouteError::Interface(_) => {
            let name = args.route.interface.as_deref().unwrap_or_default();
            format!("cannot use interface '{}': {error}", name.escape_debug())
        }
        RouteError::Source(_) => {
            let from = args.route.source.as_deref().unwrap_or_default();
            let port = args.sequence.source_port.map(|port| format!("port {port}"));
            let from = [from, port.as_deref().unwrap_or_default()].join(" ");
            format!("cannot send from '{}': {error}", from.trim().escape_debug())
        }
        RouteError::Raw(error) if error.kind() == io::ErrorKind::Unsupported => {
            format!("--flags: {error}")
        }
        RouteError::Raw(_) => {
            let error = error.to_string();
            format!("--flags: {}: {RAW_NEEDS}", without_number(&error))
        }
        RouteError::Echo(_) => {
            let error = error.to_string();
            format!("icmp: {}: {ECHO_NEEDS}", without_number(&error))
        }
    }
}

#[cfg(target_os = "linux")]
const RAW_NEEDS: &str = "such packets need CAP_NET_RAW: be root, or leave it out";
#[cfg(not(target_os = "linux"))]
const RAW_NEEDS: &str = "such packets need root";

#[cfg(target_os = "linux")]
const ECHO_NEEDS: &str = "echo requests need that the sysctl net.ipv4.ping_group_range has a group \
                          of yours, or CAP_NET_RAW: be root";
#[cfg(not(target_os = "linux"))]
const ECHO_NEEDS: &str = "echo requests need an administrator here";

/// Knocks at every port, also after one could not be sent: each may be a door of its own.
fn send(request: &Request, round: u32, voice: Voice, all: &mut Vec<Sent>) {
    let mut problems = Vec::new();
    for (i, &step) in request.steps.iter().enumerate() {
        let to = request.knocker.address(step);
        let name = name(step, &to);
        if request.verbose {
            say(&format!("hitting {name}"));
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH);
        let number = i.saturating_add(1);
        let problem = request.knocker.knock(step).err();
        let problem = problem.map(|error| error.to_string());
        if let Some(error) = &problem {
            problems.push(format!("could not send knock {number}, {name}: {error}"));
        }
        all.push(Sent {
            round,
            step,
            to,
            at: at.unwrap_or_default(),
            problem,
        });
        thread::sleep(pause(request.pace, number == request.steps.len()));
    }
    if voice == Voice::Lines {
        problems.iter().for_each(|problem| complain(problem));
    }
}

/// `tcp 192.0.2.7:7000`
fn name(step: Step, to: &SocketAddr) -> String {
    let protocol = step.protocol();
    match step {
        Step::Port(..) => format!("{protocol} {to}"),
        Step::Echo(size) => format!("{protocol} {}, {size} bytes", to.ip()),
    }
}

/// After `-d` also after the last step, as the original: `knock -d 500 … && ssh …` may rely on it.
fn pause(pace: Pace, is_last: bool) -> Duration {
    match pace {
        Pace::Delay(delay) => delay,
        _ if is_last => LAST_PAUSE,
        Pace::Spacing(spacing) => spacing.pause(getrandom::u64().unwrap_or(0)),
        Pace::Shortest => DEFAULT_PAUSE,
    }
}

fn object(args: &Args, code: u8, sent: &[Sent], waited: Option<&Waited>) -> Value {
    let knocks: Vec<Value> = sent.iter().map(knock_object).collect();
    let address = sent.first().map(|sent| sent.to.ip());
    json!({
        "host": args.host,
        "address": address,
        "exit": code,
        "knocks": knocks,
        "wait": waited.map(Waited::json),
    })
}

fn knock_object(sent: &Sent) -> Value {
    let utc = Utc::of(sent.at.as_secs());
    let at = format!(
        "{}T{}.{:03}Z",
        utc.date(),
        utc.time(),
        sent.at.subsec_millis()
    );
    let size = match sent.step {
        Step::Echo(size) => Some(size),
        Step::Port(..) => None,
    };
    json!({
        "round": sent.round,
        "protocol": sent.step.protocol(),
        "port": sent.step.port(),
        "size": size,
        "at": at,
        "sent": sent.problem.is_none(),
        "reason": sent.problem.as_deref().map(without_number),
    })
}
