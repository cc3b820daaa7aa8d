//! The audit trail of a real daemon, and `knockctl audit` on it.

#[path = "../daemon/site.rs"]
#[expect(
    dead_code,
    reason = "it is of the tests of the daemon, and these need less"
)]
mod site;
mod trail;

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
    let trials = trail::CASES.iter().map(|(name, case)| {
        Trial::test(*name, move || {
            case().map_err(|error| Failed::from(error.to_string()))
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
