//! Floods of packets that are wrong in every way, while somebody knocks: the door opens, each time,
//! the daemon lives, and its log stays short.
//!
//! The pace is what a daemon without optimisation can take on a busy machine: these are about what
//! is read, and the bench about how fast.

use std::net::IpAddr;
use std::thread::sleep;
use std::time::Duration;

use fastrand::Rng;

use crate::Result;
use crate::network::Network;
use crate::script::{Knock, address, packet};
use crate::site::Site;
use crate::torrent::{Hostile, Pace, Sources, during};
use crate::trace::What;

use super::{Programs, Scenario};

/// A door for TCP that any wrong port disturbs, and one for UDP.
const DOORS: &str = "
[A]
	sequence = 7000,8000,9000
	tcpflags = syn
	strict = yes
	command = echo A %IP% >> {hits}
[U]
	sequence = 7000:udp,8000:udp
";

/// Packets a second.
const PACE: Pace = Pace::PerSecond(20_000);

/// Clients that knock once each, over both versions of IP.
const CLIENTS: [u8; 5] = [20, 21, 22, 23, 24];

/// From one packet of a client to the next.
const STEP: Duration = Duration::from_millis(20);

/// What strangers may cause at the most in a second or two, far less than their packets: at once a
/// hundred lines of first steps and a thousand of later ones, then 110 a second.
const MOST_LINES: usize = 1_500;

/// Where the address family of a frame stands, where its IP header begins, and where the addresses
/// of IPv4 do.
const ETHER_TYPE: usize = 12;
const IP: usize = 14;
const ADDRESSES: std::ops::Range<usize> = IP + 12..IP + 20;

type Make = fn(&Network) -> Result<Vec<Hostile>>;

pub(super) fn scenarios() -> Vec<Scenario> {
    let floods: [(&str, Make); 8] = [
        ("wrong ports from one source", |network| {
            words(
                network,
                &["1@66", "9000@66", "8000@66", "65535@66", "7000:udp@66~6"],
            )
        }),
        ("right first ports from one source", |network| {
            words(network, &["7000@66", "7000:udp@66", "7000@66~6"])
        }),
        ("right and wrong ports in turn from one source", |network| {
            words(
                network,
                &["7000@66", "8000@66", "1@66", "7000@66~6", "2@66~6"],
            )
        }),
        ("fragments from one source", |network| {
            let parts = ["~first", "~later", "~first~6", "~later~6", "~later~hbh~6"];
            let ports = ["7000@66", "8000@66", "7000:udp@66"];
            let all = ports
                .iter()
                .flat_map(|port| parts.map(|part| format!("{port}{part}")));
            words(network, &all.collect::<Vec<_>>())
        }),
        ("packets cut anywhere", cut),
        ("headers that lie about lengths", lies),
        ("chains of IPv6 extension headers", chains),
        ("VLAN tags and bytes at random", noise),
    ];
    let scenario = |(what, make): (&str, Make)| {
        let name = format!("a flood of {what} keeps nobody else out");
        Scenario::new(name, &[], move |programs| flood(programs, make))
    };
    floods.map(scenario).into()
}

fn flood(programs: &Programs, make: Make) -> Result<()> {
    let site = Site::new(&programs.knockd, DOORS, &[])?;
    let hostile = make(&site.network)?;
    let knock = || {
        for client in CLIENTS {
            let source = address::number(client, client % 2 == 1);
            for port in ["7000", "8000", "9000"] {
                site.network.send(&Knock {
                    source,
                    destination: address::number(2, source.is_ipv6()),
                    ..packet(port)?
                })?;
                sleep(STEP);
            }
        }
        site.wait_until("all clients get in", Duration::from_secs(5), || {
            opened(&site) == CLIENTS.len()
        })
    };
    let ((), sent) = during(&site.network, &hostile, PACE, knock)?;
    // It has come through all of it.
    site.settle("10.77.0.2")?;
    let lines = site.read("log").lines().count();
    println!(
        "      {} packets of {} kinds, {lines} lines in the log",
        sent.packets,
        hostile.len()
    );
    site.require(lines <= MOST_LINES, || format!("{lines} lines in the log"))
}

/// How many of the clients have opened the door.
fn opened(site: &Site) -> usize {
    let marks = site.marks();
    let has_opened = |client: &&u8| {
        let source: IpAddr = address::number(**client, **client % 2 == 1);
        marks
            .iter()
            .any(|mark| mark.source == source && mark.what == What::Opening)
    };
    CLIENTS.iter().filter(has_opened).count()
}

fn words(network: &Network, words: &[impl AsRef<str>]) -> Result<Vec<Hostile>> {
    let hostile = |word: &_| Hostile::new(network, AsRef::<str>::as_ref(word), Sources::One);
    words.iter().map(hostile).collect()
}

/// The frame of a packet from a source that is not a client.
fn frame(network: &Network, word: &str) -> Result<Vec<u8>> {
    network.frame(&packet(word)?)
}

fn patched(frame: &[u8], at: usize, bytes: &[u8]) -> Hostile {
    let mut frame = frame.to_vec();
    for (old, new) in frame.iter_mut().skip(at).zip(bytes) {
        *old = *new;
    }
    Hostile::raw(frame, Sources::One)
}

/// Frames that end after each of their bytes, and segments that do though the IP header says so.
fn cut(network: &Network) -> Result<Vec<Hostile>> {
    let mut all = Vec::new();
    let options = "~hbh~dstopt~routing~first";
    for word in [
        "7000@66",
        "7000@66~options",
        "7000:udp@66",
        &format!("7000@66~6{options}"),
    ] {
        let frame = frame(network, word)?;
        for length in IP + 1..frame.len() {
            let start = frame.get(..length).unwrap_or_default();
            all.push(Hostile::raw(start.to_vec(), Sources::One));
        }
        let short = (0..20).map(|n| format!("{word}~cut={n}"));
        all.extend(words(network, &short.collect::<Vec<_>>())?);
    }
    Ok(all)
}

/// Every version and header length of IPv4, lengths of packets that are not theirs, and every offset
/// of TCP's data.
fn lies(network: &Network) -> Result<Vec<Hostile>> {
    let v4 = frame(network, "7000@66")?;
    let mut all: Vec<_> = (0..=u8::MAX)
        .map(|byte| patched(&v4, IP, &[byte]))
        .collect();
    for word in [
        "7000@66",
        "8000@66~options",
        "7000:udp@66",
        "7000@66~6",
        "7000@66~6~first",
    ] {
        let lengths = [0, 1, 19, 20, 21, 27, 28, 39, 41, 1500, 65_535];
        let lie = |length: u16| format!("{word}~iplen={length}");
        all.extend(words(network, &lengths.map(lie))?);
    }
    let offsets = (0..16).map(|n| format!("7000@66~doff={n}"));
    all.extend(words(network, &offsets.collect::<Vec<_>>())?);
    Ok(all)
}

/// Long chains, and such that say of a header that it is longer than the packet.
fn chains(network: &Network) -> Result<Vec<Hostile>> {
    let mut all = Vec::new();
    for kind in ["~hbh", "~dstopt", "~routing"] {
        for count in [1, 2, 8, 40, 150] {
            let word = format!("7000@66~6{}", kind.repeat(count));
            let frame = frame(network, &word)?;
            // The second byte of an extension header is its length, the first what comes next.
            let first = IP + 40;
            all.push(Hostile::raw(frame.clone(), Sources::One));
            all.extend([1, 7, 255].map(|length| patched(&frame, first + 1, &[length])));
            all.extend([0, 43, 44, 50, 51, 59, 135].map(|next| patched(&frame, first, &[next])));
        }
    }
    Ok(all)
}

/// Tags without and around anything, every ether type that somebody looks at, and good packets some
/// of whose bytes are not.
fn noise(network: &Network) -> Result<Vec<Hostile>> {
    let tagged = [
        "vlan=0",
        "vlan=4095",
        "qinq=1",
        "vlan=1~vlan=2~vlan=3~vlan=4~qinq=5",
    ];
    let mut all = words(network, &tagged.map(|tags| format!("7000@66~{tags}")))?;
    let good = frame(network, "7000@66")?;
    for ether_type in [
        0_u16, 5, 0x0800, 0x0806, 0x8100, 0x86dd, 0x8847, 0x8864, 0x88a8, 0xffff,
    ] {
        all.push(patched(&good, ETHER_TYPE, &ether_type.to_be_bytes()));
    }
    let mut random = Rng::with_seed(13);
    for word in [
        "7000@66",
        "8000@66~vlan=5",
        "7000:udp@66~options",
        "7000@66~6~hbh",
    ] {
        let good = frame(network, word)?;
        for _ in 0..100 {
            let mut bad = good.clone();
            let wrong = random.usize(1..8);
            for _ in 0..wrong {
                let at = random.usize(ETHER_TYPE..good.len());
                // It must not become a packet of a client.
                if let Some(byte) = bad.get_mut(at).filter(|_| !ADDRESSES.contains(&at)) {
                    *byte = random.u8(..);
                }
            }
            all.push(Hostile::raw(bad, Sources::One));
        }
    }
    Ok(all)
}
