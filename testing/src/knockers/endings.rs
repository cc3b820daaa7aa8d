//! How it ends: TERM at any moment leaves no command owed, an idle daemon goes at once; and a
//! second one does not start.

use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::Result;
use crate::script::packet;
use crate::site::Site;

use super::{Programs, Scenario};

/// Who knocks, and how many milliseconds after the start.
const KNOCKS: [(u8, u64); 3] = [(1, 0), (4, 110), (5, 240)];
/// TERM comes at these multiples of [`STEP`].
const MOMENTS: u32 = 20;
const STEP: Duration = Duration::from_millis(21);
/// How long an idle daemon may take, on a machine that does much else; what the promise is about
/// is the median, which is printed.
const LONGEST_EXIT: Duration = Duration::from_secs(2);

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "TERM 0 to 400 ms after a knock: each start has its stop, while timers run",
            &[],
            |programs| term_at_any_moment(programs, "3600"),
        ),
        Scenario::new(
            "TERM 0 to 400 ms after a knock: each start has its stop, while timers end",
            &[],
            |programs| term_at_any_moment(programs, "100ms"),
        ),
        Scenario::new("TERM ends an idle daemon at once", &[], term_when_idle),
        Scenario::new(
            "a second daemon with the same pid file refuses, and leaves the first alone",
            &[],
            second_instance,
        ),
    ]
}

fn term_at_any_moment(programs: &Programs, timeout: &str) -> Result<()> {
    let door = format!(
        "
[A]
	sequence = 7000,8000,9000
	tcpflags = syn
	start_command = echo start %IP% >> {{hits}}; sleep 0.03; echo started %IP% >> {{hits}}
	cmd_timeout = {timeout}
	stop_command = sleep 0.02; echo stop %IP% >> {{hits}}
"
    );
    let (mut openings, mut longest) = (0, Duration::ZERO);
    for moment in 0..MOMENTS {
        let mut site = Site::new(&programs.knockd, &door, &[])?;
        let at = STEP * moment;
        knock_until(&site, at)?;
        site.signal(Signal::SIGTERM)?;
        let (status, took) = site.wait_for_end()?;
        longest = longest.max(took);
        let when = format!("TERM after {} ms", at.as_millis());
        site.require(status.code() == Some(15), || format!("{when}: {status}"))?;
        openings += all_served(&site, &when)?;
    }
    // Otherwise no moment was one that matters.
    if openings <= usize::try_from(MOMENTS)? {
        return Err(format!("only {openings} commands in {MOMENTS} runs").into());
    }
    println!(
        "      {openings} start commands in {MOMENTS} runs, the longest end took {} ms",
        longest.as_millis()
    );
    Ok(())
}

/// Sends the knocks that are due, each at its time, and returns at `end`.
fn knock_until(site: &Site, end: Duration) -> Result<()> {
    let start = Instant::now();
    for (source, due) in KNOCKS {
        let due = Duration::from_millis(due);
        if due > end {
            break;
        }
        sleep(due.saturating_sub(start.elapsed()));
        for port in [7000, 8000, 9000] {
            site.network.send(&packet(&format!("{port}@{source}"))?)?;
        }
    }
    sleep(end.saturating_sub(start.elapsed()));
    Ok(())
}

/// Once nothing runs any more, each source that has a start has one stop after it; how many have.
fn all_served(site: &Site, when: &str) -> Result<usize> {
    site.wait_until("all commands end", PATIENCE, || {
        site.network.processes().is_empty()
    })?;
    let hits = site.read("hits");
    let mut started = 0;
    for (source, _) in KNOCKS {
        let suffix = format!(" 10.77.0.{source}");
        let own = hits.lines().filter_map(|line| line.strip_suffix(&suffix));
        let own: Vec<_> = own.collect();
        let well = matches!(own.as_slice(), [] | ["start", "started", "stop"]);
        site.require(well, || format!("{when}:{suffix} has {own:?}"))?;
        started += usize::from(!own.is_empty());
    }
    Ok(started)
}

fn term_when_idle(programs: &Programs) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..11 {
        let mut site = Site::new(&programs.knockd, "[A]\nsequence = 7000,8000\n", &[])?;
        site.signal(Signal::SIGTERM)?;
        let (status, took) = site.wait_for_end()?;
        site.require(status.code() == Some(15), || format!("{status}"))?;
        site.require(took < LONGEST_EXIT, || format!("it took {took:?}"))?;
        times.push(took.as_millis());
    }
    times.sort_unstable();
    if let (Some(median), Some(longest)) = (times.get(5), times.last()) {
        println!("      an idle daemon ends after {median} ms (median), {longest} ms (longest)");
    }
    Ok(())
}

fn second_instance(programs: &Programs) -> Result<()> {
    let site = Site::new(&programs.knockd, "[A]\nsequence = 7000,8000\n", &[])?;
    let start = format!(
        "printf '[options]\\nlogfile = %s/log2\\n[A]\\nsequence = 7000\\ncommand = echo A >> %s/hits\\n' \
         $PWD $PWD > conf2; {} -d -c $PWD/conf2 -i server0 -p $PWD/pid",
        programs.knockd.display()
    );
    site.server_must(&start)?;
    site.wait_until("the first starts", PATIENCE, || {
        site.read("log2").contains("starting up") && !site.read("pid").is_empty()
    })?;
    let first = site.read("pid");
    let second = site.server(&start)?;
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    site.require(second.status.code() == Some(1), || {
        format!("the second: {}: {said}", second.status)
    })?;
    let clear = said.lines().count() == 1 && said.contains("pid");
    site.require(clear, || format!("the second says: {said}"))?;
    site.require(site.read("pid") == first, || "the pid file changed".into())?;
    site.network.send(&packet("7000")?)?;
    site.settle("10.77.0.2")?;
    site.wait_until("one command runs", PATIENCE, || site.read("hits") == "A\n")?;
    site.server_must("kill $(cat pid)")?;
    site.wait_until("the pid file goes", PATIENCE, || {
        site.read("pid").is_empty()
    })
}
