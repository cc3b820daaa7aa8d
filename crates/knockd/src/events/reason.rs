//! Why something happened, in stable words.

use knock_spa::Refusal;
use serde::{Deserialize, Serialize};

/// Why. New words may come; who reads events takes one that it does not know as [`Reason::Unknown`].
#[derive(Copy, Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    // Of what is closed.
    /// Its time is over.
    Time,
    /// An operator has closed it, or opened it.
    Operator,
    /// The knock of another door, or a sealed packet, has closed it.
    CloseKnock,
    /// The daemon stops.
    Stop,
    /// The gate was taken down (`knockctl gate down`), or no door opens anything any more.
    GateDown,
    /// The daemon before this one ended while it was being opened or closed.
    Interrupted,

    // Of what is refused.
    /// The kernel, or the gate, did not do it.
    GateError,
    /// The door opens nothing for this version of IP.
    OtherFamily,
    /// Too many commands wait.
    TooMany,
    /// The daemon ends.
    Stopping,
    /// What must be on the disk first cannot be written.
    NotWritten,
    /// The command is too long with everything put in.
    TooLong,
    /// There is no such door, or not for this key.
    UnknownDoor,
    /// The client's clock is off.
    ClockOff,
    /// The request was seen before.
    Replay,
    /// The key or its certificate has ended.
    Expired,
    /// The certificate has not begun.
    NotYetValid,
    /// The key is revoked.
    Revoked,
    /// The certificate is for none of the principals that may open this.
    Principal,
    /// The key may not be used from this address.
    AddressNotAllowed,
    /// The request names another address than the one that it came from, or none and must.
    AddressMismatch,
    /// The security key was not touched.
    TouchRequired,
    /// The security key did not verify who touched it.
    VerifyRequired,
    /// Too many requests of this key.
    Rate,
    /// The code on paper, or the one-time sequence, was used before.
    Spent,
    /// There is no such code on paper.
    UnknownCode,

    // Of the gate.
    /// It stands.
    Up,
    /// It does not stand, and nothing is guarded.
    Down,
    /// It was not as it should be, and was mended.
    Mended,
    /// It is not as it should be, and could not be mended.
    Damaged,
    /// A trial (`knockctl arm`) ended without a confirmation.
    TrialOver,

    // Of a listener.
    /// It is ready.
    Started,
    /// It has ended.
    Died,

    // Of an operator.
    /// To open a door.
    Open,
    /// To close doors.
    Close,
    /// To read the configuration again.
    Reload,
    /// To have another log level.
    LogLevel,

    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Reason {
    /// Its word in JSON.
    #[must_use]
    pub fn name(self) -> String {
        let word = serde_json::to_value(self).ok();
        let word = word.as_ref().and_then(|word| word.as_str());
        word.unwrap_or_default().to_owned()
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownDoor => Self::UnknownDoor,
            Refusal::ClockOff(_) => Self::ClockOff,
            Refusal::Replay => Self::Replay,
            Refusal::Expired(_) => Self::Expired,
            Refusal::NotYetValid(_) => Self::NotYetValid,
            Refusal::Revoked => Self::Revoked,
            Refusal::Principal => Self::Principal,
            Refusal::AddressNotAllowed => Self::AddressNotAllowed,
            Refusal::AddressMismatch => Self::AddressMismatch,
            Refusal::TouchRequired => Self::TouchRequired,
            Refusal::VerifyRequired => Self::VerifyRequired,
            Refusal::Rate => Self::Rate,
            Refusal::GateError => Self::GateError,
        }
    }
}
