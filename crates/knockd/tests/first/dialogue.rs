//! The dialogue of `knockctl init`, on a terminal and without one.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use knockd::lab::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::site::{KNOCKCTL, PATIENCE, Site};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("answers_on_a_terminal_become_a_file", || true, answered),
    ("a_wrong_answer_is_asked_for_again", || true, again),
    ("a_cancelled_dialogue_writes_nothing", || true, cancelled),
    ("a_signal_restores_the_terminal", || true, signalled),
    (
        "without_a_terminal_lines_are_asked_and_read",
        || true,
        lines,
    ),
    ("the_end_of_the_input_writes_nothing", || true, ended),
];

/// A terminal with a program on it.
struct Terminal {
    master: File,
    slave: OwnedFd,
    before: Termios,
    shown: String,
    process: Process,
}

impl Terminal {
    fn start(site: &Site, arguments: &[&str]) -> Outcome<Self> {
        let mut all = TERMINALS.lock().map_err(|_| "a test has failed")?;
        let (master, slave) = all.pop().ok_or("too few terminals")?;
        drop(all);
        let mut command: Command = site.command(KNOCKCTL, arguments);
        command
            .stdin(Stdio::from(slave.try_clone()?))
            .stdout(Stdio::from(slave.try_clone()?))
            .stderr(Stdio::from(slave.try_clone()?));
        Ok(Self {
            before: tcgetattr(&slave)?,
            master: File::from(master),
            slave,
            shown: String::new(),
            process: site.spawn(&mut command)?,
        })
    }

    /// Reads until this is shown.
    fn expect(&mut self, text: &str) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while !self.plain().contains(text) {
            if Instant::now() > deadline {
                return Err(format!("{text:?} is not in {:?}", self.shown).into());
            }
            self.read()?;
        }
        Ok(())
    }

    /// What is there, or nothing after a while.
    fn read(&mut self) -> Outcome {
        let mut waits = [PollFd::new(&self.master, PollFlags::IN)];
        let while_ = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        if poll(&mut waits, Some(&while_))? > 0 {
            let mut bytes = [0; 4096];
            let count = self.master.read(&mut bytes)?;
            let bytes = bytes.get(..count).unwrap_or_default();
            self.shown.push_str(&String::from_utf8_lossy(bytes));
        }
        Ok(())
    }

    /// Without colours and the like.
    fn plain(&self) -> String {
        anstream::adapter::strip_str(&self.shown).to_string()
    }

    /// Sends keys when they are waited for: before, the terminal itself would take some of them.
    fn answer(&mut self, question: &str, keys: &str) -> Outcome {
        self.expect(question)?;
        self.await_raw()?;
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    fn await_raw(&self) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while tcgetattr(&self.slave)?.local_modes == self.before.local_modes {
            if Instant::now() > deadline {
                return Err(format!("it waits for no key: {:?}", self.shown).into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The exit status, after which the terminal is as it was.
    fn end(mut self) -> Outcome<(Option<i32>, String)> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            self.read()?;
            if let Some(status) = self.process.wait_at_most(Duration::from_millis(1))? {
                break status;
            }
            if Instant::now() > deadline {
                return Err(format!("it does not end: {:?}", self.shown).into());
            }
        };
        self.read()?;
        let after = tcgetattr(&self.slave)?;
        assert_eq!(after.local_modes, self.before.local_modes);
        assert_eq!(after.input_modes, self.before.input_modes);
        assert_eq!(after.output_modes, self.before.output_modes);
        let hidden = self.shown.rfind("\x1b[?25l");
        let visible = self.shown.rfind("\x1b[?25h");
        assert!(hidden <= visible, "the cursor is hidden: {:?}", self.shown);
        Ok((status.code(), self.plain()))
    }
}

/// Both ends of terminals that nobody has used.
static TERMINALS: Mutex<Vec<(OwnedFd, OwnedFd)>> = Mutex::new(Vec::new());

/// Opens terminals for all tests.
pub(crate) fn prepare() -> Outcome {
    let size = Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let mut all = TERMINALS.lock().map_err(|_| "nobody has it yet")?;
    for _ in 0..16 {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        tcsetwinsize(&slave, size)?;
        all.push((master, slave));
    }
    Ok(())
}

const DOWN: &str = "\x1b[B";

fn answered() -> Outcome {
    let site = Site::new(&[22])?;
    let mut terminal = Terminal::start(&site, &["init", "--output", "new.conf", "--gate"])?;
    terminal.answer("Which ports shall open", "tcp/22, udp/51820\r")?;
    terminal.answer("(the default route)", "\r")?;
    terminal.answer("How is it opened", "\r")?;
    terminal.answer("How many ports has the sequence", "4\r")?;
    terminal.answer("For how long does it open", "2m\r")?;
    terminal.answer("Write new.conf", "y")?;
    let (status, shown) = terminal.end()?;
    assert_eq!(status, Some(0), "{shown}");
    let text = site.read("new.conf");
    assert!(text.contains("open        = tcp/22, udp/51820\n"), "{text}");
    assert!(text.contains("open_for    = 2m\n") && text.contains("interface   = eth0\n"));
    let sequence = text.lines().find(|line| line.contains("sequence    ="));
    assert_eq!(sequence.ok_or("no sequence")?.split(',').count(), 4);
    // A terminal has room for a code.
    assert!(
        shown.contains("1 door, no mistake") && shown.contains('▀'),
        "{shown}"
    );
    Ok(())
}

fn again() -> Outcome {
    let site = Site::new(&[22])?;
    let given = [
        "init",
        "-o",
        "new.conf",
        "--gate",
        "--interface",
        "any",
        "--for",
        "30s",
    ];
    let mut terminal = Terminal::start(&site, &given)?;
    terminal.answer("Which ports shall open", "22\r")?;
    terminal.answer("`22` has no protocol", "\x7f\x7ftcp/22\r")?;
    terminal.answer("How is it opened", &format!("{DOWN}\r"))?;
    terminal.answer("public keys of those", "keys\r")?;
    terminal.answer("expected", "\x7f\x7f\x7f\x7f/k\r")?;
    terminal.answer("Write new.conf", "y")?;
    let (status, shown) = terminal.end()?;
    assert_eq!(status, Some(0), "{shown}");
    let text = site.read("new.conf");
    assert!(text.contains("authorized_keys = /k\n"), "{text}");
    Ok(())
}

fn cancelled() -> Outcome {
    // At a line, at a list, at the last question; and no is an answer.
    let before = [
        "init", "-o", "new.conf", "--gate", "--for", "30s", "--by", "sequence", "--steps", "3",
    ];
    let port = ["--port", "tcp/22"];
    let interface = ["--interface", "any"];
    for (given, question, keys) in [
        (vec![], "Which ports shall open", "\x03"),
        (port.to_vec(), "Where do knocks come in", "\x03"),
        ([port, interface].concat(), "Write new.conf", "\x03"),
        ([port, interface].concat(), "Write new.conf", "n"),
    ] {
        let site = Site::new(&[22])?;
        let mut terminal = Terminal::start(&site, &[&before, given.as_slice()].concat())?;
        terminal.answer(question, keys)?;
        let (status, shown) = terminal.end()?;
        assert_eq!(status, Some(1), "{shown}");
        assert!(shown.contains("cancelled: nothing was written"), "{shown}");
        assert_eq!(std::fs::read_dir(site.path("."))?.count(), 0);
    }
    Ok(())
}

fn signalled() -> Outcome {
    for signal in [Signal::INT, Signal::TERM] {
        let site = Site::new(&[22])?;
        let mut terminal = Terminal::start(&site, &["init", "-o", "new.conf", "--port", "tcp/22"])?;
        terminal.expect("Where do knocks come in")?;
        terminal.await_raw()?;
        terminal.process.signal(signal)?;
        let (status, shown) = terminal.end()?;
        assert_eq!(status, Some(1), "{shown}");
        assert!(shown.contains("cancelled: nothing was written"), "{shown}");
        assert!(!site.path("new.conf").exists());
    }
    Ok(())
}

/// What is said on standard error, and the exit status.
fn typed(site: &Site, arguments: &[&str], lines: &str) -> Outcome<(Option<i32>, String)> {
    std::fs::write(site.path("lines"), lines)?;
    let mut command = site.command(KNOCKCTL, arguments);
    command.stdin(File::open(site.path("lines"))?);
    let output = site.on_server(move || command.output())??;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.code(), said))
}

fn lines() -> Outcome {
    let site = Site::new(&[22])?;
    let lines = "\n9\n1\n1\nmany\n3\n\nyes\n";
    let (status, said) = typed(&site, &["init", "-o", "new.conf", "--gate"], lines)?;
    assert_eq!(status, Some(0), "{said}");
    for text in [
        "Which ports shall open to who knocks (others reach now: tcp/22) [tcp/22]: ",
        "  1 eth0  10.77.0.2  (the default route)\n",
        "a number from 1 to 2 is expected\n",
        "a number from 3 to 32 is expected\n",
        "Write new.conf [yes]: ",
    ] {
        assert!(said.contains(text), "{text:?} is not in {said}");
    }
    assert!(!said.contains('\x1b'), "{said:?}");
    assert!(site.read("new.conf").contains("open        = tcp/22\n"));
    Ok(())
}

fn ended() -> Outcome {
    let site = Site::new(&[22])?;
    for lines in ["", "tcp/22\n", "tcp/22\n\n\n\n\n"] {
        let (status, said) = typed(&site, &["init", "-o", "new.conf", "--gate"], lines)?;
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("cancelled: nothing was written"), "{said}");
        assert!(!site.path("new.conf").exists());
    }
    Ok(())
}
