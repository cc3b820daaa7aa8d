//! Any file is a journal, with what can be read of it, or is refused and stays as it is. What was
//! found is found again, nothing that was kept is more than a journal may hold, and what is owed
//! from then on is found as well.
#![no_main]

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use knockd::journal::{
    BootId, Bounds, Deadline, Journal, MAX_COMMAND, MAX_DOOR, MAX_USER, Moment, Note, Owed, Store,
};
use libfuzzer_sys::fuzz_target;

/// A file in memory; its clones are the same file.
#[derive(Clone)]
struct Memory(Rc<RefCell<Vec<u8>>>, Vec<u8>);

impl Store for Memory {
    fn read(&mut self, most: u64) -> io::Result<Vec<u8>> {
        let bytes = self.0.borrow().clone();
        if bytes.len() as u64 > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    fn append(&mut self, end: u64, bytes: &[u8]) -> io::Result<()> {
        assert_eq!(self.0.borrow().len() as u64, end);
        self.0.borrow_mut().extend(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.borrow_mut().truncate(length as usize);
        Ok(())
    }

    fn prepare(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.1 = bytes.to_vec();
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        self.0.replace(std::mem::take(&mut self.1));
        Ok(())
    }

    fn set_aside(&mut self) -> io::Result<Option<PathBuf>> {
        Ok(None)
    }
}

const BOUNDS: Bounds = Bounds {
    records: 64,
    bytes: 64 << 10,
    slack: 256,
};

fuzz_target!(|data: &[u8]| {
    live(with_checksums(data));
    live(data.to_vec());
});

/// The same file with the right checksum at each entry, which no fuzzer guesses.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let empty = Memory(Rc::default(), Vec::new());
    drop(Journal::with(empty.clone(), BOUNDS, &now(0)));
    let mut file = empty.0.take();
    for payload in data.split(|byte| *byte == 0xff) {
        let length = (payload.len() as u32).to_le_bytes();
        file.extend(length);
        file.extend(crc32fast::hash(&[&length, payload].concat()).to_le_bytes());
        file.extend(payload);
    }
    file
}

fn now(boot: u8) -> Moment {
    Moment {
        boot: BootId::from_bytes([boot; 16]),
        boottime: 1 << 40,
        wall: 1 << 60,
    }
}

fn live(file: Vec<u8>) {
    let store = Memory(Rc::new(RefCell::new(file.clone())), Vec::new());
    let (journal, opened) = match Journal::with(store.clone(), BOUNDS, &now(0)) {
        Ok(opened) => opened,
        Err(_) => {
            assert_eq!(*store.0.borrow(), file);
            return;
        }
    };
    assert!(!journal.is_broken());
    assert!(opened.owed.len() <= BOUNDS.records);
    for due in &opened.owed {
        let user = due.owed.user.as_ref().map_or(0, String::len);
        assert!(due.owed.command.len() <= MAX_COMMAND);
        assert!(due.owed.door.len() <= MAX_DOOR && user <= MAX_USER);
        assert!(due.owed.id < journal.next_id());
    }
    let is_known = |note: &Note| matches!(note, Note::Torn { .. } | Note::Damaged { .. });
    assert!(opened.notes.iter().all(is_known));
    drop(journal);

    let (mut journal, again) = open(&store);
    assert_eq!(again.owed, opened.owed);
    assert!(again.notes.is_empty());
    let id = journal.next_id();
    let owed = Owed {
        id,
        door: "d".into(),
        source: [0; 4].into(),
        command: "c".into(),
        user: None,
    };
    if journal.owe(&owed).is_ok() {
        let deadline = Deadline::after(&now(0), std::time::Duration::from_secs(9));
        journal.until(id, deadline).expect("it is owed");
        let (mut journal, again) = open(&store);
        assert_eq!(again.owed.len(), opened.owed.len() + 1);
        journal.strike(id).expect("it is owed");
    }
    assert_eq!(open(&store).1.owed, opened.owed);
}

fn open(store: &Memory) -> (Journal<Memory>, knockd::journal::Opened) {
    Journal::with(store.clone(), BOUNDS, &now(0)).expect("it is a journal now")
}
