//! Knocks signed by the real `ssh-keygen`, with keys and certificates of the real `ssh-keygen`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a panic is a failure"
)]

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use knock_spa::client::{Draft, Profile};
use knock_spa::keys::{KeyRing, Revoked, read};
use knock_spa::ssh::{BadSignature, PublicKey, sshsig};
use knock_spa::{
    Circumstances, CookieKey, Decision, DoorName, DoorRule, Epoch, EpochNumber, Purpose, Refusal,
    Request, ServerKey, Servers, Site, SiteKey, Suite, UnixMillis, Unproven, Unsealed, Window,
    verify,
};
use tempfile::TempDir;

use knock_spa::rand_core;
#[path = "../src/testing.rs"]
mod testing;
use testing::TestRng;

const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
/// 2026-11-27T00:00:00Z
const NOW: UnixMillis = UnixMillis(1_795_737_600_000);

/// A folder with keys in it.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn keygen(&self, args: &[&str]) {
        let mut command = Command::new("ssh-keygen");
        command
            .current_dir(self.0.path())
            .args(args)
            .stdin(Stdio::null());
        let output = command
            .output()
            .expect("ssh-keygen of openssh-client is installed");
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn key(&self, name: &str, kind: &str, bits: &str) -> String {
        self.keygen(&[
            "-q", "-t", kind, "-b", bits, "-N", "", "-C", "test", "-f", name,
        ]);
        fs::read_to_string(self.path(&format!("{name}.pub"))).expect("a public key")
    }

    /// A certificate by the key `authority` for the key `subject`.
    fn certify(&self, authority: &str, subject: &str, more: &[&str]) -> Vec<u8> {
        let public = format!("{subject}.pub");
        let mut args = vec!["-q", "-s", authority, "-I", "alice laptop"];
        args.extend(more);
        args.push(&public);
        self.keygen(&args);
        blob(&fs::read_to_string(self.path(&format!("{subject}-cert.pub"))).expect("a certificate"))
    }

    fn sign(&self, key: &str, message: &[u8], namespace: &str) -> String {
        let file = self.path("message");
        fs::write(&file, message).expect("written");
        let signature = self.path("message.sig");
        if signature.exists() {
            fs::remove_file(&signature).expect("removed");
        }
        self.keygen(&["-q", "-Y", "sign", "-n", namespace, "-f", key, "message"]);
        fs::read_to_string(signature).expect("a signature")
    }
}

/// The second word of a public key's line, decoded by nothing of ours.
fn blob(line: &str) -> Vec<u8> {
    let digits = line.split_whitespace().nth(1).expect("two words");
    let mut out = Vec::new();
    let (mut bits, mut have) = (0_u32, 0);
    for c in digits.bytes().filter(|c| *c != b'=') {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digit = alphabet.iter().position(|each| *each == c).expect("base64");
        bits = (bits << 6 | u32::try_from(digit).expect("small")) & 0xffff;
        have += 6;
        if have >= 8 {
            have -= 8;
            out.push(u8::try_from(bits >> have & 0xff).expect("a byte"));
        }
    }
    out
}

fn ring(text: &str, revoked: &str) -> KeyRing {
    let read = read(text.as_bytes(), 0, &|civil| Some(civil.utc()));
    assert_eq!(read.mistakes, []);
    KeyRing::new(
        read.keys,
        Revoked::read(revoked.as_bytes()).expect("a list"),
    )
}

fn epoch() -> Epoch {
    Epoch {
        number: EpochNumber(1),
        server: ServerKey::from_bytes([3; 32]),
        site: SiteKey::from_bytes([4; 32]),
    }
}

fn draft(public: &str) -> Draft {
    let request = Request {
        suite: Suite::X25519,
        purpose: Purpose::Open,
        time: NOW,
        key: PublicKey::from_blob(&blob(public)).expect("a key").id(),
        door: DoorName::new("ssh").expect("a name"),
        open_for: None,
        claimed: None,
    };
    let profile = Profile {
        server: epoch().server.public(),
        site: epoch().site,
    };
    Draft::new(&profile, request, &mut TestRng::new(1)).expect("a draft")
}

/// The length of the datagram, and what becomes of it.
fn knock(
    desk: &Desk,
    name: &str,
    public: &str,
    certificate: Option<&[u8]>,
    ring: &KeyRing,
) -> (usize, Result<Result<(), Refusal>, Unproven>) {
    let draft = draft(public);
    let armored = desk.sign(name, &draft.message(), sshsig::NAMESPACE);
    let signature = sshsig::from_armored(&armored).expect("a signature");
    let (datagram, _) = draft.seal(signature, certificate).expect("it fits");
    let site = Site::new(&epoch(), None);
    let unsealed = Site::unseal(&site.admit(&datagram).expect("a good tag")).expect("it opens");
    let Unsealed::Request(unsealed) = unsealed else {
        panic!("a request");
    };
    let servers = Servers {
        current: (EpochNumber(1), epoch().server.public()),
        previous: None,
    };
    let cookies = CookieKey::generate(&mut TestRng::new(2));
    let here = Circumstances {
        source: HOME,
        now: NOW,
        door: Some(DoorRule::default()),
        cookies: &cookies,
    };
    let mut window = Window::new(Duration::from_secs(60), UnixMillis(0));
    let outcome =
        verify(&unsealed, &servers, ring).map(|knock| match knock.judge(&here, &mut window) {
            Decision::Granted { .. } => Ok(()),
            Decision::Refused(why) => Err(why),
            Decision::Confirm(_) => panic!("not asked for"),
        });
    (datagram.len(), outcome)
}

#[test]
fn keys_of_every_kind_open() {
    let desk = Desk::new();
    let mut kinds = vec![
        ("ed25519", "256", 256),
        ("ecdsa", "256", 256),
        ("ecdsa", "384", 256),
        ("ecdsa", "521", 448),
    ];
    if cfg!(feature = "rsa") {
        kinds.extend([
            ("rsa", "2048", 448),
            ("rsa", "3072", 704),
            ("rsa", "4096", 704),
        ]);
    }
    for (kind, bits, length) in kinds {
        let name = format!("{kind}{bits}");
        let public = desk.key(&name, kind, bits);
        let got = knock(&desk, &name, &public, None, &ring(&public, ""));
        assert_eq!(got, (length, Ok(Ok(()))), "{name}");
        let none = ring("", "");
        assert_eq!(
            knock(&desk, &name, &public, None, &none).1,
            Err(Unproven::UnknownKey)
        );
    }
}

#[test]
fn rsa_that_is_too_short_is_no_key() {
    let desk = Desk::new();
    let public = desk.key("short", "rsa", "1024");
    let read = read(public.as_bytes(), 0, &|_| None);
    assert!(read.keys.is_empty() && read.mistakes.len() == 1);
}

#[test]
fn a_signature_for_something_else_is_none() {
    let desk = Desk::new();
    let public = desk.key("key", "ed25519", "256");
    let draft = draft(&public);
    let other = desk.sign("key", &draft.message(), "git");
    assert_eq!(
        sshsig::from_armored(&other).err(),
        Some(BadSignature::Namespace)
    );
    let over_other = desk.sign("key", b"something else", sshsig::NAMESPACE);
    let signature = sshsig::from_armored(&over_other).expect("a signature");
    let (datagram, _) = draft.seal(signature, None).expect("it fits");
    let site = Site::new(&epoch(), None);
    let unsealed = Site::unseal(&site.admit(&datagram).expect("a good tag"));
    let Ok(Unsealed::Request(unsealed)) = unsealed else {
        panic!("a request");
    };
    let servers = Servers {
        current: (EpochNumber(1), epoch().server.public()),
        previous: None,
    };
    let outcome = verify(&unsealed, &servers, &ring(&public, "")).map(|_| ());
    assert_eq!(outcome, Err(Unproven::Signature));
}

#[test]
fn certificates_open_and_are_held_to_what_they_say() {
    let desk = Desk::new();
    let authority = desk.key("ca", "ed25519", "256");
    let other = desk.key("other", "ed25519", "256");
    let public = desk.key("user", "ed25519", "256");
    let line = format!("cert-authority,principals=\"ops,dev\" {authority}");
    let always = &["-n", "dev,web", "-z", "77"][..];
    let try_one = |more: &[&str], line: &str, revoked: &str| {
        let certificate = desk.certify("ca", "user", more);
        knock(
            &desk,
            "user",
            &public,
            Some(&certificate),
            &ring(line, revoked),
        )
    };
    let (length, outcome) = try_one(always, &line, "");
    assert_eq!(outcome, Ok(Ok(())));
    assert_eq!(length, 704);

    let foreign = format!("cert-authority,principals=\"dev\" {other}");
    assert_eq!(try_one(always, &foreign, "").1, Err(Unproven::UnknownKey));
    assert_eq!(
        try_one(always, &authority, "").1,
        Err(Unproven::UnknownKey),
        "no authority"
    );
    for (more, revoked, why) in [
        (&["-n", "web"][..], "", Refusal::Principal),
        (&[], "", Refusal::Principal),
        (always, "serial: 70-80", Refusal::Revoked),
        (always, "id: alice laptop", Refusal::Revoked),
        (always, &format!("key: {public}"), Refusal::Revoked),
        (always, &authority, Refusal::Revoked),
        (
            &["-n", "dev", "-O", "source-address=203.0.113.0/24"],
            "",
            Refusal::AddressNotAllowed,
        ),
        (
            &["-n", "dev", "-O", "verify-required"],
            "",
            Refusal::VerifyRequired,
        ),
        (
            &["-n", "dev", "-V", "20200101000000Z:20210101000000Z"],
            "",
            Refusal::Expired(1_609_459_200),
        ),
        (
            &["-n", "dev", "-V", "20400101000000Z:20410101000000Z"],
            "",
            Refusal::NotYetValid(2_208_988_800),
        ),
    ] {
        assert_eq!(
            try_one(more, &line, revoked).1,
            Ok(Err(why)),
            "{more:?} {revoked:?}"
        );
    }
    for more in [
        &["-n", "dev", "-O", "source-address=192.0.2.0/24"][..],
        &["-n", "dev", "-O", "force-command=true"],
        &["-n", "dev", "-O", "extension:whatever@example.org=x"],
    ] {
        assert_eq!(try_one(more, &line, "serial: 5").1, Ok(Ok(())), "{more:?}");
    }
    for more in [
        &["-n", "dev", "-O", "critical:unknown@example.org=x"][..],
        &["-h", "-n", "dev"],
    ] {
        let outcome = try_one(more, &line, "").1;
        assert!(matches!(outcome, Err(Unproven::Certificate(_))), "{more:?}");
    }
}

#[test]
fn a_certificate_is_for_its_key_and_every_byte_of_it_counts() {
    let desk = Desk::new();
    let authority = desk.key("ca", "ecdsa", "256");
    let public = desk.key("user", "ed25519", "256");
    let thief = desk.key("thief", "ed25519", "256");
    let ring = ring(
        &format!("cert-authority,principals=\"dev\" {authority}"),
        "",
    );
    let certificate = desk.certify("ca", "user", &["-n", "dev"]);
    let stolen = knock(&desk, "thief", &public, Some(&certificate), &ring).1;
    assert_eq!(stolen, Err(Unproven::Signature));
    let renamed = knock(&desk, "thief", &thief, Some(&certificate), &ring).1;
    assert_eq!(renamed, Err(Unproven::OtherKey));
    let read = knock_spa::ssh::Certificate::from_blob(&certificate).expect("a certificate");
    let key = PublicKey::from_blob(&blob(&authority)).expect("a key");
    assert!(read.is_signed_by(&key));
    for at in 0..certificate.len() {
        for bit in [1, 0x10, 0x80] {
            let mut other = certificate.clone();
            other[at] ^= bit;
            let good = knock_spa::ssh::Certificate::from_blob(&other);
            assert!(
                !good.is_ok_and(|other| other.is_signed_by(&key)),
                "byte {at}"
            );
        }
        let cut = knock_spa::ssh::Certificate::from_blob(&certificate[..at]);
        assert!(cut.is_err(), "{at} bytes");
    }
}

#[test]
#[cfg(feature = "rsa")]
fn certificates_of_mixed_kinds_open() {
    let desk = Desk::new();
    for (n, (authority, of)) in [
        ("rsa", "ed25519"),
        ("ed25519", "ecdsa"),
        ("ecdsa", "ed25519"),
    ]
    .into_iter()
    .enumerate()
    {
        let bits = |kind: &str| match kind {
            "rsa" => "2048",
            _ => "256",
        };
        let (ca, user) = (format!("ca{n}"), format!("user{n}"));
        let authority = desk.key(&ca, authority, bits(authority));
        let public = desk.key(&user, of, bits(of));
        let ring = ring(
            &format!("cert-authority,principals=\"dev\" {authority}"),
            "",
        );
        let certificate = desk.certify(&ca, &user, &["-n", "dev"]);
        let (_, outcome) = knock(&desk, &user, &public, Some(&certificate), &ring);
        assert_eq!(outcome, Ok(Ok(())), "{authority}");
    }
}
