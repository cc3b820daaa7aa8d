//! `compliance`: runs the cases of `testing/cases` on every executor; `testing/README.md` is the
//! manual. Exits 1 if anything is not as the cases say.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use knockd::lab::{Identity, isolate, own_state};
use testbed::case::{Case, Executor, Step};
use testbed::live::{self, Outcome, Subject};
use testbed::script::Word;
use testbed::{Result, case, in_process, programs, trace};

/// Hold ours, theirs and the engine to the cases.
#[derive(Debug, Parser)]
struct Options {
    /// Only cases whose id, topic or title has this text; may be given several times
    #[arg(long, short)]
    filter: Vec<String>,
    /// Only this executor; may be given several times
    #[arg(long, short, value_parser = ["virtual", "ours", "theirs"])]
    executor: Vec<String>,
    /// List the cases instead of running them
    #[arg(long)]
    list: bool,
    /// Cases that run at the same time
    #[arg(long, short, default_value_t = 10)]
    lanes: usize,
    /// Show the log of each run that fails
    #[arg(long, short)]
    verbose: bool,
    /// Our daemon; built first if not given
    #[arg(long)]
    knockd: Option<PathBuf>,
    /// The distribution's daemon
    #[arg(long)]
    theirs: Option<PathBuf>,
    /// Where the cases are
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/cases"))]
    cases: PathBuf,
}

impl Options {
    fn takes(&self, case: &Case) -> bool {
        let has = |text: &String| {
            case.id == *text || case.topic == *text || case.title.contains(text.as_str())
        };
        self.filter.is_empty() || self.filter.iter().any(has)
    }

    fn runs(&self, executor: Executor) -> bool {
        self.executor.is_empty() || self.executor.iter().any(|name| name == executor.name())
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compliance: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let options = Options::parse();
    let mut cases = case::load(&options.cases)?;
    cases.retain(|case| options.takes(case));
    if options.list {
        list(&cases);
        return Ok(true);
    }
    if cases.is_empty() {
        return Err("no case has that".into());
    }
    isolate(Identity::RootIfNeeded)?;
    own_state()?;
    let started = Instant::now();
    let (mut passed, mut failed) = (0, 0);
    for executor in Executor::ALL.into_iter().filter(|e| options.runs(*e)) {
        let mine: Vec<_> = cases.iter().filter(|c| c.runs_on(executor)).collect();
        let subject = match executor {
            Executor::Virtual => None,
            Executor::Ours => Some(programs::ours("knockd", options.knockd.clone())?),
            Executor::Theirs => Some(programs::theirs("knockd", options.theirs.clone())?),
        };
        let subject = subject.map(|program| Subject { executor, program });
        let results = run_all(&mine, subject.as_ref(), options.lanes);
        report(executor, &mine, &results, &options);
        let unexpected = results.iter().filter(|v| !v.expected).count();
        passed += results.len() - unexpected;
        failed += unexpected;
    }
    println!("took {:.1} s", started.elapsed().as_secs_f64());
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

fn list(cases: &[Case]) {
    for case in cases {
        let executors = Executor::ALL.into_iter().filter(|e| case.runs_on(*e));
        let names: Vec<_> = executors.map(Executor::name).collect();
        println!(
            "{:<16} {:<24} {} [{}]",
            case.topic,
            case.id,
            case.title,
            names.join(" ")
        );
    }
    println!("{} cases", cases.len());
}

/// How one case went.
#[derive(Debug, Default)]
struct Verdict {
    skipped: bool,
    passed: bool,
    /// Passed or failed, as the case says of the executor.
    expected: bool,
    repeated: bool,
    details: Vec<String>,
    log: String,
}

/// Runs the cases, `lanes` at a time, the longest first.
fn run_all(cases: &[&Case], subject: Option<&Subject>, lanes: usize) -> Vec<Verdict> {
    let mut order: Vec<usize> = (0..cases.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(cases.get(*i).map(|case| duration(case))));
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        while let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Some(case) = cases.get(*index) else { break };
            let verdict = judge(case, subject);
            if let Ok(mut results) = results.lock() {
                results.push((*index, verdict));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..if subject.is_some() { lanes } else { 1 } {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, verdict)| verdict).collect()
}

/// How long the pauses of a case are together.
fn duration(case: &Case) -> Duration {
    let mut sum = Duration::from_secs(case.patience.unwrap_or(0));
    for step in &case.steps {
        if let Step::Script(text) = step {
            for word in case.words(text).unwrap_or_default() {
                sum += match word {
                    Word::Pause(pause) => pause,
                    Word::Align(_) => Duration::from_millis(500),
                    _ => Duration::ZERO,
                };
            }
        }
    }
    sum
}

/// Runs a case; once more if it is not as expected, since the machine may have been busy.
fn judge(case: &Case, subject: Option<&Subject>) -> Verdict {
    let verdict = judge_once(case, subject);
    if verdict.expected || subject.is_none() {
        return verdict;
    }
    Verdict {
        repeated: true,
        ..judge_once(case, subject)
    }
}

fn judge_once(case: &Case, subject: Option<&Subject>) -> Verdict {
    let outcome = match subject {
        Some(subject) => live::run(case, subject),
        None => in_process::run(case).map(|wrong| Outcome {
            wrong,
            ..Outcome::default()
        }),
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            return Verdict {
                details: vec![format!("the bed failed: {error}")],
                ..Verdict::default()
            };
        }
    };
    if outcome.skipped {
        return Verdict {
            skipped: true,
            expected: true,
            ..Verdict::default()
        };
    }
    let passed = outcome.wrong.is_empty();
    let theirs = subject.is_some_and(|s| s.executor == Executor::Theirs);
    let mut details = outcome.wrong;
    let mut expected = passed;
    if let (true, Some(mark)) = (theirs, &case.theirs) {
        expected = !passed;
        if passed {
            details.push(format!("it passes, so the mark is stale: {mark}"));
        } else if let Some(wanted) = &case.theirs_trace
            && trace::parse(wanted, case.v6).ok().as_ref() != Some(&outcome.marks)
        {
            expected = false;
            let got = trace::write(&outcome.marks, case.v6);
            details.push(format!("theirs_trace: {wanted}\n         got: {got}"));
        }
    }
    Verdict {
        passed,
        expected,
        details,
        log: outcome.log,
        ..Verdict::default()
    }
}

fn report(executor: Executor, cases: &[&Case], verdicts: &[Verdict], options: &Options) {
    let name = executor.name();
    for (case, verdict) in cases.iter().zip(verdicts) {
        if verdict.expected {
            continue;
        }
        println!("{name}: {} ({}.toml): {}", case.id, case.topic, case.title);
        for detail in &verdict.details {
            println!("    {}", detail.trim_end().replace('\n', "\n    "));
        }
        if options.verbose {
            println!(
                "    log:\n        {}",
                verdict.log.trim_end().replace('\n', "\n        ")
            );
        }
    }
    let count = |f: fn(&Verdict) -> bool| verdicts.iter().filter(|v| f(v)).count();
    let passed = count(|v| v.expected && v.passed);
    let defects = count(|v| v.expected && !v.passed && !v.skipped);
    let skipped = count(|v| v.skipped);
    let unexpected = count(|v| !v.expected);
    let repeated = count(|v| v.repeated);
    let mut line = format!("{name:<8} {passed} passed");
    if executor == Executor::Theirs {
        line += &format!(", {defects} known defects");
    }
    line += &format!(", {unexpected} failed");
    if skipped > 0 {
        line += &format!(", {skipped} skipped (this machine lacks what they need)");
    }
    if repeated > 0 {
        line += &format!(" ({repeated} were run twice)");
    }
    println!("{line}");
}
