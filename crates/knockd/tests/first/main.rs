//! The first five minutes: what `knockctl init` writes opens with the line that it prints, its dialogue
//! on a terminal, and a converted configuration beside the original. Each in namespaces of its own.

mod changing;
mod dialogue;
mod opening;
mod site;

use std::error::Error;
use std::process::ExitCode;

use knockd::lab::{Identity, isolate, own_state};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::mount::{MsFlags, mount};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// A name, what must be there for it, and the test.
type Case = (&'static str, fn() -> bool, fn() -> Outcome);

fn prepare() -> Outcome {
    isolate(Identity::RootIfNeeded)?;
    own_state()?;
    // What is written names a log of the machine's.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("tmpfs"),
        "/var/log",
        Some("tmpfs"),
        flags,
        None::<&str>,
    )?;
    dialogue::prepare()
}

fn main() -> ExitCode {
    if let Err(error) = prepare() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let cases = [changing::CASES, dialogue::CASES, opening::CASES].concat();
    let trials = cases.into_iter().map(|(name, is_possible, case)| {
        let test = move || case().map_err(|error| Failed::from(error.to_string()));
        Trial::test(name, test).with_ignored_flag(!is_possible())
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
