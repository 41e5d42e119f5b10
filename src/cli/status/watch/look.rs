//! The look of the screen: symbols, colours, and texts that fit a width. No fact is told by a colour alone.

use std::env;
use std::time::Duration;

use ratatui::style::{Color, Modifier, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::model::Kind;
use crate::cli::terminal;

/// Colours and glyphs that the terminal shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Whether colours are wanted.
    pub colours: bool,
    /// Whether it shows more than ASCII.
    pub unicode: bool,
}

impl Look {
    /// As `--color` and the environment say. Linux' own console has few glyphs, whatever the locale.
    pub(super) fn of_environment() -> Look {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default();
        let locale = locale.to_ascii_lowercase().replace('-', "");
        let is_console = variable("TERM").is_some_and(|term| term == "linux");
        Look { colours: terminal::colours_stdout(), unicode: locale.contains("utf8") && !is_console }
    }

    /// The symbol of a kind of machine.
    pub(super) fn symbol(self, kind: Kind) -> &'static str {
        let (unicode, ascii) = match kind {
            Kind::Failed => ("!", "!"),
            Kind::Stuck => ("?", "?"),
            Kind::Missing => ("∅", "0"),
            Kind::Working => ("›", ">"),
            Kind::Loaded => ("~", "~"),
            Kind::Done => ("✓", "="),
            Kind::Stranger => ("+", "+"),
        };
        if self.unicode { unicode } else { ascii }
    }

    /// The style of a kind of machine.
    pub(super) fn style(self, kind: Kind) -> Style {
        let colour = match kind {
            Kind::Failed => Color::Red,
            Kind::Stuck => Color::Yellow,
            Kind::Missing | Kind::Stranger => Color::Magenta,
            Kind::Working => Color::Cyan,
            Kind::Loaded => return Style::new(),
            Kind::Done => Color::Green,
        };
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    /// The style of words that matter less.
    pub(super) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// The mark before the chosen machine.
    pub(super) fn mark(self) -> &'static str {
        if self.unicode { "▸" } else { "*" }
    }

    /// A text, cut to a width with a sign that there was more.
    pub(super) fn cut(self, text: &str, width: usize) -> String {
        if text.width() <= width {
            return text.to_owned();
        }
        let more = if self.unicode { "…" } else { ".." };
        let room = width.saturating_sub(more.width());
        let mut cut = head(text, room).to_owned();
        cut.truncate(cut.trim_end().len());
        cut.push_str(more);
        head(&cut, width).to_owned()
    }

    /// A text in exactly this many columns.
    pub(super) fn fit(self, text: &str, width: usize) -> String {
        let mut text = self.cut(text, width);
        text.push_str(&" ".repeat(width - text.width()));
        text
    }

    /// A text at the right of this many columns.
    pub(super) fn right(self, text: &str, width: usize) -> String {
        let text = self.cut(text, width);
        format!("{}{text}", " ".repeat(width - text.width()))
    }

    /// A bar of this many columns.
    pub(super) fn bar(self, done: u64, of: u64, width: usize) -> String {
        const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
        let steps = if self.unicode { 8 * width } else { width } as u128;
        let filled = (u128::from(done.min(of)) * steps).checked_div(u128::from(of)).unwrap_or(0) as usize;
        let (full, part) = if self.unicode { (filled / 8, EIGHTHS[filled % 8]) } else { (filled, "") };
        let (ink, ground) = if self.unicode { ("█", "░") } else { ("#", ".") };
        let rest = width - full - usize::from(!part.is_empty());
        format!("{}{part}{}", ink.repeat(full), ground.repeat(rest))
    }

    /// The last values as a line of small bars, the largest of them full; empty where glyphs are few.
    pub(super) fn spark(self, values: &[u64], width: usize) -> String {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let values = &values[values.len().saturating_sub(width)..];
        let most = values.iter().copied().max().unwrap_or(0);
        if !self.unicode || most == 0 {
            return String::new();
        }
        let level = |value: &u64| BARS[(u128::from(*value) * 7).div_ceil(u128::from(most)) as usize];
        values.iter().map(level).collect()
    }
}

/// The beginning of a text that fits a width.
fn head(text: &str, width: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, letter)| {
        used += letter.width().unwrap_or(0);
        used > width
    });
    end.map_or(text, |(end, _)| &text[..end])
}

/// A text in lines of a width, broken at blanks where there are some; the second and later ones begin with `indent`
/// blanks.
pub(super) fn wrapped(text: &str, width: usize, indent: usize) -> Vec<String> {
    let indent = indent.min(width.saturating_sub(2));
    let (mut lines, mut line, mut is_fresh) = (Vec::new(), String::new(), true);
    for word in text.split(' ') {
        if !is_fresh && line.width() + 1 + word.width() <= width {
            line.push(' ');
            line.push_str(word);
            continue;
        }
        if !is_fresh {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
        }
        let mut rest = word;
        while line.width() + rest.width() > width {
            let start = head(rest, width.saturating_sub(line.width()));
            if start.is_empty() {
                break;
            }
            line.push_str(start);
            rest = &rest[start.len()..];
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
        }
        line.push_str(rest);
        is_fresh = false;
    }
    lines.push(line);
    lines
}

/// A number of bytes in at most eight columns.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.5 would be told as 1024.
    while amount >= 1023.5 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    // 9.95 would be told as 10.0.
    let digits = usize::from(amount < 9.95);
    format!("{amount:.digits$} {}", UNITS[unit])
}

/// A span in at most four columns.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..100 => format!("{seconds}s"),
        100..6000 => format!("{}m", seconds / 60),
        6000..360_000 => format!("{}h", seconds / 3600),
        _ => format!("{}d", (seconds / 86400).min(999)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Look = Look { colours: false, unicode: false };
    const FULL: Look = Look { colours: true, unicode: true };

    #[test]
    fn a_text_never_takes_more_columns_than_it_was_given() {
        for text in ["", "a", "hall-3", "hall-3-rack-12-node-07", "日本語の名前", "e\u{301}te\u{301}"] {
            for width in 0..30 {
                for look in [PLAIN, FULL] {
                    assert_eq!(look.fit(text, width).width(), width, "{text} in {width}");
                    assert_eq!(look.right(text, width).width(), width, "{text} in {width}");
                }
            }
            for width in 2..30 {
                for line in wrapped(text, width, 1) {
                    assert!(line.width() <= width, "{line:?} in {width}");
                }
            }
        }
        assert_eq!(FULL.cut("hall-3-rack", 6), "hall-…");
        assert_eq!(PLAIN.cut("hall-3-rack", 6), "hall..");
    }

    #[test]
    fn words_stay_whole_where_there_is_room_and_nothing_is_lost() {
        assert_eq!(
            wrapped("- {name: n1, mac: \"52:54\"}", 14, 2),
            ["- {name: n1,", "  mac:", "  \"52:54\"}"]
        );
        let long = format!("see {}", "x".repeat(50));
        let lines = wrapped(&long, 20, 4);
        assert_eq!(lines.concat().replace(' ', ""), long.replace(' ', ""));
    }

    #[test]
    fn a_bar_is_full_only_at_its_end() {
        assert_eq!(FULL.bar(0, 10, 4), "░░░░");
        assert_eq!(FULL.bar(99, 100, 4), "███▉");
        assert_eq!(FULL.bar(10, 10, 4), "████");
        assert_eq!(PLAIN.bar(99, 100, 4), "###.");
        assert_eq!(PLAIN.bar(1, 0, 4), "....");
    }

    #[test]
    fn amounts_and_spans_are_short() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10_200, "10 KiB"), (1_048_300, "1.0 MiB")]
        {
            assert_eq!(size(bytes), text);
        }
        for (seconds, text) in
            [(0, "0s"), (99, "99s"), (100, "1m"), (5999, "99m"), (6000, "1h"), (360_000, "4d")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        assert!(size(u64::MAX).len() <= 9, "{}", size(u64::MAX));
    }
}
