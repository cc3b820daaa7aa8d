//! Who must not start does not, says why in one line, and leaves the one alone that runs.

use std::time::Duration;

use crate::Result;
use crate::scenario::{Programs, Scenario};

use super::course::Course;
use super::scene::Scene;

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
            "gate: a second daemon at the same gate refuses, the first is unharmed",
            &[],
            second,
        ),
        Scenario::new(
            "gate: a second daemon as a reload: it may not take the gate either",
            &[],
            second_by_reload,
        ),
        Scenario::new(
            "gate: a daemon without CAP_NET_ADMIN refuses, and the grant of before ends on time",
            &["setpriv"],
            without_the_capability,
        ),
    ]
}

fn second(programs: &Programs) -> Result<()> {
    let scene = Scene::new(programs, DOOR)?;
    let opened = scene.open()?;
    let session = scene.session()?;
    // With a journal of its own.
    scene.server_must(
        "mkdir other && sed -e \"s,^journal = .*,journal = $PWD/other/journal,\" \
         -e \"s,^logfile = .*,logfile = $PWD/other/log,\" conf > conf2",
    )?;
    let output = scene.server(&format!(
        "{} -c $PWD/conf2 -i server0",
        programs.knockd.display()
    ))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let holder = format!("another daemon keeps it: process {}", scene.process());
    scene.require(output.status.code() == Some(1), || {
        format!("it ended: {}\n{said}", output.status)
    })?;
    scene.require(said.contains(&holder) && said.lines().count() == 1, || {
        format!("it says: {said}")
    })?;
    scene.judge_opening(opened, TIME)?;
    session.goes_on()
}

fn second_by_reload(programs: &Programs) -> Result<()> {
    let scene = Scene::new(programs, DOOR)?;
    let opened = scene.open()?;
    scene.server_must(
        "mkdir other && sed -e \"s,^journal = .*,journal = $PWD/other/journal,\" \
         -e \"s,^logfile = .*,logfile = $PWD/other/log,\" -e '/^\\[A\\]/,/open_for/d' conf > conf2",
    )?;
    let start = format!(
        "{} -c $PWD/conf2 -i server0 -d -p $PWD/other/pid && \
         sed -n '/^\\[A\\]/,/open_for/p' conf >> conf2 && kill -HUP $(cat other/pid)",
        programs.knockd.display()
    );
    scene.server_must(&start)?;
    let said = || scene.read("other/log");
    scene.wait_until("it refuses", Duration::from_secs(20), || {
        let text = said();
        text.contains("the gate cannot be put up: another daemon keeps it")
            && text.contains("stays in force")
    })?;
    scene.judge_opening(opened, TIME)?;
    scene.server_must("kill $(cat other/pid)")
}

fn without_the_capability(programs: &Programs) -> Result<()> {
    let mut scene = Scene::new(programs, DOOR)?;
    let opened = scene.open()?;
    let session = scene.session()?;
    scene.kill()?;
    let without = [
        "setpriv",
        "--inh-caps=-net_admin",
        "--bounding-set=-net_admin",
    ];
    let (status, said) = scene.start_in_vain(&without)?;
    scene.require(status.code() == Some(1), || format!("{status}: {said}"))?;
    let line = "knockd: the gate cannot be put up: not permitted: CAP_NET_ADMIN is missing";
    scene.require(said.trim() == line, || format!("it says: {said}"))?;
    scene.judge_opening(opened, TIME)?;
    // Nothing that it has tried stands in the way of the next one.
    scene.start()?;
    let again = scene.open()?;
    let owner = Course::closed()
        .open(opened.knocked, opened.seen, TIME)
        .open(again.knocked, again.seen, TIME);
    scene.judge(&owner, &Course::closed())?;
    session.goes_on()
}
