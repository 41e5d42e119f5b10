//! Finds secrets in a text as it streams by: line by line, whatever pieces it comes in.
//!
//! What is no text is passed over: DER, PKCS #12 and keystores are not looked for. Base64 and gzip are looked into, a few
//! levels deep.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::kind::{
    CONTAINERD_LOGIN, HASHES, KEYED, Kind, SHAPES, all, base64, decode, is_bootstrap_token, is_web_token,
};

/// A file with a zero among so many first bytes is no text (git's own rule).
const PROBE: usize = 8000;
/// Longest line that is looked at as a whole, in bytes; a longer one is looked at in pieces.
const MAX_LINE: usize = 1 << 20;
/// How much of a piece is looked at again with the next, in bytes: longer than any secret's own line.
const OVERLAP: usize = 8 << 10;
/// Most bytes of a file, unpacked, that are looked at.
const MAX_BYTES: u64 = 256 << 20;
/// Most bytes that gzip inside of base64 may unfold to.
const MAX_UNFOLDED: u64 = 16 << 20;
/// Levels of base64 inside of base64.
const MAX_DEPTH: usize = 3;
/// Shortest base64 that may hold a text with a secret.
const LEAST_ENCODED: usize = 40;
/// Lines between the head of a private key and its first digits: `Proc-Type`, `DEK-Info`, and an empty one.
const MAX_HEADERS: usize = 8;
/// Most findings of one text.
const MAX_HITS: usize = 50;
/// How a key file of PuTTY begins, which always holds both keys.
const PUTTY: &str = "PuTTY-User-Key-File-";
/// Secrets begin a word of their own, and these bytes end it.
const BETWEEN: &[char] =
    &[' ', '\t', '\r', '"', '\'', '`', '=', ',', ';', ':', '(', ')', '{', '}', '[', ']', '<', '>', '|', '&'];

/// A secret in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hit {
    /// From 1.
    pub line: usize,
    /// In characters, from 1: where the secret begins, or what it is encoded in.
    pub column: usize,
    /// What it is.
    pub kind: Kind,
}

/// Every secret in a text, in its order. `path` is what the text is called: a file whose name says `token` may hold one bare.
///
/// # Errors
/// What reading comes to.
pub fn scan(path: &str, mut reader: impl Read) -> io::Result<Vec<Hit>> {
    at_depth(path, &mut reader, 0)
}

fn at_depth(path: &str, reader: &mut dyn Read, depth: usize) -> io::Result<Vec<Hit>> {
    let mut reader = BufReader::with_capacity(64 << 10, reader.take(MAX_BYTES));
    let mut probe = Vec::with_capacity(PROBE);
    (&mut reader).take(PROBE as u64).read_to_end(&mut probe)?;
    let whole = io::Cursor::new(&probe).chain(reader);
    if probe.starts_with(&[0x1f, 0x8b]) && depth < MAX_DEPTH {
        return at_depth(path, &mut Forgiving(MultiGzDecoder::new(whole)), depth + 1);
    }
    if probe.contains(&0) {
        return Ok(Vec::new());
    }
    let mut scanner = Scanner::new(path, depth);
    scanner.text(whole)?;
    Ok(scanner.finish())
}

/// Ends where a broken stream ends: what was before it has been looked at.
struct Forgiving<R>(R);

impl<R: Read> Read for Forgiving<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.0.read(buffer).unwrap_or(0))
    }
}

struct Scanner {
    /// Whether the name of the file says that a bare word may be a token.
    names_token: bool,
    depth: usize,
    line: usize,
    hits: Vec<Hit>,
    /// The last word, as keys are compared.
    key: String,
    /// The head of a private key, and how many more lines may pass until its first digits.
    head: Option<(Hit, usize)>,
    /// The `kind`s and tables of this document.
    documents: BTreeSet<&'static str>,
    /// What counts only in a document of that kind.
    tentative: Vec<(Hit, &'static str)>,
}

impl Scanner {
    fn new(path: &str, depth: usize) -> Self {
        let file = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
        Scanner {
            names_token: file.contains("token"),
            depth,
            line: 0,
            hits: Vec::new(),
            key: String::new(),
            head: None,
            documents: BTreeSet::new(),
            tentative: Vec::new(),
        }
    }

    fn text(&mut self, mut reader: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            self.line += 1;
            // Characters of this line that are behind, and how many bytes of `line` were looked at already.
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
                self.piece(&line, before, again > 0);
                if ended {
                    break;
                }
                let cut = line.len() - OVERLAP.min(line.len());
                before += String::from_utf8_lossy(&line[..cut]).chars().count();
                line.drain(..cut);
                again = line.len();
            }
            if self.hits.len() >= MAX_HITS {
                return Ok(());
            }
        }
    }

    fn finish(mut self) -> Vec<Hit> {
        self.end_document();
        self.hits.sort_unstable();
        self.hits.dedup();
        self.hits.truncate(MAX_HITS);
        self.hits
    }

    fn end_document(&mut self) {
        let documents = std::mem::take(&mut self.documents);
        let sure = self.tentative.drain(..).filter(|(_, document)| documents.contains(document));
        self.hits.extend(sure.map(|(hit, _)| hit));
    }

    /// Looks at a line, or a piece of a long one behind so many characters.
    fn piece(&mut self, bytes: &[u8], before: usize, continued: bool) {
        let line = String::from_utf8_lossy(bytes);
        let line = line.trim_end_matches(['\n', '\r']);
        if line.trim_end() == "---" {
            self.end_document();
        }
        if line.trim_start().starts_with('[') {
            // A table of TOML ends the one before it.
            self.end_document();
            if line.trim_end().ends_with(CONTAINERD_LOGIN) {
                self.documents.insert(CONTAINERD_LOGIN);
            }
        }
        let at = |number: usize, byte: usize, kind| {
            let column = before + line[..byte].chars().count() + 1;
            Hit { line: number, column, kind }
        };
        self.body(line);
        for (byte, rest) in heads(line) {
            let hit = at(self.line, byte, Kind::PrivateKey);
            match first_digits(rest) {
                Some(true) => self.hits.push(hit),
                Some(false) => {}
                None => self.head = Some((hit, MAX_HEADERS)),
            }
        }
        if line.trim_start().starts_with(PUTTY) {
            self.hits.push(at(self.line, line.len() - line.trim_start().len(), Kind::PuttyKey));
        }
        if line.contains("BEGIN%20") && self.depth < MAX_DEPTH {
            let plain = percent_decode_str(line).collect::<Vec<u8>>();
            if let Some(inner) = self.inner(&plain) {
                self.hits.push(at(self.line, line.find("BEGIN%20").unwrap_or(0), inner));
            }
        }
        for byte in url_passwords(line) {
            self.hits.push(at(self.line, byte, Kind::UrlPassword));
        }
        for (byte, word) in words(line) {
            if let Some(kind) = self.word(word, continued && byte == 0) {
                self.hits.push(at(self.line, byte, kind));
            }
            for keyed in KEYED.iter().filter(|keyed| (keyed.key)(&self.key) && (keyed.value)(word)) {
                let hit = at(self.line, byte, keyed.kind);
                match keyed.document {
                    Some(document) => self.tentative.push((hit, document)),
                    None => self.hits.push(hit),
                }
            }
            if self.key == "kind" {
                let document = KEYED.iter().filter_map(|keyed| keyed.document).find(|kind| *kind == word);
                self.documents.extend(document);
            }
            if word.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
                self.key = word.to_ascii_lowercase().replace(['-', '_'], "");
            }
        }
    }

    /// What follows the head of a private key.
    fn body(&mut self, line: &str) {
        let Some((hit, left)) = self.head.take() else { return };
        match first_digits(line) {
            Some(true) => self.hits.push(hit),
            Some(false) => {}
            None => self.head = (left > 1).then(|| (hit, left - 1)),
        }
    }

    /// What a word is by its own shape.
    fn word(&self, word: &str, continued: bool) -> Option<Kind> {
        let shaped = |shape: &&super::kind::Shape| {
            word.match_indices(shape.prefix).any(|(at, prefix)| {
                let joined = word[..at].chars().next_back().is_some_and(|c| c.is_ascii_alphanumeric());
                let rest = word[at + prefix.len()..].bytes().take_while(|byte| (shape.letters)(*byte));
                !joined && rest.count() >= shape.least
            })
        };
        if let Some(shape) = SHAPES.iter().find(shaped) {
            return Some(shape.kind);
        }
        if HASHES.iter().any(|prefix| word.starts_with(prefix)) && word.len() >= 20 {
            return Some(Kind::PasswordHash);
        }
        if self.names_token && is_bootstrap_token(word) {
            return Some(Kind::BootstrapToken);
        }
        if is_web_token(word) {
            return Some(Kind::WebToken);
        }
        if word.len() < LEAST_ENCODED || self.depth == MAX_DEPTH || !all(word, base64) {
            return None;
        }
        // The next piece of a long line begins anywhere in a group of four digits.
        let starts = if continued { 0..4 } else { 0..1 };
        starts.filter_map(|start| decode(&word[start..])).find_map(|bytes| self.inner(&bytes))
    }

    /// The first secret in what was encoded, if that is a text.
    fn inner(&self, bytes: &[u8]) -> Option<Kind> {
        let packed = bytes.starts_with(&[0x1f, 0x8b]);
        let text = |bytes: &[u8]| {
            let cut = |error: std::str::Utf8Error| error.error_len().is_none();
            std::str::from_utf8(bytes).map_or_else(cut, |_| true)
        };
        if !packed && !text(bytes) {
            return None;
        }
        let hits = at_depth("", &mut bytes.take(MAX_UNFOLDED), self.depth + 1).ok()?;
        hits.first().map(|hit| hit.kind)
    }
}

/// The words of a line, each with its first byte.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let start = line.as_ptr() as usize;
    let at = move |word: &str| word.as_ptr() as usize - start;
    line.split(BETWEEN).filter(|word| !word.is_empty()).map(move |word| (at(word), word))
}

/// Every head of a private key, `-----BEGIN … PRIVATE KEY…-----`: where it begins, and what follows it in the line.
fn heads(line: &str) -> Vec<(usize, &str)> {
    let mut heads = Vec::new();
    for (at, begin) in line.match_indices("BEGIN ") {
        let before = line[..at].trim_end_matches(' ');
        let dashes = before.len() - before.trim_end_matches('-').len();
        let Some((label, rest)) = line[at + begin.len()..].split_once('-') else { continue };
        let rest = rest.trim_start_matches(['-', ' ']);
        if dashes > 0 && label.len() < 64 && label.contains("PRIVATE KEY") {
            heads.push((before.len() - dashes, rest));
        }
    }
    heads
}

/// Whether a text goes on as the digits of a key do; nothing where it says no more than a header.
fn first_digits(text: &str) -> Option<bool> {
    // Line ends that JSON spells out, and what programs and comments put in front.
    let text = text.replace("\\n", "\n").replace("\\r", "");
    let clutter = |c: char| c.is_whitespace() || "\\\"'`#+/*>,;".contains(c);
    let lines = text.lines().map(|line| line.trim_matches(clutter)).filter(|line| !line.is_empty());
    for line in lines {
        let digits = line.bytes().take_while(|byte| base64(*byte)).count();
        let header = line
            .split_once(": ")
            .is_some_and(|(name, _)| all(name, |b| b.is_ascii_alphanumeric() || b == b'-'));
        match () {
            _ if header => {}
            _ => return Some(digits >= 16),
        }
    }
    None
}

/// Where a URL holds a name and a password that is no placeholder.
fn url_passwords(line: &str) -> Vec<usize> {
    let found = |(at, separator): (usize, &str)| {
        let rest = &line[at + separator.len()..];
        let end = rest.find(|c: char| c.is_whitespace() || "/?#\"'<>`\\".contains(c)).unwrap_or(rest.len());
        let (user, _) = rest[..end].rsplit_once('@')?;
        let (name, password) = user.split_once(':')?;
        let placeholder =
            password.starts_with(['$', '{', '<', '*', '%']) || password.bytes().all(|b| b == b'x');
        (!name.is_empty() && password.len() >= 3 && !placeholder).then(|| {
            let scheme = line[..at].bytes().rev().take_while(|b| b.is_ascii_alphanumeric() || *b == b'+');
            at - scheme.count()
        })
    };
    line.match_indices("://").filter_map(found).collect()
}
