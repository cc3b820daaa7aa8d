//! `knockctl try` as a program: the sample, a configuration of one's own, and checks that fail.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use libtest_mimic::{Arguments, Failed, Trial};

/// Two doors on one port, one elsewhere that closes by itself, one that closes at once, one that
/// `knock` cannot knock at. `HITS` is a file of the machine.
const CONFIG: &str = "
[options]
    logfile = /var/log/knockd.log
[openSSH]
    sequence = 7000,9000,8000
    tcpflags = syn
    command = /sbin/iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
[closeSSH]
    sequence = 8000,9000,7000
    tcpflags = syn
    command = /sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
[web]
    sequence = 7100,7300:udp,7200
    tcpflags = syn
    target = 192.0.2.9
    start_command = iptables -I INPUT -s %IP% -p tcp --dport 443 -j ACCEPT && echo %IP% >> HITS
    cmd_timeout = 3
    stop_command = iptables -D INPUT -s %IP% -p tcp --dport 443 -j ACCEPT
[brief]
    sequence = 7500,7400
    tcpflags = syn
    start_command = iptables -I INPUT -s %IP% -p tcp --dport 80 -j ACCEPT
    cmd_timeout = 0
    stop_command = iptables -D INPUT -s %IP% -p tcp --dport 80 -j ACCEPT
[xmas]
    sequence = 7600,7400
    tcpflags = fin
    command = true
";

fn main() -> ExitCode {
    let trial = |name: &str, ready: bool, test: fn() -> Result<(), Box<dyn Error>>| {
        let test = move || test().map_err(|error| Failed::from(error.to_string()));
        Trial::test(name, test).with_ignored_flag(!ready)
    };
    let (knock, nft, iptables) = (knock().is_some(), has("nft"), has("iptables"));
    let trials = vec![
        trial("the_sample_opens_and_closes", knock && nft, sample),
        trial(
            "a_check_that_fails_is_named_and_sets_the_exit_status",
            nft,
            failing,
        ),
        trial(
            "a_configuration_of_ones_own_is_tried_without_effect",
            knock && iptables,
            own,
        ),
        trial(
            "a_command_that_fails_is_a_check_that_fails",
            knock,
            failing_command,
        ),
        trial("mistakes_in_a_configuration_are_shown", true, mistakes),
        trial("a_program_that_is_not_there_is_named", nft, no_program),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The client is of another package, so it may not have been built.
fn knock() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_BIN_EXE_knockctl")).with_file_name("knock");
    let distribution = PathBuf::from("/usr/bin/knock");
    [beside, distribution]
        .into_iter()
        .find(|path| path.is_file())
}

fn has(program: &str) -> bool {
    Path::new("/usr/sbin").join(program).is_file()
}

fn attempt(knock: &Path, arguments: &[&str]) -> Result<Output, Box<dyn Error>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_knockctl"));
    command.arg("try").arg("--knock").arg(knock).args(arguments);
    Ok(command.output()?)
}

fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    format!("{}{errors}", String::from_utf8_lossy(&output.stdout))
}

fn sample() -> Result<(), Box<dyn Error>> {
    let output = attempt(&knock().ok_or("no knock")?, &[])?;
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for line in [
        "    ok  port 22 is closed for the knocker (10.77.0.1): no answer in ",
        "knockd | 10.77.0.1: ssh: OPEN SESAME\n",
        "    ok  port 22 is open for the knocker (10.77.0.1): \"hello from behind the door\"",
        "    ok  it is still closed for a second address (10.77.0.99): no answer in ",
        "    ok  port 22 is closed again for the knocker (10.77.0.1): no answer in ",
        "    ok  the connection made meanwhile lives on: it still carries bytes\n",
        "    ok  the daemon stops when told: exit status 15 after ",
        "    ok  nothing is left behind: 0 processes, 0 files\n",
        "\nAll 8 checks passed.\n",
    ] {
        assert!(text.contains(line), "{line}\n is not in\n{text}");
    }
    Ok(())
}

/// A client that sends nothing.
fn failing() -> Result<(), Box<dyn Error>> {
    let output = attempt(Path::new("/bin/true"), &[])?;
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let line = "FAILED  port 22 is open for the knocker (10.77.0.1): no answer in ";
    assert!(text.contains(line), "{text}");
    assert!(text.contains(" checks failed:\n"), "{text}");
    assert!(
        text.ends_with("\n  the daemon closes it by itself\n"),
        "{text}"
    );
    Ok(())
}

fn own() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let hits = directory.path().join("hits");
    fs::write(&hits, "before\n")?;
    let config = directory.path().join("knockd.conf");
    fs::write(&config, CONFIG.replace("HITS", &hits.display().to_string()))?;
    let config = config.to_str().ok_or("no text")?;
    let output = attempt(&knock().ok_or("no knock")?, &["-c", config])?;
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for line in [
        "    tcp port 22 was closed and is now open\n",
        "    ok  tcp port 22 stays closed for a second address (10.77.0.99): ",
        "    tcp port 22 was open and is now closed\n",
        "client $ knock 192.0.2.9 7100 7300:udp 7200\n",
        "    ok  the commands of web succeed: no failure is logged\n",
        "    tcp port 443 was closed and is now open\n",
        "    ok  the stop command of web is due: command timeout\n",
        "    ok  tcp port 443 is closed again for the knocker (10.77.0.1): ",
        "    ok  the stop command of brief is due: command timeout\n",
        "    wants tcpflags fin, which knock does not send: not tried\n",
    ] {
        assert!(text.contains(line), "{line}\n is not in\n{text}");
    }
    assert_eq!(fs::read_to_string(&hits)?, "before\n");
    Ok(())
}

fn failing_command() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("knockd.conf");
    fs::write(
        &config,
        "[A]\nsequence = 7100,7000\ntcpflags = syn\ncommand = exit 3\n",
    )?;
    let config = config.to_str().ok_or("no text")?;
    let output = attempt(&knock().ok_or("no knock")?, &["-c", config])?;
    assert_eq!(output.status.code(), Some(1));
    let text = text(&output);
    let line = "FAILED  the commands of A succeed: A: command returned non-zero status code (3)\n";
    assert!(text.contains(line), "{text}");
    assert!(
        text.ends_with("\n1 of 4 checks failed:\n  the commands of A succeed\n"),
        "{text}"
    );
    Ok(())
}

fn mistakes() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("knockd.conf");
    fs::write(&config, "[A]\nsequence = 70000\n")?;
    let config = config.to_str().ok_or("no text")?;
    let output = attempt(Path::new("/bin/true"), &["-c", config])?;
    assert_eq!(output.status.code(), Some(1));
    let text = text(&output);
    assert!(
        text.contains("knockd.conf:2:12") && text.contains("^^^^^"),
        "{text}"
    );
    Ok(())
}

fn no_program() -> Result<(), Box<dyn Error>> {
    let output = attempt(Path::new("/nonexistent"), &[])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).ends_with("knockctl: there is no /nonexistent\n"));
    Ok(())
}
