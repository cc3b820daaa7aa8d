//! Packets that were good once: after whatever happens to the daemon, at other servers, and from
//! machines that share a key or have a clock of their own.

use std::fs;
use std::process::Command;
use std::time::Duration;

use knock_spa::{Outcome as Answer, Pending, Profile, Purpose, Refusal};
use knockd::lab::Process;
use rustix::process::Signal;

use crate::net::{CLIENT, Net, OTHER, SERVER, Wish, alice, opened, receive, send};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("no_packet_counts_again_after_a_stop", || again_after(stop)),
    ("no_packet_counts_again_after_a_kill", || again_after(kill)),
    ("no_packet_counts_again_after_a_reload", || {
        again_after(reload)
    }),
    ("no_packet_counts_again_after_a_reboot", || {
        again_after(reboot)
    }),
    ("nothing_from_before_counts_without_a_memory", || {
        again_after(amnesia)
    }),
    ("a_repeated_close_closes_nothing", close_again),
    ("a_clock_that_is_stepped_repeats_nothing", stepped),
    ("a_packet_is_good_for_one_server", one_server),
    ("a_key_on_two_machines_serves_both", twins),
    ("a_machine_that_lags_behind_its_twin_waits", lagging),
];

const SSH: &str = "[ssh]\nauthorized_keys = %K%\nopen = tcp/22\n";

type Sealed = (Vec<u8>, Pending);

fn wish() -> Wish {
    Wish::of(alice(), "ssh")
}

fn closing() -> Wish {
    Wish {
        purpose: Purpose::Close,
        ..wish()
    }
}

/// With a clock that is off by so many seconds.
fn off(seconds: i64) -> Wish {
    Wish {
        off: seconds * 1000,
        ..wish()
    }
}

fn end(net: &Net, mut daemon: Process, signal: Signal) -> Outcome {
    net.signal(&daemon, signal)?;
    let ended = daemon.wait_at_most(Duration::from_secs(20))?;
    ended.map(drop).ok_or_else(|| "it does not end".into())
}

fn stop(net: &Net, daemon: Process) -> Outcome<Process> {
    end(net, daemon, Signal::TERM)?;
    net.start()
}

fn kill(net: &Net, daemon: Process) -> Outcome<Process> {
    end(net, daemon, Signal::KILL)?;
    net.start()
}

/// The keys of people are read anew, and those of the site too.
fn reload(net: &Net, daemon: Process) -> Outcome<Process> {
    let taken = || {
        net.log()
            .matches("sealed packets of 1 keys are taken")
            .count()
    };
    let before = taken();
    net.signal(&daemon, Signal::HUP)?;
    net.eventually("it has read all anew", || taken() > before)?;
    Ok(daemon)
}

/// The power goes: no process, no table, and another `boot_id` (random(4)).
fn reboot(net: &Net, daemon: Process) -> Outcome<Process> {
    end(net, daemon, Signal::KILL)?;
    let mut nft = Command::new("nft");
    nft.args(["flush", "ruleset"]);
    if !net.server.run(|| nft.status())??.success() {
        return Err("nft flush ruleset failed".into());
    }
    net.write("boot", "00000000-0000-4000-8000-000000000001\n")?;
    let boot = net.path("boot").display().to_string();
    let mount =
        format!("mount --bind {boot} /proc/sys/kernel/random/boot_id && exec \"$0\" \"$@\"");
    net.start_by(&["unshare", "--mount", "sh", "-c", &mount])
}

/// What was accepted is lost with its file.
fn amnesia(net: &Net, daemon: Process) -> Outcome<Process> {
    end(net, daemon, Signal::KILL)?;
    fs::remove_file(net.path("state/spa-marks"))?;
    net.start()
}

/// Sends it from both addresses of the client, and sees that it opens nothing for either.
fn is_spent(net: &Net, sealed: &Sealed) -> Outcome {
    for from in [CLIENT, OTHER] {
        let socket = net.socket(from)?;
        let refusals = || {
            net.log()
                .matches("refused: the request was seen before")
                .count()
        };
        let before = refusals();
        send(&socket, from, &sealed.0)?;
        net.eventually("it is refused", || refusals() > before)?;
        assert!(!net.reaches(from, SERVER, 22)?);
        let Some(answer) = receive(&socket)? else {
            continue;
        };
        let outcome = sealed.1.open(&answer)?.outcome;
        assert_eq!(outcome, Answer::Refused(Refusal::Replay));
    }
    Ok(())
}

fn again_after(event: fn(&Net, Process) -> Outcome<Process>) -> Outcome {
    let net = Net::new(SSH)?;
    let daemon = net.start()?;
    let profile = net.profile()?;
    let used = wish().seal(&profile)?;
    opened(&net.ask(CLIENT, &used)?)?;
    assert!(net.reaches(CLIENT, SERVER, 22)?);
    assert_eq!(net.knock(CLIENT, &closing())?.outcome, Answer::Closed);
    is_spent(&net, &used)?;
    let _daemon = event(&net, daemon)?;
    is_spent(&net, &used)?;
    opened(&net.knock(CLIENT, &wish())?)?;
    assert!(net.reaches(CLIENT, SERVER, 22)?);
    assert!(!net.reaches(OTHER, SERVER, 22)?);
    Ok(())
}

/// Not at once, and not after the daemon was killed, when the grant is in the kernel.
fn close_again() -> Outcome {
    let net = Net::new(SSH)?;
    let daemon = net.start()?;
    let profile = net.profile()?;
    opened(&net.knock(CLIENT, &wish())?)?;
    let close = closing().seal(&profile)?;
    assert_eq!(net.ask(CLIENT, &close)?.outcome, Answer::Closed);
    opened(&net.knock(CLIENT, &wish())?)?;
    let again = net.ask(CLIENT, &close)?.outcome;
    assert_eq!(again, Answer::Refused(Refusal::Replay));
    assert!(net.reaches(CLIENT, SERVER, 22)?);
    let _daemon = kill(&net, daemon)?;
    let socket = net.socket(CLIENT)?;
    send(&socket, CLIENT, &close.0)?;
    assert_eq!(receive(&socket)?, None);
    assert!(net.reaches(CLIENT, SERVER, 22)?);
    Ok(())
}

/// The client's clock goes forward, back, and back again, within the tolerance and beyond.
fn stepped() -> Outcome {
    let net = Net::new(SSH)?;
    let daemon = net.start()?;
    let profile = net.profile()?;
    for seconds in [-62, 62] {
        let outcome = net.knock(CLIENT, &off(seconds))?.outcome;
        let Answer::Refused(Refusal::ClockOff(by)) = outcome else {
            return Err(format!("{seconds}: {outcome:?}").into());
        };
        assert!((by - seconds * 1000).abs() < 1_500, "{seconds}: {by}");
    }
    let ahead = off(40).seal(&profile)?;
    opened(&net.ask(CLIENT, &ahead)?)?;
    // Corrected: nobody is locked out by times that have not come yet.
    let right = wish().seal(&profile)?;
    opened(&net.ask(CLIENT, &right)?)?;
    opened(&net.knock(CLIENT, &off(20))?)?;
    net.knock(CLIENT, &closing())?;
    is_spent(&net, &ahead)?;
    is_spent(&net, &right)?;
    // After a restart, the last time of a key is all that is known of it: a packet of before that
    // time is refused, one that comes after it is not.
    let _daemon = stop(&net, daemon)?;
    is_spent(&net, &wish().seal(&profile)?)?;
    opened(&net.knock(CLIENT, &off(45))?).map(drop)
}

/// Each server has keys of its own; even with the site's key of the other, it is not meant.
fn one_server() -> Outcome {
    let (one, other) = (Net::new(SSH)?, Net::new(SSH)?);
    let (_one, daemon) = (one.start()?, other.start()?);
    let (here, there) = (one.profile()?, other.profile()?);
    let mixed = Profile {
        server: here.server,
        site: there.site.clone(),
    };
    let socket = other.socket(CLIENT)?;
    for profile in [&here, &mixed] {
        let foreign = wish().seal(profile)?;
        send(&socket, CLIENT, &foreign.0)?;
        assert_eq!(receive(&socket)?, None);
        assert!(!other.reaches(CLIENT, SERVER, 22)?);
    }
    other.signal(&daemon, Signal::USR1)?;
    other.await_log("sealed packets: 1 junk, 0 over a limit, 1 broken, 0 opened")?;
    // Its user is let in at both, by turns: no counter of one is in the way of the other.
    for _ in 0..3 {
        opened(&one.knock(CLIENT, &wish())?)?;
        opened(&other.knock(CLIENT, &wish())?)?;
    }
    assert!(one.reaches(CLIENT, SERVER, 22)? && other.reaches(CLIENT, SERVER, 22)?);
    Ok(())
}

/// Packets of two machines with one key overtake each other, and all count.
fn twins() -> Outcome {
    let net = Net::new(SSH)?;
    let _daemon = net.start()?;
    let profile = net.profile()?;
    let mut last: Option<i64> = None;
    for round in 0_i64..20 {
        // No two in the same millisecond: for one key that is one time.
        let after = |millis| Wish {
            off: round * 10 + millis,
            ..wish()
        };
        let first = after(0).seal(&profile)?;
        let second = after(3).seal(&profile)?;
        let until = |reply: &knock_spa::Reply| -> Outcome<i64> {
            Ok(opened(reply)?.0.ok_or("for ever")?.since(reply.time))
        };
        until(&net.ask(OTHER, &second)?).map_err(|why| format!("{round}: {why}"))?;
        let left = until(&net.ask(CLIENT, &first)?).map_err(|why| format!("{round}: {why}"))?;
        last = Some(left);
    }
    assert!(last.is_some_and(|left| left > 28_000), "{last:?}");
    assert!(net.reaches(CLIENT, SERVER, 22)? && net.reaches(OTHER, SERVER, 22)?);
    Ok(())
}

/// Eight times of a key are remembered: whoever is behind more than these is not told from a thief,
/// until its own clock has come so far.
fn lagging() -> Outcome {
    let net = Net::new(SSH)?;
    let _daemon = net.start()?;
    let profile = net.profile()?;
    let knock =
        |from, wish: Wish| -> Outcome { opened(&net.ask(from, &wish.seal(&profile)?)?).map(drop) };
    for _ in 0..8 {
        knock(CLIENT, off(12))?;
        knock(OTHER, wish())?;
    }
    knock(CLIENT, off(12))?;
    let behind = wish().seal(&profile)?;
    let socket = net.socket(OTHER)?;
    send(&socket, OTHER, &behind.0)?;
    assert_eq!(receive(&socket)?, None);
    net.await_log("10.77.0.3: ssh: refused: the request was seen before")?;
    net.eventually("its clock has come so far", || {
        net.knock(OTHER, &wish())
            .is_ok_and(|reply| opened(&reply).is_ok())
    })
}
