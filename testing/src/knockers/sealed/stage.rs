//! A server whose port 22 is guarded, with a real sshd there, and a user on the client with a home,
//! a key in a real ssh-agent, and names for the server.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use knockd::lab::Process;
use nix::unistd::{Uid, User};
use socket2::{Domain, Socket, Type};

use crate::Result;
use crate::case::Medium;
use crate::network::{CLIENT_INTERFACE, Network, SERVER_INTERFACE};
use crate::scenario::Programs;
use crate::site::Site;
use crate::ssh::Sshd;

/// What the scenarios need installed.
pub(super) const NEEDS: [&str; 8] = [
    "ip",
    "nft",
    "sshd",
    "ssh",
    "ssh-agent",
    "ssh-keygen",
    "unshare",
    "mount",
];

/// How long a port may take to close, or a file to be there.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long we wait for a connection that should not come.
const DOUBT: Duration = Duration::from_millis(300);

/// Where nothing is guarded: the same sshd.
pub(super) const OPEN_PORT: u16 = 2222;

/// Names of the server, and its addresses by them.
pub(super) const NAMES: [(&str, &[&str]); 3] = [
    ("four.example", &[SERVER]),
    ("six.example", &[SERVER_6]),
    ("both.example", &[SERVER, SERVER_6]),
];
const SERVER: &str = "10.77.0.2";
const SERVER_6: &str = "fd77::2";

/// The server at an address that is not private, as the client then has one too.
pub(super) const PUBLIC: (&str, &[&str]) = ("public.example", &["203.0.113.2"]);

/// Addresses of the client: those it connects from by itself, and others.
const OWN: [&str; 3] = ["10.77.0.1", "fd77::1", "203.0.113.1"];
const OTHERS: [&str; 2] = ["10.77.0.9", "fd77::9"];

/// The door can be opened by a sequence as well: that is how the user enrols.
const DOOR: &str = "
state_dir = {dir}/state
journal = {dir}/journal
[ssh]
	sequence = 7000, 8000, 9000
	tcpflags = syn
	spa = yes
	authorized_keys = {dir}/authorized
	open = tcp/22
	open_for = 20s
	ttl_max = 10m
";

/// Each SYN that the client sends to the guarded port, and each sealed packet.
const EYE: &str = "table inet eye {
	counter syns { }
	counter asks { }
	chain out {
		type filter hook output priority 0;
		tcp dport 22 tcp flags & (syn | ack) == syn counter name syns
		udp dport 51443 counter name asks
	}
}
";

/// Makes `{dir}/$1` the home of whoever runs this, and `{dir}/hosts` the file of names; then
/// becomes the rest. In mounts of its own.
const AT_HOME: &str = "set -e
here=$1; shift
mount --bind {dir}/$here {home}
mount --bind {dir}/hosts /etc/hosts
cd
exec \"$@\"
";

/// See the [module](self). Ends with the value.
pub(super) struct Stage {
    pub(super) site: Site,
    _sshd: Sshd,
    _agent: Process,
}

impl Stage {
    /// The daemon runs, the gate is up, and nobody is let in; the user has enrolled nowhere.
    pub(super) fn new(programs: &Programs) -> Result<Self> {
        Self::with(programs, "")
    }

    /// The same, with more keys of the door.
    pub(super) fn with(programs: &Programs, more: &str) -> Result<Self> {
        let network = Network::new(Medium::Ethernet)?;
        network
            .client
            .add_address(CLIENT_INTERFACE, "203.0.113.1/24")?;
        network
            .server
            .add_address(SERVER_INTERFACE, "203.0.113.2/24")?;
        // Addresses that nothing is sent from unless it is asked for.
        for address in OTHERS {
            let length = if address.contains(':') { 64 } else { 24 };
            let add = format!("ip address add {address}/{length} dev {CLIENT_INTERFACE}");
            let as_spare = format!("{add} preferred_lft 0 $(test {length} = 24 || echo nodad)");
            if !network.client_shell(&as_spare)?.success() {
                return Err(format!("`{as_spare}` failed").into());
            }
        }
        let mut site = Site::prepare(
            network,
            SERVER_INTERFACE,
            &programs.knockd,
            &format!("{DOOR}{more}"),
        )?;
        furnish(&site, programs)?;
        let path = format!("PATH={}:/usr/sbin:/usr/bin:/sbin:/bin", bin(&site));
        let sshd = Sshd::start_by(
            &site,
            &["unshare", "--mount", "sh", &dir(&site, "at-home"), "there"],
            &[
                format!("SetEnv={path}"),
                "Subsystem=sftp internal-sftp".to_owned(),
                format!("Port={OPEN_PORT}"),
                "MaxStartups=1000".to_owned(),
            ],
        )?;
        let host = site.read("host.pub");
        fs::write(site.path("here/.ssh/known_hosts"), format!("* {host}"))?;
        let agent = agent(&site)?;
        site.start()?;
        let stage = Self {
            site,
            _sshd: sshd,
            _agent: agent,
        };
        stage.write_ssh_config("")?;
        let key = dir(&stage.site, "key");
        stage.must(&format!("ssh-add -q {key} && rm {key}"))?;
        stage.is_shut()?;
        Ok(stage)
    }

    /// What ssh of the user goes by, besides what makes it ask nobody.
    pub(super) fn write_ssh_config(&self, lines: &str) -> Result<()> {
        let path = self.site.path("here/.ssh/config");
        Ok(fs::write(
            path,
            format!("Host *\n    BatchMode yes\n{lines}"),
        )?)
    }

    /// Runs a shell command as the user, at home.
    pub(super) fn user(&self, command: &str) -> Result<Output> {
        let path = std::env::var("PATH").unwrap_or_default();
        self.site.client_runs(
            Command::new("unshare")
                .args(["--mount", "sh", &dir(&self.site, "at-home"), "here"])
                .args(["bash", "-c", command])
                .env("PATH", format!("{}:{path}", bin(&self.site)))
                .env("SSH_AUTH_SOCK", self.site.path("agent"))
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env_remove("XDG_CONFIG_HOME"),
        )
    }

    /// As [`Stage::user`], of what must succeed: what it printed.
    pub(super) fn must(&self, command: &str) -> Result<String> {
        let output = self.user(command)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        self.site.require(output.status.success(), || {
            let sshd = self.site.read("sshd.log");
            let end: Vec<_> = sshd.lines().rev().take(5).collect();
            let status = output.status;
            format!("`{command}`: {status}\n{stderr}\nsshd, last first: {end:#?}")
        })?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Opens the door by its sequence, fetches a profile over ssh, and closes it.
    pub(super) fn enroll(&self, name: &str) -> Result<()> {
        self.must(&format!("knock {name} 7000 8000 9000"))?;
        let said = self.must(&format!("knock enroll root@{name}"))?;
        self.site.require(said.contains("doors ssh"), || said)?;
        self.close(name)
    }

    /// Takes back what the user was given, and sees that the port is shut.
    pub(super) fn close(&self, name: &str) -> Result<()> {
        self.must(&format!("knock --close {name}"))?;
        self.is_shut()
    }

    /// Nobody reaches the port: not the user, nor anybody else.
    pub(super) fn is_shut(&self) -> Result<()> {
        self.keeps_out(&[&OWN[..], &OTHERS].concat())
    }

    /// Whoever has not knocked does not reach the port.
    pub(super) fn others_are_kept_out(&self) -> Result<()> {
        self.keeps_out(&OTHERS)
    }

    fn keeps_out(&self, all: &[&str]) -> Result<()> {
        let in_by: Vec<_> = self.let_in(all)?;
        self.site.require(in_by.is_empty(), || {
            format!("the port is open for {in_by:?}")
        })
    }

    /// Which of these addresses reach the guarded port.
    fn let_in(&self, all: &[&str]) -> Result<Vec<String>> {
        let at_once = || {
            thread::scope(|scope| {
                let connect = |from: &&str| {
                    let from = (*from).to_owned();
                    scope.spawn(move || reaches(&from).map(|is| is.then_some(from)))
                };
                let all: Vec<_> = all.iter().map(connect).collect();
                let joined = all.into_iter().map(|one| match one.join() {
                    Ok(found) => found,
                    Err(_) => Err("a connection panicked".into()),
                });
                joined.collect::<Result<Vec<_>>>()
            })
        };
        // A thread that is started on a host is there too.
        let found = self.site.network.client.run(at_once)??;
        Ok(found.into_iter().flatten().collect())
    }

    /// Waits until the port has closed by itself.
    pub(super) fn wait_until_shut(&self) -> Result<()> {
        self.site
            .wait_until("the port closes by itself", PATIENCE, || {
                self.let_in(&OWN).is_ok_and(|all| all.is_empty())
            })
    }

    /// What was sent to the shut port was counted, and is forgotten.
    pub(super) fn has_counted(&self) -> Result<()> {
        let syns = self.syns()?;
        self.site
            .require(syns >= 4, || format!("only {syns} SYNs were counted"))
    }

    /// How many SYNs the client has sent to the guarded port since this was asked last.
    pub(super) fn syns(&self) -> Result<u64> {
        self.count("syns")
    }

    /// How many sealed packets the client has sent since this was asked last.
    pub(super) fn asks(&self) -> Result<u64> {
        self.count("asks")
    }

    fn count(&self, counter: &str) -> Result<u64> {
        let output = self
            .site
            .client(&format!("nft reset counter inet eye {counter}"))?;
        let text = String::from_utf8(output.stdout)?;
        let mut words = text.split_whitespace();
        words.find(|word| *word == "packets");
        let count = words.next().ok_or("nft has no such counter")?;
        Ok(count.parse()?)
    }
}

/// Whether a connection to the guarded port comes about.
fn reaches(from: &str) -> Result<bool> {
    let from: IpAddr = from.parse()?;
    let to: IpAddr = if from.is_ipv6() { SERVER_6 } else { SERVER }.parse()?;
    let to = SocketAddr::new(to, 22);
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    match socket.connect_timeout(&to.into(), DOUBT) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn dir(site: &Site, name: &str) -> String {
    site.path(name).display().to_string()
}

/// Where the programs are for the user, and for those who log in.
fn bin(site: &Site) -> String {
    dir(site, "bin")
}

/// All files but keys. The programs are copied: the home that is laid over may be where they are.
fn furnish(site: &Site, programs: &Programs) -> Result<()> {
    for folder in ["bin", "programs", "state", "here/.ssh", "there"] {
        fs::create_dir_all(site.path(folder))?;
    }
    fs::copy(&programs.knock, site.path("bin/knock"))?;
    fs::copy(programs.knockctl(), site.path("programs/knockctl"))?;
    // As `knockctl` alone, which the client asks for, finds the configuration of this server.
    let knockctl = format!(
        "#!/bin/sh\nexec {} \"$@\" -c {}\n",
        dir(site, "programs/knockctl"),
        dir(site, "conf")
    );
    fs::write(site.path("bin/knockctl"), knockctl)?;
    fs::set_permissions(site.path("bin/knockctl"), fs::Permissions::from_mode(0o755))?;
    let hosts = NAMES.iter().chain([&PUBLIC]).flat_map(|(name, addresses)| {
        let line = move |address: &&str| format!("{address} {name}\n");
        addresses.iter().map(line)
    });
    fs::write(site.path("hosts"), hosts.collect::<String>())?;
    let home = User::from_uid(Uid::effective())?.ok_or("nobody has our number")?;
    let at_home = AT_HOME
        .replace("{dir}", &dir(site, ""))
        .replace("{home}", &home.dir.display().to_string());
    fs::write(site.path("at-home"), at_home)?;
    fs::write(site.path("eye"), EYE)?;
    let output = site.client("nft -f eye")?;
    site.require(output.status.success(), || {
        String::from_utf8_lossy(&output.stderr).into_owned()
    })
}

fn agent(site: &Site) -> Result<Process> {
    let socket = site.path("agent");
    let mut command = Command::new("ssh-agent");
    command.arg("-D").arg("-a").arg(&socket);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let agent = site.network.client.spawn(&mut command)?;
    site.wait_until("ssh-agent listens", PATIENCE, || socket.exists())?;
    Ok(agent)
}
