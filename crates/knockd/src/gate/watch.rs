//! Who else changes the table: the kernel tells every change (`NFNLGRP_NFTABLES`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use knock_sys::attach_filter;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::GateError;
use super::names::TABLE;
use super::wire::{Answer, messages};

/// `NFNLGRP_NFTABLES` of `linux/netfilter/nfnetlink.h`.
const GROUP: u32 = 7;

/// The most datagrams that one call of [`Watch::handle_readable`] reads.
const DATAGRAMS_A_CALL: usize = 256;

/// What the socket may hold for us: about 10,000 elements' worth of news.
const ROOM: usize = 4 * 1_024 * 1_024;

/// Hears of changes of the table by anybody but one socket.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
    own: u32,
}

/// What was heard.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
#[must_use]
pub enum Changes {
    /// Nothing that concerns the table.
    None,
    /// Somebody else has changed something in the table.
    Foreign,
    /// News was lost: anything may have changed.
    Lost,
}

impl Watch {
    /// Watches the caller's network namespace. What comes from the socket `own` is no news.
    pub(super) fn new(own: u32) -> Result<Self, GateError> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        // Before the subscription, or there would be a moment without it.
        attach_filter(&socket, all_but(own))?;
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, ROOM).is_err() {
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, ROOM)
                .map_err(io::Error::from)?;
        }
        socket.bind(&SocketAddr::new(0, 1 << (GROUP - 1)))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, own })
    }

    /// Reads the news that is there, up to a bound; call it when the descriptor is readable. To
    /// call it too often is harmless.
    ///
    /// # Errors
    /// What recvmsg(2) says of a socket that cannot be read any more.
    pub fn handle_readable(&mut self) -> io::Result<Changes> {
        let mut changes = Changes::None;
        for _ in 0..DATAGRAMS_A_CALL {
            match self.socket.recv_from_full() {
                Ok((bytes, from)) => {
                    // Only the kernel has port 0: another process could send to us too.
                    if from.port_number() == 0
                        && changes == Changes::None
                        && messages(&bytes).any(|message| self.concerns(&message))
                    {
                        changes = Changes::Foreign;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    changes = Changes::Lost;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(changes)
    }

    /// Whether a message is about our table, and not by us. Every kind of message that is about a
    /// table names it in its first attribute (`NFTA_*_TABLE`, and `NFTA_TABLE_NAME`).
    fn concerns(&self, message: &Answer<'_>) -> bool {
        /// `NFPROTO_INET`.
        const INET: u8 = 1;
        let first = message.attributes().next();
        let ours = first.is_some_and(|attribute| {
            attribute.kind() == 1 && attribute.value().strip_suffix(&[0]) == Some(TABLE.as_bytes())
        });
        ours && message.port != self.own && message.payload.first() == Some(&INET)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A program that lets everything pass but what has come about by one socket: its number is in the
/// header of each message of a change (`nft_commit_notify` in `nf_tables_api.c`). So the
/// many changes of our own do not even wake us.
fn all_but(own: u32) -> [(u16, u8, u8, u32); 4] {
    /// `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_RET | BPF_K`.
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// Where `struct nlmsghdr` has `nlmsg_pid`.
    const PID: u32 = 12;
    [
        (LOAD, 0, 0, PID),
        // The program loads in network order what the kernel has written in the machine's.
        (EQUAL, 0, 1, u32::from_be_bytes(own.to_ne_bytes())),
        (RETURN, 0, 0, 0),
        (RETURN, 0, 0, u32::MAX),
    ]
}
