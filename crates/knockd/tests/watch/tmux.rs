//! A terminal that can be looked at: tmux, with a shell that says how the terminal was before and after.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::Outcome;
use crate::net::{KNOCKCTL, Net};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// How many there were.
static TERMINALS: AtomicU32 = AtomicU32::new(0);

/// A terminal; it ends with this.
pub(crate) struct Terminal<'a> {
    net: &'a Net,
    /// Where its server listens: each has its own.
    socket: PathBuf,
}

impl<'a> Terminal<'a> {
    /// Of 80 columns and 24 lines, in which `knockctl watch` runs with these variables.
    pub(crate) fn new(net: &'a Net, variables: &str) -> Outcome<Self> {
        let number = TERMINALS.fetch_add(1, Ordering::Relaxed);
        let socket = net.path(&format!("tmux{number}"));
        let terminal = Self { net, socket };
        let script = format!(
            "echo here I am; stty -a > before; echo $$ > pid.shell
             env {variables} sh -c 'echo $$ > pid; exec {KNOCKCTL} watch -s sock'
             echo \"it ended with $?\" | tee ended; stty -a > after; exec sleep 1000"
        );
        fs::write(net.path("script"), script)?;
        for file in ["before", "after", "ended", "pid"] {
            fs::remove_file(net.path(file)).ok();
        }
        let folder = net.path("");
        let folder = folder.to_str().ok_or("a strange folder")?;
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            "-c",
            folder,
            "sh",
            "script",
        ])?;
        Ok(terminal)
    }

    /// What is on the screen.
    pub(crate) fn screen(&self) -> Outcome<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Presses keys, by the names that tmux has for them.
    pub(crate) fn press(&self, keys: &[&str]) -> Outcome {
        self.tmux(&[&["send-keys"], keys].concat()).map(drop)
    }

    pub(crate) fn resize(&self, width: u16, height: u16) -> Outcome {
        let (width, height) = (width.to_string(), height.to_string());
        self.tmux(&["resize-window", "-x", &width, "-y", &height])
            .map(drop)
    }

    /// Waits until all of these are on the screen, and gives it.
    pub(crate) fn shows(&self, texts: &[&str]) -> Outcome<String> {
        self.await_screen(&format!("{texts:?}"), |screen| {
            texts.iter().all(|text| screen.contains(text))
        })
    }

    /// Waits until the screen is as it should be, and gives it.
    pub(crate) fn await_screen(&self, what: &str, is: impl Fn(&str) -> bool) -> Outcome<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen()?;
            if is(&screen) {
                return Ok(screen);
            }
            if Instant::now() > deadline {
                let log = self.net.read("log");
                return Err(format!("not on the screen: {what}\n{screen}\n{log}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The program that draws.
    pub(crate) fn pid(&self) -> Outcome<Pid> {
        let pid = self.net.read("pid").trim().parse()?;
        Ok(Pid::from_raw(pid).ok_or("no process id")?)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Outcome {
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// Waits until the program has ended with this status of the shell, and the terminal is as it was.
    pub(crate) fn is_given_back(&self, status: &str) -> Outcome {
        let ended = format!("it ended with {status}\n");
        self.net
            .eventually("the program has ended", || self.net.read("ended") == ended)?;
        self.net.eventually("the terminal was looked at", || {
            self.net.read("after").lines().count() == self.net.read("before").lines().count()
        })?;
        assert_eq!(self.net.read("before"), self.net.read("after"));
        // The screen of before, the cursor, and no other screen.
        let screen = self.shows(&["here I am", ended.trim()])?;
        assert!(!screen.contains("grants"), "{screen}");
        let flags = self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"])?;
        assert_eq!(flags.trim(), "0 1");
        Ok(())
    }

    /// Takes the terminal away, as a connection that is cut does; then the program must be gone.
    pub(crate) fn cut(self) -> Outcome {
        let pid = self.pid()?;
        self.tmux(&["kill-server"])?;
        self.net
            .eventually("the program is gone", || test_kill_process(pid).is_err())
    }

    fn tmux(&self, args: &[&str]) -> Outcome<String> {
        let output = Command::new("tmux")
            .arg("-u")
            .arg("-S")
            .arg(&self.socket)
            .args(args)
            .env_remove("TMUX")
            .output()
            .map_err(|error| format!("tmux: {error}: apt-get install tmux"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("tmux {args:?}: {said}").into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        // It fails if it was taken away, which is what we want.
        drop(self.tmux(&["kill-server"]));
    }
}
