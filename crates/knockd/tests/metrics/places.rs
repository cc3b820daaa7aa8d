//! Where they are to be had, by whom, and what becomes of those who ask badly.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::http::{GET, ask, net, tcp, unix};
use crate::net::{CLIENT, SERVER, exit_code, signal};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("only_this_host_reaches_the_address", only_here),
    (
        "slow_half_and_huge_requests_keep_nobody_from_anything",
        badly,
    ),
    ("a_second_daemon_at_the_same_places_says_so", taken),
    ("after_a_reload_they_stay_and_that_is_said", reload),
    ("with_metrics_the_daemon_still_sleeps", idle),
];

const DOOR: &str = "[ssh]\nsequence = 7000:udp\nopen = tcp/22\nopen_for = 1h\n";

fn only_here() -> Outcome {
    let net = net(DOOR)?;
    let _daemon = net.start()?;
    let from = |host: &knockd::lab::Host, address: &str| -> Outcome<bool> {
        let to = format!("{address}:9115").parse()?;
        let time = Duration::from_secs(2);
        Ok(host.run(|| TcpStream::connect_timeout(&to, time))?.is_ok())
    };
    assert!(from(&net.server, "127.0.0.1")?);
    assert!(!from(&net.client, SERVER)?);
    assert!(!from(&net.server, SERVER)?);
    let evil = b"GET /metrics HTTP/1.1\r\nHost: evil.example:9115\r\n\r\n";
    assert!(ask(&mut tcp(&net)?, evil)?.0.starts_with("HTTP/1.1 403 "));
    Ok(())
}

fn badly() -> Outcome {
    let net = net(DOOR)?;
    let daemon = net.start()?;
    let mut half: Vec<_> = (0..4).map(|_| tcp(&net)).collect::<Outcome<_>>()?;
    half.extend((0..20).map(|_| tcp(&net)).collect::<Outcome<Vec<_>>>()?);
    for stream in &mut half {
        stream.write_all(b"GET /metr")?;
    }
    let began = Instant::now();
    // While they take all the places, knocks count and operators are heard.
    net.knock(CLIENT, &[7000])?;
    net.eventually("the door is open", || {
        net.status().is_ok_and(|status| status.grants.total == 1)
    })?;
    // And it is over with them in time.
    let (head, _) = ask(&mut unix(&net)?, GET)?;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(began.elapsed() < Duration::from_secs(25));
    for stream in half.iter_mut().take(8) {
        assert_eq!(stream.read(&mut [0; 16])?, 0);
    }
    drop(half);
    let mut huge = tcp(&net)?;
    // The end of it may not be taken any more.
    huge.write_all(&vec![b'x'; 1 << 20]).ok();
    let mut answer = Vec::new();
    huge.read_to_end(&mut answer).ok();
    drop(huge);
    for _ in 0..100 {
        drop(tcp(&net)?);
    }
    let (head, body) = ask(&mut tcp(&net)?, GET)?;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(body.contains("knockd_grants 1\n"), "{body}");
    assert_eq!(net.status()?.keeper.pid, daemon.id());
    Ok(())
}

fn taken() -> Outcome {
    let net = net(DOOR)?;
    let _daemon = net.start()?;
    let text = net.configuration()?;
    let mut command = net.knockd()?;
    let mut second = net.server.spawn(&mut command)?;
    assert_eq!(exit_code(&mut second)?, Some(1));
    let said = net.read("stderr");
    assert!(
        said.contains("metrics_socket") && said.contains("another daemon answers there"),
        "{said}"
    );
    let without = text
        .lines()
        .filter(|line| !line.starts_with("metrics_socket"));
    net.configure(&without.collect::<Vec<_>>().join("\n"))?;
    let mut second = net.server.spawn(&mut net.knockd()?)?;
    assert_eq!(exit_code(&mut second)?, Some(1));
    let said = net.read("stderr");
    assert!(said.contains("metrics_address 127.0.0.1:9115: "), "{said}");
    Ok(())
}

fn reload() -> Outcome {
    let net = net(DOOR)?;
    let mut daemon = net.start()?;
    let text = net.configuration()?;
    net.configure(&text.replace("9115", "9116"))?;
    signal(&daemon, Signal::HUP)?;
    net.await_log("metrics stay where they are until the daemon is started anew")?;
    assert!(ask(&mut tcp(&net)?, GET)?.0.starts_with("HTTP/1.1 200 "));
    signal(&daemon, Signal::TERM)?;
    exit_code(&mut daemon)?;
    assert!(!net.path("metrics.sock").exists());
    Ok(())
}

fn idle() -> Outcome {
    let net = net(DOOR)?;
    let daemon = net.start()?;
    ask(&mut tcp(&net)?, GET)?;
    net.is_idle(&daemon)
}
