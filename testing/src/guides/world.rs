//! The machines of a guide, and their network.
//!
//! ```text
//! server 203.0.113.2, 2001:db8::2 ──┐
//! client 203.0.113.7, 2001:db8::7 ──┼── internet
//! carrier 203.0.113.50 and .51 ─────┘
//!    └── phone 100.64.0.7
//! ```

use std::net::{IpAddr, Ipv4Addr};

use knockd::lab::Host;

use super::machine::{Outcome, Terminal, quote};
use super::page::{Command, End, Machine};
use crate::Result;
use crate::scenario::Programs;

/// What all machines know by name.
const HOSTS: &str = "127.0.0.1 localhost
::1 localhost
203.0.113.2 server.example.com
2001:db8::2 server.example.com";

/// What ssh goes by besides the reader's own files: nobody is asked, and the server is known.
const SSH: &str = "Host *
    BatchMode yes
    ConnectTimeout 10
    LogLevel ERROR
    GlobalKnownHostsFile /etc/ssh/ssh_known_hosts
    UserKnownHostsFile /dev/null
";

const SSHD: &str = "Port 22
HostKey /etc/ssh/host
PidFile none
UsePAM no
UseDNS no
PermitRootLogin yes
SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
MaxStartups 100
";

/// The carrier's addresses; a guide says which of them what a phone sends gets.
const CARRIER: [&str; 2] = ["203.0.113.50/24", "203.0.113.51/24"];

/// See the [module](self).
pub(super) struct World {
    server: Terminal,
    client: Terminal,
    phone: Terminal,
    carrier: Terminal,
    _hosts: Vec<Host>,
}

impl World {
    /// Machines as they are before the first line of a guide: an sshd runs on the server, and knows
    /// the key of the reader.
    pub(super) fn new(programs: &Programs) -> Result<Self> {
        let internet = Host::new("internet")?;
        let host = |name: &str, addresses: &[&str]| -> Result<Host> {
            let host = Host::new(name)?;
            host.connect("eth0", &internet, name)?;
            for address in addresses {
                host.add_address("eth0", address)?;
            }
            Ok(host)
        };
        let server = host("server", &["203.0.113.2/24", "2001:db8::2/64"])?;
        let client = host("client", &["203.0.113.7/24", "2001:db8::7/64"])?;
        let carrier = host("carrier", &CARRIER)?;
        internet.add_bridge("bridge", &["server", "client", "carrier"])?;
        let phone = Host::new("phone")?;
        phone.connect("eth0", &carrier, "phones")?;
        phone.add_address("eth0", "100.64.0.7/24")?;
        carrier.add_address("phones", "100.64.0.1/24")?;
        phone.add_default_route(IpAddr::V4(Ipv4Addr::new(100, 64, 0, 1)))?;
        carrier.set_kernel("net/ipv4/ip_forward", "1")?;
        let terminal = |host: &Host| Terminal::new(host, programs, HOSTS);
        let mut world = Self {
            server: terminal(&server)?,
            client: terminal(&client)?,
            phone: terminal(&phone)?,
            carrier: terminal(&carrier)?,
            _hosts: vec![internet, server, client, carrier, phone],
        };
        world.lay_ssh()?;
        Ok(world)
    }

    fn lay_ssh(&mut self) -> Result<()> {
        let server = &mut self.server;
        server.must(&format!(
            "printf %s {} > /etc/ssh/sshd_config; rm -rf /etc/ssh/sshd_config.d; \
             ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/host && /usr/sbin/sshd && \
             until (: < /dev/tcp/127.0.0.1/22) 2>/dev/null; do sleep .05; done",
            quote(SSHD)
        ))?;
        let host = server.must("cut -d ' ' -f 1,2 /etc/ssh/host.pub")?;
        let client = &mut self.client;
        let key = client.must("ssh-keygen -q -t ed25519 -N '' -C you@home -f .ssh/id_ed25519 && cat .ssh/id_ed25519.pub")?;
        let private = client.must("cat .ssh/id_ed25519")?;
        let known = quote(&format!("* {}\n", host.trim()));
        let lay = format!(
            "printf %s {} > /etc/ssh/ssh_config; printf %s {known} > /etc/ssh/ssh_known_hosts",
            quote(SSH)
        );
        client.must(&lay)?;
        self.phone.must(&lay)?;
        self.phone.must(&format!(
            "umask 077; printf %s {} > .ssh/id_ed25519",
            quote(&private)
        ))?;
        let keys = format!("printf %s {} > .ssh/authorized_keys", quote(&key));
        self.server.must(&keys)?;
        Ok(())
    }

    /// Runs a command of a guide.
    pub(super) fn run(&mut self, command: &Command) -> Result<Outcome> {
        if command.machine == Machine::Session {
            let there = quote(&command.text);
            let through = format!("ssh -o ControlPath=none you@server.example.com {there}");
            return self.client.run(&through, command.end);
        }
        let terminal = self.terminal(command.machine);
        terminal.run(&command.text, command.end)
    }

    /// Writes a file, as the reader does with an editor.
    pub(super) fn write(&mut self, machine: Machine, path: &str, text: &str) -> Result<()> {
        let terminal = self.terminal(machine);
        let text = quote(text);
        // A `~` must not be quoted.
        let command = format!("mkdir -p \"$(dirname {path})\" && printf %s {text} > {path}");
        terminal.must(&command).map(|_| ())
    }

    fn terminal(&mut self, machine: Machine) -> &mut Terminal {
        match machine {
            Machine::Server | Machine::Session => &mut self.server,
            Machine::Client => &mut self.client,
            Machine::Phone => &mut self.phone,
            Machine::Carrier => &mut self.carrier,
        }
    }
}

/// Whether a command has ended as it must; if not, how it did.
pub(super) fn ended(end: End, status: i32) -> std::result::Result<(), String> {
    /// What timeout(1) exits with if it had to end something.
    const HUNG: i32 = 124;
    let is_well = match end {
        End::With(wanted) => status == wanted,
        End::Badly => status != 0,
        End::Never => status == HUNG,
    };
    let wanted = match end {
        End::With(wanted) => format!("exit status {wanted}"),
        End::Badly => "a failure".to_owned(),
        End::Never => "that it hangs".to_owned(),
    };
    if is_well {
        Ok(())
    } else {
        Err(format!("exit status {status} in place of {wanted}"))
    }
}
