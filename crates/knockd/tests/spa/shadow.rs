//! A shadow hears sealed packets, says what they would open, and answers nobody.

use std::fs;

use rustix::process::Signal;

use super::codes::{codes, type_in};
use super::net::{CLIENT, Net, SERVER, Wish, alice, opened, receive, send};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[("a_shadow_hears_sealed_packets_and_leaves_no_mark", no_mark)];

fn no_mark() -> Outcome {
    let net = Net::new("[ssh]\nauthorized_keys = %K%\nopen = tcp/22\n")?;
    let wish = Wish::of(alice(), "ssh");
    let mut daemon = net.start()?;
    opened(&net.knock(CLIENT, &wish)?)?;
    let profile = net.profile()?;
    let [code] = codes(&net, "ssh")?;
    net.signal(&daemon, Signal::TERM)?;
    daemon.wait_at_most(std::time::Duration::from_secs(20))?;
    net.knockctl(&["gate", "down"])?;
    let state = || -> Outcome<Vec<(String, Vec<u8>)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(net.path("state"))? {
            let path = entry?.path();
            all.push((path.display().to_string(), fs::read(&path)?));
        }
        all.sort();
        Ok(all)
    };
    let before = state()?;
    net.set_option("shadow")?;
    let _shadow = net.start()?;
    net.await_log("shadow: nothing is opened")?;
    let socket = net.socket(CLIENT)?;
    let (datagram, _) = wish.seal(&profile)?;
    send(&socket, CLIENT, &datagram)?;
    net.await_log("10.77.0.1: ssh: would open tcp/22 for 30s (by SHA256:")?;
    // The same again is told from the first, though nothing was written down.
    send(&socket, CLIENT, &datagram)?;
    net.await_log("refused: ")?;
    type_in(&net, &code, SERVER)?;
    assert_eq!(receive(&socket)?, None);
    assert_eq!(state()?, before);
    assert_eq!(net.log().matches("would open").count(), 1);
    assert!(net.reaches(CLIENT, SERVER, 22)?, "nothing is guarded");
    Ok(())
}
