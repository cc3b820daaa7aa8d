//! The least that a program can do that sees packets: it walks a packet ring behind the filter of a
//! door, and counts. The daemon is held to it.
//!
//! It rests between looks at the ring, as the daemon does in a flood, so it is woken as seldom.

use std::env;
use std::io::{self, Read, Write};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{ChildStdout, Command, Stdio};

use super::accounts::{Accounts, Usage};
use crate::Result;
use crate::case::Medium;
use crate::network::{Network, SERVER_INTERFACE};
use knock_core::config;
use knock_core::filter::{Scope, compile};
use knock_sys::{Ring, RingSocket, Size, attach_filter};
use knockd::lab::Process;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, poll};

/// Milliseconds, as in the listener.
const REST: u16 = 3;

/// Counts the packets that the doors of the configuration `config` could hear at `interface`. Ends
/// with the standard input; for each byte of it, says how many packets it has seen, and how many
/// found no room in the ring.
///
/// # Errors
/// If it can see no packets.
pub fn count_packets(interface: &str, config: &str) -> Result<()> {
    let mut ring = open(interface, config)?;
    let mut stdin = io::stdin();
    let (mut packets, mut dropped) = (0_u64, 0_u64);
    loop {
        while let Some(frame) = ring.next_frame() {
            packets += u64::from(frame.length > 0);
        }
        let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, REST)? == 0 {
            continue;
        }
        if stdin.read(&mut [0])? == 0 {
            return Ok(());
        }
        dropped += u64::from(ring.statistics()?.drops);
        println!("{packets} {dropped}");
        io::stdout().flush()?;
    }
}

fn open(interface: &str, config: &str) -> Result<Ring> {
    let config = config::parse(config.as_bytes(), &|_, _| None).config;
    let config = config.ok_or("the configuration is refused")?;
    let doors = config.doors.iter();
    let doors = doors.map(|door| (&door.trigger, door.trigger.source.fixed()));
    let index = if_nametoindex(interface)?;
    let scope = Scope {
        interfaces: Some(&[index]),
        only_ipv4: false,
        spa_ports: config.spa_ports(),
        codes: false,
    };
    let program = compile(doors, &scope);
    let socket = RingSocket::new(Size::default())?;
    attach_filter(&socket, program.iter().map(|i| (i.code, i.jt, i.jf, i.k)))?;
    socket.bind(0)?;
    Ok(Ring::map(socket, Size::default())?)
}

/// Such a program, in a network of its own.
#[derive(Debug)]
pub(super) struct BareLoop {
    pub(super) network: Network,
    process: Process,
    answers: BufReader<ChildStdout>,
    accounts: Accounts,
}

impl BareLoop {
    /// Starts it for the doors of `config`; it has begun to count when this returns.
    ///
    /// # Errors
    /// If it does not start.
    pub(super) fn start(config: &str) -> Result<Self> {
        let network = Network::new(Medium::Ethernet)?;
        let mut command = Command::new(env::current_exe()?);
        command
            .args(["--bare", SERVER_INTERFACE, config])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = network.server.spawn(&mut command)?;
        let stdout = process.stdout.take().ok_or("no standard output")?;
        let mut bare = Self {
            network,
            answers: BufReader::new(stdout),
            accounts: Accounts::of(process.id()),
            process,
        };
        bare.counts()?;
        Ok(bare)
    }

    /// Packets so far that it has seen, and that found no room.
    ///
    /// # Errors
    /// If it has ended.
    pub(super) fn counts(&mut self) -> Result<[u64; 2]> {
        let stdin = self.process.stdin.as_mut().ok_or("no standard input")?;
        stdin.write_all(b"?")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let counts = line
            .trim()
            .split_once(' ')
            .ok_or("the bare loop has ended")?;
        Ok([counts.0.parse()?, counts.1.parse()?])
    }

    /// See [`Accounts::usage`].
    ///
    /// # Errors
    /// If it has ended.
    pub(super) fn usage(&mut self) -> Result<Usage> {
        self.accounts.usage()
    }
}
