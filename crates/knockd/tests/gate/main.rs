//! The gate in a real kernel, between throw-away hosts: each case has a network of its own and runs
//! on its server.

mod damage;
mod figures;
mod hold;
mod net;
mod text;
mod traffic;

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
        text::CASES,
        traffic::CASES,
        damage::CASES,
        hold::CASES,
        figures::CASES,
    ];
    let trials = groups.concat().into_iter().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The gate is that of its caller's namespace, so all of a case runs there.
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
