//! `prebake status --watch`: a screen that follows a rack, or a line for every change where there is no terminal.
//!
//! Owns the loop that asks the server, hears keys and signals, and draws. The [`model`] decides what is shown, the [`view`] and
//! the [`page`]s how; neither knows a terminal, which is the [`screen`]'s.

mod keys;
mod look;
mod model;
mod page;
mod screen;
#[cfg(test)]
mod tests;
mod view;

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{Event, KeyEventKind};
use ratatui::crossterm::style::force_color_output;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::look::Look;
use self::model::{Model, Then};
use self::screen::Screen;
use super::{EVERY, changes, fetch};
use crate::base::disk;
use crate::base::error::Result;
use crate::base::unfinished::INTERRUPTED;
use crate::cli::say;
use crate::serve::machines::client::{Error, Server};
use crate::serve::machines::status::Status;

/// The share of time, as its inverse, that a server is kept busy by one screen.
const SHARE: u32 = 4;
/// How long an answer may take before the screen says so.
const PATIENCE: Duration = Duration::from_secs(3);

/// Shows a server's machines until a person leaves. Waits for a server that stops answering for a while; one that never
/// answered is an error.
pub(super) async fn watch(server: &Server) -> Result<()> {
    match Screen::is_possible() {
        true => on_screen(server).await,
        false => in_lines(server).await,
    }
}

/// Prints a line for every change.
async fn in_lines(server: &Server) -> Result<()> {
    let mut last: Option<Status> = None;
    loop {
        match fetch(server).await {
            Ok(status) => {
                say_part!("{}", changes(last.as_ref(), &status));
                last = Some(status);
            }
            Err(error) if last.is_none() => return Err(error.into()),
            Err(error) => tell!("{error}"),
        }
        if say::is_refused() {
            return Ok(());
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Signals that end the screen.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> Result<Signals> {
        let watch = |kind| signal(kind).map_err(disk::Error::io("watch signals of", "this process".as_ref()));
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(watch);
        Ok(Signals([interrupt?, terminate?, hangup?]))
    }

    async fn recv(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hangup.recv() => {} }
    }
}

/// Asks after a while; how long that took is the measure of the next while.
async fn ask(server: &Server, after: Duration) -> (Result<Status, Error>, Duration) {
    tokio::time::sleep(after).await;
    let started = Instant::now();
    let answer = fetch(server).await;
    (answer, (started.elapsed() * SHARE).max(EVERY))
}

async fn on_screen(server: &Server) -> Result<()> {
    // Before the screen is taken, so that an error stays readable.
    let status = fetch(server).await?;
    let mut signals = Signals::new()?;
    let look = Look::of_environment();
    // The look has decided; crossterm reads NO_COLOR on its own, and would drop what --color asks for.
    force_color_output(true);
    let mut model = Model::new(server.name(), status);
    let Ok(screen) = Screen::take() else { return in_lines(server).await };
    let is_ended = follow(server, screen, &mut signals, &mut model, look).await;
    match is_ended {
        End::Left => Ok(()),
        End::Interrupted => {
            say::flush();
            std::process::exit(INTERRUPTED)
        }
    }
}

/// Why the screen ended.
enum End {
    /// A person left.
    Left,
    /// A signal, or the terminal is gone.
    Interrupted,
}

/// Draws until the end. The screen is given back on return.
async fn follow(
    server: &Server,
    mut screen: Screen,
    signals: &mut Signals,
    model: &mut Model,
    look: Look,
) -> End {
    let Ok(mut events) = screen.events() else { return End::Interrupted };
    let mut asking = Box::pin(ask(server, EVERY));
    let mut due = EVERY + PATIENCE;
    let mut tick = tokio::time::interval(EVERY);
    let (mut heard, mut is_silent) = (Instant::now(), false);
    loop {
        if screen.draw(|frame| view::draw(frame, model, look)).is_err() {
            return End::Interrupted;
        }
        tokio::select! {
            () = signals.recv() => return End::Interrupted,
            event = events.recv() => {
                let Some(first) = event else { return End::Interrupted };
                // A held key, or a pasted text, is drawn once.
                let mut next = Some(first);
                while let Some(event) = next {
                    match press(model, &event) {
                        Then::Draw => {}
                        Then::Redraw if screen.forget().is_ok() => {}
                        Then::Suspend if screen.suspend().is_ok() => {}
                        Then::Quit => return End::Left,
                        Then::Redraw | Then::Suspend => return End::Interrupted,
                    }
                    next = events.try_recv().ok();
                }
            }
            (answer, pause) = &mut asking => {
                is_silent = answer.is_err();
                if let Ok(status) = answer {
                    model.hear(status);
                    heard = Instant::now();
                }
                due = pause + PATIENCE;
                asking = Box::pin(ask(server, pause));
            }
            _ = tick.tick() => {
                if !screen::is_there() {
                    return End::Interrupted;
                }
                is_silent |= heard.elapsed() > due;
                model.silence = is_silent.then(|| heard.elapsed());
            }
        }
    }
}

fn press(model: &mut Model, event: &Event) -> Then {
    let Event::Key(key) = event else { return Then::Draw };
    if key.kind == KeyEventKind::Release {
        return Then::Draw;
    }
    match model.is_typing {
        true => keys::typed(key).map_or(Then::Draw, |typed| model.type_in(typed)),
        false => keys::action(key).map_or(Then::Draw, |action| model.act(action)),
    }
}
