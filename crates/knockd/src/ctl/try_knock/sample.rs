//! The story with the sample configuration: closed by the daemon alone, knocked, open for one,
//! closed by itself, and closed without the daemon too. No program but ours is run.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use knock_core::sequence::Protocol;

use super::probe::{self, Answer, Spot};
use super::stage::{Expect, Family, INTERFACE, PATIENCE, Stage, V4, V6};
use super::story::Story;
use super::{Options, TryError};
use crate::lab::Process;

/// The configuration that is tried.
const CONFIG: &str = include_str!("sample.conf");
/// Its sequence.
const STEPS: [&str; 3] = ["7000", "9000", "8000"];
/// What the log says once it is open.
const OPENED: &str = ": ssh: tcp/22 open for 3s";
/// Its `open_for`.
const OPEN_FOR: Duration = Duration::from_secs(3);
/// What it guards.
const PORT: u16 = 22;

/// Tells the story from beginning to end.
pub(super) fn tell(options: &Options, story: &Story) -> Result<(), TryError> {
    let mut stage = Stage::build(options, story)?;
    let families: &[Family] = if stage.has_ipv6() { &[V4, V6] } else { &[V4] };
    for family in families {
        probe::serve(&stage.server, door(family))?;
    }
    introduce(story, families);
    for family in families {
        let open = "without knockd, port 22 is open to everybody";
        stage.reach(open, family.stranger, door(family), Expect::Opened)?;
    }

    let shown = format!("knockd -c knockd.conf -i {INTERFACE}");
    let config = format!("{CONFIG}{}", stage.state(true));
    let daemon = stage.start(config.as_bytes(), &shown)?;
    for family in families {
        let closed = "port 22 is closed for the knocker";
        stage.reach(closed, family.knocker, door(family), Expect::Closed)?;
    }
    closes_by_itself(&mut stage, &V4)?;
    closes_without_the_daemon(&mut stage, daemon, families.last().unwrap_or(&V4))?;
    stage.leave()
}

const fn door(family: &Family) -> Spot {
    Spot {
        protocol: Protocol::Tcp,
        at: SocketAddr::new(family.server, PORT),
    }
}

/// Knocks, until the log says that the port is open, and it is. `None` if it does not say so.
fn open(stage: &mut Stage<'_>, family: &Family) -> Result<Option<Answer>, TryError> {
    stage.take_quoted();
    stage.knock(family.server, &STEPS.map(str::to_owned))?;
    if !stage.log_until(OPENED)? {
        return Ok(None);
    }
    let open = "port 22 is open for the knocker";
    let answer = stage.reach(open, family.knocker, door(family), Expect::Opened)?;
    Ok(Some(answer))
}

/// The daemon says when the kernel has closed the port.
fn closes_by_itself(stage: &mut Stage<'_>, family: &Family) -> Result<(), TryError> {
    let Some(answer) = open(stage, family)? else {
        return Ok(());
    };
    let opened = Instant::now();
    let stranger = "it is still closed for a second address";
    stage.reach(stranger, family.stranger, door(family), Expect::Closed)?;

    stage.story.say("\nNow we only wait.");
    let closed = |line: &str| line.ends_with(": ssh: closed");
    let by_itself = stage.log_said(OPEN_FOR + PATIENCE, closed)?;
    let after = format!("after {:.1} s", opened.elapsed().as_secs_f32());
    stage
        .story
        .check(by_itself, "the door closes by itself", after);
    let again = "port 22 is closed again for the knocker";
    stage.reach(again, family.knocker, door(family), Expect::ClosedAgain)?;
    if let Answer::Open(Some(stream), _) = answer {
        let alive = probe::is_alive(&stream);
        let seen = if alive {
            "it still carries bytes"
        } else {
            "it is dead"
        };
        let claim = "the connection made meanwhile lives on";
        stage.story.check(alive, claim, seen);
    }
    Ok(())
}

/// The kernel guards the port, and closes it on time, when the daemon cannot any more.
fn closes_without_the_daemon(
    stage: &mut Stage<'_>,
    daemon: Process,
    family: &Family,
) -> Result<(), TryError> {
    if open(stage, family)?.is_none() {
        return Ok(());
    }
    let opened = Instant::now();
    stage.kill(daemon)?;
    let knocker = "without knockd it is still open for the knocker";
    stage.reach(knocker, family.knocker, door(family), Expect::Opened)?;
    let stranger = "and stays closed for a second address";
    stage.reach(stranger, family.stranger, door(family), Expect::Closed)?;
    let again = "the kernel closes it for the knocker too";
    stage.closes(again, family.knocker, door(family), opened)
}

fn introduce(story: &Story, families: &[Family]) {
    let addresses = |of: fn(&Family) -> String| {
        let addresses: Vec<_> = families.iter().map(of).collect();
        addresses.join(" and ")
    };
    story.say(format_args!(
        "Two throw-away network namespaces, joined by a virtual cable. \
         Your own network is not touched.\n\n  \
         client  {}; {} for a stranger\n  \
         server  {}, without any firewall but what knockd tells the kernel\n\n\
         knockd.conf on the server, whose log and journal are thrown away too:\n\n{}\n",
        addresses(|family| family.knocker.to_string()),
        addresses(|family| family.stranger.to_string()),
        addresses(|family| family.server.to_string()),
        CONFIG.trim_end()
    ));
}
