//! The story with the sample configuration: closed, knocked, open for one, closed by itself.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::probe::{self, Answer};
use super::stage::{Expect, INTERFACE, KNOCKER, PATIENCE, SERVER, STRANGER, Stage};
use super::story::Story;
use super::{Options, TryError, firewall, programs};

/// The configuration that is tried.
const CONFIG: &str = include_str!("sample.conf");
/// Its sequence.
const STEPS: [&str; 3] = ["7000", "9000", "8000"];
/// Its `cmd_timeout`.
const OPEN_FOR: Duration = Duration::from_secs(3);
/// What it guards.
const DOOR: SocketAddr = SocketAddr::new(SERVER, 22);

/// Tells the story from beginning to end.
pub(super) fn tell(options: &Options, story: &Story) -> Result<(), TryError> {
    programs::installed("nft", "nftables")?;
    let mut stage = Stage::build(options, story, None)?;
    firewall::load(&stage.server, firewall::NFT)?;
    probe::serve(&stage.server, DOOR)?;
    introduce(story);

    let daemon = stage.start(
        CONFIG.as_bytes(),
        &format!("knockd -c knockd.conf -i {INTERFACE}"),
    )?;
    let closed = "port 22 is closed for the knocker";
    stage.reach(closed, KNOCKER, DOOR, Expect::Closed)?;

    stage.knock(SERVER, &STEPS.map(str::to_owned))?;
    stage.log_until("ssh: running command: ")?;
    let opened = Instant::now();
    let open = "port 22 is open for the knocker";
    let answer = stage.reach(open, KNOCKER, DOOR, Expect::Opened)?;
    let stranger = "it is still closed for a second address";
    stage.reach(stranger, STRANGER, DOOR, Expect::Closed)?;

    story.say("\nNow we only wait.");
    let delete = |line: &str| line.contains("ssh: running command: nft delete");
    let by_itself = stage.log_within(OPEN_FOR + PATIENCE, delete)?;
    let after = format!("after {:.1} s", opened.elapsed().as_secs_f32());
    story.check(by_itself, "the daemon closes it by itself", after);
    let again = "port 22 is closed again for the knocker";
    stage.reach(again, KNOCKER, DOOR, Expect::ClosedAgain)?;
    if let Answer::Open(stream, _) = answer {
        let alive = probe::is_alive(&stream);
        let seen = if alive {
            "it still carries bytes"
        } else {
            "it is dead"
        };
        story.check(alive, "the connection made meanwhile lives on", seen);
    }
    stage.end(daemon)
}

fn introduce(story: &Story) {
    story.say(format_args!(
        "Two throw-away network namespaces, joined by a virtual cable. \
         Your own network is not touched.\n\n  \
         client  {KNOCKER}, and {STRANGER} for a stranger\n  \
         server  {SERVER}, port 22 behind an nftables firewall that drops by default\n\n\
         knockd.conf on the server:\n\n{}",
        CONFIG.trim_end()
    ));
}
