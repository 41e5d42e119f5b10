//! The logbook: the last lines of the log, for `/logs`, so that people can read what the server noticed of one machine.
//!
//! Its memory is bounded. Lines of machines that groups name, and of the server itself, have a shelf of their own, so that a
//! flood of made-up machines displaces none of them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::serve::line::Line;

/// Bytes of lines of machines that groups name, and of the server: some 25,000 lines.
const NAMED: usize = 8 << 20;
/// Bytes of all other lines.
const OTHERS: usize = 4 << 20;
/// Bytes of the lines in one answer.
const ANSWER: usize = 256 << 10;
/// Bytes that a line takes beside its text.
const BESIDE: usize = size_of::<Kept>() + 32;

/// The last lines.
#[derive(Debug, Default)]
pub(crate) struct Logbook(Mutex<Shelves>);

#[derive(Debug)]
struct Shelves {
    /// The number of the last line.
    last: u64,
    named: Shelf,
    others: Shelf,
}

#[derive(Debug)]
struct Shelf {
    lines: VecDeque<Kept>,
    bytes: usize,
    most: usize,
    /// The number of the last line that made room for others.
    gone: u64,
}

#[derive(Debug)]
struct Kept {
    number: u64,
    /// The machine's id when it was written.
    id: Option<Box<str>>,
    json: Box<str>,
}

/// A part of the lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// The lines, the oldest first, each as JSON.
    pub lines: Vec<String>,
    /// The number of the last line that was looked at: the next part begins after it.
    pub next: u64,
    /// Whether there are more lines already.
    pub more: bool,
    /// Whether lines since the last part have made room for others.
    pub lost: bool,
}

impl Default for Shelves {
    fn default() -> Shelves {
        let shelf = |most| Shelf { lines: VecDeque::new(), bytes: 0, most, gone: 0 };
        Shelves { last: 0, named: shelf(NAMED), others: shelf(OTHERS) }
    }
}

impl Logbook {
    /// Keeps a line; `id` is the id of its machine's row, and `is_named` tells whether a group is for that machine alone.
    pub(crate) fn keep(&self, line: &Line, id: Option<&str>, is_named: bool) {
        let json = line.to_json().into_boxed_str();
        let mut shelves = self.shelves();
        shelves.last += 1;
        let kept = Kept { number: shelves.last, id: id.map(Into::into), json };
        let shelf = if is_named || id.is_none() { &mut shelves.named } else { &mut shelves.others };
        shelf.keep(kept);
    }

    /// The lines after a number: of the machine with any of these ids, or all.
    pub(crate) fn read(&self, ids: Option<&[String]>, after: u64) -> Part {
        let shelves = self.shelves();
        let mut named = shelves.named.after(after).peekable();
        let mut others = shelves.others.after(after).peekable();
        let mut part = Part { next: shelves.last.max(after), ..Part::default() };
        part.lost = after > 0 && after < shelves.named.gone.max(shelves.others.gone);
        let mut left = ANSWER;
        loop {
            let is_first = match (named.peek(), others.peek()) {
                (None, None) => break,
                (Some(one), Some(other)) => one.number < other.number,
                (one, _) => one.is_some(),
            };
            let Some(kept) = (if is_first { named.next() } else { others.next() }) else { break };
            let is_wanted =
                |ids: &[String]| kept.id.as_deref().is_some_and(|id| ids.iter().any(|it| it == id));
            if !ids.is_none_or(is_wanted) {
                continue;
            }
            if left < kept.json.len() {
                (part.next, part.more) = (kept.number - 1, true);
                break;
            }
            left -= kept.json.len();
            part.lines.push(kept.json.to_string());
        }
        part
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn keep(&mut self, kept: Kept) {
        self.bytes += kept.size();
        self.lines.push_back(kept);
        while self.bytes > self.most {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.size();
            self.gone = oldest.number;
        }
    }

    fn after(&self, number: u64) -> impl Iterator<Item = &Kept> {
        let start = self.lines.partition_point(|kept| kept.number <= number);
        self.lines.range(start..)
    }
}

impl Kept {
    fn size(&self) -> usize {
        BESIDE + self.json.len() + self.id.as_ref().map_or(0, |id| id.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(msg: &str) -> Line {
        Line { msg: msg.into(), ..Line::default() }
    }

    fn messages(part: &Part) -> Vec<String> {
        part.lines.iter().map(|line| serde_json::from_str::<Line>(line).unwrap().msg).collect()
    }

    #[test]
    fn lines_of_one_machine_come_in_order_and_from_where_the_last_part_ended() {
        let book = Logbook::default();
        book.keep(&line("served"), None, false);
        book.keep(&line("a1"), Some("a"), true);
        book.keep(&line("b1"), Some("b"), false);
        book.keep(&line("a2"), Some("10.0.0.1"), false);
        let all = book.read(None, 0);
        assert_eq!(messages(&all), ["served", "a1", "b1", "a2"]);
        assert_eq!((all.next, all.more, all.lost), (4, false, false));
        let ids = ["a".to_owned(), "10.0.0.1".to_owned()];
        assert_eq!(messages(&book.read(Some(&ids), 0)), ["a1", "a2"]);
        book.keep(&line("a3"), Some("a"), true);
        let rest = book.read(Some(&ids), all.next);
        assert_eq!((messages(&rest), rest.next), (vec!["a3".to_owned()], 5));
        assert_eq!(book.read(Some(&ids), 5), Part { next: 5, ..Part::default() });
    }

    #[test]
    fn a_flood_of_strangers_displaces_no_line_of_a_node_and_takes_no_more_memory() {
        let book = Logbook::default();
        book.keep(&line("a1"), Some("a"), true);
        let long = line(&"x".repeat(1000));
        (0..20_000).for_each(|number| book.keep(&long, Some(&format!("stranger-{number}")), false));
        assert_eq!(messages(&book.read(Some(&["a".to_owned()]), 0)), ["a1"]);
        let bytes = |shelf: &Shelf| shelf.lines.iter().map(Kept::size).sum::<usize>();
        {
            let shelves = book.shelves();
            assert_eq!(shelves.others.bytes, bytes(&shelves.others));
            assert!(shelves.others.bytes <= OTHERS && shelves.others.bytes > OTHERS - 4000);
        }
        // Everything is read in parts of bounded length, and what is gone is told.
        let (mut after, mut count) = (1, 0);
        loop {
            let part = book.read(None, after);
            assert_eq!(part.lost, after == 1);
            assert!(part.lines.iter().map(String::len).sum::<usize>() <= ANSWER);
            (after, count) = (part.next, count + part.lines.len());
            if !part.more {
                break;
            }
        }
        assert_eq!(count, book.shelves().others.lines.len());
        assert_eq!(after, 20_001);
    }
}
