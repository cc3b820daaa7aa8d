//! A daemon whose door sealed packets open, and the cable that they come by.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use knock_spa::{Outcome, Pending, Profile};
use knockd::spa::marks::FILE;
use knockd::spa::store::Store;
use socket2::SockRef;
use tempfile::TempDir;

use super::people::{DOOR, Person};
use crate::Result;
use crate::bench::Programs;
use crate::bench::daemon::Daemon;
use crate::network::{Batches, SERVER_INTERFACE};
use crate::script::{Knock, Variation, packet};

/// Where sealed packets are sent.
const PORT: u16 = 51_443;

/// Where they come from, and are answered.
const CLIENT_PORT: u16 = 40_000;

/// Of 10.96.0.0/11: all of them are the client's own.
const FIRST: u32 = 0x0a60_0000;

/// Headers of a frame: Ethernet, IPv4, UDP.
const PAYLOAD: usize = 14 + 20 + 8;

/// What is more than this socket's share when nobody reads for a moment.
const BUFFER: usize = 8 << 20;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Side {
    pub(super) daemon: Daemon,
    pub(super) profile: Profile,
    answers: UdpSocket,
    batches: RefCell<Batches>,
    sources: Cell<u32>,
    folder: TempDir,
}

impl Side {
    /// Ours, with the keys of `people`.
    pub(super) fn start<'a>(
        programs: &Programs,
        people: impl IntoIterator<Item = &'a Person>,
    ) -> Result<Self> {
        Self::start_with(programs, people, None)
    }

    /// The same, where so much was accepted before ([`Side::marks`]).
    pub(super) fn start_with<'a>(
        programs: &Programs,
        people: impl IntoIterator<Item = &'a Person>,
        marks: Option<&[u8]>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("testbed-").tempdir()?;
        let (keys, state) = (folder.path().join("keys"), folder.path().join("state"));
        let lines: String = people.into_iter().map(Person::line).collect();
        fs::write(&keys, lines)?;
        let (store, _) = Store::load_or_make(&state)?;
        if let Some(marks) = marks {
            fs::write(state.join(FILE), marks)?;
        }
        let config = format!(
            "state_dir = {0}\njournal = {0}/journal\n[{DOOR}]\nauthorized_keys = {1}\n\
             open = tcp/22\nopen_for = 1h\n",
            state.display(),
            keys.display(),
        );
        let daemon = Daemon::start(&programs.knockd, &config)?;
        let network = &daemon.network;
        let way = "ip route add local 10.96.0.0/11 dev lo";
        let back = format!("ip route add 10.96.0.0/11 via 10.77.0.1 dev {SERVER_INTERFACE}");
        if !network.client_shell(way)?.success() || !network.server_shell(&back)?.success() {
            return Err("no way back".into());
        }
        let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, CLIENT_PORT));
        let answers = network.client.run(bind)??;
        SockRef::from(&answers).set_recv_buffer_size(BUFFER)?;
        answers.set_nonblocking(true)?;
        Ok(Self {
            batches: RefCell::new(network.batches(1)?),
            answers,
            profile: Profile {
                server: store.servers().current.1,
                site: store.current.site,
            },
            sources: Cell::new(0),
            folder,
            daemon,
        })
    }

    /// A source that has not knocked yet, in another /24 than the one before.
    pub(super) fn next_source(&self) -> Ipv4Addr {
        let number = self.sources.get() + 1;
        self.sources.set(number);
        let (network, host) = (number % 8_192, number / 8_192);
        Ipv4Addr::from_bits(FIRST + 256 * network + host + 1)
    }

    /// The frame of a datagram from `source`.
    pub(super) fn frame(&self, source: Ipv4Addr, datagram: &[u8]) -> Result<Vec<u8>> {
        self.frame_with(source, datagram, &[])
    }

    /// The same, such that the server's own stack drops it at once.
    pub(super) fn hostile_frame(&self, source: Ipv4Addr, datagram: &[u8]) -> Result<Vec<u8>> {
        self.frame_with(source, datagram, &[Variation::BadIpChecksum])
    }

    fn frame_with(
        &self,
        source: Ipv4Addr,
        datagram: &[u8],
        variations: &[Variation],
    ) -> Result<Vec<u8>> {
        let length = u16::try_from(datagram.len())?;
        let usual = [
            Variation::Payload(length),
            Variation::SourcePort(CLIENT_PORT),
        ];
        let knock = Knock {
            source: IpAddr::V4(source),
            variations: [&usual, variations].concat(),
            ..packet(&format!("{PORT}:udp"))?
        };
        let mut frame = self.daemon.network.frame(&knock)?;
        // No checksum (RFC 768).
        let places = frame.iter_mut().skip(PAYLOAD - 2);
        let bytes = [0, 0].iter().chain(datagram);
        places.zip(bytes).for_each(|(place, byte)| *place = *byte);
        Ok(frame)
    }

    /// Sends a frame.
    pub(super) fn send(&self, frame: &[u8]) -> Result<()> {
        match self.batches.borrow_mut().send(&[frame])? {
            1 => Ok(()),
            _ => Err("the kernel does not take a frame".into()),
        }
    }

    /// An answer that has come, if one has.
    pub(super) fn answer(&self) -> Result<Option<Vec<u8>>> {
        let mut bytes = [0; 2048];
        match self.answers.recv(&mut bytes) {
            Ok(length) => Ok(bytes.get(..length).map(<[u8]>::to_vec)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What is answered within `patience`.
    pub(super) fn outcome(&self, pending: &Pending, patience: Duration) -> Result<Option<Outcome>> {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            match self.answer()? {
                Some(answer) => {
                    if let Ok(reply) = pending.open(&answer) {
                        return Ok(Some(reply.outcome));
                    }
                }
                None => std::thread::sleep(Duration::from_micros(50)),
            }
        }
        Ok(None)
    }

    /// The file of what was accepted.
    pub(super) fn marks(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.folder.path().join("state").join(FILE))?)
    }
}
