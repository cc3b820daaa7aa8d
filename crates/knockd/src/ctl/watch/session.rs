//! The dashboard as it runs: one loop that waits for keys, signals, the daemon and time.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use signal_hook::low_level::emulate_default_handler;

use super::link::{Link, why};
use super::look::Look;
use super::screen::{Screen, next_key};
use super::state::{State, Wish};
use super::view::View;
use super::world::Moment;
use crate::control::{Answer, Request};

/// How often the daemon is asked how it is.
const STATUS: Duration = Duration::from_secs(1);

/// How long an answer may take until it is said that none comes.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long after a connection has failed it is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// The shortest time from one drawing to the next: ten a second are as many as anybody can read.
const SHORTEST: Duration = Duration::from_millis(100);

/// The longest: times count down.
const LONGEST: Duration = Duration::from_secs(1);

/// What a session ends with.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// Somebody has quit.
    Quit,
    /// This signal came.
    Signal(i32),
}

type Signals = SignalDelivery<UnixStream, SignalOnly>;

struct Session<'a> {
    path: &'a Path,
    look: Look,
    began: Instant,
    state: State,
    screen: Option<Screen>,
    signals: Signals,
    /// For status, and what is to be done.
    asks: Option<Link>,
    /// For what happens; after the first status, which says from where on it is not known yet.
    follows: Option<Link>,
    /// When a status was asked for that has not come yet.
    asked: Option<Moment>,
    /// When to ask for the next status, or to connect again.
    due: Moment,
    drawn: Option<Moment>,
    is_changed: bool,
}

/// Shows what the daemon at `path` does, until somebody quits or a signal comes. The terminal is given
/// back before it returns.
pub(super) fn run(path: &Path, look: Look) -> io::Result<End> {
    let mut session = Session {
        path,
        look,
        began: Instant::now(),
        state: State::default(),
        signals: signals()?,
        screen: Some(Screen::open()?),
        asks: None,
        follows: None,
        asked: None,
        due: Moment::ZERO,
        drawn: None,
        is_changed: true,
    };
    loop {
        session.speak();
        session.draw()?;
        let keys = session.wait()?;
        session.listen();
        if let Some(end) = session.handle_signals()? {
            return Ok(end);
        }
        if let Some(end) = session.handle_keys(keys)? {
            return Ok(end);
        }
    }
}

impl Session<'_> {
    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    /// Connects, and asks for the status, when it is time.
    fn speak(&mut self) {
        let now = self.now();
        if let Some(asked) = self.asked {
            if now.saturating_sub(asked) >= PATIENCE && self.state.waiting(now).is_none() {
                self.state.handle_loss("it does not answer", now);
                self.is_changed = true;
            }
            return;
        }
        if now < self.due {
            return;
        }
        if self.asks.is_none() {
            match Link::open(self.path) {
                Ok(link) => self.asks = Some(link),
                Err(error) => return self.lose(&error),
            }
        }
        self.due = now + STATUS;
        self.asked = Some(now);
        if let Some(link) = &mut self.asks {
            link.ask(&Request::Status {});
        }
    }

    /// Takes what the daemon has said.
    fn listen(&mut self) {
        for which in [Which::Asks, Which::Follows] {
            let link = match which {
                Which::Asks => &mut self.asks,
                Which::Follows => &mut self.follows,
            };
            match link.as_mut().map(Link::handle_ready).transpose() {
                Ok(answers) => answers.into_iter().flatten().for_each(|one| self.take(one)),
                Err(error) => self.lose(&error),
            }
        }
    }

    fn take(&mut self, answer: Answer) {
        let now = self.now();
        let is_status = matches!(answer, Answer::Status(_));
        if is_status {
            self.asked = None;
        } else if matches!(answer, Answer::Closed { .. } | Answer::Error { .. }) {
            // What came of it shows at once.
            self.due = now;
        }
        self.state.handle_answer(answer, now);
        self.is_changed = true;
        if is_status && self.follows.is_none() {
            self.follow();
        }
    }

    fn follow(&mut self) {
        match Link::open(self.path) {
            Ok(mut link) => {
                let since = self.state.next_event();
                link.ask(&Request::Events {
                    since,
                    follow: true,
                });
                self.follows = Some(link);
            }
            Err(error) => self.lose(&error),
        }
    }

    /// There is no connection any more: both begin anew, after a while.
    fn lose(&mut self, error: &io::Error) {
        let now = self.now();
        self.asks = None;
        self.follows = None;
        self.asked = None;
        self.due = now + RETRY;
        self.state.handle_loss(&why(error), now);
        self.is_changed = true;
    }

    fn draw(&mut self) -> io::Result<()> {
        let now = self.now();
        if now < self.next_drawing() {
            return Ok(());
        }
        self.is_changed = false;
        self.drawn = Some(now);
        let view = View {
            state: &self.state,
            look: &self.look,
            now,
        };
        self.screen
            .as_mut()
            .map_or(Ok(()), |screen| screen.draw(view))
    }

    fn next_drawing(&self) -> Moment {
        let pause = if self.is_changed { SHORTEST } else { LONGEST };
        self.drawn.map_or(Moment::ZERO, |drawn| drawn + pause)
    }

    /// Waits until there is something to do; says whether it is a key.
    fn wait(&self) -> io::Result<Keys> {
        let asked = self.asked.map(|asked| asked + PATIENCE);
        let is_said = self.state.waiting(self.now()).is_some();
        let asked = asked.filter(|_| !is_said);
        let due = self.asked.is_none().then_some(self.due);
        let next = [Some(self.next_drawing()), asked, due];
        let next = next.into_iter().flatten().min().unwrap_or(LONGEST);
        let time = Timespec::try_from(next.saturating_sub(self.now())).unwrap_or_default();
        let stdin = rustix::stdio::stdin();
        let own = [
            PollFd::from_borrowed_fd(stdin, PollFlags::IN),
            PollFd::new(self.signals.get_read(), PollFlags::IN),
        ];
        let links = self.asks.iter().chain(&self.follows);
        let mut fds: Vec<_> = own.into_iter().chain(links.map(Link::poll_fd)).collect();
        match poll(&mut fds, Some(&time)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let keys = fds.first().map_or(PollFlags::empty(), PollFd::revents);
        Ok(match keys {
            _ if keys.intersects(PollFlags::HUP | PollFlags::ERR) => Keys::Gone,
            _ if keys.intersects(PollFlags::IN) => Keys::Pressed,
            _ => Keys::Silent,
        })
    }

    fn handle_signals(&mut self) -> io::Result<Option<End>> {
        let pending: Vec<_> = self.signals.pending().collect();
        for signal in pending {
            match signal {
                SIGWINCH => self.is_changed = true,
                // Somebody else may have drawn meanwhile.
                SIGCONT => self.reopen()?,
                SIGTSTP => self.suspend()?,
                other => return Ok(Some(End::Signal(other))),
            }
        }
        Ok(None)
    }

    fn handle_keys(&mut self, keys: Keys) -> io::Result<Option<End>> {
        match keys {
            Keys::Silent => return Ok(None),
            // As the kernel says it to who has left a terminal, where nobody has it for his own.
            Keys::Gone => return Ok(Some(End::Signal(SIGHUP))),
            Keys::Pressed => {}
        }
        while let Some(key) = next_key()? {
            self.is_changed = true;
            let now = self.now();
            match self.state.handle_key(key, now) {
                None => {}
                Some(Wish::Quit) => return Ok(Some(End::Quit)),
                Some(Wish::Suspend) => self.suspend()?,
                Some(Wish::Close(door, source)) => self.close(door, source),
            }
        }
        Ok(None)
    }

    fn close(&mut self, door: String, source: std::net::IpAddr) {
        let request = Request::Close {
            door: Some(door),
            source: Some(source),
            all: false,
            kill: false,
        };
        if let Some(link) = &mut self.asks {
            link.ask(&request);
        }
    }

    /// Stops, as any program does at Ctrl-Z; goes on when it is told to.
    fn suspend(&mut self) -> io::Result<()> {
        self.screen = None;
        emulate_default_handler(SIGTSTP)?;
        self.reopen()
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.screen = None;
        self.screen = Some(Screen::open()?);
        self.drawn = None;
        Ok(())
    }
}

#[derive(Copy, Clone)]
enum Which {
    Asks,
    Follows,
}

/// What is to be heard of the keys.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Keys {
    Silent,
    Pressed,
    /// Nobody sits there any more.
    Gone,
}

/// Signals arrive as bytes in a pipe; nothing works in their handlers.
fn signals() -> io::Result<Signals> {
    let (read, write) = UnixStream::pair()?;
    let wanted = [SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH];
    SignalDelivery::with_pipe(read, write, SignalOnly, wanted)
}
