//! The meaning of scalars in manifests, as kubectl understands them: YAML 1.1 as Go's `yaml.v2` reads it (sigs.k8s.io/yaml 1.4,
//! goyaml.v2/resolve.go), on the way to JSON. `0644` is 420, `yes` is true, `1e3` is 1000, a date is a text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

use crate::base::yaml::{Kind, Node, Style};

/// A scalar of Go's yaml.v2, before it becomes JSON.
#[derive(Debug, PartialEq)]
enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
}

/// The JSON value of a scalar.
///
/// # Errors
/// In words: a tag that does not fit, or a number that JSON does not have.
pub fn value(node: &Node) -> Result<Value, String> {
    Ok(match scalar(node)? {
        Scalar::Null => Value::Null,
        Scalar::Bool(it) => Value::Bool(it),
        Scalar::Int(it) => it.into(),
        Scalar::Unsigned(it) => it.into(),
        Scalar::Float(it) => number(it).ok_or_else(|| format!("{} is no number of JSON", spelling(node)))?,
        Scalar::Text(it) => Value::String(it),
    })
}

/// The name that a key has in JSON.
///
/// # Errors
/// In words: a key that is null, or a collection.
pub fn key(node: &Node) -> Result<String, String> {
    if node.scalar().is_none() {
        return Err("a key must be a name".into());
    }
    Ok(match scalar(node)? {
        Scalar::Null => return Err("a key must not be empty or null".into()),
        Scalar::Bool(it) => it.to_string(),
        Scalar::Int(it) => it.to_string(),
        Scalar::Unsigned(it) => it.to_string(),
        // As the shortest text of its single precision, exponents apart.
        Scalar::Float(it) => (it as f32).to_string(),
        Scalar::Text(it) => it,
    })
}

fn spelling(node: &Node) -> &str {
    node.scalar().unwrap_or_default()
}

/// A float as Go's JSON writes it: without a fraction it is an integer, which the API server wants for its fields of that type.
fn number(float: f64) -> Option<Value> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if float.fract() == 0.0 && float.abs() <= EXACT {
        return Some((float as i64).into());
    }
    Number::from_f64(float).map(Value::Number)
}

fn scalar(node: &Node) -> Result<Scalar, String> {
    let Kind::Scalar(text, style) = &node.kind else { return Err("a text or number must stand here".into()) };
    let found = match (node.tag.as_deref(), style) {
        (Some("!!str" | "!"), _) | (None, Style::Quoted | Style::Block) => Scalar::Text(text.clone()),
        (Some("!!binary"), _) => {
            let bare: String = text.split_whitespace().collect();
            let bytes =
                STANDARD.decode(bare).map_err(|error| format!("this !!binary is no base64: {error}"))?;
            Scalar::Text(
                String::from_utf8(bytes)
                    .map_err(|_| "this !!binary is no text, which JSON needs".to_owned())?,
            )
        }
        (None, Style::Plain) => plain(text),
        (Some(tag), _) => {
            let found = plain(text);
            let fits = match (tag, &found) {
                ("!!null", Scalar::Null) | ("!!bool", Scalar::Bool(_)) | ("!!float", Scalar::Float(_)) => {
                    true
                }
                ("!!int", Scalar::Int(_) | Scalar::Unsigned(_)) | ("!!timestamp", Scalar::Text(_)) => true,
                ("!!float", Scalar::Int(_) | Scalar::Unsigned(_)) => true,
                // A tag of one's own means nothing here; Go takes the text.
                _ if !tag.starts_with("!!") => return Ok(Scalar::Text(text.clone())),
                _ => false,
            };
            if !fits {
                return Err(format!("`{text}` is no {tag}"));
            }
            found
        }
    };
    Ok(found)
}

/// The meaning of a scalar without quotes.
fn plain(text: &str) -> Scalar {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ => numeric(text).unwrap_or_else(|| Scalar::Text(text.to_owned())),
    }
}

fn numeric(text: &str) -> Option<Scalar> {
    match text.bytes().next()? {
        b'.' => float(text),
        b'0'..=b'9' | b'+' | b'-' => {
            let bare = text.replace('_', "");
            integer(&bare).or_else(|| float(&bare))
        }
        _ => None,
    }
}

/// As `strconv.ParseInt(text, 0, 64)`, then `ParseUint`.
fn integer(text: &str) -> Option<Scalar> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match () {
        () if lower.starts_with("0x") => (16, &digits[2..]),
        () if lower.starts_with("0b") => (2, &digits[2..]),
        () if lower.starts_with("0o") => (8, &digits[2..]),
        () if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        () => (10, digits),
    };
    // Rust takes a sign here, too.
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let amount = u64::from_str_radix(digits, base).ok()?;
    match i64::try_from(amount) {
        Ok(amount) => Some(Scalar::Int(if negative { -amount } else { amount })),
        Err(_) if negative => (amount == i64::MIN.unsigned_abs()).then_some(Scalar::Int(i64::MIN)),
        // ParseUint takes no sign at all.
        Err(_) => (!text.starts_with('+')).then_some(Scalar::Unsigned(amount)),
    }
}

/// As the pattern `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$` and `strconv.ParseFloat`.
fn float(text: &str) -> Option<Scalar> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && is_digits(fraction),
        Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
        None => !mantissa.is_empty() && is_digits(mantissa),
    };
    let is_exponent = exponent.is_none_or(|text| {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        !digits.is_empty() && is_digits(digits)
    });
    let float: f64 = (is_mantissa && is_exponent).then(|| text.parse().ok())??;
    // Go's ParseFloat fails beyond the range, and the scalar stays a text.
    float.is_finite().then_some(Scalar::Float(float))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// facts/cluster.md §4: a reader of YAML 1.2 makes 644 of `defaultMode: 0644`.
    #[test]
    fn octal_modes_are_octal_and_words_are_truths() {
        for (text, meant) in [
            ("0644", Scalar::Int(420)),
            ("0o17", Scalar::Int(15)),
            ("0x1F", Scalar::Int(31)),
            ("-0b11", Scalar::Int(-3)),
            ("1_000", Scalar::Int(1000)),
            ("0899", Scalar::Float(899.0)),
            ("18446744073709551615", Scalar::Unsigned(u64::MAX)),
            ("-9223372036854775808", Scalar::Int(i64::MIN)),
            ("1e3", Scalar::Float(1000.0)),
            (".5", Scalar::Float(0.5)),
            ("1.", Scalar::Float(1.0)),
            ("yes", Scalar::Bool(true)),
            ("Off", Scalar::Bool(false)),
            ("~", Scalar::Null),
            ("2001-01-01", Scalar::Text("2001-01-01".into())),
            ("10.0.0.1", Scalar::Text("10.0.0.1".into())),
            ("0x", Scalar::Text("0x".into())),
            ("1:30", Scalar::Text("1:30".into())),
            ("+-1", Scalar::Text("+-1".into())),
            ("1e999", Scalar::Text("1e999".into())),
            ("infinity", Scalar::Text("infinity".into())),
        ] {
            assert_eq!(plain(text), meant, "{text}");
        }
    }
}
