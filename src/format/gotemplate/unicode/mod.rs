//! Characters as Go sees them: UTF-8 that may be broken, and the classes that Go's lexer and printer ask for.
//!
//! The standard library's classes are others (`char::is_alphabetic` holds for marks) and of another Unicode.

mod tables;

/// What a byte that is no UTF-8 counts as (`utf8.RuneError`).
pub(super) const BROKEN: char = char::REPLACEMENT_CHARACTER;

/// The first character and its length in bytes; nothing for a byte that does not begin one, which counts as one of its
/// own, and at the end.
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

/// The characters with the bytes they stand in; nothing for a byte that is no UTF-8.
pub(super) fn characters(mut bytes: &[u8]) -> impl Iterator<Item = (Option<char>, &[u8])> {
    std::iter::from_fn(move || {
        let (character, width) = first(bytes);
        let (head, rest) = bytes.split_at(width);
        bytes = rest;
        (width > 0).then_some((character, head))
    })
}

/// What may stand in the name of a field, variable or function.
pub(super) fn is_alphanumeric(character: char) -> bool {
    match character {
        '_' | 'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        '\0'..='\x7f' => false,
        other => within(&tables::LETTERS, other) || within(&tables::DIGITS, other),
    }
}

/// What a quoted text shows as it is.
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
