//! Established traffic through the gate, against the same without one.
//!
//! One thread has both ends of a connection between two hosts: it writes, and reads what it has
//! written. So the kernel does all of its part, the gate's rules and connection tracking included,
//! in that thread's calls, and bytes a second of its CPU time are all that a byte costs, whatever
//! else the machine has to do. Bursts alternate; so do those of a second measurement, with a
//! thread at each end and a clock on the wall, as a program would see it.

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
use crate::bench::report::{Samples, to_f64};
use crate::case::Medium;
use crate::network::Network;
use crate::script::address;

/// What is written at once: what finds room in both ends' buffers.
const CHUNK: usize = 32 * 1024;

/// Of each measurement.
const BURSTS: usize = 60;
/// Chunks, or round trips.
const CHUNKS: usize = 4_000;
const TRIPS: usize = 4_000;
/// How long two threads are at it.
const SPELL: Duration = Duration::from_millis(150);

const OPEN_FOR: Duration = Duration::from_secs(3600);

pub(super) fn run() -> Result<Vec<Line>> {
    let mut paths = [Path::new(false)?, Path::new(true)?];
    for path in &mut paths {
        path.burst(&[0; CHUNK], CHUNKS)?;
    }
    let [mut cpu, mut wall, mut trips] = [(); 3].map(|()| [Samples::default(), Samples::default()]);
    for _ in 0..BURSTS {
        for (index, path) in paths.iter_mut().enumerate() {
            let push = |samples: &mut [Samples; 2], sample| {
                samples
                    .iter_mut()
                    .skip(index)
                    .take(1)
                    .for_each(|of| of.push(sample));
            };
            push(&mut cpu, path.burst(&[0; CHUNK], CHUNKS)?);
            push(&mut trips, path.burst(&[0], TRIPS)?);
            push(&mut wall, path.spell()?);
        }
    }
    let line = |what: &str, unit, [without, with]: [Samples; 2], scale: f64| {
        let scaled = |samples: Samples| samples.median().times(scale);
        Line::new(what, unit, scaled(with)).beside("without a gate", scaled(without))
    };
    let gigabytes = to_f64(CHUNK) / 1e9;
    Ok(vec![
        line(
            "established traffic through the gate, a CPU second",
            " GB",
            cpu,
            gigabytes,
        )
        .bare_ratio_at_least(0.97),
        line(
            "the same, a second, a thread at each end",
            " GB",
            wall,
            gigabytes,
        ),
        line(
            "round trips of one byte through it, a CPU second",
            "",
            trips,
            1.0,
        ),
    ])
}

/// A connection between two hosts.
struct Path {
    _network: Network,
    _gate: Option<Gate>,
    client: TcpStream,
    server: TcpStream,
}

impl Path {
    fn new(gated: bool) -> Result<Self> {
        let network = Network::new(Medium::Ethernet)?;
        let gate = if gated {
            Some(network.server.run(gate)??)
        } else {
            None
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
        })
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
        server.set_read_timeout(Some(Duration::from_millis(50)))?;
        let received = thread::scope(|scope| {
            let sender = scope.spawn(move || {
                let begun = Instant::now();
                while begun.elapsed() < SPELL {
                    client.write_all(&[0; CHUNK])?;
                }
                Ok::<_, std::io::Error>(())
            });
            let begun = Instant::now();
            let (mut bytes, mut last) = (0, begun);
            let mut buffer = vec![0; CHUNK];
            loop {
                match server.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => (bytes, last) = (bytes + length, Instant::now()),
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                    Err(_) if sender.is_finished() => break,
                    Err(_) => {}
                }
            }
            Ok(to_f64(bytes) / to_f64(CHUNK) / last.duration_since(begun).as_secs_f64())
        });
        server.set_read_timeout(None)?;
        Ok(received?)
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
