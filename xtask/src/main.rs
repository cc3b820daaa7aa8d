//! `cargo xtask <job>`: every job that CI runs, so that it runs at a desk too.
//!
//! A job prints what it runs, stops at the first failure, and never skips quietly what it cannot
//! run. The list below is the list: `cargo xtask --help` is made from it.
#![forbid(unsafe_code)]

mod jobs;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::jobs::packages::{Kind, Part};
use crate::run::Outcome;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Every job that CI runs", version)]
struct Arguments {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Everything that CI runs, after `setup`
    Test,
    /// Install the Debian packages that the jobs need, or say which are missing
    Setup,
    /// Formatting, lints, documentation and manual pages
    Lint,
    /// Build the pure crates where there is no standard library
    Pure,
    /// Unit, property and golden tests, and the live tests of each crate
    Unit,
    /// The compliance cases, against the original and against ours
    Compliance {
        /// Passed on to the test bed; `--help` for its own options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Random configurations and packets through both daemons
    Differential {
        /// Passed on to the test bed; `--help` for its own options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Other people's clients, real firewalls and a real ssh against our daemon
    Knockers {
        /// Passed on to the test bed; `--help` for its own options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Deaths, damage and bad moments while doors are open
    Faults {
        /// Passed on to the test bed; `--help` for its own options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Every command of the guides, as their reader would run it
    Guides {
        /// Passed on to the test bed; `--help` for its own options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run every fuzz target for a while
    Fuzz {
        /// Seconds for each target
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Only this target
        target: Option<String>,
    },
    /// Measure the budgets, side by side with the original
    Bench {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        /// Only these: engine, and those that `bench --help` of the test bed names
        #[arg(long, value_name = "NAME")]
        only: Vec<String>,
    },
    /// A knock that opens a port, in throw-away network namespaces (`cargo try`)
    Try {
        /// Passed on to `knockctl try`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build a package for users, into target/packages
    Package {
        #[arg(value_enum)]
        kind: Kind,
    },
    /// Install and use the packages in throw-away machines; needs root
    Packages {
        /// Only these; the default is all but container
        #[arg(value_enum)]
        parts: Vec<Part>,
    },
    /// Licences, duplicate versions, sources and advisories (needs cargo-deny)
    Deny,
    /// The client for Windows, macOS and other systems, as far as this machine can
    Cross,
}

fn main() -> ExitCode {
    match perform(Arguments::parse().job) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn perform(job: Job) -> Outcome {
    match job {
        Job::Test => jobs::test(),
        Job::Setup => jobs::setup::run(),
        Job::Lint => jobs::checks::lint(),
        Job::Pure => jobs::checks::pure(),
        Job::Unit => jobs::checks::unit(),
        Job::Compliance { arguments } => jobs::bed::run("compliance", &arguments),
        Job::Differential { arguments } => jobs::bed::run("differential", &arguments),
        Job::Knockers { arguments } => jobs::bed::run("knockers", &arguments),
        Job::Faults { arguments } => jobs::bed::run("faults", &arguments),
        Job::Guides { arguments } => jobs::bed::run("guides", &arguments),
        Job::Fuzz { seconds, target } => jobs::fuzz::run(seconds, target.as_deref()),
        Job::Bench { json, only } => jobs::bench::run(json, &only),
        Job::Try { arguments } => jobs::try_knock(&arguments),
        Job::Package { kind } => jobs::packages::build(kind),
        Job::Packages { parts } => jobs::packages::test(&parts),
        Job::Deny => jobs::checks::deny(),
        Job::Cross => jobs::cross::run(),
    }
}
