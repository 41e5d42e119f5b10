//! The state of the watching screen: what the server said, and which part of it a person wants to see. Knows no terminal.

use std::collections::BTreeMap;
use std::time::Duration;

use super::keys::{Action, Motion, Typed};
use crate::cli::status::safe;
use crate::serve::machines::roll::Missing;
use crate::serve::machines::status::{MachineStatus, State, Status};

/// How a machine is doing, as the screen counts it; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Failed,
    Stuck,
    /// A machine that no group names. It counts for no state, unless it failed.
    Stranger,
    /// A machine of the recipe that never came.
    Missing,
    Working,
    Loaded,
    Done,
}

impl Kind {
    /// All kinds, in the order of the counts.
    pub(super) const ALL: [Kind; 7] =
        [Kind::Failed, Kind::Stuck, Kind::Working, Kind::Loaded, Kind::Done, Kind::Missing, Kind::Stranger];

    /// The word behind a count.
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Failed => State::Failed.word(),
            Kind::Stuck => State::Stuck.word(),
            Kind::Working => State::Working.word(),
            Kind::Loaded => State::Loaded.word(),
            Kind::Done => State::Done.word(),
            Kind::Missing => "not seen",
            Kind::Stranger => "strangers",
        }
    }
}

impl From<State> for Kind {
    fn from(state: State) -> Kind {
        match state {
            State::Failed => Kind::Failed,
            State::Stuck => Kind::Stuck,
            State::Working => Kind::Working,
            State::Loaded => Kind::Loaded,
            State::Done => Kind::Done,
        }
    }
}

/// A row of the list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'s> {
    /// A machine that was seen.
    Seen(&'s MachineStatus),
    /// A machine that is expected and never came.
    Missing(&'s Missing),
}

impl Row<'_> {
    /// The identity by which it is found again while rows move.
    pub(super) fn id(&self) -> String {
        match self {
            Row::Seen(machine) => machine.id.clone(),
            // No identity of a machine begins like this.
            Row::Missing(missing) => format!("/{}", missing.name),
        }
    }

    /// Its name, else its identity, safe for a terminal.
    pub(super) fn name(&self) -> String {
        safe(match self {
            Row::Seen(machine) => machine.name.as_deref().unwrap_or(&machine.id),
            Row::Missing(missing) => &missing.name,
        })
    }

    /// How it is doing.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Row::Seen(machine) if machine.counts_as_stranger() => Kind::Stranger,
            Row::Seen(machine) => machine.state.into(),
            Row::Missing(_) => Kind::Missing,
        }
    }

    /// The stage that it reached, in a word.
    pub(super) fn stage(&self) -> &'static str {
        match self {
            Row::Seen(machine) => machine.stage.map_or("", |stage| stage.word()),
            Row::Missing(_) => "",
        }
    }

    /// Everything that a filter looks at, in lower case.
    fn words(&self) -> String {
        let mut words = vec![self.name(), self.kind().word().into(), self.stage().into()];
        let mut add = |text: &Option<String>| words.extend(text.clone());
        match self {
            Row::Seen(machine) => {
                for text in [&machine.mac, &machine.uuid, &machine.address, &machine.group, &machine.profile]
                {
                    add(text);
                }
                words.push(machine.id.clone());
                words.extend(machine.stranger.then(|| Kind::Stranger.word().into()));
                words.extend(machine.troubles.iter().map(|trouble| trouble.what.clone()));
            }
            Row::Missing(missing) => {
                for text in [&missing.mac, &missing.uuid, &missing.serial, &missing.group, &missing.profile] {
                    add(text);
                }
            }
        }
        words.join("\n").to_lowercase()
    }
}

/// The order of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The state, then the cause, then the name.
    Worst,
    Name,
    /// The least far first.
    Stage,
    /// The longest in its stage first.
    Age,
}

impl Order {
    const ALL: [Order; 4] = [Order::Worst, Order::Name, Order::Stage, Order::Age];

    /// The word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Order::Worst => "worst",
            Order::Name => "name",
            Order::Stage => "stage",
            Order::Age => "age",
        }
    }
}

/// Machines whose first trouble is of one kind: they likely have the same cause.
#[derive(Debug)]
pub(super) struct Cause<'s> {
    /// The worst state among them.
    pub kind: Kind,
    /// Their trouble.
    pub what: String,
    /// The way out; empty if it is another one for each.
    pub hint: String,
    /// All of them, in order of their names.
    pub rows: Vec<Row<'s>>,
}

/// The part that is on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// All machines.
    List,
    /// One machine.
    Detail,
    /// Every kind of trouble.
    Troubles,
    /// The keys.
    Help,
}

/// The next thing for the loop around the screen to do after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Draw,
    Redraw,
    Suspend,
    Quit,
}

/// Everything that is shown, and how.
#[derive(Debug)]
pub(super) struct Model {
    /// The server's URL, for people.
    pub server: String,
    /// The server's last answer.
    pub status: Status,
    /// How long it has not answered; `None` while it does.
    pub silence: Option<Duration>,
    /// The part that is on the screen.
    pub shown: Shown,
    /// The words that rows must have.
    pub filter: String,
    /// Whether the filter is being typed.
    pub is_typing: bool,
    /// The only kind that is shown.
    pub only: Option<Kind>,
    /// The order of rows.
    pub order: Order,
    /// The id of the chosen row; `None` is whichever is on top.
    chosen: Option<String>,
    /// The place where the chosen row was last seen, for when it goes.
    place: usize,
    /// The first row on the screen.
    pub offset: usize,
    /// Rows that the screen had room for when it was last drawn.
    pub room: usize,
    /// The first line of a page on the screen.
    pub scroll: usize,
}

impl Model {
    /// The screen as it begins: all machines, the worst on top.
    pub(super) fn new(server: String, status: Status) -> Model {
        Model {
            server,
            status,
            silence: None,
            shown: Shown::List,
            filter: String::new(),
            is_typing: false,
            only: None,
            order: Order::Worst,
            chosen: None,
            place: 0,
            offset: 0,
            room: 1,
            scroll: 0,
        }
    }

    /// How many machines are of a kind.
    pub(super) fn count(&self, kind: Kind) -> usize {
        self.all().filter(|row| row.kind() == kind).count()
    }

    fn all(&self) -> impl Iterator<Item = Row<'_>> {
        let seen = self.status.machines.iter().map(Row::Seen);
        seen.chain(self.status.missing.iter().flatten().map(Row::Missing))
    }

    /// The rows that are wanted, in order.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let filter = self.filter.to_lowercase();
        let is_wanted = |row: &Row<'_>| {
            self.only.is_none_or(|only| row.kind() == only)
                && (filter.is_empty() || row.words().contains(&filter))
        };
        let mut rows: Vec<Row<'_>> = self.all().filter(is_wanted).collect();
        match self.order {
            Order::Name => rows.sort_by_cached_key(|row| (natural(&row.name()), row.id())),
            Order::Worst => rows.sort_by_cached_key(|row| {
                let cause = match row {
                    Row::Seen(machine) => machine.troubles.first().map(|trouble| trouble.kind.clone()),
                    Row::Missing(_) => None,
                };
                (row.kind(), cause, natural(&row.name()), row.id())
            }),
            Order::Stage => rows.sort_by_cached_key(|row| {
                let stage = match row {
                    Row::Seen(machine) => machine.stage,
                    Row::Missing(_) => None,
                };
                (stage, natural(&row.name()), row.id())
            }),
            Order::Age => rows.sort_by_cached_key(|row| {
                let since = match row {
                    Row::Seen(machine) => Some(machine.since),
                    Row::Missing(_) => None,
                };
                (since, natural(&row.name()), row.id())
            }),
        }
        rows
    }

    /// Where the chosen row is. A row that went leaves its place to the next one.
    pub(super) fn position(&self, rows: &[Row<'_>]) -> usize {
        let last = rows.len().saturating_sub(1);
        match &self.chosen {
            None => 0,
            Some(id) => rows.iter().position(|row| row.id() == *id).unwrap_or(self.place).min(last),
        }
    }

    /// The row whose details are shown: the one that was chosen, even where a filter would hide it by now.
    pub(super) fn subject(&self) -> Option<Row<'_>> {
        let id = self.chosen.as_ref()?;
        self.all().find(|row| row.id() == *id)
    }

    /// Troubles of like machines, the worst and most frequent first.
    pub(super) fn causes(&self) -> Vec<Cause<'_>> {
        let mut causes: BTreeMap<&str, Cause<'_>> = BTreeMap::new();
        let mut machines: Vec<&MachineStatus> = self.status.machines.iter().collect();
        machines
            .sort_by_cached_key(|machine| (Row::Seen(machine).kind(), natural(&Row::Seen(machine).name())));
        for machine in machines {
            let Some(trouble) = machine.troubles.first() else { continue };
            let (what, hint) = (safe(&trouble.what), safe(&trouble.hint));
            let kind = Row::Seen(machine).kind();
            let cause = causes.entry(&trouble.kind).or_insert_with(|| Cause {
                kind,
                what: what.clone(),
                hint: hint.clone(),
                rows: Vec::new(),
            });
            // Words that differ are about one machine alone.
            if cause.what != what && !trouble.several.is_empty() {
                cause.what = safe(&trouble.several);
            }
            if cause.hint != hint {
                cause.hint.clear();
            }
            cause.rows.push(Row::Seen(machine));
        }
        let mut causes: Vec<Cause<'_>> = causes.into_values().collect();
        causes.sort_by_key(|cause| (cause.kind, std::cmp::Reverse(cause.rows.len())));
        causes
    }

    /// Takes what the server says now.
    pub(super) fn hear(&mut self, status: Status) {
        self.status = status;
        self.silence = None;
        self.follow();
    }

    /// Remembers where the chosen row is, so that its neighbour can take its place.
    fn follow(&mut self) {
        let rows = self.rows();
        let place = self.position(&rows);
        let is_gone = rows.get(place).is_some_and(|row| Some(row.id()) != self.chosen);
        let next = rows.get(place).map(Row::id);
        // Details of a row that a filter hides stay.
        if is_gone && self.chosen.is_some() && self.subject().is_none() {
            self.chosen = next;
        }
        self.place = place;
    }

    /// Does what a key asks for.
    pub(super) fn act(&mut self, action: Action) -> Then {
        match action {
            Action::Quit => return Then::Quit,
            Action::Redraw => return Then::Redraw,
            Action::Suspend => return Then::Suspend,
            Action::Back if self.shown != Shown::List => self.show(Shown::List),
            Action::Back if !self.filter.is_empty() || self.only.is_some() => {
                self.filter.clear();
                self.only = None;
            }
            Action::Back => return Then::Quit,
            Action::Filter => {
                self.show(Shown::List);
                self.is_typing = true;
            }
            Action::Sort => self.order = next(&Order::ALL, self.order),
            Action::States => {
                let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| self.count(*kind) > 0).collect();
                self.only = match self.only {
                    None => kinds.first().copied(),
                    Some(last) if kinds.last() == Some(&last) => None,
                    Some(only) => kinds.iter().position(|kind| *kind == only).map(|at| kinds[at + 1]),
                };
                (self.offset, self.place) = (0, 0);
            }
            Action::Detail if self.shown == Shown::Detail => self.show(Shown::List),
            Action::Detail => {
                let rows = self.rows();
                if let Some(row) = rows.get(self.position(&rows)) {
                    self.chosen = Some(row.id());
                    self.show(Shown::Detail);
                }
            }
            Action::Troubles if self.shown == Shown::Troubles => self.show(Shown::List),
            Action::Troubles => self.show(Shown::Troubles),
            Action::Help if self.shown == Shown::Help => self.show(Shown::List),
            Action::Help => self.show(Shown::Help),
            Action::Move(motion) => self.go(motion),
        }
        Then::Draw
    }

    fn show(&mut self, shown: Shown) {
        self.shown = shown;
        self.scroll = 0;
    }

    /// Takes a key of a filter that is being typed.
    pub(super) fn type_in(&mut self, typed: Typed) -> Then {
        match typed {
            Typed::Letter(letter) => self.filter.push(letter),
            Typed::Erase => drop(self.filter.pop()),
            Typed::EraseAll => self.filter.clear(),
            Typed::Accept => self.is_typing = false,
            Typed::Drop => {
                self.filter.clear();
                self.is_typing = false;
            }
            Typed::Other(action) => return self.act(action),
        }
        (self.offset, self.place) = (0, 0);
        Then::Draw
    }

    fn go(&mut self, motion: Motion) {
        let page = self.room.saturating_sub(1).max(1);
        let is_list = self.shown == Shown::List;
        if !is_list && !matches!(motion, Motion::Previous | Motion::Next) {
            // The view holds it below the page's end.
            self.scroll = match motion {
                Motion::Up => self.scroll.saturating_sub(1),
                Motion::Down => self.scroll.saturating_add(1),
                Motion::PageUp => self.scroll.saturating_sub(page),
                Motion::PageDown => self.scroll.saturating_add(page),
                Motion::First | Motion::Previous => 0,
                Motion::Last | Motion::Next => usize::MAX,
            };
            return;
        }
        let rows = self.rows();
        let last = rows.len().saturating_sub(1);
        let at = self.position(&rows);
        let to = match motion {
            Motion::First => {
                self.chosen = None;
                return;
            }
            Motion::Up | Motion::Previous => at.saturating_sub(1),
            Motion::Down | Motion::Next => at + 1,
            Motion::PageUp => at.saturating_sub(page),
            Motion::PageDown => at + page,
            Motion::Last => last,
        };
        let to = to.min(last);
        let id = rows.get(to).map(Row::id);
        if !is_list {
            self.scroll = 0;
        }
        self.chosen = id;
        self.place = to;
    }
}

fn next<T: Copy + PartialEq>(all: &[T], current: T) -> T {
    let at = all.iter().position(|one| *one == current).map_or(0, |at| at + 1);
    all[at % all.len()]
}

/// A key by which `n2` stands before `n10`.
fn natural(name: &str) -> String {
    /// No machine has a longer number in its name.
    const DIGITS: usize = 20;
    let (mut key, mut number) = (String::new(), String::new());
    let flush = |key: &mut String, number: &mut String| {
        if !number.is_empty() {
            key.push_str(&format!("{number:0>DIGITS$}"));
            number.clear();
        }
    };
    for letter in name.chars() {
        if letter.is_ascii_digit() {
            number.push(letter);
        } else {
            flush(&mut key, &mut number);
            key.push(letter);
        }
    }
    flush(&mut key, &mut number);
    key
}
