//! Established traffic through the gate, against the same without one.
//!
//! What a program sees is how much comes through in a second, with a thread at each end of a
//! connection between two hosts, each on a processor of its own: where the system puts them is worth
//! more than what is looked for. What it costs is told beside it: one thread has both ends, and
//! reads what it has written, so that the kernel does all of its part, the gate's rules and
//! connection tracking included, in that thread's calls, and bytes a second of its CPU time are all
//! that a byte costs, whatever else the machine has to do. Bursts alternate.
//!
//! Nearly all of the cost is that connections are tracked at all. Any firewall that lets standing
//! connections go on has that cost already, so the gate stands beside such a one, too.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use knockd::gate::{Gate, Opening, Plan, Trial};
use knockd::listen::now;

use super::cost::cpu;
use super::side::PORT;
use crate::Result;
use crate::bench::Line;
use crate::bench::processors::Processors;
use crate::bench::report::{Samples, to_f64};
use crate::case::Medium;
use crate::network::Network;
use crate::script::address;

/// What is written at once: what finds room in both ends' buffers, and in one segment that the
/// kernel hands on as a whole (as it does with what large receive offload has put together).
const CHUNK: usize = 60 * 1024;

/// Of each measurement.
const BURSTS: usize = 240;
/// Chunks, or round trips.
const CHUNKS: usize = 1_000;
const TRIPS: usize = 1_000;
/// How long two threads are at it.
const SPELL: Duration = Duration::from_millis(50);

const OPEN_FOR: Duration = Duration::from_secs(3600);

pub(super) fn run() -> Result<Vec<Line>> {
    let mut paths = [
        Path::new(With::Nothing)?,
        Path::new(With::Tracking)?,
        Path::new(With::Gate)?,
    ];
    for path in &mut paths {
        path.burst(&[0; CHUNK], CHUNKS)?;
    }
    for _ in 0..BURSTS {
        paths.iter_mut().try_for_each(Path::turn)?;
    }
    let [without, tracked, with] = &paths;
    let ratio = |of: fn(&Path) -> &Samples, other: &Path| {
        of(with).median().value / of(other).median().value
    };
    let line = |other, path: &Path| {
        let what = "established traffic through the gate, a second";
        let gigabytes = |path: &Path| path.wall.median().times(to_f64(CHUNK) / 1e9);
        let note = format!(
            "a CPU second of both ends {:.2}x, and of round trips of one byte {:.2}x",
            ratio(|path| &path.cpu, path),
            ratio(|path| &path.trips, path)
        );
        let line = Line::new(what, " GB", gigabytes(with));
        line.beside(other, gigabytes(path))
            .bare_ratio_at_least(0.97)
            .note(note)
    };
    Ok(vec![
        line("without a gate", without),
        line("with connection tracking alone", tracked),
    ])
}

/// What the server has.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum With {
    Nothing,
    /// What any firewall has that lets connections that stand go on.
    Tracking,
    Gate,
}

/// Where a gate has its rules.
const TRACKING: &str = "nft 'add table inet tracking; \
    add chain inet tracking in { type filter hook prerouting priority -150; }; \
    add rule inet tracking in ct state established,related accept'";

/// A connection between two hosts.
struct Path {
    _network: Network,
    _gate: Option<Gate>,
    client: TcpStream,
    server: TcpStream,
    /// Chunks a CPU second.
    cpu: Samples,
    /// Round trips a CPU second.
    trips: Samples,
    /// Chunks a second, with a thread at each end.
    wall: Samples,
}

impl Path {
    fn new(with: With) -> Result<Self> {
        let network = Network::new(Medium::Ethernet)?;
        if with == With::Tracking && !network.server_shell(TRACKING)?.success() {
            return Err("no connection tracking".into());
        }
        let gate = match with {
            With::Gate => Some(network.server.run(gate)??),
            With::Nothing | With::Tracking => None,
        };
        let to = SocketAddr::from((address::number(2, false), PORT));
        let service = network.server.run(|| TcpListener::bind(to))??;
        let client = network.client.run(|| TcpStream::connect(to))??;
        let (server, _) = service.accept()?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        Ok(Self {
            _network: network,
            _gate: gate,
            client,
            server,
            cpu: Samples::default(),
            trips: Samples::default(),
            wall: Samples::default(),
        })
    }

    fn turn(&mut self) -> Result<()> {
        let chunks = self.burst(&[0; CHUNK], CHUNKS)?;
        self.cpu.push(chunks);
        let trips = self.burst(&[0], TRIPS)?;
        self.trips.push(trips);
        let wall = self.spell()?;
        self.wall.push(wall);
        Ok(())
    }

    /// So many times `data` from the client to the server, or there and back if it is a byte: how
    /// many a CPU second.
    fn burst(&mut self, data: &[u8], count: usize) -> Result<f64> {
        let mut buffer = vec![0; data.len()];
        let begun = cpu()?;
        for _ in 0..count {
            self.client.write_all(data)?;
            self.server.read_exact(&mut buffer)?;
            if let [byte] = *buffer {
                self.server.write_all(&[byte])?;
                self.client.read_exact(&mut buffer)?;
            }
        }
        Ok(to_f64(count) / (cpu()?.saturating_sub(begun)).as_secs_f64())
    }

    /// Chunks that come in a second, with a thread at each end.
    fn spell(&mut self) -> Result<f64> {
        let (mut client, mut server) = (&self.client, &self.server);
        server.set_read_timeout(Some(Duration::from_millis(20)))?;
        let processors = Processors::divide(1)?;
        let received = thread::scope(|scope| -> Result<f64> {
            let sender = scope.spawn(move || {
                let begun = Instant::now();
                while begun.elapsed() < SPELL {
                    client.write_all(&[0; CHUNK])?;
                }
                Ok::<_, std::io::Error>(())
            });
            processors.take_last()?;
            let begun = Instant::now();
            let (mut bytes, mut last) = (0, begun);
            let mut buffer = vec![0; CHUNK];
            loop {
                match server.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => (bytes, last) = (bytes + length, Instant::now()),
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
                    Err(_) if sender.is_finished() => break,
                    Err(_) => {}
                }
            }
            Ok(to_f64(bytes) / to_f64(CHUNK) / last.duration_since(begun).as_secs_f64())
        });
        server.set_read_timeout(None)?;
        received
    }
}

/// A gate with a grant for the client, in the caller's namespace.
fn gate() -> Result<Gate> {
    let mut gate = Gate::new()?;
    let door = super::door("[A]\nsequence = 7000\nopen = tcp/22\n")?;
    gate.up(&Plan::of(std::slice::from_ref(&door)), &Trial::new(), now())?;
    let client: IpAddr = address::number(1, false);
    let opening = Opening::of(&door, client).ok_or("the door opens nothing")?;
    gate.grant(&opening, now().saturating_add(OPEN_FOR), now())?;
    Ok(gate)
}
