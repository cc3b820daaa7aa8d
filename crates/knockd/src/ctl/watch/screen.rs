//! The terminal: taken, drawn on, and given back as it was, however this program ends.

use std::io::{self, IsTerminal, Stdout, stdin, stdout};
use std::panic;
use std::sync::Once;

use crossterm::cursor::Show;
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use super::state::Key;
use super::view::{View, draw};

/// A terminal that is ours. Dropping it gives it back.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn open() -> io::Result<Self> {
        give_back_at_a_panic();
        let taken = enable_raw_mode()
            .and_then(|()| execute!(stdout(), EnterAlternateScreen))
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match taken {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Draws what has changed; asks the terminal for its size.
    pub(super) fn draw(&mut self, view: View<'_>) -> io::Result<()> {
        let drawn = self.terminal.draw(|frame| {
            let area = frame.area();
            draw(view, area, frame.buffer_mut());
        });
        drawn.map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Why this terminal cannot be drawn on; `None` if it can.
pub(super) fn doubt() -> Option<String> {
    let name = std::env::var("TERM").unwrap_or_default();
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return Some("this is no terminal".to_owned());
    }
    match name.as_str() {
        "" => Some("TERM is not set: nobody knows what this terminal can do".to_owned()),
        "dumb" => Some("this terminal (TERM=dumb) shows nothing but lines".to_owned()),
        _ => None,
    }
}

/// The next key that was pressed; `None` if there is none yet.
pub(super) fn next_key() -> io::Result<Option<Key>> {
    while event::poll(std::time::Duration::ZERO)? {
        if let Event::Key(event) = event::read()?
            && event.kind != KeyEventKind::Release
            && let Some(key) = key(event)
        {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

fn key(event: KeyEvent) -> Option<Key> {
    let is_control = event.modifiers.contains(KeyModifiers::CONTROL);
    match event.code {
        KeyCode::Char('c' | 'd') if is_control => Some(Key::Interrupt),
        KeyCode::Char('z') if is_control => Some(Key::Suspend),
        KeyCode::Char(_) if is_control => None,
        KeyCode::Char(c) => Some(Key::Char(c)),
        KeyCode::Up => Some(Key::Up),
        KeyCode::Down => Some(Key::Down),
        KeyCode::Enter => Some(Key::Enter),
        KeyCode::Esc => Some(Key::Escape),
        KeyCode::Backspace => Some(Key::Backspace),
        _ => None,
    }
}

/// The terminal may be gone, with whoever sat there.
fn give_back() {
    disable_raw_mode().ok();
    execute!(stdout(), LeaveAlternateScreen, Show).ok();
}

/// What a panic says is to be read.
fn give_back_at_a_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            give_back();
            usual(info);
        }));
    });
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// The test below runs it at a terminal.
    #[test]
    #[ignore = "panics on purpose, and takes the terminal"]
    fn a_program_that_panics() {
        let _screen = Screen::open().unwrap();
        panic!("this is on purpose");
    }

    #[test]
    fn a_panic_gives_the_terminal_back_and_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap();
        let name = "ctl::watch::screen::tests::a_program_that_panics";
        let words = format!(
            "stty -a > before; {} --ignored --nocapture --exact {name}; stty -a > after",
            program.display()
        );
        let mut script = Command::new("script");
        script
            .args(["-qec", &words, "seen"])
            .current_dir(folder.path());
        script
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        assert!(script.status().unwrap().success());
        let read = |file| std::fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(read("before").contains("echo "), "{}", read("before"));
        assert_eq!(read("before"), read("after"));
        let seen = read("seen");
        let place = |text| {
            seen.find(text)
                .unwrap_or_else(|| panic!("{text:?}: {seen:?}"))
        };
        assert!(place("\u{1b}[?1049h") < place("\u{1b}[?1049l"));
        assert!(place("\u{1b}[?1049l") < place("this is on purpose"));
    }
}
