//! The budgets of the project, measured.

use crate::run::{Outcome, cargo, execute};

/// Runs every bench; each prints its figures, the ratio and the verdict. One that does not hold its
/// budget does not keep the others from being measured.
pub(crate) fn run(json: bool) -> Outcome {
    let flag: &[&str] = if json { &["--json"] } else { &[] };
    let engine = execute(
        cargo(".")
            .args([
                "bench",
                "--quiet",
                "-p",
                "knock-core",
                "--bench",
                "engine",
                "--",
            ])
            .args(flag),
    );
    execute(cargo(".").args([
        "build",
        "--quiet",
        "--release",
        "-p",
        "knockd",
        "-p",
        "knock",
    ]))?;
    execute(
        cargo("testing")
            .args(["run", "--quiet", "--release", "--bin", "bench", "--"])
            .args(flag),
    )
    .and(engine)
}
