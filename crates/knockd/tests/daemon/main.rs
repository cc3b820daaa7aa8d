//! The daemon as a process: how it starts, goes into the background, reloads and ends. What it
//! makes of packets is the business of the compliance cases and of `tests/listen`.

mod background;
mod commands;
#[cfg(target_arch = "x86_64")]
mod escapes;
mod hooks;
#[cfg(target_arch = "x86_64")]
#[path = "../sandbox/inject.rs"]
mod inject;
mod listener;
mod notify;
mod shadow;
mod site;

use std::error::Error;
use std::process::ExitCode;

use knockd::lab::{Identity, isolate, own_state};
use libtest_mimic::{Arguments, Failed, Trial};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

type Case = (&'static str, fn() -> Outcome);

fn main() -> ExitCode {
    if let Err(error) = isolate(Identity::RootIfNeeded).and_then(|()| own_state()) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let mut cases = [
        background::CASES,
        commands::CASES,
        hooks::CASES,
        listener::CASES,
        notify::CASES,
        shadow::CASES,
    ]
    .concat();
    #[cfg(target_arch = "x86_64")]
    cases.extend(escapes::CASES);
    let trial = |(name, case): Case| {
        Trial::test(name, move || {
            case().map_err(|error| Failed::from(error.to_string()))
        })
    };
    let beside = shadow::BESIDE.iter().copied().map(trial);
    let beside = beside.map(|trial| trial.with_ignored_flag(!shadow::can_run_beside()));
    let trials = cases.into_iter().map(trial).chain(beside);
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
