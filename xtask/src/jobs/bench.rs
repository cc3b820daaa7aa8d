//! The budgets of the project, measured.

use crate::run::{Outcome, cargo, execute};

/// The bench of the crate `knock-core`; all others are the test bed's.
const ENGINE: &str = "engine";

/// Runs every bench, or those named in `only`; each prints its figures, the ratio and the verdict.
/// One that does not hold its budget does not keep the others from being measured.
pub(crate) fn run(json: bool, only: &[String]) -> Outcome {
    let flag: &[&str] = if json { &["--json"] } else { &[] };
    let chosen =
        |is_chosen: fn(&str) -> bool| only.is_empty() || only.iter().any(|name| is_chosen(name));
    let engine = if chosen(|name| name == ENGINE) {
        engine(flag)
    } else {
        Ok(())
    };
    if !chosen(|name| name != ENGINE) {
        return engine;
    }
    execute(cargo(".").args([
        "build",
        "--quiet",
        "--release",
        "-p",
        "knockd",
        "-p",
        "knock",
    ]))?;
    let names = only.iter().filter(|name| *name != ENGINE);
    execute(
        cargo("testing")
            .args(["run", "--quiet", "--release", "--bin", "bench", "--"])
            .args(flag)
            .args(names.flat_map(|name| ["--only", name])),
    )
    .and(engine)
}

fn engine(flag: &[&str]) -> Outcome {
    execute(
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
    )
}
