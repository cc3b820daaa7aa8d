//! A client, and a server with a daemon that has a control socket.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use knockd::control::client::Connection;
use knockd::control::{Answer, Request, Status};
use knockd::events::{Event, Kind};
use knockd::lab::{Host, Process};
use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::Outcome;

pub(crate) const KNOCKD: &str = env!("CARGO_BIN_EXE_knockd");
pub(crate) const KNOCKCTL: &str = env!("CARGO_BIN_EXE_knockctl");

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long we wait for what should not come.
const DOUBT: Duration = Duration::from_millis(400);

pub(crate) const CLIENT: &str = "10.77.0.1";
pub(crate) const OTHER: &str = "10.77.0.3";
pub(crate) const SERVER: &str = "10.77.0.2";

pub(crate) struct Net {
    pub(crate) client: Host,
    pub(crate) server: Host,
    folder: TempDir,
    _service: TcpListener,
}

impl Net {
    /// With these doors; `%F%` is the folder of files.
    pub(crate) fn new(doors: &str) -> Outcome<Self> {
        let (client, server) = (Host::new("client")?, Host::new("server")?);
        client.connect("client0", &server, "server0")?;
        for address in ["10.77.0.1/24", "10.77.0.3/24", "fd77::1/64"] {
            client.add_address("client0", address)?;
        }
        for address in ["10.77.0.2/24", "fd77::2/64"] {
            server.add_address("server0", address)?;
        }
        let service = server.run(|| TcpListener::bind(("::", 22)))??;
        let net = Self {
            client,
            server,
            folder: tempfile::tempdir()?,
            _service: service,
        };
        let folder = net.path("");
        let options = format!(
            "[options]\ninterface = server0\njournal = {0}journal\ncontrol_socket = {0}sock\n",
            folder.display()
        );
        net.configure(&(options + doors))?;
        Ok(net)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(crate) fn configure(&self, text: &str) -> Outcome {
        let folder = self.folder.path().display().to_string();
        Ok(fs::write(
            self.path("knockd.conf"),
            text.replace("%F%", &folder),
        )?)
    }

    pub(crate) fn configuration(&self) -> Outcome<String> {
        Ok(fs::read_to_string(self.path("knockd.conf"))?)
    }

    /// What is in a file; nothing if there is none.
    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap_or_default()
    }

    pub(crate) fn knockd(&self) -> Outcome<Command> {
        let mut command = Command::new(KNOCKD);
        command
            .args(["-c", "knockd.conf", "-g", "log"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.path("stderr"))?);
        Ok(command)
    }

    /// Starts the daemon, and waits until it can be asked.
    pub(crate) fn start(&self) -> Outcome<Process> {
        let before = self.read("log").matches("starting up").count();
        let process = self.server.spawn(&mut self.knockd()?)?;
        self.eventually("the daemon is up", || {
            self.read("log").matches("starting up").count() > before
        })?;
        Ok(process)
    }

    pub(crate) fn eventually(&self, what: &str, condition: impl Fn() -> bool) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            if Instant::now() > deadline {
                let (log, said) = (self.read("log"), self.read("stderr"));
                return Err(format!("not: {what}\n{log}{said}").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub(crate) fn await_log(&self, text: &str) -> Outcome {
        self.eventually(&format!("{text:?} in the log"), || {
            self.read("log").contains(text)
        })
    }

    pub(crate) fn connect(&self) -> Outcome<Connection> {
        Ok(Connection::open(&self.path("sock"))?)
    }

    pub(crate) fn ask(&self, request: &Request) -> Outcome<Answer> {
        Ok(self.connect()?.ask(request)?)
    }

    pub(crate) fn status(&self) -> Outcome<Status> {
        match self.ask(&Request::Status {})? {
            Answer::Status(status) => Ok(*status),
            other => Err(format!("{other:?}").into()),
        }
    }

    /// The events that are remembered.
    pub(crate) fn events(&self) -> Outcome<Vec<Event>> {
        let mut connection = self.connect()?;
        connection.send(&Request::Events {
            since: None,
            follow: false,
        })?;
        let mut events = Vec::new();
        loop {
            match connection.hear()? {
                Answer::Event(event) => events.push(event),
                Answer::End { .. } => return Ok(events),
                other => return Err(format!("{other:?}").into()),
            }
        }
    }

    /// Waits until there are `count` events of this kind, and gives them.
    pub(crate) fn await_events(&self, kind: Kind, count: usize) -> Outcome<Vec<Event>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut events = self.events()?;
            events.retain(|event| event.kind == kind);
            if events.len() >= count {
                return Ok(events);
            }
            if Instant::now() > deadline {
                return Err(format!("{events:#?}\n{}", self.read("log")).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `knockctl` with these arguments, asking this daemon.
    pub(crate) fn knockctl(&self, args: &[&str]) -> Outcome<Output> {
        let mut command = Command::new(KNOCKCTL);
        command.args(args).arg("-c").arg(self.path("knockd.conf"));
        Ok(self.server.run(|| command.output())??)
    }

    /// What it prints, if it succeeds.
    pub(crate) fn ctl(&self, args: &[&str]) -> Outcome<String> {
        let output = self.knockctl(args)?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What it complains of, if it fails with status 1.
    pub(crate) fn ctl_fails(&self, args: &[&str]) -> Outcome<String> {
        let output = self.knockctl(args)?;
        if output.status.code() != Some(1) {
            return Err(format!("{output:?}").into());
        }
        Ok(String::from_utf8(output.stderr)?)
    }

    /// A datagram to each port of the server, in turn.
    pub(crate) fn knock(&self, from: &str, ports: &[u16]) -> Outcome {
        let socket = self.client.run(|| UdpSocket::bind((from, 0)))??;
        for port in ports {
            socket.send_to(&[0], (SERVER, *port))?;
        }
        Ok(())
    }

    /// A connection to the ssh port, if it comes about.
    pub(crate) fn ssh(&self, from: &str) -> Outcome<Option<TcpStream>> {
        let (from, to): (SocketAddr, SocketAddr) = (
            format!("{from}:0").parse()?,
            format!("{SERVER}:22").parse()?,
        );
        let connected = self.client.run(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&from.into())?;
            socket.connect_timeout(&to.into(), DOUBT)?;
            Ok::<TcpStream, std::io::Error>(socket.into())
        })?;
        Ok(connected.ok())
    }

    /// Waits until the daemon sleeps: all that it had to do has been done if it is not woken for a while.
    pub(crate) fn is_idle(&self, daemon: &Process) -> Outcome {
        let switches = || -> Outcome<String> {
            let status = fs::read_to_string(format!("/proc/{}/status", daemon.id()))?;
            let mut lines = status.lines();
            let line = lines.find(|line| line.starts_with("voluntary"));
            Ok(line.ok_or("no such line")?.to_owned())
        };
        let mut before = switches()?;
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(700));
            let after = switches()?;
            if after == before {
                return Ok(());
            }
            before = after;
        }
        Err("it is never idle".into())
    }

    /// `nft` at the server.
    pub(crate) fn nft(&self, words: &str) -> Outcome<String> {
        let mut command = Command::new("nft");
        command.args(words.split(' '));
        let output = self.server.run(|| command.output())??;
        Ok(String::from_utf8(output.stdout)?)
    }
}

pub(crate) fn signal(process: &Process, signal: Signal) -> Outcome {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    Ok(kill_process(pid.ok_or("no process id")?, signal)?)
}

/// The exit status of a process that ends.
pub(crate) fn exit_code(process: &mut Process) -> Outcome<Option<i32>> {
    let status = process.wait_at_most(PATIENCE)?.ok_or("it does not end")?;
    Ok(status.code())
}
