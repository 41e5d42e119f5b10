//! Manual pages of files and variables, in man(7).

use std::fmt::Write;

use super::{Format, demands, kind, meanings, sections, without_links};
use crate::base::yaml::keys::{Absent, Key};

/// A page in the making.
pub(in crate::cli) struct Page(String);

impl Page {
    /// Begins a page: its name, its section of the manual, and its line for apropos(1).
    pub fn new(name: &str, section: u8, summary: &str) -> Page {
        let manual = if section == 5 { "File Formats" } else { "Miscellaneous" };
        let version = env!("CARGO_PKG_VERSION");
        let mut page =
            Page(format!(".TH {name} {section} \"\" \"prebake {version}\" \"{manual}\"\n.SH NAME\n"));
        page.line(&format!("{} - {summary}", name.replace('-', "\\-")));
        page
    }

    /// Begins a section.
    pub fn section(&mut self, title: &str) {
        let _ = writeln!(self.0, ".SH \"{}\"", escape(title));
    }

    /// Begins a section inside another.
    pub fn subsection(&mut self, title: &str) {
        let _ = writeln!(self.0, ".SS \"{}\"", escape(title));
    }

    /// A paragraph of Markdown without links.
    pub fn paragraph(&mut self, text: &str) {
        self.0 += ".PP\n";
        self.line(&marked(text));
    }

    /// A term and its paragraphs.
    pub fn term(&mut self, term: &str, paragraphs: &[String]) {
        self.0 += ".TP\n";
        self.line(&format!("\\fB{}\\fR", escape(term)));
        for (number, text) in paragraphs.iter().enumerate() {
            if number > 0 {
                self.0 += ".sp\n";
            }
            self.line(&marked(text));
        }
    }

    /// Text as it stands.
    pub fn block(&mut self, text: &str) {
        self.0 += ".PP\n.nf\n";
        text.lines().for_each(|line| self.line(&escape(line)));
        self.0 += ".fi\n";
    }

    /// The whole page.
    pub fn finish(self) -> String {
        self.0
    }

    /// A line that is already in roff; one that would begin with a control character is kept from being a request.
    fn line(&mut self, line: &str) {
        if line.starts_with(['.', '\'']) {
            self.0 += "\\&";
        }
        self.0 += line;
        self.0.push('\n');
    }
}

/// Text in which roff finds nothing of its own.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq").replace('\'', "\\(aq")
}

/// Markdown with code in bold.
fn marked(text: &str) -> String {
    let text = without_links(text);
    let parts = text.split('`').enumerate();
    parts
        .map(|(number, part)| match number % 2 {
            0 => escape(part),
            _ => format!("\\fB{}\\fR", escape(part)),
        })
        .collect()
}

/// The page of a file: an example, then every key.
pub(in crate::cli) fn format_page(format: &Format, file: &str, also: &[&str]) -> String {
    let mut page =
        Page::new(&format!("prebake-{}", format.name), 5, &format.title.replace("A recipe", "recipe"));
    page.section("DESCRIPTION");
    page.paragraph(file);
    page.section("EXAMPLE");
    page.block(format.example());
    page.section("KEYS");
    for section in sections(format.mapping) {
        if !section.path.is_empty() {
            page.subsection(&section.path);
        }
        for key in section.mapping.keys {
            page.term(key.name, &paragraphs(key));
        }
        demands(section.mapping).iter().for_each(|demand| page.paragraph(demand));
    }
    page.section("SEE ALSO");
    page.paragraph(&also.join(", "));
    page.finish()
}

fn paragraphs(key: &Key) -> Vec<String> {
    let mut paragraphs = vec![format!("{} ({})", key.words, kind(&key.value))];
    let meanings = meanings(&key.value);
    paragraphs.extend(meanings.into_iter().map(|(word, meaning)| format!("`{word}`: {meaning}")));
    paragraphs.push(match key.absent {
        Absent::Fault => "Required.".into(),
        Absent::Same(default) => format!("Default: `{default}`"),
        Absent::Words(words) => format!("Without it: {words}."),
    });
    paragraphs.push(format!("Example: `{}: {}`", key.name, key.example));
    paragraphs
}
