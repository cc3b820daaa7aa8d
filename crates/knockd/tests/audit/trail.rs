//! What is in the trail, and that it stays there.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use knockd::audit::{Entry, Fault, What};
use knockd::events::{Event, Kind, Reason};
use knockd::lab::Process;
use nix::mount::{MsFlags, mount};
use rustix::process::Signal;

use crate::site::{Site, eventually, exit_code};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("the_trail_says_what_has_happened", happened),
    ("a_line_is_there_when_the_door_is_open", killed),
    ("a_rotation_keeps_the_chain", rotation),
    ("a_full_disk_stops_no_opening_and_is_counted", full_disk),
    ("a_removed_line_is_found_with_its_place", removed),
    ("a_report_names_who_could_reach_a_port", report),
    ("without_audit_file_there_is_none", none),
    (
        "what_an_operator_does_is_in_the_trail_with_the_user",
        operator,
    ),
    ("the_trail_has_the_events_that_programs_are_told", agreement),
];

const DOORS: &str = "[ssh]\nsequence = 7000:udp\nopen = tcp/22\nopen_for = 1s\n\
    [cmd]\nsequence = 7100:udp\ncommand = true\nstop_command = touch stopped\ncmd_timeout = 100ms\n";

/// A site whose trail and state are in its folder.
fn site(doors: &str) -> Outcome<Site> {
    let site = Site::new("")?;
    let here = site.path("").display().to_string();
    let here = here.trim_end_matches('/');
    let options = format!(
        "[options]\ninterface = lo\nstate_dir = {here}/state\njournal = {here}/journal\n\
         audit_file = {here}/logs/audit\ncontrol_socket = {here}/control.sock\n"
    );
    fs::create_dir(site.path("logs"))?;
    site.write("knockd.conf", &(options + doors))?;
    Ok(site)
}

/// The lines of a trail; each must be one.
fn entries(path: &Path) -> Outcome<Vec<Entry>> {
    let text = fs::read_to_string(path)?;
    let entries = text.lines().map(serde_json::from_str);
    Ok(entries.collect::<Result<_, _>>()?)
}

fn events(site: &Site) -> Outcome<Vec<Event>> {
    let entries = entries(&site.path("logs/audit"))?.into_iter();
    let events = entries.filter_map(|entry| match entry.what {
        What::Event(event) => Some(*event),
        _ => None,
    });
    Ok(events.collect())
}

fn has(site: &Site, kind: Kind, door: &str) -> bool {
    let of = |event: &Event| event.kind == kind && event.door.as_deref() == Some(door);
    events(site).is_ok_and(|events| events.iter().any(of))
}

fn await_event(site: &Site, kind: Kind, door: &str) -> Outcome {
    let what = format!("{} of {door} in the trail", kind.name());
    eventually(&what, || has(site, kind, door)).map_err(|error| {
        format!(
            "{error}:\n{}\n{}",
            site.read("logs/audit"),
            site.read("log")
        )
        .into()
    })
}

fn knockctl(site: &Site, args: &[&str]) -> Outcome<(Option<i32>, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_knockctl"));
    command.arg("audit").args(args).current_dir(site.path(""));
    let Output {
        status,
        stdout,
        stderr,
    } = site.output(command.args(["-c", "knockd.conf"]))?;
    let text = String::from_utf8_lossy(&stdout).into_owned();
    Ok((status.code(), text + &String::from_utf8_lossy(&stderr)))
}

fn verified(site: &Site) -> Outcome<String> {
    let (code, text) = knockctl(site, &["verify"])?;
    if code == Some(0) {
        Ok(text)
    } else {
        Err(format!("{text}\n{}", site.read("logs/audit")).into())
    }
}

fn stop(mut process: Process) -> Outcome {
    process.signal(Signal::TERM)?;
    assert_eq!(exit_code(&mut process)?, Some(15));
    Ok(())
}

fn happened() -> Outcome {
    let site = site(DOORS)?;
    let process = site.start(&[])?;
    site.knock(&[7000, 7100])?;
    await_event(&site, Kind::Close, "ssh")?;
    await_event(&site, Kind::Close, "cmd")?;
    let config = fs::read_to_string(site.path("knockd.conf"))?;
    let config = config.replace("1s", "9s").replace("[cmd]", "[new]");
    site.write("knockd.conf", &config)?;
    process.signal(Signal::HUP)?;
    eventually("a reload", || {
        events(&site).is_ok_and(|events| events.iter().any(|event| event.kind == Kind::Reload))
    })?;
    site.write("knockd.conf", "nonsense")?;
    process.signal(Signal::HUP)?;
    site.await_log("stays in force")?;
    site.write("knockd.conf", &config)?;
    site.knock(&[7000])?;
    eventually("an opening", || {
        site.read("log").matches("open for").count() == 2
    })?;
    stop(process)?;
    let events = events(&site)?;
    let told: Vec<_> = events
        .iter()
        .filter(|event| !matches!(event.kind, Kind::Gate))
        .map(|event| {
            (
                event.kind,
                event.door.as_deref().unwrap_or(""),
                event.reason,
            )
        })
        .collect();
    let of = |kind| {
        let told = told.iter().filter(move |(its, ..)| *its == kind);
        told.map(|(_, door, reason)| (*door, *reason))
            .collect::<Vec<_>>()
    };
    let (time, stopped) = (Some(Reason::Time), Some(Reason::Stop));
    assert_eq!(told.first(), Some(&(Kind::Start, "", None)));
    let mut opened = of(Kind::Open);
    opened.sort_unstable();
    assert_eq!(opened, [("cmd", None), ("ssh", None), ("ssh", None)]);
    let mut closed = of(Kind::Close);
    closed.sort_unstable();
    assert_eq!(closed, [("cmd", time), ("ssh", time), ("ssh", stopped)]);
    assert_eq!(
        (of(Kind::Reload).len(), of(Kind::ReloadFailed).len()),
        (1, 1)
    );
    assert_eq!(of(Kind::Stop).len(), 1);
    let entries = entries(&site.path("logs/audit"))?.into_iter();
    let changes = entries.filter_map(|entry| match entry.what {
        What::Config(change) => Some(change),
        _ => None,
    });
    let changes: Vec<_> = changes.collect();
    let [first, second] = &changes[..] else {
        return Err(format!("{changes:?}").into());
    };
    assert_eq!((first.old, first.doors), (None, 2));
    assert_eq!(
        (second.old, &second.added[..]),
        (Some(first.new), &["new".to_owned()][..])
    );
    assert_eq!(
        (&second.removed[..], &second.changed[..]),
        (&["cmd".to_owned()][..], &["ssh".to_owned()][..])
    );
    verified(&site)?;
    // The last hash is in the log too, and is what verify says.
    let log = site.read("log");
    let noted = log
        .rsplit_once("hash ")
        .ok_or("no hash in the log")?
        .1
        .trim();
    assert!(verified(&site)?.contains(noted));
    assert_eq!(knockctl(&site, &["verify", "--head", noted])?.0, Some(0));
    let other = "00".repeat(32);
    assert_eq!(knockctl(&site, &["verify", "--head", &other])?.0, Some(1));
    assert_eq!(knockctl(&site, &["verify", "--head", "7"])?.0, Some(2));
    Ok(())
}

fn killed() -> Outcome {
    let site = site(&DOORS.replace("1s", "30s"))?;
    for count in 1..=3 {
        let often = |text: &str| site.read("log").matches(text).count() == count;
        let mut process = site.start(&[])?;
        eventually("a start", || often("starting up"))?;
        site.knock(&[7000])?;
        eventually("an opening", || often("tcp/22 open for"))?;
        process.signal(Signal::KILL)?;
        process.wait_at_most(Duration::from_secs(20))?;
        let events = events(&site)?;
        let opened = events
            .iter()
            .filter(|e| matches!(e.kind, Kind::Open | Kind::Extend));
        assert_eq!(opened.count(), count);
    }
    verified(&site)?;
    Ok(())
}

fn rotation() -> Outcome {
    let site = site(DOORS)?;
    let process = site.start(&[])?;
    site.knock(&[7100])?;
    await_event(&site, Kind::Close, "cmd")?;
    fs::rename(site.path("logs/audit"), site.path("logs/audit.1"))?;
    process.signal(Signal::HUP)?;
    eventually("a new file", || {
        has(&site, Kind::Reload, "") || site.path("logs/audit").exists()
    })?;
    site.knock(&[7100])?;
    await_event(&site, Kind::Close, "cmd")?;
    let first = entries(&site.path("logs/audit"))?.remove(0);
    let What::File(file) = first.what else {
        return Err(format!("{first:?}").into());
    };
    assert_eq!(
        file.after,
        Some(site.path("logs/audit.1").display().to_string())
    );
    assert!(first.seq > 5);
    stop(process)?;
    let gzip = Command::new("gzip")
        .arg(site.path("logs/audit.1"))
        .status()?;
    assert!(gzip.success() && site.path("logs/audit.1.gz").exists());
    let text = verified(&site)?;
    assert!(text.contains("number 1 to "), "{text}");
    fs::remove_file(site.path("logs/audit.1.gz"))?;
    let text = verified(&site)?;
    assert!(text.contains("what was before is in other files"), "{text}");
    Ok(())
}

fn full_disk() -> Outcome {
    let site = site(DOORS)?;
    let folder = site.path("logs");
    let size = Some("size=8k");
    mount(
        Some("tmpfs"),
        &folder,
        Some("tmpfs"),
        MsFlags::MS_NOSUID,
        size,
    )?;
    let process = site.start(&[])?;
    // All of the space, so that the next line is torn.
    let filler = site.path("logs/filler");
    let mut bytes = 8192;
    while bytes > 0 && fs::write(&filler, vec![b'x'; bytes]).is_err() {
        bytes -= 64;
    }
    for _ in 0..30 {
        let count = site.read("log").matches("OPEN SESAME").count();
        site.knock(&[7100])?;
        eventually("an opening", || {
            site.read("log").matches("OPEN SESAME").count() > count
        })?;
    }
    site.await_log("cannot be written: ")?;
    eventually("the stop command", || site.path("stopped").exists())?;
    fs::remove_file(&filler)?;
    let lost = || {
        let entries = entries(&site.path("logs/audit")).unwrap_or_default();
        let lost = entries.iter().find_map(|entry| match entry.what {
            What::Fault(Fault::Lost(lost)) => Some(lost),
            _ => None,
        });
        lost.is_some_and(|lost| lost > 10)
    };
    site.knock(&[7100])?;
    eventually("how many were lost", lost)
        .map_err(|error| format!("{error}:\n{}{}", site.read("logs/audit"), site.read("log")))?;
    assert_eq!(site.read("log").matches("cannot be written: ").count(), 1);
    stop(process)?;
    let text = verified(&site)?;
    assert!(
        text.contains("could not be written before this one"),
        "{text}"
    );
    nix::mount::umount(&folder)?;
    Ok(())
}

fn removed() -> Outcome {
    let site = site(DOORS)?;
    let process = site.start(&[])?;
    site.knock(&[7100])?;
    await_event(&site, Kind::Close, "cmd")?;
    stop(process)?;
    let path = site.path("logs/audit");
    let text = fs::read_to_string(&path)?;
    let lines: Vec<_> = text.lines().collect();
    let mut without = lines.clone();
    without.remove(3);
    fs::write(&path, without.join("\n") + "\n")?;
    let (code, text) = knockctl(&site, &["verify"])?;
    let place = format!(
        "{}:4: line number 4 is missing before this one",
        path.display()
    );
    assert!(code == Some(1) && text.contains(&place), "{text}");
    let (code, text) = knockctl(&site, &["report"])?;
    assert!(
        code == Some(1) && text.contains("is not as it was written"),
        "{text}"
    );
    let first: Vec<_> = lines.into_iter().take(4).collect();
    fs::write(&path, first.join("\n") + "\n")?;
    let (code, text) = knockctl(&site, &["verify"])?;
    assert!(
        code == Some(1) && text.contains("the end was cut off"),
        "{text}"
    );
    Ok(())
}

fn report() -> Outcome {
    let site = site(DOORS)?;
    let process = site.start(&[])?;
    site.knock(&[7000, 7100])?;
    await_event(&site, Kind::Close, "ssh")?;
    await_event(&site, Kind::Close, "cmd")?;
    stop(process)?;
    let (code, text) = knockctl(&site, &["report", "--since", "1h", "--port", "22"])?;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("    ssh: tcp/22, to 127.0.0.1\n"), "{text}");
    assert!(
        text.contains("closed (time)") && text.contains("1 openings by commands"),
        "{text}"
    );
    let (_, text) = knockctl(&site, &["report", "--json", "--door", "cmd"])?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    let of = |name: &str| json.pointer(&format!("/accesses/0/{name}"))?.as_str();
    assert_eq!((of("door"), of("to")), (Some("cmd"), Some("127.0.0.1")));
    let (_, text) = knockctl(&site, &["report", "--since", "2w", "--until", "7d"])?;
    assert!(text.contains("nobody was let in"), "{text}");
    assert_eq!(knockctl(&site, &["report", "--since", "soon"])?.0, Some(2));
    Ok(())
}

fn none() -> Outcome {
    let site = Site::new(DOORS)?;
    let process = site.start(&[])?;
    site.knock(&[7100])?;
    site.await_log("OPEN SESAME")?;
    stop(process)?;
    assert!(!site.read("log").contains("audit"));
    let (code, text) = knockctl(&site, &["verify"])?;
    assert!(
        code == Some(1) && text.contains("there is no `audit_file`"),
        "{text}"
    );
    Ok(())
}

/// Another command of `knockctl`, which must do what it is told.
fn ask(site: &Site, args: &[&str]) -> Outcome<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_knockctl"));
    command
        .args(args)
        .args(["-c", "knockd.conf"])
        .current_dir(site.path(""));
    let output = site.output(&mut command)?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn operator() -> Outcome {
    let doors = DOORS.replace(
        "open = tcp/22",
        "open = tcp/22\non_open = echo $KNOCK_WHO > who",
    );
    let site = site(&doors)?;
    let process = site.start(&[])?;
    ask(&site, &["open", "ssh", "192.0.2.9", "--for", "1m"])?;
    ask(&site, &["close", "ssh"])?;
    let who = Some(knockd::events::Who::Operator(0));
    for kind in [Kind::Open, Kind::Close, Kind::Operator] {
        await_event(&site, kind, "ssh")?;
        let events = events(&site)?;
        let event = events.iter().find(|event| event.kind == kind);
        assert_eq!(event.ok_or("no event")?.who, who, "{kind:?}");
    }
    eventually("the hook", || site.read("who") == "operator uid 0\n")?;
    stop(process)?;
    let (_, text) = knockctl(&site, &["report", "--who", "uid 0"])?;
    assert!(
        text.contains("closed (operator)") && text.contains("to 192.0.2.9"),
        "{text}"
    );
    Ok(())
}

/// Which door is knocked at next: no order is better than another.
fn doors(count: usize) -> impl Iterator<Item = u16> {
    let mut state = 0x2545_f491_u32;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        match state >> 30 {
            0 => 7000,
            1 => 7200,
            _ => 7100,
        }
    })
    .take(count)
}

fn agreement() -> Outcome {
    let site = site(&(DOORS.to_owned() + "[close]\nsequence = 7200:udp\nclose = ssh\n"))?;
    let process = site.start(&[])?;
    for (count, port) in (1..).zip(doors(400)) {
        site.knock(&[port])?;
        eventually("an opening", || {
            site.read("log").matches("OPEN SESAME").count() == count
        })?;
    }
    eventually("all is closed", || {
        let open =
            |kind| events(&site).map_or(0, |all| all.iter().filter(|e| e.kind == kind).count());
        open(Kind::Open) == open(Kind::Close)
    })?;
    let told = ask(&site, &["events", "--json"])?;
    let told: Vec<Event> = told
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let belongs = |event: &Event| match event.kind {
        Kind::Knocked => event.door.as_deref() == Some("close"),
        Kind::Gate => event.reason.is_some(),
        Kind::Start | Kind::Open | Kind::Extend | Kind::Close => true,
        _ => false,
    };
    let (written, told): (Vec<_>, Vec<_>) =
        (events(&site)?, told.into_iter().filter(belongs).collect());
    assert!(told.len() > 500, "{}", told.len());
    assert_eq!(written.len(), told.len());
    for (written, told) in written.iter().zip(&told) {
        assert_eq!(written, told);
    }
    stop(process)?;
    verified(&site)?;
    Ok(())
}
