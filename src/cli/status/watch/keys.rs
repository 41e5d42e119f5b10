//! The keys of the watching screen: one table, from which the help page and the footer come, too.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The wish behind a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Leave.
    Quit,
    /// Leave a page, drop a filter, or leave.
    Back,
    /// Begin to type a filter.
    Filter,
    /// Go to the next order.
    Sort,
    /// Show only machines of the next state.
    States,
    /// Show all that is known of the chosen machine.
    Detail,
    /// Show every kind of trouble.
    Troubles,
    /// Show the keys.
    Help,
    /// Move the choice, or scroll a page.
    Move(Motion),
    /// Draw everything anew, where something else wrote to the terminal.
    Redraw,
    /// Stop until the shell continues the job.
    Suspend,
}

/// Which way to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Motion {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    /// To the machine before the shown one.
    Previous,
    /// To the machine behind the shown one.
    Next,
}

/// Keys that do one thing.
pub(super) struct Binding {
    codes: &'static [KeyCode],
    action: Action,
    /// The keys, as people write them.
    pub keys: &'static str,
    /// The effect, in words.
    pub does: &'static str,
}

const fn bound(codes: &'static [KeyCode], action: Action, keys: &'static str, does: &'static str) -> Binding {
    Binding { codes, action, keys, does }
}

/// All keys, in the order of the help page.
pub(super) const BINDINGS: [Binding; 16] = [
    bound(
        &[KeyCode::Char('j'), KeyCode::Down],
        Action::Move(Motion::Down),
        "j, Down",
        "next machine; in a page, scroll",
    ),
    bound(&[KeyCode::Char('k'), KeyCode::Up], Action::Move(Motion::Up), "k, Up", "previous machine"),
    bound(
        &[KeyCode::PageDown, KeyCode::Char(' ')],
        Action::Move(Motion::PageDown),
        "PgDn, Spc",
        "a screen down",
    ),
    bound(&[KeyCode::PageUp, KeyCode::Char('b')], Action::Move(Motion::PageUp), "PgUp, b", "a screen up"),
    bound(
        &[KeyCode::Char('g'), KeyCode::Home],
        Action::Move(Motion::First),
        "g, Home",
        "to the top, and stay there",
    ),
    bound(&[KeyCode::Char('G'), KeyCode::End], Action::Move(Motion::Last), "G, End", "to the end"),
    bound(
        &[KeyCode::Enter, KeyCode::Char('l')],
        Action::Detail,
        "Enter",
        "all that is known of this machine",
    ),
    bound(
        &[KeyCode::Char('n'), KeyCode::Right],
        Action::Move(Motion::Next),
        "n, Right",
        "there, the next machine",
    ),
    bound(
        &[KeyCode::Char('p'), KeyCode::Left],
        Action::Move(Motion::Previous),
        "p, Left",
        "there, the previous machine",
    ),
    bound(&[KeyCode::Char('/')], Action::Filter, "/", "filter by name, address, profile, stage or trouble"),
    bound(&[KeyCode::Char('f')], Action::States, "f", "only failed, stuck, and so on, in turn"),
    bound(&[KeyCode::Char('s')], Action::Sort, "s", "sort by the worst, name, stage or age, in turn"),
    bound(&[KeyCode::Char('t')], Action::Troubles, "t", "every kind of trouble, with what to do"),
    bound(&[KeyCode::Char('?'), KeyCode::Char('h'), KeyCode::F(1)], Action::Help, "?", "this page"),
    bound(&[KeyCode::Esc], Action::Back, "Esc", "back; drop the filter; quit"),
    bound(&[KeyCode::Char('q')], Action::Quit, "q, Ctrl-C", "quit"),
];

/// The wish behind a key, outside of a filter that is being typed.
pub(super) fn action(key: &KeyEvent) -> Option<Action> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Quit),
            KeyCode::Char('l') => Some(Action::Redraw),
            KeyCode::Char('z') => Some(Action::Suspend),
            KeyCode::Char('n') => Some(Action::Move(Motion::Down)),
            KeyCode::Char('p') => Some(Action::Move(Motion::Up)),
            _ => None,
        };
    }
    BINDINGS.iter().find(|binding| binding.codes.contains(&key.code)).map(|binding| binding.action)
}

/// A key while a filter is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// One more letter.
    Letter(char),
    /// The last letter goes.
    Erase,
    /// All letters go.
    EraseAll,
    /// The filter is complete.
    Accept,
    /// No filter.
    Drop,
    /// As outside of a filter.
    Other(Action),
}

/// The meaning of a key while a filter is typed.
pub(super) fn typed(key: &KeyEvent) -> Option<Typed> {
    match (key.code, key.modifiers.contains(KeyModifiers::CONTROL)) {
        (KeyCode::Char('u'), true) => Some(Typed::EraseAll),
        (KeyCode::Char(letter), false) => Some(Typed::Letter(letter)),
        (KeyCode::Backspace, _) => Some(Typed::Erase),
        (KeyCode::Enter, _) => Some(Typed::Accept),
        (KeyCode::Esc, _) => Some(Typed::Drop),
        _ => action(key).map(Typed::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_bound_once() {
        let codes: Vec<KeyCode> = BINDINGS.iter().flat_map(|binding| binding.codes).copied().collect();
        for (at, code) in codes.iter().enumerate() {
            assert!(!codes[..at].contains(code), "{code:?}");
        }
    }

    #[test]
    fn letters_are_text_while_a_filter_is_typed_and_ctrl_c_still_quits() {
        let key = |code, modifiers| KeyEvent::new(code, modifiers);
        assert_eq!(typed(&key(KeyCode::Char('q'), KeyModifiers::NONE)), Some(Typed::Letter('q')));
        assert_eq!(action(&key(KeyCode::Char('q'), KeyModifiers::NONE)), Some(Action::Quit));
        let interrupt = key(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(typed(&interrupt), Some(Typed::Other(Action::Quit)));
    }
}
