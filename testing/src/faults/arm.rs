//! A trial of the gate (`knockctl arm`) ends by itself whatever happens meanwhile; only who has come
//! in through a knock confirms it. And the gate is down if somebody says so, and not otherwise.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::Result;
use crate::scenario::{Programs, Scenario};
use crate::script::packet;
use crate::ssh;

use super::course::{Course, LATE};
use super::scene::{PATIENCE, Scene};

const DOOR: &str = "
[A]
	sequence = 7000
	tcpflags = syn
	open = tcp/2222
	open_for = 60s
";

/// How long a trial lasts here.
const TRIAL: Duration = Duration::from_secs(3);

const SSH: [&str; 3] = ["sshd", "ssh", "ssh-keygen"];

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "arm: without a daemon, unconfirmed: as before, on time",
            &[],
            alone,
        ),
        Scenario::new(
            "arm: unconfirmed, with a daemon: as before, and so it stays",
            &[],
            unconfirmed,
        ),
        Scenario::new(
            "arm: keeper and listener killed: as before, on time, the old session too",
            &[],
            all_killed,
        ),
        Scenario::new(
            "arm: the machine starts anew: as before, for the boot's unit and the daemon",
            &[],
            reboot,
        ),
        Scenario::new("arm: ended by --cancel: as before at once", &[], canceled),
        Scenario::new(
            "arm: confirmed from an ssh session through a knock, and from no other",
            &SSH,
            confirmed,
        )
        .for_root(),
        Scenario::new(
            "gate: down stays down, over a reload, until a daemon is started",
            &[],
            down_and_started,
        ),
        Scenario::new(
            "gate: down and up with a grant alive, which goes on",
            &[],
            down_and_up,
        ),
    ]
}

/// Runs knockctl with the site's configuration; what it said.
fn knockctl(scene: &Scene, programs: &Programs, words: &str) -> Result<String> {
    let tool = programs.knockctl();
    let conf = scene.path("conf");
    let command = format!("{} {words} -c {}", tool.display(), conf.display());
    let output = scene.server(&command)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(said)
    } else {
        Err(format!("`{words}`: {said}{errors}").into())
    }
}

/// Waits until a glance of the owner that began after now is `open` or not.
fn wait_for(scene: &Scene, open: bool) -> Result<()> {
    let now = Instant::now();
    let what = if open { "it opens" } else { "it closes" };
    scene.wait_until(what, PATIENCE, || scene.first(open, now).is_some())
}

/// Begins a trial; from when to when it began.
fn arm(scene: &Scene, programs: &Programs) -> Result<(Instant, Instant)> {
    let from = Instant::now();
    let said = knockctl(scene, programs, "arm --for 3s")?;
    scene.require(said.contains("on trial for 3s"), || said.clone())?;
    Ok((from, Instant::now()))
}

/// Open, closed from the beginning of the trial to its end, and open again: to everybody.
fn judge_trial(scene: &Scene, begin: Instant, (from, to): (Instant, Instant)) -> Result<()> {
    let course = Course::closed()
        .open_until((begin, begin), (from, to))
        .either(from + TRIAL, to + TRIAL + LATE)
        .open_for_good(to + TRIAL + LATE);
    scene.judge(&course, &course)
}

fn alone(programs: &Programs) -> Result<()> {
    let mut scene = Scene::prepare(programs, DOOR)?;
    wait_for(&scene, true)?;
    scene.begin();
    let begin = Instant::now();
    let session = scene.session()?;
    let armed = arm(&scene, programs)?;
    session.goes_on()?;
    judge_trial(&scene, begin, armed)?;
    session.goes_on()
}

/// A daemon at a gate where nothing is guarded for good: it was started while a trial was over.
fn with_daemon(programs: &Programs) -> Result<Scene> {
    let mut scene = Scene::prepare(programs, DOOR)?;
    arm(&scene, programs)?;
    knockctl(&scene, programs, "arm --cancel")?;
    scene.start()?;
    wait_for(&scene, true)?;
    scene.begin();
    Ok(scene)
}

fn unconfirmed(programs: &Programs) -> Result<()> {
    let scene = with_daemon(programs)?;
    let begin = Instant::now();
    let session = scene.session()?;
    let armed = arm(&scene, programs)?;
    session.goes_on()?;
    scene.wait_for_line("the trial is over and was not confirmed: not guarded: tcp/2222")?;
    // What puts the gate up again does not guard it either.
    scene.reload()?;
    knockctl(&scene, programs, "gate up")?;
    judge_trial(&scene, begin, armed)?;
    session.goes_on()
}

fn all_killed(programs: &Programs) -> Result<()> {
    let mut scene = with_daemon(programs)?;
    let begin = Instant::now();
    let session = scene.session()?;
    let armed = arm(&scene, programs)?;
    let listener = scene.listener()?;
    scene.kill()?;
    // It may have followed the keeper by itself.
    kill(listener, Signal::SIGKILL).ok();
    session.goes_on()?;
    judge_trial(&scene, begin, armed)?;
    session.goes_on()
}

fn reboot(programs: &Programs) -> Result<()> {
    let mut scene = Scene::prepare(programs, DOOR)?;
    arm(&scene, programs)?;
    // What is left of a boot: the file, and no table.
    let trial = scene.read("trial");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let boot = boot.trim().replace('-', "");
    let other = trial.replace(&boot, &"0".repeat(boot.len()));
    scene.require(other != trial, || trial.clone())?;
    std::fs::write(scene.path("trial"), other)?;
    scene.server_must("nft flush ruleset")?;
    let said = knockctl(&scene, programs, "gate up")?;
    scene.require(said.contains("NOT guarded"), || said.clone())?;
    wait_for(&scene, true)?;
    scene.start()?;
    scene.wait_for_line("NOT guarded, after a trial without a confirmation, are tcp/2222")?;
    wait_for(&scene, true)?;
    // Another trial begins anew, and is no worse for the one before.
    arm(&scene, programs)?;
    wait_for(&scene, false)?;
    wait_for(&scene, true)?;
    Ok(())
}

fn canceled(programs: &Programs) -> Result<()> {
    let scene = with_daemon(programs)?;
    knockctl(&scene, programs, "arm --for 1h")?;
    wait_for(&scene, false)?;
    knockctl(&scene, programs, "arm --cancel")?;
    wait_for(&scene, true)?;
    let said = knockctl(&scene, programs, "gate show")?;
    scene.require(said.contains("NOT guarded:\n  tcp/2222"), || said.clone())
}

fn confirmed(programs: &Programs) -> Result<()> {
    let door = DOOR.replace("2222", "22, tcp/2222");
    let mut scene = Scene::prepare(programs, &door)?;
    let _sshd = ssh::Sshd::start(&scene)?;
    let mut before = ssh::Session::open(&scene)?;
    arm(&scene, programs)?;
    scene.start()?;
    let conf = scene.path("conf");
    let knockctl_there = programs.knockctl();
    let confirm = format!(
        "{} arm --confirm -c {}",
        knockctl_there.display(),
        conf.display()
    );
    let (status, said) = before.run(&confirm)?;
    let refused = status == 1 && said.contains("did not come in through a knock");
    scene.require(refused, || format!("{status}: {said}"))?;
    let error = knockctl(&scene, programs, "arm --confirm").err();
    let error = error.map(|error| error.to_string()).unwrap_or_default();
    scene.require(error.contains("no ssh session"), || error.clone())?;
    // The trial may have ended meanwhile: the next one has more time.
    knockctl(&scene, programs, "arm --for 20s")?;
    scene.network.send(&packet("7000")?)?;
    scene.wait_for_line("tcp/22, tcp/2222 open for 1m")?;
    let mut session = ssh::Session::open(&scene)?;
    let (status, said) = session.run(&confirm)?;
    let confirmed =
        status == 0 && said.contains("confirmed: guarded for good are tcp/22, tcp/2222");
    scene.require(confirmed, || format!("{status}: {said}"))?;
    let said = knockctl(&scene, programs, "gate show")?;
    let for_good = !said.contains("on trial") && said.contains("guarded:\n  tcp/22  opened by A\n");
    scene.require(for_good, || said.clone())?;
    before.echoes("still")?;
    session.echoes("here")
}

fn down_and_started(programs: &Programs) -> Result<()> {
    let mut scene = Scene::new(programs, DOOR)?;
    wait_for(&scene, false)?;
    knockctl(&scene, programs, "gate down")?;
    wait_for(&scene, true)?;
    scene.wait_for_line("the gate is down (knockctl gate down)")?;
    scene.reload()?;
    wait_for(&scene, true)?;
    scene.knock("7000")?;
    scene.wait_for_line("error: nothing was opened: the gate is down")?;
    scene.kill()?;
    scene.start()?;
    scene.wait_for_line("the gate was down (knockctl gate down), and is put up again")?;
    wait_for(&scene, false)
}

fn down_and_up(programs: &Programs) -> Result<()> {
    let scene = Scene::new(programs, DOOR)?;
    scene.open()?;
    let session = scene.session()?;
    knockctl(&scene, programs, "gate down")?;
    scene.wait_for_line("the gate is down (knockctl gate down)")?;
    session.goes_on()?;
    let said = knockctl(&scene, programs, "gate up")?;
    scene.require(said.contains("guarded are tcp/2222"), || said.clone())?;
    let show = knockctl(&scene, programs, "gate show")?;
    let granted = show.contains("10.77.0.1  tcp/2222 by A, for");
    scene.require(granted, || show.clone())?;
    session.goes_on()
}
