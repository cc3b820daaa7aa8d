//! Commands that run once: `on_start` before packets are listened to, and `on_exit` at the end.
//!
//! They are waited for, within bounds, since what they set up or take down is to be done by then. One
//! that fails keeps nothing from starting or ending.

use std::time::Duration;

use super::runner::{Program, Runner};
use crate::log::{Level, Line};

/// Which of them.
#[derive(Copy, Clone, Debug)]
pub(super) enum Once {
    /// `on_start`.
    Start,
    /// `on_exit`.
    Exit,
}

impl Once {
    /// The key, what the command is told, and how long it may take.
    const fn facts(self) -> (&'static str, &'static str, Duration) {
        match self {
            Self::Start => ("on_start", "daemon-start", Duration::from_secs(30)),
            Self::Exit => ("on_exit", "daemon-exit", Duration::from_secs(10)),
        }
    }

    /// Runs `command`, if there is one. What is worth saying.
    pub(super) fn run(self, runner: &Runner, command: Option<&str>) -> Vec<Line> {
        let Some(command) = command else {
            return Vec::new();
        };
        let (key, event, patience) = self.facts();
        let program = Program {
            command: command.to_owned(),
            user: None,
            environment: vec![("KNOCK_EVENT", event.to_owned())],
        };
        let running = Line::new(
            Level::Info,
            "once",
            format!("{key}: running command: {command}"),
        );
        let failed = runner.run(&program, patience).err().map(|why| {
            let text = format!("{key}: {why}");
            Line::new(Level::Warning, "once", text)
        });
        [running].into_iter().chain(failed).collect()
    }
}
