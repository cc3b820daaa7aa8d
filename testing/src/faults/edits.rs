//! Somebody else changes the table while a door is open: within a second it is as it was, with the
//! time that is left.

use std::time::{Duration, Instant};

use crate::Result;
use crate::scenario::{Programs, Scenario};

use super::course::{Course, LATE};
use super::scene::{PATIENCE, Scene};

const DOOR: &str = "
[A]
	sequence = 7000
	tcpflags = syn
	open = tcp/2222
	open_for = 3s
";
const TIME: Duration = Duration::from_secs(3);

/// What somebody does, and what the log says of it.
#[derive(Copy, Clone, Debug)]
struct Edit {
    what: &'static str,
    /// For nft(8), one after the other.
    commands: &'static [&'static str],
    said: &'static str,
    harm: Harm,
}

/// What it does until it is mended.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Harm {
    /// Strangers may come in.
    LetsIn,
    /// The owner may not come in.
    KeepsOut,
    /// Nothing at once.
    None,
}

const EDITS: &[Edit] = &[
    Edit {
        what: "nft flush ruleset",
        commands: &["flush ruleset"],
        said: "the table is gone",
        harm: Harm::LetsIn,
    },
    Edit {
        what: "nft delete table inet postern",
        commands: &["delete table inet postern"],
        said: "the table is gone",
        harm: Harm::LetsIn,
    },
    Edit {
        what: "the table made anew, empty",
        commands: &["delete table inet postern; add table inet postern"],
        said: "the table was replaced or switched off",
        harm: Harm::LetsIn,
    },
    Edit {
        what: "the table set dormant",
        commands: &["add table inet postern { flags dormant; }"],
        said: "the table was replaced or switched off",
        harm: Harm::LetsIn,
    },
    Edit {
        what: "the rules of the table flushed",
        commands: &["flush table inet postern"],
        said: "rules were changed",
        harm: Harm::LetsIn,
    },
    Edit {
        what: "the base chain flushed",
        commands: &["flush chain inet postern prerouting"],
        said: "rules were changed",
        harm: Harm::LetsIn,
    },
    Edit {
        what: "the chain that guards flushed",
        commands: &["flush chain inet postern guard"],
        said: "rules were changed",
        harm: Harm::LetsIn,
    },
    Edit {
        what: "an accept rule at the start of the base chain",
        commands: &["insert rule inet postern prerouting accept"],
        said: "rules were changed",
        harm: Harm::LetsIn,
    },
    Edit {
        what: "a drop rule at the start of the base chain",
        commands: &["insert rule inet postern prerouting tcp dport 2222 drop"],
        said: "rules were changed",
        harm: Harm::KeepsOut,
    },
    Edit {
        what: "a base chain beside it that drops everything",
        commands: &["add chain inet postern early \
             { type filter hook prerouting priority -200; policy drop; }"],
        said: "chains were changed",
        harm: Harm::KeepsOut,
    },
    Edit {
        what: "a guarded port deleted",
        commands: &["delete element inet postern guarded { tcp . 2222 }"],
        said: "guarded ports were changed",
        harm: Harm::LetsIn,
    },
    Edit {
        what: "a port guarded that no door opens",
        commands: &["add element inet postern guarded { tcp . 443 }"],
        said: "guarded ports were changed",
        harm: Harm::None,
    },
    Edit {
        what: "the grant deleted",
        commands: &["delete element inet postern granted4 { 10.77.0.1 . tcp . 2222 }"],
        said: "grants were changed",
        harm: Harm::KeepsOut,
    },
    Edit {
        what: "all grants flushed",
        commands: &["flush set inet postern granted4"],
        said: "grants were changed",
        harm: Harm::KeepsOut,
    },
    Edit {
        what: "a grant of somebody else's for an hour",
        commands: &["add element inet postern granted4 { 10.77.0.9 . tcp . 2222 timeout 1h }"],
        said: "grants were changed",
        harm: Harm::LetsIn,
    },
    Edit {
        what: "a grant of somebody else's for ever",
        commands: &["add element inet postern granted4 { 10.77.0.9 . tcp . 2222 }"],
        said: "grants were changed",
        harm: Harm::LetsIn,
    },
    Edit {
        what: "the grant made longer by hours",
        commands: &[
            "delete element inet postern granted4 { 10.77.0.1 . tcp . 2222 }; \
             add element inet postern granted4 { 10.77.0.1 . tcp . 2222 timeout 9h }",
        ],
        said: "grants were changed",
        harm: Harm::None,
    },
];

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = vec![Scenario::new(
        "table: flushed 20 times a second for 3 s: it stands within a second after that",
        &["nft"],
        storm,
    )];
    all.extend(EDITS.iter().map(|edit| {
        let name = format!("table: {}: mended, and the door closes on time", edit.what);
        Scenario::new(name, &["nft"], |programs| foreign(programs, edit))
    }));
    all
}

fn foreign(programs: &Programs, edit: &Edit) -> Result<()> {
    let scene = Scene::new(programs, DOOR)?;
    let opened = scene.open()?;
    let session = scene.session()?;
    let at = Instant::now();
    for command in edit.commands {
        scene.nft(command)?;
    }
    // The command itself takes its time.
    let done = Instant::now();
    let text = format!("the gate stands again, with 1 grants: {}", edit.said);
    scene.wait_until("it is mended", PATIENCE, || scene.lines(&text) == 1)?;
    let (mut owner, mut stranger) = (Course::closed(), Course::closed());
    let mended = done + LATE;
    match edit.harm {
        Harm::LetsIn => stranger = stranger.either(at, mended),
        Harm::KeepsOut => owner = owner.either(at, mended),
        Harm::None => {}
    }
    let owner = owner.open(opened.knocked, opened.seen, TIME);
    scene.judge(&owner, &stranger)?;
    scene.require(scene.lines("stands again") == 1, || {
        "it was mended again, for nothing".into()
    })?;
    session.goes_on()
}

fn storm(programs: &Programs) -> Result<()> {
    /// Clock ticks of CPU (proc_pid_stat(5)), of which there are 100 a second.
    const MOST_TICKS: u64 = 100;
    /// One for each second and two more.
    const MOST_LINES: usize = 6;
    let scene = Scene::new(programs, &DOOR.replace("3s", "5s"))?;
    let opened = scene.open()?;
    let session = scene.session()?;
    let before = ticks(scene.process())?;
    let at = Instant::now();
    scene.server_must(
        "end=$((SECONDS + 3)); while [ $SECONDS -lt $end ]; do nft flush ruleset; sleep 0.05; done",
    )?;
    let done = Instant::now();
    scene.wait_until("the gate stands", LATE, || {
        let table = scene.server("nft list table inet postern");
        table.is_ok_and(|output| output.status.success())
    })?;
    let used = ticks(scene.process())? - before;
    let stranger = Course::closed().either(at, done + LATE);
    let owner = Course::closed().open(opened.knocked, opened.seen, Duration::from_secs(5));
    scene.judge(&owner, &stranger)?;
    let lines = scene.lines("stands again");
    println!("      {used}0 ms of CPU, {lines} lines");
    scene.require(used < MOST_TICKS, || format!("{used}0 ms of CPU"))?;
    scene.require((1..=MOST_LINES).contains(&lines), || {
        format!("{lines} lines")
    })?;
    session.goes_on()
}

/// What a process has used so far.
fn ticks(process: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = text.rsplit(')').next().unwrap_or_default();
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || -> Result<u64> { Ok(fields.next().ok_or("no such process")?.parse()?) };
    Ok(next()? + next()?)
}
