//! Which TCP ports a firewall command is about.

use knock_core::sequence::Protocol;

use crate::services::Services;

/// The words after which firewall tools name a destination port: iptables, nft, ufw.
const BEFORE_PORT: [&str; 6] = [
    "--dport",
    "--dports",
    "--destination-port",
    "--destination-ports",
    "dport",
    "port",
];

/// The most ports of one command, or of one door's `open`, that are looked at.
pub(super) const MOST: usize = 8;

/// The TCP ports that `command` names, in their order: `--dport 22`, `tcp dport { 22, 443 }`,
/// `--dports 22,http`. Empty if it names none, or is about UDP.
pub(super) fn in_command(command: &str, services: &Services) -> Vec<u16> {
    let spaced = command.replace(['{', '}', ',', '='], " ");
    let words: Vec<&str> = spaced.split_ascii_whitespace().collect();
    let mut ports = Vec::new();
    if words.contains(&"udp") {
        return ports;
    }
    let mut expected = false;
    for word in words {
        if BEFORE_PORT.contains(&word) {
            expected = true;
            continue;
        }
        let number = word.trim_end_matches("/tcp").parse().ok();
        let port = number.or_else(|| services.port(word, Protocol::Tcp));
        match port.filter(|port| expected && *port != 0) {
            Some(port) if !ports.contains(&port) && ports.len() < MOST => ports.push(port),
            Some(_) => {}
            None => expected = false,
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_as_each_tool_writes_them() {
        let cases: [(&str, &[u16]); 9] = [
            (
                "/sbin/iptables -I INPUT -s 10.0.0.1 -p tcp --dport 22 -j ACCEPT",
                &[22],
            ),
            (
                "iptables -A INPUT -p tcp -m multiport --dports 22,443 -j ACCEPT",
                &[22, 443],
            ),
            (
                "nft add rule inet f i ip saddr 10.0.0.1 tcp dport { 22, 80 } accept",
                &[22, 80],
            ),
            ("nft add rule inet f i tcp dport 8022 accept", &[8022]),
            ("ufw allow proto tcp from 10.0.0.1 to any port 22", &[22]),
            ("iptables -I INPUT --dport=22 --dport=22 -j ACCEPT", &[22]),
            ("iptables -I INPUT -p udp --dport 51820 -j ACCEPT", &[]),
            ("nft add element inet filter knocked { 10.77.0.1 }", &[]),
            ("systemctl start sshd; sleep 22", &[]),
        ];
        let services = Services::at("/nonexistent");
        for (command, ports) in cases {
            assert_eq!(in_command(command, &services), ports, "{command}");
        }
    }
}
