//! Our daemon on the server, and a user's profiles on the client.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use knockd::lab::Process;
use tempfile::TempDir;

use crate::net::{Net, OURS, Outcome, run_command};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The daemon, of another package: built now, unless it is up to date.
fn program() -> Outcome<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| error.to_string()));
    Ok(built.as_deref().map_err(Clone::clone)?)
}

fn build() -> Outcome<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["build", "--quiet", "--offline", "--package", "knockd"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    if !cargo.status()?.success() {
        return Err("the daemon does not build".into());
    }
    Ok(Path::new(OURS).with_file_name("knockd"))
}

/// A client and a server whose daemon runs, and the files of both.
pub(crate) struct Site {
    pub(crate) net: Net,
    folder: TempDir,
    _service: TcpListener,
    _daemon: Process,
}

impl Site {
    /// With these doors. A service listens at the server's port 22.
    pub(crate) fn new(doors: &str) -> Outcome<Self> {
        let (net, folder) = (Net::new()?, TempDir::new()?);
        let service = net.server.run(|| TcpListener::bind(("::", 22)))??;
        let at = folder.path().display();
        let options = format!(
            "[options]\ninterface = server0\nlogfile = {at}/log\nstate_dir = {at}\n\
             journal = {at}/journal\n"
        );
        let configuration = folder.path().join("knockd.conf");
        fs::write(&configuration, options + doors)?;
        let mut command = Command::new(program()?);
        command.arg("-c").arg(configuration);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        let daemon = net.server.spawn(&mut command)?;
        let site = Self {
            net,
            folder,
            _service: service,
            _daemon: daemon,
        };
        site.await_log("starting up")?;
        Ok(site)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until `text` is in the log.
    pub(crate) fn await_log(&self, text: &str) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            if Instant::now() > deadline {
                return Err(format!("{text:?} is not in the log:\n{}", self.log()).into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// `knock`, of a user whose home is in our folder.
    pub(crate) fn knock(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(OURS);
        command
            .args(arguments)
            .env("HOME", self.folder.path())
            .env("XDG_CONFIG_HOME", self.folder.path().join("config"))
            .env_remove("KNOCK_PROFILE")
            .env_remove("SSH_AUTH_SOCK");
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &str) -> Outcome<Output> {
        let arguments: Vec<_> = arguments.split(' ').collect();
        run_command(&self.net.client, &mut self.knock(&arguments))
    }

    /// `knock profile add`, with these ports as its input.
    pub(crate) fn add_profile(&self, arguments: &str, ports: &str) -> Outcome {
        let words = ["profile", "add"].into_iter().chain(arguments.split(' '));
        let mut command = self.knock(&words.collect::<Vec<_>>());
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn()?;
        let mut input = child.stdin.take().ok_or("no input")?;
        input.write_all(ports.as_bytes())?;
        drop(input);
        if child.wait()?.success() {
            return Ok(());
        }
        Err("no profile was made".into())
    }
}
