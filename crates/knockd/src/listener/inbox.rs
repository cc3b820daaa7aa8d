//! Orders, as they come in.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, ioctl_fionbio, read};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::wire::Order;

/// The keeper is gone, or has said what cannot be.
#[derive(Debug)]
pub(super) struct Closed;

/// The end of the stream that orders come out of.
#[derive(Debug)]
pub(super) struct Inbox {
    stream: BorrowedFd<'static>,
    /// What was read and is no whole order yet.
    bytes: Vec<u8>,
    /// How much of it is done with.
    done: usize,
}

impl Inbox {
    pub(super) fn new(stream: BorrowedFd<'static>) -> Self {
        Self {
            stream,
            bytes: Vec::new(),
            done: 0,
        }
    }

    /// Waits for the first byte, with which the packet socket comes, and which says whether its ring
    /// is the wide one.
    pub(super) fn receive_socket(&self) -> io::Result<(OwnedFd, bool)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        recvmsg(
            self.stream,
            &mut [IoSliceMut::new(&mut byte)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let mut sockets = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let socket = sockets.next().ok_or(io::ErrorKind::UnexpectedEof)?;
        // From here on it is polled.
        ioctl_fionbio(self.stream, true)?;
        Ok((socket, byte == [1]))
    }

    /// Reads what is there.
    pub(super) fn fill(&mut self) -> Result<(), Closed> {
        self.bytes.drain(..self.done);
        self.done = 0;
        let mut part = [0; 16 * 1024];
        loop {
            match read(self.stream, &mut part) {
                Ok(0) => return Err(Closed),
                Ok(length) => self.bytes.extend(part.iter().take(length)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(Closed),
            }
        }
    }

    /// The next order of those that were read whole.
    pub(super) fn next(&mut self) -> Result<Option<Order>, Closed> {
        let rest = self.bytes.get(self.done..).unwrap_or_default();
        match Order::decode(rest) {
            Ok(Some((order, length))) => {
                self.done += length;
                Ok(Some(order))
            }
            Ok(None) => Ok(None),
            Err(_) => Err(Closed),
        }
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream
    }
}
