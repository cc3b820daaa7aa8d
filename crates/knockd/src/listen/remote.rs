//! The listener from outside: its thread, and orders to it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use knock_sys::Ring;
use rustix::event::{EventfdFlags, eventfd};
use rustix::rand::{GetRandomFlags, getrandom};

use super::Counters;
use super::listener::{Doors, Listener, Order, Reach, Start};

/// How long an answer of the listener is waited for.
const PATIENCE: Duration = Duration::from_millis(100);

/// A running listener.
#[derive(Debug)]
pub(super) struct Remote {
    orders: Sender<Order>,
    wake: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Remote {
    /// Starts a listener that sends its reports to `reports`; the switches are `-4` and `-D`.
    pub(super) fn start(
        ring: Ring,
        reports: OwnedFd,
        doors: Doors,
        reach: Reach,
        (only_ipv4, dump): (bool, bool),
    ) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (orders, receiver) = channel();
        let listener = Listener::new(Start {
            ring,
            reports,
            orders: receiver,
            wake: wake.try_clone()?,
            doors,
            reach,
            only_ipv4,
            dump,
            seed: [random()?, random()?],
        });
        let builder = std::thread::Builder::new().name("listener".into());
        let thread = builder.spawn(move || listener.run())?;
        Ok(Self {
            orders,
            wake,
            thread: Some(thread),
        })
    }

    /// Gives an order. If the listener has ended, its closed socket says so.
    pub(super) fn tell(&self, order: Order) {
        if self.orders.send(order).is_ok() {
            // The counter of an eventfd is full only if it was never read, and then it is readable.
            rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).ok();
        }
    }

    /// Asks for what was counted.
    pub(super) fn counters(&self) -> Option<Counters> {
        let (sender, answer) = channel();
        self.tell(Order::Counters(sender));
        answer.recv_timeout(PATIENCE).ok()
    }

    /// Ends the listener, and waits for it.
    pub(super) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.tell(Order::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic there has already said what it had to say.
            thread.join().ok();
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.end();
    }
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += getrandom(rest, GetRandomFlags::empty())?;
    }
    Ok(u64::from_ne_bytes(bytes))
}
