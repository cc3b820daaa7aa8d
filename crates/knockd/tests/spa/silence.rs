//! Who has not signed gets not one byte: shown by a capture of all that leaves the server.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::process::Command;

use ed25519_dalek::{Signer, SigningKey};
use knock_spa::{Profile, ServerPublic, SiteKey};
use rustix::process::Signal;

use crate::capture::{Capture, Left, Seen};
use crate::net::{
    CLIENT, CLIENT_6, Net, OTHER, SERVER, SERVER_6, Wish, alice, id, mallory, opened, receive, send,
};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("a_reload_makes_the_port_loud_and_silent_again", reloaded),
    ("behind_a_gate_not_one_byte_leaves_for_strangers", guarded),
    (
        "behind_another_firewall_not_one_byte_leaves_either",
        firewalled,
    ),
    (
        "without_a_firewall_the_port_is_as_any_closed_one",
        open_to_all,
    ),
    ("nmap_sees_a_closed_port_as_before", nmap_closed),
    ("nmap_sees_a_silent_port_behind_a_gate", nmap_silent),
    (
        "what_the_host_asks_from_such_a_port_is_answered",
        own_questions,
    ),
    (
        "a_claim_that_is_wrong_is_told_to_the_keys_owner_alone",
        wrong_claim,
    ),
];

/// A native door, so that there is a gate.
const NATIVE: &str = "[ssh]\nauthorized_keys = %K%\nopen = tcp/22\n";
/// A door that only runs commands: without a gate.
const COMMANDS: &str = "[ssh]\nauthorized_keys = %K%\nstart_command = true\n";
const PORT: u16 = 51_443;
/// A port of which nobody knows anything.
const CLOSED: u16 = 51_444;
/// The longest datagrams that an Ethernet takes, by family.
const LONGEST: usize = 1_500 - 28;
const LONGEST_6: usize = 1_500 - 48;

fn junk(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut state = 0x9e37_79b9_u32 ^ u32::try_from(length).unwrap_or(0);
    for byte in &mut bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        [_, _, _, *byte] = state.to_le_bytes();
    }
    bytes
}

/// Nonsense under the tag that only who has the site key can make (`docs/spa-protocol.md`).
fn tagged(site: &SiteKey, length: usize) -> Vec<u8> {
    let gate = blake3::derive_key("postern spa v1: gate tag", site.expose());
    let mut bytes = junk(length);
    let mut hasher = blake3::Hasher::new_keyed(&gate);
    hasher.update(&u16::try_from(length).unwrap_or(0).to_be_bytes());
    hasher.update(bytes.get(16..length.min(256)).unwrap_or_default());
    let hash = hasher.finalize();
    for (to, from) in bytes.iter_mut().zip(hash.as_bytes()).take(16) {
        *to = *from;
    }
    bytes
}

/// What strangers send: those with nothing, with the site key, with all but the right signature, and
/// those who mean somebody else. `spent` was good, and is not any more.
fn strangers(profile: &Profile, spent: &[u8], longest: usize) -> Outcome<Vec<Vec<u8>>> {
    let mut all: Vec<Vec<u8>> = (0..=longest).map(junk).collect();
    for length in [208, 256, 448, 704, 1_184] {
        all.push(tagged(&profile.site, length));
    }
    let wish = || Wish::of(alice(), "ssh");
    let sealed = |wish: &Wish, sign: &dyn Fn(&SigningKey, &[u8]) -> [u8; 64]| {
        let sealed = wish.seal_with(profile, |data| sign(&wish.key, data));
        sealed.map(|(datagram, _)| datagram)
    };
    let sign = |key: &SigningKey, data: &[u8]| key.sign(data).to_bytes();
    // A key that nobody knows; one that says that it is another; another namespace, of the same
    // length; something else that was signed; and no signature at all.
    all.push(sealed(&Wish::of(mallory(), "ssh"), &sign)?);
    let impostor = Wish {
        named: Some(id(&alice())?),
        ..Wish::of(mallory(), "ssh")
    };
    all.push(sealed(&impostor, &sign)?);
    let namespace = |key: &SigningKey, data: &[u8]| {
        let text = String::from_utf8_lossy(data);
        assert!(text.contains("knock@postern"));
        let at = data.windows(13).position(|bytes| bytes == b"knock@postern");
        let mut data = data.to_vec();
        let place = at.and_then(|at| data.get_mut(at..at + 13));
        place.unwrap_or_default().copy_from_slice(b"knock@western");
        key.sign(&data).to_bytes()
    };
    all.push(sealed(&wish(), &namespace)?);
    all.push(sealed(&wish(), &|key, data| {
        key.sign(&[data, b"x"].concat()).to_bytes()
    })?);
    all.push(sealed(&wish(), &|_, _| [0; 64])?);
    // For another site, and for another server of this site.
    for other in [
        Profile {
            site: SiteKey::from_bytes([1; 32]),
            ..profile.clone()
        },
        Profile {
            server: ServerPublic([9; 32]),
            ..profile.clone()
        },
    ] {
        all.push(wish().seal(&other)?.0);
    }
    // What was good, again, and every byte of it bent.
    all.push(spent.to_vec());
    all.push(spent.iter().take(255).copied().collect());
    all.push([spent, &[0]].concat());
    for place in 0..spent.len() {
        let mut bent = spent.to_vec();
        if let Some(byte) = bent.get_mut(place) {
            *byte ^= 1;
        }
        all.push(bent);
    }
    Ok(all)
}

/// A server whose kernel says all that it has to say, not only some of it in a second.
fn loud(doors: &str) -> Outcome<Net> {
    let net = Net::new(doors)?;
    for (key, value) in [
        ("net/ipv4/icmp_ratelimit", "0"),
        ("net/ipv6/icmp/ratelimit", "0"),
        ("net/ipv4/icmp_msgs_per_sec", "100000"),
        ("net/ipv4/icmp_msgs_burst", "100000"),
    ] {
        net.server.set_kernel(key, value)?;
    }
    Ok(net)
}

/// A server that runs, and a packet that it has taken.
struct Scene {
    net: Net,
    profile: Profile,
    spent: Vec<u8>,
    daemon: knockd::lab::Process,
}

impl Scene {
    fn new(doors: &str) -> Outcome<Self> {
        let net = loud(doors)?;
        let daemon = net.start()?;
        let profile = net.profile()?;
        let (spent, pending) = Wish::of(alice(), "ssh").seal(&profile)?;
        let socket = net.socket(CLIENT)?;
        send(&socket, CLIENT, &spent)?;
        opened(&pending.open(&receive(&socket)?.ok_or("no answer")?)?)?;
        Ok(Self {
            net,
            profile,
            spent,
            daemon,
        })
    }

    /// Strangers of one family send all that they have to `port`; then somebody knocks who may, and is
    /// answered: by then all before has been looked at. What was seen, and how much was sent.
    fn visit(&self, from: &str, port: u16) -> Outcome<(Seen, usize)> {
        let (to, longest) = if from == CLIENT_6 {
            (SERVER_6, LONGEST_6)
        } else {
            (SERVER, LONGEST)
        };
        let all = strangers(&self.profile, &self.spent, longest)?;
        let capture = Capture::start(&self.net.server, "server0")?;
        let socket = self.net.socket(from)?;
        let (mut sent, mut knocks) = (0, 0);
        for some in all.chunks(16) {
            for datagram in some {
                socket.send_to(datagram, (to, port))?;
            }
            sent += some.len();
            self.net
                .eventually("all is captured", || capture.came() == sent + knocks)?;
            // What the daemon's ring does not hold is not looked at.
            if sent % 256 == 0 {
                self.knock()?;
                knocks += 1;
            }
        }
        self.knock()?;
        let seen = capture.stop()?;
        assert_eq!(seen.came, all.len() + knocks + 1, "all was captured");
        Ok((seen, all.len()))
    }

    fn knock(&self) -> Outcome {
        opened(&self.net.knock(CLIENT, &Wish::of(alice(), "ssh"))?).map(drop)
    }

    /// The whole of what left, but the answers to who has knocked.
    fn left(&self, from: &str, port: u16) -> Outcome<(Vec<Left>, usize)> {
        let (mut seen, sent) = self.visit(from, port)?;
        let answers = |left: &Left| *left == Left::Datagram(PORT, 160);
        let answered = seen.left.iter().filter(|left| answers(left)).count();
        assert_eq!(answered, sent / 256 + 1);
        // Who is answered before his own packet has come through the firewall may be refused by the
        // kernel beside (docs/spa-protocol.md, known weaknesses); he is no stranger.
        let knocker: IpAddr = CLIENT.parse()?;
        let beside = |left: &Left| matches!(left, Left::PortUnreachable { to, port: PORT, .. } if *to == knocker);
        let refused = seen.left.iter().filter(|left| beside(left)).count();
        assert!(refused <= answered);
        seen.left.retain(|left| !answers(left) && !beside(left));
        Ok((seen.left, sent))
    }
}

fn guarded() -> Outcome {
    let scene = Scene::new(NATIVE)?;
    for from in [OTHER, CLIENT_6] {
        let (left, sent) = scene.left(from, PORT)?;
        assert_eq!(left, [], "{from}: after {sent} datagrams");
    }
    let shown = scene.net.knockctl(&["gate", "show"])?;
    let line = "udp/51443  silent: sealed packets are heard there\n";
    assert!(shown.contains(line), "{shown}");
    scene.net.await_log("guarded are tcp/22, udp/51443")
}

/// As `spa_silent` says, also after a reload.
fn reloaded() -> Outcome {
    let scene = Scene::new(NATIVE)?;
    let net = &scene.net;
    let silent = std::fs::read_to_string(net.path("knockd.conf"))?;
    let loud = silent.replace("[options]", "[options]\nspa_silent = no");
    for (file, said, expected) in [
        (
            &loud,
            "not guarded any more: udp/51443",
            ErrorKind::ConnectionRefused,
        ),
        (
            &silent,
            "guarded are tcp/22, udp/51443",
            ErrorKind::WouldBlock,
        ),
    ] {
        net.write("knockd.conf", file)?;
        let before = net.log().matches(said).count();
        net.signal(&scene.daemon, Signal::HUP)?;
        net.eventually(said, || net.log().matches(said).count() > before)?;
        let socket = net.socket(OTHER)?;
        socket.connect((SERVER, PORT))?;
        socket.send(&[0; 256])?;
        // The kernel refuses at once, or not at all: before a knock is answered.
        scene.knock()?;
        socket.set_nonblocking(true)?;
        let error = socket.recv(&mut [0; 1]).err().map(|error| error.kind());
        assert_eq!(error, Some(expected), "{said}");
    }
    Ok(())
}

fn firewalled() -> Outcome {
    let scene = Scene::new(COMMANDS)?;
    let rules = format!(
        "table inet own {{ chain input {{ type filter hook input priority 0; udp dport {PORT} drop; \
         }}\n }}"
    );
    let mut nft = Command::new("nft");
    nft.arg(rules);
    let output = scene.net.server.run(|| nft.output())??;
    assert!(output.status.success(), "{output:?}");
    for from in [OTHER, CLIENT_6] {
        assert_eq!(scene.left(from, PORT)?.0, [], "{from}");
    }
    Ok(())
}

/// What leaves is the kernel's, and what leaves for any port at which nobody listens: one refusal for
/// each datagram, of the same length.
fn open_to_all() -> Outcome {
    let scene = Scene::new(COMMANDS)?;
    for from in [OTHER, CLIENT_6] {
        let refusals = |port| -> Outcome<Vec<usize>> {
            let (left, sent) = scene.left(from, port)?;
            let mut lengths = Vec::new();
            for left in left {
                match left {
                    Left::PortUnreachable {
                        port: of, bytes, ..
                    } if of == port => {
                        lengths.push(bytes);
                    }
                    other => return Err(format!("{other:?} left for {from}").into()),
                }
            }
            assert_eq!(lengths.len(), sent, "{from}");
            Ok(lengths)
        };
        assert_eq!(refusals(PORT)?, refusals(CLOSED)?, "{from}");
    }
    Ok(())
}

/// What nmap says of the port, and of one of which nobody knows anything.
fn nmap(net: &Net) -> Outcome<Vec<String>> {
    let mut all = Vec::new();
    for args in [&["-4", SERVER][..], &["-6", SERVER_6]] {
        let mut nmap = Command::new("nmap");
        nmap.args(["-sU", "-Pn", "-n", "--reason", "--max-retries", "3", "-p"])
            .arg(format!("{PORT},{CLOSED}"))
            .args(args.iter().filter(|arg| **arg != "-4"));
        let output = net.client.run(|| nmap.output())??;
        let text = String::from_utf8(output.stdout)?;
        let ports = text.lines().filter(|line| line.contains("/udp"));
        let words = |line: &str| line.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        all.extend(ports.map(words));
    }
    Ok(all)
}

fn nmap_closed() -> Outcome {
    for doors in [COMMANDS, &format!("spa_silent = no\n{NATIVE}")] {
        let net = loud(doors)?;
        let before = nmap(&net)?;
        assert_eq!(before.len(), 4, "{before:?}");
        assert!(
            before.iter().all(|line| line.contains(" closed ")),
            "{before:?}"
        );
        let _daemon = net.start()?;
        opened(&net.knock(CLIENT, &Wish::of(alice(), "ssh"))?)?;
        assert_eq!(nmap(&net)?, before);
    }
    Ok(())
}

fn nmap_silent() -> Outcome {
    let net = loud(NATIVE)?;
    let _daemon = net.start()?;
    let found = nmap(&net)?;
    let states: Vec<_> = found
        .iter()
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    let expected = ["51443/udp open|filtered", "51444/udp closed"];
    assert_eq!(states, [expected, expected].concat());
    Ok(())
}

/// Such as a question to a name server, for which the kernel has chosen this port.
fn own_questions() -> Outcome {
    let net = Net::new(NATIVE)?;
    let _daemon = net.start()?;
    let there = net.socket(CLIENT)?;
    let here = net
        .server
        .run(|| std::net::UdpSocket::bind((SERVER, PORT)))??;
    here.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
    there.send_to(b"nobody asked", (SERVER, PORT))?;
    here.send_to(b"question", there.local_addr()?)?;
    let mut buffer = [0; 64];
    there.recv_from(&mut buffer)?;
    there.send_to(b"answer", (SERVER, PORT))?;
    let (length, _) = here.recv_from(&mut buffer)?;
    assert_eq!(buffer.get(..length), Some(&b"answer"[..]));
    Ok(())
}

/// The signature is good, so there is an answer; it opens nothing, is no longer than the packet, and
/// nobody reads it but who has sealed it.
fn wrong_claim() -> Outcome {
    let scene = Scene::new(NATIVE)?;
    let claims = Wish {
        claimed: Some(CLIENT),
        ..Wish::of(alice(), "ssh")
    };
    let (datagram, pending) = claims.seal(&scene.profile)?;
    let thief = scene.net.socket(OTHER)?;
    send(&thief, OTHER, &datagram)?;
    let answer = receive(&thief)?.ok_or("no answer")?;
    assert!(answer.len() < datagram.len());
    let refused = knock_spa::Outcome::Refused(knock_spa::Refusal::AddressMismatch);
    assert_eq!(pending.open(&answer)?.outcome, refused);
    assert!(!scene.net.reaches(OTHER, SERVER, 22)?);
    // It is not spent, and once it is, the thief hears nothing.
    let owner = scene.net.socket(CLIENT)?;
    send(&owner, CLIENT, &datagram)?;
    opened(&pending.open(&receive(&owner)?.ok_or("no answer")?)?)?;
    send(&thief, OTHER, &datagram)?;
    assert_eq!(receive(&thief)?, None);
    Ok(())
}
