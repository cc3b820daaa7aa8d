//! The options and the address of a packet socket (packet(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, sock_filter, sock_fprog, sockaddr_ll, socklen_t, tpacket_req, tpacket_stats};

use crate::checked;

/// Puts a classic BPF program on a socket: `(code, jt, jf, k)` as in `struct sock_filter`. A
/// program that is there already is replaced, with no packet between them unfiltered or lost.
///
/// # Errors
/// What `setsockopt(2)` with `SO_ATTACH_FILTER` says; `EINVAL` for a program that the kernel
/// does not take, also for an empty one or one of more than 65,535 instructions.
pub fn attach_filter(
    socket: impl AsFd,
    program: impl IntoIterator<Item = (u16, u8, u8, u32)>,
) -> io::Result<()> {
    let instruction = |(code, jt, jf, k)| sock_filter { code, jt, jf, k };
    let mut program: Vec<sock_filter> = program.into_iter().map(instruction).collect();
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = sock_fprog {
        len: length,
        filter: program.as_mut_ptr(),
    };
    set(
        socket.as_fd(),
        libc::SOL_SOCKET,
        libc::SO_ATTACH_FILTER,
        &program,
    )
}

/// Chooses frames of `struct tpacket2_hdr`, each handed over as soon as it is filled.
pub(crate) fn set_version_2(socket: BorrowedFd<'_>) -> io::Result<()> {
    /// `TPACKET_V2` of `linux/if_packet.h`.
    const VERSION: c_int = 1;
    set(socket, libc::SOL_PACKET, libc::PACKET_VERSION, &VERSION)
}

/// Asks not to be given outgoing packets; Linux 4.20 and later know it.
pub(crate) fn ignore_outgoing(socket: BorrowedFd<'_>) -> io::Result<()> {
    let yes: c_int = 1;
    set(socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &yes)
}

/// Makes the ring that can then be mapped.
pub(crate) fn set_receive_ring(socket: BorrowedFd<'_>, ring: &tpacket_req) -> io::Result<()> {
    set(socket, libc::SOL_PACKET, libc::PACKET_RX_RING, ring)
}

/// Packets that passed the filter and those of them that were dropped, since the last call.
pub(crate) fn statistics(socket: BorrowedFd<'_>) -> io::Result<tpacket_stats> {
    let mut value = tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let mut length = length_of::<tpacket_stats>()?;
    // SAFETY: `value` and `length` live through the call, and `length` is the size of `value`,
    // of which any bits are valid.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            ptr::from_mut(&mut value).cast(),
            &raw mut length,
        )
    };
    checked(result)?;
    Ok(value)
}

/// Begins to receive, from one interface or from every one (0).
pub(crate) fn bind(socket: BorrowedFd<'_>, interface: u32) -> io::Result<()> {
    let family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    let protocol = u16::try_from(libc::ETH_P_ALL).map_err(io::Error::other)?;
    let address = sockaddr_ll {
        sll_family: family,
        sll_protocol: protocol.to_be(),
        sll_ifindex: i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = length_of::<sockaddr_ll>()?;
    // SAFETY: `address` lives through the call and `length` is its size.
    let result = unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(&address).cast(), length) };
    checked(result)
}

/// `setsockopt(2)`. Pointers in `value` must be good for what the option reads through them.
fn set<T>(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let length = length_of::<T>()?;
    // SAFETY: `value` lives through the call and `length` is its size; the options used in this
    // file only read, and `sock_fprog`, which alone points on, points at a vector that is alive.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(value).cast(),
            length,
        )
    };
    checked(result)
}

fn length_of<T>() -> io::Result<socklen_t> {
    socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)
}
