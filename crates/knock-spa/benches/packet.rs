//! What a datagram costs, against the budgets: `cargo bench -p knock-spa`.
//!
//! Medians of CPU time. `-- --json` gives a line of JSON each. Without cargo's `--bench` (so under
//! `cargo test`) it only shows that it runs. It fails if a budget is not held.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test, a panic is a failure"
)]

use std::env;
use std::hint::black_box;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use knock_spa::client::{Draft, Profile};
use knock_spa::keys::{AuthorizedKey, KeyRing, Options, Revoked};
use knock_spa::ssh::{PublicKey, Signature};
use knock_spa::{
    Circumstances, CookieKey, Decision, DoorName, DoorRule, Epoch, EpochNumber, Purpose, Request,
    ServerKey, Servers, Site, SiteKey, Suite, UnixMillis, Unsealed, Window, rand_core, verify,
};
use rand_core::Rng;
use rustix::time::{ClockId, clock_gettime};

#[path = "../src/testing.rs"]
mod testing;
use testing::TestRng;

const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const NOW: u64 = 1_800_000_000_000;

fn main() -> ExitCode {
    let has = |flag: &str| env::args().any(|arg| arg == flag);
    let (rounds, repeats) = if has("--bench") { (400, 11) } else { (2, 1) };
    let mut held = true;
    for (name, most, nanos) in measure(rounds, repeats) {
        let fits = most.is_none_or(|most| nanos <= most);
        held &= fits;
        if has("--json") {
            println!(
                "{{\"name\":\"{name}\",\"ns\":{nanos:.0},\"budget\":{}}}",
                most.unwrap_or(0.0)
            );
        } else {
            let verdict = if fits { "" } else { "  OVER BUDGET" };
            println!("{name:<64} {nanos:>12.0} ns{verdict}");
        }
    }
    if held || !has("--bench") {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Makes a signature blob as an agent does.
type Sign<'a> = dyn Fn(&[u8]) -> Vec<u8> + 'a;
type Line = (String, Option<f64>, f64);

fn measure(rounds: u32, repeats: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let (current, previous) = (epoch(2), epoch(1));
    let mut rng = TestRng::new(3);
    let sites = [
        ("one epoch", Site::new(&current, None)),
        ("two", Site::new(&current, Some(&previous))),
    ];
    for length in knock_spa::site::LENGTHS {
        let mut junk = vec![0; length];
        rng.fill_bytes(&mut junk);
        for (epochs, site) in &sites {
            let nanos = time(rounds * 50, repeats, || {
                black_box(site.tag_is_good(black_box(&junk)));
            });
            // A flood can choose the length.
            lines.push((
                format!("junk of {length} bytes, no site key, {epochs}"),
                Some(1000.0),
                nanos,
            ));
        }
    }
    for users in [1, 10_000] {
        lines.extend(with_ring(users, &current, rounds, repeats));
    }
    #[cfg(feature = "rsa")]
    lines.extend(rsa(rounds, repeats));
    lines
}

fn with_ring(users: u32, epoch: &Epoch, rounds: u32, repeats: usize) -> Vec<Line> {
    let site = Site::new(epoch, None);
    let servers = Servers {
        current: (epoch.number, epoch.server.public()),
        previous: None,
    };
    let ed = SigningKey::from_bytes(&[9; 32]);
    let p256 = p256::ecdsa::SigningKey::from_slice(&[9; 32]).expect("a key");
    let point = p256.verifying_key().to_sec1_point(false);
    let keys = [
        public(&[b"ssh-ed25519", ed.verifying_key().as_bytes()]),
        public(&[b"ecdsa-sha2-nistp256", b"nistp256", point.as_bytes()]),
    ];
    let others = (1..users).map(|n| {
        let mut point = [0; 32];
        point
            .iter_mut()
            .zip(n.to_be_bytes())
            .for_each(|(to, from)| *to = from);
        public(&[b"ssh-ed25519", &point])
    });
    let ring = KeyRing::new(others.chain(keys.clone()).map(line), Revoked::default());
    let [ed_key, p256_key] = keys;
    let mut junk = vec![0; 256];
    TestRng::new(4).fill_bytes(&mut junk);
    let mut lines = vec![(
        format!("junk of 256 bytes, no site key, {users} keys"),
        Some(1000.0),
        time(rounds * 50, repeats, || {
            black_box(site.tag_is_good(black_box(&junk)));
        }),
    )];

    let stranger = SigningKey::from_bytes(&[10; 32]);
    let unknown = public(&[b"ssh-ed25519", stranger.verifying_key().as_bytes()]);
    let ed_sign = |data: &[u8]| strings(&[b"ssh-ed25519", &ed.sign(data).to_bytes()]);
    let p256_sign = |data: &[u8]| {
        let signature: p256::ecdsa::Signature = p256.sign(data);
        let mpints: Vec<_> = signature.to_bytes().chunks(32).map(mpint).collect();
        strings(&[b"ecdsa-sha2-nistp256", &strings(&[&mpints[0], &mpints[1]])])
    };
    let cases: [(&str, Option<f64>, &PublicKey, &Sign<'_>); 3] = [
        ("site key, unknown user", None, &unknown, &ed_sign),
        ("authentic, ed25519", Some(500_000.0), &ed_key, &ed_sign),
        ("authentic, p256", None, &p256_key, &p256_sign),
    ];
    for (what, most, key, sign) in cases {
        let datagram = datagram(epoch, key, sign);
        let nanos = time(rounds, repeats, || {
            black_box(whole(&site, &servers, &ring, &datagram));
        });
        lines.push((
            format!("{what}, {users} keys: tag to decision"),
            most,
            nanos,
        ));
    }
    let datagram = datagram(epoch, &ed_key, &ed_sign);
    let unseal = time(rounds, repeats, || {
        let unsealed = site
            .admit(&datagram)
            .map(|admitted| Site::unseal(&admitted));
        black_box(unsealed.is_some());
    });
    lines.push((
        format!("the listener's share of it, {users} keys"),
        None,
        unseal,
    ));
    lines
}

/// A key of 3,072 bits made by `ssh-keygen`, and one signature by it: RSA is slow to make here.
#[cfg(feature = "rsa")]
fn rsa(rounds: u32, repeats: usize) -> Option<Line> {
    use std::process::Command;
    let folder = tempfile::tempdir().ok()?;
    let keygen = |args: &[&str]| {
        let status = Command::new("ssh-keygen")
            .current_dir(&folder)
            .args(args)
            .status();
        status.is_ok_and(|status| status.success()).then_some(())
    };
    keygen(&["-q", "-t", "rsa", "-b", "3072", "-N", "", "-f", "key"])?;
    let text = std::fs::read(folder.path().join("key.pub")).ok()?;
    let lines = knock_spa::keys::read(&text, 0, &|_| None).keys;
    let key = lines.first()?.key.clone();
    let epoch = epoch(2);
    let profile = Profile {
        server: epoch.server.public(),
        site: epoch.site.clone(),
    };
    let draft = Draft::new(&profile, request(&key), &mut TestRng::new(1)).ok()?;
    std::fs::write(folder.path().join("m"), draft.message()).ok()?;
    keygen(&[
        "-q",
        "-Y",
        "sign",
        "-n",
        knock_spa::ssh::sshsig::NAMESPACE,
        "-f",
        "key",
        "m",
    ])?;
    let signature = std::fs::read_to_string(folder.path().join("m.sig")).ok()?;
    let signature = knock_spa::ssh::sshsig::from_armored(&signature).ok()?;
    let (datagram, _) = draft.seal(signature, None).ok()?;
    let site = Site::new(&epoch, None);
    let servers = Servers {
        current: (epoch.number, epoch.server.public()),
        previous: None,
    };
    let ring = KeyRing::new(lines, Revoked::default());
    let nanos = time(rounds, repeats, || {
        assert!(whole(&site, &servers, &ring, &datagram));
    });
    Some(("authentic, rsa 3072: tag to decision".into(), None, nanos))
}

/// All that both processes do for one datagram.
fn whole(site: &Site, servers: &Servers, ring: &KeyRing, datagram: &[u8]) -> bool {
    let Some(Ok(Unsealed::Request(request))) =
        site.admit(datagram).map(|admitted| Site::unseal(&admitted))
    else {
        return false;
    };
    let cookies = CookieKey::generate(&mut TestRng::new(1));
    let mut window = Window::new(Duration::from_secs(60), UnixMillis(0));
    let here = Circumstances {
        source: HOME,
        now: UnixMillis(NOW),
        door: Some(DoorRule::default()),
        cookies: &cookies,
    };
    verify(&request, servers, ring)
        .is_ok_and(|knock| matches!(knock.judge(&here, &mut window), Decision::Granted { .. }))
}

fn epoch(number: u8) -> Epoch {
    Epoch {
        number: EpochNumber(number.into()),
        server: ServerKey::from_bytes([number; 32]),
        site: SiteKey::from_bytes([number + 100; 32]),
    }
}

fn request(key: &PublicKey) -> Request {
    Request {
        suite: Suite::X25519,
        purpose: Purpose::Open,
        time: UnixMillis(NOW),
        key: key.id(),
        door: DoorName::new("ssh").expect("a name"),
        open_for: None,
        claimed: None,
    }
}

fn datagram(epoch: &Epoch, key: &PublicKey, sign: &Sign<'_>) -> Vec<u8> {
    let profile = Profile {
        server: epoch.server.public(),
        site: epoch.site.clone(),
    };
    let draft = Draft::new(&profile, request(key), &mut TestRng::new(1)).expect("a draft");
    let signature = Signature::from_agent(&sign(&draft.to_sign())).expect("a signature");
    draft.seal(signature, None).expect("it fits").0
}

fn line(key: PublicKey) -> AuthorizedKey {
    AuthorizedKey {
        key,
        options: Options::default(),
        comment: "".into(),
        line: 1,
        file: 0,
    }
}

fn public(parts: &[&[u8]]) -> PublicKey {
    PublicKey::from_blob(&strings(parts)).expect("a key")
}

fn strings(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        out.extend(u32::try_from(part.len()).expect("short").to_be_bytes());
        out.extend(*part);
    }
    out
}

fn mpint(number: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = number
        .iter()
        .copied()
        .skip_while(|byte| *byte == 0)
        .collect();
    if out.first().is_some_and(|first| *first >= 0x80) {
        out.insert(0, 0);
    }
    out
}

/// Nanoseconds of CPU time for one `work`: the median of `repeats` means.
fn time(rounds: u32, repeats: usize, mut work: impl FnMut()) -> f64 {
    let mut times: Vec<_> = (0..repeats)
        .map(|_| {
            let start = cpu_seconds();
            (0..rounds).for_each(|_| work());
            (cpu_seconds() - start) * 1e9 / f64::from(rounds)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// CPU time of this thread.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).map_or(f64::NAN, |time| time.as_secs_f64())
}
