//! A server with a gate, a firewall and an sshd, and a client that has a grant.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use knock_core::door::{Action, Door, Native, SequenceSource, Trigger, Widening};
use knock_core::flags::FlagMatch;
use knock_core::service::{Ports, Service};
use knockd::ctl::doctor::firewall::{Look, look};
use knockd::lab::{Host, Process};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::Outcome;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Long enough for what comes through: the cable has carried packets before.
const SHORT: Duration = Duration::from_millis(900);

/// The addresses of the client that have a grant, IPv4 and IPv6.
const GRANTED: [&str; 2] = ["10.77.0.1", "fd77::1"];

/// Those that have none.
const STRANGERS: [&str; 2] = ["10.77.0.8", "fd77::8"];

/// The server's own addresses, and those of the host behind it.
const NEAR: [&str; 2] = ["10.77.0.2", "fd77::2"];
const FAR: [&str; 2] = ["10.78.0.3", "fd78::3"];

pub(crate) struct Site {
    client: Host,
    server: Host,
    /// Behind the server, if that is where the sshd is.
    far: Option<Host>,
    folder: TempDir,
    _sshd: Process,
}

impl Site {
    /// With the gate and an sshd, and no firewall yet; a connection has come through. The sshd is on
    /// the server, or on a `far` host that the server forwards to.
    pub(crate) fn new(far: bool) -> Outcome<Self> {
        let (client, server) = (Host::new("client")?, Host::new("server")?);
        client.connect("eth0", &server, "eth0")?;
        for address in ["10.77.0.1/24", "10.77.0.8/24", "fd77::1/64", "fd77::8/64"] {
            client.add_address("eth0", address)?;
        }
        for address in ["10.77.0.2/24", "fd77::2/64"] {
            server.add_address("eth0", address)?;
        }
        let far = far.then(|| behind(&client, &server)).transpose()?;
        let folder = tempfile::tempdir()?;
        let sshd = sshd(far.as_ref().unwrap_or(&server), folder.path())?;
        let site = Self {
            client,
            server,
            far,
            folder,
            _sshd: sshd,
        };
        site.run(&format!("nft -f {}", ruleset("gate.nft").display()))?;
        eventually("a granted connection", || site.reaches(PATIENCE).is_ok())?;
        Ok(site)
    }

    /// Where the sshd is, over both families.
    fn there(&self) -> [&'static str; 2] {
        if self.far.is_some() { FAR } else { NEAR }
    }

    /// Runs a line on the server as an administrator would.
    pub(crate) fn run(&self, line: &str) -> Outcome<String> {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).stdin(Stdio::null());
        let output: Output = self.server.run(|| shell.output())??;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!("{line}: {errors}").into())
    }

    /// What doctor says of the server, for a door that opens tcp/22.
    pub(crate) fn look(&self) -> Outcome<Look> {
        let targets = if self.far.is_some() { &FAR[..] } else { &[] };
        let doors = [ssh_door(targets)?];
        let looked = self.server.run(|| look(&doors, &["eth0".to_owned()]))?;
        looked.ok_or_else(|| "nothing to look at".into())
    }

    /// Whether granted connections over both families come through, and others do not.
    pub(crate) fn reaches(&self, patience: Duration) -> Outcome {
        for (from, to) in GRANTED.into_iter().zip(self.there()) {
            self.connects(from, to, patience)
                .map_err(|error| format!("{from} to {to}: {error}"))?;
        }
        for (from, to) in STRANGERS.into_iter().zip(self.there()) {
            if self.connects(from, to, SHORT).is_ok() {
                return Err(format!("{from} has no grant, and connects").into());
            }
        }
        Ok(())
    }

    /// How many of the two families a granted connection comes through over.
    pub(crate) fn families(&self) -> usize {
        let pairs = GRANTED.into_iter().zip(self.there());
        pairs
            .filter(|(from, to)| self.connects(from, to, SHORT).is_ok())
            .count()
    }

    /// Whether the server speaks: connections whose second packet is dropped look open.
    fn connects(&self, from: &str, to: &str, patience: Duration) -> Outcome {
        let from = SocketAddr::new(from.parse::<IpAddr>()?, 0);
        let to = SocketAddr::new(to.parse::<IpAddr>()?, 22);
        let job = move || -> std::io::Result<String> {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            socket.bind(&from.into())?;
            socket.connect_timeout(&to.into(), patience)?;
            socket.set_read_timeout(Some(patience))?;
            let mut greeting = String::new();
            BufReader::new(socket).read_line(&mut greeting)?;
            Ok(greeting)
        };
        let greeting = self.client.run(job)??;
        if greeting.starts_with("SSH-") {
            return Ok(());
        }
        Err(format!("the server says {greeting:?}").into())
    }

    /// A whole ssh session over each family, whose far end says what it is told.
    pub(crate) fn sessions(&self) -> Outcome {
        for (from, to) in GRANTED.into_iter().zip(self.there()) {
            self.session(from, to)?;
        }
        Ok(())
    }

    fn session(&self, from: &str, to: &str) -> Outcome {
        let log = self.folder.path().join("ssh.log");
        let mut command = Command::new("ssh");
        command.args(["-F", "/dev/null", "-b", from, "-i"]);
        command.arg(self.folder.path().join("key"));
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "BatchMode=yes",
            "ConnectTimeout=10",
            "LogLevel=ERROR",
        ] {
            command.args(["-o", option]);
        }
        command
            .args([to, "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log)?);
        let mut ssh = self.client.spawn(&mut command)?;
        let mut stdin = ssh.stdin.take().ok_or("no standard input")?;
        let mut answers = BufReader::new(ssh.stdout.take().ok_or("no standard output")?);
        for word in ["first", "second"] {
            writeln!(stdin, "{word}")?;
            let mut line = String::new();
            answers.read_line(&mut line)?;
            if line.trim_end() != word {
                let log = fs::read_to_string(&log)?;
                return Err(format!("ssh to {to} says {line:?} to {word:?}: {log}").into());
            }
        }
        Ok(())
    }
}

/// A file of `rulesets`.
pub(crate) fn ruleset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/firewall/rulesets")
        .join(name)
}

/// A host behind the server, which forwards to it.
fn behind(client: &Host, server: &Host) -> Outcome<Host> {
    let far = Host::new("far")?;
    server.connect("eth1", &far, "eth0")?;
    for address in ["10.78.0.2/24", "fd78::2/64"] {
        server.add_address("eth1", address)?;
    }
    for address in ["10.78.0.3/24", "fd78::3/64"] {
        far.add_address("eth0", address)?;
    }
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        server.set_kernel(key, "1")?;
    }
    for gateway in NEAR {
        client.add_default_route(gateway.parse()?)?;
    }
    for gateway in ["10.78.0.2", "fd78::2"] {
        far.add_default_route(gateway.parse()?)?;
    }
    Ok(far)
}

/// A door that opens tcp/22 by itself, here or at `targets`.
fn ssh_door(targets: &[&str]) -> Outcome<Door> {
    let targets: Result<_, _> = targets.iter().map(|target| target.parse()).collect();
    let ports = Ports::new(22, 22).ok_or("no port")?;
    Ok(Door {
        name: "ssh".to_owned(),
        spa: None,
        trigger: Trigger {
            source: SequenceSource::OneTime("/nonexistent".to_owned()),
            seq_timeout: Duration::from_secs(5),
            flags: FlagMatch::default(),
            targets: targets.map_err(|_| "no target")?,
            strict: true,
            cooldown: Duration::ZERO,
        },
        action: Action {
            native: Some(Native {
                open: vec![Service::Tcp(ports)],
                open_for: Native::DEFAULT_TIME,
                open_to: Widening::default(),
            }),
            ..Action::default()
        },
    })
}

/// An sshd of both families with keys of its own, in `folder`.
fn sshd(server: &Host, folder: &Path) -> Outcome<Process> {
    fs::create_dir_all("/run/sshd")?;
    for name in ["host", "key"] {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
        let status = keygen.arg(folder.join(name)).status()?;
        if !status.success() {
            return Err("ssh-keygen fails".into());
        }
    }
    let log = folder.join("sshd.log");
    let mut command = Command::new("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f", "/dev/null", "-p", "22"]);
    let file = |name| folder.join(name).display().to_string();
    for option in [
        format!("HostKey={}", file("host")),
        format!("AuthorizedKeysFile={}", file("key.pub")),
        "PidFile=none".into(),
        "StrictModes=no".into(),
        "UsePAM=no".into(),
        "UseDNS=no".into(),
        "PermitRootLogin=yes".into(),
    ] {
        command.args(["-o", &option]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(fs::File::create(&log)?);
    let sshd = server.spawn(&mut command)?;
    let listens = || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        log.matches("Server listening").count() == 2
    };
    eventually("sshd listens", listens)?;
    Ok(sshd)
}

/// Waits until `condition` holds.
fn eventually(what: &str, condition: impl Fn() -> bool) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            return Err(format!("it does not come about: {what}").into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
