//! One daemon keeps the gate, and nobody can keep it from telling so.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use knockd::gate::{Hold, HoldError, holder};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::net::Net;
use crate::{Case, Outcome};

pub(crate) const CASES: &[(&str, Case)] = &[
    ("one_daemon_keeps_the_gate", one),
    ("guests_that_come_without_end_keep_nobody_waiting", guests),
    ("a_name_that_is_taken_and_full_keeps_nobody_waiting", taken),
];

fn own() -> rustix::process::Pid {
    rustix::process::getpid()
}

fn one(_: &Net) -> Outcome {
    assert_eq!(holder()?, None);
    let hold = Hold::take().map_err(|error| format!("{error:?}"))?;
    assert_eq!(holder()?, Some(own()));
    let second = Hold::take();
    assert!(matches!(second, Err(HoldError::Held(pid)) if pid == own()));
    drop(hold);
    assert_eq!(holder()?, None);
    let again = Hold::take().map_err(|error| format!("{error:?}"))?;
    drop(again);
    Ok(())
}

/// Connects until there is no room.
fn crowd(most: usize) -> Outcome<Vec<std::os::fd::OwnedFd>> {
    let address = SocketAddrUnix::new_abstract_name(b"postern/gate")?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let mut all = Vec::new();
    while all.len() < most {
        let guest = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        if connect(&guest, &address).is_err() {
            break;
        }
        all.push(guest);
    }
    Ok(all)
}

fn guests(_: &Net) -> Outcome {
    let hold = Hold::take().map_err(|error| format!("{error:?}"))?;
    let crowd = crowd(10_000)?;
    assert!(!crowd.is_empty() && crowd.len() < 10_000, "{}", crowd.len());
    let over = AtomicBool::new(false);
    let holder = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                hold.show_out();
                thread::sleep(Duration::from_millis(1));
            }
        });
        let holder = holder();
        over.store(true, Ordering::Relaxed);
        holder
    });
    assert_eq!(holder?, Some(own()));
    Ok(())
}

fn taken(_: &Net) -> Outcome {
    let name = SocketAddr::from_abstract_name(b"postern/gate")?;
    let stranger = UnixListener::bind_addr(&name)?;
    let first = UnixStream::connect_addr(&name)?;
    let crowd = crowd(10_000)?;
    let start = Instant::now();
    let hold = Hold::take().map_err(|error| format!("{error:?}"))?;
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(hold.fd().is_none(), "it is the stranger's");
    hold.show_out();
    drop((stranger, first, crowd));
    Ok(())
}
