//! The two doctors, at a daemon that is well, and at one that is not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use knockd::lab::Process;

use crate::net::{CLIENT, Net, SERVER, Wish, alice, opened, receive, send};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("the_clients_doctor_finds_all_well", well),
    ("the_clients_doctor_says_that_the_gate_is_down", gate_down),
    ("the_clients_doctor_says_that_nothing_drops_the_port", loud),
    ("the_clients_doctor_says_that_nobody_answers", nobody),
    (
        "keys_and_profile_come_before_the_daemon_as_the_guide_has_it",
        guide,
    ),
    ("the_servers_doctor_knows_the_sockets_of_answers", sockets),
];

const NATIVE: &str = "[ssh]\nauthorized_keys = %K%\nopen = tcp/22\n";

/// The client, of another package: built now, unless it is up to date.
fn client() -> Outcome<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| error.to_string()));
    Ok(built.as_deref().map_err(Clone::clone)?)
}

fn build() -> Outcome<PathBuf> {
    let beside = Path::new(env!("CARGO_BIN_EXE_knockctl")).with_file_name("knock");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args([
        "build",
        "--quiet",
        "--offline",
        "--package",
        "knock",
    ]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    if !cargo.status()?.success() {
        return Err("the client does not build".into());
    }
    Ok(beside)
}

/// `docs/guide/ssh-key.md`: keys, profile, a trial, the daemon, a knock, and the trial confirmed.
fn guide() -> Outcome {
    let net = Net::new(NATIVE)?;
    net.knockctl(&["check"])?;
    net.knockctl(&["keys", "init"])?;
    let profile = net.profile()?;
    assert!(net.reaches(CLIENT, SERVER, 22)?, "nothing is closed yet");
    let armed = net.knockctl(&["arm", "--for", "10m"])?;
    assert_says(&armed, &["on trial for 10m", "tcp/22"]);
    let _daemon = net.start()?;
    assert!(!net.reaches(CLIENT, SERVER, 22)?);
    let (datagram, pending) = Wish::of(alice(), "ssh").seal(&profile)?;
    let socket = net.socket(CLIENT)?;
    send(&socket, CLIENT, &datagram)?;
    opened(&pending.open(&receive(&socket)?.ok_or("no answer")?)?)?;
    assert!(net.reaches(CLIENT, SERVER, 22)?);
    net.knockctl(&["arm", "--confirm", "--force"])?;
    let shown = net.knockctl(&["gate", "show"])?;
    assert_says(&shown, &["tcp/22  opened by ssh\n", "udp/51443  silent"]);
    assert!(!shown.contains("on trial"), "{shown}");
    Ok(())
}

/// A server and a user there, with a key that ssh-keygen has made and the server's profile.
struct Scene {
    net: Net,
    daemon: Process,
}

impl Scene {
    fn new(doors: &str) -> Outcome<Self> {
        let net = Net::new(doors)?;
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "me@home", "-f"])
            .arg(net.path("key"))
            .status()?;
        assert!(made.success());
        fs::copy(net.path("key.pub"), net.path("keys"))?;
        let daemon = net.start()?;
        let profile = net.path("config/knock/profiles/10.77.0.2.json");
        fs::create_dir_all(profile.parent().ok_or("no folder")?)?;
        fs::write(&profile, net.knockctl(&["profile"])?)?;
        fs::set_permissions(&profile, fs::Permissions::from_mode(0o600))?;
        Ok(Self { net, daemon })
    }

    /// Runs `knock doctor`: its exit code, and what it says.
    fn doctor(&self) -> Outcome<(Option<i32>, String)> {
        let mut command = Command::new(client()?);
        command
            .args(["doctor", "--identity"])
            .arg(self.net.path("key"))
            .arg(SERVER)
            .env("HOME", self.net.path(""))
            .env("XDG_CONFIG_HOME", self.net.path("config"))
            .env_remove("SSH_AUTH_SOCK");
        let output = self.net.client.run(|| command.output())??;
        Ok((output.status.code(), text(&output)))
    }
}

fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    format!("{}{errors}", String::from_utf8_lossy(&output.stdout))
}

fn assert_says(said: &str, lines: &[&str]) {
    for line in lines {
        assert!(said.contains(line), "{line}\n is not in\n{said}");
    }
}

fn well() -> Outcome {
    let scene = Scene::new(NATIVE)?;
    let (code, said) = scene.doctor()?;
    let lines = [
        "udp 10.77.0.2:51443 is silent to a stranger",
        "IPv4: ssh would open tcp/22, for SHA256:",
        "the server sees 10.77.0.1, which is this machine's",
        "tcp 10.77.0.2:22 is closed before the knock",
        "ssh open for 10.77.0.1 until",
        "tcp 10.77.0.2:22 is open: connected after",
    ];
    assert_says(&said, &lines);
    assert_eq!(code, Some(0), "{said}");
    // What it has opened does not deceive it the next time.
    let (code, said) = scene.doctor()?;
    assert_says(
        &said,
        &["an earlier knock had opened it", lines[3], lines[5]],
    );
    assert_eq!(code, Some(0), "{said}");
    assert!(scene.net.reaches(CLIENT, SERVER, 22)?);
    Ok(())
}

fn gate_down() -> Outcome {
    let scene = Scene::new(NATIVE)?;
    scene.net.knockctl(&["gate", "down"])?;
    let (code, said) = scene.doctor()?;
    let lines = [
        "problem  port     tcp 10.77.0.2:22 was open before the knock: your gate protects nothing",
        "ssh is refused for 10.77.0.1:",
        "see the log of knockd",
    ];
    assert_says(&said, &lines);
    assert_eq!(code, Some(1), "{said}");
    Ok(())
}

fn loud() -> Outcome {
    let scene = Scene::new(&format!("spa_silent = no\n{NATIVE}"))?;
    let (code, said) = scene.doctor()?;
    assert_says(
        &said,
        &["gets an ICMP \"port unreachable\", as at any closed port"],
    );
    assert_eq!(code, Some(0), "{said}");
    Ok(())
}

fn nobody() -> Outcome {
    let mut scene = Scene::new("[ssh]\nauthorized_keys = %K%\nstart_command = true\n")?;
    scene
        .net
        .signal(&scene.daemon, rustix::process::Signal::TERM)?;
    scene
        .daemon
        .wait_at_most(std::time::Duration::from_secs(10))?;
    let (code, said) = scene.doctor()?;
    let lines = [
        "no answer from udp 10.77.0.2:51443",
        "the host is reached: look there whether knockd runs",
    ];
    assert_says(&said, &lines);
    assert_eq!(code, Some(1), "{said}");
    Ok(())
}

fn sockets() -> Outcome {
    let scene = Scene::new(NATIVE)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_knockctl"));
    command
        .args(["doctor", "--sandbox", "--pid"])
        .arg(scene.daemon.id().to_string());
    let output = scene.net.server.run(|| command.output())??;
    let line = "answers sealed packets by 2 raw IP sockets, which receive nothing";
    assert_says(&text(&output), &[line]);
    Ok(())
}
