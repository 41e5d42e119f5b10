//! Finds secrets in a streamed text: line by line, regardless of the pieces it arrives in.
//!
//! Binary files are skipped, except for private keys and key stores in their own forms. Encodings and compressed
//! streams are decoded, a few levels deep and within a budget.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use super::assign::{self, Class, Context, Pair};
use super::document::Documents;
use super::effort::Effort;
use super::encoded::{self, Forgiving, Inside, LEAST, MAX_UNFOLDED};
use super::kind::{
    AUTHS, CONTAINERD_LOGIN, KEYED, Kind, WEB_KEY, all, base64, base64_url, is_bootstrap_token, is_web_token,
};
use super::lines::{self, Name, Reader};
use super::triggers::{Look, Seen};
use super::{token, value};
use crate::base::finding::{Severity, floor};

/// Number of first bytes that decide: a file with a zero among them is not a text (git's own rule).
const PROBE: usize = 8000;
/// Upper limit for a line that is scanned as a whole, in bytes; a longer one is scanned in pieces.
const MAX_LINE: usize = 1 << 20;
/// Part of a piece that is scanned again with the next one, in bytes: longer than the line of any secret.
const OVERLAP: usize = 8 << 10;
/// Upper limit for the scanned part of a file, unpacked, in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// Upper limit for nested encodings.
const MAX_DEPTH: usize = 6;
/// Upper limit for an unpacked compressed file, in bytes.
const MAX_UNPACKED: u64 = 64 << 20;
/// Upper limit for digits that are joined over several lines, in bytes.
const MAX_BLOCK: usize = 1 << 20;
/// Upper limit for lines between the head of a private key and its first digits: `Proc-Type`, `DEK-Info`, and an empty
/// one.
const MAX_HEADERS: usize = 8;
/// Upper limit for the findings of one text.
const MAX_HITS: usize = 50;
/// Beginning of a key file of PuTTY, which always contains both keys.
const PUTTY: &str = "PuTTY-User-Key-File-";
/// Bytes that end a word; a secret is at the beginning of a word.
const BETWEEN: &[u8] = b" \t\r\"'`=,;:(){}[]<>|&";
/// The same bytes as a lookup table.
const ENDS_WORD: [bool; 256] = {
    let (mut table, mut index) = ([false; 256], 0);
    while index < BETWEEN.len() {
        table[BETWEEN[index] as usize] = true;
        index += 1;
    }
    table
};
/// A secret in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hit {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1: the beginning of the secret, or of the encoding that contains it.
    pub column: usize,
    /// Kind of the secret.
    pub kind: Kind,
}

/// Every secret in a text, in order. `path` is the name of the text: a file named after a token may contain a bare one.
///
/// # Errors
/// A failed read.
pub fn scan(path: &str, mut reader: impl Read) -> io::Result<Vec<Hit>> {
    with_effort(path, &mut reader, &Effort::new())
}

fn with_effort(path: &str, reader: &mut dyn Read, effort: &Effort) -> io::Result<Vec<Hit>> {
    let mut hits = at_depth(path, reader, 0, effort)?;
    if effort.ran_out() && !hits.iter().any(|hit| hit.kind == Kind::Unread) {
        hits.push(Hit { line: 1, column: 1, kind: Kind::Unread });
        hits.sort_unstable();
    }
    Ok(hits)
}

/// The work of scanning a text, in steps that do not depend on the machine.
#[cfg(test)]
pub(super) fn work(path: &str, mut reader: impl Read) -> io::Result<u64> {
    let effort = Effort::new();
    with_effort(path, &mut reader, &effort)?;
    Ok(effort.spent())
}

/// Whether a file that begins like this is scanned: a text, or a binary form of private keys.
pub(crate) fn is_looked_into(probe: &[u8]) -> bool {
    !probe.contains(&0) || encoded::may_be_binary(probe)
}

fn at_depth(path: &str, reader: &mut dyn Read, depth: usize, effort: &Effort) -> io::Result<Vec<Hit>> {
    let mut reader = BufReader::with_capacity(64 << 10, reader.take(MAX_BYTES));
    let mut probe = Vec::with_capacity(PROBE);
    (&mut reader).take(PROBE as u64).read_to_end(&mut probe)?;
    // systemd opens volumes with any file here, whatever its content (crypttab(5)).
    if path.contains("cryptsetup-keys.d/") && !probe.is_empty() {
        return Ok(vec![Hit { line: 1, column: 1, kind: Kind::VolumeKey }]);
    }
    let whole = io::Cursor::new(&probe).chain(reader);
    if probe.starts_with(&[0x1f, 0x8b]) && depth < MAX_DEPTH {
        let mut unpacked = Forgiving(MultiGzDecoder::new(whole)).take(MAX_UNPACKED);
        let hits = at_depth(path, &mut unpacked, depth + 1, effort)?;
        if unpacked.limit() == 0 {
            effort.run_out();
        }
        return Ok(hits);
    }
    if encoded::may_be_binary(&probe) && depth < MAX_DEPTH {
        let mut bytes = Vec::new();
        whole.take(MAX_UNFOLDED).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == MAX_UNFOLDED {
            effort.run_out();
        }
        return match encoded::inside(&bytes, effort) {
            Some(Inside::Key(kind)) => Ok(vec![Hit { line: 1, column: 1, kind }]),
            Some(Inside::Bytes(bytes)) => at_depth(path, &mut bytes.as_slice(), depth + 1, effort),
            None if probe.contains(&0) => Ok(Vec::new()),
            None => of_text(path, bytes.as_slice(), depth, effort),
        };
    }
    // Data that is packed this deep is not unpacked.
    if depth == MAX_DEPTH && (probe.starts_with(&[0x1f, 0x8b]) || encoded::is_stream(&probe)) {
        effort.run_out();
        return Ok(Vec::new());
    }
    if probe.contains(&0) {
        return Ok(Vec::new());
    }
    of_text(path, whole, depth, effort)
}

fn of_text(path: &str, reader: impl BufRead, depth: usize, effort: &Effort) -> io::Result<Vec<Hit>> {
    let mut scanner = Scanner::new(path, depth, effort);
    scanner.text(reader)?;
    Ok(scanner.finish())
}

/// A line, or a piece of a long one, and the columns of its bytes.
struct Line<'l> {
    text: &'l str,
    number: usize,
    /// Number of characters of the line before this piece.
    before: usize,
    /// Number of characters before each [`Line::MARK`]th byte, if that differs from the number of bytes.
    marks: OnceCell<Vec<usize>>,
}

impl<'l> Line<'l> {
    const MARK: usize = 64;

    fn new(text: &'l str, number: usize, before: usize) -> Self {
        Line { text, number, before, marks: OnceCell::new() }
    }

    /// A hit at this byte.
    fn at(&self, byte: usize, kind: Kind) -> Hit {
        let begins = |bytes: &[u8]| bytes.iter().filter(|byte| **byte as i8 >= -0x40).count();
        let marks = self.marks.get_or_init(|| {
            if self.text.is_ascii() {
                return Vec::new();
            }
            let mut sum = 0;
            let mut marks = Vec::with_capacity(self.text.len() / Self::MARK + 1);
            for chunk in self.text.as_bytes().chunks(Self::MARK) {
                marks.push(sum);
                sum += begins(chunk);
            }
            marks
        });
        let characters = match marks.get(byte / Self::MARK) {
            Some(mark) => mark + begins(&self.text.as_bytes()[byte / Self::MARK * Self::MARK..byte]),
            None if marks.is_empty() => byte,
            None => self.text.chars().count(),
        };
        Hit { line: self.number, column: self.before + characters + 1, kind }
    }
}

/// A row of digits that continues over several lines.
#[derive(Debug, Default)]
struct Block {
    digits: String,
    lines: usize,
    /// Line and column of its beginning.
    line: usize,
    column: usize,
}

/// The last word, as a key.
#[derive(Clone, Copy, Debug, Default)]
struct Key {
    /// The matching rows of [`KEYED`], one bit each.
    rows: u32,
    /// Whether it is `kind`.
    kind: bool,
}

struct Scanner<'s> {
    path: &'s str,
    name: Name,
    /// Whether the name of the file announces a token, so that a bare word may be one.
    names_token: bool,
    depth: usize,
    effort: &'s Effort,
    seen: Seen,
    line: usize,
    hits: Vec<Hit>,
    key: Key,
    /// The head of a private key, and how many more lines may come before its first digits.
    head: Option<(Hit, usize)>,
    /// Inside a private key that was found: its digits are not another secret.
    in_key: bool,
    /// The `kind`s and tables of this document.
    documents: BTreeSet<&'static str>,
    /// Findings that count only in a document of that kind.
    tentative: Vec<(Hit, &'static str)>,
    /// Secrets that are recognised by their position in YAML and JSON.
    places: Documents,
    /// The class of the last name without a value, and the indent of its line: its value may be in the next lines, if
    /// they are indented further or are list items.
    open: Option<(Class, usize)>,
    /// The class that `name:` announced for the following `value:`.
    named: Option<Class>,
    block: Block,
    /// Whether a line of .netrc named a machine.
    netrc: bool,
    /// The here-document in which a script passes logins or a password to a command, such as chpasswd(8), and the word
    /// that ends it.
    logins_until: Option<(Reader, String)>,
    /// The first line that is not empty, if it is one word: its number, its column and the word.
    only: Option<(usize, usize, String)>,
    /// Whether there is more text than that line.
    others: bool,
}

impl<'s> Scanner<'s> {
    fn new(path: &'s str, depth: usize, effort: &'s Effort) -> Self {
        let name = Name::of(path);
        Scanner {
            path,
            names_token: name.file.contains("token"),
            name,
            depth,
            effort,
            seen: Seen::default(),
            line: 0,
            hits: Vec::new(),
            key: Key::default(),
            head: None,
            in_key: false,
            documents: BTreeSet::new(),
            tentative: Vec::new(),
            places: Documents::default(),
            open: None,
            named: None,
            block: Block::default(),
            netrc: false,
            logins_until: None,
            only: None,
            others: false,
        }
    }

    fn text(&mut self, mut reader: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        let mut read_bytes = 0;
        loop {
            if read_bytes >= MAX_BYTES {
                self.effort.run_out();
            }
            self.line += 1;
            // Number of characters of this line before the piece, and number of bytes in `line` that were already
            // scanned.
            let (mut before, mut again) = (0, 0);
            line.clear();
            loop {
                let room = (MAX_LINE - line.len()) as u64;
                let read = (&mut reader).take(room).read_until(b'\n', &mut line)?;
                if read == 0 && line.len() == again {
                    if again == 0 {
                        return Ok(());
                    }
                    break;
                }
                let ended = line.last() == Some(&b'\n') || read == 0;
                read_bytes += read as u64;
                self.effort.earn(read);
                let had = self.effort.ran_out();
                self.piece(&line, before, again > 0);
                if self.depth == 0 && !had && self.effort.ran_out() {
                    self.hits.push(Hit { line: self.line, column: before + 1, kind: Kind::Unread });
                }
                if ended || self.hits.len() > 1 << 14 {
                    break;
                }
                let cut = line.len() - OVERLAP.min(line.len());
                before += String::from_utf8_lossy(&line[..cut]).chars().count();
                line.drain(..cut);
                again = line.len();
            }
            // Warnings must not hide errors.
            if self.hits.len() >= MAX_HITS && self.hits.iter().filter(|hit| is_error(hit)).count() >= MAX_HITS
            {
                return Ok(());
            }
            if self.hits.len() > 4 * MAX_HITS {
                let mut warnings = 0;
                self.hits.retain(|hit| {
                    warnings += usize::from(!is_error(hit));
                    is_error(hit) || warnings <= MAX_HITS
                });
            }
        }
    }

    fn finish(mut self) -> Vec<Hit> {
        self.end_block();
        self.end_document();
        self.bare();
        self.hits.sort_unstable();
        self.hits.dedup_by_key(|hit| (hit.line, hit.column));
        // A secret that is recognised by its own shape is not reported again because of the name before it.
        let known: BTreeSet<_> =
            self.hits.iter().filter(|hit| !is_general(hit.kind)).map(|hit| (hit.line, hit.column)).collect();
        self.hits.retain(|hit| {
            let near = (hit.line, hit.column)..(hit.line, hit.column + 32);
            !(is_general(hit.kind) && known.range(near).next().is_some())
        });
        if self.hits.len() > MAX_HITS {
            self.hits.sort_by_key(|hit| !is_error(hit));
            self.hits.truncate(MAX_HITS);
            self.hits.sort_unstable();
        }
        self.hits
    }

    /// Reports a file that contains only a secret, according to its name.
    fn bare(&mut self) {
        let only = self.only.take().filter(|_| !self.others);
        let Some((line, column, word)) = only else { return };
        let file = self.path.rsplit('/').next().unwrap_or(self.path);
        let ends = [".txt", ".key", ".token", ".secret", ".pass", ".pw"];
        let stem = ends.iter().find_map(|end| file.strip_suffix(end));
        let is_key = file.ends_with(".key") || file.ends_with("keyfile") || file.contains("private");
        let class = assign::class(stem.unwrap_or(file));
        let class = class.or_else(|| file.rsplit('.').next().and_then(assign::class));
        let kind = match class {
            _ if is_bootstrap_token(&word) => Kind::BootstrapToken,
            _ if self.depth > 0 => return,
            Some(Class::Password) if value::is_given(&word) => Kind::Password,
            Some(Class::Secret)
                if value::is_given(&word) && word.len() >= 8 && !self.name.is_document()
                    || file.ends_with("token") && value::is_given(&word) && self.name.is_rancher() =>
            {
                Kind::Secret
            }
            _ if is_key && value::is_opaque(&word) => Kind::Secret,
            _ => return,
        };
        self.hits.push(Hit { line, column, kind });
    }

    fn end_document(&mut self) {
        let documents = std::mem::take(&mut self.documents);
        let sure = self.tentative.drain(..).filter(|(_, document)| documents.contains(document));
        self.hits.extend(sure.map(|(hit, _)| hit));
        self.hits.extend(self.places.end());
    }

    /// Scans a line, or a piece of a long one after `before` characters.
    fn piece(&mut self, bytes: &[u8], before: usize, continued: bool) {
        let line = String::from_utf8_lossy(bytes);
        let line = line.trim_end_matches(['\n', '\r']);
        let text = line.trim();
        self.body(line);
        if text.is_empty() {
            self.end_block();
            return;
        }
        if !self.effort.spend(line.len()) {
            return;
        }
        if text == "---" && line.starts_with('-') {
            self.end_document();
        }
        if text.starts_with('[') {
            // The header of a TOML table ends the table before it.
            self.end_document();
            if text.ends_with(CONTAINERD_LOGIN) {
                self.documents.insert(CONTAINERD_LOGIN);
            }
        }
        let here = Line::new(line, self.line, before);
        if !self.others {
            let word = text.len() <= value::MAX_VALUE && !text.contains(char::is_whitespace);
            self.others |= self.only.is_some() || continued || !word;
            self.only.get_or_insert_with(|| (here.number, line.find(text).unwrap_or(0) + 1, text.to_owned()));
        }
        let mut seen = std::mem::take(&mut self.seen);
        seen.line(line);
        let found = self.hits.len();
        if seen.any(&[Look::Head]) {
            for (byte, rest) in heads(line) {
                let hit = here.at(byte, Kind::PrivateKey);
                match first_digits(rest) {
                    Some(true) => {
                        self.hits.push(hit);
                        self.in_key = true;
                    }
                    Some(false) => {}
                    None => self.head = Some((hit, MAX_HEADERS)),
                }
            }
        }
        self.in_key = self.in_key && !(line.contains("-END ") || line.contains("- END "));
        let indent = line.len() - line.trim_start().len();
        if text.starts_with(PUTTY) {
            self.hits.push(here.at(indent, Kind::PuttyKey));
        }
        if seen.any(&[Look::Url]) {
            self.hits.extend(url_passwords(line).into_iter().map(|byte| here.at(byte, Kind::UrlPassword)));
        }
        let places = lines::secrets(&self.name, line, &seen, self.effort);
        self.hits.extend(places.into_iter().map(|(byte, kind)| here.at(byte, kind)));
        if let Some((names, secret)) = lines::netrc(line) {
            self.netrc |= names;
            self.hits.extend(secret.filter(|_| self.netrc).map(|byte| here.at(byte, Kind::Password)));
        }
        self.logins(text, indent, &here, &seen);
        self.pairs(&here, &seen);
        if !continued && self.places.is_about(line, &seen) {
            let placed = self.places.line(line, &|byte, kind| here.at(byte, kind));
            self.hits.extend(placed);
        }
        let is_row = self.block.lines > 0;
        for (byte, shape) in &seen.shapes {
            self.hits.extend(token::shaped(line, *byte, *shape, is_row).map(|kind| here.at(*byte, kind)));
        }
        self.words(&here, &seen, continued);
        self.block(&here);
        if seen.any(&[Look::Escape]) || memchr::memchr(b'%', line.as_bytes()).is_some() {
            self.views(&here, found);
        }
        self.seen = seen;
    }

    /// Scans a here-document that a script passes to a command: `chpasswd <<EOF`.
    fn logins(&mut self, text: &str, indent: usize, here: &Line<'_>, seen: &Seen) {
        if let Some((reader, end)) = self.logins_until.take() {
            if *text == end {
                return;
            }
            match reader {
                Reader::Logins => {
                    let login = lines::login(text);
                    self.hits.extend(login.map(|behind| here.at(indent + behind, Kind::Password)));
                    self.logins_until = Some((reader, end));
                }
                // Only the first line is read.
                Reader::Password => {
                    self.hits.extend(value::is_given(text).then(|| here.at(indent, Kind::Password)));
                }
            }
        } else if seen.any(&[Look::Command])
            && let Some((reader, end)) = lines::here_document(text)
        {
            self.logins_until = Some((reader, end.to_owned()));
        }
    }

    /// Checks the words of a line by their own shape, and by the word before them.
    fn words(&mut self, here: &Line<'_>, seen: &Seen, continued: bool) {
        let line = here.text;
        let keys = seen.any(&[Look::Name, Look::Document])
            || self.documents.contains(WEB_KEY)
            || self.key.rows != 0
            || self.key.kind;
        let alone = seen.any(&[Look::WebToken]) || self.names_token || line.len() >= LEAST;
        if !keys && !alone {
            return;
        }
        let names = self.documents.contains(WEB_KEY) || seen.any(&[Look::Name, Look::Document]);
        for (byte, word) in words(line) {
            if alone && let Some(kind) = self.word(word, continued && byte == 0) {
                self.hits.push(here.at(byte, kind));
            }
            if self.key.rows != 0 {
                for keyed in
                    (0..KEYED.len()).filter(|row| self.key.rows & 1 << row != 0).map(|row| &KEYED[row])
                {
                    let example = self.name.is_example(word);
                    if !(keyed.value)(word) || example {
                        continue;
                    }
                    let hit = here.at(byte, keyed.kind);
                    match keyed.document {
                        Some(document) => self.tentative.push((hit, document)),
                        None => self.hits.push(hit),
                    }
                }
            }
            if self.key.kind {
                let document = KEYED.iter().filter_map(|keyed| keyed.document).find(|kind| *kind == word);
                self.documents.extend(document);
            }
            if word.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
                self.key = if names { self.key(word) } else { Key::default() };
            }
        }
    }

    /// The rows of [`KEYED`] that a word matches as a key: in lower case, without `-` and `_`.
    fn key(&mut self, word: &str) -> Key {
        /// Longer than any key, in bytes; of a longer word the end is compared.
        const MAX_KEY: usize = 48;
        // Last letters of all keys.
        if !word.bytes().next_back().is_some_and(|byte| b"nNsStTyYaAhHdDpPkKeE".contains(&byte)) {
            return Key::default();
        }
        let mut room = [0; MAX_KEY];
        let mut length = 0;
        let skip = word.len().saturating_sub(MAX_KEY);
        for byte in word.bytes().skip(skip).filter(|byte| !b"-_".contains(byte)) {
            room[length] = byte.to_ascii_lowercase();
            length += 1;
        }
        let Ok(key) = std::str::from_utf8(&room[..length]) else { return Key::default() };
        self.documents.extend([AUTHS, WEB_KEY].into_iter().find(|document| *document == key));
        let rows = KEYED.iter().enumerate().filter(|(_, keyed)| (keyed.key)(key));
        Key { rows: rows.fold(0, |rows, (row, _)| rows | 1 << row), kind: key == "kind" }
    }

    /// Checks the values of the names in a line.
    fn pairs(&mut self, here: &Line<'_>, seen: &Seen) {
        let line = here.text;
        if seen.names.is_empty() && self.open.is_none() {
            return;
        }
        let text = line.trim();
        let context = match () {
            _ if self.name.is_rancher() => Context::Rancher,
            _ if self.name.is_interface() => Context::Interface,
            _ => Context::Plain,
        };
        let indent = line.len() - line.trim_start().len();
        let open = self.open.take();
        let mut any = false;
        assign::pairs(line, &seen.names, self.effort, |pair| {
            any = true;
            let kind = pair.secret(self.named, context).filter(|_| !self.name.is_example(pair.value));
            self.hits.extend(kind.map(|kind| here.at(pair.at, kind)));
            match pair.class {
                Class::Name => self.named = assign::class(pair.value),
                Class::Value => self.named = None,
                class => self.open = pair.is_open().then_some((class, indent)),
            }
        });
        // A line with a name of its own begins a table; it is not a value.
        let below = !any && !text.ends_with(':') && !text.contains(": ");
        let inside = |outer: usize| indent > outer || text.starts_with("- ");
        if let Some((class, _)) = open.filter(|(_, outer)| below && inside(*outer)) {
            let value = text.trim_start_matches("- ").trim_matches(['"', '\'', ',']);
            let byte = value.as_ptr() as usize - line.as_ptr() as usize;
            let kind = Pair::below(class, byte, value).secret(None, context);
            self.hits.extend(kind.map(|kind| here.at(byte, kind)));
        }
    }

    /// Scans a line without its escapes.
    fn views(&mut self, here: &Line<'_>, found: usize) {
        let line = here.text;
        if self.depth == MAX_DEPTH {
            return;
        }
        for view in encoded::plain(line) {
            let Some(kind) = self.inner(view.as_bytes()) else { continue };
            let told = self.hits[found..].iter().any(|hit| hit.kind == kind)
                || self.head.is_some_and(|(hit, _)| hit.kind == kind)
                || self.in_key;
            if !told {
                let byte = line.find("BEGIN%20").or_else(|| line.find(['%', '\\'])).unwrap_or(0);
                self.hits.push(here.at(byte, kind));
            }
        }
    }

    /// Joins rows of digits that continue over several lines.
    fn block(&mut self, here: &Line<'_>) {
        let line = here.text;
        let clutter = |c: char| c.is_whitespace() || "\\\"'`#,;".contains(c);
        let text = line.trim_matches(clutter);
        let digit = |byte: u8| base64(byte) || base64_url(byte) || byte == b'=';
        if self.in_key || text.is_empty() {
            self.end_block();
        } else if all(text, digit) && self.block.lines > 0 && self.block.digits.len() < MAX_BLOCK {
            self.block.digits.push_str(text);
            self.block.lines += 1;
        } else {
            self.end_block();
            let last = text.rsplit([' ', '\t', '"', '\'', ':', ',', '(']).next().unwrap_or(text);
            if last.len() >= LEAST && last.len() < MAX_BLOCK && all(last, digit) {
                let Hit { line, column, .. } =
                    here.at(last.as_ptr() as usize - line.as_ptr() as usize, Kind::Secret);
                self.block = Block { digits: last.to_owned(), lines: 1, line, column };
            }
        }
    }

    fn end_block(&mut self) {
        let Block { digits, lines, line, column } = std::mem::take(&mut self.block);
        let known = |hit: &Hit| (line..line + lines).contains(&hit.line);
        if lines > 1 && self.depth < MAX_DEPTH && !self.hits.iter().any(known) {
            let kind = encoded::readings(&digits, self.effort).iter().find_map(|bytes| self.inner(bytes));
            self.hits.extend(kind.map(|kind| Hit { line, column, kind }));
        }
    }

    /// Checks the line after the head of a private key.
    fn body(&mut self, line: &str) {
        let Some((hit, left)) = self.head.take() else { return };
        match first_digits(line) {
            Some(true) => {
                self.hits.push(hit);
                self.in_key = true;
            }
            Some(false) => {}
            None => self.head = (left > 1).then(|| (hit, left - 1)),
        }
    }

    /// Kind of the secret that a word is by its own shape, or that it encodes.
    fn word(&self, word: &str, continued: bool) -> Option<Kind> {
        if self.names_token && is_bootstrap_token(word) {
            return Some(Kind::BootstrapToken);
        }
        if word.len() < LEAST {
            return None;
        }
        if is_web_token(word) {
            return Some(Kind::WebToken);
        }
        if self.in_key {
            return None;
        }
        // The next piece of a long line may begin anywhere in a group of digits.
        let starts = if continued { 0..8 } else { 0..1 };
        let words = starts.filter_map(|start| word.get(start..));
        let readings = words.flat_map(|word| encoded::readings(word, self.effort));
        readings.into_iter().find_map(|bytes| self.inner(&bytes))
    }

    /// The first secret in decoded bytes, if they are a text, a stream or a key.
    fn inner(&self, bytes: &[u8]) -> Option<Kind> {
        if !self.effort.spend(bytes.len()) {
            return None;
        }
        let unfolded = match encoded::inside(bytes, self.effort) {
            Some(Inside::Key(kind)) => return Some(kind),
            Some(Inside::Bytes(bytes)) => Some(bytes),
            None => None,
        };
        let text = |bytes: &[u8]| {
            let cut = |error: std::str::Utf8Error| error.error_len().is_none();
            std::str::from_utf8(bytes).map_or_else(cut, |_| true)
        };
        if unfolded.is_none() && !text(bytes) {
            return None;
        }
        if self.depth == MAX_DEPTH {
            self.effort.run_out();
            return None;
        }
        let mut bytes = unfolded.as_deref().unwrap_or(bytes);
        let hits = at_depth("", &mut bytes, self.depth + 1, self.effort).ok()?;
        hits.iter().find(|hit| is_error(hit)).or(hits.first()).map(|hit| hit.kind)
    }
}

fn is_error(hit: &Hit) -> bool {
    hit.kind.severity() == Severity::Error
}

/// Whether only the name before a secret determines this kind.
fn is_general(kind: Kind) -> bool {
    matches!(kind, Kind::LoginHeader | Kind::KubernetesSecret | Kind::Password | Kind::Secret)
}

/// The words of a line, each with its offset.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = line.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        at += bytes[at..].iter().position(|byte| !ENDS_WORD[usize::from(*byte)])?;
        let start = at;
        let length = bytes[at..].iter().position(|byte| ENDS_WORD[usize::from(*byte)]);
        at += length.unwrap_or(bytes.len() - at);
        // All bytes that end words are ASCII, so no character is cut.
        Some((start, &line[start..at]))
    })
}

/// Every head of a private key, `-----BEGIN … PRIVATE KEY…-----`: its offset, and the rest of the line. Editors replace
/// `-` by other dashes, and people write it in lower case.
fn heads(line: &str) -> Vec<(usize, &str)> {
    const DASHES: &[char] =
        &['-', '\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', '\u{2014}', '\u{2015}', '\u{2212}'];
    // One of OpenVPN's labels has a dash itself.
    const LABELS: [&str; 3] = ["PRIVATE KEY", "OPENVPN STATIC KEY", "OPENVPN TLS"];
    /// Upper limits for a label and for the rest that is read, in bytes.
    const MAX_LABEL: usize = 64;
    const MAX_REST: usize = 2048;
    let mut heads = Vec::new();
    for (at, begin) in line.match_indices("BEGIN ").chain(line.match_indices("begin ")) {
        let from = floor(line, at.saturating_sub(MAX_LABEL));
        let before = line[from..at].trim_end_matches(' ');
        let outside = before.trim_end_matches(DASHES);
        let rest = &line[at + begin.len()..];
        let rest = &rest[..floor(rest, MAX_REST)];
        let Some(end) = rest[..floor(rest, MAX_LABEL + 1)].find(DASHES) else { continue };
        let label = rest[..end].to_ascii_uppercase();
        let rest = rest[end..].trim_start_matches("-crypt-v2 client key");
        let rest = rest.trim_start_matches(DASHES).trim_start_matches(' ');
        if outside.len() < before.len() && end < MAX_LABEL && LABELS.iter().any(|known| label.contains(known))
        {
            heads.push((from + outside.len(), rest));
        }
    }
    heads
}

/// Whether a text continues with the digits of a key; `None` if it has only headers.
fn first_digits(text: &str) -> Option<bool> {
    // Line ends that JSON escapes, and characters that programs and comments put before a line.
    let text = &text[..floor(text, 2048)];
    let text: Cow<'_, str> = match text.contains('\\') {
        true => text.replace("\\n", "\n").replace("\\r", "").into(),
        false => text.into(),
    };
    let clutter = |c: char| c.is_whitespace() || "\\\"'`#+/*>,;".contains(c);
    let lines = text.lines().map(|line| line.trim_matches(clutter)).filter(|line| !line.is_empty());
    for line in lines {
        let digits = line.bytes().take_while(|byte| base64(*byte)).count();
        let header = line
            .split_once(": ")
            .is_some_and(|(name, _)| all(name, |b| b.is_ascii_alphanumeric() || b == b'-'));
        match () {
            _ if header => {}
            // Examples shorten a key like this.
            _ if line.contains("XXXXXX") || line.contains("xxxxxx") => return Some(false),
            _ => return Some(digits >= 16),
        }
    }
    None
}

/// Offsets of passwords in URLs of any scheme, and of tokens in place of a user name; placeholders do not count.
fn url_passwords(line: &str) -> Vec<usize> {
    let found = |(at, separator): (usize, &str)| {
        let rest = &line[at + separator.len()..];
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b"/?#\"'<>`\\".contains(byte);
        let end = rest.bytes().position(|byte| ends(&byte)).unwrap_or(rest.len());
        let (user, _) = rest[..end].rsplit_once('@')?;
        let secret = match user.split_once(':') {
            Some((_, password)) => {
                // `%21` is an encoded character; `%s` and `%(name)s` are placeholders.
                let escape = |text: &str| {
                    text.len() >= 3 && text.bytes().skip(1).take(2).all(|byte| byte.is_ascii_hexdigit())
                };
                let filled = password.starts_with(['$', '{', '<', '*', '('])
                    || password.starts_with('%') && !escape(password)
                    || password.contains("${");
                password.len() >= 3 && !filled && !value::is_placeholder(password)
            }
            None => user.len() >= 16 && value::is_opaque(user),
        };
        secret.then(|| {
            let scheme = line[..at].bytes().rev();
            at - scheme.take_while(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b)).count()
        })
    };
    line.match_indices("://").filter_map(found).collect()
}
