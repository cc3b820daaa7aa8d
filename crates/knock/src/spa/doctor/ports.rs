//! The port behind the door: closed before the knock, open after it.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use knock_spa::Purpose;

use super::super::exchange::Answer;
use super::super::report::{opens, tcp_ports};
use super::{Doctor, Level, millis};
use crate::reach;

/// The least and the most time that a closed port is given to prove that it is open.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(2);

/// What came of an attempt to connect.
#[derive(Debug)]
enum Probe {
    Open,
    /// Somebody said no.
    Refused,
    Silent,
    /// This machine could not try.
    Failed(io::Error),
}

impl Doctor<'_> {
    /// The TCP ports to try.
    pub(super) fn ports_of(&mut self, good: &[Answer]) -> Vec<u16> {
        if let Some(port) = self.visit.port {
            return vec![port];
        }
        let what = good.first().and_then(opens).unwrap_or_default().to_owned();
        let ports = tcp_ports(&what);
        if ports.is_empty() {
            let text = format!("the door opens {what}, of which no TCP port can be tried");
            self.warning("port", text, "name one with --port, if there is one");
        }
        ports
    }

    /// Whether the ports are closed. One that is open may be so by an earlier knock: that is taken
    /// back, if anything may be done. `ask` asks the server.
    pub(super) fn before(
        &mut self,
        good: &[Answer],
        ports: &[u16],
        mut ask: impl FnMut(&mut Self, Purpose) -> Option<Vec<Answer>>,
    ) {
        let mut found = self.probe_all(good, ports);
        let is_open = |found: &[(SocketAddr, Probe)]| {
            found.iter().any(|(_, probe)| matches!(probe, Probe::Open))
        };
        let mut closed_now = false;
        if is_open(&found) && self.visit.may_open && ask(self, Purpose::Close).is_some() {
            found = self.probe_all(good, ports);
            closed_now = !is_open(&found);
        }
        if closed_now {
            let text = "an earlier knock had opened it, and is taken back";
            self.ok("port", text);
        }
        for (to, probe) in found {
            match probe {
                Probe::Silent => self.ok("port", format!("tcp {to} is closed before the knock")),
                Probe::Refused => {
                    let text = format!("tcp {to} refuses before the knock, and does not hide it");
                    self.ok("port", text);
                }
                Probe::Open => {
                    let text =
                        format!("tcp {to} was open before the knock: your gate protects nothing");
                    let todo = if self.visit.may_open {
                        "see `knockctl gate show` and `knockctl doctor` on the server; where a door \
                         has only commands, the firewall there has to drop the port"
                    } else {
                        "if an earlier knock has opened it, look again when that is over; else see \
                         `knockctl gate show` and `knockctl doctor` on the server"
                    };
                    self.say(Level::Problem, "port", text, Some(todo));
                }
                Probe::Failed(error) => {
                    let text = format!("tcp {to} could not be tried: {error}");
                    self.warning("port", text, "see --port");
                }
            }
        }
    }

    /// Whether the ports are open, and how soon.
    pub(super) fn after(&mut self, opened: &[Answer], ports: &[u16]) {
        for answer in opened {
            for port in ports {
                self.connect(answer, *port);
            }
        }
    }

    fn connect(&mut self, answer: &Answer, port: u16) {
        let mut to = answer.to;
        to.set_port(port);
        let (time, begun) = (answer.round_trip(), Instant::now());
        let first = reach::first_patience(time);
        let connected = reach::connect(self.way(answer, to), first, reach::PATIENCE);
        let took = begun.elapsed();
        match connected {
            Ok(_) if took < first => {
                let text = format!("tcp {to} is open: connected after {}", millis(took));
                self.ok("port", text);
            }
            Ok(_) => {
                let text = format!("tcp {to} is open, but only after {}", millis(took));
                let todo = "`knock connect` waits for that; ssh by itself may lose a second";
                self.warning("port", text, todo);
            }
            Err(error) => {
                let text = format!("tcp {to} cannot be reached after the knock: {error}");
                let todo = if error.kind() == io::ErrorKind::ConnectionRefused {
                    "nothing listens there, or a firewall rejects it: look on the server \
                     (`ss -ltn`, `knockctl doctor`)"
                } else {
                    "another firewall drops it: `knockctl doctor` on the server has the line for it"
                };
                self.say(Level::Problem, "port", text, Some(todo));
            }
        }
    }

    fn way(&self, answer: &Answer, to: SocketAddr) -> reach::Way<'_> {
        reach::Way {
            to,
            from: Some(SocketAddr::new(answer.local, 0)),
            interface: self.visit.wanted.interface.as_deref(),
        }
    }

    fn probe_all(&self, good: &[Answer], ports: &[u16]) -> Vec<(SocketAddr, Probe)> {
        let mut found = Vec::new();
        for answer in good {
            for port in ports {
                let mut to = answer.to;
                to.set_port(*port);
                found.push((to, self.probe(answer, to)));
            }
        }
        found
    }

    fn probe(&self, answer: &Answer, to: SocketAddr) -> Probe {
        let patience = answer.round_trip().saturating_mul(3);
        let patience = patience.clamp(SHORTEST, LONGEST);
        match reach::attempt(self.way(answer, to), patience) {
            Ok(_) => Probe::Open,
            Err(error) => match error.kind() {
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Probe::Silent,
                // What a firewall's ICMP message becomes.
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable => Probe::Refused,
                _ => Probe::Failed(error),
            },
        }
    }
}
