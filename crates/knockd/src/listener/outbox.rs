//! Reports on their way to the keeper: limited, in order, and never waited for.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};

use knock_core::engine::Event;
use knock_core::time::Timestamp;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::inbox::Closed;
use super::limit::Limiter;
use crate::wire::{Checksum, Knock, Report, ReportKind};

/// With so many reports waiting, only openings are taken.
const MAX_WAITING: usize = 1024;

/// With so many reports waiting, nothing is taken.
const MAX_OPENINGS: usize = 8192;

/// With so many opened packets waiting, no more are taken: about 1.3 MB.
const MAX_KNOCKS: usize = 1024;

/// Reports, and opened packets, that wait for room in the socket.
#[derive(Debug)]
pub(super) struct Outbox {
    socket: BorrowedFd<'static>,
    waiting: VecDeque<Message>,
    knocks: usize,
    knocks_lost: u64,
    limiter: Limiter,
    openings_lost: u64,
}

impl Outbox {
    pub(super) fn new(socket: BorrowedFd<'static>) -> Self {
        Self {
            socket,
            waiting: VecDeque::new(),
            knocks: 0,
            knocks_lost: 0,
            limiter: Limiter::new(),
            openings_lost: 0,
        }
    }

    /// Takes a report, unless it is over a limit; then it is counted.
    pub(super) fn push(&mut self, report: Report, now: Timestamp) {
        if self.admits(&report.kind, now) {
            self.waiting.push_back(Message::Report(report));
        }
    }

    /// Takes the report of an event, which most packets of a flood have, and few may tell.
    pub(super) fn push_event(&mut self, doors: Checksum, event: &Event) {
        if self.admits(&ReportKind::of_event(event.kind), event.at) {
            let report = Report::of_event(doors, event);
            self.waiting.push_back(Message::Report(report));
        }
    }

    /// Whether a report of `kind` may go out at `now`. What may not is counted.
    fn admits(&mut self, kind: &ReportKind, now: Timestamp) -> bool {
        let opening = *kind == ReportKind::Opening;
        let most = if is_caused_by_strangers(kind) && !opening {
            MAX_WAITING
        } else {
            MAX_OPENINGS
        };
        let admitted = self.limiter.allows(kind, now) && self.waiting.len() < most;
        if !admitted && opening {
            self.openings_lost = self.openings_lost.saturating_add(1);
        } else if !admitted {
            self.limiter.count();
        }
        admitted
    }

    /// Takes an opened packet: so many are opened as a limit allows.
    pub(super) fn push_knock(&mut self, knock: Knock) {
        if self.knocks < MAX_KNOCKS {
            self.knocks += 1;
            self.waiting.push_back(Message::Knock(Box::new(knock)));
        } else {
            self.knocks_lost = self.knocks_lost.saturating_add(1);
        }
    }

    /// Opened packets that were given up because the keeper was busy.
    pub(super) const fn knocks_lost(&self) -> u64 {
        self.knocks_lost
    }

    /// Says how much was left out, if it is time to.
    pub(super) fn handle_timeout(&mut self, doors: Checksum, now: Timestamp) {
        // While the keeper reads nothing, the count goes on.
        if self.waiting.len() < MAX_WAITING
            && let Some(lines) = self.limiter.poll_left_out(now)
        {
            let kind = ReportKind::LeftOut { lines };
            let report = Report::general(doors, kind, now);
            self.waiting.push_back(Message::Report(report));
        }
    }

    /// When [`Outbox::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        let room = self.waiting.len() < MAX_WAITING;
        self.limiter.poll_timeout().filter(|_| room)
    }

    /// Sends what there is room for.
    pub(super) fn flush(&mut self) -> Result<(), Closed> {
        while let Some(message) = self.waiting.front() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let (sent, is_knock) = match message {
                Message::Report(report) => (send(self.socket, &report.encode(), flags), false),
                Message::Knock(knock) => (send(self.socket, &knock.encode(), flags), true),
            };
            match sent {
                Ok(_) => {
                    self.waiting.pop_front();
                    self.knocks -= usize::from(is_knock);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => break,
                Err(_) => return Err(Closed),
            }
        }
        Ok(())
    }

    /// Whether reports wait for the socket to be writable.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Reports left out so far, and openings lost.
    pub(super) const fn losses(&self) -> (u64, u64) {
        (self.limiter.all_left_out(), self.openings_lost)
    }
}

/// What waits.
#[derive(Debug)]
enum Message {
    Report(Report),
    Knock(Box<Knock>),
}

impl AsFd for Outbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket
    }
}

/// Whether it tells of packets; everything else is asked for, said once a second, or a code, which is
/// worth as much as an opening and has limits of its own.
const fn is_caused_by_strangers(kind: &ReportKind) -> bool {
    !matches!(
        kind,
        ReportKind::Layer(..)
            | ReportKind::Ready
            | ReportKind::LeftOut { .. }
            | ReportKind::Dropped { .. }
            | ReportKind::Counter(..)
            | ReportKind::Code(_)
    )
}
