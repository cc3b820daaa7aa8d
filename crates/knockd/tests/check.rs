//! `knockctl check` as it is called: exit status and streams.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use tempfile::NamedTempFile;

fn file(text: &str) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

fn check(text: &str, options: &[&str]) -> std::io::Result<(Option<i32>, String, String)> {
    let file = file(text)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_knockctl"));
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .args(["check", "-c"])
        .arg(file.path())
        .args(options)
        .env_remove("SSH_CONNECTION")
        .output()?;
    let name = file.path().display().to_string();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&name, "FILE");
    Ok((status.code(), text(&stdout), text(&stderr)))
}

const GOOD: &str = "[A]\nsequence = 7000,9000,8000\ntcpflags = syn\nstrict\n";
const DOUBTFUL: &str = "[A]\nsequence = 7000,9000,8000\ntcpflags = syn\n";
const WRONG: &str = "[A]\nsequence = 70000\n";

#[test]
fn a_good_file_is_0_and_says_how_many_doors_it_has() {
    let (status, out, err) = check(GOOD, &["--deny-warnings"]).unwrap();
    assert_eq!(
        (status, out.as_str()),
        (Some(0), "FILE: 1 door, no mistake\n")
    );
    assert_eq!(err, "");
}

#[test]
fn what_is_guarded_is_told_and_is_no_warning() {
    let text = format!("{GOOD}open = tcp/22\n");
    let (status, out, _) = check(&text, &["--deny-warnings"]).unwrap();
    assert_eq!(
        (status, out.as_str()),
        (
            Some(0),
            "FILE: 1 door, no mistake\n\n\
             closed to everybody who has not knocked:\n    tcp/22  opened by A for 30s\n\
             note: tcp/22 will be closed to everybody who has not knocked; \
             use `knockctl arm` for the first time\n"
        )
    );
}

#[test]
fn warnings_are_0_unless_they_are_denied() {
    let (status, out, _) = check(DOUBTFUL, &[]).unwrap();
    assert!(out.ends_with("warning: FILE: 1 warning\n"), "{out}");
    assert_eq!(status, Some(0));
    assert_eq!(check(DOUBTFUL, &["--deny-warnings"]).unwrap().0, Some(1));
}

#[test]
fn an_error_is_1_and_is_shown_without_colours_to_a_pipe() {
    let (status, out, err) = check(WRONG, &[]).unwrap();
    assert_eq!((status, err.as_str()), (Some(1), ""));
    assert!(out.starts_with("error: there is no port 70000\n"), "{out}");
    assert!(
        out.contains("--> FILE:2:12\n") && !out.contains('\x1b'),
        "{out}"
    );
}

#[test]
fn which_scans_open_each_door_is_a_table() {
    let text = "[ssh]\nsequence = 7000,8000,9000\nseq_timeout = 5\n\
                [ssh, strict]\nsequence = 9000,8000,7000\nstrict\ntcpflags = syn\n\
                [wake]\nsequence = 9:udp\n\
                [once]\none_time_sequences = /f\n";
    let (status, out, err) = check(text, &["--scans"]).unwrap();
    assert_eq!((status, err.as_str()), (Some(0), ""));
    insta::assert_snapshot!(out);
}

#[test]
fn a_file_that_is_not_there_is_1_with_the_reason() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_knockctl"));
    let output = command
        .args(["check", "--config", "/nonexistent"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "knockctl: /nonexistent: No such file or directory\n"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let file = file(&"[A]\nsequence = 7000\n".repeat(5000)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_knockctl"));
    command.args(["check", "-c"]).arg(file.path());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}
