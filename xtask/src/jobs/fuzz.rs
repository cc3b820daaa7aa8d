//! Fuzzing with libFuzzer, on the stable compiler: the instrumentation is LLVM's own, and safe
//! Rust needs no sanitizer to stop at a fault.

use crate::run::{Failure, Outcome, cargo, execute, program, root};

/// What `cargo fuzz` passes, without what only a nightly compiler takes.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing -Cdebug-assertions -Ccodegen-units=1";

/// Runs every target, or only `target`, for `seconds` each.
pub(crate) fn run(seconds: u32, target: Option<&str>) -> Outcome {
    let host = host()?;
    execute(
        cargo("fuzz")
            .args(["build", "--quiet", "--release", "--bins", "--target", &host])
            .env("RUSTFLAGS", INSTRUMENTATION),
    )?;
    let built = root().join("fuzz/target").join(&host).join("release");
    let targets = match target {
        Some(name) => vec![name.to_owned()],
        None => targets()?,
    };
    for name in targets {
        let corpus = root().join("fuzz/corpus").join(&name);
        let artifacts = root().join("fuzz/artifacts").join(&name);
        for folder in [&corpus, &artifacts] {
            let said = |error| Failure::Said(format!("{}: {error}", folder.display()));
            std::fs::create_dir_all(folder).map_err(said)?;
        }
        execute(
            program(built.join(&name))
                .arg(format!("-max_total_time={seconds}"))
                .arg(format!("-artifact_prefix={}/", artifacts.display()))
                .args(["-print_final_stats=1", "-verbosity=0", "-timeout=10"])
                .arg(corpus),
        )?;
    }
    Ok(())
}

/// Every target, by its source file.
fn targets() -> Result<Vec<String>, Failure> {
    let folder = root().join("fuzz/fuzz_targets");
    let said = |error| Failure::Said(format!("{}: {error}", folder.display()));
    let entries = std::fs::read_dir(&folder).map_err(said)?;
    let mut names: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_suffix(".rs")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    Ok(names)
}

/// The target triple of this machine: named, so that build scripts are not instrumented.
fn host() -> Result<String, Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = program(rustc).arg("-vV").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let said = || Failure::Said("rustc -vV names no host".into());
    let text = text.map_err(|_| said())?;
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(said)
}
