//! The client on other systems: linted for each, linked for Windows, and run there by Wine. What this
//! machine lacks is left out and named at the end, with what to install.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::run::{Failure, Outcome, cargo, execute, is_installed, program, root};

const WINDOWS: &str = "x86_64-pc-windows-gnu";
/// Where the client must build besides.
const OTHERS: [&str; 3] = [
    "aarch64-apple-darwin",
    "x86_64-unknown-freebsd",
    "aarch64-linux-android",
];
/// What links for Windows, and the Debian package that has it.
const LINKER: (&str, &str) = ("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64");
/// The first run of Wine makes its folder, which takes a while.
const PATIENCE: Duration = Duration::from_secs(120);

/// Does what can be done here.
pub(crate) fn run() -> Outcome {
    let mut left_out = Vec::new();
    for target in [WINDOWS].into_iter().chain(OTHERS) {
        if is_to_be_had(target) {
            lint(target)?;
        } else {
            left_out.push(format!("{target} (rustup target add {target})"));
        }
    }
    if !is_to_be_had(WINDOWS) || !is_installed(LINKER.0) {
        left_out.push(format!(
            "linking for Windows (apt-get install {})",
            LINKER.1
        ));
    } else {
        execute(cargo(".").args(["build", "--quiet", "-p", "knock", "--target", WINDOWS]))?;
        if is_installed("wine") {
            try_under_wine()?;
        } else {
            left_out.push("running knock.exe (apt-get install wine wine64)".to_owned());
        }
    }
    eprintln!("xtask: not run: Windows itself, and all other systems; they were linted only");
    for what in left_out {
        eprintln!("xtask: left out: {what}");
    }
    Ok(())
}

/// Whether there is a standard library for `target`, or there is now.
fn is_to_be_had(target: &str) -> bool {
    let add = program("rustup")
        .args(["--quiet", "target", "add", target])
        .stderr(Stdio::null())
        .status();
    add.is_ok_and(|status| status.success())
}

fn lint(target: &str) -> Outcome {
    execute(cargo(".").args([
        "clippy", "--quiet", "-p", "knock", "--target", target, "--", "-D", "warnings",
    ]))
}

/// What a user does with the program, as far as one machine shows it.
fn try_under_wine() -> Outcome {
    let wine = Wine::new()?;
    wine.says(&["-V"], 0, "knock ")?;
    wine.knock()?;
    wine.wait()?;
    wine.says(&["--flags", "fin", "127.0.0.1", "9"], 1, "other flags")?;
    wine.says(&["-i", "eth0", "127.0.0.1", "9"], 1, "use --source")?;
    wine.says(&["127.0.0.1", "70000"], 1, "not from 1 to 65535")?;
    wine.profile()
}

struct Wine {
    program: PathBuf,
    prefix: PathBuf,
}

impl Wine {
    fn new() -> Result<Self, Failure> {
        let target = root().join("target").join(WINDOWS);
        let wine = Self {
            program: target.join("debug/knock.exe"),
            prefix: target.join("wine"),
        };
        if wine.run(&["-V"], "")?.stdout.is_empty() {
            stand_in(&target.join("debug"))?;
        }
        Ok(wine)
    }

    /// A TCP and a UDP port, of which the second sees what arrives.
    fn knock(&self) -> Outcome {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(said)?;
        udp.set_read_timeout(Some(PATIENCE)).map_err(said)?;
        let port = udp.local_addr().map_err(said)?.port();
        let steps = ["-v", "127.0.0.1", "7000", &format!("{port}:udp")];
        self.says(&steps, 0, &format!("hitting udp 127.0.0.1:{port}"))?;
        let mut buffer = [1; 16];
        match udp.recv(&mut buffer).map_err(said)? {
            1 if buffer.first() == Some(&0) => Ok(()),
            length => Err(Failure::Said(format!(
                "{length} bytes arrived, not one zero byte"
            ))),
        }
    }

    /// A port that answers, and one that does not.
    fn wait(&self) -> Outcome {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(said)?;
        let port = tcp.local_addr().map_err(said)?.port();
        let wait = format!("--wait=tcp/{port}");
        self.says(&[&wait, "127.0.0.1", "7000"], 0, "answers after")?;
        tcp.set_nonblocking(true).map_err(said)?;
        tcp.accept().map_err(said)?;
        drop(tcp);
        let closed = [&wait, "--timeout", "300ms", "127.0.0.1", "7000"];
        self.says(&closed, 3, "does not answer within")
    }

    fn profile(&self) -> Outcome {
        let add = ["profile", "add", "--force", "--host", "127.0.0.1", "cross"];
        let added = self.run(&add, "7000 7001:udp\n")?;
        expect(&add, &added, 0, "cross: 2 ports; stored in C:\\")?;
        self.says(&["-v", "cross"], 0, "hitting udp 127.0.0.1:7001")?;
        self.says(&["profile", "list"], 0, "a sequence of 2 ports")
    }

    /// Runs it, and looks at its exit code and for `text` in what it says.
    fn says(&self, arguments: &[&str], code: i32, text: &str) -> Outcome {
        expect(arguments, &self.run(arguments, "")?, code, text)
    }

    fn run(&self, arguments: &[&str], input: &str) -> Result<Output, Failure> {
        eprintln!("xtask: wine knock.exe {}", arguments.join(" "));
        let mut child = Command::new("wine")
            .arg(&self.program)
            .args(arguments)
            .env("WINEPREFIX", &self.prefix)
            .env("WINEDEBUG", "-all")
            .env_remove("DISPLAY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(said)?;
        if let Some(mut pipe) = child.stdin.take() {
            std::io::Write::write_all(&mut pipe, input.as_bytes()).ok();
        }
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().map_err(said)?.is_none() {
            if Instant::now() > deadline {
                child.kill().map_err(said)?;
                return Err(Failure::Said(format!("it does not end: {arguments:?}")));
            }
            thread::sleep(Duration::from_millis(20));
        }
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let status = child.wait().map_err(said)?;
        if let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) {
            out.read_to_end(&mut stdout).map_err(said)?;
            err.read_to_end(&mut stderr).map_err(said)?;
        }
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }
}

/// Puts the missing library beside the program.
fn stand_in(folder: &Path) -> Outcome {
    let source = root().join("xtask/src/jobs/cross/bcryptprimitives.c");
    execute(
        program(LINKER.0)
            .args(["-shared", "-o"])
            .arg(folder.join("bcryptprimitives.dll"))
            .arg(source)
            .arg("-ladvapi32"),
    )
}

fn expect(arguments: &[&str], output: &Output, code: i32, text: &str) -> Outcome {
    let out = String::from_utf8_lossy(&output.stdout);
    let all = format!("{out}{}", String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(code) && all.contains(text) {
        return Ok(());
    }
    Err(Failure::Said(format!(
        "knock.exe {}: {}, not {code} and '{text}':\n{all}",
        arguments.join(" "),
        output.status
    )))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
fn said(error: std::io::Error) -> Failure {
    Failure::Said(error.to_string())
}
