//! The table is gone at the very moment at which the daemon needs it. It stands still meanwhile, so
//! that it cannot mend first.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::Result;
use crate::scenario::{Programs, Scenario};

use super::course::{Course, LATE};
use super::scene::{PATIENCE, Scene};

const DOORS: &str = "
[A]
	sequence = 7000
	tcpflags = syn
	open = tcp/2222
	open_for = 3s
[bye]
	sequence = 9000
	tcpflags = syn
	close = A
";
const TIME: Duration = Duration::from_secs(3);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "table: a knock while it is gone opens, and that is true",
            &["nft"],
            opens,
        ),
        Scenario::new(
            "table: a closing knock while it is gone closes for good",
            &["nft"],
            closes,
        ),
        Scenario::new(
            "table: a reload while it is gone puts it up with what is open",
            &["nft"],
            reloads,
        ),
        Scenario::new(
            "table: SIGTERM while it is gone leaves it standing, and closed",
            &["nft"],
            stops,
        ),
        Scenario::new(
            "table: gone while no daemon runs: the next one puts it up, closed",
            &["nft"],
            starts,
        ),
        Scenario::new(
            "table: gone when the time is over: not put up with what has ended",
            &["nft"],
            expires,
        ),
    ]
}

/// Takes the table away under a daemon that stands still, does `job`, and lets it go on. From when
/// to when others may have come in.
fn without_table(scene: &Scene, job: impl FnOnce() -> Result<()>) -> Result<(Instant, Instant)> {
    scene.signal(Signal::SIGSTOP)?;
    let gone = scene.nft("delete table inet postern")?;
    job()?;
    scene.signal(Signal::SIGCONT)?;
    Ok((gone, Instant::now() + LATE))
}

fn opens(programs: &Programs) -> Result<()> {
    let scene = Scene::new(programs, DOORS)?;
    let (gone, back) = without_table(&scene, || scene.knock("7000").map(drop))?;
    scene.wait_for_line("A: tcp/2222 open for 3s")?;
    let set = scene.server("nft list set inet postern granted4")?;
    let now = Instant::now();
    let there = String::from_utf8_lossy(&set.stdout).contains("10.77.0.1 . tcp . 2222");
    scene.require(there, || "the kernel does not have it".into())?;
    let owner = Course::closed().either(gone, back).open(gone, now, TIME);
    scene.judge(&owner, &Course::closed().either(gone, back))
}

fn closes(programs: &Programs) -> Result<()> {
    let scene = Scene::new(programs, &DOORS.replace("3s", "1h"))?;
    let opened = scene.open()?;
    let session = scene.session()?;
    let (gone, back) = without_table(&scene, || scene.knock("9000").map(drop))?;
    scene.settle("10.77.0.2")?;
    let owner = Course::closed().open_until((opened.knocked, opened.seen), (gone, back));
    scene.judge(&owner, &Course::closed().either(gone, back))?;
    scene.require(scene.lines("10.77.0.1: A: closed by bye") == 1, || {
        "it does not say so".into()
    })?;
    session.goes_on()
}

fn reloads(programs: &Programs) -> Result<()> {
    let scene = Scene::new(programs, DOORS)?;
    let opened = scene.open()?;
    let session = scene.session()?;
    let more = "[B]\nsequence = 8000\ntcpflags = syn\nopen = tcp/3333\n";
    scene.write_doors(&format!("{DOORS}{more}"))?;
    let (gone, back) = without_table(&scene, || scene.signal(Signal::SIGHUP))?;
    scene.wait_for_line("guarded are tcp/2222, tcp/3333")?;
    let owner = Course::closed().open(opened.knocked, opened.seen, TIME);
    scene.judge(&owner, &Course::closed().either(gone, back))?;
    session.goes_on()
}

fn stops(programs: &Programs) -> Result<()> {
    let mut scene = Scene::new(programs, &DOORS.replace("3s", "1h"))?;
    let opened = scene.open()?;
    let session = scene.session()?;
    let (gone, back) = without_table(&scene, || scene.signal(Signal::SIGTERM))?;
    scene.wait_for_end()?;
    let owner = Course::closed().open_until((opened.knocked, opened.seen), (gone, back));
    scene.judge(&owner, &Course::closed().either(gone, back))?;
    session.goes_on()
}

fn starts(programs: &Programs) -> Result<()> {
    let mut scene = Scene::new(programs, &DOORS.replace("3s", "1h"))?;
    let opened = scene.open()?;
    let session = scene.session()?;
    scene.kill()?;
    let gone = scene.nft("delete table inet postern")?;
    scene.start()?;
    let back = Instant::now() + Duration::from_millis(100);
    let owner = Course::closed().open_until((opened.knocked, opened.seen), (gone, back));
    scene.judge(&owner, &Course::closed().either(gone, back))?;
    let again = scene.open()?;
    scene.require(again.seen > again.knocked, || "it does not open".into())?;
    session.goes_on()
}

fn expires(programs: &Programs) -> Result<()> {
    let scene = Scene::new(programs, DOORS)?;
    let opened = scene.open()?;
    scene.signal(Signal::SIGSTOP)?;
    let end = opened.seen + TIME;
    scene.wait_until("its time is over", PATIENCE, || Instant::now() > end)?;
    let gone = scene.nft("delete table inet postern")?;
    scene.signal(Signal::SIGCONT)?;
    let back = Instant::now() + LATE;
    scene.wait_for_line("the gate stands again, with 0 grants: the table is gone")?;
    let owner = Course::closed()
        .open(opened.knocked, opened.seen, TIME)
        .either(gone, back);
    scene.judge(&owner, &Course::closed().either(gone, back))
}
