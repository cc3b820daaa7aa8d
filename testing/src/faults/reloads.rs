//! The configuration changes, or is broken, while a native door is open.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::Result;
use crate::scenario::{Programs, Scenario};

use super::course::{Course, LATE};
use super::scene::{PATIENCE, Scene};

const A: &str = "
[A]
	sequence = 7000
	tcpflags = syn
	open = tcp/2222
	open_for = 3s
";
/// The same port.
const B: &str = "
[B]
	sequence = 8000
	tcpflags = syn
	open = tcp/2222
	open_for = 1h
";
/// Another port.
const C: &str = "
[C]
	sequence = 9000
	tcpflags = syn
	open = tcp/3333
";
const TIME: Duration = Duration::from_secs(3);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "reload: another port for the open door, and back: it closes on time",
            &[],
            other_port,
        ),
        Scenario::new(
            "reload: the open door is removed, its port not guarded any more: said, nothing is cut",
            &[],
            removed,
        ),
        Scenario::new(
            "reload: the open door is removed, another one guards its port: closed on time",
            &[],
            removed_beside_another,
        ),
        Scenario::new(
            "reload: no native door is left: the table goes, and comes back closed",
            &["nft"],
            none_left,
        ),
        Scenario::new(
            "reload: a broken file changes nothing for an open door",
            &[],
            broken,
        ),
        Scenario::new(
            "reload: another open_for is for the next knock",
            &[],
            other_time,
        ),
        Scenario::new(
            "reload: 20 in a row while a door is open",
            &[],
            again_and_again,
        ),
    ]
}

fn other_port(programs: &Programs) -> Result<()> {
    let scene = Scene::new(programs, &format!("{A}{C}"))?;
    let opened = scene.open()?;
    let session = scene.session()?;
    scene.write_doors(&format!("{}{C}", A.replace("2222", "4444")))?;
    let changed = Instant::now();
    scene.reload()?;
    scene.wait_for_line("not guarded any more: tcp/2222")?;
    scene.write_doors(&format!("{A}{C}"))?;
    scene.reload()?;
    let back = Instant::now();
    let in_time = back < opened.knocked + TIME;
    scene.require(in_time, || "it took too long to tell anything".into())?;
    let owner = Course::closed().open(opened.knocked, opened.seen, TIME);
    scene.judge(&owner, &Course::closed().either(changed, back))?;
    session.goes_on()
}

fn removed(programs: &Programs) -> Result<()> {
    let scene = Scene::new(programs, &format!("{A}{C}"))?;
    let opened = scene.open()?;
    let session = scene.session()?;
    scene.write_doors(C)?;
    let changed = Instant::now();
    scene.reload()?;
    scene.wait_for_line("not guarded any more: tcp/2222")?;
    // It is open to everybody: that is what the file says. Guarded again, it is closed on time.
    scene.write_doors(&format!("{B}{C}"))?;
    scene.reload()?;
    let back = Instant::now();
    let owner = Course::closed().open(opened.knocked, opened.seen, TIME);
    scene.judge(&owner, &Course::closed().either(changed, back))?;
    session.goes_on()
}

fn removed_beside_another(programs: &Programs) -> Result<()> {
    let scene = Scene::new(programs, &format!("{A}{B}"))?;
    let opened = scene.open()?;
    let session = scene.session()?;
    scene.write_doors(B)?;
    scene.reload()?;
    scene.judge_opening(opened, TIME)?;
    scene.wait_for_line("10.77.0.1: A: closed")?;
    session.goes_on()
}

fn none_left(programs: &Programs) -> Result<()> {
    let scene = Scene::new(programs, &A.replace("3s", "1h"))?;
    let opened = scene.open()?;
    let session = scene.session()?;
    scene.write_doors("[D]\nsequence = 1000\ncommand = true\n")?;
    let changed = Instant::now();
    scene.reload()?;
    scene.wait_for_line("the gate is gone: no door opens anything")?;
    let table = scene.server("nft list table inet postern")?;
    scene.require(!table.status.success(), || "the table is there".into())?;
    // Nothing is left to be mended.
    scene.reload()?;
    scene.settle("10.77.0.2")?;
    scene.require(scene.lines("stands again") == 0, || {
        "it says that a gate stands again".into()
    })?;
    scene.write_doors(A)?;
    scene.reload()?;
    let back = Instant::now();
    let owner = Course::closed().open_until((opened.knocked, opened.seen), (changed, back));
    scene.judge(&owner, &Course::closed().either(changed, back))?;
    session.goes_on()
}

fn broken(programs: &Programs) -> Result<()> {
    let scene = Scene::new(programs, A)?;
    let opened = scene.open()?;
    let session = scene.session()?;
    scene.write_doors("[A]\n\tsequence = what\n")?;
    scene.reload()?;
    scene.wait_for_line("the configuration that was running stays in force")?;
    scene.judge_opening(opened, TIME)?;
    scene.wait_for_line("10.77.0.1: A: closed")?;
    session.goes_on()
}

fn other_time(programs: &Programs) -> Result<()> {
    let scene = Scene::new(programs, A)?;
    let opened = scene.open()?;
    scene.write_doors(&A.replace("3s", "1s"))?;
    scene.reload()?;
    scene.judge_opening(opened, TIME)?;
    let again = scene.open()?;
    let owner = Course::closed()
        .open(opened.knocked, opened.seen, TIME)
        .open(again.knocked, again.seen, Duration::from_secs(1));
    scene.judge(&owner, &Course::closed())
}

fn again_and_again(programs: &Programs) -> Result<()> {
    let scene = Scene::new(programs, &A.replace("3s", "4s"))?;
    let opened = scene.open()?;
    let session = scene.session()?;
    let (one, other) = (format!("{A}{C}"), format!("{A}{B}"));
    for round in 0..20 {
        scene.write_doors(if round % 2 == 0 { &one } else { &other })?;
        scene.signal(Signal::SIGHUP)?;
        scene.settle("10.77.0.2")?;
    }
    scene.wait_until("all are read", PATIENCE, || {
        scene.lines("re-reading config file") == 20
    })?;
    let took = opened.knocked.elapsed();
    println!(
        "      20 reloads within {} ms of the knock",
        took.as_millis()
    );
    scene.judge_opening(opened, TIME + LATE)?;
    session.goes_on()
}
