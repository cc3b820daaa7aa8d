//! The lab keeps its promises: hosts reach each other and nothing else, and nothing stays behind.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio, exit};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use knockd::lab::{Host, Identity, LabError, isolate, protect_file_system};
use libtest_mimic::{Arguments, Failed, Trial};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let identity = match env::args().nth(1).as_deref() {
        Some("probe-user" | "probe-protected" | "probe-refused") => Identity::UserNamespace,
        _ => Identity::RootIfNeeded,
    };
    if let Err(error) = isolate(identity) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    match env::args().nth(1).as_deref() {
        Some("probe-user") => report(probe_user()),
        Some("probe-protected") => report(probe_protected()),
        Some("probe-refused") => report(probe_refused()),
        Some("probe-exit") => exit(7),
        Some("probe-sleep") => report(probe_sleep()),
        _ => run_tests(),
    }
}

fn report(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run_tests() -> ExitCode {
    let trial = |name: &str, test: fn() -> Result<(), Box<dyn Error>>| {
        Trial::test(name, move || {
            test().map_err(|error| Failed::from(error.to_string()))
        })
    };
    let trials = vec![
        trial("hosts_reach_each_other_over_both_families", both_families),
        trial("a_vlan_reaches_only_the_same_vlan", vlan).with_ignored_flag(!kernel_has_vlans()),
        trial("a_bridge_joins_its_ports", bridge),
        trial("a_default_route_leads_through_a_router", router),
        trial("what_is_taken_away_is_gone", taken_away),
        trial("a_program_sees_only_its_host", program_sees_its_host),
        trial("a_dropped_program_is_killed", dropped_program),
        trial("mistakes_are_named", mistakes),
        trial("the_exit_status_is_the_inner_one", exit_status),
        trial("killing_the_outer_process_ends_everything", killed),
        trial("it_works_without_root", without_root),
        trial("a_protected_file_system_takes_no_harm", protected),
        trial("a_refusal_says_what_to_do", refused),
        trial("orphans_in_a_session_of_their_own_are_collected", orphans),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Client `eth0` 10.77.0.1 fd77::1, server `server0` 10.77.0.2 fd77::2.
fn pair() -> Result<(Host, Host), LabError> {
    let (client, server) = (Host::new("client")?, Host::new("server")?);
    client.connect("eth0", &server, "server0")?;
    for address in ["10.77.0.1/24", "fd77::1/64"] {
        client.add_address("eth0", address)?;
    }
    for address in ["10.77.0.2/24", "fd77::2/64"] {
        server.add_address("server0", address)?;
    }
    Ok((client, server))
}

/// Whether a TCP connection from one host to a listener on another comes about.
fn reaches(from: &Host, to: &Host, address: &str) -> Result<bool, Box<dyn Error>> {
    let any: SocketAddr = if address.contains(':') {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    }
    .parse()?;
    let listener = to.run(|| TcpListener::bind(any))??;
    let there = SocketAddr::new(address.parse::<IpAddr>()?, listener.local_addr()?.port());
    // A cable that was just laid may lose the first packets; TCP sends them again after a second.
    let patience = Duration::from_secs(8);
    Ok(from
        .run(|| TcpStream::connect_timeout(&there, patience))?
        .is_ok())
}

fn both_families() -> Result<(), Box<dyn Error>> {
    let (client, server) = pair()?;
    assert!(reaches(&client, &server, "10.77.0.2")?);
    assert!(reaches(&client, &server, "fd77::2")?);
    assert!(reaches(&server, &client, "10.77.0.1")?);
    assert_ne!(client.mac("eth0")?, server.mac("server0")?);
    Ok(())
}

/// Some kernels are built without `CONFIG_VLAN_8021Q`.
fn kernel_has_vlans() -> bool {
    let added = pair().and_then(|(client, _server)| client.add_vlan("eth0.5", "eth0", 5));
    !matches!(added, Err(LabError::Network { error, .. })
        if error.raw_os_error() == Some(libc::EOPNOTSUPP))
}

fn vlan() -> Result<(), Box<dyn Error>> {
    let (client, server) = pair()?;
    client.add_vlan("eth0.5", "eth0", 5)?;
    client.add_address("eth0.5", "10.78.0.1/24")?;
    server.add_vlan("v5", "server0", 5)?;
    server.add_address("v5", "10.78.0.2/24")?;
    assert!(reaches(&client, &server, "10.78.0.2")?);
    server.delete("v5")?;
    server.add_vlan("v6", "server0", 6)?;
    server.add_address("v6", "10.78.0.2/24")?;
    assert!(!reaches(&client, &server, "10.78.0.2")?);
    Ok(())
}

fn bridge() -> Result<(), Box<dyn Error>> {
    let (a, b, switch) = (Host::new("a")?, Host::new("b")?, Host::new("switch")?);
    a.connect("eth0", &switch, "port1")?;
    b.connect("eth0", &switch, "port2")?;
    a.add_address("eth0", "10.77.0.1/24")?;
    b.add_address("eth0", "10.77.0.2/24")?;
    assert!(!reaches(&a, &b, "10.77.0.2")?);
    switch.add_bridge("br0", &["port1", "port2"])?;
    assert!(reaches(&a, &b, "10.77.0.2")?);
    Ok(())
}

fn router() -> Result<(), Box<dyn Error>> {
    let (a, b, router) = (Host::new("a")?, Host::new("b")?, Host::new("router")?);
    for (host, net) in [(&a, 1), (&b, 2)] {
        let port = format!("port{net}");
        host.connect("eth0", &router, &port)?;
        host.add_address("eth0", &format!("10.77.{net}.1/24"))?;
        router.add_address(&port, &format!("10.77.{net}.254/24"))?;
        host.add_default_route(IpAddr::from([10, 77, net, 254]))?;
    }
    router.set_kernel("net/ipv4/ip_forward", "1")?;
    assert!(reaches(&a, &b, "10.77.2.1")?);
    Ok(())
}

fn taken_away() -> Result<(), Box<dyn Error>> {
    let (client, server) = pair()?;
    server.remove_address("server0", "10.77.0.2/24")?;
    assert!(!reaches(&client, &server, "10.77.0.2")?);
    server.set_up("server0", false)?;
    assert!(!reaches(&client, &server, "fd77::2")?);
    server.rename("server0", "other0")?;
    assert!(server.index("server0").is_err() && server.index("other0").is_ok());
    client.delete("eth0")?;
    assert!(server.index("other0").is_err(), "the other end is gone too");
    Ok(())
}

fn program_sees_its_host() -> Result<(), Box<dyn Error>> {
    let (_client, server) = pair()?;
    let mut command = Command::new("cat");
    command.arg("/proc/self/net/dev").stdout(Stdio::piped());
    let mut program = server.spawn(&mut command)?;
    let mut text = String::new();
    program
        .stdout
        .take()
        .ok_or("no pipe")?
        .read_to_string(&mut text)?;
    let names: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let mut names: Vec<_> = names.iter().map(|(name, _)| name.trim()).collect();
    names.sort_unstable();
    assert_eq!(names, ["lo", "server0"]);
    assert!(
        program
            .wait_at_most(PATIENCE)?
            .is_some_and(|status| status.success())
    );
    Ok(())
}

fn dropped_program() -> Result<(), Box<dyn Error>> {
    let host = Host::new("host")?;
    let mut program = host.spawn(Command::new("sleep").arg("1000").stdout(Stdio::piped()))?;
    let pipe = program.stdout.take().ok_or("no pipe")?;
    assert!(program.wait_at_most(Duration::ZERO)?.is_none());
    drop(program);
    assert_eq!(ends(pipe)?, "");
    Ok(())
}

fn mistakes() -> Result<(), Box<dyn Error>> {
    let (client, server) = pair()?;
    let text = |result: Result<(), LabError>| result.map_err(|error| error.to_string());
    assert_eq!(
        text(client.add_address("eth0", "10.77.0.9")),
        Err("`10.77.0.9` is not an address with a prefix length such as 10.77.0.2/24".to_owned())
    );
    assert_eq!(
        text(client.set_up("nosuch0", true)),
        Err("client: cannot set nosuch0 up: No such device (os error 19)".to_owned())
    );
    assert_eq!(
        text(client.connect("eth0", &server, "server1")),
        Err(
            "client: cannot connect eth0 to server1 of server: File exists (os error 17)"
                .to_owned()
        )
    );
    assert!(matches!(
        client.spawn(&mut Command::new("/nonexistent")),
        Err(LabError::Spawn { program, .. }) if program == "/nonexistent"
    ));
    Ok(())
}

fn exit_status() -> Result<(), Box<dyn Error>> {
    let status = Command::new(env::current_exe()?)
        .arg("probe-exit")
        .env_remove("POSTERN_LAB_STAGE")
        .status()?;
    assert_eq!(status.code(), Some(7));
    Ok(())
}

/// Isolated once more, leaves a program running that nobody waits for, says so, and waits.
fn probe_sleep() -> Result<(), Box<dyn Error>> {
    let host = Host::new("host")?;
    let script = "setsid sleep 1000 & echo running; wait";
    host.spawn(Command::new("sh").args(["-c", script]))?
        .wait()?;
    Ok(())
}

fn killed() -> Result<(), Box<dyn Error>> {
    let mut outer = Command::new(env::current_exe()?)
        .arg("probe-sleep")
        .env_remove("POSTERN_LAB_STAGE")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut pipe = BufReader::new(outer.stdout.take().ok_or("no pipe")?);
    let mut line = String::new();
    pipe.read_line(&mut line)?;
    assert_eq!(line, "running\n");
    outer.kill()?;
    outer.wait()?;
    // Every one of its processes has the pipe's end; it closes when the last one is dead.
    assert_eq!(ends(pipe)?, "");
    Ok(())
}

/// What comes from a pipe until its last writer is gone, which must be within our patience.
fn ends(mut pipe: impl Read + Send + 'static) -> Result<String, Box<dyn Error>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let result = pipe.read_to_string(&mut text).map(|_| text);
        sender.send(result).ok();
    });
    Ok(receiver.recv_timeout(PATIENCE)??)
}

/// In a user namespace, without any power outside: what `knockctl try` needs must work.
fn probe_user() -> Result<(), Box<dyn Error>> {
    both_families()?;
    Ok(fs::write("/run/lock/probe", "x")?)
}

/// Writes everywhere, as a command of the user's might.
fn probe_protected() -> Result<(), Box<dyn Error>> {
    protect_file_system()?;
    let file = env::args().nth(2).ok_or("which file?")?;
    assert_eq!(fs::read_to_string(&file)?, "before");
    fs::write(&file, "after")?;
    assert_eq!(fs::read_to_string(&file)?, "after");
    for path in [
        "/usr/bin/new",
        "/proc/sys/kernel/panic",
        "/sys/kernel/profiling",
    ] {
        assert!(fs::write(path, "1").is_err(), "{path} could be written");
    }
    assert!(!fs::exists("/dev/mem")? && fs::write("/dev/null", "x").is_ok());
    both_families()
}

fn protected() -> Result<(), Box<dyn Error>> {
    let file = tempfile::NamedTempFile::new_in("/var/tmp")?;
    fs::write(&file, "before")?;
    let output = Command::new(env::current_exe()?)
        .arg("probe-protected")
        .arg(file.path())
        .env_remove("POSTERN_LAB_STAGE")
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(fs::read_to_string(&file)?, "before");
    Ok(())
}

/// Forbids user namespaces, within this one, and asks for another.
fn probe_refused() -> Result<(), Box<dyn Error>> {
    fs::write("/proc/sys/user/max_user_namespaces", "0")?;
    let mut command = Command::new(env::current_exe()?);
    let output = command
        .arg("probe-user")
        .env_remove("POSTERN_LAB_STAGE")
        .output()?;
    assert_eq!(output.status.code(), Some(1));
    let text = "cannot make a user namespace (No space left on device (os error 28)): run it as \
                root, or allow user namespaces: sysctl user.max_user_namespaces=10000\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), text);
    Ok(())
}

fn refused() -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(env::current_exe()?);
    let output = command
        .arg("probe-refused")
        .env_remove("POSTERN_LAB_STAGE")
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    Ok(())
}

/// Init must take the exit status of daemons, or they stay zombies and seem to run for ever.
fn orphans() -> Result<(), Box<dyn Error>> {
    let script = "setsid sh -c 'echo $$' &";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).stdout(Stdio::piped());
    let output = shell.spawn()?.wait_with_output()?;
    let pid = String::from_utf8(output.stdout)?;
    let process = format!("/proc/{}", pid.trim());
    let deadline = Instant::now() + PATIENCE;
    while fs::exists(&process)? {
        assert!(Instant::now() < deadline, "{process} is still there");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn without_root() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let program = directory.path().join("lab");
    fs::copy(env::current_exe()?, &program)?;
    let mut command = Command::new(&program);
    command
        .arg("probe-user")
        .env_remove("POSTERN_LAB_STAGE")
        .current_dir("/");
    if nix::unistd::Uid::effective().is_root() && nix::unistd::setgroups(&[]).is_ok() {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        command.uid(65534).gid(65534);
    }
    let output = command.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    Ok(())
}
