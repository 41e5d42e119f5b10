//! Explanations in servers' answers: reasons of refusals, and HTML pages instead of files.

use serde_json::Value;

use crate::base::finding::is_unseen;

/// Longest explanation that is shown, in characters.
const LONGEST: usize = 300;

/// The explanation in a refusal's body: a registry's `errors` (OCI distribution specification, "Error Codes"), a token
/// service's `details` or `error_description` (RFC 6749 §5.2), or `message`. Made safe for a terminal, and shortened.
pub fn of_refusal(body: &[u8]) -> Option<String> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let value: Value = serde_json::from_slice(body).ok()?;
    let text = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty()).map(str::to_owned)
    };
    let one = |error: &Value| {
        let detail = text(error, "detail").map(|detail| format!(" ({detail})")).unwrap_or_default();
        match (text(error, "code"), text(error, "message")) {
            (Some(code), Some(message)) => Some(format!("{code}: {message}{detail}")),
            (code, message) => message.or(code).map(|words| words + &detail),
        }
    };
    let listed = value.get("errors").and_then(Value::as_array).map(|errors| {
        errors
            .iter()
            .filter_map(|error| one(error).or_else(|| error.as_str().map(str::to_owned)))
            .collect::<Vec<_>>()
    });
    let words = match listed {
        Some(listed) if !listed.is_empty() => listed.join("; "),
        _ => ["error_description", "details", "message", "error", "detail"]
            .iter()
            .find_map(|name| text(&value, name))?,
    };
    Some(printable(&words))
}

/// serde's words for types, with ours.
const TYPES: [(&str, &str); 12] = [
    ("struct", "a mapping of keys"),
    ("internally tagged enum", "a mapping of keys"),
    ("map", "a mapping of keys"),
    ("a map", "a mapping of keys"),
    ("enum", "one of its names"),
    ("sequence", "a list"),
    ("a sequence", "a list"),
    ("tuple", "a list"),
    ("a tuple", "a list"),
    ("unit value", "nothing"),
    ("null", "nothing"),
    ("unit", "nothing"),
];

/// The words of a serde error for people who know no Rust: `expected struct Lock` names a type of our sources.
pub(crate) fn of_serde(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let (text, place) = match text.rsplit_once(" at line ") {
        Some((text, place)) => (text, format!(" at line {place}")),
        None => (text.as_str(), String::new()),
    };
    for kind in ["invalid type: ", "invalid value: ", "invalid length "] {
        let Some((before, rest)) = text.split_once(kind) else { continue };
        let Some((found, wanted)) = rest.split_once(", expected ") else { continue };
        let found = if kind == "invalid length " { format!("a list of {found}") } else { of_type(found) };
        return format!("{before}{found} stands where {} belongs{place}", of_type(wanted));
    }
    let renamed = [
        ("missing field ", "", " is missing"),
        ("duplicate field ", "", " is there twice"),
        ("unknown field ", "unknown key ", ""),
        ("unknown variant ", "unknown value ", ""),
    ];
    for (serde, begin, end) in renamed {
        let Some((before, rest)) = text.split_once(serde) else { continue };
        let rest = rest.replace(", expected one of ", "; known: ").replace(", expected ", "; known: ");
        return format!("{before}{begin}{rest}{end}{place}");
    }
    if text.starts_with("EOF while parsing") {
        return format!("it ends too early{place}");
    }
    match text {
        "trailing characters" => format!("more follows after its end{place}"),
        "expected value" | "expected ident" => format!("it is not JSON{place}"),
        _ => format!("{text}{place}"),
    }
}

fn of_type(words: &str) -> String {
    if let Some((_, word)) =
        TYPES.iter().find(|(serde, _)| words == *serde || words.starts_with(&format!("{serde} ")))
    {
        return (*word).to_owned();
    }
    let is_number = |word: &str| {
        let digits = word.trim_start_matches(['u', 'i', 'f']);
        digits != word && (digits == "size" || digits.parse::<u16>().is_ok())
    };
    for (serde, ours) in [
        ("integer ", "the number "),
        ("floating point ", "the number "),
        ("string ", "the text "),
        ("boolean ", ""),
    ] {
        if let Some(value) = words.strip_prefix(serde) {
            return format!("{ours}{}", value.trim_matches('`'));
        }
    }
    if is_number(words) { "a whole number".into() } else { words.to_owned() }
}

/// The title of an HTML page, if these bytes are one. Captive portals, proxies and error pages send such pages with
/// status 200.
pub fn page(bytes: &[u8]) -> Option<String> {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).to_string();
    let lower = start.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    let is_page = ["<!doctype html", "<html", "<head", "<body", "<script", "<meta "]
        .iter()
        .any(|tag| lower.starts_with(tag))
        || (lower.starts_with("<?xml") || lower.starts_with("<!--")) && lower.contains("<html");
    is_page.then(|| {
        let title = start.to_ascii_lowercase().find("<title").and_then(|at| {
            let (_, rest) = start.get(at..)?.split_once('>')?;
            Some(printable(rest.split('<').next()?.trim()))
        });
        title.filter(|title| !title.is_empty()).unwrap_or_default()
    })
}

/// A server's text, made safe for a terminal: without control characters and marks that change the direction of text,
/// and not too long.
pub(crate) fn printable(text: &str) -> String {
    let spaced = text.replace(['\n', '\r', '\t'], " ");
    let mut found = spaced.chars().filter(|letter| !is_unseen(*letter));
    let mut words: String = found.by_ref().take(LONGEST).collect();
    if found.next().is_some() {
        words.push('…');
    }
    words
}

/// Escapes text for an element or a double-quoted attribute. Line ends become references, or a parser would turn them
/// into blanks; characters that XML 1.0 (§2.2) does not have are replaced.
pub(crate) fn in_xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\t' | '\n' | '\r' => escaped += &format!("&#{};", letter as u32),
            '\0'..'\u{20}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// A machine's own words, made safe for a log: control and format characters, separators and characters without a glyph
/// are escaped as in Rust, so that they cannot move the cursor, forge a second line or change the direction of text.
/// Quotes are kept.
pub(crate) fn escaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '\'' | '\\' => plain.push(letter),
            _ => plain.extend(letter.escape_debug()),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusals_words_are_found_in_every_registrys_json_and_cannot_move_the_cursor() {
        let cases = [
            (r#"{"errors":[{"code":"DENIED","message":"Xray blocks it"}]}"#, Some("DENIED: Xray blocks it")),
            (r#"{"errors":[{"code":"A"},{"message":"b","detail":"c"}]}"#, Some("A; b (c)")),
            (r#"{"errors":[{"code":"A","message":"","detail":{"x":1}}]}"#, Some("A")),
            (r#"{"errors":["plain"]}"#, Some("plain")),
            (r#"{"details":"incorrect username or password"}"#, Some("incorrect username or password")),
            (r#"{"error":"invalid_grant","error_description":"too old"}"#, Some("too old")),
            ("\u{feff}{\"message\":\"m\"}", Some("m")),
            (r#"{"message":"a\u001b[2Jb\nc\u202ed"}"#, Some("a[2Jb cd")),
            (r#"{"errors":[]}"#, None),
            (r#"{"errors":{}}"#, None),
            ("<html>no</html>", None),
            ("", None),
        ];
        for (body, words) in cases {
            assert_eq!(of_refusal(body.as_bytes()).as_deref(), words, "{body}");
        }
        let long = format!(r#"{{"message":"{}"}}"#, "ä".repeat(1000));
        assert_eq!(of_refusal(long.as_bytes()).unwrap().chars().count(), LONGEST + 1);
    }

    /// ux.md 1.18, 2026-11-28: `invalid type: string "<<<<<<< HEAD", expected struct Lock`.
    #[test]
    fn a_serde_error_names_no_type_of_rust() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only the errors count")]
        struct Row {
            size: u64,
            names: Vec<String>,
        }
        for (text, words) in [
            ("[]", "a list of 0 stands where a mapping of keys belongs"),
            ("\"a\"", "the text \"a\" stands where a mapping of keys belongs"),
            ("{\"size\": \"a\"}", "the text \"a\" stands where a whole number belongs"),
            ("{\"size\": -1}", "the number -1 stands where a whole number belongs"),
            ("{\"size\": 1, \"names\": {}}", "a mapping of keys stands where a list belongs"),
            ("{\"size\": 1}", "`names` is missing"),
            ("{\"sise\": 1}", "unknown key `sise`; known: `size` or `names`"),
            ("{\"size\": 1, \"size\": 1}", "`size` is there twice"),
            ("{\"size\"", "it ends too early"),
            ("hello", "it is not JSON"),
        ] {
            let error = serde_json::from_str::<Row>(text).unwrap_err();
            assert_eq!(of_serde(&error).split(" at line 1 column ").next(), Some(words), "{error}");
        }
        let error = serde_yaml::from_str::<Row>("size: a\nnames: []\n").unwrap_err();
        let said = of_serde(&error);
        assert!(said.starts_with("size: the text \"a\" stands where a whole number belongs"), "{said}");
    }

    #[test]
    fn a_page_is_told_from_what_should_be_there() {
        let cases: [(&[u8], Option<&str>); 8] = [
            (b"<!DOCTYPE html><html><head><title>Please sign in</title>", Some("Please sign in")),
            (b"\xef\xbb\xbf\n <HTML><TITLE lang=de>\x1b[1mA</TITLE>", Some("[1mA")),
            (b"<?xml version='1.0'?><!DOCTYPE html PUBLIC><html>", Some("")),
            (b"<html>", Some("")),
            (b"<?xml version='1.0'?><Error/>", None),
            (b"FLATCAR_VERSION=1", None),
            (b"\x88\x75\x04\x00", None),
            (b"", None),
        ];
        for (bytes, title) in cases {
            assert_eq!(page(bytes).as_deref(), title, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
