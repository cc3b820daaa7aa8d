//! Packets that are not like the original's, as they arrive, and as our daemon counts them.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cases::{stderr, stdout};
use crate::daemon::Site;
use crate::net::{Case, Net, OURS, Outcome, Packet, line, run};

pub(crate) const CASES: &[Case] = &[
    ("flags_are_what_arrives_and_what_a_door_counts", flags),
    ("a_syn_and_no_more_needs_no_privilege", plain_syn),
    ("an_open_port_that_answers_a_raw_syn_is_reset", raw_syn),
    ("an_echo_request_has_its_size", echo),
    (
        "an_echo_request_needs_no_privilege_where_ping_does_not",
        ping,
    ),
    (
        "what_we_may_not_send_is_said_before_anything_is_sent",
        refused,
    ),
    ("a_payload_is_what_a_datagram_carries", payload),
    ("every_packet_is_from_the_source_port", source_port),
    (
        "a_spacing_lies_between_two_knocks_and_not_after_the_last",
        spacing,
    ),
    ("a_raw_packet_goes_by_interface_and_source_too", raw_route),
];

/// The server's addresses.
const BOTH: [(&str, &str); 2] = [("10.77.0.2", "10.77.0.2:0"), ("fd77::2", "[fd77::2]:0")];

/// Runs the client without the capability for raw packets.
fn without_privilege(net: &Net, arguments: &str) -> Outcome<std::process::Output> {
    let words = ["--bounding-set=-net_raw", OURS];
    let words = words.into_iter().chain(arguments.split(' '));
    run(&net.client, "setpriv", &words.collect::<Vec<_>>())
}

fn flags() -> Outcome {
    const DOORS: &str = "
[FIN]
sequence = 7000,8000
tcpflags = fin,!syn,!ack
start_command = /bin/true
[XMAS]
sequence = 7100,8100
tcpflags = fin,psh,urg,!ack
start_command = /bin/true
[NULL]
sequence = 7200,8200
tcpflags = !fin,!syn,!rst,!psh,!ack,!urg
start_command = /bin/true
[ACK]
sequence = 7300,8300
tcpflags = ack,!syn
start_command = /bin/true
[RST]
sequence = 7400,8400
tcpflags = rst
start_command = /bin/true
";
    let site = Site::new(DOORS)?;
    for (address, to) in BOTH {
        for (door, port, flags, letters) in [
            ("FIN", 7000, "fin", "F"),
            ("XMAS", 7100, "fin,psh,urg", "FPU"),
            ("NULL", 7200, "!syn", ""),
            ("ACK", 7300, "ack,!syn", "."),
            ("RST", 7400, "rst", "R"),
        ] {
            let second = port + 1000;
            let arguments = format!("--flags {flags} {address} {port} {second}");
            let output = site.run(&arguments)?;
            assert_eq!(
                (output.status.code(), stderr(&output)),
                (Some(0), String::new())
            );
            let packets = site.net.sent(to)?;
            assert_eq!(
                line(&packets),
                format!("{port} tcp {letters}, {second} tcp {letters}")
            );
            let is_right = |packet: &Packet| packet.is_sound && packet.from_port >= 1024;
            assert!(packets.iter().all(is_right), "{packets:?}");
            let client = if address.contains(':') {
                "fd77::1"
            } else {
                "10.77.0.1"
            };
            site.await_log(&format!("{client}: {door}: OPEN SESAME"))?;
        }
    }
    Ok(())
}

fn plain_syn() -> Outcome {
    let net = Net::new()?;
    let output = without_privilege(&net, "--flags syn,!ack 10.77.0.2 7000")?;
    assert_eq!(
        (output.status.code(), stderr(&output)),
        (Some(0), String::new())
    );
    assert_eq!(line(&net.sent("10.77.0.2:0")?), "7000 tcp S");
    Ok(())
}

/// The kernel knows nothing of the segment, and resets what answers it.
fn raw_syn() -> Outcome {
    let net = Net::new()?;
    for (address, to) in BOTH {
        let listener = net.server.run(|| TcpListener::bind((address, 8000)))??;
        let output = net.run(
            OURS,
            &format!("-d 20 --flags syn,psh {address} 7000 8000 9000"),
        )?;
        assert!(output.status.success(), "{}", stderr(&output));
        let packets = net.sent(to)?;
        assert_eq!(
            line(&packets),
            "7000 tcp SP, 8000 tcp SP, 8000 tcp R, 9000 tcp SP"
        );
        listener.set_nonblocking(true)?;
        assert!(listener.accept().is_err(), "a connection was made");
    }
    Ok(())
}

fn echo() -> Outcome {
    let net = Net::new()?;
    for (address, to) in BOTH {
        let output = net.run(OURS, &format!("-v {address} icmp:64 7000 ICMP:0 icmp:1200"))?;
        assert_eq!(
            (output.status.code(), stderr(&output)),
            (Some(0), String::new())
        );
        assert!(stdout(&output).starts_with(&format!("hitting icmp {address}, 64 bytes\n")));
        let packets = net.sent(to)?;
        assert_eq!(
            line(&packets),
            "0 icmp 64, 7000 tcp S, 0 icmp 0, 0 icmp 1200"
        );
        let echoes = packets
            .iter()
            .filter(|packet| packet.kind.starts_with("icmp"));
        assert!(echoes.clone().all(|packet| packet.is_sound), "{packets:?}");
        assert_eq!(
            packets.first().map(|packet| packet.payload.get(..3)),
            Some(Some(&[0, 1, 2][..]))
        );
    }
    Ok(())
}

fn ping() -> Outcome {
    let net = Net::new()?;
    net.client
        .run(|| fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0"))??;
    for (address, to) in BOTH {
        let output = without_privilege(&net, &format!("{address} icmp:100"))?;
        assert_eq!(
            (output.status.code(), stderr(&output)),
            (Some(0), String::new())
        );
        let packets = net.sent(to)?;
        assert_eq!(line(&packets), "0 icmp 100");
        assert!(packets.iter().all(|packet| packet.is_sound), "{packets:?}");
    }
    Ok(())
}

/// In a new network namespace no group may send echo requests (icmp(7)).
fn refused() -> Outcome {
    let net = Net::new()?;
    for (arguments, said) in [
        (
            "--flags fin 10.77.0.2 7000",
            "--flags: Operation not permitted: such packets need CAP_NET_RAW",
        ),
        (
            "--flags fin fd77::2 7000:udp 8000",
            "--flags: Operation not permitted",
        ),
        ("10.77.0.2 7000 icmp", "net.ipv4.ping_group_range"),
        (
            "--source-port 22 --source 10.77.0.9 10.77.0.2 7000",
            "cannot send from '10.77.0.9 port 22'",
        ),
        ("--flags foo 10.77.0.2 7000", "'foo' is no TCP flag"),
        ("--payload hex:0 10.77.0.2 7000:udp", "hexadecimal digits"),
        (
            "--payload @/no/such 10.77.0.2 7000:udp",
            "/no/such: No such file",
        ),
        ("--spacing 100 10.77.0.2 7000", "100ms+-50%"),
        ("--spacing 1s -d 5 10.77.0.2 7000", "cannot be used with"),
        ("10.77.0.2 7000 icmp:65508", "'65508' is no size"),
    ] {
        let output = without_privilege(&net, arguments)?;
        assert_eq!(output.status.code(), Some(1), "{arguments}");
        assert!(
            stderr(&output).contains(said),
            "{arguments}: {}",
            stderr(&output)
        );
    }
    assert_eq!(line(&net.sent("10.77.0.2:0")?), "");
    // Only for TCP are flags in the way.
    let output = without_privilege(&net, "--flags fin 10.77.0.2 7000:udp")?;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    Ok(())
}

fn payload() -> Outcome {
    let site = Site::new("[U]\nsequence = 7000:udp,8000:udp\nstart_command = /bin/true\n")?;
    let folder = TempDir::new()?;
    let file = folder.path().join("payload");
    fs::write(&file, [7; 1200])?;
    let from_file = format!("@{}", file.display());
    for (address, to) in BOTH {
        for (text, expected) in [
            ("sesame", b"sesame".to_vec()),
            ("hex:00ff10", vec![0, 0xff, 0x10]),
            ("hex:", Vec::new()),
            (&from_file, vec![7; 1200]),
        ] {
            let output = site.run(&format!("-u --payload {text} {address} 7000 8000"))?;
            assert_eq!(
                (output.status.code(), stderr(&output)),
                (Some(0), String::new())
            );
            let packets = site.net.sent(to)?;
            let payloads: Vec<_> = packets.iter().map(|packet| &packet.payload).collect();
            assert_eq!(payloads, [&expected, &expected]);
        }
        let client = if address.contains(':') {
            "fd77::1"
        } else {
            "10.77.0.1"
        };
        site.await_log(&format!("{client}: U: OPEN SESAME"))?;
    }
    Ok(())
}

fn source_port() -> Outcome {
    let net = Net::new()?;
    let _listener = net.server.run(|| TcpListener::bind(("::", 8000)))??;
    for (address, to) in BOTH {
        for options in ["", "--flags fin "] {
            for _ in 0..3 {
                let arguments =
                    format!("{options}--source-port 40000 {address} 7000 8000 9000:udp 8000 7000");
                let output = net.run(OURS, &arguments)?;
                assert_eq!(
                    (output.status.code(), stderr(&output)),
                    (Some(0), String::new())
                );
                let packets = net.sent(to)?;
                let steps = packets.iter().filter(|packet| !packet.kind.ends_with("R."));
                assert_eq!(steps.count(), 5, "{packets:?}");
                assert!(
                    packets.iter().all(|packet| packet.from_port == 40000),
                    "{packets:?}"
                );
            }
        }
    }
    Ok(())
}

fn spacing() -> Outcome {
    let net = Net::new()?;
    for (spacing, least, most) in [
        ("200ms", 400, 4000),
        ("200ms±50%", 200, 4000),
        ("200ms+-0%", 400, 4000),
    ] {
        let begun = Instant::now();
        let output = net.run(
            OURS,
            &format!("--spacing {spacing} 10.77.0.2 7000 8000 9000"),
        )?;
        let took = begun.elapsed();
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(took >= Duration::from_millis(least), "{spacing}: {took:?}");
        assert!(took < Duration::from_millis(most), "{spacing}: {took:?}");
        assert_eq!(
            line(&net.sent("10.77.0.2:0")?),
            "7000 tcp S, 8000 tcp S, 9000 tcp S"
        );
    }
    let begun = Instant::now();
    let output = net.run(OURS, "--spacing 10s 10.77.0.2 7000")?;
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(begun.elapsed() < Duration::from_secs(9));
    Ok(())
}

fn raw_route() -> Outcome {
    let net = Net::new()?;
    for (options, from) in [
        ("--source 10.77.0.5", "10.77.0.5"),
        ("-i eth0 --source 10.77.0.5", "10.77.0.5"),
        ("-i eth0", "10.77.0.1"),
    ] {
        let output = net.run(
            OURS,
            &format!("{options} --flags fin 10.77.0.2 7000 icmp:5"),
        )?;
        assert_eq!(
            (output.status.code(), stderr(&output)),
            (Some(0), String::new())
        );
        let packets = net.sent("10.77.0.2:0")?;
        assert_eq!(line(&packets), "7000 tcp F, 0 icmp 5");
        let is_right = |packet: &Packet| packet.from.to_string() == from && packet.is_sound;
        assert!(packets.iter().all(is_right), "{packets:?}");
    }
    let index = net.client.index("eth0")?;
    let output = net.run(OURS, "--flags fin fe80::77:2%eth0 7000 icmp:5")?;
    assert_eq!(
        (output.status.code(), stderr(&output)),
        (Some(0), String::new())
    );
    let packets = net.sent(&format!("[fe80::77:2%{index}]:0"))?;
    assert_eq!(line(&packets), "7000 tcp F, 0 icmp 5");
    assert!(packets.iter().all(|packet| packet.is_sound), "{packets:?}");
    Ok(())
}
