//! All that goes over an interface, of every family and protocol.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use etherparse::{
    Icmpv4Type, Icmpv6Type, LaxNetSlice, LaxSlicedPacket, TransportSlice, icmpv4, icmpv6,
};
use knockd::lab::Host;
use socket2::{Domain, Protocol, Socket, Type};

use crate::Outcome;

/// `ETH_P_ALL`, as the network has it.
const ALL: u16 = 3_u16.to_be();

/// A capture that runs.
pub(crate) struct Capture {
    reader: Option<JoinHandle<Vec<Vec<u8>>>>,
    over: Arc<AtomicBool>,
    came: Arc<AtomicUsize>,
    mac: [u8; 6],
}

/// What has gone over the interface.
pub(crate) struct Seen {
    /// The UDP datagrams that came.
    pub(crate) came: usize,
    /// All that left, but what finds neighbours.
    pub(crate) left: Vec<Left>,
}

/// Something that left the host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Left {
    /// A datagram from this port, of so many bytes.
    Datagram(u16, usize),
    /// ICMP's "port unreachable" about a datagram to this port; the whole packet has so many bytes.
    PortUnreachable { to: IpAddr, port: u16, bytes: usize },
    /// Anything else.
    Frame(Vec<u8>),
}

impl Capture {
    pub(crate) fn start(host: &Host, interface: &str) -> Outcome<Self> {
        let mac = host.mac(interface)?;
        let socket = host.run(|| {
            let protocol = Some(Protocol::from(i32::from(ALL)));
            Socket::new(Domain::PACKET, Type::RAW, protocol)
        })??;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let came = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&came);
        let reader = std::thread::spawn(move || {
            let mut frames = Vec::new();
            let mut buffer = vec![0; 65_536];
            loop {
                // Asked before: what was there when it was over is read.
                let last = until.load(Ordering::Acquire);
                match io::Read::read(&mut &socket, &mut buffer) {
                    Ok(length) => {
                        let frame = buffer.get(..length).unwrap_or_default();
                        count.fetch_add(usize::from(has_come(frame, mac)), Ordering::AcqRel);
                        frames.push(frame.to_vec());
                    }
                    Err(_) if last => return frames,
                    Err(_) => {}
                }
            }
        });
        Ok(Self {
            reader: Some(reader),
            over,
            came,
            mac,
        })
    }

    /// How many datagrams have come so far. The kernel keeps only some dozens of frames for us: who
    /// sends more waits for this.
    pub(crate) fn came(&self) -> usize {
        self.came.load(Ordering::Acquire)
    }

    /// All so far.
    pub(crate) fn stop(mut self) -> Outcome<Seen> {
        self.over.store(true, Ordering::Release);
        let frames = self.reader.take().and_then(|reader| reader.join().ok());
        let mut seen = Seen {
            came: self.came(),
            left: Vec::new(),
        };
        for frame in frames.ok_or("the capture broke")? {
            if frame.get(6..12) == Some(&self.mac) {
                seen.left.extend(left(frame)?);
            }
        }
        Ok(seen)
    }
}

fn has_come(frame: &[u8], mac: [u8; 6]) -> bool {
    frame.get(6..12) != Some(&mac) && udp_ports(frame.get(14..).unwrap_or_default()).is_some()
}

/// `None` for what finds neighbours and groups: ARP (RFC 826), neighbour discovery (RFC 4861) and
/// multicast listener reports (RFC 3810), which the kernel sends whatever the daemon does.
fn left(frame: Vec<u8>) -> Outcome<Option<Left>> {
    let known = known(&frame)?;
    Ok(known.map(|known| known.unwrap_or(Left::Frame(frame))))
}

fn known(frame: &[u8]) -> Outcome<Option<Option<Left>>> {
    let parsed = LaxSlicedPacket::from_ethernet(frame)?;
    let bytes = frame.len() - 14;
    let to: IpAddr = match &parsed.net {
        Some(LaxNetSlice::Arp(_)) => return Ok(None),
        Some(LaxNetSlice::Ipv4(ip)) => ip.header().destination_addr().into(),
        Some(LaxNetSlice::Ipv6(ip)) => ip.header().destination_addr().into(),
        None => return Ok(Some(None)),
    };
    let unreachable = |quoted: &[u8]| {
        udp_ports(quoted).map(|(_, port)| Left::PortUnreachable { to, port, bytes })
    };
    let known = match &parsed.transport {
        Some(TransportSlice::Udp(udp)) => {
            Some(Left::Datagram(udp.source_port(), udp.payload().len()))
        }
        Some(TransportSlice::Icmpv4(icmp)) => match icmp.icmp_type() {
            Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port) => {
                unreachable(icmp.payload())
            }
            _ => None,
        },
        Some(TransportSlice::Icmpv6(icmp)) => match icmp.icmp_type() {
            Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port) => {
                unreachable(icmp.payload())
            }
            _ if (130..=136).contains(&icmp.type_u8()) || icmp.type_u8() == 143 => {
                return Ok(None);
            }
            _ => None,
        },
        _ => None,
    };
    Ok(Some(known))
}

/// Of an IP packet, of which not all may be there: source and destination port of its datagram.
fn udp_ports(packet: &[u8]) -> Option<(u16, u16)> {
    let parsed = LaxSlicedPacket::from_ip(packet).ok()?;
    match parsed.transport? {
        TransportSlice::Udp(udp) => Some((udp.source_port(), udp.destination_port())),
        _ => None,
    }
}
