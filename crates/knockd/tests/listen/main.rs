//! The packet side on real packets, between throw-away hosts: each case has a network of its own
//! and runs on its server.

mod bench;
mod deaths;
mod interfaces;
mod knocks;
mod limits;
mod net;

use std::error::Error;
use std::process::ExitCode;

use knockd::lab::{Identity, isolate};
use libtest_mimic::{Arguments, Failed, Trial};
use net::Net;

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

type Case = fn(&Net) -> Outcome;

fn main() -> ExitCode {
    if let Err(error) = isolate(Identity::RootIfNeeded) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let groups = [
        knocks::CASES,
        interfaces::CASES,
        limits::CASES,
        deaths::CASES,
    ];
    let mut trials: Vec<_> = groups.concat().into_iter().map(trial).collect();
    let tun = interfaces::TUN.iter().copied().map(trial);
    trials.extend(tun.map(|trial| trial.with_ignored_flag(!net::can_make_tun())));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The packet side asks the kernel in the namespace of its caller, so all of a case runs there.
fn trial((name, case): (&str, Case)) -> Trial {
    Trial::test(name, move || {
        let net = Net::new().map_err(|error| error.to_string())?;
        let outcome = net
            .server
            .run(|| case(&net))
            .map_err(|error| error.to_string())?;
        outcome.map_err(|error| Failed::from(error.to_string()))
    })
}
