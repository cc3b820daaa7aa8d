//! A reload brings the first door for sealed packets, and takes nothing from anybody.

use std::net::UdpSocket;

use knockd::lab::Process;
use rustix::process::Signal;

use crate::net::{CLIENT, Net, OTHER, SERVER, Wish, alice, opened};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    (
        "a_reload_brings_the_first_door_for_sealed_packets",
        first_door,
    ),
    ("a_reload_says_that_homes_are_shut_to_it", homes),
    ("attempts_live_on_while_the_ring_is_replaced", attempts),
    ("whoever_knocks_meanwhile_gets_in", meanwhile),
];

const KNOCKS: &str = "[web]\nsequence = 7000:udp,8000:udp,9000:udp\nopen = tcp/80\n\
                      seq_timeout = 20\n";
const SSH: &str = "[ssh]\nauthorized_keys = %K%\nopen = tcp/22\n";

fn reload(net: &Net, daemon: &Process) -> Outcome {
    net.add_doors(SSH)?;
    net.signal(daemon, Signal::HUP)?;
    net.await_log("sealed packets of 1 keys are taken")
}

fn knock(socket: &UdpSocket, ports: &[u16]) -> Outcome {
    for port in ports {
        socket.send_to(&[0], (SERVER, *port))?;
    }
    Ok(())
}

fn first_door() -> Outcome {
    let net = Net::new(KNOCKS)?;
    let daemon = net.start()?;
    assert!(net.reaches(CLIENT, SERVER, 22)?, "nobody guards it yet");
    reload(&net, &daemon)?;
    net.eventually("it is guarded", || {
        net.reaches(CLIENT, SERVER, 22).is_ok_and(|open| !open)
    })?;
    opened(&net.knock(CLIENT, &Wish::of(alice(), "ssh"))?)?;
    assert!(net.reaches(CLIENT, SERVER, 22)?);
    // What the longest needs is there: such a packet is opened, not junk.
    net.signal(&daemon, Signal::USR1)?;
    net.await_log("0 junk, 0 over a limit, 0 broken, 1 opened")?;
    assert!(!net.log().contains("error"), "{}", net.log());
    Ok(())
}

fn homes() -> Outcome {
    let net = Net::new(KNOCKS)?;
    let daemon = net.start()?;
    net.add_doors("[home]\nauthorized_keys = ~root/.ssh/no-such-file\nopen = tcp/22\n")?;
    net.signal(&daemon, Signal::HUP)?;
    net.await_log("keys in homes that others cannot enter are not read before a restart")?;
    drop(daemon);
    let _daemon = net.start()?;
    assert_eq!(
        net.log().matches("keys in homes").count(),
        1,
        "after it they are"
    );
    Ok(())
}

fn attempts() -> Outcome {
    let net = Net::new(KNOCKS)?;
    let daemon = net.start()?;
    let (first, second) = (net.socket(CLIENT)?, net.socket(OTHER)?);
    knock(&first, &[7000, 8000])?;
    knock(&second, &[7000])?;
    // They may be in the ring still when the signal comes.
    reload(&net, &daemon)?;
    knock(&first, &[9000])?;
    knock(&second, &[8000, 9000])?;
    for source in [CLIENT, OTHER] {
        net.await_log(&format!("{source}: web: OPEN SESAME"))?;
        net.eventually("it is open", || {
            net.reaches(source, SERVER, 80).unwrap_or(false)
        })?;
    }
    net.signal(&daemon, Signal::USR1)?;
    net.await_log("6 knocks, 0 wrong, 0 too late, 2 openings")
}

fn meanwhile() -> Outcome {
    let net = Net::new(KNOCKS)?;
    let daemon = net.start()?;
    let socket = net.socket(CLIENT)?;
    let opened_so_far = || net.log().matches("web: OPEN SESAME").count();
    let mut sent = 0;
    let mut send = |count: usize| -> Outcome {
        for _ in 0..count {
            knock(&socket, &[7000, 8000, 9000])?;
            sent += 1;
            // As fast as they are heard, so that all that is lost is lost by the change.
            net.eventually("it is heard", || opened_so_far() + 1 >= sent)?;
        }
        Ok(())
    };
    send(5)?;
    net.add_doors(SSH)?;
    net.signal(&daemon, Signal::HUP)?;
    send(40)?;
    net.await_log("sealed packets of 1 keys are taken")?;
    opened(&net.knock(CLIENT, &Wish::of(alice(), "ssh"))?).map(drop)
}
