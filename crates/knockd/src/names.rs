//! Names of those who knock (`-l`), looked up off everybody's way.
//!
//! Promise: nothing here blocks its caller. The original asks the name server before it does
//! anything else, so that a dead one delays commands by ten seconds and more (KNOCKD.md B15). Here
//! [`Names::ask`] answers at once with what is known, threads do the waiting, and a resolver that
//! is too slow is treated as one that knows nothing.
//!
//! What a stranger can cause is bounded: [`MAX_THREADS`], [`MAX_ASKED`], [`MAX_KNOWN`], and the
//! characters of a name, which whoever owns the address chooses.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use knock_core::time::Timestamp;
use nix::libc::{NI_NAMEREQD, NI_NUMERICSERV};
use rustix::event::{EventfdFlags, eventfd};

/// The most look-ups at once. One that never ends keeps its thread.
pub const MAX_THREADS: usize = 2;

/// The most addresses that are being looked up or wait for it.
pub const MAX_ASKED: usize = 64;

/// The most addresses of which it is remembered what came out.
pub const MAX_KNOWN: usize = 1024;

/// How long a name is remembered.
const NAME_LIFE: Duration = Duration::from_secs(300);

/// How long it is remembered that there is none.
const NO_NAME_LIFE: Duration = Duration::from_secs(60);

/// A look-up that takes longer than this is not waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest name in bytes (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 255;

/// Asks for the name of an address; may take as long as it likes.
pub type Resolver = Box<dyn Fn(IpAddr) -> Option<String> + Send + Sync>;

/// Looks names up off everybody's way; see the [module](self).
pub struct Names {
    known: HashMap<IpAddr, Known>,
    /// What was asked for and has not been taken in, and since when.
    asked: HashMap<IpAddr, Timestamp>,
    threads: usize,
    shared: Arc<Shared>,
}

/// What is known of an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Its name.
    Name(Arc<str>),
    /// It has none, or it cannot be found out in good time.
    NoName,
    /// It is being looked up: the descriptor of [`Names::fd`] will be readable.
    Pending,
}

struct Known {
    name: Option<Arc<str>>,
    until: Timestamp,
}

/// What the threads see.
struct Shared {
    work: Mutex<Work>,
    /// There is work, or no more will come.
    news: Condvar,
    /// Readable when there are results.
    wake: OwnedFd,
    resolver: Resolver,
}

#[derive(Default)]
struct Work {
    queue: VecDeque<IpAddr>,
    /// At most [`MAX_ASKED`], because so many are asked for.
    results: Vec<(IpAddr, Option<Arc<str>>)>,
    idle: usize,
    over: bool,
}

impl Names {
    /// Asks the system's resolver (nsswitch.conf(5)). Starts no thread until it is asked something.
    ///
    /// # Errors
    /// If there is no descriptor left.
    pub fn new() -> io::Result<Self> {
        Self::with_resolver(Box::new(system_name))
    }

    /// Asks `resolver`, in several threads at once.
    ///
    /// # Errors
    /// As [`Names::new`].
    pub fn with_resolver(resolver: Resolver) -> io::Result<Self> {
        Ok(Self {
            known: HashMap::new(),
            asked: HashMap::new(),
            threads: 0,
            shared: Arc::new(Shared {
                work: Mutex::default(),
                news: Condvar::new(),
                wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
                resolver,
            }),
        })
    }

    /// Readable when there are answers; then call [`Names::handle_readable`].
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.shared.wake.as_fd()
    }

    /// What is known of `address` at `now`, on any monotonic clock; asks for it if nothing is.
    /// Never waits.
    pub fn ask(&mut self, address: IpAddr, now: Timestamp) -> Answer {
        if let Some(known) = self.known.get(&address).filter(|known| now < known.until) {
            return known.name.clone().map_or(Answer::NoName, Answer::Name);
        }
        let late = |since: &Timestamp| now.saturating_since(*since) > PATIENCE;
        if let Some(since) = self.asked.get(&address) {
            return if late(since) {
                Answer::NoName
            } else {
                Answer::Pending
            };
        }
        // As many late look-ups as threads: nobody is left who would do another soon.
        let stuck = self.asked.values().filter(|since| late(since)).count() >= MAX_THREADS;
        if self.asked.len() >= MAX_ASKED || !self.look_up(address) {
            return Answer::NoName;
        }
        self.asked.insert(address, now);
        if stuck {
            Answer::NoName
        } else {
            Answer::Pending
        }
    }

    /// Takes in the answers that are there. Harmless when there are none.
    pub fn handle_readable(&mut self, now: Timestamp) {
        // Empty is as good as read.
        rustix::io::read(&self.shared.wake, &mut [0; 8]).ok();
        let results = std::mem::take(&mut self.shared.lock().results);
        for (address, name) in results {
            self.asked.remove(&address);
            self.make_room(now);
            let life = if name.is_some() {
                NAME_LIFE
            } else {
                NO_NAME_LIFE
            };
            let until = now.saturating_add(life);
            self.known.insert(address, Known { name, until });
        }
    }

    /// Makes room for one more: what is too old goes, or else what would be first.
    fn make_room(&mut self, now: Timestamp) {
        if self.known.len() < MAX_KNOWN {
            return;
        }
        self.known.retain(|_, known| now < known.until);
        if self.known.len() >= MAX_KNOWN {
            let first = self.known.iter().min_by_key(|(_, known)| known.until);
            if let Some(first) = first.map(|(address, _)| *address) {
                self.known.remove(&first);
            }
        }
    }

    /// Gives `address` to the threads; `false` if there is none and none can be started.
    fn look_up(&mut self, address: IpAddr) -> bool {
        let idle = {
            let mut work = self.shared.lock();
            work.queue.push_back(address);
            work.idle >= work.queue.len()
        };
        if !idle && self.threads < MAX_THREADS {
            let shared = Arc::clone(&self.shared);
            let builder = std::thread::Builder::new().name("names".into());
            if builder.spawn(move || shared.work_off()).is_ok() {
                self.threads += 1;
            }
        }
        if self.threads == 0 {
            self.shared.lock().queue.clear();
        }
        self.shared.news.notify_one();
        self.threads > 0
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = f.debug_struct("Names");
        names.field("known", &self.known.len());
        names.field("asked", &self.asked.len());
        names
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl Drop for Names {
    /// Ends the threads, but waits for none: a look-up may never end.
    fn drop(&mut self) {
        let mut work = self.shared.lock();
        work.over = true;
        work.queue.clear();
        drop(work);
        self.shared.news.notify_all();
    }
}

impl Shared {
    /// Looks up what is in the queue, until no more will come.
    fn work_off(&self) {
        while let Some(address) = self.next() {
            let name = (self.resolver)(address).filter(|name| is_plain(name));
            self.lock().results.push((address, name.map(Arc::from)));
            // The counter of an eventfd is full only if it was never read, and then it is readable.
            rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).ok();
        }
    }

    /// The next address, as soon as there is one; `None` if no more will come.
    fn next(&self) -> Option<IpAddr> {
        let mut work = self.lock();
        work.idle += 1;
        while work.queue.is_empty() && !work.over {
            work = self.news.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
        work.idle -= 1;
        work.queue.pop_front()
    }

    /// No code panics while it holds the lock, and if it did, a queue would still be a queue.
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name that the system's resolver has for `address`.
fn system_name(address: IpAddr) -> Option<String> {
    let address = SocketAddr::new(address.to_canonical(), 0);
    let answer = dns_lookup::getnameinfo(&address, NI_NAMEREQD | NI_NUMERICSERV);
    answer.ok().map(|(name, _)| name)
}

/// Whether a name is fit for a log that tools parse: nothing that could look like the end of the
/// name, or like another line.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
    !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    const SECOND: u64 = 1000;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n).to_be_bytes())
    }

    fn name(text: &str) -> Answer {
        Answer::Name(text.into())
    }

    /// Waits until there are answers, and takes them in.
    fn take(names: &mut Names, now: Timestamp) {
        let mut fds = [PollFd::from_borrowed_fd(names.fd(), PollFlags::IN)];
        let patience = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut fds, Some(&patience)), Ok(1), "no answer came");
        names.handle_readable(now);
    }

    /// Asks until there is an answer.
    fn settle(names: &mut Names, address: IpAddr, now: Timestamp) -> Answer {
        while names.ask(address, now) == Answer::Pending {
            take(names, now);
        }
        names.ask(address, now)
    }

    /// A resolver that answers as often as the sender says so, what was asked of it so far, and
    /// how many were at it at once.
    fn gated() -> (Resolver, Sender<()>, Arc<AtomicUsize>) {
        let (sender, gate): (_, Receiver<()>) = channel();
        let (gate, asked) = (Mutex::new(gate), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&asked);
        let resolver = move |address: IpAddr| {
            counter.fetch_add(1, Ordering::SeqCst);
            gate.lock().unwrap().recv().ok()?;
            Some(format!("host-{address}.example"))
        };
        (Box::new(resolver), sender, asked)
    }

    fn wait_until(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < deadline, "it does not come about");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_name_is_asked_for_once_and_then_known() {
        let (resolver, gate, asked) = gated();
        let mut names = Names::with_resolver(resolver).unwrap();
        assert_eq!(names.ask(address(1), at(0)), Answer::Pending);
        assert_eq!(names.ask(address(1), at(1)), Answer::Pending);
        gate.send(()).unwrap();
        take(&mut names, at(2));
        assert_eq!(names.ask(address(1), at(2)), name("host-10.0.0.1.example"));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert_eq!(names.threads, 1);
    }

    #[test]
    fn a_dead_resolver_delays_no_question() {
        let (resolver, gate, asked) = gated();
        let mut names = Names::with_resolver(resolver).unwrap();
        let start = Instant::now();
        for n in 0..10_000 {
            assert_ne!(names.ask(address(n), at(0)), name(""));
        }
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
        wait_until(|| asked.load(Ordering::SeqCst) == MAX_THREADS);
        assert_eq!(names.ask(address(0), at(500)), Answer::Pending);
        assert_eq!(
            names.ask(address(0), at(1001)),
            Answer::NoName,
            "no longer waited for"
        );
        drop(names);
        drop(gate);
    }

    #[test]
    fn threads_and_questions_are_bounded() {
        let (resolver, gate, asked) = gated();
        let mut names = Names::with_resolver(resolver).unwrap();
        let answers: Vec<_> = (0..100).map(|n| names.ask(address(n), at(0))).collect();
        let (asked_for, refused) = answers.split_at(MAX_ASKED);
        assert!(asked_for.iter().all(|answer| *answer == Answer::Pending));
        assert!(refused.iter().all(|answer| *answer == Answer::NoName));
        wait_until(|| asked.load(Ordering::SeqCst) == MAX_THREADS);
        assert_eq!(names.threads, MAX_THREADS);
        assert_eq!(names.shared.lock().queue.len(), MAX_ASKED - MAX_THREADS);
        for _ in 0..MAX_ASKED {
            gate.send(()).unwrap();
        }
        for n in 0..64 {
            let answer = settle(&mut names, address(n), at(1));
            assert_eq!(answer, name(&format!("host-10.0.0.{n}.example")));
        }
        assert_eq!(names.threads, MAX_THREADS);
        assert_eq!(
            names.ask(address(99), at(2)),
            Answer::Pending,
            "there is room again"
        );
    }

    #[test]
    fn one_look_up_that_never_ends_leaves_the_other_thread_to_the_rest() {
        let (never, wait) = channel::<()>();
        let wait = Mutex::new(wait);
        let resolver = move |asked: IpAddr| {
            if asked == address(0) {
                wait.lock().unwrap().recv().ok();
            }
            Some(format!("{asked}"))
        };
        let mut names = Names::with_resolver(Box::new(resolver)).unwrap();
        assert_eq!(names.ask(address(0), at(0)), Answer::Pending);
        for n in 1..200 {
            let now = at(10 * SECOND + u64::from(n));
            let answer = settle(&mut names, address(n), now);
            assert_eq!(answer, name(&address(n).to_string()));
        }
        drop(never);
    }

    #[test]
    fn while_nobody_answers_nobody_is_made_to_wait_and_answers_still_count() {
        let (resolver, gate, _) = gated();
        let mut names = Names::with_resolver(resolver).unwrap();
        for n in 0..2 {
            assert_eq!(names.ask(address(n), at(0)), Answer::Pending);
        }
        assert_eq!(names.ask(address(2), at(2 * SECOND)), Answer::NoName);
        for _ in 0..3 {
            gate.send(()).unwrap();
        }
        while !names.asked.is_empty() {
            take(&mut names, at(3 * SECOND));
        }
        let answer = names.ask(address(2), at(3 * SECOND));
        assert_eq!(answer, name("host-10.0.0.2.example"));
    }

    #[test]
    fn a_name_is_known_for_five_minutes_and_its_lack_for_one() {
        let resolver = |asked| (asked == address(1)).then(|| "one.example".to_owned());
        let mut names = Names::with_resolver(Box::new(resolver)).unwrap();
        assert_eq!(settle(&mut names, address(1), at(0)), name("one.example"));
        assert_eq!(settle(&mut names, address(2), at(0)), Answer::NoName);
        assert_eq!(names.ask(address(2), at(60 * SECOND - 1)), Answer::NoName);
        assert_eq!(names.ask(address(2), at(60 * SECOND)), Answer::Pending);
        assert_eq!(
            names.ask(address(1), at(300 * SECOND - 1)),
            name("one.example")
        );
        assert_eq!(names.ask(address(1), at(300 * SECOND)), Answer::Pending);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_is_forgotten() {
        let mut names = Names::with_resolver(Box::new(|asked| Some(asked.to_string()))).unwrap();
        for n in 0..1100 {
            assert_ne!(
                settle(&mut names, address(n), at(u64::from(n))),
                Answer::NoName
            );
        }
        assert_eq!(names.known.len(), MAX_KNOWN);
        let known = |n: u32| names.known.contains_key(&address(n));
        assert!(!known(0) && !known(75) && known(76) && known(1099));
        take_one(&mut names, 9999, at(9999 * SECOND));
        assert_eq!(names.known.len(), 1, "what is too old goes first");
    }

    fn take_one(names: &mut Names, n: u32, now: Timestamp) {
        assert_ne!(settle(names, address(n), now), Answer::NoName);
    }

    #[test]
    fn a_name_with_anything_but_plain_characters_is_none() {
        for good in [
            "a",
            "host-1.example.org",
            "_x.y",
            "fe80::1",
            &"a".repeat(255),
        ] {
            assert!(is_plain(good), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "",
            "a b",
            "a)",
            "a\n",
            "a\u{1b}[2J",
            "b\u{fc}cher",
            "a/b",
            "\0",
            &long,
        ] {
            assert!(!is_plain(bad), "{bad}");
        }
        let resolver = |_| Some("evil): ssh: OPEN SESAME".to_owned());
        let mut names = Names::with_resolver(Box::new(resolver)).unwrap();
        assert_eq!(settle(&mut names, address(1), at(0)), Answer::NoName);
    }

    #[test]
    fn threads_end_with_their_owner() {
        let (resolver, gate, asked) = gated();
        let mut names = Names::with_resolver(resolver).unwrap();
        assert_eq!(names.ask(address(1), at(0)), Answer::Pending);
        wait_until(|| asked.load(Ordering::SeqCst) == 1);
        let shared = Arc::downgrade(&names.shared);
        drop(names);
        gate.send(()).unwrap();
        wait_until(|| shared.strong_count() == 0);
    }

    #[test]
    fn the_system_knows_the_name_of_this_host() {
        let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        let localhost = hosts.lines().any(|line| line.starts_with("127.0.0.1"));
        let mut names = Names::new().unwrap();
        let answer = settle(&mut names, IpAddr::from([127, 0, 0, 1]), at(0));
        assert_eq!(matches!(answer, Answer::Name(_)), localhost, "{answer:?}");
    }
}
