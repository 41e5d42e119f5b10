//! JSON as Go's `encoding/json` reads it, with the position of every value.
//!
//! Ignition and Matchbox are Go programs: their reader matches keys without regard to case ([`same_key`]) and lets the last of two
//! equal keys win. Leaves to the rooms which keys and types they take.

/// Deepest nesting that is parsed. A valid config has 10 levels; Go stops at 10,000.
pub const MAX_DEPTH: usize = 500;

/// A value with its place in the text.
#[derive(Debug)]
pub struct Raw {
    /// Offset of the first byte.
    pub start: usize,
    /// The value, as written.
    pub value: RawValue,
}

/// A value without its place.
#[derive(Debug)]
pub enum RawValue {
    /// `null`.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// As spelt in the text.
    Number(String),
    /// A text without its escapes.
    Text(String),
    /// An array.
    List(Vec<Raw>),
    /// An object's members in the order of the text, those with equal keys too.
    Object(Vec<Member>),
}

/// A key with its value.
#[derive(Debug)]
pub struct Member {
    /// The key without its escapes.
    pub key: String,
    /// Offset of the key's first byte.
    pub start: usize,
    /// The value, with its place.
    pub value: Raw,
}

/// A text that is not JSON; the message is Go's.
#[derive(Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The fault.
    pub message: String,
    /// Offset of the faulty byte; `None` if the text ends too early.
    pub offset: Option<usize>,
}

impl Raw {
    /// The offset that Ignition reports for the value: a scalar's first byte, or the byte after the bracket of a list
    /// or object.
    pub fn at(&self) -> usize {
        self.start + usize::from(matches!(self.value, RawValue::List(_) | RawValue::Object(_)))
    }

    /// Go's name for the kind of value in its messages.
    pub fn kind(&self) -> &'static str {
        match self.value {
            RawValue::Null => "null",
            RawValue::Flag(_) => "bool",
            RawValue::Number(_) => "number",
            RawValue::Text(_) => "string",
            RawValue::List(_) => "array",
            RawValue::Object(_) => "object",
        }
    }
}

/// Parses one JSON value with nothing after it.
///
/// # Errors
/// The first fault, in Go's words, or nesting deeper than [`MAX_DEPTH`].
pub fn parse(text: &str) -> Result<Raw, SyntaxError> {
    let mut reader = Reader { bytes: text.as_bytes(), text, at: 0, depth: 0 };
    reader.space();
    let value = reader.value()?;
    reader.space();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.unexpected("after top-level value")),
    }
}

struct Reader<'t> {
    bytes: &'t [u8],
    text: &'t str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The error at the current byte. Go points one byte past it, so that a raw line end is on the next line.
    fn unexpected(&self, context: &str) -> SyntaxError {
        let Some(byte) = self.peek() else {
            return SyntaxError { message: "unexpected end of JSON input".into(), offset: None };
        };
        let shown = match byte {
            b'\'' => r"'\''".to_owned(),
            b'"' => "'\"'".to_owned(),
            b'\\' => r"'\\'".to_owned(),
            b'\n' => r"'\n'".to_owned(),
            b'\r' => r"'\r'".to_owned(),
            b'\t' => r"'\t'".to_owned(),
            0..=0x1f | 0x7f => format!(r"'\x{byte:02x}'"),
            _ => format!("'{}'", byte as char),
        };
        let offset = self.at + usize::from(byte == b'\n');
        SyntaxError { message: format!("invalid character {shown} {context}"), offset: Some(offset) }
    }

    fn value(&mut self) -> Result<Raw, SyntaxError> {
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::list)?,
            Some(b'"') => RawValue::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => RawValue::Number(self.number()?),
            Some(b't') => self.literal("true", RawValue::Flag(true))?,
            Some(b'f') => self.literal("false", RawValue::Flag(false))?,
            Some(b'n') => self.literal("null", RawValue::Null)?,
            _ => return Err(self.unexpected("looking for beginning of value")),
        };
        Ok(Raw { start, value })
    }

    fn nested(
        &mut self,
        read: fn(&mut Self) -> Result<RawValue, SyntaxError>,
    ) -> Result<RawValue, SyntaxError> {
        if self.depth == MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(SyntaxError { message, offset: Some(self.at) });
        }
        self.depth += 1;
        self.at += 1;
        self.space();
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<RawValue, SyntaxError> {
        let mut members = Vec::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(RawValue::Object(members));
        }
        loop {
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let key = self.string()?;
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            self.space();
            members.push(Member { key, start, value: self.value()? });
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(RawValue::Object(members));
                }
                _ => return Err(self.unexpected("after object key:value pair")),
            }
            self.space();
        }
    }

    fn list(&mut self) -> Result<RawValue, SyntaxError> {
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(RawValue::List(items));
        }
        loop {
            items.push(self.value()?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(RawValue::List(items));
                }
                _ => return Err(self.unexpected("after array element")),
            }
            self.space();
        }
    }

    fn literal(&mut self, word: &str, value: RawValue) -> Result<RawValue, SyntaxError> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                let context = format!("in literal {word} (expecting '{}')", expected as char);
                return Err(self.unexpected(&context));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<String, SyntaxError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.unexpected("in numeric literal")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits("in exponent of numeric literal")?;
        }
        Ok(self.text[start..self.at].to_owned())
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self, context: &str) -> Result<(), SyntaxError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.unexpected(context));
        }
        self.digits();
        Ok(())
    }

    fn string(&mut self) -> Result<String, SyntaxError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let plain = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            out.push_str(&self.text[plain..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                _ => return Err(self.unexpected("in string literal")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        let char = match self.peek() {
            Some(c @ (b'"' | b'\\' | b'/')) => c as char,
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        Ok(char)
    }

    /// Reads four hex digits and, for a surrogate, its other half; a lone surrogate becomes U+FFFD as in Go.
    fn unicode(&mut self) -> Result<char, SyntaxError> {
        let first = self.hex4()?;
        if (0xd800..0xdc00).contains(&first) && self.bytes[self.at..].starts_with(b"\\u") {
            let mark = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let scalar = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = mark;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, SyntaxError> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| (byte as char).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.unexpected("in \\u hexadecimal character escape"));
            };
            value = value << 4 | digit;
            self.at += 1;
        }
        Ok(value)
    }
}

/// Whether Go's decoder takes a key for a field of this name: equal except for case, including the two non-ASCII
/// characters that Unicode folds into ASCII.
pub fn same_key(key: &str, name: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key == name || key.chars().map(fold).eq(name.chars().map(fold))
}

/// Bytes as text in the way of Go's JSON writer: every byte that is not UTF-8 becomes U+FFFD.
pub fn lossy(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (String, Option<usize>) {
        let error = parse(text).unwrap_err();
        (error.message, error.offset)
    }

    #[test]
    fn faults_are_worded_and_placed_as_go_does() {
        assert_eq!(fault("{\"a\":1,}").0, "invalid character '}' looking for beginning of object key string");
        assert_eq!(fault("{\"a\":01}").0, "invalid character '1' after object key:value pair");
        assert_eq!(fault("{\"a\":tru}").0, "invalid character '}' in literal true (expecting 'e')");
        assert_eq!(fault("{} x").0, "invalid character 'x' after top-level value");
        assert_eq!(fault("{\"a\":1.}").0, "invalid character '}' after decimal point in numeric literal");
        assert_eq!(fault("[1"), ("unexpected end of JSON input".into(), None));
        // On the line after the raw line end, as Go counts.
        assert_eq!(fault("[\"a\nb\"]").1, Some(4));
    }

    #[test]
    fn deep_nesting_is_refused_without_overflowing_the_stack() {
        assert!(fault(&"[".repeat(1_000_000)).0.contains("nested deeper"));
    }

    #[test]
    fn lone_surrogates_become_the_replacement_character() {
        let text = |json: &str| match parse(json).unwrap().value {
            RawValue::Text(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(r#""\ud83d\ude00""#), "😀");
        assert_eq!(text(r#""\ud83dx""#), "\u{fffd}x");
        assert_eq!(text(r#""\ud83d\u0041""#), "\u{fffd}A");
        assert_eq!(text(r#""\/""#), "/");
    }

    #[test]
    fn keys_match_without_regard_to_case() {
        assert!(same_key("SizeMiB", "sizeMiB"));
        assert!(same_key("di\u{17f}\u{212a}s", "disks"));
        assert!(!same_key("path ", "path"));
    }

    #[test]
    fn invalid_bytes_are_replaced_one_by_one() {
        assert_eq!(lossy(b"a\xf0\x9f\x98b\xff"), "a\u{fffd}\u{fffd}\u{fffd}b\u{fffd}");
    }
}
