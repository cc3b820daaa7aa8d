//! Native doors, and the daemon dies: the kernel closes them on time, and who comes next takes them
//! over.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

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

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "gate: ten kills of the keeper while a door is open, one after the other",
            &[],
            storm,
        ),
        Scenario::new(
            "gate: kill -9 of the keeper: the kernel closes on time",
            &[],
            keeper,
        ),
        Scenario::new(
            "gate: kill -9 of the keeper and a new one: the grant goes on",
            &[],
            keeper_and_back,
        ),
        Scenario::new(
            "gate: kill -9 of the listener: the door stays open, and the next knock counts",
            &[],
            listener,
        ),
        Scenario::new("gate: kill -9 of keeper and listener", &[], both),
        Scenario::new(
            "gate: SIGTERM with on_stop = close: closed at once, the gate stays",
            &[],
            stop_closes,
        ),
        Scenario::new(
            "gate: SIGTERM with on_stop = keep: closed by the kernel, on time",
            &[],
            stop_keeps,
        ),
        Scenario::new(
            "gate: on_stop = keep and a new daemon: the grant goes on",
            &[],
            stop_keeps_and_back,
        ),
        Scenario::new(
            "gate: a knock in the middle of a restart is heard or not, and nothing stays open",
            &[],
            knock_in_between,
        ),
        Scenario::new(
            "gate: a keeper that stands still, and wakes after the time is over",
            &[],
            asleep,
        ),
    ]
}

fn keeper(programs: &Programs) -> Result<()> {
    let mut scene = Scene::new(programs, DOOR)?;
    let opened = scene.open()?;
    let session = scene.session()?;
    scene.kill()?;
    scene.judge_opening(opened, TIME)?;
    session.goes_on()
}

fn keeper_and_back(programs: &Programs) -> Result<()> {
    let mut scene = Scene::new(programs, DOOR)?;
    let opened = scene.open()?;
    let session = scene.session()?;
    scene.kill()?;
    scene.start()?;
    scene.wait_for_line("1 grants from before go on")?;
    scene.judge_opening(opened, TIME)?;
    scene.wait_for_line("10.77.0.1: A: closed")?;
    session.goes_on()
}

fn storm(programs: &Programs) -> Result<()> {
    const KILLS: usize = 10;
    let door = DOOR.replace("3s", "6s");
    let mut scene = Scene::new(programs, &door)?;
    let opened = scene.open()?;
    let session = scene.session()?;
    for _ in 0..KILLS {
        scene.kill()?;
        scene.start()?;
    }
    let adopted = scene.lines("1 grants from before go on");
    let took = opened.knocked.elapsed();
    println!("      {KILLS} kills in {} ms", took.as_millis());
    // On a slow machine the door has closed before the last.
    let all = adopted == KILLS || took > 2 * TIME;
    scene.require(all, || format!("taken over {adopted} times"))?;
    scene.judge_opening(opened, 2 * TIME)?;
    session.goes_on()
}

fn listener(programs: &Programs) -> Result<()> {
    let scene = Scene::new(programs, DOOR)?;
    let opened = scene.open()?;
    let session = scene.session()?;
    kill(scene.listener()?, Signal::SIGKILL)?;
    scene.wait_for_line("a new listener is ready")?;
    scene.judge_opening(opened, TIME)?;
    let again = scene.open()?;
    let course = Course::closed()
        .open(opened.knocked, opened.seen, TIME)
        .open(again.knocked, again.seen, TIME);
    scene.judge(&course, &Course::closed())?;
    session.goes_on()
}

fn both(programs: &Programs) -> Result<()> {
    let mut scene = Scene::new(programs, DOOR)?;
    let opened = scene.open()?;
    let session = scene.session()?;
    let listener = scene.listener()?;
    // Stopped, it cannot start another one first.
    scene.signal(Signal::SIGSTOP)?;
    kill(listener, Signal::SIGKILL)?;
    scene.kill()?;
    scene.judge_opening(opened, TIME)?;
    session.goes_on()
}

fn stop_closes(programs: &Programs) -> Result<()> {
    let mut scene = Scene::new(programs, &DOOR.replace("3s", "1h"))?;
    let opened = scene.open()?;
    let session = scene.session()?;
    let term = Instant::now();
    scene.signal(Signal::SIGTERM)?;
    let (status, _) = scene.wait_for_end()?;
    scene.require(status.code() == Some(15), || format!("it ended: {status}"))?;
    let second = term + Duration::from_secs(1);
    let course = Course::closed().open_until((opened.knocked, opened.seen), (term, second));
    scene.judge(&course, &Course::closed())?;
    scene.require(scene.lines("A: closed: the daemon stops") == 1, || {
        "it does not say so".into()
    })?;
    session.goes_on()
}

fn stop_keeps(programs: &Programs) -> Result<()> {
    let mut scene = Scene::new(programs, &format!("on_stop = keep\n{DOOR}"))?;
    let opened = scene.open()?;
    let session = scene.session()?;
    scene.signal(Signal::SIGTERM)?;
    scene.wait_for_end()?;
    scene.judge_opening(opened, TIME)?;
    session.goes_on()
}

fn stop_keeps_and_back(programs: &Programs) -> Result<()> {
    let mut scene = Scene::new(programs, &format!("on_stop = keep\n{DOOR}"))?;
    let opened = scene.open()?;
    let session = scene.session()?;
    scene.signal(Signal::SIGTERM)?;
    scene.wait_for_end()?;
    scene.start()?;
    scene.judge_opening(opened, TIME)?;
    scene.wait_for_line("10.77.0.1: A: closed")?;
    session.goes_on()
}

/// A knock each 5 ms while it starts: whoever is heard is let in for a time, whoever is not is not.
fn knock_in_between(programs: &Programs) -> Result<()> {
    let mut scene = Scene::new(programs, DOOR)?;
    scene.kill()?;
    let first = Instant::now();
    let mut knocking = Command::new("bash");
    knocking.args([
        "-c",
        "while :; do : > /dev/tcp/10.77.0.2/7000; sleep 0.005; done",
    ]);
    let knocking = scene.network.client.spawn(knocking.stderr(Stdio::null()))?;
    scene.start()?;
    drop(knocking);
    scene.settle("10.77.0.2")?;
    scene.wait_until("it opens", PATIENCE, || scene.first(true, first).is_some())?;
    let last = Instant::now();
    let heard = scene.openings("A");
    println!("      {heard} knocks were heard while it started");
    scene.require(heard > 0, || "none was heard".into())?;
    let course = Course::closed().either(first, last + TIME + LATE);
    scene.judge(&course, &Course::closed())?;
    // What was heard by the one before has closed by the kernel alone.
    scene.wait_for_line("A: closed")
}

fn asleep(programs: &Programs) -> Result<()> {
    let scene = Scene::new(programs, DOOR)?;
    let opened = scene.open()?;
    scene.signal(Signal::SIGSTOP)?;
    scene.judge_opening(opened, TIME)?;
    scene.signal(Signal::SIGCONT)?;
    scene.wait_until("it says so", PATIENCE, || scene.lines("A: closed") == 1)?;
    // It does not put up again what has ended.
    scene.settle("10.77.0.2")?;
    scene.judge_opening(opened, TIME)
}
