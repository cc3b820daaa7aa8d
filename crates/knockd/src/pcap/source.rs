//! A stream of bytes that knows where it is, and one buffer for the piece at hand.

use std::io::{self, Read};

use super::{Fault, MAX_PACKET, PcapError};

#[derive(Debug)]
pub(super) struct Source<R> {
    input: R,
    offset: u64,
    buffer: Vec<u8>,
}

impl<R: Read> Source<R> {
    pub(super) const fn new(input: R) -> Self {
        Self {
            input,
            offset: 0,
            buffer: Vec::new(),
        }
    }

    /// The bytes of the last [`Source::fill`].
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// How many bytes have been read.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) const fn error(&self, fault: Fault) -> PcapError {
        PcapError {
            offset: self.offset,
            fault,
        }
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.array_or_end()?.ok_or(Fault::Truncated)
    }

    /// The next `N` bytes, or `None` if the stream ends before the first of them.
    pub(super) fn array_or_end<const N: usize>(&mut self) -> Result<Option<[u8; N]>, Fault> {
        self.read(N)?;
        match <[u8; N]>::try_from(self.buffer.as_slice()) {
            Ok(array) => Ok(Some(array)),
            Err(_) if self.buffer.is_empty() => Ok(None),
            Err(_) => Err(Fault::Truncated),
        }
    }

    /// Reads the next `length` bytes, which are then in [`Source::bytes`].
    pub(super) fn fill(&mut self, length: usize) -> Result<(), Fault> {
        self.read(length)?;
        if self.buffer.len() == length {
            Ok(())
        } else {
            Err(Fault::Truncated)
        }
    }

    /// Passes over the next `length` bytes.
    pub(super) fn skip(&mut self, length: u64) -> Result<(), Fault> {
        let copied = io::copy(&mut (&mut self.input).take(length), &mut io::sink());
        let copied = copied.map_err(Fault::Io)?;
        self.offset = self.offset.saturating_add(copied);
        if copied == length {
            Ok(())
        } else {
            Err(Fault::Truncated)
        }
    }

    /// Up to `length` bytes, fewer only at the end. The buffer grows with what is there, not with
    /// what a header announces.
    fn read(&mut self, length: usize) -> Result<(), Fault> {
        self.buffer.clear();
        let limit = u64::try_from(length).unwrap_or(u64::MAX);
        let read = (&mut self.input).take(limit).read_to_end(&mut self.buffer);
        let read = u64::try_from(read.map_err(Fault::Io)?).unwrap_or(u64::MAX);
        self.offset = self.offset.saturating_add(read);
        Ok(())
    }
}

/// A packet length from a file, as a length in memory.
pub(super) fn packet_length(length: u32) -> Result<usize, Fault> {
    usize::try_from(length)
        .ok()
        .filter(|length| *length <= MAX_PACKET)
        .ok_or(Fault::Corrupt("a packet's length", length.into()))
}
