//! The listener: the process that reads hostile packets, and can do nothing else.
//!
//! The keeper starts the program anew for it ([`main`]), so that nothing of the keeper's memory is
//! in it, and gives it two sockets and, over the first, the packet socket. It gives up everything
//! else before it reads a packet ([`crate::sandbox::confine`]), and says what it has given up.

mod codes;
mod echo;
mod hearing;
mod inbox;
mod limit;
mod outbox;
mod sealed;

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic;
use std::process::{ExitCode, exit};

use knock_sys::{Ring, Size};
use nix::sys::signal::SigSet;
use rustix::stdio::{stderr, stdin, stdout};

use crate::clock::now;
use crate::sandbox::{Account, Descriptors, Layer, State, confine};
use crate::turns;

use hearing::Listener;
use inbox::Inbox;
use outbox::Outbox;

/// What the program is called when it is to be the listener; nobody else calls it so.
pub const NAME: &str = "knockd: listener";

/// The ring's size, which the one who makes it and the one who maps it must agree on: 2.75 MiB, most
/// of what the daemon takes at rest. In floods from all processors at most one packet in a thousand
/// found no room while the listener waited for its turn on one of them, and no knock was lost
/// (`bench -o hostile`); with 2 MiB, more.
pub(crate) const RING: Size = Size {
    frames: 11_264,
    frame_size: 256,
};

/// The ring's size where sealed packets are heard, which must be there whole: 16 MiB.
pub(crate) const WIDE_RING: Size = Size {
    frames: 8_192,
    frame_size: 2_048,
};

/// Its exit status when it cannot begin, or finds something that cannot be.
const FAILED: u8 = 1;

/// How the listener is to be confined, as its arguments say it.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Confinement {
    /// Whom to be; nobody else than now if there is none.
    pub(crate) account: Option<Account>,
    /// Whether to be confined at all (`sandbox = off`).
    pub(crate) on: bool,
}

impl Confinement {
    /// As arguments, which [`Confinement::of_args`] takes.
    pub(crate) fn args(self) -> Vec<String> {
        let account = self.account.map(|account| [account.uid, account.gid]);
        let numbers = account.into_iter().flatten().map(|id| id.to_string());
        let switch = if self.on { "on" } else { "off" };
        std::iter::once(switch.to_owned()).chain(numbers).collect()
    }

    fn of_args(args: &[String]) -> Option<Self> {
        let (switch, account) = args.split_first()?;
        let account = match account {
            [] => None,
            [uid, gid] => Some(Account {
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
            }),
            _ => return None,
        };
        let on = match switch.as_str() {
            "on" => true,
            "off" => false,
            _ => return None,
        };
        Some(Self { account, on })
    }
}

/// Runs the listener, with these arguments after its name. Its standard streams are the orders, the
/// reports, and what is left for last words.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<String> = args.filter_map(|arg| arg.into_string().ok()).collect();
    match Confinement::of_args(&args).ok_or("it is not for you to start it") {
        Ok(confinement) => {
            let Err(why) = listen(confinement);
            failed(why)
        }
        Err(why) => failed(why),
    }
}

fn failed(why: &str) -> ExitCode {
    // If nobody reads it, nobody wants to know.
    writeln!(std::io::stderr(), "{NAME}: {why}").ok();
    ExitCode::from(FAILED)
}

fn listen(confinement: Confinement) -> Result<Infallible, &'static str> {
    // What is meant for the keeper reaches the listener too when it goes to a group: it ends when
    // the keeper lets go of it, and not before.
    SigSet::all()
        .thread_set_mask()
        .map_err(|_| "cannot block signals")?;
    rustix::thread::set_name(c"knockd-listener").ok();
    die_plainly();
    let inbox = Inbox::new(stdin());
    let (socket, wide) = inbox
        .receive_socket()
        .map_err(|_| "no packet socket came")?;
    let size = if wide { WIDE_RING } else { RING };
    let ring = Ring::map(socket, size).map_err(|_| "the packet ring cannot be mapped")?;
    // In a flood from all processors it must have its turn before the ring is full; it takes little
    // of one, as it rests between its looks at the ring.
    turns::come_soon();
    // The first look at the clock asks the kernel where its clock is (`PR_GET_AUXV`).
    now();
    let held = hold(confinement, &ring)?;
    let mut listener = Listener::begin(ring, inbox, Outbox::new(stdout()), &held);
    listener.run();
    // Nothing is let go of one by one: the calls for that are not allowed any more.
    exit(0)
}

/// Gives up what is to be given up.
fn hold(confinement: Confinement, ring: &Ring) -> Result<Vec<(Layer, State)>, &'static str> {
    if !confinement.on {
        return Ok(Vec::new());
    }
    let number = |fd: BorrowedFd<'_>| fd.as_raw_fd();
    let descriptors = Descriptors {
        orders: number(stdin()),
        reports: number(stdout()),
        words: number(stderr()),
        packets: ring.as_fd().as_raw_fd(),
    };
    Ok(confine(confinement.account, descriptors, &Layer::ALL))
}

/// A panic says what it has to say and ends the process, without the signal that the sandbox does
/// not allow.
fn die_plainly() {
    panic::set_hook(Box::new(|info| {
        writeln!(std::io::stderr(), "{info}").ok();
        exit(101);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_say_how_to_be_confined() {
        let account = Some(Account { uid: 7, gid: 8 });
        for account in [account, None] {
            for on in [true, false] {
                let confinement = Confinement { account, on };
                assert_eq!(Confinement::of_args(&confinement.args()), Some(confinement));
            }
        }
        for wrong in [
            &["on", "7"][..],
            &["maybe"],
            &[],
            &["on", "7", "-8"],
            &["on", "7", "8", "9"],
        ] {
            let wrong: Vec<_> = wrong.iter().map(|arg| (*arg).to_owned()).collect();
            assert_eq!(Confinement::of_args(&wrong), None, "{wrong:?}");
        }
    }
}
