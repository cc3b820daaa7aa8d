//! What the keeper takes from the listener: reports, and no more of them than one that does as it
//! should can send.
//!
//! The listener reads hostile bytes. It may be taken over, so nothing that it says is trusted
//! further than it must be: each message is checked by itself here, then against the keeper's own
//! doors ([`crate::keeper::Generations::check`]).

use std::fmt;
use std::time::Duration;

use knock_core::time::Timestamp;

use crate::bucket::Bucket;
use crate::wire::{KNOCK_LENGTH, Knock, Report, ReportKind};

/// What a listener did that none does.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Misbehaviour {
    /// It sent bytes that are no report.
    NotAReport,
    /// It sent more reports than its limits allow.
    TooMany,
    /// It reported of a door, or of a step, that does not exist.
    NoSuchDoor,
    /// It takes no orders.
    Deaf,
    /// It did not become ready in time.
    Slow,
    /// It is not confined as `sandbox = require` asks.
    Unconfined,
}

/// Checks messages.
#[derive(Debug)]
pub struct Intake {
    openings: Bucket,
    knocks: Bucket,
    codes: Bucket,
    others: Bucket,
}

/// What a listener has said.
#[derive(Clone, Debug)]
pub enum Message {
    /// What it saw.
    Report(Report),
    /// A sealed packet that it has opened.
    Knock(Box<Knock>),
}

/// Twice what its own limit lets out (`listener/limit.rs`), so that clocks need not agree.
const OPENINGS: u32 = 16_384;
const OPENING_PERIOD: Duration = Duration::from_micros(250);

/// Twice what its own limit lets out (`listener/sealed.rs`).
const KNOCKS: u32 = 4_096;
const KNOCK_PERIOD: Duration = Duration::from_micros(125);

/// Twice what its own limits let out (`listener/codes.rs`): also a listener that was taken over has no
/// more guesses.
const CODES: u32 = 144;
const CODE_PERIOD: Duration = Duration::from_millis(49);

/// More than all its other limits together.
const OTHERS: u32 = 8_192;
const OTHER_PERIOD: Duration = Duration::from_millis(1);

impl Default for Intake {
    fn default() -> Self {
        Self {
            openings: Bucket::new(OPENINGS, OPENING_PERIOD),
            knocks: Bucket::new(KNOCKS, KNOCK_PERIOD),
            codes: Bucket::new(CODES, CODE_PERIOD),
            others: Bucket::new(OTHERS, OTHER_PERIOD),
        }
    }
}

impl Intake {
    /// What `bytes` say, at `now`.
    ///
    /// # Errors
    /// If that is nothing, or one too many.
    pub fn message(&mut self, bytes: &[u8], now: Timestamp) -> Result<Message, Misbehaviour> {
        if bytes.len() != KNOCK_LENGTH {
            return self.take(bytes, now).map(Message::Report);
        }
        let knock = Knock::decode(bytes).map_err(|_| Misbehaviour::NotAReport)?;
        if self.knocks.take(now) {
            Ok(Message::Knock(Box::new(knock)))
        } else {
            Err(Misbehaviour::TooMany)
        }
    }

    /// The report that `bytes` are, at `now`.
    ///
    /// # Errors
    /// If they are none, or one too many.
    pub fn take(&mut self, bytes: &[u8], now: Timestamp) -> Result<Report, Misbehaviour> {
        let report = Report::decode(bytes).map_err(|_| Misbehaviour::NotAReport)?;
        let bucket = match report.kind {
            ReportKind::Opening => &mut self.openings,
            ReportKind::Code(_) => &mut self.codes,
            _ => &mut self.others,
        };
        if bucket.take(now) {
            Ok(report)
        } else {
            Err(Misbehaviour::TooMany)
        }
    }
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAReport => "sent a message that is no report",
            Self::TooMany => "sent more reports than there can be",
            Self::NoSuchDoor => "reported of a door or a step that does not exist",
            Self::Deaf => "takes no orders",
            Self::Slow => "was not ready in time",
            Self::Unconfined => "is not confined as `sandbox = require` asks",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use knock_core::door::DoorId;

    use super::*;
    use crate::wire::{Checksum, CodeBytes};

    fn report(kind: ReportKind) -> [u8; crate::wire::LENGTH] {
        let report = Report {
            doors: Checksum(1),
            door: DoorId(0),
            source: IpAddr::from([10, 0, 0, 1]),
            at: Timestamp::ZERO,
            kind,
        };
        report.encode()
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let mut intake = Intake::default();
        let good = report(ReportKind::Opening);
        assert!(intake.take(&good, at(0)).is_ok());
        for bad in [&good[1..], &[], &[0; 72], &[good.as_slice(), &[0]].concat()] {
            assert_eq!(intake.take(bad, at(0)), Err(Misbehaviour::NotAReport));
        }
    }

    #[test]
    fn more_than_a_listener_can_mean_is_refused() {
        let mut intake = Intake::default();
        let (opening, stage) = (report(ReportKind::Opening), report(ReportKind::Stage(1)));
        let code = report(ReportKind::Code(CodeBytes([7; 10])));
        let mut taken = |bytes, count: usize, now| {
            (0..count)
                .filter(|_| intake.take(bytes, now).is_ok())
                .count()
        };
        assert_eq!(taken(&stage, 20_000, at(0)), 8_192);
        assert_eq!(
            taken(&opening, 20_000, at(0)),
            16_384,
            "they are counted apart"
        );
        assert_eq!(taken(&code, 20_000, at(0)), 144);
        assert_eq!(taken(&code, 20_000, at(490)), 10);
        assert_eq!(taken(&stage, 20_000, at(500)), 500);
        assert_eq!(taken(&opening, 20_000, at(500)), 2_000);
    }

    #[test]
    fn more_opened_packets_than_there_can_be_are_refused() {
        let mut intake = Intake::default();
        let mut unsealed = vec![1];
        unsealed.resize(1 + 4 + 16 + 32 + 32 + 80, 0);
        let knock = Knock {
            at: Timestamp::ZERO,
            source: IpAddr::from([10, 0, 0, 1]),
            destination: IpAddr::from([10, 0, 0, 2]),
            source_port: 1,
            port: 2,
            interface: 3,
            unsealed: knock_spa::Unsealed::from_bytes(&unsealed).unwrap(),
        };
        let bytes = knock.encode();
        let mut taken = |now| {
            let all = (0..20_000).filter(|_| intake.message(&bytes, now).is_ok());
            all.count()
        };
        assert_eq!(taken(at(0)), 4_096);
        assert_eq!(taken(at(500)), 4_000, "8,000 a second");
    }
}
