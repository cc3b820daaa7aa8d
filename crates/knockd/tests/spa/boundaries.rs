//! What each side of a boundary can do to the other: a listener that was taken over, and files.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use knock_spa::{Outcome as Answer, Refusal, Unsealed};
use knockd::lab::Process;
use knockd::spa::store::Store;
use knockd::wire::Site;
use rustix::process::Signal;

use crate::net::{CLIENT, Net, OTHER, SERVER, Wish, alice, opened, receive, send};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    (
        "keys_of_people_are_in_the_keepers_memory_alone",
        keys_of_people,
    ),
    ("what_is_kept_is_its_owners_alone", modes),
    (
        "knocks_that_come_together_count_once_each_for_good",
        together,
    ),
    (
        "a_program_that_has_the_port_takes_nothing_from_a_knock",
        port_in_use,
    ),
    (
        "keys_that_others_could_have_written_do_not_count",
        written_by_others,
    ),
    (
        "a_profile_names_nobody_and_opens_nothing_by_itself",
        profile,
    ),
    #[cfg(target_arch = "x86_64")]
    (
        "a_listener_that_was_taken_over_opens_nothing_of_its_own",
        taken_over::opens_nothing,
    ),
    #[cfg(target_arch = "x86_64")]
    (
        "a_listener_that_was_taken_over_can_give_a_knock_without_a_claim_another_source",
        taken_over::moves_a_knock,
    ),
];

const SSH: &str = "[ssh]\nauthorized_keys = %K%\nopen = tcp/22\n";

/// The daemon's listener.
fn listener_of(keeper: u32) -> Outcome<i32> {
    let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"))?;
    Ok(children
        .split_whitespace()
        .next()
        .ok_or("no child")?
        .parse()?)
}

/// The keys of the site, as the listener has them.
fn site_of(net: &Net) -> Outcome<Site> {
    let store = Store::load(&net.path("state")).map_err(|error| error.to_string())?;
    Ok(store.ok_or("no keys")?.site())
}

/// Whether these bytes are anywhere in the memory of a process (proc_pid_mem(5)).
fn remembers(process: i32, wanted: &[u8]) -> Outcome<bool> {
    use std::os::unix::fs::FileExt;

    let memory = fs::File::open(format!("/proc/{process}/mem"))?;
    for line in fs::read_to_string(format!("/proc/{process}/maps"))?.lines() {
        let range = line
            .split(' ')
            .next()
            .and_then(|range| range.split_once('-'));
        let (from, to) = range.ok_or("no range")?;
        let from = u64::from_str_radix(from, 16)?;
        let length = usize::try_from(u64::from_str_radix(to, 16)? - from)?;
        let mut bytes = vec![0; length];
        // Of some that the kernel provides, nothing can be read.
        let read = memory.read_at(&mut bytes, from).unwrap_or(0);
        bytes.truncate(read);
        if bytes.windows(wanted.len()).any(|here| here == wanted) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn keys_of_people() -> Outcome {
    let net = Net::new(SSH)?;
    let daemon = net.start()?;
    opened(&net.knock(CLIENT, &Wish::of(alice(), "ssh"))?)?;
    let (keeper, listener) = (i32::try_from(daemon.id())?, listener_of(daemon.id())?);
    let key = alice().verifying_key().to_bytes();
    for theirs in [key.as_slice(), b"alice@laptop"] {
        assert!(remembers(keeper, theirs)?);
        assert!(!remembers(listener, theirs)?);
    }
    let site = site_of(&net)?.current.site;
    assert!(remembers(listener, &site)?, "what it does need is found");
    Ok(())
}

fn modes() -> Outcome {
    let net = Net::new(SSH)?;
    let state = net.path("state");
    fs::remove_dir(&state)?;
    let _daemon = net.start()?;
    opened(&net.knock(CLIENT, &Wish::of(alice(), "ssh"))?)?;
    let mode = |path: &Path| Ok::<_, std::io::Error>(fs::metadata(path)?.mode() & 0o7777);
    assert_eq!(mode(&state)?, 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&state)? {
        let entry = entry?;
        assert_eq!(mode(&entry.path())?, 0o600, "{}", entry.path().display());
        names.push(entry.file_name());
    }
    for name in ["spa-keys", "spa-marks"] {
        assert!(names.iter().any(|there| there == name), "{names:?}");
    }
    Ok(())
}

fn together() -> Outcome {
    const COUNT: usize = 40;
    let net = Net::new(SSH)?;
    let mut daemon = net.start()?;
    let (profile, socket) = (net.profile()?, net.socket(CLIENT)?);
    let mut knocks = Vec::new();
    for off in (0..).take(COUNT) {
        let wish = Wish {
            off,
            ..Wish::of(alice(), "ssh")
        };
        knocks.push(wish.seal(&profile)?);
    }
    // The keeper has all of them before it looks at the first, and some of them twice.
    net.signal(&daemon, Signal::STOP)?;
    for (datagram, _) in &knocks {
        send(&socket, CLIENT, datagram)?;
        send(&socket, CLIENT, datagram)?;
    }
    net.signal(&daemon, Signal::CONT)?;
    let (mut granted, mut replayed) = (0, 0);
    while (granted, replayed) != (COUNT, COUNT) {
        let answer = receive(&socket)?;
        let answer = answer.ok_or_else(|| format!("only {granted} and {replayed}"))?;
        let mut replies = knocks.iter().filter_map(|(_, own)| own.open(&answer).ok());
        let reply = replies.next().ok_or("nobody's answer")?;
        match reply.outcome {
            Answer::Refused(Refusal::Replay) => replayed += 1,
            Answer::Opened { .. } => granted += 1,
            other => return Err(format!("{other:?}").into()),
        }
    }
    net.signal(&daemon, Signal::KILL)?;
    daemon.wait_at_most(std::time::Duration::from_secs(10))?;
    let daemon = net.start()?;
    for (datagram, _) in &knocks {
        send(&socket, CLIENT, datagram)?;
    }
    net.eventually("none of them counts", || {
        let refused = format!("0 granted, {COUNT} refused, 0 without a good signature");
        net.signal(&daemon, Signal::USR1).is_ok() && net.log().contains(&refused)
    })
}

/// With the gate, and where the gate leaves the port alone.
fn port_in_use() -> Outcome {
    for (option, gets_it) in [("", false), ("spa_silent = no\n", true)] {
        let net = Net::new(&format!("{option}{SSH}"))?;
        let resolver = net.server.run(|| UdpSocket::bind((SERVER, 51_443)))??;
        let _daemon = net.start()?;
        opened(&net.knock(CLIENT, &Wish::of(alice(), "ssh"))?)?;
        assert!(net.reaches(CLIENT, SERVER, 22)?);
        // A copy comes on the way of the packet, and so before the answer.
        resolver.set_nonblocking(true)?;
        let copy = resolver.recv(&mut [0; 2048]).ok();
        assert_eq!(copy, gets_it.then_some(256), "{option}");
    }
    Ok(())
}

fn written_by_others() -> Outcome {
    let net = Net::new(SSH)?;
    let _daemon = net.start()?;
    let knock = || net.knock(CLIENT, &Wish::of(alice(), "ssh"));
    let keys = net.path("keys");
    opened(&knock()?)?;
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o620))?;
    assert!(knock().is_err());
    net.await_log(&format!("others can change {} (mode 0620)", keys.display()))?;
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644))?;
    opened(&knock()?)?;
    // In a namespace without this account nobody can give a file away.
    if chown(&keys, Some(4_242), None).is_ok() {
        assert!(knock().is_err());
        net.await_log(&format!("{} belongs to user 4242", keys.display()))?;
    }
    Ok(())
}

fn profile() -> Outcome {
    let net = Net::new(SSH)?;
    let daemon = net.start()?;
    let text = net.knockctl(&["profile"])?;
    let key = knockd::spa::base64::encode(alice().verifying_key().as_bytes());
    assert!(!text.contains("alice") && !text.contains(key.trim_end_matches('=')));
    // All that it has: what is behind the tag is for nobody.
    let mut stolen = net.profile()?;
    stolen.server = knock_spa::ServerKey::from_bytes([9; 32]).public();
    let (datagram, _) = Wish::of(alice(), "ssh").seal(&stolen)?;
    let socket = net.socket(CLIENT)?;
    send(&socket, CLIENT, &datagram)?;
    assert_eq!(receive(&socket)?, None);
    net.signal(&daemon, Signal::USR1)?;
    net.await_log("sealed packets: 0 junk, 0 over a limit, 1 broken, 0 opened")?;
    assert!(!net.reaches(CLIENT, SERVER, 22)?);
    Ok(())
}

#[cfg(target_arch = "x86_64")]
mod taken_over {
    use std::net::IpAddr;
    use std::time::Duration;

    use nix::libc;
    use nix::unistd::Pid;

    use super::*;
    use crate::inject::{Argument, InjectError, Outcome as Called, inject};
    use crate::net::{line, mallory};
    use knock_spa::{Profile, SiteKey};
    use knockd::wire::Knock;

    /// The descriptor by which the listener reports.
    const REPORTS: i32 = 1;

    /// Where the parts of a message begin: behind its kind, epoch, tag, encapsulation and secret the
    /// request, and in that the seconds asked for, the key and the door.
    const REQUEST: usize = 1 + 4 + 16 + 32 + 32;
    const SECONDS: usize = REQUEST + 4;
    const KEY: usize = REQUEST + 16;
    const DOOR: usize = REQUEST + 48;

    /// What is in the packet of this wish, at a listener with these keys.
    fn unsealed(wish: &Wish, profile: &Profile, site: &Site) -> Outcome<Vec<u8>> {
        let (datagram, _) = wish.seal(profile)?;
        let site = site.open();
        let admitted = site.admit(&datagram).ok_or("no good tag")?;
        let unsealed = knock_spa::Site::unseal(&admitted).map_err(|error| error.to_string())?;
        Ok(unsealed.to_bytes())
    }

    fn patched(mut bytes: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
        let places = bytes.iter_mut().skip(at);
        places.zip(with).for_each(|(place, byte)| *place = *byte);
        bytes
    }

    /// Has the daemon's own listener tell this to the keeper, of this source.
    fn tell(daemon: &Process, source: &str, unsealed: &[u8]) -> Outcome {
        let unsealed = Unsealed::from_bytes(unsealed).ok_or("no message")?;
        let knock = Knock {
            at: knockd::listen::now(),
            source: source.parse()?,
            destination: SERVER.parse::<IpAddr>()?,
            source_port: 40_000,
            port: 51_443,
            interface: 1,
            unsealed,
        };
        let bytes = knock.encode();
        let length = i32::try_from(bytes.len())?;
        let arguments = [
            REPORTS.into(),
            Argument::Bytes(bytes),
            length.into(),
            libc::MSG_DONTWAIT.into(),
            0.into(),
            0.into(),
        ];
        let listener = Pid::from_raw(listener_of(daemon.id())?);
        for _ in 0..200 {
            match inject(listener, libc::SYS_sendto, &arguments) {
                // It is at work, and waits soon.
                Err(InjectError::NotInSystemCall) => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(Called::Returned(sent)) if sent == i64::from(length) => return Ok(()),
                other => return Err(format!("{other:?}").into()),
            }
        }
        Err("it never waits".into())
    }

    /// What a confirmation says that nobody has asked for (`docs/spa-protocol.md`, Confirmation).
    fn confirmation(request: &[u8], source: &str) -> Outcome<Vec<u8>> {
        let IpAddr::V4(source) = source.parse()? else {
            return Err("not of version 4".into());
        };
        let mut bytes = patched(request.to_vec(), 0, &[2]);
        bytes.truncate(DOOR + 32);
        bytes.extend([5; 16]);
        bytes.push(4);
        bytes.extend(source.octets());
        bytes.resize(REQUEST + 128, 0);
        Ok(bytes)
    }

    pub(super) fn opens_nothing() -> Outcome {
        let net = Net::new(&format!(
            "{SSH}confirm = yes\n[web]\nauthorized_keys = %K%.web\nopen = tcp/80\n"
        ))?;
        let bob = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
        net.write("keys.web", &line(&bob, "bob@desk"))?;
        let daemon = net.start()?;
        let (profile, site) = (net.profile()?, site_of(&net)?);
        let of = |wish: &Wish| unsealed(wish, &profile, &site);
        let (ssh, theirs) = (Wish::of(alice(), "ssh"), Wish::of(mallory(), "ssh"));
        let elsewhere = Store::generate();
        let other_server = Profile {
            server: elsewhere.servers().current.1,
            site: SiteKey::from_bytes(*elsewhere.current.site.expose()),
        };
        let alices = of(&ssh)?;
        let name = alices.get(KEY..KEY + 16).ok_or("no name")?;
        let lies = [
            ("nobody's key", of(&theirs)?),
            ("her name, his signature", patched(of(&theirs)?, KEY, name)),
            ("another door", patched(of(&ssh)?, DOOR, b"web")),
            ("a longer time", patched(of(&ssh)?, SECONDS, &[1])),
            (
                "for another server",
                unsealed(&ssh, &other_server, &elsewhere.site())?,
            ),
            ("a cookie of its own", confirmation(&alices, OTHER)?),
        ];
        for (what, lie) in &lies {
            tell(&daemon, OTHER, lie).map_err(|error| format!("{what}: {error}"))?;
        }
        let count = lies.len();
        net.eventually("the keeper has looked at all of it", || {
            net.signal(&daemon, Signal::USR1).is_ok()
                && net
                    .log()
                    .contains(&format!("0 refused, {count} without a good signature"))
        })?;
        for (who, port) in [(OTHER, 22), (OTHER, 80), (CLIENT, 22), (CLIENT, 80)] {
            assert!(!net.reaches(who, SERVER, port)?, "{who} {port}");
        }
        // What is true and was sent once is granted once, and where it says.
        let claims = Wish {
            claimed: Some(CLIENT),
            ..ssh
        };
        let true_one = of(&claims)?;
        tell(&daemon, OTHER, &true_one)?;
        net.await_log("10.77.0.3: ssh: refused: ")?;
        assert!(!net.reaches(OTHER, SERVER, 22)?);
        tell(&daemon, CLIENT, &true_one)?;
        net.await_log("10.77.0.1: ssh: opened by ")?;
        tell(&daemon, CLIENT, &true_one)?;
        net.await_log("10.77.0.1: ssh: refused: the request was seen before")?;
        assert!(net.reaches(CLIENT, SERVER, 22)?, "or nothing was shown");
        Ok(())
    }

    pub(super) fn moves_a_knock() -> Outcome {
        let net = Net::new(SSH)?;
        let daemon = net.start()?;
        let wish = Wish::of(alice(), "ssh");
        let true_one = unsealed(&wish, &net.profile()?, &site_of(&net)?)?;
        tell(&daemon, OTHER, &true_one)?;
        net.await_log("10.77.0.3: ssh: opened by ")?;
        assert!(net.reaches(OTHER, SERVER, 22)?);
        tell(&daemon, CLIENT, &true_one)?;
        net.await_log("10.77.0.1: ssh: refused: the request was seen before")?;
        assert!(!net.reaches(CLIENT, SERVER, 22)?, "once");
        Ok(())
    }
}
