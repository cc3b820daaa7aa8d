//! Sealed packets, from a client's socket to an open port and the answer, between throw-away hosts.

mod boundaries;
mod capture;
mod codes;
mod doctor;
mod hooks;
#[path = "../sandbox/inject.rs"]
mod inject;
mod keys;
mod kinds;
mod net;
mod opening;
mod powers;
mod reload;
mod replays;
mod shadow;
mod silence;
mod strangers;
mod tampering;

use std::error::Error;
use std::process::ExitCode;

use knockd::lab::{Identity, isolate};
use libtest_mimic::{Arguments, Failed, Trial};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

type Case = (&'static str, fn() -> Outcome);

fn main() -> ExitCode {
    if let Err(error) = isolate(Identity::RootIfNeeded) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trial = |(name, case): Case| {
        Trial::test(name, move || {
            case().map_err(|error| Failed::from(error.to_string()))
        })
    };
    let cases = [
        opening::CASES,
        strangers::CASES,
        silence::CASES,
        doctor::CASES,
        kinds::CASES,
        replays::CASES,
        tampering::CASES,
        boundaries::CASES,
        reload::CASES,
        codes::CASES,
        hooks::CASES,
        shadow::CASES,
    ];
    let trials = cases.concat().into_iter().map(trial);
    // These need an account that only the machine's root has.
    let powers = powers::CASES.iter().copied().map(trial);
    let powers = powers.map(|trial| trial.with_ignored_flag(!powers::has_accounts()));
    libtest_mimic::run(&Arguments::from_args(), trials.chain(powers).collect()).exit_code()
}
