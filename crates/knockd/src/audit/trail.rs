//! The trail as the daemon writes it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use jiff::Timestamp;

use super::entry::{Digest, Entry, Fault, Link, MAX_LINE, NewFile, What};
use super::head::{Head, HeadFile};
use crate::config_file::reason;
use crate::journal::{JournalError, open_own};
use crate::log::{Level, Line};

/// The version of the format that is written.
const VERSION: u32 = 1;

/// So many bytes of a torn line are kept.
const MAX_TORN: usize = 4096;

/// An open trail. Nothing here stops the daemon: what cannot be written is counted, and said once.
#[derive(Debug)]
pub struct Trail {
    path: PathBuf,
    /// Where its head is.
    folder: PathBuf,
    /// `None` until it can be opened.
    file: Option<Arc<File>>,
    /// Its length, as we have left it.
    end: u64,
    /// The last line; `None` if nothing is known of one.
    head: Option<Head>,
    head_file: Option<HeadFile>,
    /// Where the file before this one is.
    after: Option<String>,
    /// What is to be written first.
    pending: Vec<What>,
    /// What is to be said.
    unsaid: Vec<Line>,
    /// Whether it was said that lines are lost, and that heads are.
    failing: bool,
    head_failing: bool,
    disk: Option<Disk>,
}

impl Trail {
    /// The trail in the file `path`, with its head in `folder`. What is worth saying.
    #[must_use]
    pub fn open(path: &Path, folder: &Path, now: Timestamp) -> (Self, Vec<Line>) {
        let mut lines = Vec::new();
        let (head_file, head) = match HeadFile::open(folder) {
            Ok((file, head)) => (Some(file), head),
            Err(error) => {
                lines.push(no_head(folder, &error));
                (None, None)
            }
        };
        let mut trail = Self {
            path: path.to_owned(),
            folder: folder.to_owned(),
            file: None,
            end: 0,
            head,
            head_failing: head_file.is_none(),
            head_file,
            after: None,
            pending: Vec::new(),
            unsaid: Vec::new(),
            failing: false,
            disk: Disk::start().ok(),
        };
        lines.extend(trail.put(&[], now));
        (trail, lines)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes lines that say `whats`. What is worth saying.
    pub fn put(&mut self, whats: &[What], now: Timestamp) -> Vec<Line> {
        let mut lines = Vec::new();
        match self.try_put(whats, now) {
            Ok(()) if self.failing => {
                self.failing = false;
                let text = format!("{} can be written again", self.path.display());
                lines.push(Line::new(Level::Info, "audit", text));
            }
            Ok(()) => {}
            Err(error) => {
                self.lose(whats.len());
                if !std::mem::replace(&mut self.failing, true) {
                    let text = format!(
                        "error: the audit trail {} cannot be written: {error}; what is lost is counted",
                        self.path.display()
                    );
                    lines.push(Line::new(Level::Error, "audit", text));
                }
            }
        }
        lines.append(&mut self.unsaid);
        lines.extend(self.write_head());
        if self.disk.as_ref().is_some_and(Disk::take_trouble) {
            let text =
                "error: the disk has not taken the audit trail: a loss of power would lose lines";
            lines.push(Line::new(Level::Error, "audit", text));
        }
        if !self.failing {
            self.pending.clear();
        }
        lines
    }

    /// After a rotation, or with another path: goes on in the file that is there now.
    pub fn reopen(&mut self, path: &Path, now: Timestamp) -> Vec<Line> {
        if self.head_file.is_none() {
            // That it could not be had was said; what it says is older than what we know.
            self.head_file = HeadFile::open(&self.folder).ok().map(|(file, _)| file);
        }
        if self.path == path && self.file.as_ref().is_some_and(|file| is_at(file, path)) {
            return Vec::new();
        }
        if let Some(file) = self.file.take() {
            // What it is called now, after a rename.
            let name = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
            let name = name.unwrap_or_else(|_| self.path.clone());
            self.after = Some(name.display().to_string());
            // Whoever compresses it next is to find all of it. If that fails, it stands in the file.
            file.sync_data().ok();
        }
        if self.path != path {
            self.path = path.to_owned();
        }
        let mut lines = self.put(&[], now);
        lines.push(self.summary());
        lines
    }

    /// For the log: how many lines there are, and the hash to note of the last one.
    #[must_use]
    pub fn summary(&self) -> Line {
        let (seq, digest) = self.last();
        let path = self.path.display();
        let text = format!("audit trail {path}: line {seq}, hash {digest}");
        Line::new(Level::Info, "audit", text)
    }

    fn last(&self) -> (u64, Digest) {
        let head = self.head.as_ref();
        head.map_or((0, Digest::NONE), |head| (head.seq, head.digest))
    }

    fn try_put(&mut self, whats: &[What], now: Timestamp) -> Result<(), Trouble> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => self.take_up()?,
        };
        self.see_length(&file)?;
        let lost = self.head.as_ref().map_or(0, |head| head.lost);
        let lost = (lost > 0).then_some(What::Fault(Fault::Lost(lost)));
        let all = self.pending.iter().chain(&lost).chain(whats);
        let (mut seq, mut digest) = self.last();
        let mut bytes = Vec::new();
        for what in all {
            seq = seq.saturating_add(1);
            let entry = Entry {
                seq,
                prev: digest,
                time: now,
                what: what.clone(),
            };
            let line = entry.line();
            digest = Digest::of(line.as_bytes());
            bytes.extend(line.as_bytes());
            bytes.push(b'\n');
        }
        if bytes.is_empty() {
            return Ok(());
        }
        if let Err(error) = file.write_all_at(&bytes, self.end) {
            // What was written of it is no line. If it cannot be cut off now, it will be taken for a
            // torn one.
            file.set_len(self.end).ok();
            return Err(Trouble::Io(error));
        }
        self.end = self.end.saturating_add(length(&bytes));
        self.head = Some(Head {
            seq,
            digest,
            ..Head::none(&self.path)
        });
        if let Some(disk) = &self.disk {
            disk.follow(&file);
        }
        Ok(())
    }

    /// Opens the file and finds its end.
    fn take_up(&mut self) -> Result<Arc<File>, Trouble> {
        let (_, _, file) = open_own(&self.path).map_err(Trouble::Journal)?;
        let tail = Tail::of(&file).map_err(Trouble::Io)?;
        self.pending.clear();
        if let Some(torn) = tail.torn {
            file.set_len(tail.end).map_err(Trouble::Io)?;
            self.note(Fault::Torn(torn));
        }
        self.end = tail.end;
        let here = self.path.display().to_string();
        match (&mut self.head, tail.last) {
            (head, None) => {
                let before = head.as_ref().filter(|head| head.seq > 0);
                let before = before.map(|head| head.path.clone());
                let after = self.after.take().or(before);
                self.begin(after);
            }
            (Some(head), Some(last)) if head.path == here => {
                let fault = match last.link {
                    None => Some(Fault::Foreign),
                    Some(link) if link.seq > head.seq => {
                        // Killed between a line and its head.
                        (head.seq, head.digest) = (link.seq, last.digest);
                        None
                    }
                    Some(link) if (link.seq, last.digest) == (head.seq, head.digest) => None,
                    Some(link) => Some(Fault::Missing(head.seq - link.seq)),
                };
                fault.into_iter().for_each(|fault| self.note(fault));
            }
            // A head that says nothing of this file.
            (head, Some(last)) => {
                let fault = match (head.is_some(), last.link) {
                    (_, None) => Some(Fault::Foreign),
                    (false, _) => Some(Fault::NoHead),
                    (true, _) => None,
                };
                *head = Some(Head {
                    seq: last.link.map_or(0, |link| link.seq),
                    digest: last.digest,
                    ..Head::none(&self.path)
                });
                fault.into_iter().for_each(|fault| self.note(fault));
            }
        }
        let file = Arc::new(file);
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Whether the file is as long as we have left it. Somebody who copies it and cuts it to nothing
    /// (logrotate's `copytruncate`) can lose lines that were written in between.
    fn see_length(&mut self, file: &File) -> Result<(), Trouble> {
        let is = file.metadata().map_err(Trouble::Io)?.len();
        if is == self.end {
            return Ok(());
        }
        let was = self.end;
        let tail = Tail::of(file).map_err(Trouble::Io)?;
        if tail.torn.is_some() {
            file.set_len(tail.end).map_err(Trouble::Io)?;
        }
        self.end = tail.end;
        if tail.end == 0 {
            self.begin(Some(self.path.display().to_string()));
        }
        self.note(Fault::Resized { was, is });
        Ok(())
    }

    /// The first line of a file comes first.
    fn begin(&mut self, after: Option<String>) {
        let version = VERSION;
        self.pending
            .insert(0, What::File(NewFile { version, after }));
    }

    fn lose(&mut self, lines: usize) {
        let lines = u64::try_from(lines).unwrap_or(u64::MAX);
        let head = self.head.get_or_insert_with(|| Head::none(&self.path));
        head.lost = head.lost.saturating_add(lines);
    }

    fn write_head(&mut self) -> Option<Line> {
        let (head, file) = (self.head.as_ref()?, self.head_file.as_ref()?);
        match file.write(head) {
            Ok(()) => {
                self.head_failing = false;
                None
            }
            Err(_) if self.head_failing => None,
            Err(error) => {
                self.head_failing = true;
                Some(no_head(&self.folder, &error))
            }
        }
    }

    /// Puts a fault down, and says it in the log.
    fn note(&mut self, fault: Fault) {
        let hint = match fault {
            Fault::Resized { .. } => ": logrotate must not use copytruncate here",
            Fault::Missing(_) | Fault::Foreign => {
                ": somebody has changed it, or power was lost (knockctl audit verify)"
            }
            _ => "",
        };
        let text = format!("audit trail {}: {fault}{hint}", self.path.display());
        self.unsaid.push(Line::new(Level::Warning, "audit", text));
        self.pending.push(What::Fault(fault));
    }
}

/// Why a line is not in the file.
enum Trouble {
    Journal(JournalError),
    Io(io::Error),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Journal(error) => error.fmt(f),
            Self::Io(error) => f.write_str(&reason(error)),
        }
    }
}

/// The end of a file.
struct Tail {
    /// Behind its last whole line.
    end: u64,
    /// What stands behind that.
    torn: Option<String>,
    last: Option<Last>,
}

struct Last {
    /// `None` if it is no line of a trail.
    link: Option<Link>,
    digest: Digest,
}

impl Tail {
    fn of(file: &File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let most = u64::try_from(MAX_LINE)
            .unwrap_or(u64::MAX)
            .saturating_mul(2);
        let start = size.saturating_sub(most);
        let mut bytes = vec![0; usize::try_from(size - start).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, start)?;
        let whole = bytes
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let (lines, torn) = bytes.split_at(whole);
        let last = lines.strip_suffix(b"\n").map(|lines| {
            let line = lines.rsplit(|b| *b == b'\n').next().unwrap_or(lines);
            Last {
                link: serde_json::from_slice(line).ok(),
                digest: Digest::of(line),
            }
        });
        let kept = torn.get(..MAX_TORN).unwrap_or(torn);
        Ok(Self {
            end: size - length(torn),
            torn: (!torn.is_empty()).then(|| String::from_utf8_lossy(kept).into_owned()),
            last,
        })
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn no_head(folder: &Path, error: &io::Error) -> Line {
    let text = format!(
        "the hash of the audit trail's last line cannot be kept ({}: {}): that its end is cut off would \
         not show",
        folder.display(),
        reason(error)
    );
    Line::new(Level::Warning, "audit", text)
}

/// A thread that waits for the disk, so that nobody else does; when it is dropped, it has waited for
/// all.
#[derive(Debug)]
struct Disk {
    files: Option<SyncSender<Arc<File>>>,
    trouble: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    fn start() -> io::Result<Self> {
        let (files, all) = sync_channel::<Arc<File>>(1);
        let trouble = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&trouble);
        let follow = move || {
            for file in all {
                if file.sync_data().is_err() {
                    told.store(true, Ordering::Relaxed);
                }
            }
        };
        let thread = thread::Builder::new().name("audit".to_owned());
        Ok(Self {
            files: Some(files),
            trouble,
            thread: Some(thread.spawn(follow)?),
        })
    }

    /// Lets the disk take what was written to `file`, some time soon.
    fn follow(&self, file: &Arc<File>) {
        if let Some(files) = &self.files {
            // If one waits already, it takes this too.
            files.try_send(Arc::clone(file)).ok();
        }
    }

    fn take_trouble(&self) -> bool {
        self.trouble.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.files = None;
        if let Some(thread) = self.thread.take() {
            // It ends when nothing more comes, and has nothing to say.
            thread.join().ok();
        }
    }
}
