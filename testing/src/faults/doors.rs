//! Native doors that meet: one is knocked at again, closed by another, wider than one address, or
//! beside another one of the same port.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Result;
use crate::scenario::{Programs, Scenario};

use super::course::Course;
use super::scene::{Opened, Scene};

const TIME: Duration = Duration::from_secs(3);

fn door(name: &str, port: u16, time: &str) -> String {
    format!("[{name}]\nsequence = {port}\ntcpflags = syn\nopen = tcp/2222\nopen_for = {time}\n")
}

fn closing(kill: bool) -> String {
    let kill = if kill { "kill = yes\n" } else { "" };
    format!("[bye]\nsequence = 9000\ntcpflags = syn\nclose = A\n{kill}")
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "doors: a knock at an open door begins its time anew",
            &[],
            extended,
        ),
        Scenario::new(
            "doors: a knock at an open door, and kill -9: closed on the new time",
            &[],
            extended_and_killed,
        ),
        Scenario::new(
            "doors: close takes it back, and the connection goes on",
            &[],
            |programs| taken_back(programs, false),
        ),
        Scenario::new(
            "doors: close with kill = yes ends the connection too",
            &[],
            |programs| taken_back(programs, true),
        ),
        Scenario::new(
            "doors: close takes back what a daemon before has given",
            &[],
            taken_back_after_a_kill,
        ),
        Scenario::new(
            "doors: open_to = /24 lets the neighbour in, for the time, over a kill -9",
            &[],
            widened,
        ),
        Scenario::new(
            "doors: of two doors to one port the longer one counts",
            &[],
            two_doors,
        ),
        Scenario::new(
            "doors: of two doors to one port one is taken back, and the other one stays",
            &[],
            one_of_two_taken_back,
        ),
    ]
}

fn extended(programs: &Programs) -> Result<()> {
    let scene = Scene::new(programs, &door("A", 7000, "3s"))?;
    let opened = scene.open()?;
    let session = scene.session()?;
    let again = knock_again(&scene, opened)?;
    scene.judge(&again, &Course::closed())?;
    session.goes_on()
}

/// Knocks again when half of the time is over; what is then to be seen.
fn knock_again(scene: &Scene, opened: Opened) -> Result<Course> {
    sleep((TIME / 2).saturating_sub(opened.knocked.elapsed()));
    let again = scene.knock("7000")?;
    scene.wait_for_line("A: tcp/2222 open for 3s more")?;
    let heard = Instant::now();
    // From the first knock on, without a break.
    let first = Course::closed().open_until((opened.knocked, opened.seen), (heard, heard));
    Ok(first
        .open(heard, heard, TIME)
        .either(again + TIME, heard + TIME))
}

fn extended_and_killed(programs: &Programs) -> Result<()> {
    let mut scene = Scene::new(programs, &door("A", 7000, "3s"))?;
    let opened = scene.open()?;
    let session = scene.session()?;
    let again = knock_again(&scene, opened)?;
    scene.kill()?;
    scene.start()?;
    scene.judge(&again, &Course::closed())?;
    session.goes_on()
}

fn taken_back(programs: &Programs, kill: bool) -> Result<()> {
    let doors = door("A", 7000, "1h") + &closing(kill);
    let scene = Scene::new(programs, &doors)?;
    let opened = scene.open()?;
    let session = scene.session()?;
    let knocked = scene.knock("9000")?;
    scene.wait_for_line("10.77.0.1: A: closed by bye")?;
    let closed = (knocked, Instant::now());
    let owner = Course::closed().open_until((opened.knocked, opened.seen), closed);
    scene.judge(&owner, &Course::closed())?;
    if !kill {
        return session.goes_on();
    }
    scene.wait_for_line("connections ended")?;
    session.is_dead()
}

fn taken_back_after_a_kill(programs: &Programs) -> Result<()> {
    let doors = door("A", 7000, "1h") + &closing(false);
    let mut scene = Scene::new(programs, &doors)?;
    let opened = scene.open()?;
    let session = scene.session()?;
    scene.kill()?;
    scene.start()?;
    let knocked = scene.knock("9000")?;
    scene.wait_for_line("10.77.0.1: A: closed by bye")?;
    let closed = (knocked, Instant::now());
    let owner = Course::closed().open_until((opened.knocked, opened.seen), closed);
    scene.judge(&owner, &Course::closed())?;
    session.goes_on()
}

fn widened(programs: &Programs) -> Result<()> {
    let doors = door("A", 7000, "3s") + "open_to = /24\n";
    let mut scene = Scene::new(programs, &doors)?;
    let opened = scene.open()?;
    let session = scene.session()?;
    scene.kill()?;
    scene.start()?;
    // The stranger is a neighbour.
    let course = Course::closed()
        .either(opened.knocked, opened.seen + Duration::from_millis(100))
        .open(opened.knocked, opened.seen, TIME);
    scene.judge(&course, &course)?;
    scene.wait_for_line("10.77.0.0/24: A: closed")?;
    session.goes_on()
}

fn two_doors(programs: &Programs) -> Result<()> {
    let doors = door("A", 7000, "3s") + &door("B", 8000, "1s");
    let scene = Scene::new(programs, &doors)?;
    let opened = scene.open()?;
    let session = scene.session()?;
    scene.knock("8000")?;
    scene.wait_for_line("10.77.0.1: B: closed")?;
    scene.judge_opening(opened, TIME)?;
    session.goes_on()
}

fn one_of_two_taken_back(programs: &Programs) -> Result<()> {
    let doors = door("A", 7000, "1h") + &door("B", 8000, "3s") + &closing(false);
    let scene = Scene::new(programs, &doors)?;
    let opened = scene.open_by("8000")?;
    let session = scene.session()?;
    scene.knock("7000")?;
    scene.wait_for_line("10.77.0.1: A: tcp/2222 open for 1h")?;
    scene.knock("9000")?;
    scene.wait_for_line("10.77.0.1: A: closed by bye")?;
    scene.judge_opening(opened, TIME)?;
    session.goes_on()
}
