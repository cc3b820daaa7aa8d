//! The cases; each has its own hosts.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use knockd::lab::{Host, Identity, isolate};
use libtest_mimic::{Arguments, Failed, Trial};
use tempfile::TempDir;

use crate::net::{Net, OURS, Outcome, THEIRS, Wire, line, run as run_on};

/// Where every sequence goes that names no other address.
const SERVER: &str = "10.77.0.2:0";

pub(crate) fn run() -> ExitCode {
    let directory = match prepare() {
        Ok(directory) => directory,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let code = run_cases();
    drop(directory);
    code
}

/// Namespaces for the whole process, before its first thread, and a hosts file of our own.
fn prepare() -> Outcome<TempDir> {
    isolate(Identity::RootIfNeeded)?;
    let directory = TempDir::new()?;
    replace_hosts(&directory)?;
    Ok(directory)
}

fn run_cases() -> ExitCode {
    let trial = |name: &str, test: fn() -> Outcome| {
        Trial::test(name, move || {
            test().map_err(|error| Failed::from(error.to_string()))
        })
    };
    let others = [crate::shapes::CASES, crate::waits::CASES].concat();
    let others = others.into_iter().map(|(name, test)| trial(name, test));
    let no_original = !Path::new(THEIRS).exists();
    let trials = vec![
        trial(
            "the_same_packets_in_the_same_order_as_the_original",
            as_the_original,
        )
        .with_ignored_flag(no_original),
        trial("one_packet_for_each_step_in_their_order", one_packet_each),
        trial(
            "an_open_port_sees_a_syn_and_a_reset_and_no_connection",
            open_port,
        ),
        trial(
            "a_dropping_port_sees_one_syn_that_is_never_sent_again",
            dropping_port,
        ),
        trial("a_refusal_is_no_failure", refusals),
        trial("a_datagram_is_one_zero_byte", datagram),
        trial("nothing_is_sent_if_any_argument_is_wrong", wrong_arguments),
        trial("a_name_is_resolved_once", resolved_once),
        trial("the_family_chooses_among_the_addresses_of_a_name", family),
        trial("service_names_are_those_of_their_protocol", services),
        trial("a_link_local_address_has_its_zone", zone),
        trial("source_is_the_address_that_is_sent_from", source),
        trial("interface_is_the_way_that_is_taken", interface),
        trial(
            "a_packet_that_the_firewall_refuses_is_named_and_the_rest_is_sent",
            refused_here,
        ),
        trial("an_address_without_a_route_is_a_failure", no_route),
        trial("delay_is_kept_after_every_step", delay),
        trial("the_order_holds_without_any_delay", order),
    ];
    if no_original {
        eprintln!("{THEIRS} is not there: the comparison with it is ignored");
    }
    let arguments = Arguments::from_args();
    let trials = trials.into_iter().chain(others).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn as_the_original() -> Outcome {
    for arguments in [
        "10.77.0.2 7000 8000 9000",
        "-v 10.77.0.2 7000:udp 8000:tcp 9000",
        "-u 10.77.0.2 7000 8000:tcp 9000:udp",
        "10.77.0.2 7000 7000 7000:udp 7000",
        "10.77.0.2 7000 -u 8000 -d 5",
        "-v --dela 5 --ipv4 10.77.0.2 ssh domain:udp",
        "-d 5 -d 0 10.77.0.2 1 65535",
    ] {
        let mut seen = Vec::new();
        for program in [THEIRS, OURS] {
            let net = Net::new()?;
            net.filter_input(&["tcp dport 8000 drop"])?;
            let output = net.run(program, arguments)?;
            seen.push((
                line(&net.sent(SERVER)?),
                output.status.code(),
                lines(&output),
            ));
        }
        assert_eq!(seen.first(), seen.last(), "{arguments}");
    }
    Ok(())
}

/// The `-v` lines, but for service names, which we show as numbers.
fn lines(output: &Output) -> String {
    stdout(output)
        .replace(":ssh", ":22")
        .replace(":domain", ":53")
}

fn one_packet_each() -> Outcome {
    let net = Net::new()?;
    let output = net.run(OURS, "-v 10.77.0.2 7000 8000:udp 9000:TCP 7000:Udp 7000")?;
    assert_eq!(output.status.code(), Some(0));
    let packets = net.sent(SERVER)?;
    let expected = "7000 tcp S, 8000 udp 1, 9000 tcp S, 7000 udp 1, 7000 tcp S";
    assert_eq!(line(&packets), expected);
    assert_eq!(
        stdout(&output),
        "hitting tcp 10.77.0.2:7000\nhitting udp 10.77.0.2:8000\nhitting tcp 10.77.0.2:9000\n\
         hitting udp 10.77.0.2:7000\nhitting tcp 10.77.0.2:7000\n"
    );
    Ok(())
}

fn open_port() -> Outcome {
    let net = Net::new()?;
    for (address, to) in [("10.77.0.2", SERVER), ("fd77::2", "[fd77::2]:0")] {
        let bound = (address, 8000);
        let listener = net.server.run(|| TcpListener::bind(bound))??;
        // The order is that of the wire: the reset comes before the next step.
        assert!(
            net.run(OURS, &format!("{address} 7000 8000 9000"))?
                .status
                .success()
        );
        let packets = net.sent(to)?;
        assert_eq!(
            line(&packets),
            "7000 tcp S, 8000 tcp S, 8000 tcp R., 9000 tcp S"
        );
        listener.set_nonblocking(true)?;
        assert!(listener.accept().is_err(), "a connection was made");
    }
    Ok(())
}

fn dropping_port() -> Outcome {
    let net = Net::new()?;
    net.filter_input(&["tcp dport { 7000, 8000 } drop"])?;
    assert!(net.run(OURS, "10.77.0.2 7000 8000")?.status.success());
    assert_eq!(line(&net.sent(SERVER)?), "7000 tcp S, 8000 tcp S");
    // A SYN is sent again after a second (RFC 6298, 2.1).
    let later = net.sent_within(Duration::from_millis(2500))?;
    assert_eq!(line(&later), "");
    Ok(())
}

fn refusals() -> Outcome {
    let net = Net::new()?;
    net.filter_input(&[
        "udp dport 8000 reject",
        "tcp dport 8000 reject with tcp reset",
        "tcp dport 8001 reject",
        "meta l4proto { tcp, udp } th dport 8002 reject with icmpx type admin-prohibited",
    ])?;
    for (address, to) in [("10.77.0.2", SERVER), ("fd77::2", "[fd77::2]:0")] {
        let steps = "8000:udp 8000:udp 8000:udp 8000 8000 8001 8001 8002 8002:udp 8002";
        let output = net.run(OURS, &format!("{address} {steps}"))?;
        assert_eq!(
            (output.status.code(), stderr(&output)),
            (Some(0), String::new())
        );
        assert_eq!(net.sent(to)?.len(), 10);
    }
    Ok(())
}

fn datagram() -> Outcome {
    let net = Net::new()?;
    assert!(net.run(OURS, "10.77.0.2 7000:udp")?.status.success());
    let packets = net.sent(SERVER)?;
    assert_eq!(packets.len(), 1);
    assert_eq!(
        packets.first().map(|packet| packet.payload.as_slice()),
        Some(&[0][..])
    );
    Ok(())
}

fn wrong_arguments() -> Outcome {
    let net = Net::new()?;
    for (arguments, named) in [
        ("10.77.0.2 7000 70000", "'70000'"),
        ("10.77.0.2 7000 8000:bogus", "'8000:bogus'"),
        ("10.77.0.2 7000 no-such-service", "'no-such-service'"),
        ("10.77.0.2 7000 0", "'0'"),
        ("10.77.0.2 7000 8000:", "'8000:'"),
        ("-d -1 10.77.0.2 7000", "delay cannot be negative"),
        ("-d soon 10.77.0.2 7000", "'soon'"),
        ("-6 10.77.0.2 7000", "it has no IPv6 address"),
        ("--source 10.77.0.2 10.77.0.2 7000", "'10.77.0.2'"),
        ("--source fd77::1 10.77.0.2 7000", "it has no IPv6 address"),
        ("--source server 10.77.0.2 7000", "'server'"),
        ("-i nosuch0 10.77.0.2 7000", "'nosuch0'"),
        ("--no-such-option 10.77.0.2 7000", "--no-such-option"),
        ("-v", "<HOST>"),
    ] {
        let output = net.run(OURS, arguments)?;
        assert_eq!(output.status.code(), Some(1), "{arguments}");
        assert!(
            stderr(&output).contains(named),
            "{arguments}: {}",
            stderr(&output)
        );
        assert_eq!(stdout(&output), "", "{arguments}");
    }
    // Without a port it is a single packet that is asked for, and here there is no profile.
    for (arguments, code) in [
        ("10.77.0.2", 1),
        ("-v 10.77.0.2", 1),
        ("--ask 10.77.0.2", 2),
    ] {
        let output = net.run(OURS, arguments)?;
        assert_eq!(output.status.code(), Some(code), "{arguments}");
        assert!(
            stderr(&output).contains("knock enroll"),
            "{}",
            stderr(&output)
        );
    }
    assert_eq!(line(&net.sent(SERVER)?), "");
    Ok(())
}

/// A file that stands in for `/etc/hosts` in our mount namespace.
static HOSTS: OnceLock<PathBuf> = OnceLock::new();

fn hosts() -> Outcome<&'static Path> {
    Ok(HOSTS.get().ok_or("no hosts file")?)
}

fn replace_hosts(directory: &TempDir) -> Outcome {
    let file = directory.path().join("hosts");
    fs::write(
        &file,
        "10.77.0.2 moving.test\n10.77.0.2 both.test\nfd77::2 both.test\n",
    )?;
    let status = Command::new("mount")
        .arg("--bind")
        .args([&file, Path::new("/etc/hosts")])
        .status()?;
    if !status.success() {
        return Err(format!("mount: {status}").into());
    }
    HOSTS.set(file).map_err(|_| "called twice".into())
}

fn resolved_once() -> Outcome {
    let file = hosts()?;
    let net = Net::new()?;
    let mut command = Command::new(OURS);
    command.args(["-d", "1000", "moving.test", "7000", "8000"]);
    let mut process = net.client.spawn(&mut command)?;
    let first = net.next()?;
    let moved = fs::read_to_string(file)?.replace("10.77.0.2 moving", "10.77.0.3 moving");
    fs::write(file, moved)?;
    let second = net.next()?;
    assert_eq!(
        (first.to.to_string(), second.to.to_string()),
        ("10.77.0.2:7000".to_owned(), "10.77.0.2:8000".to_owned(),)
    );
    assert!(process.wait()?.success());
    assert!(net.run(OURS, "moving.test 9000")?.status.success());
    assert_eq!(net.next()?.to.to_string(), "10.77.0.3:9000");
    Ok(())
}

fn family() -> Outcome {
    hosts()?;
    let net = Net::new()?;
    for (option, to) in [
        ("-4", "10.77.0.2:7000"),
        ("-6", "[fd77::2]:7000"),
        ("-6 -4", "10.77.0.2:7000"),
        ("-4 -6", "[fd77::2]:7000"),
        ("--source 10.77.0.5", "10.77.0.2:7000"),
        ("--source [fd77::1]", "[fd77::2]:7000"),
    ] {
        let output = net.run(OURS, &format!("-v {option} both.test 7000"))?;
        assert_eq!(stdout(&output), format!("hitting tcp {to}\n"));
        assert_eq!(net.next()?.to.to_string(), to);
    }
    Ok(())
}

fn services() -> Outcome {
    let net = Net::new()?;
    assert!(
        net.run(OURS, "10.77.0.2 ssh domain:udp tftp:UDP")?
            .status
            .success()
    );
    assert_eq!(line(&net.sent(SERVER)?), "22 tcp S, 53 udp 1, 69 udp 1");
    Ok(())
}

fn zone() -> Outcome {
    let net = Net::new()?;
    let index = net.client.index("eth0")?;
    for address in ["fe80::77:2%eth0", "[fe80::77:2%eth0]"] {
        let output = net.run(OURS, &format!("{address} 7000 8000:udp"))?;
        assert_eq!(
            (output.status.code(), stderr(&output)),
            (Some(0), String::new())
        );
        let packets = net.sent(&format!("[fe80::77:2%{index}]:0"))?;
        assert_eq!(line(&packets), "7000 tcp S, 8000 udp 1");
    }
    // With an interface the zone goes without saying.
    assert!(net.run(OURS, "-i eth0 fe80::77:2 9000")?.status.success());
    assert_eq!(net.next()?.to.to_string(), "[fe80::77:2]:9000");
    Ok(())
}

fn source() -> Outcome {
    let net = Net::new()?;
    for source in ["10.77.0.5", "10.77.0.1"] {
        let arguments = format!("--source {source} 10.77.0.2 7000 8000:udp");
        assert!(net.run(OURS, &arguments)?.status.success());
        for packet in net.sent(SERVER)? {
            assert_eq!(packet.from.to_string(), source);
        }
    }
    Ok(())
}

/// A second host has the server's address, on the client's other interface.
fn interface() -> Outcome {
    let net = Net::new()?;
    let other = Host::new("other server")?;
    net.client.connect("eth1", &other, "other0")?;
    other.add_address("other0", "10.77.0.2/24")?;
    let wire = Wire::new(&other)?;

    assert!(
        net.run(OURS, "-i eth1 10.77.0.2 7000 8000:udp")?
            .status
            .success()
    );
    assert!(net.run(OURS, "-i eth0 10.77.0.2 9000")?.status.success());
    assert_eq!(line(&net.sent(SERVER)?), "9000 tcp S");
    assert!(net.run(OURS, "-i eth1 10.77.0.2 9:udp")?.status.success());
    let there = wire.until(|packet| packet.to.port() == 9)?;
    assert_eq!(line(&there), "7000 tcp S, 8000 udp 1");
    Ok(())
}

fn refused_here() -> Outcome {
    let net = Net::new()?;
    net.filter_output(&["udp dport 8000 drop"])?;
    let output = net.run(OURS, "10.77.0.2 7000 8000:udp 9000")?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "knock: could not send knock 2, udp 10.77.0.2:8000: Operation not permitted\n"
    );
    assert_eq!(line(&net.sent(SERVER)?), "7000 tcp S, 9000 tcp S");
    Ok(())
}

fn no_route() -> Outcome {
    let host = Host::new("alone")?;
    let output = run_on(&host, OURS, &["192.0.2.1", "7000", "8000:udp"])?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "knock: could not send knock 1, tcp 192.0.2.1:7000: Network is unreachable\n\
         knock: could not send knock 2, udp 192.0.2.1:8000: Network is unreachable\n"
    );
    Ok(())
}

fn delay() -> Outcome {
    let net = Net::new()?;
    let start = Instant::now();
    assert!(
        net.run(OURS, "-d 120 10.77.0.2 7000 8000 9000")?
            .status
            .success()
    );
    // Three, not two: also after the last.
    assert!(
        start.elapsed() >= Duration::from_millis(360),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(
        line(&net.sent(SERVER)?),
        "7000 tcp S, 8000 tcp S, 9000 tcp S"
    );
    Ok(())
}

fn order() -> Outcome {
    let net = Net::new()?;
    let ports = "7000 7003:udp 7001 7002 7009:udp 7005 7004 7008:udp 7007 7006";
    let expected = "7000 tcp S, 7003 udp 1, 7001 tcp S, 7002 tcp S, 7009 udp 1, 7005 tcp S, \
                    7004 tcp S, 7008 udp 1, 7007 tcp S, 7006 tcp S";
    for _ in 0..100 {
        assert!(
            net.run(OURS, &format!("-d 0 10.77.0.2 {ports}"))?
                .status
                .success()
        );
        assert_eq!(line(&net.sent(SERVER)?), expected);
    }
    Ok(())
}
