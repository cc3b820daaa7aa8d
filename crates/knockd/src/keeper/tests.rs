//! The keeper in virtual time: rows 42, 46 to 52, 73 and 74 of the original's behaviour.

mod told;

use std::sync::Arc;

use knock_core::config;
use knock_core::door::{Door, DoorId};
use knock_core::sequence::Step;

use super::*;
use crate::journal::{Due, When};
use crate::listen::Misbehaviour;
use crate::wire::{Checksum, Report, ReportKind};

const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 1));

/// A keeper with one door, its clock, and what it has asked for so far.
struct Bench {
    keeper: Keeper,
    /// What is owed on the disk, as the journal would have it, and whether it can be written.
    owed: BTreeMap<JobId, String>,
    can_write: bool,
    doors: Generations,
    lines: Vec<String>,
    /// What programs are told: kind, number of the grant, reason.
    events: Vec<String>,
    running: Vec<Job>,
    now: Timestamp,
}

impl Bench {
    fn new(keys: &str, commands: usize) -> Self {
        let text = format!("[A]\nsequence = 7000\ntcpflags = syn\n{keys}\n");
        let parsed = config::parse(text.as_bytes(), &|_, _| None);
        let doors = parsed.config.expect("a configuration").doors.into();
        Self {
            keeper: Keeper::new(Limits { commands }, JobId(7)),
            owed: BTreeMap::new(),
            can_write: true,
            doors: Generations::new(doors),
            lines: Vec::new(),
            events: Vec::new(),
            running: Vec::new(),
            now: Timestamp::from_millis(1_000_000),
        }
    }

    fn open(&mut self) {
        let door = DoorRef::new(self.doors.now(), DoorId(0)).unwrap();
        self.keeper.handle_opening(&door, SOURCE, self.now);
        self.poll();
    }

    /// Lets `millis` pass, with every time-out at its time.
    fn pass(&mut self, millis: u64) {
        let end = self.now.saturating_add(Duration::from_millis(millis));
        while let Some(due) = self.keeper.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.keeper.handle_timeout(self.now);
            self.poll();
        }
        self.now = end;
    }

    /// Ends the command that has run for longest.
    fn end(&mut self, end: End) {
        let job = self.running.remove(0);
        self.keeper.handle_end(job.id, job.occasion, end, self.now);
        self.poll();
    }

    fn note(&mut self, line: &Line) {
        if !line.is_quiet() {
            self.lines.push(line.message(None));
        }
        if let Some(happened) = line.happened() {
            let Happened { kind, .. } = happened;
            let grant = happened.grant.map(|grant| format!(" {grant:?}"));
            let reason = happened.reason.map(|reason| format!(" {reason:?}"));
            let (grant, reason) = (grant.unwrap_or_default(), reason.unwrap_or_default());
            self.events.push(format!("{}{grant}{reason}", kind.name()));
        }
    }

    fn poll(&mut self) {
        while let Some(action) = self.keeper.poll_action() {
            match action {
                Action::Log(line) => self.note(&line),
                Action::Owe(owed) => {
                    let id = JobId(owed.id);
                    if self.can_write {
                        assert_eq!(self.owed.insert(id, "starting".into()), None);
                    }
                    self.keeper.handle_owed(id, self.can_write, self.now);
                }
                Action::Record(record) => self.record(record),
                Action::Run(job) => self.run(job),
            }
        }
    }

    fn record(&mut self, record: Record) {
        match record {
            Record::Until(id, until) => {
                let left = until.saturating_since(self.now);
                self.owed.insert(id, format!("open for {left:?}"));
            }
            Record::Stopping(id) => {
                self.owed.insert(id, "stopping".into());
            }
            Record::Strike(id) => {
                self.owed.remove(&id);
            }
        }
    }

    /// Whatever runs is on the disk as what it is, if it owes or is owed.
    fn run(&mut self, job: Job) {
        let owed = self.owed.get(&job.id).map(String::as_str);
        match job.occasion {
            Occasion::Start => assert!(matches!(owed, None | Some("starting")), "{owed:?}"),
            Occasion::Stop => assert_eq!(owed, Some("stopping")),
        }
        self.running.push(job);
    }

    fn owed(&self) -> Vec<&str> {
        self.owed.values().map(String::as_str).collect()
    }

    fn commands(&self) -> Vec<&str> {
        self.running
            .iter()
            .map(|job| job.command.as_str())
            .collect()
    }

    fn stop(&mut self) {
        self.keeper.stop(OnStop::Close, self.now);
        self.poll();
    }
}

const RECIPE: &str = "start_command = open %IP%\nstop_command = close %IP%";

#[test]
fn a_door_closes_its_time_after_its_start_command_has_ended() {
    let mut bench = Bench::new(&format!("{RECIPE}\ncmd_timeout = 5"), 8);
    bench.open();
    assert_eq!(bench.commands(), ["open 10.77.0.1"]);
    bench.pass(3_000);
    bench.end(End::Exited(0));
    bench.pass(4_999);
    assert_eq!(bench.commands(), [""; 0]);
    bench.pass(1);
    assert_eq!(bench.commands(), ["close 10.77.0.1"]);
    bench.end(End::Exited(0));
    assert!(bench.keeper.is_idle());
    assert_eq!(
        bench.lines,
        [
            "10.77.0.1: A: OPEN SESAME",
            "A: running command: open 10.77.0.1",
            "10.77.0.1: A: command timeout",
            "A: running command: close 10.77.0.1"
        ]
    );
}

#[test]
fn without_cmd_timeout_ten_seconds_pass() {
    let mut bench = Bench::new(RECIPE, 8);
    bench.open();
    bench.end(End::Exited(0));
    bench.pass(9_999);
    assert!(bench.running.is_empty());
    bench.pass(1);
    assert_eq!(bench.running.len(), 1);
}

#[test]
fn the_stop_command_runs_also_when_the_start_command_failed() {
    let mut bench = Bench::new(RECIPE, 8);
    bench.open();
    bench.end(End::Exited(1));
    bench.pass(10_000);
    assert_eq!(bench.commands(), ["close 10.77.0.1"]);
    bench.end(End::Killed(9));
    assert_eq!(
        bench.lines[2..],
        [
            "A: command returned non-zero status code (1)",
            "10.77.0.1: A: command timeout",
            "A: running command: close 10.77.0.1",
            "A: command was killed by signal 9"
        ]
    );
}

#[test]
fn a_stop_command_alone_runs_nothing() {
    let mut bench = Bench::new("stop_command = close %IP%", 8);
    bench.open();
    assert!(bench.running.is_empty() && bench.keeper.is_idle());
    assert_eq!(bench.lines, ["10.77.0.1: A: OPEN SESAME"]);
}

#[test]
fn knocking_again_runs_both_commands_again() {
    let mut bench = Bench::new(RECIPE, 8);
    bench.open();
    bench.end(End::Exited(0));
    bench.pass(2_000);
    bench.open();
    bench.end(End::Exited(0));
    bench.pass(8_000);
    assert_eq!(bench.running.len(), 1);
    bench.pass(2_000);
    assert_eq!(bench.running.len(), 2);
}

#[test]
fn a_command_that_grows_too_long_runs_neither_it_nor_the_other() {
    let long = "%IP% ".repeat(800);
    let mut bench = Bench::new(&format!("start_command = {long}"), 8);
    bench.open();
    assert_eq!(
        bench.lines[1..],
        ["error: parsed start command has been truncated! --> won't execute it"]
    );
    let mut bench = Bench::new(&format!("command = x\nstop_command = {long}"), 8);
    bench.open();
    assert!(bench.running.is_empty());
    assert_eq!(
        bench.lines[1..],
        ["error: parsed stop command has been truncated! --> won't execute start command"]
    );
}

#[test]
fn commands_beyond_the_limit_wait_and_closing_goes_first() {
    let mut bench = Bench::new(&format!("{RECIPE}\ncmd_timeout = 1"), 1);
    bench.open();
    bench.end(End::Exited(0));
    bench.open();
    bench.open();
    assert_eq!(bench.commands(), ["open 10.77.0.1"]);
    bench.pass(1_000);
    bench.end(End::Exited(0));
    assert_eq!(bench.commands(), ["close 10.77.0.1"]);
    bench.end(End::Exited(0));
    assert_eq!(bench.commands(), ["open 10.77.0.1"]);
    assert!(
        bench
            .lines
            .iter()
            .any(|line| line.ends_with("this one waits"))
    );
}

#[test]
fn openings_without_end_are_bounded_in_commands_lines_and_memory() {
    let mut bench = Bench::new("command = open %IP%", 4);
    for _ in 0..100_000 {
        bench.open();
    }
    let (grants, running, waiting) = bench.keeper.counts();
    assert_eq!((running, waiting, grants), (4, 1024, 1028));
    assert!(bench.lines.len() <= 2_000);
    let (left_out, refused) = bench.keeper.losses();
    assert_eq!(refused, 100_000 - 1028);
    assert!(left_out > 100_000);
    bench.lines.clear();
    bench.pass(0);
    assert_eq!(
        bench.lines,
        [format!("{left_out} log lines about openings were left out")]
    );
    bench.pass(3_600_000);
    assert_eq!(bench.lines.len(), 1, "it is said once");
}

#[test]
fn an_opening_while_the_daemon_stops_runs_nothing_and_says_why() {
    let mut bench = Bench::new(RECIPE, 8);
    bench.stop();
    bench.open();
    assert!(bench.running.is_empty() && bench.keeper.is_idle());
    assert_eq!(
        bench.lines[1..],
        ["10.77.0.1: A: the daemon stops; nothing was run for this opening"]
    );
}

#[test]
fn at_the_stop_everything_that_is_open_closes_at_once() {
    let mut bench = Bench::new(&format!("{RECIPE}\ncmd_timeout = 3600"), 8);
    bench.open();
    bench.end(End::Exited(0));
    bench.open();
    bench.end(End::Exited(0));
    bench.open();
    bench.stop();
    assert_eq!(
        bench.commands(),
        ["open 10.77.0.1", "close 10.77.0.1", "close 10.77.0.1"]
    );
    bench.end(End::Exited(0));
    assert_eq!(bench.commands(), ["close 10.77.0.1"; 3]);
    for _ in 0..3 {
        bench.end(End::Exited(0));
    }
    assert!(bench.keeper.is_idle());
}

#[test]
fn a_start_command_that_hangs_at_the_stop_does_not_keep_the_door_open() {
    let mut bench = Bench::new(RECIPE, 1);
    bench.open();
    bench.stop();
    assert_eq!(bench.commands(), ["open 10.77.0.1"]);
    bench.keeper.stop_all(bench.now);
    bench.poll();
    assert_eq!(bench.commands(), ["open 10.77.0.1", "close 10.77.0.1"]);
    bench.end(End::Killed(15));
    assert!(!bench.keeper.is_idle(), "the stop command still runs");
    bench.end(End::Exited(0));
    assert!(bench.keeper.is_idle());
}

#[test]
fn what_is_owed_is_on_the_disk_before_it_runs_and_struck_off_after_it_has() {
    let mut bench = Bench::new(&format!("{RECIPE}\ncmd_timeout = 5"), 8);
    bench.open();
    assert_eq!(bench.owed(), ["starting"]);
    bench.end(End::Exited(0));
    assert_eq!(bench.owed(), ["open for 5s"]);
    bench.pass(5_000);
    assert_eq!(bench.owed(), ["stopping"]);
    bench.end(End::Exited(0));
    assert!(bench.owed.is_empty());
}

#[test]
fn a_door_without_a_stop_command_owes_nothing() {
    let mut bench = Bench::new("command = open %IP%", 8);
    bench.open();
    assert!(bench.owed.is_empty());
    assert_eq!(bench.running.len(), 1);
}

#[test]
fn what_cannot_be_written_down_does_not_run() {
    let mut bench = Bench::new(RECIPE, 8);
    bench.can_write = false;
    bench.open();
    assert!(bench.running.is_empty() && bench.keeper.is_idle());
    assert_eq!(
        bench.lines[1..],
        ["10.77.0.1: A: what would be owed cannot be written down; nothing was run"]
    );
}

fn due(id: u64, when: When) -> Due {
    let owed = Owed {
        id,
        door: "A".into(),
        source: SOURCE,
        command: format!("close {id}"),
        user: Some("nobody".into()),
    };
    let owed = Arc::new(owed);
    Due { owed, when }
}

#[test]
fn what_is_owed_from_before_is_done_at_once_or_in_time() {
    let mut bench = Bench::new(RECIPE, 8);
    let later = When::In(Duration::from_secs(3));
    let all = [later, When::Overdue, When::Starting, When::Stopping];
    let all = (1..).zip(all).map(|(id, when)| due(id, when));
    bench.owed = (1..=4).map(|id| (JobId(id), "before".into())).collect();
    bench.keeper.recover(all.collect(), bench.now);
    bench.poll();
    assert_eq!(bench.commands(), ["close 2", "close 3", "close 4"]);
    assert_eq!(bench.running[0].user.as_deref(), Some("nobody"));
    for _ in 0..3 {
        bench.end(End::Exited(0));
    }
    bench.pass(2_999);
    assert_eq!(bench.owed(), ["before"]);
    bench.pass(1);
    bench.end(End::Exited(0));
    assert!(bench.owed.is_empty() && bench.keeper.is_idle());
}

#[test]
fn what_is_kept_at_the_stop_stays_owed_and_is_waited_for_no_longer() {
    let mut bench = Bench::new(&format!("{RECIPE}\ncmd_timeout = 60"), 1);
    bench.open();
    bench.end(End::Exited(0));
    bench.open();
    bench.open();
    assert_eq!(bench.owed(), ["open for 60s", "starting", "starting"]);
    bench.keeper.stop(OnStop::Keep, bench.now);
    bench.poll();
    assert_eq!(
        bench.owed(),
        ["open for 60s", "starting"],
        "one never began"
    );
    assert!(!bench.keeper.is_idle(), "a start command runs");
    bench.end(End::Exited(0));
    assert_eq!(bench.owed(), ["open for 60s", "open for 60s"]);
    assert!(bench.keeper.is_idle() && bench.running.is_empty());
}

#[test]
fn a_start_command_that_hangs_at_the_stop_is_left_to_the_journal() {
    let mut bench = Bench::new(RECIPE, 1);
    bench.open();
    bench.keeper.stop(OnStop::Keep, bench.now);
    bench.keeper.stop_all(bench.now);
    bench.poll();
    assert!(bench.keeper.is_idle());
    assert_eq!(bench.owed(), ["starting"]);
}

#[test]
fn reopen_extend_moves_the_deadline_and_runs_nothing() {
    let keys = format!("{RECIPE}\ncmd_timeout = 5\nreopen = extend");
    let mut bench = Bench::new(&keys, 8);
    bench.open();
    bench.open();
    assert_eq!(bench.running.len(), 1, "it is being opened");
    bench.end(End::Exited(0));
    bench.pass(3_000);
    bench.open();
    assert!(bench.running.is_empty());
    assert_eq!(bench.owed(), ["open for 5s"]);
    bench.pass(4_999);
    assert!(bench.running.is_empty());
    bench.pass(1);
    assert_eq!(bench.commands(), ["close 10.77.0.1"]);
    // It closes: this is an opening of its own.
    bench.open();
    assert_eq!(bench.commands(), ["close 10.77.0.1", "open 10.77.0.1"]);
}

#[test]
fn what_is_taken_back_is_closed_at_once() {
    let mut bench = Bench::new(RECIPE, 8);
    bench.open();
    bench.end(End::Exited(0));
    bench.open();
    bench.end(End::Exited(0));
    let other = IpAddr::from([10, 77, 0, 9]);
    let why = Why::new("closed by B", Reason::CloseKnock);
    let mut take = |door, source| {
        let count = bench.keeper.take_back(door, source, &why, bench.now);
        bench.poll();
        count
    };
    assert_eq!(take("A", other), 0);
    assert_eq!(take("B", SOURCE), 0);
    assert_eq!(take("A", SOURCE), 2);
    assert_eq!(bench.commands(), ["close 10.77.0.1"; 2]);
}

/// Doors of which each heard differently from the next.
fn doors_of(n: u32) -> Arc<[Door]> {
    let text = format!("[A]\nsequence = {n},{}\ncommand = generation {n}\n", n + 1);
    let parsed = config::parse(text.as_bytes(), &|_, _| None);
    parsed.config.unwrap().doors.into()
}

fn report(doors: &[Door], door: u16, kind: ReportKind) -> Report {
    Report {
        doors: Checksum::of(doors),
        door: DoorId(door),
        source: SOURCE,
        at: Timestamp::ZERO,
        kind,
    }
}

/// The start command of the door that an opening of `of` means.
fn meant(doors: &mut Generations, of: &[Door]) -> Result<String, Misbehaviour> {
    let door = doors.check(&report(of, 0, ReportKind::Opening))?;
    Ok(door.action.v4.as_ref().unwrap().start.to_string())
}

#[test]
fn a_report_of_doors_of_before_means_the_door_of_before() {
    let (old, new) = (doors_of(1), doors_of(2));
    let mut doors = Generations::new(Arc::clone(&old));
    doors.replace(Arc::clone(&new));
    assert_eq!(meant(&mut doors, &old).as_deref(), Ok("generation 1"));
    assert_eq!(meant(&mut doors, &new).as_deref(), Ok("generation 2"));
    let none = Err(Misbehaviour::NoSuchDoor);
    assert_eq!(meant(&mut doors, &old), none, "reports come in order");
    assert_eq!(meant(&mut doors, &doors_of(3)), none);
}

#[test]
fn reports_survive_reloads_in_a_row_as_far_as_is_remembered() {
    let mut doors = Generations::new(doors_of(1));
    for n in 2..=20 {
        doors.replace(doors_of(n));
    }
    for n in [1, 2, 3] {
        assert!(meant(&mut doors, &doors_of(n)).is_err(), "{n}");
    }
    for n in 4..=20 {
        assert_eq!(
            meant(&mut doors, &doors_of(n)),
            Ok(format!("generation {n}"))
        );
    }
}

#[test]
fn of_doors_that_are_heard_alike_the_commands_of_now_run() {
    let old = doors_of(1);
    let mut new = old.to_vec();
    new[0].action = doors_of(2)[0].action.clone();
    let mut doors = Generations::new(Arc::clone(&old));
    doors.replace(new.into());
    assert_eq!(meant(&mut doors, &old).as_deref(), Ok("generation 2"));
}

#[test]
fn a_door_or_a_step_that_does_not_exist_is_not_believed() {
    let all = doors_of(1);
    let mut doors = Generations::new(Arc::clone(&all));
    let by = Step::tcp(9);
    let mut believed = |door, kind| doors.check(&report(&all, door, kind)).is_ok();
    assert!(!believed(1, ReportKind::Opening));
    for (stage, step, end) in [(1, true, true), (2, true, false), (3, false, false)] {
        assert_eq!(believed(0, ReportKind::Stage(stage)), step, "{stage}");
        assert_eq!(believed(0, ReportKind::Timeout { stage }), end, "{stage}");
        assert_eq!(
            believed(0, ReportKind::Broken { stage, by }),
            end,
            "{stage}"
        );
    }
}

#[test]
fn that_a_knock_opened_a_door_without_a_sequence_is_not_believed() {
    let text = "[A]\nauthorized_keys = /k\nopen = tcp/22\n";
    let parsed = config::parse(text.as_bytes(), &|_, _| None);
    let all: Arc<[Door]> = parsed.config.unwrap().doors.into();
    let mut doors = Generations::new(Arc::clone(&all));
    for kind in [ReportKind::Opening, ReportKind::Stage(1)] {
        let meant = doors.check(&report(&all, 0, kind));
        assert!(matches!(meant, Err(Misbehaviour::NoSuchDoor)));
    }
}
