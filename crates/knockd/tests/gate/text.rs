//! The table as `nft` shows it.

use knock_core::service::Service;

use crate::net::{CLIENT, CLIENT_6, Net, door, grant, nft, tcp_ports, udp_port, up, widened};
use crate::{Case, Outcome};

pub(crate) const CASES: &[(&str, Case)] = &[("the_table_can_be_read_by_people", listed)];

fn listed(_net: &Net) -> Outcome {
    let ssh = door("ssh", &[], &[tcp_ports(22, 22), udp_port(51820)]);
    let office = widened(door("office", &[], &[tcp_ports(8000, 8001)]), 24, 64);
    let ping = door("ping", &[], &[Service::Icmp]);
    let inner = door(
        "inner",
        &["10.88.0.0/24", "fd88::1", "10.88.0.7"],
        &[tcp_ports(80, 80)],
    );
    let mut gate = up(&[ssh.clone(), office.clone(), ping.clone(), inner.clone()])?;
    grant(&mut gate, &ssh, CLIENT, 3_600)?;
    grant(&mut gate, &office, CLIENT_6, 3_600)?;
    grant(&mut gate, &ping, CLIENT, 3_600)?;
    grant(&mut gate, &inner, CLIENT, 3_600)?;
    let text = nft("list table inet postern")?;
    insta::assert_snapshot!(without_times(&text));
    Ok(())
}

/// The text without the times of elements, which differ from run to run.
fn without_times(text: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in text.split_inclusive([' ', '\n']) {
        let is_time = word.starts_with(|first: char| first.is_ascii_digit());
        match words.last().map(|last| last.trim()) {
            Some("timeout" | "expires") if is_time => {
                words.pop();
            }
            _ => words.push(word),
        }
    }
    words.concat().replace('\t', "    ")
}
