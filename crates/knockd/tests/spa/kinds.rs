//! Keys of all kinds, and what their lines and certificates say of them.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;
use knock_spa::{Outcome as Answer, Purpose, Refusal};

use crate::keys::{Desk, FileKey, Kind, SecurityKey};
use crate::net::{
    CLIENT, CLIENT_6, Net, OTHER, SERVER, Signs, Wish, alice, line, mallory, opened, receive, send,
};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("keys_of_every_kind_open", every_kind),
    ("certificates_open_as_long_as_they_say", certificates),
    ("a_line_says_from_where_its_key_counts", from),
    ("a_line_says_until_when_its_key_counts", expiry),
    ("security_keys_are_touched_unless_spared", touch),
    ("security_keys_know_their_user_if_they_must", verification),
    ("one_of_ten_thousand_keys_opens", crowd),
];

const SSH: &str = "[ssh]\nauthorized_keys = %K%\nopen = tcp/22\n";

fn wish() -> Wish {
    Wish::of(alice(), "ssh")
}

/// What comes of a knock with another key than Alice's.
fn knock(net: &Net, from: &str, key: &dyn Signs) -> Outcome<Answer> {
    let sealed = wish().seal_by(key, &net.profile()?)?;
    Ok(net.ask(from, &sealed)?.outcome)
}

fn refused(net: &Net, from: &str, key: &dyn Signs, why: Refusal) -> Outcome {
    assert_eq!(knock(net, from, key)?, Answer::Refused(why));
    assert!(!net.reaches(from, SERVER, 22)?);
    Ok(())
}

/// Opens the port, as is seen, and closes it again.
fn opens(net: &Net, from: &str, key: &dyn Signs) -> Outcome {
    assert!(!net.reaches(from, SERVER, 22)?);
    let outcome = knock(net, from, key)?;
    assert!(matches!(outcome, Answer::Opened { .. }), "{outcome:?}");
    assert!(net.reaches(from, SERVER, 22)?);
    let close = Wish {
        purpose: Purpose::Close,
        ..wish()
    };
    let sealed = close.seal_by(key, &net.profile()?)?;
    assert_eq!(net.ask(from, &sealed)?.outcome, Answer::Closed);
    assert!(!net.reaches(from, SERVER, 22)?);
    Ok(())
}

/// Nobody answers, and nothing opens.
fn unheard(net: &Net, key: &dyn Signs) -> Outcome {
    let socket = net.socket(CLIENT)?;
    send(&socket, CLIENT, &wish().seal_by(key, &net.profile()?)?.0)?;
    assert_eq!(receive(&socket)?, None);
    assert!(!net.reaches(CLIENT, SERVER, 22)?);
    Ok(())
}

fn every_kind() -> Outcome {
    let desk = Desk::new()?;
    let kinds = [
        ("ed25519", "256"),
        ("ecdsa", "256"),
        ("ecdsa", "384"),
        ("ecdsa", "521"),
        ("rsa", "2048"),
        ("rsa", "4096"),
    ];
    let make = |(kind, bits): (&str, &str)| desk.key(&format!("{kind}-{bits}"), kind, bits);
    let keys = kinds.into_iter().map(make).collect::<Outcome<Vec<_>>>()?;
    let net = Net::new(SSH)?;
    let lines = keys.iter().map(FileKey::line);
    net.write("keys", &lines.collect::<Outcome<String>>()?)?;
    let _daemon = net.start()?;
    for key in &keys {
        opens(&net, CLIENT, key)?;
        let comment = key.line()?;
        let comment = comment.split_whitespace().last().unwrap_or_default();
        net.await_log(&format!("({comment}) for 30s"))?;
        unheard_without_line(&net, key, &keys)?;
    }
    Ok(())
}

/// Who is taken out of the file is not heard any more; the others are.
fn unheard_without_line(net: &Net, key: &FileKey<'_>, all: &[FileKey<'_>]) -> Outcome {
    let others = all.iter().filter(|other| !std::ptr::eq(*other, key));
    let lines = others.map(FileKey::line).collect::<Outcome<String>>()?;
    net.write("keys", &lines)?;
    unheard(net, key)?;
    let lines = all.iter().map(FileKey::line);
    net.write("keys", &lines.collect::<Outcome<String>>()?)
}

fn certificates() -> Outcome {
    let desk = Desk::new()?;
    let authority = desk.key("authority", "ed25519", "256")?;
    let stranger = desk.key("stranger", "ed25519", "256")?;
    let user = desk.key("user", "ed25519", "256")?;
    let net = Net::new(SSH)?;
    let line = authority.line()?;
    net.write(
        "keys",
        &format!("cert-authority,principals=\"ops,dev\" {line}"),
    )?;
    let _daemon = net.start()?;
    unheard(&net, &user)?;
    user.certify(&authority, &["-n", "web,dev", "-V", "-1m:+1h"])?;
    opens(&net, CLIENT, &user)?;
    net.await_log("the laptop certified by SHA256:")?;
    for (more, why) in [
        (&["-n", "web"][..], Refusal::Principal),
        (&[], Refusal::Principal),
        (
            &["-n", "dev", "-V", "20200101000000Z:20210101000000Z"],
            Refusal::Expired(1_609_459_200),
        ),
        (
            &["-n", "dev", "-V", "20400101000000Z:20410101000000Z"],
            Refusal::NotYetValid(2_208_988_800),
        ),
        (
            &["-n", "dev", "-O", "source-address=10.77.0.3/32"],
            Refusal::AddressNotAllowed,
        ),
    ] {
        user.certify(&authority, more)?;
        refused(&net, CLIENT, &user, why)?;
    }
    opens(&net, OTHER, &user)?;
    user.certify(&stranger, &["-n", "dev"])?;
    unheard(&net, &user)
}

fn from() -> Outcome {
    let net = Net::new(SSH)?;
    let with = |options: &str| {
        let line = line(&alice(), "alice");
        net.write("keys", &format!("from=\"{options}\" {line}"))
    };
    with("10.77.0.1,fd77::/64")?;
    let _daemon = net.start()?;
    opens(&net, CLIENT, &alice())?;
    opened(&net.knock(CLIENT_6, &wish())?)?;
    refused(&net, OTHER, &alice(), Refusal::AddressNotAllowed)?;
    with("!10.77.0.1,10.77.0.0/24")?;
    refused(&net, CLIENT, &alice(), Refusal::AddressNotAllowed)?;
    opens(&net, OTHER, &alice())
}

fn expiry() -> Outcome {
    let net = Net::new(SSH)?;
    let until = |time: &str| {
        let line = line(&alice(), "alice");
        net.write("keys", &format!("expiry-time=\"{time}\" {line}"))
    };
    until("20200101Z")?;
    let _daemon = net.start()?;
    refused(&net, CLIENT, &alice(), Refusal::Expired(1_577_836_800))?;
    until("20990101Z")?;
    opens(&net, CLIENT, &alice())?;
    // While it is looked on.
    let soon = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 4;
    let utc = jiff::Timestamp::from_second(i64::try_from(soon)?)?;
    until(&utc.strftime("%Y%m%d%H%M%SZ").to_string())?;
    opened(&net.knock(CLIENT, &wish())?)?;
    net.eventually("it has expired", || {
        let answer = net.knock(CLIENT, &wish());
        answer.is_ok_and(|reply| reply.outcome == Answer::Refused(Refusal::Expired(soon)))
    })
}

fn touch() -> Outcome {
    let net = Net::new(SSH)?;
    let _daemon = net.start()?;
    for kind in [Kind::Ed25519, Kind::P256] {
        let key = |flags| SecurityKey { kind, flags };
        net.write("keys", &key(0).line("")?)?;
        refused(&net, CLIENT, &key(0), Refusal::TouchRequired)?;
        // It knows who is there, and was not touched.
        refused(&net, CLIENT, &key(4), Refusal::TouchRequired)?;
        opens(&net, CLIENT, &key(1))?;
        net.write("keys", &key(0).line("no-touch-required")?)?;
        opens(&net, CLIENT, &key(0))?;
    }
    Ok(())
}

fn verification() -> Outcome {
    let net = Net::new(SSH)?;
    let _daemon = net.start()?;
    for kind in [Kind::Ed25519, Kind::P256] {
        let key = |flags| SecurityKey { kind, flags };
        net.write("keys", &key(0).line("verify-required")?)?;
        refused(&net, CLIENT, &key(1), Refusal::VerifyRequired)?;
        opens(&net, CLIENT, &key(5))?;
        // A key in a file knows nobody.
        let file = line(&alice(), "alice");
        net.write("keys", &format!("verify-required {file}"))?;
        refused(&net, CLIENT, &alice(), Refusal::VerifyRequired)?;
    }
    Ok(())
}

fn crowd() -> Outcome {
    const MANY: u32 = 10_000;
    let key = |n: u32| {
        let mut seed = [1; 32];
        seed.iter_mut()
            .zip(n.to_be_bytes())
            .for_each(|(to, from)| *to = from);
        SigningKey::from_bytes(&seed)
    };
    let net = Net::new(SSH)?;
    let mut lines = String::new();
    for n in 0..MANY {
        write!(lines, "{}", line(&key(n), &format!("person-{n}")))?;
    }
    net.write("keys", &lines)?;
    let _daemon = net.start()?;
    net.await_log("sealed packets of 10000 keys are taken")?;
    for n in [0, MANY / 2, MANY - 1] {
        opens(&net, CLIENT, &key(n))?;
        net.await_log(&format!("(person-{n}) for 30s"))?;
    }
    unheard(&net, &mallory())?;
    // One more, and one fewer, are noticed among so many.
    let lines = lines.replacen(&line(&key(0), "person-0"), &line(&alice(), "alice"), 1);
    net.write("keys", &lines)?;
    opens(&net, CLIENT, &alice())?;
    unheard(&net, &key(0))
}
