//! Jobs that look at the sources, and the tests that cargo runs.

use std::path::PathBuf;

use crate::run::{Failure, Outcome, cargo, execute, is_installed, program, root};

/// The workspaces of this repository.
const WORKSPACES: [&str; 3] = [".", "testing", "fuzz"];

/// The target on which the pure crates prove that they need no operating system.
const BARE_TARGET: &str = "wasm32-unknown-unknown";

/// Formatting, lints, documentation and manual pages.
pub(crate) fn lint() -> Outcome {
    for workspace in WORKSPACES {
        execute(cargo(workspace).args(["fmt", "--all", "--check"]))?;
        let deny = ["--", "-D", "warnings"];
        let all = ["clippy", "--quiet", "--workspace", "--all-targets"];
        execute(cargo(workspace).args(all).args(deny))?;
    }
    let doc = [
        "doc",
        "--quiet",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ];
    execute(cargo(".").args(doc).env("RUSTDOCFLAGS", "-D warnings"))?;
    execute(
        program("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .args(manuals()?),
    )
}

/// Builds the pure crates where there is no standard library to lean on.
pub(crate) fn pure() -> Outcome {
    let add = program("rustup")
        .args(["--quiet", "target", "add", BARE_TARGET])
        .status();
    let target: &[&str] = if add.is_ok_and(|status| status.success()) {
        &["--target", BARE_TARGET]
    } else {
        eprintln!(
            "xtask: no {BARE_TARGET} to be had: the pure crates are built for this machine only"
        );
        &[]
    };
    execute(
        cargo(".")
            .args(["build", "--quiet", "-p", "knock-core", "-p", "knock-spa"])
            .args(target),
    )
}

/// Unit, property and golden tests, and the live tests of each crate.
pub(crate) fn unit() -> Outcome {
    // A property test that fails must not write into the tree, and golden files are never made here.
    let quiet = [("INSTA_UPDATE", "no"), ("CI", "true")];
    execute(
        cargo(".")
            .args(["test", "--quiet", "--workspace"])
            .envs(quiet),
    )?;
    execute(
        cargo("testing")
            .args(["test", "--quiet", "--workspace"])
            .envs(quiet),
    )
}

/// Licences, duplicate versions, sources and advisories.
pub(crate) fn deny() -> Outcome {
    if !is_installed("cargo-deny") {
        return Err(Failure::Said(
            "run: cargo install cargo-deny --locked".into(),
        ));
    }
    execute(cargo(".").args(["deny", "--all-features", "check"]))
}

fn manuals() -> Result<Vec<PathBuf>, Failure> {
    let folder = root().join("man");
    let read = |error| Failure::Said(format!("{}: {error}", folder.display()));
    let entries = std::fs::read_dir(&folder).map_err(read)?;
    let mut pages: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    pages.sort();
    Ok(pages)
}
