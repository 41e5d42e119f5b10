//! Characters as Go sees them: possibly invalid UTF-8, and the character classes of Go's lexer and printer.
//!
//! The standard library's classes differ (`char::is_alphabetic` includes marks), and come from another Unicode version.

mod tables;

/// Replacement for a byte that is not UTF-8 (`utf8.RuneError`).
pub(super) const BROKEN: char = char::REPLACEMENT_CHARACTER;

/// The first character and its length in bytes; `None` with length 1 for a byte that begins no character, and `None`
/// with length 0 at the end.
pub(super) fn first(bytes: &[u8]) -> (Option<char>, usize) {
    let width = match bytes.first() {
        None => return (None, 0),
        Some(0..=0x7f) => 1,
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        Some(_) => return (None, 1),
    };
    let text = bytes.get(..width).and_then(|bytes| std::str::from_utf8(bytes).ok());
    match text.and_then(|text| text.chars().next()) {
        Some(character) => (Some(character), width),
        None => (None, 1),
    }
}

/// The characters, each with its bytes; `None` for a byte that is not UTF-8.
pub(super) fn characters(mut bytes: &[u8]) -> impl Iterator<Item = (Option<char>, &[u8])> {
    std::iter::from_fn(move || {
        let (character, width) = first(bytes);
        let (head, rest) = bytes.split_at(width);
        bytes = rest;
        (width > 0).then_some((character, head))
    })
}

/// Whether a character may be part of the name of a field, variable or function.
pub(super) fn is_alphanumeric(character: char) -> bool {
    match character {
        '_' | 'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        '\0'..='\x7f' => false,
        other => within(&tables::LETTERS, other) || within(&tables::DIGITS, other),
    }
}

/// Whether a quoted text shows the character as it is.
pub(super) fn is_printable(character: char) -> bool {
    within(&tables::PRINTABLE, character)
}

fn within(edges: &[u32], character: char) -> bool {
    edges.partition_point(|edge| *edge <= u32::from(character)) % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_bytes_count_one_by_one() {
        let text = b"a\xff\xc3\xa4\xe2\x82\xed\xa0\x80";
        let widths: Vec<_> = characters(text).map(|(character, bytes)| (character, bytes.len())).collect();
        let broken = (None, 1);
        assert_eq!(widths, [(Some('a'), 1), broken, (Some('ä'), 2), broken, broken, broken, broken, broken]);
    }

    #[test]
    fn classes_are_those_of_go() {
        assert!(is_alphanumeric('ß') && is_alphanumeric('٣') && is_alphanumeric('_'));
        assert!(!is_alphanumeric('\u{345}') && !is_alphanumeric('-') && !is_alphanumeric('Ⓐ'));
        assert!(is_printable('ä') && is_printable(' ') && is_printable('\u{345}'));
        assert!(!is_printable('\u{a0}') && !is_printable('\u{feff}') && !is_printable('\u{7f}'));
    }
}
