//! Knock, then connect at once: whether the first SYN gets through.
//!
//! A SYN that is dropped is sent again after a second (RFC 6298, 2), so a connection that stands
//! sooner stands by its first one. Each time another source knocks, and the connection is its own.
//! Packets take no time on this cable: elsewhere a knock and a SYN are equally long on their way, so
//! that it makes no difference.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::side::{By, PORT, STEPS, Side};
use crate::Result;
use crate::bench::report::{Figure, to_f64};
use crate::bench::{Line, Programs};
use crate::network::{CLIENT_INTERFACE, SERVER_INTERFACE};

/// How often.
const TIMES: u32 = 100;

/// Well below the time after which a SYN is sent again.
const FIRST_SYN: Duration = Duration::from_millis(400);

/// So that a packet is not seen along with the one before.
const PAUSE: Duration = Duration::from_millis(2);

/// How somebody knocks who then connects.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum How {
    /// As with `knock host … && ssh host`: the connection begins when our knock(1) has ended.
    Client,
    /// In one program, with a pause between the last packet and the connection.
    After(Duration),
    /// Not at all.
    Not,
}

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let mut ours = Ready::new(programs, By::Gate)?;
    let through = ours.count(How::Client)?;
    let mut pauses = Vec::new();
    for micros in [0, 100, 200, 500, 1_000] {
        let through = ours.count(How::After(Duration::from_micros(micros)))?;
        pauses.push(format!("{micros} µs {through}"));
    }
    let theirs = Ready::new(programs, By::Nft)?.count(How::Client)?;
    let iptables = Ready::new(programs, By::Iptables)?.count(How::Client)?;
    let of_all = |count| Figure::single(to_f64(count));
    Ok(vec![
        Line::new(
            format!("first SYNs that get through, of {TIMES}, when knock(1) has ended"),
            "",
            of_all(through),
        )
        .at_least(f64::from(TIMES))
        .theirs(of_all(theirs))
        .note(format!(
            "theirs with nft add element; with iptables -I {iptables}; ours in one program, with a \
             pause behind the last packet of {}",
            pauses.join(", ")
        )),
    ])
}

/// A side, with a service behind its door.
struct Ready<'a> {
    programs: &'a Programs,
    side: Side,
    service: TcpListener,
}

impl<'a> Ready<'a> {
    fn new(programs: &'a Programs, by: By) -> Result<Self> {
        let side = Side::start(programs, by)?;
        let network = &side.daemon.network;
        let route = format!("ip route add 10.96.0.0/11 dev {SERVER_INTERFACE}");
        if !network.server_shell(&route)?.success() {
            return Err("no way back".into());
        }
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
        let service = network.server.run(|| TcpListener::bind(any))??;
        service.set_nonblocking(true)?;
        Ok(Self {
            programs,
            side,
            service,
        })
    }

    /// How many of all times the first SYN gets through.
    fn count(&mut self, how: How) -> Result<usize> {
        if self.gets_through(How::Not)? {
            return Err("the port is open to everybody".into());
        }
        let mut through = 0;
        for _ in 0..TIMES {
            through += usize::from(self.gets_through(how)?);
        }
        Ok(through)
    }

    fn gets_through(&mut self, how: How) -> Result<bool> {
        let source = self.side.next_source();
        let client = &self.side.daemon.network.client;
        client.add_address(CLIENT_INTERFACE, &format!("{source}/32"))?;
        let socket = client.run(|| Socket::new(Domain::IPV4, Type::STREAM, None))??;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        match how {
            How::Client => self.knock(source)?,
            How::After(pause) => {
                let sent = self.side.knock(source, PAUSE)?;
                while sent.elapsed() < pause {}
            }
            How::Not => {}
        }
        let server = SocketAddr::from((server(), PORT)).into();
        let through = socket.connect_timeout(&server, FIRST_SYN).is_ok();
        while self.service.accept().is_ok() {}
        Ok(through)
    }

    fn knock(&self, source: Ipv4Addr) -> Result<()> {
        let mut command = Command::new(&self.programs.knock);
        command
            .args(["--source", &source.to_string(), &server().to_string()])
            .args(STEPS.map(|port| port.to_string()))
            .stdin(Stdio::null());
        let client = &self.side.daemon.network.client;
        if !client.spawn(&mut command)?.wait()?.success() {
            return Err("knock does not work".into());
        }
        Ok(())
    }
}

fn server() -> IpAddr {
    crate::script::address::number(2, false)
}
