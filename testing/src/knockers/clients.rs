//! Everything that people knock with, against servers that reject, answer nothing, or listen.

use crate::Result;
use crate::site::Site;
use crate::trace;

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
";

/// What the server does with packets to closed ports.
#[derive(Copy, Clone, Debug)]
enum Firewall {
    /// Nothing in the way: the kernel answers with RST or ICMP.
    Closed,
    /// Dropped.
    Drop,
    /// An ICMP error.
    Reject,
    /// A TCP reset by the firewall.
    Reset,
}

impl Firewall {
    const ALL: [Self; 4] = [Self::Closed, Self::Drop, Self::Reject, Self::Reset];

    const fn rules(self) -> &'static [&'static str] {
        match self {
            Self::Closed => &[],
            Self::Drop => &[
                "iptables -P INPUT DROP",
                "ip6tables -P INPUT DROP \
                && ip6tables -A INPUT -p icmpv6 -j ACCEPT",
            ],
            Self::Reject => &[
                "iptables -A INPUT -p tcp -j REJECT",
                "iptables -A INPUT -p udp -j REJECT",
            ],
            Self::Reset => &["iptables -A INPUT -p tcp -j REJECT --reject-with tcp-reset"],
        }
    }
}

/// A way to knock: what it needs, and its shell command.
struct Way {
    name: &'static str,
    needs: &'static [&'static str],
    command: &'static str,
    opens: &'static str,
}

const fn way(
    name: &'static str,
    needs: &'static [&'static str],
    command: &'static str,
    opens: &'static str,
) -> Way {
    Way {
        name,
        needs,
        command,
        opens,
    }
}

const WAYS: [Way; 17] = [
    way(
        "the original knock",
        &["knock"],
        "/usr/bin/knock 10.77.0.2 7000 8000 9000",
        "A",
    ),
    way(
        "the original knock -d",
        &["knock"],
        "/usr/bin/knock -d 20 10.77.0.2 7000 8000 9000",
        "A",
    ),
    way(
        "the original knock -u",
        &["knock"],
        "/usr/bin/knock -u -d 20 10.77.0.2 7100 7200 7300",
        "U",
    ),
    way(
        "the original knock, mixed",
        &["knock"],
        "/usr/bin/knock -d 20 10.77.0.2 7400:tcp 7500:udp 7600:tcp",
        "M",
    ),
    way("our knock", &[], "$KNOCK 10.77.0.2 7000 8000 9000", "A"),
    way(
        "our knock -u",
        &[],
        "$KNOCK -u 10.77.0.2 7100 7200 7300",
        "U",
    ),
    way(
        "our knock, mixed",
        &[],
        "$KNOCK 10.77.0.2 7400 7500:udp 7600:TCP",
        "M",
    ),
    way(
        "nc -z (openbsd)",
        &["nc.openbsd"],
        "for p in 7000 8000 9000; do nc.openbsd -z -w1 10.77.0.2 $p; done; true",
        "A",
    ),
    way(
        "nc -z -w2 (openbsd), which sends each SYN twice if nobody answers",
        &["nc.openbsd"],
        "for p in 7000 8000 9000; do nc.openbsd -z -w2 10.77.0.2 $p; done; true",
        "A",
    ),
    way(
        "nc -u (openbsd)",
        &["nc.openbsd"],
        "for p in 7100 7200 7300; do echo x | timeout .3 nc.openbsd -u -w1 10.77.0.2 $p; done; true",
        "U",
    ),
    way(
        "nc -z (traditional)",
        &["nc.traditional"],
        "for p in 7000 8000 9000; do nc.traditional -z -w1 10.77.0.2 $p; done; true",
        "A",
    ),
    way(
        "nmap -Pn -r, the ports in ascending order",
        &["nmap"],
        "nmap -n -Pn -r --max-retries 0 -p 7000,8000,9000 10.77.0.2",
        "A",
    ),
    way(
        "nmap for each port with its defaults, which probes twice if nobody answers",
        &["nmap"],
        "for p in 7000 8000 9000; do nmap -n -Pn -p $p 10.77.0.2; done",
        "A",
    ),
    way(
        "hping3 -S",
        &["hping3"],
        "for p in 7000 8000 9000; do timeout .3 hping3 -q -n -S -c 1 -p $p 10.77.0.2; done; true",
        "A",
    ),
    way(
        "hping3 -2",
        &["hping3"],
        "for p in 7100 7200 7300; do timeout .3 hping3 -q -n -2 -c 1 -p $p 10.77.0.2; done; true",
        "U",
    ),
    way(
        "bash /dev/tcp",
        &["bash"],
        "for p in 7000 8000 9000; do timeout .3 bash -c \"</dev/tcp/10.77.0.2/$p\"; done; true",
        "A",
    ),
    way(
        "bash /dev/udp",
        &["bash"],
        "for p in 7100 7200 7300; do echo x > /dev/udp/10.77.0.2/$p; sleep .02; done; true",
        "U",
    ),
];

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for firewall in Firewall::ALL {
        for way in WAYS {
            let mut needs = way.needs.to_vec();
            needs.push("iptables");
            let name = format!("{} opens a door ({firewall:?})", way.name);
            all.push(Scenario::new(name, &needs, move |p| {
                knock(p, firewall, &way)
            }));
        }
    }
    all.push(Scenario::new(
        "the original knock over IPv6 opens a door",
        &["knock"],
        |p| opens_over_v6(p, "/usr/bin/knock -6 -d 20 fd77::2 7000 8000 9000"),
    ));
    all.push(Scenario::new(
        "our knock over IPv6 opens a door",
        &[],
        |p| opens_over_v6(p, "$KNOCK -6 fd77::2 7000 8000 9000"),
    ));
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

fn knock(programs: &Programs, firewall: Firewall, way: &Way) -> Result<()> {
    let site = Site::new(&programs.knockd, DOORS, firewall.rules())?;
    run_client(&site, programs, way.command)?;
    site.wait_for_line(&format!("10.77.0.1: {}: OPEN SESAME", way.opens))?;
    let wanted = format!("{} 10.77.0.1\n", way.opens);
    let limit = std::time::Duration::from_secs(5);
    site.wait_until("the command", limit, || site.read("hits") == wanted)
}

fn opens_over_v6(programs: &Programs, command: &str) -> Result<()> {
    let site = Site::new(&programs.knockd, DOORS, &[])?;
    run_client(&site, programs, command)?;
    site.wait_for_line("fd77::1: A: OPEN SESAME")
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
