//! Programs that run on a host and end with it.

use std::ops::{Deref, DerefMut};
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// A running program; [`Child`] with one difference: dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    pub(super) const fn new(child: Child) -> Self {
        Self(child)
    }

    /// Waits until the program has ended, at most `limit`; `None` if it still runs then.
    ///
    /// # Errors
    /// As [`Child::try_wait`].
    pub fn wait_at_most(&mut self, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.0.try_wait()?;
            if status.is_some() || Instant::now() >= deadline {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal, for instance `Signal::HUP`.
    ///
    /// # Errors
    /// If the program has ended already.
    pub fn signal(&self, signal: rustix::process::Signal) -> std::io::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.0);
        Ok(rustix::process::kill_process(pid, signal)?)
    }
}

impl Deref for Process {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended already, which is what we want.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}
