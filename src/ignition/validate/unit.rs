//! systemd units: names, and contents as go-systemd reads them.

use prebake_text::finding::Finding;

use super::{Visit, field, item, rules};
use crate::tree::{Record, Step};

/// Longest line that systemd reads, in bytes.
const LINE_MAX: usize = 2048;

/// Buffer size of Go's `bufio.Reader`, in bytes.
const BUFFER: usize = 4096;

/// The sections of a unit that have at least one option.
type Sections = Vec<String>;

/// Parses a unit's text.
///
/// Text before the first `[` is skipped, comments start with `#` or `;`, and a line that ends in a backslash continues.
///
/// # Errors
/// go-systemd's message.
pub(crate) fn sections(text: &str) -> Result<Sections, String> {
    read(text).map_err(|(message, _)| message)
}

/// Like [`sections`], with the offset of the faulty piece in the error.
fn read(text: &str) -> Result<Sections, (String, usize)> {
    let mut lexer = Lexer { text: text.as_bytes(), at: 0, buffered: 0, line_end: 0, begin: 0 };
    lexer.run().map_err(|why| (format!("invalid unit content: {why}"), lexer.begin))
}

/// Ignition's verdict on long lines depends on the content of Go's buffered reader, so this simulates the buffer's
/// bounds.
struct Lexer<'t> {
    text: &'t [u8],
    at: usize,
    /// The end of the data in Go's buffer.
    buffered: usize,
    /// The next line end at or after `at`, once computed.
    line_end: usize,
    /// Start of the piece that is being parsed.
    begin: usize,
}

impl<'t> Lexer<'t> {
    fn run(&mut self) -> Result<Sections, String> {
        let mut sections = Sections::new();
        let mut section: Option<String> = None;
        loop {
            self.begin = self.at;
            self.check_line()?;
            let Some(c) = self.next_char() else { return Ok(sections) };
            match (c, &section) {
                ('[', _) => {
                    self.check_line()?;
                    section = Some(self.section_name()?);
                }
                ('#' | ';', _) => {
                    self.check_line()?;
                    self.comment();
                }
                (_, None) => {}
                (c, Some(_)) if c.is_whitespace() => {}
                (c, Some(name)) => {
                    self.at -= c.len_utf8();
                    self.check_line()?;
                    self.option_name()?;
                    self.option_value()?;
                    if sections.last() != Some(name) {
                        sections.push(name.clone());
                    }
                }
            }
        }
    }

    /// Before every step, go-systemd checks whether the next 2048 bytes contain a line end, if that many are buffered.
    fn check_line(&mut self) -> Result<(), String> {
        if self.line_end < self.at || self.line_end == 0 {
            let end = self.text[self.at..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            self.line_end = end.map_or(usize::MAX, |end| self.at + end);
        }
        match self.buffered.saturating_sub(self.at) >= LINE_MAX && self.line_end - self.at >= LINE_MAX {
            true => Err(format!("line too long (max {LINE_MAX} bytes)")),
            false => Ok(()),
        }
    }

    fn fill(&mut self) {
        self.buffered = self.text.len().min(self.at + BUFFER);
    }

    fn next_char(&mut self) -> Option<char> {
        let head = &self.text[self.at..self.text.len().min(self.at + 4)];
        let c = head.utf8_chunks().next()?.valid().chars().next()?;
        if self.at + c.len_utf8() > self.buffered {
            self.fill();
        }
        self.at += c.len_utf8();
        Some(c)
    }

    /// Takes the text before a delimiter and skips the delimiter. If there is none, takes the rest and returns false.
    fn take_until(&mut self, delimiter: u8) -> (&'t [u8], bool) {
        let start = self.at;
        let end = self.text[start..].iter().position(|byte| *byte == delimiter).map(|end| start + end);
        let stop = end.map_or(self.text.len(), |end| end + 1);
        while self.buffered < stop {
            match self.buffered - self.at < BUFFER {
                true => self.fill(),
                false => self.at = self.buffered,
            }
        }
        self.at = stop;
        (&self.text[start..end.unwrap_or(stop)], end.is_some())
    }

    fn section_name(&mut self) -> Result<String, String> {
        let (name, found) = self.take_until(b']');
        if !found {
            return Err("unable to find end of section".into());
        }
        self.check_line()?;
        let garbage = String::from_utf8_lossy(self.take_until(b'\n').0).trim().to_owned();
        match garbage.is_empty() {
            true => Ok(String::from_utf8_lossy(name).into_owned()),
            false => Err(format!("found garbage after section name : {garbage:?}")),
        }
    }

    fn comment(&mut self) {
        loop {
            let (line, _) = self.take_until(b'\n');
            if !line.strip_suffix(b" ").unwrap_or(line).ends_with(b"\\") {
                return;
            }
        }
    }

    fn option_name(&mut self) -> Result<(), String> {
        loop {
            match self.next_char() {
                Some('=') => return Ok(()),
                Some('\n' | '\r') => {
                    return Err("unexpected newline encountered while parsing option name".into());
                }
                Some(_) => {}
                None => return Err("EOF".into()),
            }
        }
    }

    fn option_value(&mut self) -> Result<(), String> {
        loop {
            self.check_line()?;
            if !self.take_until(b'\n').0.ends_with(b"\\") {
                return Ok(());
            }
        }
    }
}

/// The name and the contents of a unit.
pub(super) fn unit(visit: &mut Visit<'_>) {
    const EXTENSIONS: [&str; 12] = [
        ".service",
        ".socket",
        ".device",
        ".mount",
        ".automount",
        ".swap",
        ".target",
        ".path",
        ".timer",
        ".snapshot",
        ".slice",
        ".scope",
    ];
    let name = visit.record.text("name").unwrap_or_default();
    if !EXTENSIONS.contains(&extension(name)) {
        visit.error(&[field("name")], rules::UNIT_EXTENSION);
    }
    let Some(contents) = visit.record.text("contents") else { return };
    match read(contents) {
        Err((message, at)) => invalid(visit, contents, message, at),
        Ok(sections) => {
            let enabled = visit.record.is_true("enabled") && !contents.is_empty();
            if enabled && !sections.iter().any(|section| section == "Install") {
                let message =
                    format!("unit {name:?} is enabled, but has no install section so enable does nothing");
                visit.warning_text(
                    &[field("contents")],
                    message,
                    "add `[Install]` with `WantedBy=`, or drop `enabled`",
                );
            }
        }
    }
}

/// Reports contents that are not a unit: Ignition names only the unit, prebake the line too.
fn invalid(visit: &mut Visit<'_>, contents: &str, message: String, at: usize) {
    let finding = Finding::error(message);
    let line = contents[..at].matches('\n').count();
    let text = contents.lines().nth(line).unwrap_or_default();
    let before = line.checked_sub(1).and_then(|before| contents.lines().nth(before)).unwrap_or_default();
    // coreos/bugs#2011: to go-systemd, only a backslash as the last byte continues a line.
    let hint = match before.trim_end().ends_with('\\') && !before.ends_with('\\') {
        true => "a `\\` continues a line only as its last character: remove the blanks after it".to_owned(),
        false => String::new(),
    };
    match visit.inner_place("contents", at) {
        Some(place) => visit.push(finding.related(place, "this line"), &hint, &[field("contents")]),
        None => {
            let shown: String = text.trim_end().chars().take(80).collect();
            let hint = format!(
                "line {} of the unit reads `{shown}`{}{hint}",
                line + 1,
                if hint.is_empty() { "" } else { "; " }
            );
            visit.push(finding, &hint, &[field("contents")]);
        }
    }
}

/// The name and the contents of a drop-in.
pub(super) fn dropin(visit: &mut Visit<'_>) {
    if let Some(contents) = visit.record.text("contents")
        && let Err((message, at)) = read(contents)
    {
        invalid(visit, contents, message, at);
    }
    if extension(visit.record.text("name").unwrap_or_default()) != ".conf" {
        visit.error(&[field("name")], rules::DROPIN_EXTENSION);
    }
}

/// An enabled instance needs a template that can be enabled.
pub(super) fn systemd(visit: &mut Visit<'_>) {
    let units: Vec<&Record> = visit.record.records("units").collect();
    for (index, unit) in units.iter().enumerate() {
        let name = unit.text("name").unwrap_or_default();
        let Some(template) = template_of(name).filter(|_| unit.is_true("enabled")) else { continue };
        // The last unit of a name wins, as in Ignition's map.
        let found = units.iter().rev().find(|unit| unit.text("name") == Some(&template));
        let Some(contents) = found.and_then(|unit| unit.filled("contents")) else { continue };
        if sections(contents).is_ok_and(|sections| !sections.iter().any(|section| section == "Install")) {
            let message = format!("template unit {template:?} for {name:?} doesn't have Install section");
            let at = [field("units"), item(index), field("contents")];
            visit.warning_text(&at, message, "add `[Install]` to the template");
        }
    }
}

/// The template `a@.service` of `a@b.service`: both parts have at least one character, the first as few as possible.
fn template_of(name: &str) -> Option<String> {
    let stem = name.strip_suffix(".service")?;
    let first = stem.chars().next()?.len_utf8();
    let at = first + stem[first..].find('@')?;
    (!stem[at + 1..].is_empty() && !stem.contains('\n')).then(|| format!("{}@.service", &stem[..at]))
}

/// Go's `path.Ext`: the suffix from the last dot of the last part.
fn extension(name: &str) -> &str {
    let base = name.rfind('/').map_or(name, |slash| &name[slash + 1..]);
    base.rfind('.').map_or("", |dot| &base[dot..])
}

/// Checks the paths `/etc/systemd/system/UNIT` and `…/UNIT.d/DROPIN` of all units and drop-ins with contents.
pub(super) fn config(visit: &mut Visit<'_>) {
    let Some(systemd) = visit.record.record("systemd") else { return };
    let mut paths = std::collections::HashSet::new();
    for unit in systemd.records("units") {
        let path = format!("/etc/systemd/system/{}", unit.text("name").unwrap_or_default());
        for dropin in unit.records("dropins").filter(|dropin| dropin.filled("contents").is_some()) {
            paths.insert(format!("{path}.d/{}", dropin.text("name").unwrap_or_default()));
        }
        if unit.filled("contents").is_some() {
            paths.insert(path);
        }
    }
    let Some(storage) = visit.record.record("storage").filter(|_| !paths.is_empty()) else { return };
    for kind in ["files", "directories", "links"] {
        for (index, node) in storage.records(kind).enumerate() {
            if node.text("path").is_some_and(|path| paths.contains(path)) {
                let at: [Step; 4] = [field("storage"), field(kind), item(index), field("path")];
                visit.error(&at, rules::UNIT_CONFLICT);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_as_go_systemd_reads_them() {
        let read = |text: &str| sections(text).map_err(|why| why.replace("invalid unit content: ", ""));
        assert_eq!(read("# [no]\nloose text [Unit]\nA=b\n[Install]\n"), Ok(vec!["Unit".into()]));
        assert_eq!(read("[Unit]\nA=b \\\n c\n[Install]\nB=c"), Ok(vec!["Unit".into(), "Install".into()]));
        assert_eq!(read("[Unit"), Err("unable to find end of section".into()));
        assert_eq!(read("[Unit] x\n"), Err("found garbage after section name : \"x\"".into()));
        assert_eq!(
            read("[Unit]\nnope\n"),
            Err("unexpected newline encountered while parsing option name".into())
        );
        assert_eq!(read("[Unit]\nnope"), Err("EOF".into()));
        assert_eq!(read("no section at all"), Ok(vec![]));
    }

    #[test]
    fn a_line_of_2048_bytes_is_too_long() {
        let unit = |length: usize| format!("[Unit]\nA={}\n", "x".repeat(length));
        assert!(sections(&unit(2045)).is_ok());
        assert!(sections(&unit(2048)).unwrap_err().contains("line too long"));
    }

    #[test]
    fn templates_are_found_by_the_first_at_sign() {
        assert_eq!(template_of("a@b.service").as_deref(), Some("a@.service"));
        assert_eq!(template_of("a@b@c.service").as_deref(), Some("a@.service"));
        assert_eq!(template_of("a@.service"), None);
        assert_eq!(template_of("@b.service"), None);
    }
}
