//! A daemon behind which a door opens port 22, and whoever is asked whether it is open.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;
use crate::bench::Programs;
use crate::bench::ask::{Asker, Place};
use crate::bench::daemon::Daemon;
use crate::script::{Knock, packet};

/// What is knocked at.
pub(super) const STEPS: [u16; 3] = [7000, 8000, 9000];

/// The port that a knock opens.
pub(super) const PORT: u16 = 22;

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// A door that the kernel opens.
const OURS: &str = "journal = {dir}/journal\n[A]\nsequence = 7000,8000,9000\ntcpflags = syn\n\
                    open = tcp/22\nopen_for = 1h\n";

/// Who can open a door.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum By {
    /// Our daemon by itself.
    Gate,
    /// The distribution's daemon with nft(8).
    Nft,
    /// The distribution's daemon with iptables(8), in front of a rule that drops.
    Iptables,
}

impl By {
    const fn place(self) -> Place {
        match self {
            Self::Gate => Place::Ours,
            Self::Nft => Place::TheirSet,
            Self::Iptables => Place::TheirRules,
        }
    }

    /// The firewall that an administrator has for such commands.
    pub(super) const fn firewall(self) -> &'static str {
        match self {
            Self::Gate => "true",
            Self::Nft => {
                "nft 'add table inet theirs; \
                 add set inet theirs granted { type ipv4_addr; flags timeout; }; \
                 add chain inet theirs in { type filter hook input priority 0; }; \
                 add rule inet theirs in ct state established,related accept; \
                 add rule inet theirs in ip saddr @granted tcp dport 22 accept; \
                 add rule inet theirs in tcp dport 22 drop'"
            }
            Self::Iptables => {
                "iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT && \
                 iptables -A INPUT -p tcp --dport 22 -j DROP"
            }
        }
    }

    /// What opens the port for `%IP%`.
    pub(super) const fn command(self) -> &'static str {
        match self {
            Self::Gate => "",
            Self::Nft => "nft add element inet theirs granted { %IP% timeout 1h }",
            Self::Iptables => "iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
        }
    }

    fn program(self, programs: &Programs) -> &Path {
        match self {
            Self::Gate => &programs.knockd,
            Self::Nft | Self::Iptables => &programs.theirs,
        }
    }

    fn config(self) -> String {
        match self {
            Self::Gate => OURS.to_owned(),
            Self::Nft | Self::Iptables => format!(
                "[A]\nsequence = 7000,8000,9000\ntcpflags = syn\nstart_command = {}\n",
                self.command()
            ),
        }
    }
}

/// A running daemon whose door opens port 22.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) by: By,
    pub(super) daemon: Daemon,
    pub(super) asker: Asker,
    knocks: Vec<Knock>,
    /// How many sources have knocked.
    sources: u32,
}

impl Side {
    pub(super) fn start(programs: &Programs, by: By) -> Result<Self> {
        Self::start_with(programs, by, &by.config(), &STEPS)
    }

    /// With another configuration, and the steps of its door.
    pub(super) fn start_with(
        programs: &Programs,
        by: By,
        config: &str,
        steps: &[u16],
    ) -> Result<Self> {
        let daemon = Daemon::start(by.program(programs), config)?;
        if !daemon.network.server_shell(by.firewall())?.success() {
            return Err(format!("no firewall: {}", by.firewall()).into());
        }
        let knocks = steps.iter().map(|port| packet(&port.to_string()));
        Ok(Self {
            by,
            asker: Asker::new(&daemon.network.server, by.place())?,
            knocks: knocks.collect::<Result<_>>()?,
            sources: 0,
            daemon,
        })
    }

    /// A source that has not knocked yet, of 10.96.0.0/11.
    pub(super) fn next_source(&mut self) -> Ipv4Addr {
        self.sources += 1;
        Ipv4Addr::from_bits(0x0a60_0000 + self.sources)
    }

    /// Sends the packets of a knock from `source`, each `pause` after the one before, so that it is
    /// not seen along with it. When the last one was sent.
    pub(super) fn knock(&self, source: Ipv4Addr, pause: Duration) -> Result<Instant> {
        let mut sent = Instant::now();
        for knock in &self.knocks {
            let knock = Knock {
                source: source.into(),
                ..knock.clone()
            };
            std::thread::sleep(pause);
            sent = Instant::now();
            self.daemon.send(&knock)?;
        }
        Ok(sent)
    }

    /// Asks in a tight loop until `source` is let in.
    ///
    /// # Errors
    /// If that does not come about.
    pub(super) fn wait(&mut self, source: Ipv4Addr, before: usize) -> Result<()> {
        let begun = Instant::now();
        while !self.asker.lets_in(source, before)? {
            if begun.elapsed() > PATIENCE {
                let end = self.daemon.end_of_log()?;
                let by = self.by;
                return Err(format!("{by:?} does not let {source} in; the log ends\n{end}").into());
            }
        }
        Ok(())
    }

    /// As it was before anybody has knocked, where many would make it slow.
    pub(super) fn forget(&self) -> Result<()> {
        if self.by == By::Iptables {
            let again = format!("iptables -F INPUT && {}", self.by.firewall());
            self.daemon.network.server_shell(&again)?;
        }
        Ok(())
    }
}
