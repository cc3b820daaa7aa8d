//! A user with a home, keys and an agent.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The program under test.
pub(crate) const KNOCK: &str = env!("CARGO_BIN_EXE_knock");

/// A user's home, with keys that ssh-keygen has made.
pub(crate) struct User {
    pub(crate) home: TempDir,
    pub(crate) agent: Option<(String, u32)>,
}

impl User {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".ssh")).unwrap();
        Self { home, agent: None }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Makes `.ssh/NAME`; gives its public line.
    pub(crate) fn key(&self, name: &str, kind: &str) -> String {
        let path = self.path(".ssh").join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", "", "-C", name, "-f"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        fs::read_to_string(self.path(&format!(".ssh/{name}.pub"))).unwrap()
    }

    pub(crate) fn agent(&mut self) {
        let socket = self.path("agent");
        let started = Command::new("ssh-agent")
            .args(["-s", "-a"])
            .arg(&socket)
            .output()
            .unwrap();
        let text = String::from_utf8(started.stdout).unwrap();
        let pid = text.split("SSH_AGENT_PID=").nth(1).unwrap();
        let pid = pid.split(';').next().unwrap().parse().unwrap();
        self.agent = Some((socket.to_str().unwrap().to_owned(), pid));
    }

    /// Moves a key into the agent: the file is gone.
    pub(crate) fn add_to_agent(&self, name: &str) {
        let path = self.path(".ssh").join(name);
        let (socket, _) = self.agent.as_ref().unwrap();
        let added = Command::new("ssh-add")
            .arg("-q")
            .arg(&path)
            .env("SSH_AUTH_SOCK", socket)
            .status()
            .unwrap();
        assert!(added.success());
        fs::remove_file(path).unwrap();
    }

    pub(crate) fn profile_path(&self, host: &str) -> PathBuf {
        self.path(&format!("config/knock/profiles/{host}.json"))
    }

    pub(crate) fn store(&self, host: &str, text: &str) {
        let path = self.profile_path(host);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(KNOCK);
        command
            .args(args)
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("TZ", "UTC")
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null());
        if let Some((socket, _)) = &self.agent {
            command.env("SSH_AUTH_SOCK", socket);
        }
        command
    }

    pub(crate) fn knock(&self, args: &[&str]) -> (i32, String, String) {
        told(&self.command(args).output().unwrap())
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if let Some((_, pid)) = &self.agent {
            Command::new("ssh-agent")
                .arg("-k")
                .env("SSH_AGENT_PID", pid.to_string())
                .output()
                .ok();
        }
    }
}

pub(crate) fn told(output: &Output) -> (i32, String, String) {
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout.clone()).unwrap(),
        String::from_utf8(output.stderr.clone()).unwrap(),
    )
}
