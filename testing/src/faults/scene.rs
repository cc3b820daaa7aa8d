//! A server with a daemon, a service behind its native door, an owner who knocks, and a stranger
//! who does not; both look at the service all the time.

use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::Result;
use crate::case::Medium;
use crate::network::{CLIENT_INTERFACE, Network, SERVER_INTERFACE};
use crate::scenario::Programs;
use crate::script::{address, packet};
use crate::site::Site;

use super::course::Course;
use super::eye::Eye;
use super::service::{Service, Session};

/// The service's port.
pub(super) const PORT: u16 = 2222;

/// What every configuration begins with: nothing of the machine's own is touched.
pub(super) const JOURNAL: &str = "journal = {dir}/journal\n";

/// How long something may take that has no promise.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The addresses of the owner and of the stranger: 10.77.0.1 and 10.77.0.9.
const STRANGER: u8 = 9;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Scene {
    owner: Eye,
    stranger: Eye,
    _service: Service,
    site: Site,
    start: Instant,
}

/// A knock that has opened the door.
#[derive(Copy, Clone, Debug)]
pub(super) struct Opened {
    pub(super) knocked: Instant,
    pub(super) seen: Instant,
}

impl Scene {
    /// With a daemon that has these doors (and options before them), listening.
    pub(super) fn new(programs: &Programs, doors: &str) -> Result<Self> {
        let mut scene = Self::prepare(programs, doors)?;
        scene.site.start()?;
        scene.begin();
        Ok(scene)
    }

    /// With a daemon that is not started yet; then [`Scene::begin`].
    pub(super) fn prepare(programs: &Programs, doors: &str) -> Result<Self> {
        let network = Network::new(Medium::Ethernet)?;
        let stranger = format!("{}/24", address::number(STRANGER, false));
        network.client.add_address(CLIENT_INTERFACE, &stranger)?;
        let service = Service::new(&network.server, PORT)?;
        let eye = |n| Eye::new(&network.client, address::number(n, false), service_at());
        let (owner, stranger) = (eye(1)?, eye(STRANGER)?);
        let doors = format!("{JOURNAL}{doors}");
        let site = Site::prepare(network, SERVER_INTERFACE, &programs.knockd, &doors)?;
        Ok(Self {
            owner,
            stranger,
            _service: service,
            site,
            start: Instant::now(),
        })
    }

    /// From now on what is seen counts.
    pub(super) fn begin(&mut self) {
        self.start = Instant::now();
    }

    /// Writes another configuration, without its first lines.
    pub(super) fn write_doors(&self, doors: &str) -> Result<()> {
        self.site.write_config(&format!("{JOURNAL}{doors}"))
    }

    /// HUP, and waits until it has been dealt with.
    pub(super) fn reload(&self) -> Result<()> {
        let reloads = || {
            let log = self.site.read("log");
            log.matches("re-opening log file").count()
        };
        let before = reloads();
        self.signal(Signal::SIGHUP)?;
        self.wait_until("it reloads", PATIENCE, || reloads() > before)?;
        self.settle("10.77.0.2")
    }

    /// The owner sends one packet to `port`.
    pub(super) fn knock(&self, port: &str) -> Result<Instant> {
        let now = Instant::now();
        self.network.send(&packet(port)?)?;
        Ok(now)
    }

    /// The owner knocks at the door of the port 7000, and sees it open.
    pub(super) fn open(&self) -> Result<Opened> {
        self.open_by("7000")
    }

    /// The owner knocks at `port`, and sees the service's port open.
    pub(super) fn open_by(&self, port: &str) -> Result<Opened> {
        let knocked = self.knock(port)?;
        self.wait_until("the door opens", PATIENCE, || {
            self.owner.first(true, knocked).is_some()
        })?;
        let seen = self.owner.first(true, knocked).unwrap_or(knocked);
        Ok(Opened { knocked, seen })
    }

    /// A connection of the owner's.
    pub(super) fn session(&self) -> Result<Session> {
        Session::new(&self.network.client, owner(), service_at())
    }

    /// The first time since `from` that the owner saw it open or closed, if ever.
    pub(super) fn first(&self, open: bool, from: Instant) -> Option<Instant> {
        self.owner.first(open, from)
    }

    /// Once all is over, what both have seen is as it should be.
    pub(super) fn judge(&self, owner: &Course, stranger: &Course) -> Result<()> {
        let ends = [owner.end(), stranger.end()];
        let end = ends
            .into_iter()
            .flatten()
            .max()
            .unwrap_or_else(Instant::now);
        // And some glances after the end.
        let end = end.max(Instant::now()) + Duration::from_millis(500);
        self.wait_until("all is seen", PATIENCE * 2, || self.owner.has_seen(end))?;
        for (who, eye, course) in [
            ("the owner", &self.owner, owner),
            ("the stranger", &self.stranger, stranger),
        ] {
            let glances = eye.glances().into_iter();
            let glances: Vec<_> = glances.filter(|glance| glance.at >= self.start).collect();
            self.require(glances.len() > 10, || format!("{who} hardly looked"))?;
            let wrong = course.judge(&glances, self.start);
            self.require(wrong.is_none(), || {
                format!("{who}: {}", wrong.unwrap_or_default())
            })?;
        }
        Ok(())
    }

    /// As [`Scene::judge`], where the stranger never gets in, and the owner for `time`.
    pub(super) fn judge_opening(&self, opened: Opened, time: Duration) -> Result<()> {
        let owner = Course::closed().open(opened.knocked, opened.seen, time);
        self.judge(&owner, &Course::closed())
    }

    /// Runs nft(8) on the server; when it began.
    pub(super) fn nft(&self, words: &str) -> Result<Instant> {
        let now = Instant::now();
        self.server_must(&format!("nft '{words}'"))?;
        Ok(now)
    }

    /// How many lines of the log have this text.
    pub(super) fn lines(&self, text: &str) -> usize {
        let log = self.read("log");
        log.lines().filter(|line| line.contains(text)).count()
    }
}

/// The owner's address.
pub(super) fn owner() -> IpAddr {
    address::number(1, false)
}

fn service_at() -> SocketAddr {
    SocketAddr::new(address::number(2, false), PORT)
}

impl Deref for Scene {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl DerefMut for Scene {
    fn deref_mut(&mut self) -> &mut Site {
        &mut self.site
    }
}
