//! The machine starts anew, as far as a daemon can tell: another boot, no table, all processes gone,
//! while the file system stays. `boot_id` of random(4) is another file to it, in mounts of its own.

use std::fs;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::Result;
use crate::scenario::{Programs, Scenario};
use crate::script::address;

use super::course::Course;
use super::hits::{Ward, door, note};
use super::scene::{PATIENCE, Scene};

pub(super) fn scenarios() -> Vec<Scenario> {
    let needs = &["unshare", "mount", "nft"];
    vec![
        Scenario::new(
            "reboot: while a door is open: its stop command runs on time, once",
            needs,
            while_open,
        ),
        Scenario::new(
            "reboot: its time is over meanwhile: the stop command runs at once, once",
            needs,
            overdue,
        ),
        Scenario::new(
            "reboot: while a start command runs: closed at once, once",
            needs,
            while_starting,
        ),
        Scenario::new(
            "reboot: a native door is closed afterwards, and guarded from the start",
            needs,
            native,
        ),
        Scenario::new(
            "reboot: three in a row while a door is open: on time, once",
            needs,
            thrice,
        ),
    ]
}

fn owner() -> IpAddr {
    address::number(1, false)
}

/// What makes a daemon find itself in the boot that `{dir}/boot` names.
const IN_ANOTHER_BOOT: [&str; 5] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mount --bind {dir}/boot /proc/sys/kernel/random/boot_id && exec \"$0\" \"$@\"",
];

/// All processes end, and the kernel forgets its rules.
fn go_down(ward: &mut Ward) -> Result<()> {
    ward.kill()?;
    for pid in ward.network.processes() {
        // It may have ended by itself.
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap_or_default();
    }
    ward.server_must("nft flush ruleset")
}

/// The boot `number` begins.
fn come_up(ward: &mut Ward, number: u8) -> Result<()> {
    let id = format!("00000000-0000-4000-8000-0000000000{number:02x}\n");
    fs::write(ward.path("boot"), id)?;
    ward.start_by(&IN_ANOTHER_BOOT)
}

fn while_open(programs: &Programs) -> Result<()> {
    let mut ward = Ward::new(programs, &door("3"))?;
    let start = ward.open(owner())?;
    go_down(&mut ward)?;
    come_up(&mut ward, 1)?;
    ward.closes(owner(), start + Duration::from_secs(3))?;
    ward.settle_accounts()
}

fn overdue(programs: &Programs) -> Result<()> {
    let mut ward = Ward::new(programs, &door("1"))?;
    let start = ward.open(owner())?;
    go_down(&mut ward)?;
    let over = start + Duration::from_millis(1_300);
    ward.wait_until("its time is over", PATIENCE, || SystemTime::now() > over)?;
    let again = SystemTime::now();
    come_up(&mut ward, 1)?;
    ward.closes(owner(), again)?;
    ward.wait_for_line("closed late: its time was over before the daemon began")?;
    ward.settle_accounts()
}

fn while_starting(programs: &Programs) -> Result<()> {
    let slow = format!("{}; sleep 5", note("start"));
    let mut ward = Ward::new(programs, &door("1h").replace(&note("start"), &slow))?;
    ward.knock(owner())?;
    ward.wait_until("the start command runs", PATIENCE, || {
        ward.runs(owner()).starts.len() == 1
    })?;
    go_down(&mut ward)?;
    let again = SystemTime::now();
    come_up(&mut ward, 1)?;
    ward.closes(owner(), again)?;
    ward.settle_accounts()
}

fn native(programs: &Programs) -> Result<()> {
    let door = "[A]\nsequence = 7000\ntcpflags = syn\nopen = tcp/2222\nopen_for = 1h\n";
    let mut scene = Scene::new(programs, door)?;
    let opened = scene.open()?;
    scene.kill()?;
    let down = scene.nft("flush ruleset")?;
    fs::write(scene.path("boot"), "00000000-0000-4000-8000-000000000001\n")?;
    scene.start_by(&IN_ANOTHER_BOOT)?;
    let up = std::time::Instant::now();
    let owner = Course::closed().open_until((opened.knocked, opened.seen), (down, up));
    scene.judge(&owner, &Course::closed().either(down, up))?;
    scene.require(scene.lines("grants from before") == 0, || {
        "it has taken over what is not there".into()
    })
}

fn thrice(programs: &Programs) -> Result<()> {
    let mut ward = Ward::new(programs, &door("4"))?;
    let start = ward.open(owner())?;
    for number in 1..=3 {
        go_down(&mut ward)?;
        come_up(&mut ward, number)?;
    }
    ward.closes(owner(), start + Duration::from_secs(4))?;
    ward.settle_accounts()
}
