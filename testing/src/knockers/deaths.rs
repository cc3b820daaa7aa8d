//! The listener dies in the middle of a sequence, while strangers flood.

use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::Result;
use crate::script::{Knock, address, packet};
use crate::site::Site;
use crate::torrent::{Hostile, Pace, Sources, during};

use super::{Programs, Scenario};

/// What the first client gets is open for longer than all the rest takes.
const DOOR: &str = "
[A]
	sequence = 7000,8000,9000
	tcpflags = syn
	start_command = echo start %IP% >> {hits}
	cmd_timeout = 3
	stop_command = echo stop %IP% >> {hits}
";

/// Packets a second: what a daemon without optimisation can take.
const PACE: Pace = Pace::PerSecond(20_000);

/// How long the next listener may take. Measured: 20 to 40 ms; a busy machine has its time too.
const PATIENCE: Duration = Duration::from_secs(2);

const DEATHS: usize = 5;

pub(super) fn scenarios() -> Vec<Scenario> {
    let name = "a listener killed in the middle of a sequence and of a flood costs nothing";
    vec![Scenario::new(name, &[], killed)]
}

fn killed(programs: &Programs) -> Result<()> {
    let site = Site::new(&programs.knockd, DOOR, &[])?;
    let hostile = [Hostile::new(&site.network, "7000", Sources::Anybody)?];
    for port in ["7000", "8000", "9000"] {
        send(&site, 20, port)?;
    }
    site.wait_until("the first client gets in", PATIENCE, || {
        site.openings("A") == 1
    })?;
    let deaths = || {
        for death in 1..=DEATHS {
            let client = 20 + u8::try_from(death)?;
            send(&site, client, "7000")?;
            send(&site, client, "8000")?;
            let stage = format!("{}: A: Stage 2", address::number(client, false));
            site.wait_for_line(&stage)?;
            kill(site.listener()?, Signal::SIGKILL)?;
            send(&site, client, "9000")?;
            site.wait_until("the attempt goes on and opens", PATIENCE, || {
                site.openings("A") == 1 + death
            })?;
            let told = || site.read("log").matches("a new listener is ready").count();
            site.wait_until("it is told", PATIENCE, || told() == death)?;
            // Deaths that follow each other closely are waited for longer: that is not meant here.
            sleep(Duration::from_millis(100));
        }
        Ok(())
    };
    during(&site.network, &hostile, PACE, deaths)?;
    // The grant of before is closed, in its time, and so are the others; each once.
    let stops = || site.read("hits").matches("stop").count();
    site.wait_until("all are closed", Duration::from_secs(10), || {
        stops() == 1 + DEATHS
    })?;
    let log = site.read("log");
    let ready = log.lines().filter(|line| line.contains("new listener"));
    ready.for_each(|line| println!("      {line}"));
    site.require(
        site.read("hits").matches("start").count() == 1 + DEATHS,
        || format!("not each was opened once:\n{}", site.read("hits")),
    )
}

fn send(site: &Site, client: u8, port: &str) -> Result<()> {
    site.network.send(&Knock {
        source: address::number(client, false),
        ..packet(port)?
    })
}
