//! Turns bytes into tokens by the rules of Go's `text/template/parse` (lex.go): text, and between `{{` and `}}` the
//! words of an action. The parser never sees trim markers and comments.

use super::quote::quote;
use super::unicode::{self, BROKEN};

/// A token of the template. Line and offset are those of its first byte.
#[derive(Clone, Debug)]
pub(super) struct Token<'t> {
    pub kind: Kind,
    pub at: usize,
    /// Line number, from 1.
    pub line: usize,
    pub text: &'t [u8],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The text cannot be read any further; holds the reason.
    Error(String),
    End,
    Text,
    LeftDelimiter,
    RightDelimiter,
    Space,
    Keyword(Keyword),
    Identifier,
    /// With its dot, as in `.Field`.
    Field,
    /// With its dollar, as in `$x`.
    Variable,
    Bool,
    Number,
    Character,
    String,
    RawString,
    Assign,
    Declare,
    Pipe,
    LeftParenthesis,
    RightParenthesis,
    /// Any other printable ASCII character.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Dot,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

const KEYWORDS: &[(&str, Keyword)] = &[
    ("block", Keyword::Block),
    ("break", Keyword::Break),
    ("continue", Keyword::Continue),
    ("define", Keyword::Define),
    ("else", Keyword::Else),
    ("end", Keyword::End),
    ("if", Keyword::If),
    ("nil", Keyword::Nil),
    ("range", Keyword::Range),
    ("template", Keyword::Template),
    ("with", Keyword::With),
];

const LEFT: &[u8] = b"{{";
const RIGHT: &[u8] = b"}}";
/// Length of a trim marker: a minus and the space that must separate it from the action.
const MARKER: usize = 2;

impl Token<'_> {
    /// The token as messages show it.
    pub(crate) fn shown(&self) -> String {
        match &self.kind {
            Kind::End => "EOF".into(),
            Kind::Error(reason) => reason.clone(),
            Kind::Keyword(_) => format!("<{}>", String::from_utf8_lossy(self.text)),
            // The length is checked in bytes, but the text is cut by characters.
            _ if self.text.len() > 10 => {
                let head: usize = unicode::characters(self.text).take(10).map(|(_, bytes)| bytes.len()).sum();
                format!("{}...", quote(&self.text[..head]))
            }
            _ => quote(self.text),
        }
    }
}

/// Yields the tokens of a text.
pub(super) struct Lexer<'t> {
    text: &'t [u8],
    /// Offset of the next token, and below it its line.
    start: usize,
    line: usize,
    /// Offset up to which the next token has been read.
    at: usize,
    in_action: bool,
    parentheses: usize,
}

impl<'t> Lexer<'t> {
    pub(crate) fn new(text: &'t [u8]) -> Self {
        Lexer { text, start: 0, line: 1, at: 0, in_action: false, parentheses: 0 }
    }

    /// The next token; after an error or at the end, the end token.
    pub(crate) fn next(&mut self) -> Token<'t> {
        if self.in_action { self.action() } else { self.outside() }
    }

    fn rest(&self) -> &'t [u8] {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        match unicode::first(self.rest()) {
            (_, 0) => None,
            (character, _) => Some(character.unwrap_or(BROKEN)),
        }
    }

    fn advance(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += unicode::first(self.rest()).1;
        next
    }

    fn advance_while(&mut self, holds: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&holds) {
            self.advance();
        }
    }

    fn accept(&mut self, characters: &str) -> bool {
        let found = self.peek().is_some_and(|next| characters.contains(next));
        if found {
            self.advance();
        }
        found
    }

    /// Drops the text read so far.
    fn skip(&mut self) {
        self.line += memchr::memchr_iter(b'\n', &self.text[self.start..self.at]).count();
        self.start = self.at;
    }

    /// Makes a token of the text read so far.
    fn token(&mut self, kind: Kind) -> Token<'t> {
        let token = Token { kind, at: self.start, line: self.line, text: &self.text[self.start..self.at] };
        self.skip();
        token
    }

    fn error(&mut self, reason: impl Into<String>) -> Token<'t> {
        let token = self.token(Kind::Error(reason.into()));
        self.text = &self.text[..self.at];
        self.in_action = false;
        token
    }

    fn outside(&mut self) -> Token<'t> {
        loop {
            let Some(length) = memchr::memmem::find(self.rest(), LEFT) else {
                self.at = self.text.len();
                return self.token(if self.start < self.at { Kind::Text } else { Kind::End });
            };
            let delimiter = self.at + length;
            let text = &self.text[self.at..delimiter];
            let trims = trims_left(&self.text[delimiter + LEFT.len()..]);
            self.at += if trims { text.len() - spaces(text.iter().rev()) } else { text.len() };
            let text = (self.at > self.start).then(|| self.token(Kind::Text));
            self.at = delimiter;
            self.skip();
            if let Some(text) = text {
                return text;
            }
            let marker = if trims { MARKER } else { 0 };
            self.at += LEFT.len();
            if !self.text[self.at + marker..].starts_with(b"/*") {
                let token = self.token(Kind::LeftDelimiter);
                self.at += marker;
                self.skip();
                self.in_action = true;
                self.parentheses = 0;
                return token;
            }
            self.at += marker;
            self.skip();
            if let Err(reason) = self.comment() {
                return self.error(reason);
            }
        }
    }

    /// Skips `/* … */` and the delimiter that must follow.
    fn comment(&mut self) -> Result<(), &'static str> {
        let inner = &self.rest()[2..];
        let end = memchr::memmem::find(inner, b"*/").ok_or("unclosed comment")?;
        let after = self.at + 2 + end + 2;
        let trims = right_delimiter(&self.text[after..]).ok_or("comment ends before closing delimiter")?;
        self.at = after + if trims { MARKER } else { 0 } + RIGHT.len();
        if trims {
            self.at += spaces(self.rest().iter());
        }
        self.skip();
        Ok(())
    }

    fn right_delimiter(&mut self) -> Token<'t> {
        let trims = right_delimiter(self.rest()) == Some(true);
        if trims {
            self.at += MARKER;
            self.skip();
        }
        self.at += RIGHT.len();
        let token = self.token(Kind::RightDelimiter);
        if trims {
            self.at += spaces(self.rest().iter());
            self.skip();
        }
        self.in_action = false;
        token
    }

    fn action(&mut self) -> Token<'t> {
        if right_delimiter(self.rest()).is_some() {
            return match self.parentheses {
                0 => self.right_delimiter(),
                _ => self.error("unclosed left paren"),
            };
        }
        let Some(next) = self.advance() else { return self.error("unclosed action") };
        match next {
            ' ' | '\t' | '\r' | '\n' => self.space(),
            '=' => self.token(Kind::Assign),
            ':' if self.accept("=") => self.token(Kind::Declare),
            ':' => self.error("expected :="),
            '|' => self.token(Kind::Pipe),
            '"' => self.quoted('"', Kind::String, "unterminated quoted string"),
            '\'' => self.quoted('\'', Kind::Character, "unterminated character constant"),
            '`' => match memchr::memchr(b'`', self.rest()) {
                Some(end) => {
                    self.at += end + 1;
                    self.token(Kind::RawString)
                }
                None => self.error("unterminated raw quoted string"),
            },
            '$' => self.name(Kind::Variable, Kind::Variable),
            '.' if self.rest().first().is_some_and(|next| !next.is_ascii_digit()) => {
                self.name(Kind::Field, Kind::Keyword(Keyword::Dot))
            }
            '.' | '+' | '-' | '0'..='9' => {
                self.at = self.start;
                self.number()
            }
            '(' => {
                self.parentheses += 1;
                self.token(Kind::LeftParenthesis)
            }
            ')' if self.parentheses == 0 => self.error("unexpected right paren"),
            ')' => {
                self.parentheses -= 1;
                self.token(Kind::RightParenthesis)
            }
            next if unicode::is_alphanumeric(next) => self.word(),
            ' '..='~' => self.token(Kind::Other),
            next => self.error(format!("unrecognized character in action: {}", code_point(next))),
        }
    }

    /// Reads spaces after the first one. The last of them belongs to a trimming right delimiter.
    fn space(&mut self) -> Token<'t> {
        self.advance_while(is_space);
        if right_delimiter(&self.text[self.at - 1..]) == Some(true) {
            self.at -= 1;
            if self.at == self.start {
                return self.right_delimiter();
            }
        }
        self.token(Kind::Space)
    }

    fn quoted(&mut self, mark: char, kind: Kind, unterminated: &str) -> Token<'t> {
        loop {
            let next = match self.advance() {
                Some('\\') => self.advance().map(|_| '\\').filter(|_| self.text[self.at - 1] != b'\n'),
                next => next.filter(|next| *next != '\n'),
            };
            match next {
                None => return self.error(unterminated),
                Some(next) if next == mark => return self.token(kind),
                Some(_) => {}
            }
        }
    }

    /// Reads the name after a dot or dollar, which may stand alone.
    fn name(&mut self, kind: Kind, alone: Kind) -> Token<'t> {
        if self.at_terminator() {
            return self.token(alone);
        }
        self.advance_while(unicode::is_alphanumeric);
        self.terminated(kind)
    }

    fn word(&mut self) -> Token<'t> {
        self.advance_while(unicode::is_alphanumeric);
        let word = &self.text[self.start..self.at];
        let keyword = KEYWORDS.iter().find(|(name, _)| name.as_bytes() == word);
        self.terminated(match (keyword, word) {
            (Some((_, keyword)), _) => Kind::Keyword(*keyword),
            (None, b"true" | b"false") => Kind::Bool,
            (None, _) => Kind::Identifier,
        })
    }

    fn terminated(&mut self, kind: Kind) -> Token<'t> {
        match self.peek() {
            Some(next) if !self.at_terminator() => self.error(format!("bad character {}", code_point(next))),
            _ => self.token(kind),
        }
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(next) => is_space(next) || self.rest().starts_with(RIGHT),
        }
    }

    fn number(&mut self) -> Token<'t> {
        let mut good = self.scan_number();
        // A complex constant; the parser will refuse it.
        if good && matches!(self.peek(), Some('+' | '-')) {
            good = self.scan_number() && self.text[self.at - 1] == b'i';
        }
        match good {
            true => self.token(Kind::Number),
            false => {
                let read = quote(&self.text[self.start..self.at]);
                self.error(format!("bad number syntax: {read}"))
            }
        }
    }

    /// Consumes everything that looks like a number; parsing it decides whether it is one.
    fn scan_number(&mut self) -> bool {
        self.accept("+-");
        let mut digits = "0123456789_";
        if self.accept("0") {
            if self.accept("xX") {
                digits = "0123456789abcdefABCDEF_";
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.advance_while(|next| digits.contains(next));
        if self.accept(".") {
            self.advance_while(|next| digits.contains(next));
        }
        let exponent = match digits.len() {
            11 => "eE",
            23 => "pP",
            _ => "",
        };
        if self.accept(exponent) {
            self.accept("+-");
            self.advance_while(|next| next.is_ascii_digit() || next == '_');
        }
        self.accept("i");
        let ends = !self.peek().is_some_and(unicode::is_alphanumeric);
        if !ends {
            self.advance();
        }
        ends
    }
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

/// The number of leading spaces.
fn spaces<'b>(bytes: impl Iterator<Item = &'b u8>) -> usize {
    bytes.take_while(|byte| is_space(char::from(**byte))).count()
}

/// Whether a left delimiter that precedes these bytes trims.
fn trims_left(bytes: &[u8]) -> bool {
    matches!(bytes, [b'-', space, ..] if is_space(char::from(*space)))
}

/// Whether the right delimiter at the start of these bytes trims; `None` if there is none.
fn right_delimiter(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [space, b'-', b'}', b'}', ..] if is_space(char::from(*space)) => Some(true),
        [b'}', b'}', ..] => Some(false),
        _ => None,
    }
}

/// The character as `%#U` prints it.
fn code_point(character: char) -> String {
    let number = u32::from(character);
    match unicode::is_printable(character) {
        true => format!("U+{number:04X} '{character}'"),
        false => format!("U+{number:04X}"),
    }
}
