//! The configuration as it is written.

use knock_core::config::{keys, parse};
use knock_core::service::Service;
use knock_core::spa::Spa;
use knock_core::time::InUnits;

use super::answers::{Answers, Guard, How};
use super::machine::{Firewall, Machine};
use crate::ctl::listed;

/// Where the log goes.
pub(super) const LOG: &str = "/var/log/knockd.log";

/// Where what has happened is put on record, if the daemon can.
const AUDIT: (&str, &str) = ("audit_file", "/var/log/knockd-audit.jsonl");

/// Keys stand with their values below each other.
const WIDTH: usize = 11;

/// The text of the configuration, which the parser takes.
///
/// # Errors
/// If it does not, with its reason.
pub(super) fn configuration(answers: &Answers, machine: &Machine) -> Result<String, String> {
    let mut text = Text::default();
    text.comment("Written by knockctl init; knockd.conf(5) explains every key.");
    if matches!(answers.how, How::Sequence(_)) {
        text.comment("The sequence is a secret: let nobody but root read this file.");
    }
    text.options(answers);
    text.door(answers, machine);
    let text = text.0;
    // What is written here must be right; if it is not, it is better not written.
    let services = crate::services::Services::system();
    let parsed = parse(text.as_bytes(), &|name, protocol| {
        services.port(name, protocol)
    });
    if parsed.config.is_none() {
        let path = std::path::Path::new("new configuration");
        let shown = crate::diagnostics::render(path, text.as_bytes(), &parsed.diagnostics, false);
        return Err(format!("this configuration is not understood:\n{shown}"));
    }
    Ok(text)
}

/// The name of the door: of what it opens, if that is one thing.
pub(super) fn name(answers: &Answers, machine: &Machine) -> &'static str {
    let ssh = machine.ssh.unwrap_or(22);
    let is_ssh = |service: &Service| match service {
        Service::Tcp(ports) => ports.contains(ssh),
        Service::Udp(_) | Service::Icmp => false,
    };
    if answers.services.iter().any(is_ssh) {
        "ssh"
    } else {
        "door"
    }
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn comment(&mut self, text: &str) {
        self.0.push_str(&format!("# {text}\n"));
    }

    fn note(&mut self, text: &str) {
        self.0.push_str(&format!("    # {text}\n"));
    }

    fn key(&mut self, key: &str, value: &str) {
        self.0.push_str(&format!("    {key:WIDTH$} = {value}\n"));
    }

    fn options(&mut self, answers: &Answers) {
        self.0.push_str("\n[options]\n");
        self.note("Where knocks are heard. An interface that is not there is waited for.");
        self.key("interface", &answers.interfaces.join(", "));
        self.key("logfile", LOG);
        if keys::find(AUDIT.0).is_some() {
            self.note("Every opening, on record.");
            self.key(AUDIT.0, AUDIT.1);
        }
        match answers.how {
            How::Sealed(_) => {
                self.note("Sealed packets come to this UDP port; nothing listens there.");
                self.key("spa_port", &Spa::PORT.to_string());
            }
            How::Steps(_) | How::Sequence(_) => {
                self.note("Any other knock begins anew: no port scan opens a door.");
                self.key("strict", "yes");
            }
        }
    }

    fn door(&mut self, answers: &Answers, machine: &Machine) {
        self.0
            .push_str(&format!("\n[{}]\n", name(answers, machine)));
        match &answers.how {
            How::Sealed(keys) => {
                self.note("Whose signature opens the door: a line added is a person added.");
                self.key("authorized_keys", keys);
            }
            How::Sequence(sequence) => {
                self.note("The ports to knock at, in their order, and the time for all of them.");
                self.key("sequence", &sequence.to_string());
                self.key("seq_timeout", "15s");
                self.key("tcpflags", "syn");
            }
            How::Steps(_) => {}
        }
        match answers.guard {
            Guard::Gate => {
                self.note("Closed to everybody who has not knocked; connections that stand go on.");
                self.key("open", &listed(&answers.services));
                self.key("open_for", &InUnits(answers.time).to_string());
            }
            Guard::Firewall(firewall) => self.commands(answers, firewall),
        }
    }

    /// For each service a rule, at the knock, and its end.
    fn commands(&mut self, answers: &Answers, firewall: Firewall) {
        self.note("Your firewall must keep these ports closed: knockd only opens them.");
        let all = |line: &dyn Fn(Service) -> Option<String>| {
            let lines = answers.services.iter().filter_map(|service| line(*service));
            lines.collect::<Vec<_>>().join("; ")
        };
        match firewall {
            Firewall::Ufw => {
                let rule = |verb: &str, service| Some(format!("ufw {verb} {}", ufw(service)?));
                self.key("start_command", &all(&|service| rule("insert 1", service)));
                self.key("stop_command", &all(&|service| rule("delete", service)));
            }
            Firewall::Iptables => {
                for (program, suffix) in [("iptables", ""), ("ip6tables", "_6")] {
                    let rule = |verb: &str, service| {
                        let rule = iptables(service, program);
                        Some(format!("{program} -w {verb} INPUT {rule}"))
                    };
                    self.key(&format!("start_command{suffix}"), &all(&|s| rule("-I", s)));
                    self.key(&format!("stop_command{suffix}"), &all(&|s| rule("-D", s)));
                }
            }
        }
        self.key("cmd_timeout", &InUnits(answers.time).to_string());
    }
}

/// What has no ports it has no word for, which [`Answers`] knows.
fn ufw(service: Service) -> Option<String> {
    let (protocol, ports) = service.ports()?;
    let ports = ports.to_string().replace('-', ":");
    Some(format!(
        "allow proto {protocol} from %IP% to any port {ports}"
    ))
}

fn iptables(service: Service, program: &str) -> String {
    let what = match (service.ports(), program) {
        (Some((protocol, ports)), _) => {
            let ports = ports.to_string().replace('-', ":");
            format!("-p {protocol} --dport {ports}")
        }
        (None, "ip6tables") => "-p ipv6-icmp --icmpv6-type echo-request".to_owned(),
        (None, _) => "-p icmp --icmp-type echo-request".to_owned(),
    };
    format!("-s %IP% {what} -j ACCEPT")
}
