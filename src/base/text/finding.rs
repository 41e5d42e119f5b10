//! Findings: faults and doubts in a text that a person wrote, with its file, line and column.
//!
//! Owns the data and its rendering for people. Leaves to the rooms which facts are findings, and to `cli` where they
//! are printed.

use std::fmt;
use std::sync::Arc;

/// A text that findings point into. The name is the path as the user gave it, or `<stdin>`.
#[derive(PartialEq, Eq)]
pub struct Source {
    /// The path as the user gave it; findings print it unchanged so that editors can jump to it.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// Its name alone: each place in a text has the whole of it at hand, and the text may hold passwords.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({:?})", self.name)
    }
}

impl Source {
    /// Wraps a text under the name that findings print.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Source { name: name.into(), text: text.into() })
    }

    /// Line `number` (from 1) without its end; `None` beyond the last.
    pub fn line(&self, number: usize) -> Option<&str> {
        self.text.lines().nth(number.checked_sub(1)?)
    }
}

/// A text without the byte order mark that editors on Windows put before it. The mark is not part of the text, and
/// neither Rust nor most formats skip it.
pub fn plain(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Whether a character is invisible: it moves the cursor, changes the line or the direction of text, or has no width.
/// Covers Unicode's categories Cc and Cf as far as terminals act on them, and its two separators.
pub fn is_unseen(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A place in a [`Source`]: line and column count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The text that it points into.
    pub source: Arc<Source>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source.name, self.line, self.column)
    }
}

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A doubt; refused with `--strict`.
    Warning,
    /// A fault; the input is not used.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// One fault or doubt about something that a person wrote.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Error or warning.
    pub severity: Severity,
    /// The fault, without file or position.
    pub message: String,
    /// Its place, if known.
    pub place: Option<Place>,
    /// Path inside the document, such as `$.storage.files.0.mode`.
    pub path: Option<String>,
    /// The way out.
    pub hint: Option<String>,
    /// Related places ("the other side of the conflict"), each with a short explanation.
    pub related: Vec<(Place, String)>,
}

impl Finding {
    /// An error without a place yet.
    pub fn error(message: impl Into<String>) -> Self {
        Finding {
            severity: Severity::Error,
            message: message.into(),
            place: None,
            path: None,
            hint: None,
            related: Vec::new(),
        }
    }

    /// A warning without a place yet.
    pub fn warning(message: impl Into<String>) -> Self {
        Finding { severity: Severity::Warning, ..Finding::error(message) }
    }

    /// Sets the place.
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Sets the path inside the document.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Sets the way out.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Drops the lines that it would show, since they may contain secrets.
    pub fn without_lines(mut self) -> Self {
        let bare = |place: &mut Place| place.source = Source::new(place.source.name.clone(), "");
        self.place.iter_mut().for_each(bare);
        self.related.iter_mut().map(|(place, _)| place).for_each(bare);
        self
    }

    /// Adds a related place.
    pub fn related(mut self, place: Place, why: impl Into<String>) -> Self {
        self.related.push((place, why.into()));
        self
    }
}

/// Shows the finding to people: severity and path, `file:line:col`, the line itself with a caret, the hint.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => writeln!(f, "{}[{path}]: {}", self.severity, self.message)?,
            None => writeln!(f, "{}: {}", self.severity, self.message)?,
        }
        if let Some(place) = &self.place {
            excerpt(f, place, "")?;
        }
        for (place, why) in &self.related {
            excerpt(f, place, why)?;
        }
        if let Some(hint) = &self.hint {
            writeln!(f, "  = help: {hint}")?;
        }
        Ok(())
    }
}

fn excerpt(f: &mut fmt::Formatter<'_>, place: &Place, label: &str) -> fmt::Result {
    writeln!(f, "  --> {place}")?;
    let Some(line) = place.source.line(place.line) else { return Ok(()) };
    let width = place.line.to_string().len();
    let window = Window::around(place.column);
    let shown = window.show(line);
    writeln!(f, "{:width$} |", "")?;
    writeln!(f, "{} | {shown}", place.line)?;
    let label = if label.is_empty() { String::new() } else { format!(" {label}") };
    writeln!(f, "{:width$} | {}{label}", "", window.mark(&shown))
}

/// The part of a line that is shown around a column: a config may be one line of a megabyte.
pub struct Window {
    column: usize,
    skip: usize,
}

impl Window {
    /// Upper limit for the part that is shown, in characters.
    const WIDTH: usize = 160;
    /// Upper limit for an underline, in characters; its beginning is enough.
    const UNDERLINE: usize = 40;

    /// A window that contains a column (from 1).
    pub fn around(column: usize) -> Self {
        let skip = if column > Self::WIDTH { column - Self::WIDTH / 2 } else { 0 };
        Window { column, skip }
    }

    /// The part of a line in the window. Invisible characters would move the caret or affect the terminal, so each
    /// becomes a blank; a tab keeps its one column.
    pub fn show(&self, line: &str) -> String {
        let visible = |c: char| if is_unseen(c) { ' ' } else { c };
        line.chars().skip(self.skip).take(Self::WIDTH).map(visible).collect()
    }

    /// Carets below the word that begins at the column.
    pub fn mark(&self, shown: &str) -> String {
        let before = self.column.saturating_sub(1 + self.skip);
        let word = shown.chars().skip(before).take_while(|c| !c.is_whitespace()).count();
        format!("{}{}", " ".repeat(before), "^".repeat(word.clamp(1, Self::UNDERLINE)))
    }
}

/// Upper limit for findings that are shown at once: nobody reads more, and each is searched for in its text.
pub const MOST: usize = 200;

/// The line about findings that are not shown.
pub fn more(count: usize) -> String {
    let findings = if count == 1 { "finding, which is" } else { "findings, which are" };
    format!("{count} more {findings} not shown")
}

/// Many findings at once, as an error: at least one of them is [`Severity::Error`].
#[derive(Debug)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// `Ok(value)` unless an error is among the findings; warnings are returned beside the value.
    pub fn settle<T>(findings: Vec<Finding>, value: T) -> Result<(T, Vec<Finding>), Findings> {
        match findings.iter().any(|finding| finding.severity == Severity::Error) {
            true => Err(Findings(findings)),
            false => Ok((value, findings)),
        }
    }
}

impl From<Finding> for Findings {
    fn from(finding: Finding) -> Self {
        Findings(vec![finding])
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut texts: Vec<String> = self.0.iter().take(MOST + 1).map(Finding::to_string).collect();
        if let Some(others) = self.0.len().checked_sub(MOST + 1).filter(|others| *others > 0) {
            texts.push(more(others));
        }
        f.write_str(texts.join("\n").trim_end())
    }
}

impl std::error::Error for Findings {}

/// The known word nearest to `word`, if it is near enough for a typing slip.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(word.len()) / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The way out for a name that is not known: the nearest of the known ones as a question, else all of them after `lead`,
/// such as `known: `.
pub fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>, lead: &str) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{lead}{}", known.join(", ")),
    }
}

/// The last position at or before `at` where a character begins.
pub fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}

/// Upper limit for a recipe and for an inventory, in bytes.
pub const MAX_TEXT: usize = 16 << 20;

/// A text by this name is refused: it is not UTF-8.
pub fn not_text(name: &str) -> Findings {
    Finding::error(format!("{name} is not UTF-8 text")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_the_line_the_caret_and_the_way_out() {
        let source = Source::new("edge.yaml", "name: edge\nrelese: {}\n");
        let finding = Finding::error("unknown key `relese`")
            .at(Place { source, line: 2, column: 1 })
            .path("$.relese")
            .hint("did you mean `release`?");
        let expected = "error[$.relese]: unknown key `relese`\n  --> edge.yaml:2:1\n  |\n2 | relese: {}\n  | ^^^^^^^\n  = help: did you mean `release`?\n";
        assert_eq!(finding.to_string(), expected);
    }

    #[test]
    fn of_very_many_findings_the_first_are_shown() {
        let many = |count: usize| {
            Findings((0..count).map(|at| Finding::error(format!("flaw {at}"))).collect()).to_string()
        };
        assert!(many(MOST + 1).ends_with("flaw 200"), "{}", many(MOST + 1));
        let text = many(MOST + 4);
        assert!(text.ends_with("flaw 200\n\n3 more findings, which are not shown"), "{text}");
    }

    #[test]
    fn nearest_names_a_slip_and_keeps_silent_about_a_stranger() {
        let known = ["release", "profiles", "nodes"];
        assert_eq!(nearest("relese", known), Some("release"));
        assert_eq!(nearest("banana", known), None);
    }
}
