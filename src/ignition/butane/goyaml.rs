//! Decodes scalars as gopkg.in/yaml.v3 does into Go's types.
//!
//! Butane's modes, numbers and booleans follow that library and not the YAML specification: `0644` is octal, `0888` a
//! float that becomes 888, `yes` a boolean in a boolean field and a text elsewhere.

use prebake_text::yaml::{Kind, Node, Style};

use crate::data_url::from_base64;

/// A scalar that does not fit its field; the text is Go's, without the line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit(pub String);

/// The type and value that yaml.v3 gives a scalar.
#[derive(Debug, PartialEq)]
enum Resolved {
    Null,
    Flag(bool),
    Int(i64),
    /// An integer beyond 63 bits.
    Big,
    Float(f64),
    Text,
    Binary(Vec<u8>),
}

impl Resolved {
    fn tag(&self) -> &'static str {
        match self {
            Resolved::Null => "!!null",
            Resolved::Flag(_) => "!!bool",
            Resolved::Int(_) | Resolved::Big => "!!int",
            Resolved::Float(_) => "!!float",
            Resolved::Text => "!!str",
            Resolved::Binary(_) => "!!binary",
        }
    }
}

/// Whether a node is a null, which leaves its field unset.
pub(crate) fn is_null(node: &Node) -> bool {
    matches!(resolve(node), Ok(Resolved::Null))
}

/// Decodes the bytes of a text field: every scalar keeps its spelling, `!!binary` is decoded.
pub(crate) fn bytes(node: &Node) -> Result<Option<Vec<u8>>, Misfit> {
    match (resolve(node)?, node.scalar()) {
        (Resolved::Null, _) => Ok(None),
        (Resolved::Binary(bytes), _) => Ok(Some(bytes)),
        (_, Some(text)) => Ok(Some(text.as_bytes().to_vec())),
        (_, None) => Err(misfit(node, "string")),
    }
}

/// Decodes a whole number. Floats lose their fraction.
pub(crate) fn int(node: &Node) -> Result<Option<i64>, Misfit> {
    match resolve(node)? {
        Resolved::Null => Ok(None),
        Resolved::Int(number) => Ok(Some(number)),
        // As in Go, NaN and numbers that are too large fail; those that are too small become the smallest.
        Resolved::Float(number) if number <= i64::MAX as f64 && number < 9.3e18 => Ok(Some(number as i64)),
        _ => Err(misfit(node, "int")),
    }
}

/// Decodes a boolean, including YAML 1.1's words, quoted or not.
pub(crate) fn flag(node: &Node) -> Result<Option<bool>, Misfit> {
    match (resolve(node)?, node.scalar()) {
        (Resolved::Null, _) => Ok(None),
        (Resolved::Flag(flag), _) => Ok(Some(flag)),
        (Resolved::Text, Some("y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON")) => Ok(Some(true)),
        (Resolved::Text, Some("n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF")) => Ok(Some(false)),
        _ => Err(misfit(node, "bool")),
    }
}

/// Whether a quoted text would be a number or a boolean without its quotes.
pub(crate) fn is_quoted_number_or_flag(node: &Node) -> bool {
    matches!(&node.kind, Kind::Scalar(text, Style::Quoted)
        if node.tag.is_none() && !matches!(resolve_plain(text), Resolved::Text | Resolved::Null))
}

/// The error for a value of the wrong kind.
pub(crate) fn misfit(node: &Node, wanted: &str) -> Misfit {
    let found = match &node.kind {
        Kind::Sequence(_) => "!!seq".to_owned(),
        Kind::Mapping(_) => "!!map".to_owned(),
        Kind::Scalar(text, _) => {
            let tag = resolve(node).map_or("!!str", |resolved| resolved.tag());
            match text.char_indices().nth(7) {
                Some((cut, _)) if text.len() > 10 => format!("{tag} `{}...`", &text[..cut]),
                _ => format!("{tag} `{text}`"),
            }
        }
    };
    Misfit(format!("cannot unmarshal {found} into {wanted}"))
}

/// Resolves a scalar; lists and mappings count as text, which fits no field.
fn resolve(node: &Node) -> Result<Resolved, Misfit> {
    let Kind::Scalar(text, style) = &node.kind else { return Ok(Resolved::Text) };
    let tag = node.tag.as_deref();
    match tag {
        Some("!!str") => return Ok(Resolved::Text),
        Some("!!binary") => {
            let bytes = from_base64(text);
            return bytes
                .map(Resolved::Binary)
                .ok_or_else(|| Misfit("!!binary value contains invalid base64 data".into()));
        }
        None if *style != Style::Plain => return Ok(Resolved::Text),
        // Dates are text wherever a config has them; Go ignores all other tags than these.
        Some("!!timestamp") if text.split('-').next().is_some_and(|year| year.len() == 4) => {
            return Ok(Resolved::Text);
        }
        Some(tag) if !matches!(tag, "!!bool" | "!!int" | "!!float" | "!!null" | "!!timestamp") => {
            return Ok(Resolved::Text);
        }
        _ => {}
    }
    let resolved = resolve_plain(text);
    match (tag, resolved) {
        (None, resolved) => Ok(resolved),
        (Some("!!float"), Resolved::Int(number)) => Ok(Resolved::Float(number as f64)),
        (Some(tag), resolved) if tag == resolved.tag() => Ok(resolved),
        (Some(tag), resolved) => Err(Misfit(format!("cannot decode {} `{text}` as a {tag}", resolved.tag()))),
    }
}

fn resolve_plain(text: &str) -> Resolved {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Resolved::Null,
        "true" | "True" | "TRUE" => return Resolved::Flag(true),
        "false" | "False" | "FALSE" => return Resolved::Flag(false),
        ".nan" | ".NaN" | ".NAN" => return Resolved::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Resolved::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Resolved::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let first = text.as_bytes()[0];
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return Resolved::Text;
    }
    if first == b'.' {
        return float(text);
    }
    let plain = text.replace('_', "");
    match integer(&plain) {
        Some(resolved) => resolved,
        None => float(&plain),
    }
}

/// Go's `ParseInt(text, 0, 64)`: `0x`, `0o`, `0b` in either case, and `0` for octal.
fn integer(text: &str) -> Option<Resolved> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let prefixed = |prefix: [&str; 2]| prefix.iter().find_map(|prefix| digits.strip_prefix(prefix));
    let (digits, radix) = if let Some(rest) = prefixed(["0x", "0X"]) {
        (rest, 16)
    } else if let Some(rest) = prefixed(["0o", "0O"]) {
        (rest, 8)
    } else if let Some(rest) = prefixed(["0b", "0B"]) {
        (rest, 2)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (&digits[1..], 8)
    } else {
        (digits, 10)
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    // Beyond 128 bits it is beyond 64 as well.
    let magnitude = i128::from_str_radix(digits, radix).unwrap_or(i128::MAX);
    let number = if negative { -magnitude } else { magnitude };
    match i64::try_from(number) {
        Ok(number) => Some(Resolved::Int(number)),
        Err(_) => u64::try_from(number).ok().map(|_| Resolved::Big),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`; a number beyond a float's range is a text.
fn float(text: &str) -> Resolved {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let some = |text: &str| !text.is_empty() && digits(text);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let shaped = match whole.is_empty() {
        true => some(fraction),
        false => digits(whole) && digits(fraction),
    };
    if !shaped || !some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)) {
        return Resolved::Text;
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Resolved::Float(number),
        _ => Resolved::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prebake_text::finding::Source;

    fn node(text: &str) -> Node {
        prebake_text::yaml::parse(&Source::new("x.yaml", text)).unwrap()
    }

    #[test]
    fn numbers_are_read_as_yaml_1_1_and_go_do() {
        for text in
            ["0644", "0o644", "0O644", "+0644", "0_644", "420", "0x1a4", "0X1A4", "0b110100100", "420.7"]
        {
            assert_eq!(int(&node(text)), Ok(Some(420)), "{text}");
        }
        let more =
            [("0888", 888), ("1e2", 100), ("-5", -5), ("0", 0), ("1_000", 1000), ("!!float 3", 3), (".5", 0)];
        for (text, number) in more {
            assert_eq!(int(&node(text)), Ok(Some(number)), "{text}");
        }
        for text in
            ["\"0644\"", "rw", "0x", "1:30", "1e999", ".nan", ".inf", "!!str 5", "18446744073709551615"]
        {
            assert!(int(&node(text)).is_err(), "{text}");
        }
        assert_eq!(int(&node("~")), Ok(None));
        assert_eq!(int(&node("rw")), Err(Misfit("cannot unmarshal !!str `rw` into int".into())));
    }

    #[test]
    fn booleans_take_the_words_of_yaml_1_1() {
        for text in ["true", "True", "y", "YES", "on", "\"yes\""] {
            assert_eq!(flag(&node(text)), Ok(Some(true)), "{text}");
        }
        assert_eq!(flag(&node("off")), Ok(Some(false)));
        for text in ["1", "maybe", "\"true\"", "yEs"] {
            assert!(flag(&node(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn texts_keep_their_spelling() {
        for text in ["1.50", "true", "007", "2031-05-06", "no"] {
            assert_eq!(bytes(&node(text)), Ok(Some(text.into())), "{text}");
        }
        assert_eq!(bytes(&node("!!binary aGk=")), Ok(Some(b"hi".to_vec())));
        assert!(bytes(&node("!!binary '%'")).is_err());
        assert!(bytes(&node("[a]")).is_err());
    }
}
