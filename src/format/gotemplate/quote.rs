//! Go's string and character literals (the Go specification's "String literals"; package strconv).

use super::unicode::{self, BROKEN};

/// A text as a Go literal in double quotes (`%q`).
pub(super) fn quote(text: &[u8]) -> String {
    quoted(text, '"', false)
}

/// Like [`quote`], with any quotation mark, and optionally in ASCII only (`%+q`).
pub(super) fn quoted(text: &[u8], mark: char, ascii: bool) -> String {
    let mut out = String::from(mark);
    for (character, bytes) in unicode::characters(text) {
        match character {
            Some(character) => escape(character, mark, ascii, &mut out),
            None => out.push_str(&format!("\\x{:02x}", bytes[0])),
        }
    }
    out.push(mark);
    out
}

fn escape(character: char, mark: char, ascii: bool, out: &mut String) {
    match character {
        '\\' => out.push_str("\\\\"),
        _ if character == mark => out.extend(['\\', mark]),
        _ if unicode::is_printable(character) && (character.is_ascii() || !ascii) => out.push(character),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        '\0'..='\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(character))),
        '\u{80}'..='\u{ffff}' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
        _ => out.push_str(&format!("\\U{:08x}", u32::from(character))),
    }
}

/// Whether a text can be written between backquotes (`%#q`).
pub(super) fn fits_backquotes(text: &[u8]) -> bool {
    unicode::characters(text).all(|(character, _)| match character {
        None | Some('`' | '\u{feff}' | '\x7f') => false,
        Some(character) => character >= ' ' || character == '\t',
    })
}

/// The text of a literal, given with its quotes; `None` if it is malformed.
pub(super) fn unquote(literal: &[u8]) -> Option<Vec<u8>> {
    let inner = literal.get(1..literal.len().checked_sub(1)?)?;
    if literal[0] == b'`' {
        return Some(inner.iter().copied().filter(|byte| *byte != b'\r').collect());
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while !rest.is_empty() {
        let (piece, tail) = unescape(rest, b'"')?;
        match piece {
            Piece::Byte(byte) => out.push(byte),
            Piece::Character(character) => out.extend(character.to_string().bytes()),
        }
        rest = tail;
    }
    Some(out)
}

/// Reasons why a character literal is malformed.
pub(super) enum Malformed {
    /// An unknown escape, or nothing at all.
    Syntax,
    /// More than one character.
    Long,
}

/// The code point of a character literal, given with its quotes.
pub(super) fn unquote_character(literal: &[u8]) -> Result<u32, Malformed> {
    let (piece, tail) = unescape(&literal[1..], b'\'').ok_or(Malformed::Syntax)?;
    match (piece, tail) {
        (Piece::Byte(byte), b"'") => Ok(byte.into()),
        (Piece::Character(character), b"'") => Ok(character.into()),
        _ => Err(Malformed::Long),
    }
}

enum Piece {
    /// `\x` and octal escapes stand for bytes, not for characters.
    Byte(u8),
    Character(char),
}

/// The first character or escape of a literal with this quotation mark, and the rest.
fn unescape(text: &[u8], mark: u8) -> Option<(Piece, &[u8])> {
    let (&head, tail) = text.split_first()?;
    if head == mark || head == b'\n' {
        return None;
    }
    if head != b'\\' {
        let (character, width) = unicode::first(text);
        return Some((Piece::Character(character.unwrap_or(BROKEN)), &text[width..]));
    }
    let (&kind, tail) = tail.split_first()?;
    let digits = |count: usize, radix: u32, from: &'_ [u8]| -> Option<u32> {
        let digits = std::str::from_utf8(from.get(..count)?).ok()?;
        let clean = digits.bytes().all(|digit| char::from(digit).is_digit(radix));
        clean.then(|| u32::from_str_radix(digits, radix).ok()).flatten()
    };
    let piece = match kind {
        b'a' => Piece::Byte(7),
        b'b' => Piece::Byte(8),
        b'f' => Piece::Byte(12),
        b'n' => Piece::Byte(b'\n'),
        b'r' => Piece::Byte(b'\r'),
        b't' => Piece::Byte(b'\t'),
        b'v' => Piece::Byte(11),
        b'\\' => Piece::Byte(b'\\'),
        b'\'' | b'"' if kind == mark => Piece::Byte(kind),
        b'x' => return Some((Piece::Byte(digits(2, 16, tail)? as u8), &tail[2..])),
        b'0'..=b'7' => {
            let value = u8::try_from(digits(3, 8, &text[1..])?).ok()?;
            return Some((Piece::Byte(value), &text[4..]));
        }
        b'u' | b'U' => {
            let count = if kind == b'u' { 4 } else { 8 };
            let character = char::from_u32(digits(count, 16, tail)?)?;
            return Some((Piece::Character(character), &tail[count..]));
        }
        _ => return None,
    };
    Some((piece, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_escapes_what_is_not_printed() {
        assert_eq!(quote(b"a\"\\\n\x01\xffb"), r#""a\"\\\n\x01\xffb""#);
        assert_eq!(quote("ä\u{a0}\u{1f600}\u{e0001}".as_bytes()), "\"ä\\u00a0\u{1f600}\\U000e0001\"");
        assert_eq!(quoted("ä'".as_bytes(), '\'', true), r"'\u00e4\''");
    }

    #[test]
    fn unquoting_reads_every_escape_and_refuses_others() {
        let text = unquote(br#""\a\t\x41\101\u00e4\U0001F600\"\\""#);
        assert_eq!(text, Some("\x07\tAAä\u{1f600}\"\\".into()));
        assert_eq!(unquote(b"`a\\\r\nb`"), Some(b"a\\\nb".to_vec()));
        for bad in [r#""\q""#, r#""\x4""#, r#""\400""#, r#""\ud800""#, r#""\'""#, r#""\x+1""#] {
            assert_eq!(unquote(bad.as_bytes()), None, "{bad}");
        }
    }
}
