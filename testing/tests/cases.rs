//! The cases pass in process, and there are as many as there should be.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use testbed::case::{self, Case, Executor};
use testbed::in_process;

fn cases() -> Vec<Case> {
    case::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")).unwrap()
}

#[test]
fn every_case_that_needs_no_process_passes_in_process() {
    for case in cases().iter().filter(|c| c.runs_on(Executor::Virtual)) {
        let wrong = in_process::run(case).unwrap();
        assert!(
            wrong.is_empty(),
            "{} ({}): {}",
            case.id,
            case.topic,
            wrong.join("\n")
        );
    }
}

#[test]
fn a_wrong_expectation_is_noticed() {
    let mut noticed = 0;
    for case in cases().iter_mut().filter(|c| c.runs_on(Executor::Virtual)) {
        if let Some(trace) = &mut case.trace {
            trace.push_str(" Nobody!");
            noticed += usize::from(!in_process::run(case).unwrap().is_empty());
        }
    }
    assert!(noticed > 150, "only {noticed}");
}

#[test]
fn no_case_is_for_nobody() {
    for case in cases() {
        assert!(
            Executor::ALL.iter().any(|e| case.runs_on(*e)),
            "{}",
            case.id
        );
        if case.theirs.is_some() {
            assert!(
                case.runs_on(Executor::Theirs),
                "{} marks a run it has not",
                case.id
            );
        }
    }
}
