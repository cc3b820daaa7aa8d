//! Everything that people knock with, against servers that reject, answer nothing, or listen.

use std::time::Duration;

use crate::Result;
use crate::site::Site;
use crate::trace;

use super::ways::{WAYS, Way};
use super::{Programs, Scenario};

/// The door that all of them knock at.
const DOORS: &str = "
[A]
	sequence = 7000,8000,9000
	tcpflags = syn
	command = echo A %IP% >> {hits}
[U]
	sequence = 7100:udp,7200:udp,7300:udp
	command = echo U %IP% >> {hits}
[M]
	sequence = 7400,7500:udp,7600
	tcpflags = syn
	command = echo M %IP% >> {hits}
[R]
	sequence = 7700,7701,7702
	tcpflags = syn
	command = echo R %IP% >> {hits}
";

/// What the server does with packets to closed ports.
#[derive(Copy, Clone, Debug)]
pub(super) enum Firewall {
    /// Nothing in the way: the kernel answers with RST or ICMP.
    Closed,
    /// Dropped, by nftables.
    Drop,
    /// An ICMP error, by iptables.
    Reject,
    /// A TCP reset, by iptables.
    Reset,
}

impl Firewall {
    const ALL: [Self; 4] = [Self::Closed, Self::Drop, Self::Reject, Self::Reset];

    /// What makes it.
    const fn program(self) -> Option<&'static str> {
        match self {
            Self::Closed => None,
            Self::Drop => Some("nft"),
            Self::Reject | Self::Reset => Some("iptables"),
        }
    }

    const fn rules(self) -> &'static [&'static str] {
        match self {
            Self::Closed => &[],
            Self::Drop => &[
                "nft 'table inet f { chain input { type filter hook input priority 0; \
                 policy drop; meta l4proto ipv6-icmp accept; }; }'",
            ],
            Self::Reject => &[
                "iptables -A INPUT -p tcp -j REJECT",
                "iptables -A INPUT -p udp -j REJECT",
            ],
            Self::Reset => &["iptables -A INPUT -p tcp -j REJECT --reject-with tcp-reset"],
        }
    }
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for firewall in Firewall::ALL {
        let v4_only = matches!(firewall, Firewall::Reject | Firewall::Reset);
        for way in WAYS.iter().filter(|way| !(way.is_v6() && v4_only)) {
            let mut needs = way.needs.to_vec();
            needs.extend(firewall.program());
            let name = format!("{} opens a door ({firewall:?})", way.name);
            all.push(Scenario::new(name, &needs, move |p| {
                knock(p, firewall, way)
            }));
        }
    }
    all.push(Scenario::new(
        "an open port in the middle breaks the attempt at a door without tcpflags (row 81)",
        &["knock", "python3"],
        open_middle_without_flags,
    ));
    all.push(Scenario::new(
        "an open port in the middle does not matter to a door with tcpflags",
        &["knock", "python3"],
        open_middle_with_flags,
    ));
    all.push(Scenario::new(
        "a scan of all ports opens no strict door",
        &["nmap"],
        scan_opens_no_strict_door,
    ));
    all
}

fn run_client(site: &Site, programs: &Programs, command: &str) -> Result<()> {
    let command = command.replace("$KNOCK", &programs.knock.display().to_string());
    let output = site.client(&command)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`{command}`: {}\n{text}", output.status).into());
    }
    Ok(())
}

/// Knocks, and counts: each opening has its command, and nothing opens once too often.
fn knock(programs: &Programs, firewall: Firewall, way: &Way) -> Result<()> {
    let site = Site::new(&programs.knockd, DOORS, firewall.rules())?;
    run_client(&site, programs, way.command)?;
    let source = if way.is_v6() { "fd77::1" } else { "10.77.0.1" };
    site.wait_for_line(&format!("{source}: {}: OPEN SESAME", way.door))?;
    site.settle("10.77.0.2")?;
    let count = site.openings(way.door);
    site.require(way.may_open(count, firewall), || {
        format!("it opens {count} times")
    })?;
    let wanted = format!("{} {source}\n", way.door).repeat(count);
    let limit = Duration::from_secs(10);
    site.wait_until("the commands", limit, || site.read("hits") == wanted)
}

/// A listener on port 8000, started in the background before the daemon.
const LISTENER: &str = "python3 -c 'import socket,time
s=socket.create_server((\"10.77.0.2\",8000)); print(\"up\",flush=True); time.sleep(60)' > /dev/null 2>&1 &
for i in $(seq 100); do ss -Hltn | grep -q :8000 && exit 0; sleep .05; done; exit 1";

fn open_middle_without_flags(programs: &Programs) -> Result<()> {
    let doors = "[A]\n\tsequence = 7000,8000,9000\n";
    let site = Site::new(&programs.knockd, doors, &[LISTENER])?;
    run_client(
        &site,
        programs,
        "/usr/bin/knock -d 30 10.77.0.2 7000 8000 9000",
    )?;
    // A later knock from elsewhere shows that all before it has been seen.
    site.network.send(&crate::script::packet("7000@9")?)?;
    site.wait_for_line("10.77.0.9: A: Stage 1")?;
    let marks = trace::write(&site.marks(), false);
    if marks == "A.1 A.2 A.1@9" {
        return Ok(());
    }
    Err(format!("the trace is {marks}").into())
}

fn open_middle_with_flags(programs: &Programs) -> Result<()> {
    let site = Site::new(&programs.knockd, DOORS, &[LISTENER])?;
    run_client(
        &site,
        programs,
        "/usr/bin/knock -d 30 10.77.0.2 7000 8000 9000",
    )?;
    site.wait_for_line("10.77.0.1: A: OPEN SESAME")
}

fn scan_opens_no_strict_door(programs: &Programs) -> Result<()> {
    let doors = "
[LAX]
	sequence = 7000,8000,9000
	tcpflags = syn
[STRICT]
	sequence = 7000,8000,9000
	tcpflags = syn
	strict = yes
";
    let site = Site::new(&programs.knockd, doors, &[])?;
    run_client(&site, programs, "nmap -n -Pn -r -T5 -p 1-10000 10.77.0.2")?;
    // The scan goes in ascending order, so the other door shows that it was seen.
    site.wait_for_line("10.77.0.1: LAX: OPEN SESAME")?;
    if site.read("log").contains("STRICT: OPEN SESAME") {
        return Err("the scan has opened the strict door".into());
    }
    Ok(())
}
