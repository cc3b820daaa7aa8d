//! `vectors.json` is what this crate makes of fixed numbers; `testing/spa/check_vectors.py`, which
//! shares no line with it, opens that. `vectors-python.json` is what that makes; it is opened here.
//!
//! `SPA_VECTORS=write cargo test -p knock-spa --test vectors` writes the first anew.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test, a panic is a failure"
)]

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use knock_spa::client::{Draft, Pending, Profile};
use knock_spa::code::{Code, CodeSalt};
use knock_spa::keys::{AuthorizedKey, KeyRing, Options, Revoked};
use knock_spa::reply::What;
use knock_spa::ssh::{PublicKey, Signature};
use knock_spa::{
    Circumstances, CookieKey, Decision, DoorName, DoorRule, Epoch, EpochNumber, Outcome, Purpose,
    Refusal, Reply, Request, ServerKey, Servers, Site, SiteKey, Suite, UnixMillis, Unsealed,
    Window, verify,
};
use serde_json::{Value, json};

use knock_spa::rand_core;
#[path = "../src/testing.rs"]
mod testing;
use testing::TestRng;

const NOW: UnixMillis = UnixMillis(1_795_737_600_000);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("hex digits");
    let pair = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(pair).collect()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    unhex(value).try_into().expect("so many bytes")
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).expect("short").to_be_bytes());
    out.extend(bytes);
}

fn strings(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    parts.iter().for_each(|part| string(&mut out, part));
    out
}

fn mpint(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let mut out = number[zeros..].to_vec();
    if out.first().is_some_and(|first| *first >= 0x80) {
        out.insert(0, 0);
    }
    out
}

#[derive(Copy, Clone)]
enum Kind {
    Ed25519,
    P256,
    SkEd25519,
}

/// A signer of each kind, of a seed.
struct Key(Kind, [u8; 32]);

impl Key {
    fn public(&self) -> Vec<u8> {
        let ed = SigningKey::from_bytes(&self.1).verifying_key();
        match self.0 {
            Kind::Ed25519 => strings(&[b"ssh-ed25519", ed.as_bytes()]),
            Kind::SkEd25519 => strings(&[b"sk-ssh-ed25519@openssh.com", ed.as_bytes(), b"ssh:"]),
            Kind::P256 => {
                let key = p256::ecdsa::SigningKey::from_slice(&self.1).expect("a key");
                let point = key.verifying_key().to_sec1_point(false);
                strings(&[b"ecdsa-sha2-nistp256", b"nistp256", point.as_bytes()])
            }
        }
    }

    fn sign(&self, data: &[u8]) -> Signature {
        let ed = SigningKey::from_bytes(&self.1);
        let blob = match self.0 {
            Kind::Ed25519 => strings(&[b"ssh-ed25519", &ed.sign(data).to_bytes()]),
            Kind::SkEd25519 => {
                use sha2::{Digest, Sha256};
                let trailer = [5, 0, 0, 1, 2];
                let mut message = Sha256::digest(b"ssh:").to_vec();
                message.extend(trailer);
                message.extend(Sha256::digest(data));
                let signature = ed.sign(&message).to_bytes();
                let mut blob = strings(&[b"sk-ssh-ed25519@openssh.com", &signature]);
                blob.extend(trailer);
                blob
            }
            Kind::P256 => {
                let key = p256::ecdsa::SigningKey::from_slice(&self.1).expect("a key");
                let signature: p256::ecdsa::Signature = key.sign(data);
                let bytes = signature.to_bytes();
                let (r, s) = bytes.split_at(32);
                let inner = strings(&[&mpint(r), &mpint(s)]);
                strings(&[b"ecdsa-sha2-nistp256", &inner])
            }
        };
        Signature::from_agent(&blob).expect("a signature")
    }
}

fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Open => "open",
        Purpose::Close => "close",
        Purpose::Ask => "ask",
    }
}

fn request_json(request: &Request) -> Value {
    json!({
        "bytes": hex(&request.to_bytes()),
        "suite": request.suite.number(),
        "purpose": purpose(request.purpose),
        "time": request.time.0,
        "key": hex(&request.key.0),
        "door": request.door.as_str(),
        "open_for": request.open_for.map_or(0, |seconds| seconds.get()),
        "claimed": request.claimed.map(|address| address.to_string()),
    })
}

struct Case {
    name: &'static str,
    key: Key,
    purpose: Purpose,
    door: &'static str,
    open_for: u32,
    claimed: Option<&'static str>,
    seen: &'static str,
    outcome: Outcome,
}

fn cases() -> Vec<Case> {
    let opened = Outcome::Opened {
        until: Some(UnixMillis(NOW.0 + 30_000)),
        what: What::new("tcp/22"),
    };
    vec![
        Case {
            name: "ed25519, opened",
            key: Key(Kind::Ed25519, [1; 32]),
            purpose: Purpose::Open,
            door: "ssh",
            open_for: 30,
            claimed: Some("192.0.2.7"),
            seen: "192.0.2.7",
            outcome: opened.clone(),
        },
        Case {
            name: "ecdsa p-256, asked, IPv6, the longest name",
            key: Key(Kind::P256, [2; 32]),
            purpose: Purpose::Ask,
            door: "abcdefghijklmnopqrstuvwxyz.01234",
            open_for: 0,
            claimed: Some("2001:db8::7"),
            seen: "2001:db8::7",
            outcome: Outcome::WouldOpen {
                until: None,
                what: What::new("udp/51820 für alle"),
            },
        },
        Case {
            name: "security key, clock off",
            key: Key(Kind::SkEd25519, [3; 32]),
            purpose: Purpose::Close,
            door: "web",
            open_for: u32::MAX,
            claimed: None,
            seen: "198.51.100.1",
            outcome: Outcome::Refused(Refusal::ClockOff(-61_234)),
        },
        Case {
            name: "ed25519, to be confirmed",
            key: Key(Kind::Ed25519, [4; 32]),
            purpose: Purpose::Open,
            door: "ssh",
            open_for: 0,
            claimed: None,
            seen: "203.0.113.9",
            outcome: Outcome::Closed, // Stands for whatever the keeper asks.
        },
    ]
}

fn make(case: Case, seed: u64) -> Value {
    let mut rng = TestRng::new(seed);
    let epoch = Epoch {
        number: EpochNumber(1),
        server: ServerKey::generate(&mut rng),
        site: SiteKey::generate(&mut rng),
    };
    let blob = case.key.public();
    let public = PublicKey::from_blob(&blob).expect("a key");
    let request = Request {
        suite: Suite::X25519,
        purpose: case.purpose,
        time: NOW,
        key: public.id(),
        door: DoorName::new(case.door).expect("a name"),
        open_for: std::num::NonZeroU32::new(case.open_for),
        claimed: case.claimed.map(|text| text.parse().expect("an address")),
    };
    let profile = Profile {
        server: epoch.server.public(),
        site: epoch.site.clone(),
    };
    let draft = Draft::new(&profile, request.clone(), &mut rng).expect("a draft");
    let (message, to_sign) = (draft.message(), draft.to_sign());
    let signature = case.key.sign(&to_sign);
    let algorithm = signature.algorithm().name();
    let (datagram, pending) = draft.seal(signature, None).expect("it fits");
    let seen: IpAddr = case.seen.parse().expect("an address");
    let site = Site::new(&epoch, None);
    let unsealed = open(&site, &datagram);
    let asks = case.name.ends_with("to be confirmed");
    let outcome = if asks {
        ask(&unsealed, &epoch, public, seen)
    } else {
        case.outcome
    };
    let reply = Reply {
        time: UnixMillis(NOW.0 + 17),
        seen,
        outcome,
    };
    let sealed = reply.seal(unsealed.channel(), &mut rng);
    assert_eq!(pending.open(&sealed).as_ref(), Ok(&reply));
    json!({
        "name": case.name,
        "server_secret": hex(epoch.server.expose()),
        "server_public": hex(&epoch.server.public().0),
        "site_key": hex(epoch.site.expose()),
        "public_key": hex(&blob),
        "algorithm": algorithm,
        "request": request_json(&request),
        "message": hex(&message),
        "to_sign": hex(&to_sign),
        "datagram": hex(&datagram),
        "reply": reply_json(&reply, &sealed),
        "confirm": asks.then(|| confirm(&pending, &reply, &site, &mut rng)),
    })
}

fn open(site: &Site, datagram: &[u8]) -> Unsealed {
    let admitted = site.admit(datagram).expect("the tag is good");
    Site::unseal(&admitted).expect("it opens")
}

fn cookies() -> CookieKey {
    CookieKey::generate(&mut TestRng::new(99))
}

/// What the keeper answers if the door is one that asks.
fn ask(unsealed: &Unsealed, epoch: &Epoch, key: PublicKey, source: IpAddr) -> Outcome {
    let rule = DoorRule { confirm: true };
    match judge(unsealed, epoch, key, source, rule) {
        Some(Outcome::Confirm(cookie)) => Outcome::Confirm(cookie),
        other => panic!("{other:?}"),
    }
}

fn judge(
    unsealed: &Unsealed,
    epoch: &Epoch,
    key: PublicKey,
    source: IpAddr,
    rule: DoorRule,
) -> Option<Outcome> {
    let Unsealed::Request(request) = unsealed else {
        return None;
    };
    let line = AuthorizedKey {
        key,
        options: Options::default(),
        comment: "".into(),
        line: 1,
        file: 0,
    };
    let ring = KeyRing::new([line], Revoked::default());
    let servers = Servers {
        current: (epoch.number, epoch.server.public()),
        previous: None,
    };
    let knock = verify(request, &servers, &ring).ok()?;
    let mut window = Window::new(Duration::from_secs(60), UnixMillis(0));
    let cookies = cookies();
    let here = Circumstances {
        source,
        now: NOW,
        door: Some(rule),
        cookies: &cookies,
    };
    Some(match knock.judge(&here, &mut window) {
        Decision::Granted { .. } => Outcome::Closed,
        Decision::Confirm(cookie) => Outcome::Confirm(cookie),
        Decision::Refused(why) => Outcome::Refused(why),
    })
}

fn reply_json(reply: &Reply, sealed: &[u8]) -> Value {
    json!({ "datagram": hex(sealed), "time": reply.time.0, "seen": reply.seen.to_string(),
        "outcome": format!("{:?}", reply.outcome) })
}

fn confirm(pending: &Pending, reply: &Reply, site: &Site, rng: &mut TestRng) -> Value {
    let (datagram, next) = pending.confirm(reply, rng).expect("asked for");
    let unsealed = open(site, &datagram);
    let Unsealed::Confirmation(confirmation) = &unsealed else {
        panic!("a confirmation");
    };
    assert!(confirmation.verify(&cookies()).is_ok());
    let reply = Reply {
        outcome: Outcome::Closed,
        ..reply.clone()
    };
    let sealed = reply.seal(unsealed.channel(), rng);
    assert_eq!(next.open(&sealed).as_ref(), Ok(&reply));
    json!({ "datagram": hex(&datagram), "reply": reply_json(&reply, &sealed) })
}

#[test]
fn the_vectors_are_what_this_crate_makes() {
    let made: Vec<_> = (1..)
        .zip(cases())
        .map(|(seed, case)| make(case, seed))
        .collect();
    let code = Code::generate(&mut TestRng::new(12));
    let salt = CodeSalt([7; 32]);
    let code = json!({ "code": code.reveal().as_str(), "salt": hex(&salt.0),
        "hash": hex(&code.hash(&salt).0) });
    let text = serde_json::to_string_pretty(&json!({ "packets": made, "code": code }));
    let text = text.expect("JSON") + "\n";
    let file = root().join("vectors.json");
    if std::env::var_os("SPA_VECTORS").is_some() {
        fs::write(&file, &text).expect("written");
    }
    let kept = fs::read_to_string(&file).expect("vectors.json");
    assert!(kept == text, "vectors.json differs: the wire has changed");
}

#[test]
fn what_another_implementation_makes_opens() {
    let text = fs::read_to_string(root().join("vectors-python.json")).expect("the vectors");
    let vectors: Value = serde_json::from_str(&text).expect("JSON");
    let packets = vectors["packets"].as_array().expect("a list");
    assert!(packets.len() >= 4);
    for packet in packets {
        let epoch = Epoch {
            number: EpochNumber(1),
            server: ServerKey::from_bytes(array(&packet["server_secret"])),
            site: SiteKey::from_bytes(array(&packet["site_key"])),
        };
        let site = Site::new(&epoch, None);
        let unsealed = open(&site, &unhex(&packet["datagram"]));
        let key = PublicKey::from_blob(&unhex(&packet["public_key"])).expect("a key");
        let source = packet["seen"].as_str().and_then(|text| text.parse().ok());
        let source = source.expect("an address");
        let outcome = judge(&unsealed, &epoch, key, source, DoorRule::default());
        assert_eq!(outcome, Some(Outcome::Closed), "{}", packet["name"]);
        let Unsealed::Request(_) = &unsealed else {
            panic!("a request");
        };
        let bytes = unsealed.to_bytes();
        assert_eq!(
            hex(&bytes[85..165]),
            packet["request"]["bytes"],
            "{}",
            packet["name"]
        );
    }
}

#[test]
fn another_implementation_opens_the_vectors() {
    let script = root().join("../../../testing/spa/check_vectors.py");
    match Command::new("python3").arg(script).output() {
        Err(error) => eprintln!("not run: python3: {error}"),
        Ok(output) => assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}
