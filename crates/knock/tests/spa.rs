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
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64ct::{Base64, Encoding};
use getrandom::SysRng;
use knock_spa::rand_core::UnwrapErr;
use knock_spa::reply::What;
use knock_spa::{
    Circumstances, CookieKey, Decision, DoorRule, Epoch, EpochNumber, KeyRing, Outcome, Purpose,
    Reply, Request, Revoked, ServerKey, Servers, Site, SiteKey, UnixMillis, Unsealed, Window,
    verify,
};
use tempfile::TempDir;

#[path = "spa/doctor.rs"]
mod doctor;
#[path = "spa/ssh.rs"]
mod ssh;

const KNOCK: &str = env!("CARGO_BIN_EXE_knock");

/// How a server differs from one that answers each good request.
#[derive(Clone, Default)]
struct Ways {
    /// So many datagrams are lost first.
    lose: usize,
    /// What strangers send comes before each answer.
    junk: bool,
    /// Its clock is so many milliseconds ahead.
    ahead: i64,
    /// `confirm = yes`
    confirm: bool,
    /// The TCP port that is open after a knock, and then only.
    gate: Option<u16>,
    /// Whatever comes is sent back.
    echo: bool,
}

struct Server {
    port: u16,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    asked: Arc<Mutex<Vec<Request>>>,
    alive: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

fn epoch() -> Epoch {
    Epoch {
        number: EpochNumber(1),
        server: ServerKey::from_bytes([7; 32]),
        site: SiteKey::from_bytes([8; 32]),
    }
}

fn profile(port: u16, addresses: &[IpAddr]) -> String {
    let Epoch { server, site, .. } = epoch();
    let addresses: Vec<_> = addresses.iter().map(|ip| format!("\"{ip}\"")).collect();
    format!(
        r#"{{"version":1,"addresses":[{}],"port":{port},"epoch":1,"server":"{}","site":"{}","doors":["ssh","web"]}}"#,
        addresses.join(","),
        Base64::encode_string(&server.public().0),
        Base64::encode_string(site.expose()),
    )
}

impl Server {
    /// At both loopback addresses, for the keys of these lines.
    fn start(authorized: &str, ways: &Ways) -> Self {
        let (v4, v6) = loop {
            let v4 = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = v4.local_addr().unwrap().port();
            if let Ok(v6) = UdpSocket::bind((Ipv6Addr::LOCALHOST, port)) {
                break (v4, v6);
            }
        };
        let read = knock_spa::keys::read(authorized.as_bytes(), 0, &|_| None);
        assert!(read.mistakes.is_empty(), "{:?}", read.mistakes);
        let mut server = Self {
            port: v4.local_addr().unwrap().port(),
            heard: Arc::default(),
            asked: Arc::default(),
            alive: Arc::new(AtomicBool::new(true)),
            threads: Vec::new(),
        };
        let ring = Arc::new(KeyRing::new(read.keys, Revoked::default()));
        let window = Window::new(Duration::from_secs(60), UnixMillis(0));
        let window = Arc::new(Mutex::new(window));
        for socket in [v4, v6] {
            socket
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
            let (ring, window, ways) = (ring.clone(), window.clone(), ways.clone());
            let (heard, asked) = (server.heard.clone(), server.asked.clone());
            let alive = server.alive.clone();
            let serve = move || serve(&socket, &ring, &window, ways, &heard, &asked, &alive);
            server.threads.push(thread::spawn(serve));
        }
        server
    }

    fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().clone()
    }

    fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.alive.store(false, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

fn serve(
    socket: &UdpSocket,
    ring: &KeyRing,
    window: &Mutex<Window>,
    mut ways: Ways,
    heard: &Mutex<Vec<Vec<u8>>>,
    asked: &Mutex<Vec<Request>>,
    alive: &AtomicBool,
) {
    let rng = &mut UnwrapErr(SysRng);
    let (site, cookies) = (Site::new(&epoch(), None), CookieKey::generate(rng));
    let servers = Servers {
        current: (EpochNumber(1), epoch().server.public()),
        previous: None,
    };
    let mut buffer = [0; 2048];
    let mut service = None;
    while alive.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let datagram = &buffer[..length];
        if ways.echo {
            socket.send_to(datagram, from).unwrap();
        }
        heard.lock().unwrap().push(datagram.to_vec());
        if ways.lose > 0 {
            ways.lose -= 1;
            continue;
        }
        let Some(admitted) = site.admit(datagram) else {
            continue;
        };
        let unsealed = Site::unseal(&admitted).unwrap();
        let time = UnixMillis(now().saturating_add_signed(ways.ahead));
        let here = Circumstances {
            source: from.ip(),
            now: time,
            door: Some(DoorRule {
                confirm: ways.confirm,
            }),
            cookies: &cookies,
        };
        let mut window = window.lock().unwrap();
        let until = |request: &Request| {
            let seconds = request.open_for.map_or(30, u32::from);
            Some(UnixMillis(time.0 + u64::from(seconds) * 1000))
        };
        let outcome = match &unsealed {
            Unsealed::Request(request) => match verify(request, &servers, ring) {
                Err(_) => continue,
                Ok(knock) => {
                    let request = knock.request().clone();
                    let decision = knock.judge(&here, &mut window);
                    let what = What::new(&format!("tcp/{}", ways.gate.unwrap_or(22)));
                    let until = until(&request);
                    let outcome = match (decision, request.purpose) {
                        (Decision::Refused(why), _) => Outcome::Refused(why),
                        (Decision::Confirm(cookie), _) => Outcome::Confirm(cookie),
                        (_, Purpose::Open) => Outcome::Opened { until, what },
                        (_, Purpose::Close) => Outcome::Closed,
                        (_, Purpose::Ask) => Outcome::WouldOpen { until, what },
                    };
                    match (request.purpose, ways.gate) {
                        (Purpose::Open, Some(port)) => {
                            let at = (socket.local_addr().unwrap().ip(), port);
                            service = service.or_else(|| TcpListener::bind(at).ok());
                        }
                        (Purpose::Close, _) => service = None,
                        _ => {}
                    }
                    asked.lock().unwrap().push(request);
                    outcome
                }
            },
            Unsealed::Confirmation(confirmation) => {
                let confirmed = confirmation.verify(&cookies).unwrap();
                match confirmed.judge(&here, &mut window) {
                    Err(why) => Outcome::Refused(why),
                    Ok(_) => Outcome::Opened {
                        until: until(confirmed.request()),
                        what: What::new("tcp/22"),
                    },
                }
            }
        };
        let reply = Reply {
            time,
            seen: from.ip(),
            outcome,
        };
        let reply = reply.seal(unsealed.channel(), rng);
        if ways.junk {
            let mut flipped = reply;
            flipped[80] ^= 1;
            for junk in [&b""[..], &[0; 160], &flipped, &reply[1..], datagram] {
                socket.send_to(junk, from).unwrap();
            }
        }
        socket.send_to(&reply, from).unwrap();
    }
}

/// A user's home, with keys that ssh-keygen has made.
struct User {
    home: TempDir,
    agent: Option<(String, u32)>,
}

impl User {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".ssh")).unwrap();
        Self { home, agent: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Makes `.ssh/NAME`; gives its public line.
    fn key(&self, name: &str, kind: &str) -> String {
        let path = self.path(".ssh").join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", "", "-C", name, "-f"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        fs::read_to_string(self.path(&format!(".ssh/{name}.pub"))).unwrap()
    }

    fn agent(&mut self) {
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
    fn add_to_agent(&self, name: &str) {
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

    fn profile_path(&self, host: &str) -> PathBuf {
        self.path(&format!("config/knock/profiles/{host}.json"))
    }

    fn store(&self, host: &str, text: &str) {
        let path = self.profile_path(host);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
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

    fn knock(&self, args: &[&str]) -> (i32, String, String) {
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

fn told(output: &Output) -> (i32, String, String) {
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout.clone()).unwrap(),
        String::from_utf8(output.stderr.clone()).unwrap(),
    )
}

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
    assert!(
        out.contains("exec \"knock --quiet server.example.com\""),
        "{out}"
    );
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
