//! The terminal while it is watched: its other screen, no echo, no cursor. It is left as it was found, also after a panic.

use std::io::{self, IsTerminal, Stdout, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::{Position, Rect};
use ratatui::{Frame, Terminal};
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::mpsc::{Receiver, channel};

/// Events that wait for the screen; a person types fewer.
const WAITING: usize = 256;

/// Whether the terminal is ours, so that it must be given back.
static IS_OURS: AtomicBool = AtomicBool::new(false);

/// The terminal; given back when this is dropped.
pub(super) struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Whether standard output is a terminal that can be drawn on.
    pub(super) fn is_possible() -> bool {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        stdout().is_terminal() && !is_dumb
    }

    /// Takes the terminal.
    pub(super) fn take() -> io::Result<Screen> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let told = std::panic::take_hook();
            // Otherwise its message would go with the screen.
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                told(panic);
            }));
        });
        seize()?;
        Terminal::new(CrosstermBackend::new(stdout())).map(Screen).inspect_err(|_| give_back())
    }

    /// Keys and resizes, until the terminal is gone. Called once.
    pub(super) fn events(&self) -> io::Result<Receiver<Event>> {
        let (sender, receiver) = channel(WAITING);
        thread::Builder::new().name("keys".into()).spawn(move || {
            while let Ok(event) = event::read() {
                if sender.blocking_send(event).is_err() {
                    return;
                }
            }
        })?;
        Ok(receiver)
    }

    /// Draws what differs from what is there.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(draw).map(drop)
    }

    /// Draws everything at the next time. `Terminal::clear` would ask for the cursor's place, and the answer is a key.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        let size = self.0.size()?;
        self.0.resize(Rect::from((Position::ORIGIN, size)))
    }

    /// Gives the terminal back and stops, as a shell's job does; goes on when the shell continues it.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        kill_process(getpid(), Signal::STOP)?;
        seize()?;
        self.forget()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Whether the terminal is still there. A hangup is told by a signal, unless somebody turned that off.
pub(super) fn is_there() -> bool {
    stdout().is_terminal()
}

fn seize() -> io::Result<()> {
    enable_raw_mode()?;
    IS_OURS.store(true, Ordering::SeqCst);
    execute!(stdout(), EnterAlternateScreen, Hide).inspect_err(|_| give_back())
}

/// Errors mean that there is no terminal any more.
fn give_back() {
    if IS_OURS.swap(false, Ordering::SeqCst) {
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}
