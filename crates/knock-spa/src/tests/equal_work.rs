//! Who has the site key, and no key of a person, does not learn by the time that an answer to somebody
//! else takes whose keys are here: the same arithmetic is done.

use super::*;
use crate::keys::KeyId;
use crate::ssh::count::during;

/// The public key of a P-256 key.
fn other_kind() -> PublicKey {
    let key = p256::ecdsa::SigningKey::from_slice(&[5; 32]).expect("a key");
    let point = key.verifying_key().to_sec1_point(false);
    let mut blob = Vec::new();
    for part in [&b"ecdsa-sha2-nistp256"[..], b"nistp256", point.as_bytes()] {
        put_string(&mut blob, part);
    }
    PublicKey::from_blob(&blob).expect("a key")
}

/// What comes of a request that says that it is by `named`, and how many signatures that took.
fn outcome(world: &mut World, named: KeyId, certificate: Option<&[u8]>) -> (Unproven, u32) {
    let request = Request {
        key: named,
        ..world.request()
    };
    let epoch = epoch(2);
    let profile = Profile {
        server: epoch.server.public(),
        site: epoch.site,
    };
    let draft = Draft::new(&profile, request, &mut world.rng).expect("a draft");
    let signature = sign(&signer(66), &draft.to_sign());
    let (datagram, _) = draft.seal(signature, certificate).expect("it fits");
    let unsealed = world.receive(&datagram);
    let mut outcome = None;
    let count = during(|| outcome = verify(&unsealed, &world.servers, &world.ring).err());
    (outcome.expect("nobody has signed it"), count)
}

#[test]
fn an_unknown_name_takes_what_a_known_one_takes() {
    let mut world = World::new(Options::default());
    let known = public(&world.key).id();
    let kin = other_kind();
    world.ring = KeyRing::new(
        [
            line(public(&world.key), Options::default()),
            line(kin.clone(), Options::default()),
        ],
        Revoked::default(),
    );
    for (named, expected) in [
        (known, Unproven::Signature),
        (public(&signer(66)).id(), Unproven::UnknownKey),
        // Its key makes no such signatures, which must not be told either.
        (kin.id(), Unproven::Signature),
    ] {
        assert_eq!(outcome(&mut world, named, None), (expected, 1));
    }
}

#[test]
fn where_nobody_has_such_a_key_nobodys_is_tried() {
    let mut world = World::new(Options::default());
    let kin = other_kind();
    world.ring = KeyRing::new([line(kin.clone(), Options::default())], Revoked::default());
    let unknown = public(&signer(66)).id();
    assert_eq!(outcome(&mut world, unknown, None).1, 0);
    assert_eq!(outcome(&mut world, kin.id(), None).1, 0);
}

#[test]
fn a_signature_that_is_good_for_another_name_is_nobodys() {
    let mut world = World::new(Options::default());
    // The stand-in is the signer's own key, and the request names nobody.
    let own = public(&signer(66));
    world.ring = KeyRing::new([line(own, Options::default())], Revoked::default());
    let unknown = public(&signer(67)).id();
    assert_eq!(
        outcome(&mut world, unknown, None),
        (Unproven::UnknownKey, 1)
    );
}

/// A certificate for the key of `subject`, by `authority` (OpenSSH's `PROTOCOL.certkeys`).
fn certificate(subject: &SigningKey, authority: &SigningKey) -> Vec<u8> {
    let mut blob = Vec::new();
    put_string(&mut blob, b"ssh-ed25519-cert-v01@openssh.com");
    put_string(&mut blob, &[3; 32]);
    put_string(&mut blob, subject.verifying_key().as_bytes());
    blob.extend(7_u64.to_be_bytes());
    blob.extend(1_u32.to_be_bytes());
    put_string(&mut blob, b"id");
    put_string(&mut blob, b"\0\0\0\x05alice");
    blob.extend(0_u64.to_be_bytes());
    blob.extend(u64::MAX.to_be_bytes());
    for _nothing in ["critical options", "extensions", "reserved"] {
        put_string(&mut blob, b"");
    }
    put_string(&mut blob, public(authority).blob());
    let mut signature = Vec::new();
    put_string(&mut signature, b"ssh-ed25519");
    put_string(&mut signature, &authority.sign(&blob).to_bytes());
    put_string(&mut blob, &signature);
    blob
}

#[test]
fn an_unknown_authority_takes_what_a_known_one_takes() {
    let mut world = World::new(Options::default());
    let (known, unknown) = (signer(20), signer(21));
    let authority = Options {
        authority: Some(vec!["alice".into()].into_boxed_slice()),
        ..Options::default()
    };
    world.ring = KeyRing::new([line(public(&known), authority)], Revoked::default());
    // Somebody's certificate without that one's key: known to who has seen it.
    let victim = signer(22);
    let named = public(&victim).id();
    for (by, expected) in [
        (&known, Unproven::Signature),
        (&unknown, Unproven::UnknownKey),
    ] {
        let certificate = certificate(&victim, by);
        let found = outcome(&mut world, named, Some(&certificate));
        assert_eq!(found, (expected, 2));
    }
    world.ring = KeyRing::default();
    let certificate = certificate(&victim, &known);
    let found = outcome(&mut world, named, Some(&certificate));
    assert_eq!(found, (Unproven::UnknownKey, 0), "none are taken at all");
}
