//! The two recipes that every guide has, word for word, with real iptables and a real sshd.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use knockd::lab::Process;

use crate::Result;
use crate::network::CLIENT_INTERFACE;
use crate::site::Site;

use super::{Programs, Scenario};

/// An address of the client that never knocks.
const STRANGER: &str = "10.77.0.8";

/// Open with one sequence, close with its reverse.
const OPEN_AND_CLOSE: &str = "
[openSSH]
	sequence    = 7000,8000,9000
	seq_timeout = 5
	command     = /sbin/iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
	tcpflags    = syn

[closeSSH]
	sequence    = 9000,8000,7000
	seq_timeout = 5
	command     = /sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
	tcpflags    = syn
";

/// One sequence; the door closes by itself.
const OPEN_FOR_A_WHILE: &str = "
[opencloseSSH]
	sequence      = 2222:udp,3333:tcp,4444:udp
	seq_timeout   = 15
	tcpflags      = syn
	start_command = /sbin/iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
	cmd_timeout   = 10
	stop_command  = /sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
";

/// The firewall that the guides begin with.
const FIREWALL: [&str; 3] = [
    "iptables -A INPUT -i lo -j ACCEPT",
    "iptables -A INPUT -m state --state ESTABLISHED,RELATED -j ACCEPT",
    "iptables -P INPUT DROP",
];

const NEEDS: [&str; 6] = [
    "knock",
    "nc.openbsd",
    "iptables",
    "sshd",
    "ssh",
    "ssh-keygen",
];

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "recipe 1: one sequence opens tcp 22, its reverse closes it, the ssh session stays",
            &NEEDS,
            open_and_close,
        )
        .for_root(),
        Scenario::new(
            "recipe 2: start_command, cmd_timeout = 10, stop_command; the ssh session stays",
            &NEEDS,
            open_for_a_while,
        )
        .for_root(),
        Scenario::new(
            "recipe 1 without the ESTABLISHED rule: the ssh session falls silent",
            &NEEDS,
            without_the_rule,
        )
        .for_root(),
    ]
}

/// An sshd on the server, with keys of its own.
struct Sshd {
    _daemon: Process,
}

impl Sshd {
    fn start(site: &Site) -> Result<Self> {
        site.server_must(
            "mkdir -p /run/sshd && ssh-keygen -q -t ed25519 -N '' -f host \
             && ssh-keygen -q -t ed25519 -N '' -f key && cp key.pub authorized",
        )?;
        let dir = site.path("");
        let options = [
            format!("HostKey={}host", dir.display()),
            format!("AuthorizedKeysFile={}authorized", dir.display()),
            "PidFile=none".into(),
            "StrictModes=no".into(),
            "UsePAM=no".into(),
            "UseDNS=no".into(),
            "PermitRootLogin=yes".into(),
        ];
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f", "/dev/null", "-p", "22"]);
        for option in &options {
            command.args(["-o", option]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(site.path("sshd.log"))?);
        let daemon = site.network.server.spawn(&mut command)?;
        site.wait_until("sshd listens", Duration::from_secs(20), || {
            site.read("sshd.log").contains("Server listening")
        })?;
        Ok(Self { _daemon: daemon })
    }
}

/// An ssh session that echoes what it is told.
struct Session {
    ssh: Process,
    answers: BufReader<std::process::ChildStdout>,
}

impl Session {
    fn open(site: &Site) -> Result<Self> {
        let mut command = Command::new("ssh");
        command
            .args(["-F", "/dev/null", "-i"])
            .arg(site.path("key"))
            .args([
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
            ])
            .args([
                "-o",
                "BatchMode=yes",
                "-o",
                "ConnectTimeout=10",
                "-o",
                "LogLevel=ERROR",
            ])
            .args(["10.77.0.2", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(site.path("ssh.log"))?);
        let mut ssh = site.network.client.spawn(&mut command)?;
        let stdout = ssh.stdout.take().ok_or("no standard output")?;
        let mut session = Self {
            ssh,
            answers: BufReader::new(stdout),
        };
        session
            .echoes("first")
            .map_err(|e| format!("{e}: {}\n{}", site.read("ssh.log"), site.read("sshd.log")))?;
        Ok(session)
    }

    /// Whether nothing of what is said now arrives: the client's kernel keeps it for later.
    fn falls_silent(&mut self, site: &Site) -> Result<()> {
        let stdin = self.ssh.stdin.as_mut().ok_or("no standard input")?;
        writeln!(stdin, "lost")?;
        stdin.flush()?;
        site.wait_until(
            "ssh sends again and again in vain",
            Duration::from_secs(10),
            || {
                let sockets =
                    "ss -Htno state established dst 10.77.0.2 | grep -Eq 'timer:.on,[^,]*,[2-9]'";
                site.client(sockets).is_ok_and(|o| o.status.success())
            },
        )
    }

    fn echoes(&mut self, word: &str) -> Result<()> {
        let stdin = self.ssh.stdin.as_mut().ok_or("no standard input")?;
        writeln!(stdin, "{word}")?;
        stdin.flush()?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.trim_end() == word {
            Ok(())
        } else {
            Err(format!("the session said `{line}` to `{word}`").into())
        }
    }
}

/// Whether a new connection to the server's port 22 comes about.
fn connects(site: &Site, source: &str) -> Result<bool> {
    let command = format!("timeout 3 nc.openbsd -z -w1 -s {source} 10.77.0.2 22");
    Ok(site.client(&command)?.status.success())
}

fn expect(what: &str, is: bool, should: bool) -> Result<()> {
    if is == should {
        Ok(())
    } else {
        Err(format!("{what}: {is}").into())
    }
}

fn knock(site: &Site, ports: &str) -> Result<()> {
    let command = format!("/usr/bin/knock -d 20 10.77.0.2 {ports}");
    let start = Instant::now();
    let status = site.client(&command)?.status;
    expect(&command, status.success(), true)?;
    // The first recipe's seq_timeout is 5 s; then the daemon is right not to open.
    let in_time = start.elapsed() < Duration::from_secs(4);
    expect("this machine knocks in time", in_time, true)
}

fn rules(site: &Site) -> Result<usize> {
    let output = site.server("iptables -S INPUT | grep -c -- '--dport 22' ; true")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}

/// What the firewall does; the daemon must leave it as it was.
fn firewall(site: &Site) -> Result<String> {
    let output = site.server("iptables -S")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Closed for the knocker and for a stranger.
fn closed(site: &Site, when: &str) -> Result<()> {
    for source in ["10.77.0.1", STRANGER] {
        let what = format!("open {when}, for {source}");
        expect(&what, connects(site, source)?, false)?;
    }
    Ok(())
}

/// Open for the knocker, and for nobody else.
fn open(site: &Site) -> Result<()> {
    wait_for_rules(site, 1, Duration::from_secs(10))?;
    expect("open after the knock", connects(site, "10.77.0.1")?, true)?;
    expect("open for a stranger", connects(site, STRANGER)?, false)
}

fn wait_for_rules(site: &Site, count: usize, limit: Duration) -> Result<()> {
    let what = format!("{count} rules for port 22");
    site.wait_until(&what, limit, || rules(site).is_ok_and(|n| n == count))
}

/// Everything but the daemon's doors: an sshd, and a second address of the client.
fn prepare(programs: &Programs, doors: &str, rules: &[&str]) -> Result<(Site, Sshd, String)> {
    let site = Site::new(&programs.knockd, doors, rules)?;
    let client = &site.network.client;
    client.add_address(CLIENT_INTERFACE, &format!("{STRANGER}/24"))?;
    let sshd = Sshd::start(&site)?;
    closed(&site, "before the knock")?;
    let before = firewall(&site)?;
    Ok((site, sshd, before))
}

fn open_and_close(programs: &Programs) -> Result<()> {
    let (site, _sshd, before) = prepare(programs, OPEN_AND_CLOSE, &FIREWALL)?;
    knock(&site, "7000 8000 9000")?;
    open(&site)?;
    let mut session = Session::open(&site)?;
    knock(&site, "9000 8000 7000")?;
    wait_for_rules(&site, 0, Duration::from_secs(10))?;
    closed(&site, "after closing")?;
    expect("the firewall as before", firewall(&site)? == before, true)?;
    session.echoes("still here")
}

/// Shows that the rule is what keeps the session.
fn without_the_rule(programs: &Programs) -> Result<()> {
    let rules: Vec<_> = FIREWALL
        .into_iter()
        .filter(|rule| !rule.contains("ESTABLISHED"))
        .collect();
    let (site, _sshd, _) = prepare(programs, OPEN_AND_CLOSE, &rules)?;
    knock(&site, "7000 8000 9000")?;
    open(&site)?;
    let mut session = Session::open(&site)?;
    knock(&site, "9000 8000 7000")?;
    wait_for_rules(&site, 0, Duration::from_secs(10))?;
    session.falls_silent(&site)
}

fn open_for_a_while(programs: &Programs) -> Result<()> {
    let (site, _sshd, before) = prepare(programs, OPEN_FOR_A_WHILE, &FIREWALL)?;
    let knocked = Instant::now();
    knock(&site, "2222:udp 3333:tcp 4444:udp")?;
    open(&site)?;
    let mut session = Session::open(&site)?;
    wait_for_rules(&site, 0, Duration::from_secs(20))?;
    let open_for = knocked.elapsed();
    println!("      open for {:.2} s", open_for.as_secs_f64());
    let whole = open_for >= Duration::from_secs(10);
    expect("open for the whole ten seconds", whole, true)?;
    closed(&site, "after ten seconds")?;
    expect("the firewall as before", firewall(&site)? == before, true)?;
    session.echoes("still here")
}
