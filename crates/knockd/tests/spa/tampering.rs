//! Packets of others: changed on their way, or sent before their sender's own.

use std::net::UdpSocket;

use knock_spa::{Outcome as Answer, Pending, Profile, Refusal, Reply};
use knockd::lab::Process;
use rustix::process::Signal;

use crate::keys::Desk;
use crate::net::{CLIENT, Net, OTHER, SERVER, Wish, alice, answer, opened, receive, send};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("a_packet_with_another_bit_is_junk", flipped),
    ("a_packet_of_another_length_is_nothing", cut_and_stretched),
    ("what_is_behind_the_tag_is_under_the_seal", long),
    ("who_is_first_with_an_unbound_packet_has_it", unbound),
    (
        "a_packet_that_names_its_address_is_good_nowhere_else",
        claimed,
    ),
    ("a_thief_cannot_confirm_an_address", confirmed),
];

const SSH: &str = "[ssh]\nauthorized_keys = %K%\nopen = tcp/22\n";

fn wish() -> Wish {
    Wish::of(alice(), "ssh")
}

/// Waits until the daemon has counted what came.
fn counted(net: &Net, daemon: &Process, counts: &str) -> Outcome {
    net.eventually(counts, || {
        net.signal(daemon, Signal::USR1).is_ok() && net.log().contains(counts)
    })
}

/// None of that was heard by anybody, and the packet as it was sealed is as good as before.
fn nothing_came_of_it(net: &Net, socket: &UdpSocket, sealed: &(Vec<u8>, Pending)) -> Outcome {
    assert_eq!(receive(socket)?, None);
    assert!(!net.reaches(CLIENT, SERVER, 22)?);
    opened(&net.ask(CLIENT, sealed)?)?;
    assert!(net.reaches(CLIENT, SERVER, 22)?);
    Ok(())
}

fn with_flipped(datagram: &[u8], bit: usize) -> Vec<u8> {
    let mut bent = datagram.to_vec();
    if let Some(byte) = bent.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
    bent
}

fn flipped() -> Outcome {
    let net = Net::new(SSH)?;
    let daemon = net.start()?;
    let sealed = wish().seal(&net.profile()?)?;
    let socket = net.socket(CLIENT)?;
    let bits = sealed.0.len() * 8;
    for bit in 0..bits {
        send(&socket, CLIENT, &with_flipped(&sealed.0, bit))?;
    }
    let counts = format!("sealed packets: {bits} junk, 0 over a limit, 0 broken, 0 opened");
    counted(&net, &daemon, &counts)?;
    nothing_came_of_it(&net, &socket, &sealed)
}

fn cut_and_stretched() -> Outcome {
    let net = Net::new(SSH)?;
    let daemon = net.start()?;
    let sealed = wish().seal(&net.profile()?)?;
    let whole = &sealed.0;
    let socket = net.socket(CLIENT)?;
    for length in 0..whole.len() {
        send(&socket, CLIENT, whole.get(..length).unwrap_or_default())?;
    }
    for length in whole.len() + 1..=1_232 {
        let mut longer = whole.clone();
        longer.resize(length, 0);
        send(&socket, CLIENT, &longer)?;
        // And by itself once more, as it would be after a copy of what is in front.
        let again = whole.iter().cycle().take(length).copied();
        send(&socket, CLIENT, &again.collect::<Vec<_>>())?;
    }
    nothing_came_of_it(&net, &socket, &sealed)?;
    // How many of them the kernel has let through is its own business.
    counted(&net, &daemon, " junk, 0 over a limit, 0 broken, 1 opened")
}

/// Of a long datagram, the tag covers the first 256 bytes only.
fn long() -> Outcome {
    let desk = Desk::new()?;
    let key = desk.key("key", "rsa", "4096")?;
    let net = Net::new(SSH)?;
    net.write("keys", &key.line()?)?;
    let daemon = net.start()?;
    let sealed = wish().seal_by(&key, &net.profile()?)?;
    let (datagram, _) = &sealed;
    assert_eq!(datagram.len(), 704);
    let socket = net.socket(CLIENT)?;
    for at in 0..datagram.len() {
        send(&socket, CLIENT, &with_flipped(datagram, at * 8 + at % 8))?;
    }
    let counts = "sealed packets: 256 junk, 0 over a limit, 448 broken, 0 opened";
    counted(&net, &daemon, counts)?;
    nothing_came_of_it(&net, &socket, &sealed)
}

/// A thief who has heard a packet, and is first with it.
struct Race {
    net: Net,
    _daemon: Process,
    profile: Profile,
    sender: UdpSocket,
    thief: UdpSocket,
}

impl Race {
    fn new(more: &str) -> Outcome<Self> {
        let net = Net::new(&format!("{SSH}{more}"))?;
        let daemon = net.start()?;
        Ok(Self {
            profile: net.profile()?,
            sender: net.socket(CLIENT)?,
            thief: net.socket(OTHER)?,
            net,
            _daemon: daemon,
        })
    }

    /// The thief's comes first.
    fn run(&self, datagram: &[u8]) -> Outcome {
        send(&self.thief, OTHER, datagram)?;
        send(&self.sender, CLIENT, datagram)
    }

    /// What the sender is told.
    fn told(&self, pending: &Pending) -> Outcome<Reply> {
        Ok(pending.open(&answer(&self.sender)?.ok_or("no answer")?)?)
    }

    fn reach(&self) -> Outcome<[bool; 2]> {
        let reaches = |from| self.net.reaches(from, SERVER, 22);
        Ok([reaches(OTHER)?, reaches(CLIENT)?])
    }
}

/// What `docs/spa-protocol.md` says of packets that are bound to no address. The thief is in the
/// log, and the sender gets in with the next packet.
fn unbound() -> Outcome {
    let race = Race::new("")?;
    let (datagram, pending) = wish().seal(&race.profile)?;
    race.run(&datagram)?;
    let stolen = answer(&race.thief)?.ok_or("no answer")?;
    opened(&pending.open(&stolen)?)?;
    assert_eq!(receive(&race.sender)?, None);
    assert_eq!(race.reach()?, [true, false]);
    race.net
        .await_log("10.77.0.1: ssh: refused: the request was seen before: SHA256:")?;
    opened(&race.net.knock(CLIENT, &wish())?)?;
    assert_eq!(race.reach()?, [true, true]);
    Ok(())
}

fn claimed() -> Outcome {
    let race = Race::new("")?;
    let claims = Wish {
        claimed: Some(CLIENT),
        ..wish()
    };
    for round in 0..20 {
        let (datagram, pending) = claims.seal(&race.profile)?;
        if round % 2 == 0 {
            race.run(&datagram)?;
        } else {
            send(&race.sender, CLIENT, &datagram)?;
            send(&race.thief, OTHER, &datagram)?;
        }
        opened(&race.told(&pending)?)?;
        // He gets nothing, or what he cannot read.
        if let Some(thief) = receive(&race.thief)? {
            let outcome = pending.open(&thief)?.outcome;
            assert_eq!(outcome, Answer::Refused(Refusal::AddressMismatch));
        }
        assert_eq!(race.reach()?, [false, true], "round {round}");
    }
    race.net.await_log(
        "10.77.0.3: ssh: refused: the request names another address than it came from: SHA256:",
    )
}

fn confirmed() -> Outcome {
    let race = Race::new("confirm = yes\n")?;
    let (datagram, pending) = wish().seal(&race.profile)?;
    race.run(&datagram)?;
    let reply = race.told(&pending)?;
    let stolen = answer(&race.thief)?.ok_or("no answer")?;
    let stolen = pending.open(&stolen)?;
    assert!(matches!(stolen.outcome, Answer::Confirm(_)), "{stolen:?}");
    assert_eq!(stolen.seen.to_string(), OTHER);
    assert_eq!(race.reach()?, [false, false]);
    let confirmed = pending.confirm(&reply, &mut knockd::spa::SystemRng);
    let (datagram, pending) = confirmed.ok_or("no question")?;
    race.run(&datagram)?;
    opened(&race.told(&pending)?)?;
    if let Some(thief) = receive(&race.thief)? {
        let outcome = pending.open(&thief)?.outcome;
        assert_eq!(outcome, Answer::Refused(Refusal::AddressMismatch));
    }
    assert_eq!(race.reach()?, [false, true]);
    Ok(())
}
