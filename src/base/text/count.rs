//! Counts as sentences have them: `1 member`, `2 members`, `second attempt`.

use std::fmt::Display;

/// A count and its noun, given in the singular: `1 entry`, `2 entries`.
pub fn counted(count: impl Copy + Display + PartialEq + From<u8>, noun: &str) -> String {
    if count == 1.into() {
        return format!("{count} {noun}");
    }
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{count} {stem}ies"),
        _ if noun.ends_with(['s', 'x']) || noun.ends_with("ch") => format!("{count} {noun}es"),
        _ => format!("{count} {noun}s"),
    }
}

/// How often something was done: `once`, `twice`, `3 times`.
pub fn times(number: u64) -> String {
    match number {
        1 => "once".into(),
        2 => "twice".into(),
        _ => format!("{number} times"),
    }
}

/// A place in a row: `second`, `third`, and from the eleventh on `11th`.
pub fn ordinal(number: u64) -> String {
    const WORDS: [&str; 10] =
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"];
    let word = number.checked_sub(1).and_then(|index| WORDS.get(usize::try_from(index).ok()?));
    let end = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    word.map_or_else(|| format!("{number}{end}"), |word| (*word).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_all_others_are_plural() {
        let told = |count: u64| ["byte", "entry", "key", "box", "match"].map(|noun| counted(count, noun));
        assert_eq!(told(1), ["1 byte", "1 entry", "1 key", "1 box", "1 match"]);
        assert_eq!(told(0), ["0 bytes", "0 entries", "0 keys", "0 boxes", "0 matches"]);
        assert_eq!(told(21), ["21 bytes", "21 entries", "21 keys", "21 boxes", "21 matches"]);
    }

    #[test]
    fn ordinals_are_words_up_to_ten_and_digits_beyond() {
        let told: Vec<_> = [1, 2, 10, 11, 12, 21, 22, 113].map(ordinal).into();
        assert_eq!(told, ["first", "second", "tenth", "11th", "12th", "21st", "22nd", "113th"]);
    }
}
