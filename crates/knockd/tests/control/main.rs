//! The control socket of a daemon that runs: what operators ask for and get, clients that misbehave,
//! and whether status, events and log say the same.
#![expect(
    clippy::indexing_slicing,
    reason = "what is not there fails the test that looks at it"
)]

mod agreement;
mod clients;
mod net;
mod reload;
mod requests;
mod starts;

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
    let trial = |(name, case): Case| {
        Trial::test(name, move || {
            case().map_err(|error| Failed::from(error.to_string()))
        })
    };
    let cases = [
        requests::CASES,
        reload::CASES,
        clients::CASES,
        starts::CASES,
        agreement::CASES,
    ];
    let trials = cases.concat().into_iter().map(trial);
    // These need an account that only the machine's root has (user_namespaces(7)).
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let has_accounts = map.split_whitespace().last() != Some("1");
    let others = clients::OTHER_ACCOUNTS.iter().copied().map(trial);
    let others = others.map(|trial| trial.with_ignored_flag(!has_accounts));
    libtest_mimic::run(&Arguments::from_args(), trials.chain(others).collect()).exit_code()
}
