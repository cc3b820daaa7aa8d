//! A file that exists in memory, of which any operation can be the last, or can fail.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use crate::journal::Store;

/// A file; its clones are the same file.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// What everybody sees, also after a kill.
    written: Vec<u8>,
    /// What is there for sure after a loss of power.
    synced: Vec<u8>,
    /// The file that was renamed over, while the folder is not synced.
    replaced: Option<Vec<u8>>,
    prepared: Option<Vec<u8>>,
    aside: Vec<Vec<u8>>,
    operations: Vec<&'static str>,
    count: usize,
    fault: Option<Fault>,
    killed: bool,
    full: bool,
    no_rewrite: bool,
}

/// What goes wrong, from the operation with this number on.
#[derive(Copy, Clone, Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    /// How many operations fail.
    pub(super) times: usize,
    /// How much of the first of them happens all the same, in quarters.
    pub(super) quarters: usize,
    /// Whether nothing happens after it any more.
    pub(super) kill: bool,
}

impl Memory {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let memory = Self::default();
        memory.0.borrow_mut().written = bytes.to_vec();
        memory.0.borrow_mut().synced = bytes.to_vec();
        memory
    }

    pub(super) fn with_fault(fault: Fault) -> Self {
        let memory = Self::default();
        memory.0.borrow_mut().fault = Some(fault);
        memory
    }

    pub(super) fn set_fault(&self, fault: Fault) {
        self.0.borrow_mut().fault = Some(fault);
    }

    pub(super) fn written(&self) -> Vec<u8> {
        self.0.borrow().written.clone()
    }

    pub(super) fn aside(&self) -> Vec<Vec<u8>> {
        self.0.borrow().aside.clone()
    }

    pub(super) fn take_operations(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.borrow_mut().operations)
    }

    pub(super) fn count(&self) -> usize {
        self.0.borrow().count
    }

    pub(super) fn is_killed(&self) -> bool {
        self.0.borrow().killed
    }

    pub(super) fn heal(&self) {
        self.0.borrow_mut().fault = None;
    }

    pub(super) fn set_full(&self, full: bool) {
        self.0.borrow_mut().full = full;
    }

    pub(super) fn set_no_rewrite(&self, no_rewrite: bool) {
        self.0.borrow_mut().no_rewrite = no_rewrite;
    }

    /// What may be found after a kill (the first), and after a loss of power (all).
    pub(super) fn remains(&self) -> Vec<Vec<u8>> {
        let inner = self.0.borrow();
        let (written, synced) = (&inner.written, &inner.synced);
        let mut remains = vec![written.clone(), synced.clone()];
        if written.starts_with(synced) {
            let half = (written.len() + synced.len()) / 2;
            remains.push(written[..half].to_vec());
            let mut zeros = written[..half].to_vec();
            zeros.resize(written.len(), 0);
            remains.push(zeros);
            let mut zeros = synced.clone();
            zeros.resize(written.len(), 0);
            remains.push(zeros);
        }
        remains.extend(inner.replaced.clone());
        remains
    }

    /// How much of this operation happens, in quarters, and whether it succeeds.
    fn operate(&self, name: &'static str) -> (usize, io::Result<()>) {
        let mut inner = self.0.borrow_mut();
        if inner.killed {
            return (0, Err(io::Error::other("killed")));
        }
        let number = inner.count;
        inner.count += 1;
        inner.operations.push(name);
        if let Some(fault) = inner.fault
            && (fault.at..fault.at + fault.times).contains(&number)
        {
            inner.killed = fault.kill;
            let quarters = if number == fault.at {
                fault.quarters
            } else {
                0
            };
            return (quarters, Err(io::Error::other("fault")));
        }
        let no_space = inner.full && ["append", "prepare"].contains(&name);
        if no_space || (inner.no_rewrite && name == "prepare") {
            let error = io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
            return (2, Err(error));
        }
        (4, Ok(()))
    }
}

impl Store for Memory {
    fn read(&mut self, most: u64) -> io::Result<Vec<u8>> {
        self.operate("read").1?;
        let bytes = self.written();
        if bytes.len() > usize::try_from(most).unwrap() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    fn append(&mut self, end: u64, bytes: &[u8]) -> io::Result<()> {
        let (quarters, result) = self.operate("append");
        let mut inner = self.0.borrow_mut();
        if quarters > 0 {
            assert_eq!(inner.written.len(), usize::try_from(end).unwrap());
        }
        let part = &bytes[..bytes.len() * quarters / 4];
        inner.written.extend(part);
        result
    }

    fn sync(&mut self) -> io::Result<()> {
        let (quarters, result) = self.operate("sync");
        let mut inner = self.0.borrow_mut();
        if quarters > 1 {
            inner.synced = inner.written.clone();
        }
        result
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let (quarters, result) = self.operate("truncate");
        if quarters > 1 {
            let length = usize::try_from(length).unwrap();
            self.0.borrow_mut().written.truncate(length);
        }
        result
    }

    fn prepare(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (_, result) = self.operate("prepare");
        let mut inner = self.0.borrow_mut();
        inner.prepared = result.is_ok().then(|| bytes.to_vec());
        result
    }

    fn commit(&mut self) -> io::Result<()> {
        let (quarters, result) = self.operate("commit");
        let mut inner = self.0.borrow_mut();
        if quarters > 1 {
            inner.written = inner.prepared.take().unwrap();
            inner.replaced = Some(std::mem::take(&mut inner.synced));
            inner.synced = inner.written.clone();
        }
        if quarters > 2 {
            inner.replaced = None;
        }
        result
    }

    fn set_aside(&mut self) -> io::Result<Option<PathBuf>> {
        self.operate("set_aside").1?;
        let mut inner = self.0.borrow_mut();
        let copy = inner.written.clone();
        inner.aside.push(copy);
        Ok(Some(format!("damaged-{}", inner.aside.len()).into()))
    }
}
