//! A server where something listens, and a client with two addresses.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use knockd::lab::{Host, Process};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::Outcome;

pub(crate) const KNOCKCTL: &str = env!("CARGO_BIN_EXE_knockctl");
pub(crate) const KNOCKD: &str = env!("CARGO_BIN_EXE_knockd");

/// The distribution's daemon.
pub(crate) const THEIRS: &str = "/usr/sbin/knockd";

pub(crate) const SERVER: &str = "10.77.0.2";
pub(crate) const CLIENT: &str = "10.77.0.1";
pub(crate) const OTHER: &str = "10.77.0.3";

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long we wait for what should not come.
const DOUBT: Duration = Duration::from_millis(400);

/// Our own client, which is of another package and may not have been built.
pub(crate) fn knock() -> PathBuf {
    Path::new(KNOCKCTL).with_file_name("knock")
}

pub(crate) struct Site {
    client: Host,
    server: Host,
    folder: TempDir,
    _services: Vec<TcpListener>,
}

impl Site {
    /// Something listens at these TCP ports of the server.
    pub(crate) fn new(ports: &[u16]) -> Outcome<Self> {
        let (client, server) = (Host::new("client")?, Host::new("server")?);
        client.connect("eth0", &server, "eth0")?;
        for address in [CLIENT, OTHER] {
            client.add_address("eth0", &format!("{address}/24"))?;
        }
        server.add_address("eth0", &format!("{SERVER}/24"))?;
        server.add_default_route(CLIENT.parse()?)?;
        let bind = |port: &u16| TcpListener::bind(("0.0.0.0", *port));
        let services = server.run(|| ports.iter().map(bind).collect::<Result<_, _>>())??;
        Ok(Self {
            client,
            server,
            folder: tempfile::tempdir()?,
            _services: services,
        })
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap_or_default()
    }

    /// Runs a program on the server, in the folder, with nothing to read.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Outcome<Output> {
        let mut command = self.command(program, arguments);
        command.stdin(Stdio::null());
        Ok(self.server.run(|| command.output())??)
    }

    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("SSH_CONNECTION")
            .env("TERM", "xterm");
        command
    }

    /// Starts a program on the server.
    pub(crate) fn spawn(&self, command: &mut Command) -> Outcome<Process> {
        Ok(self.server.spawn(command)?)
    }

    /// Runs `job` on the server.
    pub(crate) fn on_server<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Outcome<T> {
        Ok(self.server.run(job)?)
    }

    /// What `knockctl` prints, if it succeeds.
    pub(crate) fn knockctl(&self, arguments: &[&str]) -> Outcome<String> {
        let output = self.run(KNOCKCTL, arguments)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)).into())
    }

    /// Starts a daemon, and waits until its log says that it is up.
    pub(crate) fn daemon(&self, program: &str, arguments: &[&str], log: &Path) -> Outcome<Process> {
        let mut command = self.command(program, arguments);
        let errors = fs::File::create(self.path("errors"))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors);
        let process = self.spawn(&mut command)?;
        let said = || fs::read_to_string(log).unwrap_or_default();
        eventually("the daemon is up", || said().contains("starting up"))
            .map_err(|error| format!("{error}: {}{}", said(), self.read("errors")))?;
        Ok(process)
    }

    /// Runs a line of a client's, whose first word is `knock`.
    pub(crate) fn knock(&self, line: &str) -> Outcome {
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("knock"), "{line}");
        let mut command = Command::new(knock());
        command.args(words).stdin(Stdio::null());
        let output = self.client.run(|| command.output())??;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
        }
    }

    /// Whether a TCP port of the server can be reached.
    pub(crate) fn reaches(&self, from: &str, port: u16) -> Outcome<bool> {
        let (from, to): (IpAddr, IpAddr) = (from.parse()?, SERVER.parse()?);
        let connected = self.client.run(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::new(from, 0).into())?;
            socket.connect_timeout(&SocketAddr::new(to, port).into(), DOUBT)?;
            Ok::<TcpStream, std::io::Error>(socket.into())
        })?;
        Ok(connected.is_ok())
    }
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            return Err(format!("it does not come about: {what}").into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
