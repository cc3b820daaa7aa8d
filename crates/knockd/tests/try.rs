//! `knockctl try` as a program: the sample, a configuration of one's own, and checks that fail.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};

/// A door of each kind that needs no command, and a journal that the machine may already have.
const NATIVE: &str = "
[options]
    journal = JOURNAL
[ssh]
    sequence = 7000,9000,8000
    tcpflags = syn
    open = tcp/22, udp/51820-51829, icmp
    open_for = 2s
[long]
    sequence = 7100,7300
    tcpflags = syn
    target = 192.0.2.9
    open = tcp/443
    open_for = 2h
    open_to = /24
[bye]
    sequence = 7300,7100
    tcpflags = syn
    close = long
[ping]
    sequence = 7400,7500
    tcpflags = syn
    open = icmp
    open_for = 1s
[six]
    sequence = 7500,7400
    tcpflags = syn
    target = fd00::9
    open = tcp/22
";

/// Two doors on one port, one elsewhere that closes by itself, one that closes at once, one that
/// opens a port by itself too, one that `knock` cannot knock at. `HITS` is a file of the machine.
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
[both]
    sequence = 7550,7400
    tcpflags = syn
    open = tcp/8443
    open_for = 2s
    start_command = iptables -I INPUT -s %IP% -p tcp --dport 8080 -j ACCEPT
    cmd_timeout = 1
    stop_command = iptables -D INPUT -s %IP% -p tcp --dport 8080 -j ACCEPT
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
    let (built, knock, iptables) = (beside().is_file(), knock().is_some(), has("iptables"));
    let trials = vec![
        trial("the_sample_opens_and_closes", knock, sample),
        trial(
            "the_sample_needs_no_program_but_ours",
            built,
            without_programs,
        ),
        trial(
            "nothing_stays_behind_when_it_ends_or_is_killed",
            knock,
            nothing_stays,
        ),
        trial(
            "a_check_that_fails_is_named_and_sets_the_exit_status",
            true,
            failing,
        ),
        trial("doors_without_commands_are_tried", knock, native),
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
        trial("a_daemon_that_ends_at_once_says_so", true, no_daemon),
        trial("mistakes_in_a_configuration_are_shown", true, mistakes),
        trial("a_program_that_is_not_there_is_named", true, no_program),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The client is of another package, so it may not have been built.
fn knock() -> Option<PathBuf> {
    let distribution = PathBuf::from("/usr/bin/knock");
    [beside(), distribution]
        .into_iter()
        .find(|path| path.is_file())
}

/// Our own client.
fn beside() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_knockctl")).with_file_name("knock")
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

fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "{line}\n is not in\n{text}");
    }
}

fn sample() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let output = attempt(&knock().ok_or("no knock")?, &[])?;
    let took = start.elapsed();
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert_lines(
        &text,
        &[
            "    ok  without knockd, port 22 is open to everybody (10.77.0.99): \"hello from ",
            "knockd | the gate is up: guarded are tcp/22\n",
            "    ok  port 22 is closed for the knocker (10.77.0.1): no answer in ",
            "knockd | 10.77.0.1: ssh: OPEN SESAME\n",
            "knockd | 10.77.0.1: ssh: tcp/22 open for 3s\n",
            "    ok  port 22 is open for the knocker (10.77.0.1): \"hello from behind the door\"",
            "    ok  it is still closed for a second address (10.77.0.99): no answer in ",
            "knockd | 10.77.0.1: ssh: closed\n    ok  the door closes by itself: after ",
            "    ok  port 22 is closed again for the knocker (10.77.0.1): no answer in ",
            "    ok  the connection made meanwhile lives on: it still carries bytes\n",
            "    ok  the daemon is gone: signal: 9 (SIGKILL)\n",
            "    ok  without knockd it is still open for the knocker (",
            "    ok  and stays closed for a second address (",
            "    ok  the kernel closes it for the knocker too (",
            "    ok  nothing is left behind: 0 processes, 0 files\n",
        ],
    );
    if Path::new("/proc/net/if_inet6").exists() {
        assert_lines(
            &text,
            &[
                "    ok  port 22 is closed for the knocker (fd77::1): no answer in ",
                "knockd | fd77::1: ssh: tcp/22 open for 3s\n",
                "    ok  and stays closed for a second address (fd77::99): ",
                "\nAll 15 checks passed.\n",
            ],
        );
    }
    assert!(took < Duration::from_secs(30), "{took:?}");
    Ok(())
}

/// With nothing in the directories where programs are, so that none could be found by its path
/// either.
fn without_programs() -> Result<(), Box<dyn Error>> {
    const HIDE: &str = "\
for directory in /usr/local/sbin /usr/local/bin /sbin /usr/sbin /usr/bin; do
    [ -L $directory ] || [ ! -d $directory ] || mount -t tmpfs none $directory || exit 99
done
[ ! -e /usr/sbin/nft ] && [ ! -e /sbin/ip ] || exit 98
PATH=/nonexistent exec \"$0\" try --knock \"$1\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", HIDE])
        .args([Path::new(env!("CARGO_BIN_EXE_knockctl")), &beside()])
        .output()?;
    let text = text(&output);
    assert!(output.status.success(), "{:?} {text}", output.status);
    assert_lines(&text, &["knockd | 10.77.0.1: ssh: tcp/22 open for 3s\n"]);
    Ok(())
}

/// Whatever belongs to the run has a mark in its environment.
fn nothing_stays() -> Result<(), Box<dyn Error>> {
    const STATE: [&str; 4] = [
        "/run/knockctl-try",
        "/run/knockd.pid",
        "/var/lib/knockd/gate-down",
        "/var/lib/knockd/journal",
    ];
    let state = || STATE.map(|path| fs::read(path).ok());
    let (files, mounts) = (state(), fs::read("/proc/self/mountinfo")?);
    for is_killed in [false, true] {
        let mark = format!("POSTERN_TEST_MARK={}-{is_killed}", std::process::id());
        let (name, value) = mark.split_once('=').ok_or("no mark")?;
        let mut process = Command::new(env!("CARGO_BIN_EXE_knockctl"))
            .arg("try")
            .arg("--knock")
            .arg(knock().ok_or("no knock")?)
            .env(name, value)
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
        let mut lines = lines.map_while(Result::ok);
        assert!(lines.any(|line| line.ends_with("OPEN SESAME")));
        assert!(marked(&mark)? > 3);
        if is_killed {
            process.kill()?;
        }
        let rest = lines.count();
        assert_eq!(process.wait()?.success(), !is_killed, "{rest} more lines");
        let deadline = Instant::now() + Duration::from_secs(10);
        while marked(&mark)? > 0 {
            assert!(Instant::now() < deadline, "killed: {is_killed}");
            thread::sleep(Duration::from_millis(10));
        }
    }
    assert!(state() == files);
    assert!(fs::read("/proc/self/mountinfo")? == mounts);
    Ok(())
}

/// How many processes have `mark` in their environment. (Namespaces without a name end with them.)
fn marked(mark: &str) -> Result<usize, Box<dyn Error>> {
    let mut count = 0;
    for entry in fs::read_dir("/proc")? {
        let environment = fs::read(entry?.path().join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        count += usize::from(variables.any(|variable| variable == mark.as_bytes()));
    }
    Ok(count)
}

/// A client that sends nothing.
fn failing() -> Result<(), Box<dyn Error>> {
    let output = attempt(Path::new("/bin/true"), &[])?;
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let line = "FAILED  the log says `: ssh: tcp/22 open for 3s`: not within 5 s\n";
    assert!(text.contains(line), "{text}");
    assert!(text.contains(" checks failed:\n"), "{text}");
    assert!(
        text.ends_with("\n  the log says `: ssh: tcp/22 open for 3s`\n"),
        "{text}"
    );
    Ok(())
}

/// A daemon that does nothing.
fn no_daemon() -> Result<(), Box<dyn Error>> {
    let output = attempt(Path::new("/bin/true"), &["--knockd", "/bin/false"])?;
    assert_eq!(output.status.code(), Some(1));
    let text = text(&output);
    let line = "knockctl: knockd has ended: exit status: 1\n";
    assert!(text.ends_with(line), "{text}");
    Ok(())
}

fn native() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let journal = directory.path().join("journal");
    let config = directory.path().join("knockd.conf");
    let text = NATIVE.replace("JOURNAL", &journal.display().to_string());
    // Without an end of its last line.
    fs::write(&config, text.trim_end())?;
    let config = config.to_str().ok_or("no text")?;
    let output = attempt(&knock().ok_or("no knock")?, &["-c", config])?;
    let text = self::text(&output);
    assert!(output.status.success(), "{text}");
    assert_lines(
        &text,
        &[
            ", without a firewall; knockd itself guards tcp/22, tcp/443, udp/51820-51829, icmp\n",
            "    ok  tcp port 22 is closed for the knocker (10.77.0.1): no answer in ",
            "    ok  udp port 51820 is closed for the knocker (10.77.0.1): no answer in ",
            "    ok  the kernel opens the door ssh: tcp/22, udp/51820-51829, icmp open for 2s\n",
            "    it opens icmp (ping) too, which is not tried\n",
            "    ok  tcp port 22 is open for the knocker (10.77.0.1): \"hello from ",
            "    ok  udp port 51820 is open for the knocker (10.77.0.1): \"hello from ",
            "    ok  tcp port 22 stays closed for a second address (10.77.0.99): no answer in ",
            "    ok  the door ssh closes by itself: closed\n",
            "    ok  udp port 51820 is closed again for the knocker (10.77.0.1): no answer in ",
            "client $ knock 192.0.2.9 7100 7300\n",
            "    ok  tcp port 443 is open for a second address in its network (10.77.0.99): ",
            "    the kernel closes it after 2h: not waited for\n",
            "knockd | 10.77.0.1: long: closed by bye\n",
            "    tcp port 443 was open and is now closed\n",
            "    it opens icmp (ping) alone, and no ping is sent here: ",
            "    ok  the door ping closes by itself: closed\n",
            "    its targets are IPv6 addresses alone, and doors are knocked at over IPv4: not tried\n",
        ],
    );
    assert!(!text.contains(" commands of "), "{text}");
    assert!(!text.contains("warning"), "{text}");
    assert!(!journal.exists());
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
    let lines = [
        "; knockd itself guards tcp/8443\n",
        "    tcp port 22 was closed and is now open\n",
        "    ok  tcp port 22 stays closed for a second address (10.77.0.99): ",
        "    tcp port 22 was open and is now closed\n",
        "client $ knock 192.0.2.9 7100 7300:udp 7200\n",
        "    ok  the commands of web succeed: no failure is logged\n",
        "    tcp port 443 was closed and is now open\n",
        "    ok  the stop command of web is due: command timeout\n",
        "    ok  tcp port 443 is closed again for the knocker (10.77.0.1): ",
        "    ok  the stop command of brief is due: command timeout\n",
        "    ok  tcp port 8443 is open for the knocker (10.77.0.1): \"hello from ",
        "    tcp port 8080 was closed and is now open\n",
        "    ok  the door both closes by itself: closed\n",
        "    ok  the stop command of both is due: command timeout\n",
        "    wants tcpflags fin, which knock does not send: not tried\n",
    ];
    assert_lines(&text, &lines);
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
