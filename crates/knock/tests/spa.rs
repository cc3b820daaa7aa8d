//! Single packets, from the command line to the answer: against a server in this process, which
//! verifies as the keeper does, with real keys and, where there is one, a real ssh-agent.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of a test may fail as the test itself may"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use knock_spa::Purpose;

#[path = "spa/doctor.rs"]
mod doctor;
#[path = "spa/server.rs"]
mod server;
#[path = "spa/ssh.rs"]
mod ssh;
#[path = "spa/user.rs"]
mod user;
#[path = "spa/waits.rs"]
mod waits;

use server::{Server, Ways, profile};
use user::{User, told};

const HOME: &str = "127.0.0.1";

/// A user with one key in a file, and a server that knows it, at 127.0.0.1.
fn pair(ways: &Ways) -> (User, Server) {
    let user = User::new();
    let server = Server::start(&user.key("id_ed25519", "ed25519"), ways);
    user.store(HOME, &profile(server.port, &[]));
    (user, server)
}

#[test]
fn a_key_file_opens_the_first_door() {
    let (user, server) = pair(&Ways::default());
    let (code, out, err) = user.knock(&[HOME]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("ssh open for 127.0.0.1 until "), "{out}");
    assert!(out.ends_with(" (30 s)\n"), "{out}");
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].door.as_str(), "ssh");
    assert_eq!(asked[0].claimed, None, "a loopback address is not public");
}

#[test]
fn door_time_and_purpose_are_asked_for() {
    let (user, server) = pair(&Ways::default());
    let (code, out, _) = user.knock(&["--door", "web", "--for", "10m", HOME]);
    assert_eq!(code, 0);
    assert!(
        out.starts_with("web open") && out.ends_with("(600 s)\n"),
        "{out}"
    );
    let (code, out, _) = user.knock(&["--close", HOME]);
    assert_eq!((code, out.as_str()), (0, "ssh closed for 127.0.0.1\n"));
    let (code, out, _) = user.knock(&["--ask", HOME]);
    assert_eq!(code, 0);
    assert!(
        out.starts_with("ssh would open for 127.0.0.1 until"),
        "{out}"
    );
    let purposes: Vec<_> = server.asked().iter().map(|asked| asked.purpose).collect();
    assert_eq!(purposes, [Purpose::Open, Purpose::Close, Purpose::Ask]);
}

#[test]
fn an_agent_signs_with_every_kind_of_key() {
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let mut user = User::new();
        let line = user.key("key", kind);
        user.agent();
        user.add_to_agent("key");
        let server = Server::start(&line, &Ways::default());
        user.store(HOME, &profile(server.port, &[]));
        let (code, _, err) = user.knock(&[HOME]);
        assert_eq!((code, err.as_str()), (0, ""), "{kind}");
    }
}

#[test]
fn the_key_that_is_known_there_is_found_and_remembered() {
    let mut user = User::new();
    user.agent();
    let lines = ["one", "two", "three"].map(|name| {
        let line = user.key(name, "ed25519");
        user.add_to_agent(name);
        line
    });
    let server = Server::start(&lines[2], &Ways::default());
    user.store(HOME, &profile(server.port, &[]));
    let (code, _, err) = user.knock(&[HOME]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(server.heard().len(), 3, "one packet for each key");
    let (code, _, _) = user.knock(&[HOME]);
    assert_eq!((code, server.heard().len()), (0, 4), "the right one first");
}

#[test]
fn a_named_key_is_the_only_one() {
    let user = User::new();
    let (line, _other) = (
        user.key("id_ed25519", "ed25519"),
        user.key("other", "ed25519"),
    );
    let server = Server::start(&line, &Ways::default());
    user.store(HOME, &profile(server.port, &[]));
    let other = user.path(".ssh/other");
    let (code, out, err) = user.knock(&["--identity", other.to_str().unwrap(), HOME]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(
        err.starts_with("knock: no answer from udp 127.0.0.1:"),
        "{err}"
    );
    assert_eq!(server.asked().len(), 0);
    let right = user.path(".ssh/id_ed25519");
    assert_eq!(
        user.knock(&["--identity", right.to_str().unwrap(), HOME]).0,
        0
    );
}

#[test]
fn a_certificate_is_enough_where_its_authority_is_known() {
    let user = User::new();
    user.key("id_ed25519", "ed25519");
    let authority = user.key("authority", "ed25519");
    let signed = Command::new("ssh-keygen")
        .current_dir(user.path(".ssh"))
        .args([
            "-q",
            "-s",
            "authority",
            "-I",
            "me",
            "-n",
            "me",
            "-V",
            "-1m:+5m",
            "id_ed25519.pub",
        ])
        .status()
        .unwrap();
    assert!(signed.success());
    let line = format!("cert-authority,principals=\"me\" {authority}");
    let server = Server::start(&line, &Ways::default());
    user.store(HOME, &profile(server.port, &[]));
    let (code, _, err) = user.knock(&[HOME]);
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn a_lost_packet_is_asked_for_with_a_fresh_one() {
    let lossy = Ways {
        lose: 2,
        ..Ways::default()
    };
    let (user, server) = pair(&lossy);
    assert_eq!(user.knock(&[HOME]).0, 0);
    let heard = server.heard();
    assert_eq!(heard.len(), 3);
    for (i, one) in heard.iter().enumerate() {
        for other in &heard[i + 1..] {
            assert_ne!(one, other);
            assert_ne!(one[16..48], other[16..48], "another encapsulation");
        }
    }
}

#[test]
fn after_three_packets_there_is_no_answer() {
    let deaf = Ways {
        lose: usize::MAX,
        ..Ways::default()
    };
    let (user, server) = pair(&deaf);
    let begun = Instant::now();
    let (code, out, _) = user.knock(&["--json", HOME]);
    assert_eq!(code, 3);
    assert!(out.contains(r#""result":"no-answer""#), "{out}");
    assert_eq!(server.heard().len(), 3);
    assert!(begun.elapsed() >= Duration::from_millis(2900));
}

#[test]
fn what_strangers_send_is_no_answer() {
    let noisy = Ways {
        junk: true,
        ..Ways::default()
    };
    let (user, server) = pair(&noisy);
    let (code, out, err) = user.knock(&[HOME]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(server.heard().len(), 1, "and it asks for nothing anew");
}

#[test]
fn an_address_is_confirmed_without_a_second_signature() {
    let careful = Ways {
        confirm: true,
        junk: true,
        ..Ways::default()
    };
    let (user, server) = pair(&careful);
    let (code, out, err) = user.knock(&[HOME]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("ssh open for 127.0.0.1"), "{out}");
    let lengths: Vec<_> = server.heard().iter().map(Vec::len).collect();
    assert_eq!(lengths, [256, 208]);
}

#[test]
fn a_clock_that_is_off_is_corrected_by_the_answer() {
    for ahead in [412_000, -412_000] {
        let elsewhen = Ways {
            ahead,
            ..Ways::default()
        };
        let (user, server) = pair(&elsewhen);
        let (code, out, err) = user.knock(&[HOME]);
        assert_eq!((code, err.as_str()), (0, ""), "{ahead}");
        assert!(out.ends_with("(30 s)\n"), "{out}");
        assert_eq!(server.heard().len(), 2, "{ahead}");
    }
}

#[test]
fn a_refusal_says_why() {
    let user = User::new();
    let line = user.key("id_ed25519", "ed25519");
    let server = Server::start(&format!("doors=\"web\" {line}"), &Ways::default());
    user.store(HOME, &profile(server.port, &[]));
    let (code, out, err) = user.knock(&[HOME]);
    assert_eq!((code, out.as_str()), (1, ""));
    let start = "knock: ssh refused for 127.0.0.1: no such door for this key; key SHA256:";
    assert!(err.starts_with(start), "{err}");
    assert_eq!(server.heard().len(), 1, "a refusal is not asked for again");
    let (code, out, err) = user.knock(&["-q", HOME]);
    assert_eq!((code, out.as_str(), err.as_str()), (1, "", ""));
    let (code, out, _) = user.knock(&["--json", HOME]);
    assert_eq!(code, 1);
    assert!(out.contains(r#""result":"unknown-door""#), "{out}");
}

#[test]
fn both_families_are_asked_for_at_once() {
    let user = User::new();
    let server = Server::start(&user.key("id_ed25519", "ed25519"), &Ways::default());
    let both = [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ];
    user.store("server.invalid", &profile(server.port, &both));
    let (code, out, err) = user.knock(&["server.invalid"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.starts_with("ssh open for 127.0.0.1 and ::1 until"),
        "{out}"
    );
    let (code, out, _) = user.knock(&["-6", "server.invalid"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("ssh open for ::1 until"), "{out}");
    assert_eq!(server.heard().len(), 3);
}

#[test]
fn what_is_missing_is_said() {
    let user = User::new();
    // A host alone is a sequence without ports, as to the original.
    for (args, expected) in [
        (&["nowhere.invalid"][..], 1),
        (&["--ask", "nowhere.invalid"], 2),
    ] {
        let (code, _, err) = user.knock(args);
        assert_eq!(code, expected, "{args:?}");
        assert!(
            err.contains("run `knock enroll [USER@]nowhere.invalid`"),
            "{err}"
        );
    }
    user.store(HOME, &profile(51443, &[]));
    let (code, _, err) = user.knock(&[HOME]);
    assert_eq!(code, 4, "{err}");
    for args in [
        &["--for", "0", HOME][..],
        &["--door", "a b", HOME],
        &["--close", "--ask", HOME],
        &["-u", "--ask", HOME],
        &["--door", "ssh", HOME, "7000"],
        &["connect", HOME],
        &["enroll"],
    ] {
        assert_eq!(user.knock(args).0, 2, "{args:?}");
    }
    for args in [&[][..], &["-u", HOME], &["-d", "1", HOME]] {
        assert_eq!(user.knock(args).0, 1, "{args:?}: as the original");
    }
}

/// A program of that name before all others.
fn stand_in(user: &User, name: &str, script: &str) -> String {
    let folder = user.path("bin");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn enroll_fetches_a_profile_over_ssh() {
    let user = User::new();
    let server = Server::start(&user.key("id_ed25519", "ed25519"), &Ways::default());
    let text = profile(server.port, &[]);
    let script = format!(
        "echo \"$*\" > {}\necho Welcome\necho '{text}'",
        user.path("args").display()
    );
    let path = stand_in(&user, "ssh", &script);
    let enroll = |args: &[&str]| {
        let output = user.command(args).env("PATH", &path).output();
        told(&output.unwrap())
    };
    let (code, out, err) = enroll(&["enroll", "--sudo", "me@127.0.0.1", "--", "-p", "2222"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.starts_with("127.0.0.1: doors ssh, web; stored in "),
        "{out}"
    );
    let asked = fs::read_to_string(user.path("args")).unwrap();
    assert_eq!(asked, "-p 2222 -- me@127.0.0.1 sudo knockctl profile\n");
    assert_eq!(mode(&user.profile_path(HOME)), 0o600);
    assert_eq!(user.knock(&[HOME]).0, 0);
}

#[test]
fn what_is_no_profile_is_not_stored() {
    let user = User::new();
    let before = profile(1, &[]);
    user.store(HOME, &before);
    for script in ["echo nonsense", "exit 255", "echo '{}'"] {
        let path = stand_in(&user, "ssh", script);
        let output = user.command(&["enroll", HOME]).env("PATH", path).output();
        assert_eq!(output.unwrap().status.code(), Some(5), "{script}");
    }
    assert_eq!(fs::read_to_string(user.profile_path(HOME)).unwrap(), before);
}

#[test]
fn connect_knocks_and_passes_bytes_both_ways() {
    let (user, _server) = pair(&Ways::default());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let host = thread::spawn(move || {
        let (mut stream, from) = listener.accept().unwrap();
        stream.write_all(b"SSH-2.0-test\r\n").unwrap();
        let mut all = Vec::new();
        // Only the end of the client's input ends this.
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
        from
    });
    let mut child = user
        .command(&["connect", HOME, &port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let sent: Vec<u8> = (0..300_000_u32).map(|i| i.to_le_bytes()[1]).collect();
    let (mut input, text) = (child.stdin.take().unwrap(), sent.clone());
    let writer = thread::spawn(move || input.write_all(&text));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let received = output.stdout.strip_prefix(b"SSH-2.0-test\r\n").unwrap();
    assert!(received == sent.as_slice(), "{} bytes", received.len());
    let from: SocketAddr = host.join().unwrap();
    assert_eq!(from.ip(), IpAddr::from(Ipv4Addr::LOCALHOST));
}

#[test]
fn the_end_of_the_hosts_output_ends_ours_while_input_goes_on() {
    let (user, _server) = pair(&Ways::default());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut child = user
        .command(&["connect", HOME, &port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut text).unwrap();
    assert_eq!(text, b"");
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"late").unwrap();
    drop(input);
    stream.read_to_end(&mut text).unwrap();
    assert_eq!(text, b"late");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn ssh_itself_understands_the_lines_for_its_configuration() {
    let user = User::new();
    let (code, out, _) = user.knock(&["ssh-config", "server.example.com"]);
    assert_eq!(code, 0);
    assert!(out.contains("exec \"knock server.example.com\""), "{out}");
    let path = stand_in(&user, "knock", "exit 0");
    let commented = out.lines().filter_map(|line| line.strip_prefix('#'));
    let second = commented.filter(|line| !line.starts_with(' ') || line.starts_with("    "));
    let second = second.collect::<Vec<_>>().join("\n");
    for (text, contains) in [(&out, ""), (&second, "proxycommand knock connect server.")] {
        fs::write(user.path("ssh_config"), text).unwrap();
        let output = Command::new("ssh")
            .args(["-T", "-G", "-F"])
            .arg(user.path("ssh_config"))
            .arg("server.example.com")
            .env("PATH", &path)
            .output()
            .unwrap();
        let (code, out, err) = told(&output);
        assert_eq!((code, err.as_str()), (0, ""), "{text}");
        assert!(out.contains(contains), "{out}");
    }
    assert_eq!(user.knock(&["ssh-config", "a b"]).0, 2);
}
