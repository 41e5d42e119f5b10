//! From text to tokens, as gopkg.in/yaml.v3 scans it.
//!
//! Butane reads configs with that library, so it decides here even where YAML 1.2 differs: a block scalar gets no line
//! end that was not written, U+0085, U+2028 and U+2029 end lines, a quoted text may continue at any column, and tabs do
//! not indent. The steps and the messages of faults follow its `scannerc.go` (Copyright 2011-2019 Canonical Ltd and
//! 2006-2010 Kirill Simonov, MIT), which follows libyaml. No crate does the same (saphyr-parser and granit-parser
//! follow YAML 1.2, libyaml-safer follows libyaml 0.2.5).

use std::collections::{HashMap, VecDeque};

use super::{Position, Style};

/// Upper limit for the distance between the start of a key without `?` and its `:`, in characters (YAML 1.2 §8.2.2).
const MAX_KEY: usize = 1024;
/// Upper limit for the distance at which comments are searched after a token, in bytes: Go's constant.
const MAX_PEEK: usize = 512;
/// Upper limit for open `[` and `{`, and for levels of indentation. The tree's own limit is far lower.
const MAX_LEVELS: usize = 10_000;

/// A position during scanning.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    /// Number of characters before it.
    index: usize,
    /// Number of line breaks before it, of every kind that YAML 1.1 knows.
    line: usize,
    /// Number of characters between it and the last such break.
    column: usize,
    /// Position as an editor shows it: there, only a line feed ends a line.
    pub place: Position,
}

/// A token between two marks.
#[derive(Clone)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub start: Mark,
    pub end: Mark,
}

#[derive(Clone, PartialEq)]
pub(super) enum TokenKind {
    StreamStart,
    StreamEnd,
    /// `%YAML`, with its numbers.
    Version(u8, u8),
    /// `%TAG`: a handle and its prefix.
    TagDirective(String, String),
    DocumentStart,
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias(String),
    Anchor(String),
    /// A tag: its handle, empty for a verbatim tag, and the rest.
    Tag(String, String),
    Scalar(String, Style, Trace),
}

/// Positions of the pieces of a scalar's text: the offset of each piece in the text, and its place in the source. Empty
/// unless requested.
pub(super) type Trace = Vec<(usize, Position)>;

/// Why a text is not YAML, in the words of Go's library.
#[derive(Debug)]
pub(super) struct Fault {
    pub problem: String,
    pub at: Position,
    /// The construct that was being read, and its start.
    pub context: Option<(&'static str, Position)>,
}

/// A position where a key may have started; only its `:` decides.
#[derive(Clone, Copy)]
struct SimpleKey {
    possible: bool,
    /// Only a key is possible there.
    required: bool,
    token: usize,
    mark: Mark,
}

/// A scalar while it is read.
#[derive(Default)]
struct Reading {
    text: String,
    trace: Option<Trace>,
    /// Position at which the next piece would continue without a gap.
    next: Option<(usize, Position)>,
}

impl Reading {
    /// Appends a piece that is at this place.
    fn push(&mut self, piece: &str, place: Position) {
        if let Some(trace) = &mut self.trace {
            let here = (self.text.len(), place);
            if self.next != Some(here) {
                trace.push(here);
            }
            let column = place.column + piece.chars().count();
            self.next = Some((self.text.len() + piece.len(), Position { column, ..place }));
        }
        self.text.push_str(piece);
    }
}

/// The scanner of one text without control characters; a zero byte stands for its end.
pub(super) struct Scanner<'t> {
    text: &'t str,
    at: usize,
    mark: Mark,
    /// Line breaks since the last character that is not a blank.
    newlines: usize,
    queue: VecDeque<Token>,
    /// Number of tokens that left the queue.
    taken: usize,
    started: bool,
    indent: isize,
    indents: Vec<isize>,
    flow: usize,
    key_allowed: bool,
    /// One possible key for each level of flow.
    keys: Vec<SimpleKey>,
    keys_by_token: HashMap<usize, usize>,
    traces: bool,
}

impl<'t> Scanner<'t> {
    /// Begins a text; `traces` decides whether scalars come with their traces.
    pub fn new(text: &'t str, traces: bool) -> Self {
        let mark = Mark { index: 0, line: 0, column: 0, place: Position { line: 1, column: 1 } };
        Scanner {
            text,
            at: 0,
            mark,
            newlines: 0,
            queue: VecDeque::new(),
            taken: 0,
            started: false,
            indent: -1,
            indents: Vec::new(),
            flow: 0,
            key_allowed: true,
            keys: vec![SimpleKey { possible: false, required: false, token: 0, mark }],
            keys_by_token: HashMap::new(),
            traces,
        }
    }

    /// The next token, which stays in the queue.
    pub fn peek(&mut self) -> Result<&Token, Fault> {
        self.fetch_more()?;
        Ok(&self.queue[0])
    }

    /// Takes the next token from the queue.
    pub fn take(&mut self) -> Option<Token> {
        self.taken += 1;
        self.queue.pop_front()
    }

    /// Go reads two tokens ahead for comments, and so finds the faults there; a token that may be a key waits for its
    /// `:`.
    fn fetch_more(&mut self) -> Result<(), Fault> {
        loop {
            if self.queue.len() > 2 {
                match self.keys_by_token.get(&self.taken).copied() {
                    Some(key) if self.is_valid(key)? => {}
                    _ => return Ok(()),
                }
            }
            self.fetch()?;
        }
    }

    fn fetch(&mut self) -> Result<(), Fault> {
        if !self.started {
            self.started = true;
            self.push(TokenKind::StreamStart, self.mark);
            return Ok(());
        }
        let before = self.mark;
        self.skip_to_token();
        self.unroll(self.mark.column as isize, before);
        let byte = self.byte(0);
        if byte == 0 {
            return self.fetch_stream_end();
        }
        if self.mark.column == 0 && byte == b'%' {
            return self.fetch_directive();
        }
        for (indicator, kind) in [(b'-', TokenKind::DocumentStart), (b'.', TokenKind::DocumentEnd)] {
            if self.is_document_indicator(indicator) {
                self.unroll(-1, self.mark);
                self.remove_key()?;
                self.key_allowed = false;
                self.indicator(kind, 3);
                return Ok(());
            }
        }
        self.fetch_content(byte)?;
        if self.queue.back().is_none_or(|token| token.kind != TokenKind::BlockEntry) {
            self.skip_line_comment();
        }
        Ok(())
    }

    fn fetch_content(&mut self, byte: u8) -> Result<(), Fault> {
        let (flow, before_blank) = (self.flow > 0, self.is_blankz(1));
        match byte {
            b'[' => self.fetch_flow_start(TokenKind::FlowSequenceStart),
            b'{' => self.fetch_flow_start(TokenKind::FlowMappingStart),
            b']' => self.fetch_flow_end(TokenKind::FlowSequenceEnd),
            b'}' => self.fetch_flow_end(TokenKind::FlowMappingEnd),
            b',' => {
                self.remove_key()?;
                self.key_allowed = true;
                self.indicator(TokenKind::FlowEntry, 1);
                Ok(())
            }
            b'-' if before_blank => self.fetch_block_entry(),
            b'?' if flow || before_blank => self.fetch_key(),
            b':' if flow || before_blank => self.fetch_value(),
            b'*' | b'&' => {
                self.save_key()?;
                self.key_allowed = false;
                self.scan_anchor(byte == b'*')
            }
            b'!' => {
                self.save_key()?;
                self.key_allowed = false;
                self.scan_tag()
            }
            b'|' | b'>' if !flow => {
                self.remove_key()?;
                self.key_allowed = true;
                self.scan_block_scalar(byte == b'|')
            }
            b'\'' | b'"' => {
                self.save_key()?;
                self.key_allowed = false;
                self.scan_quoted(byte == b'\'')
            }
            b'#' | b'|' | b'>' | b'%' | b'@' | b'`' | b'\t' => {
                Err(self.fault(None, "found character that cannot start any token"))
            }
            _ => {
                self.save_key()?;
                self.key_allowed = false;
                self.scan_plain()
            }
        }
    }

    fn fault(&self, context: Option<(&'static str, Mark)>, problem: &str) -> Fault {
        let context = context.map(|(words, mark)| (words, mark.place));
        Fault { problem: problem.to_owned(), at: self.mark.place, context }
    }

    // Characters at the cursor.

    fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn is_blank(&self, ahead: usize) -> bool {
        matches!(self.byte(ahead), b' ' | b'\t')
    }

    fn is_break(&self, ahead: usize) -> bool {
        match self.byte(ahead) {
            b'\r' | b'\n' => true,
            0xc2 => self.byte(ahead + 1) == 0x85,
            0xe2 => self.byte(ahead + 1) == 0x80 && matches!(self.byte(ahead + 2), 0xa8 | 0xa9),
            _ => false,
        }
    }

    fn is_breakz(&self, ahead: usize) -> bool {
        self.byte(ahead) == 0 || self.is_break(ahead)
    }

    fn is_blankz(&self, ahead: usize) -> bool {
        self.is_blank(ahead) || self.is_breakz(ahead)
    }

    /// Letters, digits, `_` and `-`, which Go calls alphabetic.
    fn is_word(&self) -> bool {
        matches!(self.byte(0), b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'-')
    }

    /// `---` or `...` at the beginning of a line and before a blank.
    fn is_document_indicator(&self, indicator: u8) -> bool {
        self.mark.column == 0 && (0..3).all(|ahead| self.byte(ahead) == indicator) && self.is_blankz(3)
    }

    // Moving the cursor.

    fn char(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip(&mut self) {
        if !self.is_blank(0) {
            self.newlines = 0;
        }
        self.mark.index += 1;
        self.mark.column += 1;
        self.mark.place.column += 1;
        self.at += self.char().map_or(0, char::len_utf8);
    }

    fn skip_blanks(&mut self) {
        while self.is_blank(0) {
            self.skip();
        }
    }

    fn skip_comment(&mut self) {
        while !self.is_breakz(0) {
            self.skip();
        }
    }

    /// Takes a line break, if one is here; returns its meaning in a text.
    fn line_break(&mut self) -> &'t str {
        let (length, characters, meant) = match (self.byte(0), self.byte(1)) {
            (b'\r', b'\n') => (2, 2, "\n"),
            (b'\r' | b'\n', _) => (1, 1, "\n"),
            _ if !self.is_break(0) => return "",
            (0xc2, _) => (2, 1, "\n"),
            _ => (3, 1, &self.text[self.at..self.at + 3]),
        };
        match self.text.as_bytes()[self.at + length - 1] {
            b'\n' => self.mark.place = Position { line: self.mark.place.line + 1, column: 1 },
            _ => self.mark.place.column += 1,
        }
        self.at += length;
        self.mark.index += characters;
        self.mark.column = 0;
        self.mark.line += 1;
        self.newlines += 1;
        meant
    }

    fn read(&mut self, reading: &mut Reading) {
        let here = self.at;
        let place = self.mark.place;
        self.skip();
        reading.push(&self.text[here..self.at], place);
    }

    /// Reads the rest of a line at once, which is faster than a character at a time.
    fn read_line(&mut self, reading: &mut Reading) {
        let (here, place) = (self.at, self.mark.place);
        let mut end = here;
        let bytes = self.text.as_bytes();
        while end < bytes.len() {
            match bytes[end] {
                b'\r' | b'\n' => break,
                0xc2 | 0xe2 if self.is_break(end - here) => break,
                _ => end += 1,
            }
        }
        let line = &self.text[here..end];
        let characters = line.chars().count();
        if line.bytes().any(|byte| !matches!(byte, b' ' | b'\t')) {
            self.newlines = 0;
        }
        self.at = end;
        self.mark.index += characters;
        self.mark.column += characters;
        self.mark.place.column += characters;
        if !line.is_empty() {
            reading.push(line, place);
        }
    }

    /// Skips blanks, comments and line breaks. Tabs count as blanks where no key may start.
    fn skip_to_token(&mut self) {
        loop {
            while self.byte(0) == b' ' || (self.byte(0) == b'\t' && (self.flow > 0 || !self.key_allowed)) {
                self.skip();
            }
            if self.byte(0) == b'#' {
                self.skip_comments();
            }
            if !self.is_break(0) {
                return;
            }
            self.line_break();
            if self.flow == 0 {
                self.key_allowed = true;
            }
        }
    }

    /// Skips a comment and those on the next lines, regardless of their indentation.
    fn skip_comments(&mut self) {
        let mut peek = 0;
        while peek < MAX_PEEK {
            if self.is_blank(peek) || self.is_break(peek) {
                peek += 1;
                continue;
            }
            if self.byte(peek) != b'#' {
                return;
            }
            let comment = self.at + peek;
            self.skip_until(comment);
            self.skip_comment();
            // Go continues after the line break, or in the middle of one that has several bytes.
            peek = 1;
        }
    }

    /// Skips a comment on the line of a token.
    fn skip_line_comment(&mut self) {
        if self.newlines > 0 {
            return;
        }
        let blanks = (0..MAX_PEEK).take_while(|peek| self.is_blank(*peek)).count();
        if blanks < MAX_PEEK && self.byte(blanks) == b'#' {
            self.skip_until(self.at + blanks);
            self.skip_comment();
        }
    }

    fn skip_until(&mut self, at: usize) {
        while self.at < at {
            match self.is_break(0) {
                true => drop(self.line_break()),
                false => self.skip(),
            }
        }
    }

    // Tokens and keys.

    fn push(&mut self, kind: TokenKind, start: Mark) {
        self.queue.push_back(Token { kind, start, end: self.mark });
    }

    /// Adds a token of this many characters.
    fn indicator(&mut self, kind: TokenKind, length: usize) {
        let start = self.mark;
        (0..length).for_each(|_| self.skip());
        self.push(kind, start);
    }

    fn next_token(&self) -> usize {
        self.taken + self.queue.len()
    }

    fn is_valid(&mut self, key: usize) -> Result<bool, Fault> {
        let now = self.mark;
        let Some(key) = self.keys.get_mut(key).filter(|key| key.possible) else { return Ok(false) };
        if key.mark.line == now.line && key.mark.index + MAX_KEY >= now.index {
            return Ok(true);
        }
        key.possible = false;
        let key = *key;
        match key.required {
            true => Err(self.no_colon(key)),
            false => Ok(false),
        }
    }

    fn no_colon(&self, key: SimpleKey) -> Fault {
        self.fault(Some(("while scanning a simple key", key.mark)), "could not find expected ':'")
    }

    fn save_key(&mut self) -> Result<(), Fault> {
        if self.key_allowed {
            let required = self.flow == 0 && self.indent == self.mark.column as isize;
            let key = SimpleKey { possible: true, required, token: self.next_token(), mark: self.mark };
            self.remove_key()?;
            let last = self.keys.len() - 1;
            self.keys[last] = key;
            self.keys_by_token.insert(key.token, last);
        }
        Ok(())
    }

    fn remove_key(&mut self) -> Result<(), Fault> {
        let last = self.keys.len() - 1;
        let key = self.keys[last];
        if key.possible {
            if key.required {
                return Err(self.no_colon(key));
            }
            self.keys[last].possible = false;
            self.keys_by_token.remove(&key.token);
        }
        Ok(())
    }

    /// Opens a block collection if the column is beyond the indentation; its token goes before another one or to the
    /// end.
    fn roll(&mut self, mark: Mark, before: Option<usize>, kind: TokenKind) -> Result<(), Fault> {
        let column = mark.column as isize;
        if self.flow > 0 || self.indent >= column {
            return Ok(());
        }
        self.indents.push(self.indent);
        self.indent = column;
        if self.indents.len() > MAX_LEVELS {
            return Err(self.fault(None, &format!("exceeded max depth of {MAX_LEVELS}")));
        }
        self.insert(before, Token { kind, start: mark, end: mark });
        Ok(())
    }

    /// Inserts a token before another one, or at the end; also at the end if the other one was already taken, as in Go.
    fn insert(&mut self, before: Option<usize>, token: Token) {
        let place = before.and_then(|before| before.checked_sub(self.taken));
        self.queue.insert(place.unwrap_or(self.queue.len()), token);
    }

    /// Closes the block collections that are indented deeper than a column, at the end of the text before it.
    fn unroll(&mut self, column: isize, end: Mark) {
        while self.flow == 0 && self.indent > column {
            self.queue.push_back(Token { kind: TokenKind::BlockEnd, start: end, end });
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

    fn fetch_stream_end(&mut self) -> Result<(), Fault> {
        if self.mark.column != 0 {
            self.mark.column = 0;
            self.mark.line += 1;
            self.mark.place = Position { line: self.mark.place.line + 1, column: 1 };
        }
        self.unroll(-1, self.mark);
        self.remove_key()?;
        self.key_allowed = false;
        self.push(TokenKind::StreamEnd, self.mark);
        Ok(())
    }

    fn fetch_flow_start(&mut self, kind: TokenKind) -> Result<(), Fault> {
        self.save_key()?;
        let token = self.next_token();
        self.keys.push(SimpleKey { possible: false, required: false, token, mark: self.mark });
        self.flow += 1;
        if self.flow > MAX_LEVELS {
            return Err(self.fault(None, &format!("exceeded max depth of {MAX_LEVELS}")));
        }
        self.key_allowed = true;
        self.indicator(kind, 1);
        Ok(())
    }

    fn fetch_flow_end(&mut self, kind: TokenKind) -> Result<(), Fault> {
        self.remove_key()?;
        if self.flow > 0 {
            self.flow -= 1;
            if let Some(key) = self.keys.pop() {
                self.keys_by_token.remove(&key.token);
            }
        }
        self.key_allowed = false;
        self.indicator(kind, 1);
        Ok(())
    }

    fn fetch_block_entry(&mut self) -> Result<(), Fault> {
        if self.flow == 0 {
            if !self.key_allowed {
                return Err(self.fault(None, "block sequence entries are not allowed in this context"));
            }
            self.roll(self.mark, None, TokenKind::BlockSequenceStart)?;
        }
        self.remove_key()?;
        self.key_allowed = true;
        self.indicator(TokenKind::BlockEntry, 1);
        Ok(())
    }

    fn fetch_key(&mut self) -> Result<(), Fault> {
        if self.flow == 0 {
            if !self.key_allowed {
                return Err(self.fault(None, "mapping keys are not allowed in this context"));
            }
            self.roll(self.mark, None, TokenKind::BlockMappingStart)?;
        }
        self.remove_key()?;
        self.key_allowed = self.flow == 0;
        self.indicator(TokenKind::Key, 1);
        Ok(())
    }

    fn fetch_value(&mut self) -> Result<(), Fault> {
        let last = self.keys.len() - 1;
        if self.is_valid(last)? {
            let SimpleKey { token, mark, .. } = self.keys[last];
            self.insert(Some(token), Token { kind: TokenKind::Key, start: mark, end: mark });
            self.roll(mark, Some(token), TokenKind::BlockMappingStart)?;
            self.keys[last].possible = false;
            self.keys_by_token.remove(&token);
            self.key_allowed = false;
        } else {
            if self.flow == 0 {
                if !self.key_allowed {
                    return Err(self.fault(None, "mapping values are not allowed in this context"));
                }
                self.roll(self.mark, None, TokenKind::BlockMappingStart)?;
            }
            self.key_allowed = self.flow == 0;
        }
        self.indicator(TokenKind::Value, 1);
        Ok(())
    }

    // Directives, anchors, tags.

    fn fetch_directive(&mut self) -> Result<(), Fault> {
        self.unroll(-1, self.mark);
        self.remove_key()?;
        self.key_allowed = false;
        let start = self.mark;
        let context = Some(("while scanning a directive", start));
        self.skip();
        let name = self.word();
        if name.is_empty() {
            return Err(self.fault(context, "could not find expected directive name"));
        }
        if !self.is_blankz(0) {
            return Err(self.fault(context, "found unexpected non-alphabetical character"));
        }
        self.skip_blanks();
        let kind = match name {
            "YAML" => self.scan_version(start)?,
            "TAG" => self.scan_tag_directive(start)?,
            _ => return Err(self.fault(context, "found unknown directive name")),
        };
        self.push(kind, start);
        self.end_line(context)
    }

    fn word(&mut self) -> &'t str {
        let here = self.at;
        while self.is_word() {
            self.skip();
        }
        &self.text[here..self.at]
    }

    /// Reads the rest of a line, which may only have a comment, and the break after it.
    fn end_line(&mut self, context: Option<(&'static str, Mark)>) -> Result<(), Fault> {
        self.skip_blanks();
        if self.byte(0) == b'#' {
            self.skip_comment();
        }
        if !self.is_breakz(0) {
            return Err(self.fault(context, "did not find expected comment or line break"));
        }
        self.line_break();
        Ok(())
    }

    fn scan_version(&mut self, start: Mark) -> Result<TokenKind, Fault> {
        let context = Some(("while scanning a %YAML directive", start));
        let mut numbers = [0; 2];
        for (place, number) in numbers.iter_mut().enumerate() {
            if place == 1 {
                if self.byte(0) != b'.' {
                    return Err(self.fault(context, "did not find expected digit or '.' character"));
                }
                self.skip();
            }
            let here = self.at;
            while self.byte(0).is_ascii_digit() {
                self.skip();
            }
            *number = match &self.text[here..self.at] {
                "" => return Err(self.fault(context, "did not find expected version number")),
                digits => digits
                    .parse()
                    .ok()
                    .filter(|_| digits.len() <= 2)
                    .ok_or_else(|| self.fault(context, "found extremely long version number"))?,
            };
        }
        Ok(TokenKind::Version(numbers[0], numbers[1]))
    }

    fn scan_tag_directive(&mut self, start: Mark) -> Result<TokenKind, Fault> {
        const CONTEXT: &str = "while scanning a %TAG directive";
        let handle = self.tag_handle(CONTEXT, start)?;
        if handle != "!" && !handle.ends_with('!') {
            return Err(self.fault(Some((CONTEXT, start)), "did not find expected '!'"));
        }
        if !self.is_blank(0) {
            return Err(self.fault(Some((CONTEXT, start)), "did not find expected whitespace"));
        }
        self.skip_blanks();
        let prefix = self.tag_uri("", CONTEXT, start)?;
        if !self.is_blankz(0) {
            return Err(self.fault(Some((CONTEXT, start)), "did not find expected whitespace or line break"));
        }
        Ok(TokenKind::TagDirective(handle, prefix))
    }

    fn scan_anchor(&mut self, alias: bool) -> Result<(), Fault> {
        let start = self.mark;
        self.skip();
        let name = self.word().to_owned();
        let ends = self.is_blankz(0)
            || matches!(self.byte(0), b'?' | b':' | b',' | b']' | b'}' | b'%' | b'@' | b'`');
        if name.is_empty() || !ends {
            let context = if alias { "while scanning an alias" } else { "while scanning an anchor" };
            return Err(
                self.fault(Some((context, start)), "did not find expected alphabetic or numeric character")
            );
        }
        self.push(if alias { TokenKind::Alias(name) } else { TokenKind::Anchor(name) }, start);
        Ok(())
    }

    fn scan_tag(&mut self) -> Result<(), Fault> {
        const CONTEXT: &str = "while parsing a tag";
        let start = self.mark;
        let (handle, suffix) = if self.byte(1) == b'<' {
            self.skip();
            self.skip();
            let suffix = self.tag_uri("", CONTEXT, start)?;
            if self.byte(0) != b'>' {
                return Err(self.fault(Some((CONTEXT, start)), "did not find the expected '>'"));
            }
            self.skip();
            (String::new(), suffix)
        } else {
            let handle = self.tag_handle(CONTEXT, start)?;
            match handle.len() > 1 && handle.ends_with('!') {
                true => {
                    let suffix = self.tag_uri("", CONTEXT, start)?;
                    (handle, suffix)
                }
                // These characters were the beginning of the tag's name; `!` alone is a tag without a name.
                false => match self.tag_uri(&handle, CONTEXT, start)? {
                    suffix if suffix.is_empty() => (String::new(), "!".into()),
                    suffix => ("!".into(), suffix),
                },
            }
        };
        if !self.is_blankz(0) {
            return Err(self.fault(Some((CONTEXT, start)), "did not find expected whitespace or line break"));
        }
        self.push(TokenKind::Tag(handle, suffix), start);
        Ok(())
    }

    /// Reads `!`, `!!` or `!name!`, or the beginning of a name.
    fn tag_handle(&mut self, context: &'static str, start: Mark) -> Result<String, Fault> {
        if self.byte(0) != b'!' {
            return Err(self.fault(Some((context, start)), "did not find expected '!'"));
        }
        let here = self.at;
        self.skip();
        self.word();
        if self.byte(0) == b'!' {
            self.skip();
        }
        Ok(self.text[here..self.at].to_owned())
    }

    /// Reads the rest of a tag after its head.
    fn tag_uri(&mut self, head: &str, context: &'static str, start: Mark) -> Result<String, Fault> {
        let mut uri = head.as_bytes().get(1..).unwrap_or_default().to_vec();
        let here = self.at;
        while self.is_word() || b";/?:@&=+$,.!~*'()[]%".contains(&self.byte(0)) {
            if self.byte(0) != b'%' {
                uri.push(self.byte(0));
                self.skip();
                continue;
            }
            let digits = self.text.get(self.at + 1..self.at + 3).filter(|digits| !digits.starts_with('+'));
            let Some(octet) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
                return Err(self.fault(Some((context, start)), "did not find URI escaped octet"));
            };
            uri.push(octet);
            (0..3).for_each(|_| self.skip());
        }
        if self.at == here && head.is_empty() {
            return Err(self.fault(Some((context, start)), "did not find expected tag URI"));
        }
        String::from_utf8(uri)
            .map_err(|_| self.fault(Some((context, start)), "found an incorrect trailing UTF-8 octet"))
    }

    // Scalars.

    fn reading(&self) -> Reading {
        Reading { trace: self.traces.then(Trace::new), ..Reading::default() }
    }

    fn push_scalar(&mut self, reading: Reading, style: Style, start: Mark) {
        self.push(TokenKind::Scalar(reading.text, style, reading.trace.unwrap_or_default()), start);
    }

    fn scan_block_scalar(&mut self, literal: bool) -> Result<(), Fault> {
        let start = self.mark;
        let context = Some(("while scanning a block scalar", start));
        self.skip();
        let (mut chomping, mut increment) = (None, None);
        // An indentation and a chomping sign, in either order and each at most once.
        for _ in 0..2 {
            match self.byte(0) {
                sign @ (b'+' | b'-') if chomping.is_none() => chomping = Some(sign),
                b'0' if increment.is_none() => {
                    return Err(self.fault(context, "found an indentation indicator equal to 0"));
                }
                digit @ b'1'..=b'9' if increment.is_none() => increment = Some(isize::from(digit - b'0')),
                _ => break,
            }
            self.skip();
        }
        self.end_line(context)?;
        let mut indent = increment.map(|increment| (self.indent.max(0) + increment) as usize);
        let mut reading = self.reading();
        let (mut leading_break, mut trailing_breaks) = ("", String::new());
        let mut leading_blank = false;
        self.block_breaks(&mut indent, &mut trailing_breaks, start)?;
        while Some(self.mark.column) == indent && self.byte(0) != 0 {
            let trailing_blank = self.is_blank(0);
            match !literal && !leading_blank && !trailing_blank && leading_break.starts_with('\n') {
                true if trailing_breaks.is_empty() => reading.text.push(' '),
                true => {}
                false => reading.text.push_str(leading_break),
            }
            reading.text.push_str(&trailing_breaks);
            trailing_breaks.clear();
            leading_blank = self.is_blank(0);
            self.read_line(&mut reading);
            leading_break = self.line_break();
            self.block_breaks(&mut indent, &mut trailing_breaks, start)?;
        }
        if chomping != Some(b'-') {
            reading.text.push_str(leading_break);
        }
        if chomping == Some(b'+') {
            reading.text.push_str(&trailing_breaks);
        }
        self.push_scalar(reading, Style::Block, start);
        Ok(())
    }

    /// Reads the indentation and the empty lines of a block scalar; the first text determines the indentation if the
    /// header does not.
    fn block_breaks(
        &mut self,
        indent: &mut Option<usize>,
        breaks: &mut String,
        start: Mark,
    ) -> Result<(), Fault> {
        let mut deepest = 0;
        loop {
            let within = |column: usize| indent.is_none_or(|indent| column < indent);
            while within(self.mark.column) && self.byte(0) == b' ' {
                self.skip();
            }
            deepest = deepest.max(self.mark.column);
            if within(self.mark.column) && self.byte(0) == b'\t' {
                let problem = "found a tab character where an indentation space is expected";
                return Err(self.fault(Some(("while scanning a block scalar", start)), problem));
            }
            if !self.is_break(0) {
                break;
            }
            breaks.push_str(self.line_break());
        }
        indent.get_or_insert(deepest.max((self.indent + 1).max(1) as usize));
        Ok(())
    }

    fn scan_quoted(&mut self, single: bool) -> Result<(), Fault> {
        let start = self.mark;
        let context = Some(("while scanning a quoted scalar", start));
        let quote = if single { b'\'' } else { b'"' };
        self.skip();
        let mut reading = self.reading();
        loop {
            if self.is_document_indicator(b'-') || self.is_document_indicator(b'.') {
                return Err(self.fault(context, "found unexpected document indicator"));
            }
            if self.byte(0) == 0 {
                return Err(self.fault(context, "found unexpected end of stream"));
            }
            let mut broken = false;
            while !self.is_blankz(0) {
                match self.byte(0) {
                    b'\'' if single && self.byte(1) == b'\'' => {
                        reading.push("'", self.mark.place);
                        self.skip();
                        self.skip();
                    }
                    byte if byte == quote => break,
                    b'\\' if !single && self.is_break(1) => {
                        self.skip();
                        self.line_break();
                        broken = true;
                        break;
                    }
                    b'\\' if !single => self.scan_escape(&mut reading, start)?,
                    _ => self.read(&mut reading),
                }
            }
            if self.byte(0) == quote {
                break;
            }
            let mut spaces = self.spaces(broken, None, start)?;
            spaces.fold(&mut reading);
        }
        self.skip();
        self.push_scalar(reading, Style::Quoted, start);
        Ok(())
    }

    fn scan_escape(&mut self, reading: &mut Reading, start: Mark) -> Result<(), Fault> {
        let context = Some(("while parsing a quoted scalar", start));
        let place = self.mark.place;
        let digits = match self.byte(1) {
            b'x' => 2,
            b'u' => 4,
            b'U' => 8,
            _ => 0,
        };
        let plain = match self.byte(1) {
            b'0' => "\0",
            b'a' => "\x07",
            b'b' => "\x08",
            b't' | b'\t' => "\t",
            b'n' => "\n",
            b'v' => "\x0b",
            b'f' => "\x0c",
            b'r' => "\r",
            b'e' => "\x1b",
            b' ' => " ",
            b'"' => "\"",
            b'\'' => "'",
            b'\\' => "\\",
            b'N' => "\u{85}",
            b'_' => "\u{a0}",
            b'L' => "\u{2028}",
            b'P' => "\u{2029}",
            _ if digits > 0 => "",
            _ => return Err(self.fault(context, "found unknown escape character")),
        };
        self.skip();
        self.skip();
        if digits == 0 {
            reading.push(plain, place);
            return Ok(());
        }
        let hex = self.text.get(self.at..self.at + digits);
        let Some(hex) = hex.filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit())) else {
            return Err(self.fault(context, "did not find expected hexdecimal number"));
        };
        let Some(c) = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32) else {
            return Err(self.fault(context, "found invalid Unicode character escape code"));
        };
        reading.push(c.encode_utf8(&mut [0; 4]), place);
        (0..digits).for_each(|_| self.skip());
        Ok(())
    }

    /// Reads blanks and line breaks inside a scalar. With an indentation, tabs before it are refused.
    fn spaces(&mut self, broken: bool, indent: Option<usize>, start: Mark) -> Result<Spaces<'t>, Fault> {
        let (here, mut end) = (self.at, self.at);
        let mut spaces = Spaces { broken, blanks: "", first: "", rest: String::new() };
        while self.is_blank(0) || self.is_break(0) {
            if self.is_blank(0) {
                let below = indent.is_some_and(|indent| self.mark.column < indent);
                if spaces.broken && below && self.byte(0) == b'\t' {
                    let context = Some(("while scanning a plain scalar", start));
                    return Err(self.fault(context, "found a tab character that violates indentation"));
                }
                self.skip();
                if !spaces.broken {
                    end = self.at;
                }
            } else if spaces.broken {
                let meant = self.line_break();
                spaces.rest.push_str(meant);
            } else {
                spaces.first = self.line_break();
                spaces.broken = true;
                end = here;
            }
        }
        spaces.blanks = &self.text[here..end];
        Ok(spaces)
    }

    fn scan_plain(&mut self) -> Result<(), Fault> {
        let start = self.mark;
        let mut end = start;
        let indent = (self.indent + 1) as usize;
        let mut reading = self.reading();
        let mut spaces = Spaces::default();
        loop {
            if self.is_document_indicator(b'-') || self.is_document_indicator(b'.') || self.byte(0) == b'#' {
                break;
            }
            while !self.is_blankz(0) {
                let byte = self.byte(0);
                if byte == b':' && self.is_blankz(1)
                    || self.flow > 0 && matches!(byte, b',' | b'?' | b'[' | b']' | b'{' | b'}')
                {
                    break;
                }
                spaces.fold(&mut reading);
                self.read(&mut reading);
                end = self.mark;
            }
            if !(self.is_blank(0) || self.is_break(0)) {
                break;
            }
            let more = self.spaces(spaces.broken, Some(indent), start)?;
            spaces = more;
            if self.flow == 0 && self.mark.column < indent {
                break;
            }
        }
        let trace = reading.trace.unwrap_or_default();
        let kind = TokenKind::Scalar(reading.text, Style::Plain, trace);
        self.queue.push_back(Token { kind, start, end });
        if spaces.broken {
            self.key_allowed = true;
        }
        Ok(())
    }
}

/// Blanks and line breaks between two pieces of a scalar.
#[derive(Default)]
struct Spaces<'t> {
    /// Whether there was a line break.
    broken: bool,
    blanks: &'t str,
    /// The first break, and the further ones.
    first: &'t str,
    rest: String,
}

impl Spaces<'_> {
    /// Adds their meaning: blanks as they are, one break as a blank, more breaks as one less.
    fn fold(&mut self, reading: &mut Reading) {
        let spaces = std::mem::take(self);
        if !spaces.broken {
            reading.text.push_str(spaces.blanks);
            return;
        }
        match spaces.first.starts_with('\n') {
            true if spaces.rest.is_empty() => reading.text.push(' '),
            true => {}
            false => reading.text.push_str(spaces.first),
        }
        reading.text.push_str(&spaces.rest);
    }
}
