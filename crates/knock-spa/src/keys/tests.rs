use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::*;

const ED: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

fn utc(civil: Civil) -> Option<u64> {
    Some(civil.utc())
}

fn mistakes(text: &str) -> Vec<String> {
    let read = read(text.as_bytes(), 0, &utc);
    read.mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn the_options_that_mean_something_are_read() {
    let text = format!(
        "# people\n\n  from=\"192.0.2.0/24,!192.0.2.9\",expiry-time=\"20300101Z\",doors=\"ssh,web\",\
         Verify-Required,no-touch-required {ED} alice@desk at home\r\n\t{ED}\n\
         cert-authority,principals=\"ops,dev\" {ED} our CA\n"
    );
    let Read { keys, mistakes } = read(text.as_bytes(), 3, &utc);
    assert_eq!(mistakes, []);
    let [alice, plain, authority] = &keys[..] else {
        panic!("three keys: {keys:?}");
    };
    assert_eq!(
        (alice.line, alice.file, &*alice.comment),
        (3, 3, "alice@desk at home")
    );
    assert_eq!(alice.options.expires, Some(1_893_456_000));
    assert!(alice.options.verify_required && alice.options.no_touch_required);
    let from = alice.options.from.as_ref().expect("a list");
    assert!(from.allows("192.0.2.8".parse().expect("an address")));
    let gives = |name| {
        alice
            .options
            .gives(&crate::DoorName::new(name).expect("a name"))
    };
    assert!(gives("ssh") && gives("web") && !gives("db"));
    assert_eq!(plain.options, Options::default());
    assert_eq!((plain.line, &*plain.comment), (4, ""));
    let names = authority.options.authority.as_deref().expect("principals");
    assert!(names.iter().map(|name| &**name).eq(["ops", "dev"]));
}

#[test]
fn options_for_the_session_are_left_to_sshd() {
    let text = format!(
        "restrict,command=\"echo \\\"hi, there\\\" \",environment=\"A=1\",environment=\"B=2\",\
         permitopen=\"a:1\",permitlisten=\"1\",tunnel=\"0\",no-pty,pty,no-port-forwarding,\
         port-forwarding,agent-forwarding,no-agent-forwarding,X11-forwarding,no-x11-forwarding,\
         user-rc,no-user-rc {ED}"
    );
    assert_eq!(mistakes(&text), [""; 0]);
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_place() {
    let text = format!(
        "colour=\"red\",from=\"10.0.0.1,host.example\" {ED}\n\
         {ED}\n\
         doors=\"ssh,\",expiry-time=\"2030\" {ED}\n\
         doors=ssh {ED}\n\
         from=\"10.0.0.1 {ED}\n\
         cert-authority {ED}\n\
         principals=\"a\" {ED}\n\
         from=\"10.0.0.1\",from=\"10.0.0.2\" {ED}\n\
         restrict\n\
         ssh-dss AAAAB3NzaC1kc3M=\n\
         ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n\
         ssh-ed25519 AAAA!\n\
         ssh-ed25519-cert-v01@openssh.com AAAA\n\
         pty=\"x\",from {ED}\n\
         no touch {ED}\n"
    );
    let expected = [
        "1:1: `colour` is no option that is known",
        "1:29: not an address, a network or a pattern of addresses (names of hosts are not looked up)",
        "3:12: a door has a name",
        "3:27: not a time: YYYYMMDD or YYYYMMDDHHMM[SS], with Z for UTC",
        "4:7: options are names or name=\"value\", with commas and no blanks between",
        "5:6: a quote without a second one",
        "6:1: cert-authority needs principals=\"name,…\"",
        "7:1: principals= means nothing without cert-authority",
        "8:17: this option stands here twice",
        "9:9: no public key here",
        "10:1: keys of this kind are not taken",
        "11:9: the key is of another kind than the word before it",
        "12:13: the key is not base64",
        "13:1: a certificate is sent with the knock: write its authority here",
        "14:1: this option takes no value",
        "14:9: this option wants a value in quotes: option=\"value\"",
        "15:1: `no` is no option that is known",
    ];
    let got = mistakes(&text);
    assert_eq!(got[..expected.len()], expected);
    assert_eq!(
        read(text.as_bytes(), 0, &utc).keys.len(),
        1,
        "the line without one is taken"
    );
}

#[test]
fn what_is_not_text_is_one_mistake() {
    let read = read(b"\xff\xfe\nssh-ed25519 \x07\n", 0, &utc);
    assert!(read.keys.is_empty());
    let problems: Vec<_> = read.mistakes.iter().map(|m| &m.problem).collect();
    assert_eq!(problems, [&Problem::NotText, &Problem::NotText]);
}

#[test]
fn mistakes_are_bounded() {
    let text = "x\n".repeat(5000);
    assert_eq!(mistakes(&text).len(), Mistake::MAX);
}

#[test]
fn keys_are_found_among_ten_thousand() {
    let blob = |n: u32| {
        let mut blob = Vec::new();
        crate::wire::put_string(&mut blob, b"ssh-ed25519");
        let mut point = [0; 32];
        point[..4].copy_from_slice(&n.to_be_bytes());
        crate::wire::put_string(&mut blob, &point);
        blob
    };
    let lines = (0..10_000).map(|n| AuthorizedKey {
        key: crate::ssh::PublicKey::from_blob(&blob(n)).expect("a key"),
        options: Options::default(),
        comment: "".into(),
        line: n,
        file: 0,
    });
    let ring = KeyRing::new(lines, Revoked::default());
    assert_eq!(ring.len(), 10_000);
    for n in 0..10_000 {
        let found = ring.with_id(KeyId::of(&blob(n)));
        assert!(found.len() == 1 && found[0].line == n);
    }
    assert!(ring.with_id(KeyId::of(&blob(10_000))).is_empty());
}

#[test]
fn a_revocation_list_is_read_or_refused_as_a_whole() {
    let text =
        format!("# taken back\nserial: 7\nserial: 10-0x20\nid: alice laptop\nkey: {ED}\n{ED} x\n");
    assert!(Revoked::read(text.as_bytes()).is_ok());
    let hash = "sha256: SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU\n";
    assert!(Revoked::read(hash.as_bytes()).is_ok());
    let binary = Revoked::read(b"SSHKRL\n\0\0\0\0\x01").expect_err("a mistake");
    assert!(binary.len() == 1 && binary[0].problem == Problem::BinaryList);
    let text =
        "serial: 0\nserial: 9-3\nserial: x\nsha1: SHA1:abc\nhash: MD5:1\nnonsense\n\nid: x\n";
    let problems: Vec<_> = Revoked::read(text.as_bytes())
        .expect_err("mistakes")
        .into_iter()
        .map(|mistake| (mistake.line, mistake.problem))
        .collect();
    assert_eq!(
        problems,
        [
            (1, Problem::Serial),
            (2, Problem::Serial),
            (3, Problem::Serial),
            (4, Problem::Sha1),
            (5, Problem::Hash),
            (6, Problem::NotARevocation),
        ]
    );
}

#[test]
fn a_key_is_taken_back_by_any_of_its_names() {
    let line = read(ED.as_bytes(), 0, &utc).keys.remove(0);
    // By ssh-keygen and sha256sum.
    let digits = "ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA";
    let hex = "66402c9468c58941dd19ffd650bf2b42f9226f83d3bd06ad515d0e5104a77020";
    for list in [
        ED.to_string(),
        format!("key: {ED}"),
        format!("sha256: {ED}"),
        format!("sha1: {ED}"),
        format!("SHA256:{digits}"),
        format!("hash: SHA256:{digits} # ssh-ed25519"),
        format!("sha256: SHA256:{digits}"),
        // As `ssh-keygen -Q -l` of OpenSSH 9.2 writes what was `sha256:`.
        format!("hash: SHA256:{hex}"),
    ] {
        let revoked = Revoked::read(list.as_bytes()).expect(&list);
        assert!(revoked.has_key(&line.key), "{list}");
    }
    for wrong in [
        format!("SHA256:{digits} alice"),
        format!("SHA256:{hex}0"),
        "sha1: SHA1:Hpzq".to_string(),
        format!(
            "hash: SHA256:{}",
            hex.replace(['a', 'b', 'c', 'd', 'e', 'f'], "g")
        ),
    ] {
        assert!(Revoked::read(wrong.as_bytes()).is_err(), "{wrong}");
    }
}
