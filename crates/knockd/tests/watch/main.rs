//! `knockctl watch` as somebody sees it who sits at a terminal: under tmux, with a daemon that runs.

#[expect(dead_code, reason = "the tests of the control socket need more of it")]
#[path = "../control/net.rs"]
mod net;
mod page;
mod screen;
mod tmux;

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
    let trials = screen::CASES.iter().map(|(name, case)| {
        Trial::test(*name, move || {
            case().map_err(|error| Failed::from(error.to_string()))
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
