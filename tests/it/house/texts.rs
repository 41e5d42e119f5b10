//! Texts that people read, for the rules on them: comments of sources, and paragraphs of documents, with their lines.

use std::fs;
use std::path::{Path, PathBuf};

/// A paragraph, list item or table cell, without code.
pub(super) struct Paragraph {
    /// `src/serve/mod.rs`
    pub file: String,
    /// Its words, one space between lines.
    text: String,
    /// Where each line begins in `text`, and its number in the file.
    lines: Vec<(usize, usize)>,
    /// A doc comment of one line and nothing else.
    pub is_whole_doc: bool,
}

impl Paragraph {
    fn new(file: &str) -> Self {
        Paragraph { file: file.to_owned(), text: String::new(), lines: Vec::new(), is_whole_doc: false }
    }

    fn push(&mut self, line: &str, number: usize) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.lines.push((self.text.len(), number));
        self.text.push_str(line);
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The number of the line that a byte of the text is on, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        let before = self.lines.partition_point(|(start, _)| *start <= at);
        self.lines[before.saturating_sub(1)].1
    }
}

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below `folder` whose names end so, as paths below the repository, in order.
pub(super) fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The documents: README, CONTRIBUTING, everything below `docs`, and the pages of members in `src`.
pub(super) fn documents() -> Vec<String> {
    let mut found = [files("docs", "md"), files("src", "md")].concat();
    found.extend(["README.md", "CONTRIBUTING.md"].map(str::to_owned));
    found
}

pub(super) fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// The paragraphs of a source's comments, each on lines of its own.
pub(super) fn comments(file: &str, text: &str) -> Vec<Paragraph> {
    let mut found = Vec::new();
    let mut block: Vec<(usize, &str)> = Vec::new();
    let mut kind = "";
    for (index, line) in text.lines().chain([""]).enumerate() {
        let line = line.trim_start();
        let marker = ["///", "//!", "//"].into_iter().find(|marker| {
            let rest = line.strip_prefix(marker);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        });
        if marker != Some(kind) && !block.is_empty() {
            let mut paragraphs = paragraphs(file, &block);
            if let ([paragraph], [_], "///") = (&mut paragraphs[..], &block[..], kind) {
                paragraph.is_whole_doc = true;
            }
            found.append(&mut paragraphs);
            block.clear();
        }
        kind = marker.unwrap_or("");
        if let Some(marker) = marker {
            let rest = &line[marker.len()..];
            block.push((index + 1, rest.strip_prefix(' ').unwrap_or(rest)));
        }
    }
    found
}

/// The paragraphs of a document.
pub(super) fn document(file: &str, text: &str) -> Vec<Paragraph> {
    let lines: Vec<_> = text.lines().enumerate().map(|(index, line)| (index + 1, line)).collect();
    paragraphs(file, &lines)
}

/// Markdown, as far as it parts text: fences and indented code are left out, and headings, of tables too, which are no sentences.
fn paragraphs(file: &str, lines: &[(usize, &str)]) -> Vec<Paragraph> {
    let mut found = Vec::new();
    let mut open = Paragraph::new(file);
    let mut fenced = false;
    let mut in_list = false;
    for (index, (number, line)) in lines.iter().enumerate() {
        let words = line.trim();
        let close = |open: &mut Paragraph, found: &mut Vec<Paragraph>| {
            let done = std::mem::replace(open, Paragraph::new(file));
            if !done.text.is_empty() {
                found.push(done);
            }
        };
        if words.starts_with("```") {
            fenced = !fenced;
            close(&mut open, &mut found);
            continue;
        }
        let is_code = open.text.is_empty() && !in_list && line.starts_with("    ");
        if fenced || is_code || words.is_empty() || words.starts_with('#') || words.starts_with("<!--") {
            close(&mut open, &mut found);
            in_list = in_list && words.is_empty();
            continue;
        }
        if words.starts_with('|') {
            close(&mut open, &mut found);
            let is_head = lines.get(index + 1).is_some_and(|(_, next)| next.trim().starts_with("|--"));
            for cell in words.split('|').map(str::trim).filter(|cell| !cell.is_empty() && !is_head) {
                open.push(cell, *number);
                close(&mut open, &mut found);
            }
            continue;
        }
        let item = ["- ", "* ", "> "].into_iter().find_map(|marker| words.strip_prefix(marker));
        let item = item.or_else(|| {
            let (count, rest) = words.split_once(". ")?;
            (!count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit())).then_some(rest)
        });
        if item.is_some() {
            close(&mut open, &mut found);
            in_list = true;
        } else if !line.starts_with(' ') {
            in_list = in_list && !open.text.is_empty();
        }
        open.push(item.unwrap_or(words), *number);
    }
    if !open.text.is_empty() {
        found.push(open);
    }
    found
}
