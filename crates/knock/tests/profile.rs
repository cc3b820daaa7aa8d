//! Profiles as a user makes and mends them. Nothing here leaves this machine.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test may fail as the test itself may"
)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A user's home.
struct User(TempDir);

impl User {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join("config/knock/profiles").join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_knock"));
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env("HOME", self.0.path())
            .env("XDG_CONFIG_HOME", self.0.path().join("config"))
            .env_remove("KNOCK_PROFILE");
        command
    }

    /// Runs it with `input`: its exit code, and what it says.
    fn run(&self, arguments: &[&str], input: &str) -> (i32, String, String) {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Who does not ask for the ports does not read them.
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap();
        (code, text(output.stdout), text(output.stderr))
    }
}

#[test]
fn a_profile_is_made_listed_and_shown() {
    let user = User::new();
    assert_eq!(
        user.run(&["profile", "list"], ""),
        (0, String::new(), String::new())
    );
    let add = [
        "profile",
        "add",
        "--host",
        "127.0.0.1",
        "--wait",
        "tcp/22",
        "-d",
        "5",
        "web",
    ];
    let (code, out, err) = user.run(&add, "7000 8000:UDP, icmp\n");
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("web: 3 ports; stored in "), "{out}");
    assert!(!out.contains("7000"), "{out}");
    let mode = user
        .file("web.toml")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, out, _) = user.run(&["profile", "list"], "");
    assert_eq!(code, 0);
    assert!(out.ends_with("127.0.0.1, a sequence of 3 ports\n"), "{out}");
    let (code, out, _) = user.run(&["profile", "show", "web"], "");
    assert_eq!(code, 0);
    let shown = out.split_once('\n').unwrap().1;
    let expected = "host = \"127.0.0.1\"\nports = [7000,\"8000:udp\",\"icmp:56\"]\ndelay = 5\n\
                    wait = \"tcp/22\"\n";
    assert_eq!(shown, expected);
}

#[test]
fn a_profile_is_replaced_only_when_that_is_asked_for() {
    let user = User::new();
    assert_eq!(user.run(&["profile", "add", "web"], "7000").0, 0);
    let (code, _, err) = user.run(&["profile", "add", "web"], "8000");
    assert_eq!(code, 2);
    assert!(err.contains("already (--force replaces it)"), "{err}");
    assert_eq!(user.run(&["profile", "add", "--force", "web"], "8000").0, 0);
    let text = fs::read_to_string(user.file("web.toml")).unwrap();
    assert_eq!(text, "ports = [8000]\n");
}

#[test]
fn what_cannot_be_a_profile_is_not_made() {
    let user = User::new();
    for (arguments, input, why) in [
        (
            &["add", "web"][..],
            "7000 70000",
            "'70000': port 70000 is not from 1 to 65535",
        ),
        (&["add", "web"], "", "no ports: expected at least one"),
        (&["add", "../web"], "7000", "say which host"),
        (&["add", "-"], "7000", "'-' is no host's name"),
        (
            &["add", "--flags", "foo", "web"],
            "7000",
            "'foo' is no TCP flag",
        ),
        (
            &["add", "--delay", "5", "--spacing", "1s", "web"],
            "7000",
            "cannot be used with",
        ),
        (&["show", "web"], "", "there is no profile "),
        (&["remove", "web"], "", "unrecognized subcommand"),
    ] {
        let words = [&["profile"], arguments].concat();
        let (code, out, err) = user.run(&words, input);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.contains(why), "{arguments:?}: {err}");
    }
    assert!(!user.file("").exists());
}

#[test]
fn a_profile_that_others_may_read_is_refused_and_its_ports_are_not_shown() {
    let user = User::new();
    let path = user.write("web.toml", "host = \"127.0.0.1\"\nports = [7000]\n");
    assert_eq!(user.run(&["web"], "").0, 0);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    for arguments in [
        &["web"][..],
        &["--json", "web"],
        &["profile", "show", "web"],
    ] {
        let (code, out, err) = user.run(arguments, "");
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        let expected = format!("(mode 0644): `chmod 600 {}`\n", path.display());
        assert!(err.ends_with(&expected), "{err}");
    }
    // With ports on the command line nobody looks at it, as with the original.
    let (code, _, err) = user.run(&["web", "7000"], "");
    assert_eq!(code, 1);
    assert!(err.contains("cannot resolve 'web'"), "{err}");
}

#[test]
fn a_mistake_in_a_profile_is_shown_with_its_line() {
    let user = User::new();
    user.write("web.toml", "host = \"127.0.0.1\"\nports = [7000, 0]\n");
    let (code, out, err) = user.run(&["web"], "");
    assert_eq!((code, out.as_str()), (2, ""));
    let expected = "line 2, column 16\n  |\n2 | ports = [7000, 0]\n  |                ^\n\
                    port 0 is not from 1 to 65535\n";
    assert!(err.ends_with(expected), "{err}");
}

#[test]
fn a_path_and_the_environment_name_a_profile_too() {
    let user = User::new();
    let path = user.write("web.toml", "host = \"127.0.0.1\"\nports = [7000]\n");
    let hitting = "hitting tcp 127.0.0.1:7000\n".to_owned();
    let from_path = user.run(&["-v", path.to_str().unwrap()], "");
    assert_eq!(from_path, (0, hitting.clone(), String::new()));
    for name in ["web", path.to_str().unwrap()] {
        let mut command = user.command(&["-v"]);
        let output = command.env("KNOCK_PROFILE", name).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), hitting);
    }
    // A host on the command line counts for more, and nothing is as with the original.
    let mut command = user.command(&["-v", "127.0.0.1", "7001"]);
    let output = command.env("KNOCK_PROFILE", "web").output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "hitting tcp 127.0.0.1:7001\n"
    );
    let (code, _, err) = user.run(&["-v"], "");
    assert_eq!(code, 1);
    assert!(err.contains("<HOST>"), "{err}");
    let (code, _, err) = user.run(&["./none.toml"], "");
    assert_eq!(
        (code, err.as_str()),
        (2, "knock: there is no profile ./none.toml\n")
    );
    fs::write(&path, "ports = [7000]\n").unwrap();
    let (code, _, err) = user.run(&[path.to_str().unwrap()], "");
    assert_eq!(code, 2);
    assert!(err.contains("it names no host"), "{err}");
}

#[test]
fn the_command_line_counts_for_more_than_a_profile() {
    let user = User::new();
    let text = "host = \"localhost\"\nports = [7000, \"7001:tcp\"]\nfamily = 6\ndelay = 900000\n\
                wait = \"tcp/1\"\ntimeout = \"1h\"\nretry = 255\n";
    user.write("web.toml", text);
    let options = [
        "-v",
        "-u",
        "-4",
        "-d",
        "0",
        "--timeout",
        "10ms",
        "--retry",
        "0",
        "web",
    ];
    let (code, out, err) = user.run(&options, "");
    assert_eq!(code, 3);
    assert_eq!(
        out,
        "hitting udp 127.0.0.1:7000\nhitting udp 127.0.0.1:7001\n"
    );
    assert!(
        err.starts_with("knock: tcp 127.0.0.1:1 does not answer within "),
        "{err}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn ports_that_are_typed_are_asked_for_and_not_shown() {
    use std::io::Read;
    use std::thread;
    use std::time::{Duration, Instant};

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};

    let user = User::new();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    // setsid(1) gives the program a terminal of its own: its standard input.
    let mut command = Command::new("setsid");
    let terminal = || {
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&name)
            .unwrap()
    };
    command
        .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_knock")])
        .args(["profile", "add", "web"])
        .env("HOME", user.0.path())
        .env("XDG_CONFIG_HOME", user.0.path().join("config"))
        .stdin(terminal())
        .stdout(terminal())
        .stderr(terminal());
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut master = fs::File::from(master);
    let mut seen = Vec::new();
    let mut buffer = [0; 256];
    while !seen.ends_with(b"not shown): ") {
        let length = master.read(&mut buffer).unwrap();
        seen.extend(buffer.get(..length).unwrap());
    }
    // As people do, who are slower than the program.
    let deadline = Instant::now() + Duration::from_secs(20);
    let echoes = || {
        tcgetattr(&master)
            .unwrap()
            .local_modes
            .contains(LocalModes::ECHO)
    };
    while echoes() {
        assert!(Instant::now() < deadline, "what is typed is shown");
        thread::sleep(Duration::from_millis(2));
    }
    master.write_all(b"7123 8123:udp\n").unwrap();
    // The end of a terminal is an error (EIO).
    master.read_to_end(&mut seen).ok();
    assert!(child.wait().unwrap().success());
    let seen = String::from_utf8(seen).unwrap();
    assert!(
        seen.contains("web: 2 ports; stored in ") && !seen.contains("7123"),
        "{seen}"
    );
    let text = fs::read_to_string(user.file("web.toml")).unwrap();
    assert_eq!(text, "ports = [7123,\"8123:udp\"]\n");
}
