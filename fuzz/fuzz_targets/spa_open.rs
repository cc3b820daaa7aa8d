//! Datagrams from strangers, from somebody with the site key, and from a listener that lies: none
//! becomes a knock without a signature by a key of the ring.
//!
//! The first byte says how far the fuzzer is helped: past the gate tag, past the seal, or past the
//! signature of a fixed key, so that it reaches what lies behind.
#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use knock_spa::client::{Draft, Profile};
use knock_spa::keys::{AuthorizedKey, KeyRing, Options, Revoked};
use knock_spa::rand_core::{self, Rng};
use knock_spa::ssh::{PublicKey, Signature};
use knock_spa::{
    Circumstances, CookieKey, DoorRule, Epoch, EpochNumber, Outcome, Reply, Request, ServerKey,
    Servers, Site, SiteKey, UnixMillis, Unsealed, Window, verify,
};
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/knock-spa/src/testing.rs"]
mod testing;
use testing::TestRng;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

struct World {
    epoch: Epoch,
    site: Site,
    servers: Servers,
    ring: KeyRing,
    cookies: CookieKey,
    key: SigningKey,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let epoch = Epoch {
        number: EpochNumber(1),
        server: ServerKey::from_bytes([1; 32]),
        site: SiteKey::from_bytes([2; 32]),
    };
    let key = SigningKey::from_bytes(&[3; 32]);
    let line = AuthorizedKey {
        key: public(&key),
        options: Options::default(),
        comment: "".into(),
        line: 1,
        file: 0,
    };
    World {
        site: Site::new(&epoch, None),
        servers: Servers {
            current: (epoch.number, epoch.server.public()),
            previous: None,
        },
        ring: KeyRing::new([line], Revoked::default()),
        cookies: CookieKey::generate(&mut TestRng::new(1)),
        epoch,
        key,
    }
});

fn strings(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        out.extend(u32::try_from(part.len()).unwrap_or(0).to_be_bytes());
        out.extend(*part);
    }
    out
}

fn public(key: &SigningKey) -> PublicKey {
    let blob = strings(&[b"ssh-ed25519", key.verifying_key().as_bytes()]);
    PublicKey::from_blob(&blob).expect("32 bytes are a key")
}

/// A message such as the listener sends, with what the fuzzer wants for request and block.
fn forged(request: &[u8], block: &[u8]) -> Option<Unsealed> {
    let mut bytes = vec![1, 0, 0, 0, 1];
    bytes.extend([0; 80]);
    bytes.extend(request);
    bytes.extend(block);
    Unsealed::from_bytes(&bytes)
}

fuzz_target!(|data: &[u8]| {
    let world = &*WORLD;
    let Some((how, data)) = data.split_first() else {
        return;
    };
    match how % 3 {
        // A stranger.
        0 => assert!(!world.site.tag_is_good(data)),
        // A listener that was taken over, without the user's key.
        1 => {
            let Some((request, block)) = data.split_at_checked(Request::LENGTH) else {
                return;
            };
            match forged(request, block) {
                Some(Unsealed::Request(request)) => {
                    assert!(verify(&request, &world.servers, &world.ring).is_err());
                }
                other => assert!(other.is_none()),
            }
        }
        // The user, who asks for anything.
        _ => {
            let Some((bytes, rest)) = data.split_first_chunk() else {
                return;
            };
            let Ok(mut request) = Request::from_bytes(bytes) else {
                return;
            };
            request.key = public(&world.key).id();
            let mut rng = TestRng::new(rng_seed(rest));
            let profile = Profile {
                server: world.epoch.server.public(),
                site: world.epoch.site.clone(),
            };
            let draft = Draft::new(&profile, request.clone(), &mut rng).expect("a draft");
            let signature = world.key.sign(&draft.to_sign()).to_bytes();
            let signature = Signature::from_agent(&strings(&[b"ssh-ed25519", &signature]));
            let (datagram, pending) = draft
                .seal(signature.expect("64 bytes"), None)
                .expect("it fits");
            let admitted = world.site.admit(&datagram).expect("the tag is good");
            let Ok(Unsealed::Request(unsealed)) = Site::unseal(&admitted) else {
                panic!("it opens");
            };
            let knock = verify(&unsealed, &world.servers, &world.ring).expect("authentic");
            assert_eq!(*knock.request(), request);
            let source = IpAddr::from([192, 0, 2, 1]);
            let door = Some(DoorRule {
                confirm: rest.first().is_some_and(|byte| byte & 1 == 1),
            });
            let here = Circumstances {
                source,
                now: NOW,
                door,
                cookies: &world.cookies,
            };
            let mut window = Window::new(Duration::from_secs(60), UnixMillis(0));
            let off = request.time.since(NOW).unsigned_abs() > 60_000;
            let first = format!("{:?}", knock.judge(&here, &mut window));
            assert!(!off || first.contains("ClockOff"));
            if first.starts_with("Granted") {
                assert!(format!("{:?}", knock.judge(&here, &mut window)).contains("Replay"));
            }
            let reply = Reply {
                time: NOW,
                seen: source,
                outcome: Outcome::Closed,
            };
            let sealed = reply.seal(knock.channel(), &mut rng);
            assert_eq!(pending.open(&sealed), Ok(reply));
            // And what the fuzzer has left over is no answer to it.
            assert!(pending.open(rest).is_err());
        }
    }
});

fn rng_seed(rest: &[u8]) -> u64 {
    let mut seed = TestRng::new(rest.len().try_into().unwrap_or(0));
    seed.next_u64()
}
