//! A real sshd on the server of a site, and real sessions of its client.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use knockd::lab::Process;

use crate::Result;
use crate::site::Site;

/// An sshd on the server, with keys of its own.
#[derive(Debug)]
pub struct Sshd {
    _daemon: Process,
}

impl Sshd {
    /// Starts it, on port 22.
    ///
    /// # Errors
    /// If it does not listen.
    pub fn start(site: &Site) -> Result<Self> {
        Self::start_by(site, &[], &[])
    }

    /// As [`Sshd::start`], by another program that becomes it (unshare(1)), and with more lines of
    /// sshd_config(5).
    ///
    /// # Errors
    /// If it does not listen.
    pub fn start_by(site: &Site, by: &[&str], more: &[String]) -> Result<Self> {
        site.server_must(
            "mkdir -p /run/sshd && ssh-keygen -q -t ed25519 -N '' -f host \
             && ssh-keygen -q -t ed25519 -N '' -f key && cp key.pub authorized",
        )?;
        let dir = site.path("");
        let options = [
            format!("HostKey={}host", dir.display()),
            format!("AuthorizedKeysFile={}authorized", dir.display()),
            "Port=22".into(),
            "PidFile=none".into(),
            "StrictModes=no".into(),
            "UsePAM=no".into(),
            "UseDNS=no".into(),
            "PermitRootLogin=yes".into(),
        ];
        let mut words = by.iter().copied().chain(["/usr/sbin/sshd"]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command.args(["-D", "-e", "-f", "/dev/null"]);
        for option in options.iter().chain(more) {
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

/// An ssh session with a shell in it.
#[derive(Debug)]
pub struct Session {
    ssh: Process,
    answers: BufReader<std::process::ChildStdout>,
}

impl Session {
    /// Logs in.
    ///
    /// # Errors
    /// If that fails.
    pub fn open(site: &Site) -> Result<Self> {
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
            .args(["10.77.0.2", "sh"])
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

    /// Waits until nothing of what is said now arrives: the client's kernel keeps it for later.
    ///
    /// # Errors
    /// If it does.
    pub fn falls_silent(&mut self, site: &Site) -> Result<()> {
        let stdin = self.ssh.stdin.as_mut().ok_or("no standard input")?;
        writeln!(stdin, "echo lost")?;
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

    /// Says a word, which comes back.
    ///
    /// # Errors
    /// If it does not.
    pub fn echoes(&mut self, word: &str) -> Result<()> {
        let (status, said) = self.run(&format!("echo {word}"))?;
        if (status, said.trim_end()) == (0, word) {
            Ok(())
        } else {
            Err(format!("the session said `{said}` to `{word}`").into())
        }
    }

    /// Runs a command in the session; its exit status, and what it said.
    ///
    /// # Errors
    /// If the session does not answer.
    pub fn run(&mut self, command: &str) -> Result<(i32, String)> {
        const END: &str = "that was all: ";
        let stdin = self.ssh.stdin.as_mut().ok_or("no standard input")?;
        writeln!(stdin, "{command} 2>&1; echo \"{END}$?\"")?;
        stdin.flush()?;
        let mut said = String::new();
        loop {
            let before = said.len();
            if self.answers.read_line(&mut said)? == 0 {
                return Err(format!("the session has ended: {said}").into());
            }
            if let Some(status) = said.get(before..).and_then(|line| line.strip_prefix(END)) {
                let status = status.trim_end().parse()?;
                said.truncate(before);
                return Ok((status, said));
            }
        }
    }
}
