//! Listeners that die or misbehave, and those that follow them.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use knock_core::door::DoorId;
use knock_core::sequence::{Sequence, Step};
use knockd::listen::{Misbehaviour, Notice, PacketSide, Problem, Sandbox, StartError};
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Bench, setup};
use crate::knocks::A;
use crate::net::{Net, knocks};
use crate::{Case, Outcome};

pub(crate) const CASES: &[(&str, Case)] = &[
    (
        "a_killed_listener_is_back_at_once_and_goes_on_with_attempts",
        killed,
    ),
    (
        "what_comes_while_there_is_no_listener_is_heard_by_the_next",
        gap,
    ),
    (
        "a_new_listener_knows_the_doors_of_the_last_reload",
        reloaded,
    ),
    (
        "a_listener_that_dies_again_and_again_is_started_ever_later",
        again,
    ),
    (
        "a_listener_that_misbehaves_is_killed_and_replaced",
        misbehaves,
    ),
    ("what_is_counted_is_counted_on_after_a_death", counted),
    ("a_program_that_is_no_listener_is_an_error", no_listener),
    (
        "without_a_sandbox_there_is_a_listener_unless_one_is_required",
        unconfined,
    ),
];

fn kill(bench: &Bench) -> Outcome {
    let id = bench.side.listener().ok_or("no listener")?;
    let pid = Pid::from_raw(i32::try_from(id)?).ok_or("no process")?;
    Ok(kill_process(pid, Signal::KILL)?)
}

/// Waits until a listener is ready after another; how long there was none.
fn until_back(bench: &mut Bench) -> Outcome<Duration> {
    let back = |notice: &Notice| matches!(notice, Notice::Ready { again: Some(_), .. });
    match bench.until(back)?.pop() {
        Some(Notice::Ready {
            again: Some(again), ..
        }) => Ok(again),
        other => Err(format!("{other:?}").into()),
    }
}

fn killed(net: &Net) -> Outcome {
    let mut bench = Bench::new(A, &["server0"])?;
    let mut longest = Duration::ZERO;
    for _ in 0..3 {
        assert_eq!(bench.knock(&net.cable, "7000 8000")?, "A.1 A.2");
        kill(&bench)?;
        longest = longest.max(until_back(&mut bench)?);
        assert_eq!(bench.knock(&net.cable, "9000")?, "A.3 A!");
    }
    println!("without a listener for {longest:?} at the most");
    // The second and third are held back by 50 and 100 ms.
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    Ok(())
}

fn gap(net: &Net) -> Outcome {
    let mut bench = Bench::new(A, &["server0"])?;
    assert_eq!(bench.knock(&net.cable, "7000")?, "A.1");
    kill(&bench)?;
    for knock in knocks("10.77.0.1", "10.77.0.2", "8000 9000")? {
        net.cable.send(&knock)?;
    }
    until_back(&mut bench)?;
    let reports = bench.reports(&net.cable)?;
    assert_eq!(bench.text(&reports), "A.2 A.3 A!");
    Ok(())
}

fn reloaded(net: &Net) -> Outcome {
    let sequence = |ports: [u16; 2]| Sequence::new(ports.map(Step::tcp).to_vec()).ok();
    let mut bench = Bench::new("", &["server0"])?;
    let text = format!("[O]\none_time_sequences = /nowhere\ntcpflags = syn\n{A}");
    bench.set_doors(&text, vec![(DoorId(0), sequence([1, 2]))])?;
    bench.side.set_sequence(DoorId(0), sequence([3, 4]));
    assert_eq!(bench.knock(&net.cable, "3 7000")?, "O.1 Ox1 A.1");
    kill(&bench)?;
    until_back(&mut bench)?;
    assert_eq!(bench.knock(&net.cable, "8000 9000")?, "A.2 A.3 A!");
    assert_eq!(bench.knock(&net.cable, "1 2 3 4")?, "O.1 O.2 O!");
    Ok(())
}

fn again(net: &Net) -> Outcome {
    let mut bench = Bench::new(A, &["server0"])?;
    let start = Instant::now();
    for _ in 0..4 {
        kill(&bench)?;
        until_back(&mut bench)?;
    }
    let taken = start.elapsed();
    assert!(taken >= Duration::from_millis(50 + 100 + 200), "{taken:?}");
    assert_eq!(bench.knock(&net.cable, "7000 8000 9000")?, "A.1 A.2 A.3 A!");
    Ok(())
}

fn misbehaves(net: &Net) -> Outcome {
    let mut bench = Bench::new(A, &["server0"])?;
    let before = bench.side.listener();
    bench.side.misbehaved(Misbehaviour::NotAReport);
    let told = bench.until(|notice| matches!(notice, Notice::Problem(Problem::Listener(_))))?;
    assert!(
        format!("{told:?}").contains("no report, and was killed"),
        "{told:?}"
    );
    until_back(&mut bench)?;
    assert_ne!(bench.side.listener(), before);
    assert_eq!(bench.knock(&net.cable, "7000 8000 9000")?, "A.1 A.2 A.3 A!");
    Ok(())
}

fn counted(net: &Net) -> Outcome {
    let mut bench = Bench::new(A, &["server0"])?;
    bench.knock(&net.cable, "7000 8000 9000 7000")?;
    let before = bench.side.counters();
    assert_eq!((before.attempts, before.engine.knocks), (1, 4 + 2));
    kill(&bench)?;
    until_back(&mut bench)?;
    let after = bench.side.counters();
    assert_eq!((after.attempts, after.engine.knocks), (1, 4 + 2));
    bench.knock(&net.cable, "8000")?;
    assert_eq!(bench.side.counters().engine.knocks, 4 + 2 + 1 + 2);
    Ok(())
}

/// What is started is another program, one that cannot be, or one that says too much.
fn no_listener(_: &Net) -> Outcome {
    let dir = tempfile::tempdir()?;
    let script = dir.path().join("script");
    std::fs::write(&script, "#!/bin/sh\necho 'a\x1b[31mb' >&2\necho hello\n")?;
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755))?;
    for (program, expected) in [
        ("/bin/true", "ended with status 0"),
        ("/nonexistent", "No such file"),
        (script.to_str().ok_or("no name")?, "no report"),
    ] {
        let mut setup = setup(A, &["server0"])?;
        setup.program = program.into();
        let error = match PacketSide::start(setup) {
            Err(error @ (StartError::Listener(_) | StartError::Inside(_))) => error.to_string(),
            other => return Err(format!("{program}: {other:?}").into()),
        };
        assert!(error.contains(expected), "{program}: {error}");
        assert!(!error.contains('\x1b'), "{error}");
    }
    Ok(())
}

fn unconfined(net: &Net) -> Outcome {
    let mut off = setup(A, &["server0"])?;
    off.sandbox = Sandbox::Off;
    off.account = None;
    let mut bench = Bench::start(off)?;
    assert_eq!(bench.side.layers(), []);
    assert_eq!(bench.knock(&net.cable, "7000 8000 9000")?, "A.1 A.2 A.3 A!");
    drop(bench);

    let mut required = setup(A, &["server0"])?;
    required.sandbox = Sandbox::Require;
    let complete = Bench::new(A, &["server0"])?
        .side
        .layers()
        .iter()
        .all(|(_, s)| s.holds());
    let started = Bench::start(required);
    assert_eq!(started.is_ok(), complete, "{:?}", started.err());
    Ok(())
}
