//! Whole exchanges: client, listener, keeper and back.

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::num::NonZeroU32;
use core::time::Duration;
use std::string::String;

use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;

use crate::client::{Draft, Pending, Profile};
use crate::door::DoorName;
use crate::keys::{AddressList, AuthorizedKey, KeyRing, Options, Revoked};
use crate::reply::{BadReply, Outcome, Refusal, Reply, What};
use crate::request::{Purpose, Request, Suite, UnixMillis};
use crate::secret::{ServerKey, SiteKey};
use crate::site::{CONFIRM_LENGTH, Epoch, EpochNumber, LENGTHS, REPLY_LENGTH, Site};
use crate::ssh::{PublicKey, Signature};
use crate::testing::TestRng;
use crate::unsealed::{Unsealed, UnsealedRequest};
use crate::verify::{Circumstances, CookieKey, Decision, DoorRule, Servers, Unproven, verify};
use crate::window::Window;
use crate::wire::put_string;

mod equal_work;

const NOW: UnixMillis = UnixMillis(1_800_000_000_123);
const HOME: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 7));
const THIEF: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(198, 51, 100, 66));

fn epoch(number: u32) -> Epoch {
    let seed = u8::try_from(number).expect("small");
    Epoch {
        number: EpochNumber(number),
        server: ServerKey::from_bytes([seed; 32]),
        site: SiteKey::from_bytes([seed ^ 0x55; 32]),
    }
}

fn signer(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(key: &SigningKey) -> PublicKey {
    let mut blob = Vec::new();
    put_string(&mut blob, b"ssh-ed25519");
    put_string(&mut blob, key.verifying_key().as_bytes());
    PublicKey::from_blob(&blob).expect("a key")
}

fn line(key: PublicKey, options: Options) -> AuthorizedKey {
    AuthorizedKey {
        key,
        options,
        comment: "alice".into(),
        line: 1,
        file: 0,
    }
}

fn sign(key: &SigningKey, data: &[u8]) -> Signature {
    let mut blob = Vec::new();
    put_string(&mut blob, b"ssh-ed25519");
    put_string(&mut blob, &key.sign(data).to_bytes());
    Signature::from_agent(&blob).expect("a signature")
}

/// A site with one user, and everything at hand.
struct World {
    site: Site,
    servers: Servers,
    ring: KeyRing,
    window: Window,
    cookies: CookieKey,
    rng: TestRng,
    key: SigningKey,
}

impl World {
    fn new(options: Options) -> Self {
        let (current, previous) = (epoch(2), epoch(1));
        let key = signer(9);
        Self {
            site: Site::new(&current, Some(&previous)),
            servers: Servers {
                current: (current.number, current.server.public()),
                previous: Some((previous.number, previous.server.public())),
            },
            ring: KeyRing::new([line(public(&key), options)], Revoked::default()),
            window: Window::new(Duration::from_secs(60), UnixMillis(0)),
            cookies: CookieKey::generate(&mut TestRng::new(5)),
            rng: TestRng::new(1),
            key,
        }
    }

    fn request(&self) -> Request {
        Request {
            suite: Suite::X25519,
            purpose: Purpose::Open,
            time: NOW,
            key: public(&self.key).id(),
            door: DoorName::new("ssh").expect("a name"),
            open_for: NonZeroU32::new(30),
            claimed: None,
        }
    }

    fn send(&mut self, request: Request) -> (Vec<u8>, Pending) {
        self.send_in(2, request)
    }

    fn send_in(&mut self, number: u32, request: Request) -> (Vec<u8>, Pending) {
        let epoch = epoch(number);
        let profile = Profile {
            server: epoch.server.public(),
            site: epoch.site,
        };
        let draft = Draft::new(&profile, request, &mut self.rng).expect("a draft");
        let signature = sign(&self.key, &draft.to_sign());
        draft.seal(signature, None).expect("it fits")
    }

    fn receive(&self, datagram: &[u8]) -> UnsealedRequest {
        match across(&self.site, datagram) {
            Unsealed::Request(request) => request,
            Unsealed::Confirmation(_) => panic!("not a request"),
        }
    }

    fn decide(&mut self, datagram: &[u8], source: IpAddr, rule: Option<DoorRule>) -> Outcome {
        let unsealed = self.receive(datagram);
        let knock = verify(&unsealed, &self.servers, &self.ring).expect("authentic");
        let here = Circumstances {
            source,
            now: NOW,
            door: rule,
            cookies: &self.cookies,
        };
        match knock.judge(&here, &mut self.window) {
            Decision::Granted { .. } => Outcome::Opened {
                until: None,
                what: What::new("tcp/22"),
            },
            Decision::Confirm(cookie) => Outcome::Confirm(cookie),
            Decision::Refused(why) => Outcome::Refused(why),
        }
    }
}

/// From the listener to the keeper, by bytes.
fn across(site: &Site, datagram: &[u8]) -> Unsealed {
    let admitted = site.admit(datagram).expect("the tag is good");
    let unsealed = Site::unseal(&admitted).expect("it opens");
    let bytes = unsealed.to_bytes();
    assert!(bytes.len() <= Unsealed::MAX);
    let again = Unsealed::from_bytes(&bytes).expect("it crosses");
    assert_eq!(again.to_bytes(), bytes);
    again
}

const PLAIN: Option<DoorRule> = Some(DoorRule { confirm: false });
const ASKS: Option<DoorRule> = Some(DoorRule { confirm: true });

fn opened() -> Outcome {
    Outcome::Opened {
        until: None,
        what: What::new("tcp/22"),
    }
}

#[test]
fn a_knock_opens_once_and_its_answer_is_read_by_the_sender_only() {
    let mut world = World::new(Options::default());
    let (datagram, pending) = world.send(world.request());
    assert_eq!(datagram.len(), 256);
    assert_eq!(world.decide(&datagram, HOME, PLAIN), opened());
    assert_eq!(
        world.decide(&datagram, HOME, PLAIN),
        Outcome::Refused(Refusal::Replay)
    );

    let unsealed = world.receive(&datagram);
    let reply = Reply {
        time: NOW,
        seen: HOME,
        outcome: opened(),
    };
    let one = reply.seal(unsealed.channel(), &mut world.rng);
    let two = reply.seal(unsealed.channel(), &mut world.rng);
    assert_ne!(one, two, "no key seals twice");
    assert_eq!(pending.open(&one), Ok(reply.clone()));
    assert_eq!(pending.open(&two), Ok(reply));
    let (_, other) = world.send(world.request());
    assert_eq!(other.open(&one), Err(BadReply::NotForThis));
    assert_eq!(pending.open(&one[1..]), Err(BadReply::Length));
}

#[test]
fn both_epochs_are_let_in_and_no_third() {
    let mut world = World::new(Options::default());
    for number in [1, 2] {
        let mut request = world.request();
        request.time.0 += u64::from(number);
        let (datagram, _) = world.send_in(number, request);
        assert_eq!(
            world.receive(&datagram).channel().epoch,
            EpochNumber(number)
        );
        assert_eq!(world.decide(&datagram, HOME, PLAIN), opened());
    }
    let (datagram, _) = world.send_in(3, world.request());
    assert!(!world.site.tag_is_good(&datagram));
}

#[test]
fn a_packet_for_another_server_of_the_same_site_is_not_for_us() {
    let mut world = World::new(Options::default());
    let profile = Profile {
        server: epoch(9).server.public(),
        site: epoch(2).site,
    };
    let draft = Draft::new(&profile, world.request(), &mut world.rng).expect("a draft");
    let signature = sign(&world.key, &draft.to_sign());
    let (datagram, _) = draft.seal(signature, None).expect("it fits");
    let admitted = world.site.admit(&datagram).expect("the site's tag");
    assert!(Site::unseal(&admitted).is_err());
}

#[test]
fn a_listener_that_lies_cannot_make_a_knock() {
    let mut world = World::new(Options::default());
    let (datagram, _) = world.send(world.request());
    let bytes = Unsealed::Request(world.receive(&datagram)).to_bytes();
    // The tag and the secret are the listener's own to spoil: they are for the answer.
    let own = |at: &usize| (5..21).contains(at) || (53..85).contains(at);
    for at in (0..bytes.len()).filter(|at| !own(at)) {
        let mut lie = bytes.clone();
        lie[at] ^= 1;
        let Some(Unsealed::Request(lie)) = Unsealed::from_bytes(&lie) else {
            continue;
        };
        assert!(
            verify(&lie, &world.servers, &world.ring).is_err(),
            "byte {at}"
        );
    }
}

#[test]
fn a_signature_is_good_for_one_server_only() {
    let mut world = World::new(Options::default());
    let (datagram, _) = world.send(world.request());
    let unsealed = world.receive(&datagram);
    let other = Servers {
        current: (EpochNumber(2), epoch(7).server.public()),
        previous: None,
    };
    assert_eq!(
        verify(&unsealed, &other, &world.ring).err(),
        Some(Unproven::Signature)
    );
    let none = Servers {
        current: (EpochNumber(7), epoch(2).server.public()),
        previous: None,
    };
    assert_eq!(
        verify(&unsealed, &none, &world.ring).err(),
        Some(Unproven::Epoch)
    );
}

#[test]
fn a_stranger_is_nobody() {
    let mut world = World::new(Options::default());
    let real = world.request();
    world.key = signer(10);
    let (datagram, _) = world.send(world.request());
    let unsealed = world.receive(&datagram);
    assert_eq!(
        verify(&unsealed, &world.servers, &world.ring).err(),
        Some(Unproven::UnknownKey)
    );
    let (datagram, _) = world.send(real);
    let unsealed = world.receive(&datagram);
    assert_eq!(
        verify(&unsealed, &world.servers, &world.ring).err(),
        Some(Unproven::Signature)
    );
}

#[test]
fn each_refusal_has_its_reason() {
    let on_list = AddressList::new("203.0.113.0/24").expect("a list");
    let only = |name| Some(vec![DoorName::new(name).expect("a name")].into_boxed_slice());
    let cases = [
        (
            Options {
                from: Some(on_list),
                ..Options::default()
            },
            Refusal::AddressNotAllowed,
        ),
        (
            Options {
                expires: Some(NOW.as_secs()),
                ..Options::default()
            },
            Refusal::Expired(NOW.as_secs()),
        ),
        (
            Options {
                doors: only("web"),
                ..Options::default()
            },
            Refusal::UnknownDoor,
        ),
        (
            Options {
                verify_required: true,
                ..Options::default()
            },
            Refusal::VerifyRequired,
        ),
    ];
    for (options, why) in cases {
        let mut world = World::new(options);
        let (datagram, _) = world.send(world.request());
        assert_eq!(world.decide(&datagram, HOME, PLAIN), Outcome::Refused(why));
        assert!(world.window.is_empty(), "what is refused leaves no trace");
    }
    let mut world = World::new(Options::default());
    let (datagram, _) = world.send(world.request());
    assert_eq!(
        world.decide(&datagram, HOME, None),
        Outcome::Refused(Refusal::UnknownDoor)
    );
    let mut late = world.request();
    late.time.0 -= 60_412;
    let (datagram, _) = world.send(late);
    assert_eq!(
        world.decide(&datagram, HOME, PLAIN),
        Outcome::Refused(Refusal::ClockOff(-60_412))
    );
    let list = Revoked::read(std::format!("sha256: SHA256:{}", fingerprint(&world.key)).as_bytes());
    world.ring = KeyRing::new(
        [line(public(&world.key), Options::default())],
        list.expect("a list"),
    );
    let (datagram, _) = world.send(world.request());
    assert_eq!(
        world.decide(&datagram, HOME, PLAIN),
        Outcome::Refused(Refusal::Revoked)
    );
}

fn fingerprint(key: &SigningKey) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in public(key).sha256().chunks(3) {
        let mut bytes = [0; 4];
        bytes[1..1 + part.len()].copy_from_slice(part);
        let bits = u32::from_be_bytes(bytes);
        for digit in 0..=part.len() {
            let at = usize::try_from(bits >> (18 - 6 * digit) & 63).expect("small");
            text.push(char::from(DIGITS[at]));
        }
    }
    text
}

#[test]
fn of_several_lines_with_one_key_the_first_that_fits_counts() {
    let mut world = World::new(Options::default());
    let only = |name| Some(vec![DoorName::new(name).expect("a name")].into_boxed_slice());
    let key = public(&world.key);
    let lines = ["web", "ssh", "ssh"].map(|door| Options {
        doors: only(door),
        ..Options::default()
    });
    let lines = (1..).zip(lines).map(|(number, options)| AuthorizedKey {
        line: number,
        ..line(key.clone(), options)
    });
    world.ring = KeyRing::new(lines, Revoked::default());
    let (datagram, _) = world.send(world.request());
    let unsealed = world.receive(&datagram);
    let knock = verify(&unsealed, &world.servers, &world.ring).expect("authentic");
    let here = Circumstances {
        source: HOME,
        now: NOW,
        door: PLAIN,
        cookies: &world.cookies,
    };
    let Decision::Granted { line, .. } = knock.judge(&here, &mut world.window) else {
        panic!("granted");
    };
    assert_eq!(line.line, 2);
}

#[test]
fn a_thief_who_sends_the_packet_from_elsewhere_gets_nothing() {
    let mut world = World::new(Options::default());
    let mut request = world.request();
    request.claimed = Some(HOME);
    let (datagram, _) = world.send(request);
    let why = Outcome::Refused(Refusal::AddressMismatch);
    assert_eq!(world.decide(&datagram, THIEF, PLAIN), why);
    assert_eq!(
        world.decide(&datagram, HOME, ASKS),
        opened(),
        "and does not spoil it"
    );

    let mut request = world.request();
    request.time.0 += 1;
    request.claimed = Some("2001:db8::1".parse().expect("an address"));
    let (datagram, _) = world.send(request);
    assert_eq!(
        world.decide(&datagram, HOME, PLAIN),
        opened(),
        "another family says nothing"
    );
}

#[test]
fn behind_translation_the_address_is_confirmed_and_the_thief_cannot() {
    let mut world = World::new(Options::default());
    let (datagram, pending) = world.send(world.request());
    let mut answers = [THIEF, HOME].map(|source| {
        let outcome = world.decide(&datagram, source, ASKS);
        assert!(matches!(outcome, Outcome::Confirm(_)));
        let reply = Reply {
            time: NOW,
            seen: source,
            outcome,
        };
        let unsealed = world.receive(&datagram);
        pending
            .open(&reply.seal(unsealed.channel(), &mut world.rng))
            .expect("an answer")
    });
    let confirm = |reply: &Reply, source, world: &mut World| {
        let (datagram, next) = pending.confirm(reply, &mut world.rng).expect("asked for");
        assert_eq!(datagram.len(), CONFIRM_LENGTH);
        let Unsealed::Confirmation(unsealed) = across(&world.site, &datagram) else {
            panic!("a confirmation");
        };
        let confirmed = unsealed.verify(&world.cookies)?;
        assert_eq!(*confirmed.request(), world.request());
        let here = Circumstances {
            source,
            now: NOW,
            door: ASKS,
            cookies: &world.cookies,
        };
        let reply = Reply {
            time: NOW,
            seen: source,
            outcome: Outcome::Closed,
        };
        let sealed = reply.seal(confirmed.channel(), &mut world.rng);
        assert_eq!(next.open(&sealed), Ok(reply));
        assert_eq!(pending.open(&sealed), Err(BadReply::NotForThis));
        Ok::<_, Unproven>(confirmed.judge(&here, &mut world.window).map(|_| ()))
    };
    let [to_thief, to_home] = &mut answers;
    assert_eq!(
        confirm(to_thief, HOME, &mut world),
        Ok(Err(Refusal::AddressMismatch))
    );
    assert_eq!(confirm(to_home, HOME, &mut world), Ok(Ok(())));
    assert_eq!(confirm(to_home, HOME, &mut world), Ok(Err(Refusal::Replay)));
    to_home.seen = THIEF;
    assert_eq!(confirm(to_home, THIEF, &mut world), Err(Unproven::Cookie));
}

#[test]
fn every_bit_of_a_datagram_counts() {
    let mut world = World::new(Options::default());
    let (datagram, pending) = world.send(world.request());
    for bit in 0..datagram.len() * 8 {
        let mut other = datagram.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(!world.site.tag_is_good(&other), "bit {bit}");
        // Somebody with the site key makes the tag good again: then the seal is not.
        let secrets = epoch(2).site.derive();
        let tag = secrets.tag(&other[16..]);
        other[..16].copy_from_slice(&tag);
        if bit >= 128 {
            let admitted = world.site.admit(&other).expect("the tag is good");
            assert!(Site::unseal(&admitted).is_err(), "bit {bit}");
        }
    }
    for length in 0..1400 {
        let mut other = datagram.clone();
        other.resize(length, 0);
        assert_eq!(
            world.site.tag_is_good(&other),
            length == datagram.len(),
            "length {length}"
        );
    }
    let unsealed = world.receive(&datagram);
    let reply = Reply {
        time: NOW,
        seen: HOME,
        outcome: opened(),
    };
    let sealed = reply.seal(unsealed.channel(), &mut world.rng);
    for bit in 0..sealed.len() * 8 {
        let mut other = sealed;
        other[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(pending.open(&other), Err(BadReply::NotForThis), "bit {bit}");
    }
}

#[test]
fn what_the_tag_does_not_cover_the_seal_does() {
    let mut world = World::new(Options::default());
    let profile = Profile {
        server: epoch(2).server.public(),
        site: epoch(2).site,
    };
    let draft = Draft::new(&profile, world.request(), &mut world.rng).expect("a draft");
    let signature = sign(&world.key, &draft.to_sign());
    let filler = [7; 700];
    let (long, _) = draft.seal(signature, Some(&filler)).expect("it fits");
    assert_eq!(long.len(), LENGTHS[3]);
    for at in 256..long.len() {
        let mut other = long.clone();
        other[at] ^= 1;
        let opened = world
            .site
            .admit(&other)
            .map(|admitted| Site::unseal(&admitted).is_ok());
        assert_eq!(opened, Some(false), "byte {at}");
    }
    for length in LENGTHS {
        let mut other = long.clone();
        other.resize(length, 0);
        assert_eq!(world.site.tag_is_good(&other), length == long.len());
    }
}

#[test]
fn the_bytes_look_random() {
    let mut world = World::new(Options::default());
    let count = 400;
    let mut ones = vec![0_u32; 256 * 8];
    for n in 0..count {
        let mut request = world.request();
        request.time.0 += n;
        let (datagram, _) = world.send(request);
        for (at, ones) in ones.iter_mut().enumerate() {
            *ones += u32::from(datagram[at / 8] >> (at % 8) & 1);
        }
    }
    // Six standard deviations of a fair coin: 60 of 400.
    for (at, ones) in ones.into_iter().enumerate() {
        assert!(
            (140..=260).contains(&ones),
            "bit {at} is set {ones} times of {count}"
        );
    }
}

#[test]
fn lengths_are_bounded_and_replies_never_longer() {
    assert!(
        LENGTHS
            .iter()
            .all(|length| *length < 1200 && *length >= REPLY_LENGTH)
    );
    const { assert!(CONFIRM_LENGTH >= REPLY_LENGTH) };
    assert!(!LENGTHS.contains(&CONFIRM_LENGTH));
}

fn any_address() -> impl Strategy<Value = Option<IpAddr>> {
    proptest::option::of(any::<IpAddr>().prop_map(|address| address.to_canonical()))
}

proptest! {
    #[test]
    fn a_request_is_read_as_it_was_written(
        purpose in prop_oneof![Just(Purpose::Open), Just(Purpose::Close), Just(Purpose::Ask)],
        time in any::<u64>(),
        key in any::<[u8; 16]>(),
        door in "[!#-&(-+\\--\\[\\]-~]{1,32}",
        open_for in any::<u32>(),
        claimed in any_address(),
    ) {
        let request = Request {
            suite: Suite::X25519,
            purpose,
            time: UnixMillis(time),
            key: crate::keys::KeyId(key),
            door: DoorName::new(&door).expect("a name"),
            open_for: NonZeroU32::new(open_for),
            claimed,
        };
        prop_assert_eq!(Request::from_bytes(&request.to_bytes()), Ok(request));
    }

    #[test]
    fn what_is_read_as_a_request_is_written_the_same(
        mut bytes in proptest::array::uniform32(any::<u8>()),
        door in 0_u8..34, family in 0_u8..8, purpose in 0_u8..4, suite in 0_u8..3,
    ) {
        let mut all = [0_u8; 80];
        bytes[0] = suite;
        bytes[1] = purpose;
        bytes[2] = family;
        bytes[3] = door;
        all[..32].copy_from_slice(&bytes);
        let used = usize::from(door).min(32);
        all[48..48 + used].fill(b'x');
        if let Ok(request) = Request::from_bytes(&all) {
            prop_assert_eq!(request.to_bytes(), all);
        }
    }

    #[test]
    fn a_reply_is_read_as_it_was_written(
        time in any::<u64>(), seen in any::<IpAddr>(), until in any::<u64>(),
        what in "\\PC{0,80}", kind in 0_u8..8, value in any::<i64>(), cookie in any::<[u8; 16]>(),
    ) {
        let until = Some(UnixMillis(until)).filter(|until| until.0 != 0);
        let outcome = match kind {
            0 => Outcome::Opened { until, what: What::new(&what) },
            1 => Outcome::Closed,
            2 => Outcome::WouldOpen { until, what: What::new(&what) },
            3 => Outcome::Confirm(crate::reply::Cookie(cookie)),
            4 => Outcome::Refused(Refusal::ClockOff(value)),
            5 => Outcome::Refused(Refusal::Expired(value.unsigned_abs())),
            6 => Outcome::Refused(Refusal::Replay),
            _ => Outcome::Refused(Refusal::GateError),
        };
        let reply = Reply { time: UnixMillis(time), seen: seen.to_canonical(), outcome };
        let mut world = World::new(Options::default());
        let (datagram, pending) = world.send(world.request());
        let unsealed = world.receive(&datagram);
        let sealed = reply.seal(unsealed.channel(), &mut world.rng);
        prop_assert_eq!(pending.open(&sealed), Ok(reply));
    }

    #[test]
    fn any_bytes_between_the_processes_are_a_message_or_none(
        bytes in proptest::collection::vec(any::<u8>(), 0..1300), kind in 0_u8..4,
    ) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        if let Some(message) = Unsealed::from_bytes(&bytes) {
            prop_assert_eq!(message.to_bytes(), bytes);
        }
    }
}

/// A security key in software: what it signs is OpenSSH's `PROTOCOL.u2f`.
mod security_keys {
    use sha2::{Digest, Sha256};

    use super::*;

    fn signed(flags: u8, data: &[u8]) -> Vec<u8> {
        let mut message = Sha256::digest(b"ssh:").to_vec();
        message.push(flags);
        message.extend(7_u32.to_be_bytes());
        message.extend(Sha256::digest(data));
        message
    }

    fn finish(blob: &mut Vec<u8>, flags: u8) -> Signature {
        blob.push(flags);
        blob.extend(7_u32.to_be_bytes());
        Signature::from_agent(blob).expect("a signature")
    }

    fn ed25519(flags: u8, data: &[u8]) -> Signature {
        let mut blob = Vec::new();
        put_string(&mut blob, b"sk-ssh-ed25519@openssh.com");
        put_string(&mut blob, &signer(9).sign(&signed(flags, data)).to_bytes());
        finish(&mut blob, flags)
    }

    fn p256() -> p256::ecdsa::SigningKey {
        p256::ecdsa::SigningKey::from_slice(&[9; 32]).expect("a key")
    }

    fn ecdsa(flags: u8, data: &[u8]) -> Signature {
        let signature: p256::ecdsa::Signature = p256().sign(&signed(flags, data));
        let mut inner = Vec::new();
        for scalar in signature.to_bytes().chunks(32) {
            let mut mpint = vec![0];
            mpint.extend(scalar);
            while let [0, next, ..] = mpint[..] {
                if next >= 0x80 {
                    break;
                }
                mpint.remove(0);
            }
            put_string(&mut inner, &mpint);
        }
        let mut blob = Vec::new();
        put_string(&mut blob, b"sk-ecdsa-sha2-nistp256@openssh.com");
        put_string(&mut blob, &inner);
        finish(&mut blob, flags)
    }

    fn publics() -> [PublicKey; 2] {
        let mut one = Vec::new();
        put_string(&mut one, b"sk-ssh-ed25519@openssh.com");
        put_string(&mut one, signer(9).verifying_key().as_bytes());
        put_string(&mut one, b"ssh:");
        let mut two = Vec::new();
        put_string(&mut two, b"sk-ecdsa-sha2-nistp256@openssh.com");
        put_string(&mut two, b"nistp256");
        let point = p256().verifying_key().to_sec1_point(false);
        put_string(&mut two, point.as_bytes());
        put_string(&mut two, b"ssh:");
        [one, two].map(|blob| PublicKey::from_blob(&blob).expect("a key"))
    }

    fn outcome(options: &Options, flags: u8) -> [Outcome; 2] {
        let signers: [fn(u8, &[u8]) -> Signature; 2] = [ed25519, ecdsa];
        let mut pairs = publics().into_iter().zip(signers);
        core::array::from_fn(|_| {
            let (key, sign) = pairs.next().expect("two");
            let mut world = World::new(Options::default());
            let mut request = world.request();
            request.key = key.id();
            world.ring = KeyRing::new([line(key, options.clone())], Revoked::default());
            let profile = Profile {
                server: epoch(2).server.public(),
                site: epoch(2).site,
            };
            let draft = Draft::new(&profile, request, &mut world.rng).expect("a draft");
            let signature = sign(flags, &draft.to_sign());
            let (datagram, _) = draft.seal(signature, None).expect("it fits");
            assert_eq!(datagram.len(), 256);
            world.decide(&datagram, HOME, PLAIN)
        })
    }

    #[test]
    fn a_security_key_must_be_touched_unless_the_line_spares_it() {
        let refused = Outcome::Refused(Refusal::TouchRequired);
        assert_eq!(outcome(&Options::default(), 0), [refused.clone(), refused]);
        assert_eq!(outcome(&Options::default(), 1), [opened(), opened()]);
        let spared = Options {
            no_touch_required: true,
            ..Options::default()
        };
        assert_eq!(outcome(&spared, 0), [opened(), opened()]);
    }

    #[test]
    fn a_security_key_must_verify_its_user_if_the_line_says_so() {
        let verify = Options {
            verify_required: true,
            ..Options::default()
        };
        let refused = Outcome::Refused(Refusal::VerifyRequired);
        assert_eq!(outcome(&verify, 1), [refused.clone(), refused]);
        assert_eq!(outcome(&verify, 5), [opened(), opened()]);
    }
}
