//! The jobs, one function each.

pub(crate) mod bed;
pub(crate) mod bench;
pub(crate) mod checks;
pub(crate) mod cross;
pub(crate) mod fuzz;
pub(crate) mod packages;
pub(crate) mod setup;

use crate::run::{Outcome, cargo, execute, program, root, timed};

/// Seconds for each fuzz target in CI: enough to see that it runs and finds nothing at once.
const FUZZ_SMOKE_SECONDS: u32 = 5;

/// Everything that CI runs.
pub(crate) fn test() -> Outcome {
    timed("setup", setup::run)?;
    timed("lint", checks::lint)?;
    timed("pure", checks::pure)?;
    timed("unit", checks::unit)?;
    timed("compliance", || bed::run("compliance", &[]))?;
    timed("differential", || bed::run("differential", &[]))?;
    timed("knockers", || bed::run("knockers", &[]))?;
    timed("faults", || bed::run("faults", &[]))?;
    timed("guides", || bed::run("guides", &[]))?;
    timed("try", || try_knock(&[]))?;
    timed("packages", packages::test_if_root)?;
    timed("fuzz", || fuzz::run(FUZZ_SMOKE_SECONDS, None))
}

/// Builds the programs, and runs `knockctl try` with them.
pub(crate) fn try_knock(arguments: &[String]) -> Outcome {
    execute(cargo(".").args(["build", "--quiet", "-p", "knockd", "-p", "knock"]))?;
    execute(
        program(root().join("target/debug/knockctl"))
            .arg("try")
            .args(arguments),
    )
}
