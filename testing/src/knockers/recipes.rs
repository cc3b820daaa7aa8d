//! The two recipes that every guide has, word for word, with real iptables and a real sshd.

use std::time::{Duration, Instant};

use crate::Result;
use crate::network::CLIENT_INTERFACE;
use crate::site::Site;
use crate::ssh::{Session, Sshd};

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
