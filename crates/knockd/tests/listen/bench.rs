//! A packet side with doors from a text, and what it has to say.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use knock_core::config;
use knock_core::door::{Door, DoorId};
use knock_core::sequence::Sequence;
use knockd::listen::{
    InterfaceChange, Notice, PacketSide, Report, ReportKind, Sandbox, Setup, StartError,
};
use knockd::sandbox::Account;
use rustix::event::{Timespec, poll};
use rustix::process::geteuid;

use crate::Outcome;
use crate::net::{Cable, Knock, Tun, knocks};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A door that opens at any time, whatever addresses there are: what was sent before the packet
/// to it has been heard when it opens.
const MARK: &str = "[MARK]\nsequence = 9:udp\ntarget = 10.99.0.9\n";

/// The doors of a configuration, and the mark as the last one.
pub(crate) fn doors(text: &str) -> Outcome<Arc<[Door]>> {
    let parsed = config::parse(format!("{text}{MARK}").as_bytes(), &|_, _| None);
    let config = parsed
        .config
        .ok_or_else(|| format!("{:?}", parsed.diagnostics))?;
    Ok(config.doors.into())
}

pub(crate) fn setup(text: &str, interfaces: &[&str]) -> Outcome<Setup> {
    Ok(Setup {
        site: None,
        codes: None,
        doors: doors(text)?,
        sequences: Vec::new(),
        max_attempts: 65_536,
        spa_ports: Vec::new(),
        interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
        only_ipv4: false,
        dump: false,
        program: env!("CARGO_BIN_EXE_knockd").into(),
        account: Some(Account::NOBODY).filter(|_| geteuid().is_root()),
        sandbox: Sandbox::On,
    })
}

pub(crate) struct Bench {
    pub(crate) side: PacketSide,
    pub(crate) doors: Arc<[Door]>,
    marks: u32,
}

impl Bench {
    pub(crate) fn new(text: &str, interfaces: &[&str]) -> Outcome<Self> {
        Ok(Self::start(setup(text, interfaces)?)?)
    }

    pub(crate) fn start(setup: Setup) -> Result<Self, StartError> {
        let doors = Arc::clone(&setup.doors);
        let side = PacketSide::start(setup)?;
        Ok(Self {
            side,
            doors,
            marks: 0,
        })
    }

    pub(crate) fn set_doors(
        &mut self,
        text: &str,
        sequences: Vec<(DoorId, Option<Sequence>)>,
    ) -> Outcome {
        self.doors = doors(text)?;
        let doors = Arc::clone(&self.doors);
        self.side.set_doors(doors, sequences, 65_536, Vec::new());
        Ok(())
    }

    /// All notices up to the first that `ends` wants, with that one.
    pub(crate) fn until(&mut self, ends: impl Fn(&Notice) -> bool) -> Outcome<Vec<Notice>> {
        self.until_with(ends, || Ok(()))
    }

    /// The same, and does `again` whenever a while has passed in silence.
    fn until_with(
        &mut self,
        ends: impl Fn(&Notice) -> bool,
        mut again: impl FnMut() -> Outcome,
    ) -> Outcome<Vec<Notice>> {
        let deadline = Instant::now() + PATIENCE;
        let mut notices = Vec::new();
        loop {
            while let Some(notice) = self.side.poll_notice() {
                let over = ends(&notice);
                notices.push(notice);
                if over {
                    return Ok(notices);
                }
            }
            if Instant::now() > deadline {
                return Err(format!("it does not come: {notices:?}").into());
            }
            let mut fds: Vec<_> = self.side.poll_fds().collect();
            if poll(
                &mut fds,
                Some(&Timespec {
                    tv_sec: 0,
                    tv_nsec: 100_000_000,
                }),
            )? == 0
            {
                again()?;
            }
            self.side.handle_readable();
        }
    }

    /// All reports of what is sent over `cable` before this.
    pub(crate) fn reports(&mut self, cable: &Cable) -> Outcome<Vec<Report>> {
        self.reports_to_mark(|mark| cable.send(mark))
    }

    /// A cable that was just laid drops frames for a while, so the mark is sent until it is
    /// heard; each has a source of its own.
    fn reports_to_mark(&mut self, mut send: impl FnMut(&Knock) -> Outcome) -> Outcome<Vec<Report>> {
        self.marks += 1;
        let from = IpAddr::from((0x0a63_0000 + self.marks).to_be_bytes());
        let mark = Knock {
            from,
            ..Knock::new("10.99.0.1", "10.99.0.9", "9:udp")?
        };
        let door = DoorId(u16::try_from(self.doors.len() - 1)?);
        send(&mark)?;
        let opens = |notice: &Notice| {
            matches!(notice, Notice::Report(report)
                if report.source == from && report.kind == ReportKind::Opening)
        };
        let notices = self.until_with(opens, || send(&mark))?;
        let reports = notices.into_iter().filter_map(|notice| match notice {
            Notice::Report(report) if report.door != door => Some(report),
            _ => None,
        });
        Ok(reports.collect())
    }

    /// Waits until the listener has done what it was told: it obeys before it sends the report of
    /// a packet that came later.
    fn settle(&mut self, cable: &Cable) -> Outcome {
        self.reports(cable).map(drop)
    }

    /// Sends `steps` from 10.77.0.1 to 10.77.0.2 and gives what is reported: `A.1 A.2 A!`.
    pub(crate) fn knock(&mut self, cable: &Cable, steps: &str) -> Outcome<String> {
        self.knock_from_to(cable, "10.77.0.1", "10.77.0.2", steps)
    }

    pub(crate) fn knock_from_to(
        &mut self,
        cable: &Cable,
        from: &str,
        to: &str,
        steps: &str,
    ) -> Outcome<String> {
        self.settle(cable)?;
        for knock in knocks(from, to, steps)? {
            cable.send(&knock)?;
        }
        let reports = self.reports(cable)?;
        Ok(self.text(&reports))
    }

    /// As [`Bench::knock`], out of a tun interface.
    pub(crate) fn knock_tun(&mut self, tun: &mut Tun, all: &[Knock]) -> Outcome<String> {
        self.reports_to_mark(|mark| tun.send(mark))?;
        all.iter().try_for_each(|knock| tun.send(knock))?;
        let reports = self.reports_to_mark(|mark| tun.send(mark))?;
        Ok(self.text(&reports))
    }

    /// `A.2` is a step, `A!` an opening, `A-2` a time-out, `Ax2` a wrong knock, after two steps.
    pub(crate) fn text(&self, reports: &[Report]) -> String {
        let words = reports.iter().filter_map(|report| {
            let door = self.doors.get(usize::from(report.door.0));
            let door = door.map_or("?", |door| door.name.as_str());
            Some(match report.kind {
                ReportKind::Stage(stage) => format!("{door}.{stage}"),
                ReportKind::Opening => format!("{door}!"),
                ReportKind::Timeout { stage } => format!("{door}-{stage}"),
                ReportKind::Broken { stage, .. } => format!("{door}x{stage}"),
                ReportKind::LeftOut { lines } => format!("+{lines}"),
                _ => return None,
            })
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// Waits until `wanted` has changed about the interface `of`; gives all changes, of any, in
    /// words.
    pub(crate) fn changes(&mut self, of: &str, wanted: &InterfaceChange) -> Outcome<Vec<String>> {
        let notices = self.until(|notice| {
            matches!(notice, Notice::Interface { name, change } if name == of && change == wanted)
        })?;
        let words = notices.into_iter().filter_map(|notice| match notice {
            Notice::Interface { name, change } => Some(format!("{name} {change}")),
            _ => None,
        });
        Ok(words.collect())
    }

    /// Waits until the addresses of an interface are these, and no others but link-local ones.
    pub(crate) fn wait_for_addresses(&mut self, of: &str, wanted: &[&str]) -> Outcome {
        let wanted: Vec<IpAddr> = wanted
            .iter()
            .filter_map(|address| address.parse().ok())
            .collect();
        self.until(|notice| {
            matches!(notice, Notice::Interface { name, change: InterfaceChange::Addresses(now) }
            if name == of && now.iter()
                .filter(|address| !address.to_string().starts_with("fe80:"))
                .eq(&wanted))
        })?;
        Ok(())
    }
}
