//! A packet socket whose packets arrive in shared memory, with no system call for each.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libc::tpacket_req;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::frames::{Frame, Frames};
use crate::mapping::Mapping;
use crate::socket;

/// How large a ring is.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Size {
    /// How many packets it holds; rounded up to whole blocks of 64 KiB.
    pub frames: u32,
    /// Bytes a frame: a power of two from 128 to 65,536. 80 of them are not the packet's.
    pub frame_size: u32,
}

/// 2 MiB. 176 bytes of a packet hold an IPv4 header with all its options, or an IPv6 header with
/// 100 bytes of extension headers, and what is asked of TCP.
impl Default for Size {
    fn default() -> Self {
        Self {
            frames: 8192,
            frame_size: 256,
        }
    }
}

/// Why there is no ring.
#[derive(Debug)]
pub enum Error {
    /// There is no such [`Size`].
    Size(Size),
    /// There is no packet socket; `EPERM` without the capability `CAP_NET_RAW`.
    Socket(io::Error),
    /// The kernel does not make the ring.
    Ring(io::Error),
    /// The ring cannot be mapped.
    Map(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(size) => write!(
                f,
                "no receive ring has {} frames of {} bytes",
                size.frames, size.frame_size
            ),
            Self::Socket(error) => write!(f, "no packet socket: {error}"),
            Self::Ring(error) => write!(f, "no receive ring: {error}"),
            Self::Map(error) => write!(f, "receive ring not mapped: {error}"),
        }
    }
}

impl std::error::Error for Error {}

/// What has become of packets since the last time it was asked.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Statistics {
    /// Packets that passed the filter, the dropped ones included.
    pub packets: u32,
    /// Packets that found no free frame.
    pub drops: u32,
}

/// A packet socket in datagram mode with a receive ring, which nobody need map: the kernel fills
/// it all the same. It is closed on exec and never blocks.
///
/// Make it, attach a filter, then [`RingSocket::bind`] it; before that it receives nothing. Who
/// reads it makes a [`Ring`] of the same socket, in this process or in another; when that one
/// ends, packets go on waiting for the next.
#[derive(Debug)]
pub struct RingSocket {
    socket: OwnedFd,
}

/// A packet socket that has no ring yet, receives nothing and takes no memory. To make one needs the
/// capability `CAP_NET_RAW`; to give it a ring later, and to bind it, needs none.
#[derive(Debug)]
pub struct SpareSocket {
    socket: OwnedFd,
}

impl SpareSocket {
    /// A socket without a ring.
    ///
    /// # Errors
    /// If the kernel gives no socket.
    pub fn new() -> Result<Self, Error> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Protocol 0: nothing is received before `bind`, so nothing unfiltered.
        let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)
            .map_err(|errno| Error::Socket(errno.into()))?;
        // Before Linux 4.20 it is left to the filter, which drops outgoing packets too.
        let _known = socket::ignore_outgoing(socket.as_fd()).is_ok();
        Ok(Self { socket })
    }

    /// The same with a ring; it receives nothing yet.
    ///
    /// # Errors
    /// If there is no such size, or the kernel gives no memory.
    pub fn with_ring(self, size: Size) -> Result<RingSocket, Error> {
        let Self { socket } = self;
        let request = request(size).ok_or(Error::Size(size))?;
        socket::set_version_2(socket.as_fd()).map_err(Error::Ring)?;
        socket::set_receive_ring(socket.as_fd(), &request).map_err(Error::Ring)?;
        Ok(RingSocket { socket })
    }
}

impl RingSocket {
    /// A socket that receives nothing yet.
    ///
    /// # Errors
    /// If there is no such size, or the kernel gives no socket or no memory.
    pub fn new(size: Size) -> Result<Self, Error> {
        request(size).ok_or(Error::Size(size))?;
        SpareSocket::new()?.with_ring(size)
    }

    /// Begins to receive packets of all protocols, from the interface with this index or, with
    /// 0, from every one, also from those that come later.
    ///
    /// # Errors
    /// What `bind(2)` says; `ENODEV` if there is no such interface.
    pub fn bind(&self, interface: u32) -> io::Result<()> {
        socket::bind(self.socket.as_fd(), interface)
    }
}

impl AsFd for RingSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<RingSocket> for OwnedFd {
    fn from(socket: RingSocket) -> Self {
        socket.socket
    }
}

/// The receive ring of a [`RingSocket`], mapped: packets with no system call for each.
///
/// When [`Ring::next_frame`] gives none, wait until the descriptor is readable: it is as soon as
/// one packet is there.
#[derive(Debug)]
pub struct Ring {
    mapping: Mapping,
    frames: Frames,
    socket: OwnedFd,
}

impl Ring {
    /// The ring of `socket`, which was made with this size. Packets that wait there already come
    /// first, in their order, whoever has read it before. There must be one reader at a time.
    ///
    /// # Errors
    /// If the socket has no ring of that size, or the kernel has no room for it.
    pub fn map(socket: impl Into<OwnedFd>, size: Size) -> Result<Self, Error> {
        let request = request(size).ok_or(Error::Size(size))?;
        let bytes = request.tp_block_size * request.tp_block_nr;
        let bytes = usize::try_from(bytes).map_err(|_| Error::Size(size))?;
        let frame_size = usize::try_from(size.frame_size).map_err(|_| Error::Size(size))?;
        let socket = socket.into();
        let mapping = Mapping::new(socket.as_fd(), bytes).map_err(Error::Map)?;
        Ok(Self {
            mapping,
            frames: Frames::anywhere(frame_size),
            socket,
        })
    }

    /// The next packet, if there is one. Its frame is the kernel's again already.
    #[must_use]
    pub fn next_frame(&mut self) -> Option<Frame<'_>> {
        self.frames.poll(self.mapping.words())
    }

    /// Has the processor fetch, without waiting for it, the frame that [`Ring::next_frame`] will look at
    /// after `before` others, fewer than the ring has.
    pub fn fetch(&self, before: usize) {
        self.frames.fetch(self.mapping.words(), before);
    }

    /// What has become of packets since this was last asked.
    ///
    /// # Errors
    /// What `getsockopt(2)` says.
    pub fn statistics(&self) -> io::Result<Statistics> {
        let counted = socket::statistics(self.socket.as_fd())?;
        Ok(Statistics {
            packets: counted.tp_packets,
            drops: counted.tp_drops,
        })
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What to ask of the kernel, whose frames must fill blocks and blocks pages.
fn request(size: Size) -> Option<tpacket_req> {
    /// A multiple of every page size in use.
    const BLOCK: u32 = 64 * 1024;
    let Size { frames, frame_size } = size;
    if !frame_size.is_power_of_two() || !(128..=BLOCK).contains(&frame_size) || frames == 0 {
        return None;
    }
    let frames_a_block = BLOCK / frame_size;
    let blocks = frames.div_ceil(frames_a_block);
    // What is mapped must be told in 32 bits.
    blocks.checked_mul(BLOCK)?;
    Some(tpacket_req {
        tp_block_size: BLOCK,
        tp_block_nr: blocks,
        tp_frame_size: frame_size,
        tp_frame_nr: blocks.checked_mul(frames_a_block)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(frames: u32, frame_size: u32) -> Size {
        Size { frames, frame_size }
    }

    #[test]
    fn frames_fill_blocks_and_blocks_fill_pages() {
        let asked = request(Size::default()).unwrap();
        assert_eq!((asked.tp_block_nr, asked.tp_frame_nr), (32, 8192));
        let asked = request(size(1, 128)).unwrap();
        assert_eq!((asked.tp_block_nr, asked.tp_frame_nr), (1, 512));
    }

    #[test]
    fn a_size_that_cannot_be_is_refused() {
        for refused in [size(0, 256), size(1, 100), size(1, 64), size(1, 1 << 17)] {
            assert!(request(refused).is_none(), "{refused:?}");
        }
        let endless = RingSocket::new(size(u32::MAX, 65_536)).unwrap_err();
        assert!(matches!(endless, Error::Size(_)), "{endless}");
    }
}
