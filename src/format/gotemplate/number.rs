//! Parses numbers and characters as a template writes them (the Go specification's literals; package strconv).

use super::quote::{Malformed, quote, unquote_character};

/// A constant, typed by its spelling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
    /// A whole number between 2⁶³ and 2⁶⁴: it parses, but no expression can use it.
    TooBig,
}

/// The constant of a character literal, given with its quotes.
pub(super) fn character(literal: &[u8]) -> Result<Number, String> {
    match unquote_character(literal) {
        Ok(value) => Ok(Number::Int(value.into())),
        Err(Malformed::Syntax) => Err("invalid syntax".into()),
        Err(Malformed::Long) => {
            Err(format!("malformed character constant: {}", String::from_utf8_lossy(literal)))
        }
    }
}

/// Characters that make a number a float. Some of them are hexadecimal digits too.
const FRACTIONAL: [char; 5] = ['.', 'e', 'E', 'p', 'P'];

/// Parses a numeric constant. Imaginary numbers are refused, because nothing that prebake serves needs them.
pub(super) fn number(text: &str) -> Result<Number, String> {
    if text.ends_with('i') {
        return Err(format!("complex constants are not supported: {}", quote(text.as_bytes())));
    }
    // The digit `e` of a hexadecimal number looks like an exponent; if a sign follows, Go takes it for one.
    let hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    let fractional = if hexadecimal { text.contains(['p', 'P']) } else { text.contains(FRACTIONAL) };
    match (integer(text), fractional) {
        (Some(value), true) => return Ok(Number::Float(value as f64)),
        (Some(value), false) => {
            return Ok(i64::try_from(value).map_or(Number::TooBig, Number::Int));
        }
        (None, _) => {}
    }
    match float(text) {
        Some(_) if !text.contains(FRACTIONAL) => Err(format!("integer overflow: {}", quote(text.as_bytes()))),
        Some(value) => Ok(Number::Float(value)),
        None => Err(format!("illegal number syntax: {}", quote(text.as_bytes()))),
    }
}

/// Parses a whole number in any base that fits into an `int64` or, without a sign, a `uint64`.
fn integer(text: &str) -> Option<i128> {
    let signless = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (radix, digits) = match signless.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, &signless[2..]),
        Some("0o") => (8, &signless[2..]),
        Some("0b") => (2, &signless[2..]),
        _ if signless.len() > 1 && signless.starts_with('0') => (8, &signless[1..]),
        _ => (10, signless),
    };
    if !underscores_separate_digits(text) {
        return None;
    }
    let digits = digits.replace('_', "");
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let magnitude = i128::from_str_radix(&digits, radix).ok()?;
    let fits = match text.as_bytes()[0] {
        b'-' => magnitude <= 1 << 63,
        b'+' => magnitude < 1 << 63,
        _ => magnitude < 1 << 64,
    };
    fits.then_some(if text.starts_with('-') { -magnitude } else { magnitude })
}

/// Parses a finite floating-point number, decimal or hexadecimal.
fn float(text: &str) -> Option<f64> {
    if text.contains('_') && !underscores_separate_digits(text) {
        return None;
    }
    let text = text.replace('_', "");
    let signless = text.strip_prefix(['+', '-']).unwrap_or(&text);
    let magnitude = match signless.strip_prefix("0x").or_else(|| signless.strip_prefix("0X")) {
        Some(digits) => hexadecimal(digits)?,
        // The lexer lets no letters through except an exponent's, so this cannot read `inf`.
        None => signless.parse().ok()?,
    };
    let value = if text.starts_with('-') { -magnitude } else { magnitude };
    value.is_finite().then_some(value)
}

/// Parses `1.8p3`, without its `0x`; the exponent, a power of two, is mandatory.
fn hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // Larger exponents are clamped: the limit is already far beyond a float's range.
    let clean =
        exponent.strip_prefix(['+', '-']).unwrap_or(exponent).bytes().all(|digit| digit.is_ascii_digit());
    if exponent.is_empty() || !clean {
        return None;
    }
    let limit = if exponent.starts_with('-') { -100_000 } else { 100_000 };
    let mut exponent =
        exponent.parse::<i64>().unwrap_or(limit).clamp(-100_000, 100_000) - 4 * fraction.len() as i64;
    let mut bits: u64 = 0;
    for digit in whole.chars().chain(fraction.chars()) {
        let digit = u64::from(digit.to_digit(16)?);
        if bits >> 59 == 0 {
            bits = bits << 4 | digit;
        } else {
            // There is no room for the digit; a bit records whether anything was lost, which decides how a half is
            // rounded.
            exponent += 4;
            bits |= u64::from(digit != 0);
        }
    }
    // The last bit of the result is worth 2^-1074 or more; bits below it, or beyond 53 bits, are rounded once.
    let length = i64::from(64 - bits.leading_zeros());
    let excess = (-1074 - exponent).max(length - 53).clamp(0, 64);
    let kept = if excess == 64 { 0 } else { bits >> excess };
    let lost = bits - if excess == 64 { 0 } else { kept << excess };
    let half = if excess == 0 { 0 } else { 1u64 << (excess - 1) };
    let up = lost > half || lost == half && lost > 0 && kept & 1 == 1;
    let mut value = (kept + u64::from(up)) as f64;
    for _ in 0..(exponent + excess).clamp(-1200, 1200).unsigned_abs() {
        value *= if exponent + excess < 0 { 0.5 } else { 2.0 };
    }
    Some(value)
}

/// Whether underscores stand only between digits, or between a base's prefix and a digit.
fn underscores_separate_digits(text: &str) -> bool {
    let signless = text.strip_prefix(['+', '-']).unwrap_or(text).to_ascii_lowercase();
    let based = ["0x", "0o", "0b"].iter().any(|prefix| signless.starts_with(prefix));
    let digits = if based { &signless[2..] } else { &signless[..] };
    let is_digit = |character: char| {
        character.is_ascii_digit() || signless.starts_with("0x") && character.is_ascii_hexdigit()
    };
    let mut after_digit = based;
    let mut characters = digits.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '_' && !(after_digit && characters.peek().is_some_and(|next| is_digit(*next))) {
            return false;
        }
        after_digit = is_digit(character);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_typed_by_how_they_are_written() {
        let cases = [
            ("7", Number::Int(7)),
            ("-0x1F", Number::Int(-31)),
            ("017", Number::Int(15)),
            ("0b1_01", Number::Int(5)),
            ("1_000", Number::Int(1000)),
            ("-9223372036854775808", Number::Int(i64::MIN)),
            ("9223372036854775808", Number::TooBig),
            ("1e3", Number::Float(1000.0)),
            ("0x1e", Number::Int(30)),
            ("-0x1e", Number::Float(-30.0)),
            ("0x1.8p3", Number::Float(12.0)),
            ("0x1p-1074", Number::Float(5e-324)),
            ("0x1p-1075", Number::Float(0.0)),
            ("0x1.00000000000008p0", Number::Float(1.0)),
            ("0x1.000000000000080000000000001p0", Number::Float(1.0 + f64::EPSILON)),
            (".5", Number::Float(0.5)),
            ("1.", Number::Float(1.0)),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused_in_the_words_of_go() {
        let cases = [
            ("08", "integer overflow: \"08\""),
            ("99999999999999999999", "integer overflow: \"99999999999999999999\""),
            ("1__0", "illegal number syntax: \"1__0\""),
            ("0x", "illegal number syntax: \"0x\""),
            ("0x1.8", "illegal number syntax: \"0x1.8\""),
            ("1e400", "illegal number syntax: \"1e400\""),
            (".", "illegal number syntax: \".\""),
            ("2i", "complex constants are not supported: \"2i\""),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text), Err(expected.to_owned()), "{text}");
        }
    }
}
