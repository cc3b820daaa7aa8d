//! The test bed: our programs as they are built, in network namespaces, beside the original's.

use crate::run::{Outcome, cargo, execute};

/// Runs the test bed's program `name` with `arguments`.
pub(crate) fn run(name: &str, arguments: &[String]) -> Outcome {
    execute(cargo(".").args(["build", "--quiet", "-p", "knockd", "-p", "knock"]))?;
    execute(
        cargo("testing")
            .args(["run", "--quiet", "--bin", name, "--"])
            .args(arguments),
    )
}
