//! Who has none, or somebody else's packet.

use knock_spa::{Outcome as Answer, Profile, Refusal, SiteKey};
use rustix::process::Signal;

use crate::net::{CLIENT, Net, OTHER, SERVER, Wish, alice, mallory, opened, receive, send};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("a_packet_counts_once_and_only_its_sender_is_told", replay),
    ("a_packet_does_not_count_after_a_restart", restart),
    ("who_has_no_key_gets_no_byte", no_byte),
    ("a_flood_of_junk_keeps_nobody_out", flood),
];

const SSH: &str = "[ssh]\nauthorized_keys = %K%\nopen = tcp/22\n";

fn replay() -> Outcome {
    let net = Net::new(SSH)?;
    let _daemon = net.start()?;
    let (datagram, pending) = Wish::of(alice(), "ssh").seal(&net.profile()?)?;
    let socket = net.socket(CLIENT)?;
    let ask = || -> Outcome<_> {
        send(&socket, CLIENT, &datagram)?;
        Ok(pending.open(&receive(&socket)?.ok_or("no answer")?)?)
    };
    opened(&ask()?)?;
    assert_eq!(ask()?.outcome, Answer::Refused(Refusal::Replay));
    let elsewhere = net.socket(OTHER)?;
    send(&elsewhere, OTHER, &datagram)?;
    assert_eq!(receive(&elsewhere)?, None);
    assert!(!net.reaches(OTHER, SERVER, 22)?);
    net.await_log("10.77.0.3: ssh: refused: the request was seen before: SHA256:")
}

fn restart() -> Outcome {
    let net = Net::new(SSH)?;
    let mut daemon = net.start()?;
    let (datagram, pending) = Wish::of(alice(), "ssh").seal(&net.profile()?)?;
    let socket = net.socket(CLIENT)?;
    send(&socket, CLIENT, &datagram)?;
    opened(&pending.open(&receive(&socket)?.ok_or("no answer")?)?)?;
    net.signal(&daemon, Signal::KILL)?;
    daemon.wait_at_most(std::time::Duration::from_secs(10))?;
    let _daemon = net.start()?;
    send(&socket, CLIENT, &datagram)?;
    assert_eq!(receive(&socket)?, None);
    net.await_log("refused: the request was seen before")?;
    opened(&net.knock(CLIENT, &Wish::of(alice(), "ssh"))?).map(drop)
}

fn no_byte() -> Outcome {
    let net = Net::new(SSH)?;
    let daemon = net.start()?;
    let profile = net.profile()?;
    let socket = net.socket(CLIENT)?;
    let other_site = Profile {
        site: SiteKey::from_bytes([1; 32]),
        ..profile.clone()
    };
    let (right, _) = Wish::of(alice(), "ssh").seal(&profile)?;
    let bend = |(n, byte): (usize, &u8)| byte ^ u8::from(n == 100);
    let bent = right.iter().enumerate().map(bend).collect();
    let datagrams = [
        Wish::of(mallory(), "ssh").seal(&profile)?.0,
        Wish::of(alice(), "ssh").seal(&other_site)?.0,
        bent,
        right.iter().take(255).copied().collect(),
        vec![0; 256],
    ];
    for datagram in &datagrams {
        send(&socket, CLIENT, datagram)?;
        assert_eq!(receive(&socket)?, None);
    }
    assert!(!net.reaches(CLIENT, SERVER, 22)?);
    net.signal(&daemon, Signal::USR1)?;
    net.await_log("sealed packets: 4 junk, 0 over a limit, 0 broken, 1 opened")?;
    net.await_log("0 granted, 0 refused, 1 without a good signature")?;
    send(&socket, CLIENT, &right)?;
    assert!(receive(&socket)?.is_some(), "it was not spent by them");
    Ok(())
}

fn flood() -> Outcome {
    let net = Net::new(SSH)?;
    let _daemon = net.start()?;
    let profile = net.profile()?;
    let junk = net.socket(OTHER)?;
    let (known, _) = Wish::of(mallory(), "ssh").seal(&profile)?;
    for _ in 0..20 {
        for n in 0..500_u16 {
            let bytes = [n.to_le_bytes().as_slice(), &[5; 254]].concat();
            send(&junk, OTHER, &bytes)?;
            if n % 25 == 0 {
                send(&junk, OTHER, &known)?;
            }
        }
        opened(&net.knock(CLIENT, &Wish::of(alice(), "ssh"))?)?;
    }
    assert_eq!(receive(&junk)?, None);
    Ok(())
}
