//! The control socket: what an operator can ask the running daemon for.
//!
//! `docs/control-protocol.md` is for who writes a client: one JSON object a line, both ways. Here are
//! the words ([`Request`], [`Answer`], [`Status`]); both sides use them.

pub mod client;
mod protocol;
pub mod server;
mod status;

pub use protocol::{
    Answer, Closed, Code, Commands, LogLevel, MAX_REQUEST, Opened, Request, RequestError, VERSION,
    parse_answer, parse_request,
};
pub use status::{
    Attempt, Counters, Door, Gate, GateState, GrantState, Granted, Guarded, Interface, Keeper,
    Layer, LayerState, Listener, OneTime, Shown, Standing, Status,
};

#[cfg(test)]
mod tests;
