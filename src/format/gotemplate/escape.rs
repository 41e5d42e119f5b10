//! The escaping functions `html`, `js` and `urlquery`.

use super::unicode::{self, BROKEN};

/// Escapes for HTML text and attributes (`template.HTMLEscape`).
pub(super) fn html(text: &[u8]) -> Vec<u8> {
    replace(text, |byte| match byte {
        b'\0' => Some("\u{fffd}".into()),
        b'"' => Some("&#34;".into()),
        b'\'' => Some("&#39;".into()),
        b'&' => Some("&amp;".into()),
        b'<' => Some("&lt;".into()),
        b'>' => Some("&gt;".into()),
        _ => None,
    })
}

/// Escapes for a JavaScript string (`template.JSEscape`).
pub(super) fn js(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for (character, bytes) in unicode::characters(text) {
        let character = character.unwrap_or(BROKEN);
        match character {
            '\\' | '\'' | '"' => out.extend([b'\\', bytes[0]]),
            '\0'..=' ' | '<' | '>' | '&' | '=' if character != ' ' => {
                out.extend(format!("\\u{:04X}", u32::from(character)).bytes());
            }
            '\0'..='\x7f' => out.push(bytes[0]),
            // Bytes that are not UTF-8 are copied, because Go's replacement character is printable.
            _ if unicode::is_printable(character) => out.extend(bytes),
            _ => out.extend(format!("\\u{:04X}", u32::from(character)).bytes()),
        }
    }
    out
}

/// Escapes for the query of a URL (`url.QueryEscape`).
pub(super) fn urlquery(text: &[u8]) -> Vec<u8> {
    replace(text, |byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => None,
        b' ' => Some("+".into()),
        byte => Some(format!("%{byte:02X}")),
    })
}

fn replace(text: &[u8], replacement: impl Fn(u8) -> Option<String>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match replacement(*byte) {
            Some(text) => out.extend(text.bytes()),
            None => out.push(*byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_escape_is_that_of_go() {
        assert_eq!(html(b"<a href='x'>&\0\"\xff"), b"&lt;a href=&#39;x&#39;&gt;&amp;\xef\xbf\xbd&#34;\xff");
        assert_eq!(js("a'b\"\\<=\n\u{7f}ä\u{2028}\u{1f600}".as_bytes()), {
            "a\\'b\\\"\\\\\\u003C\\u003D\\u000A\u{7f}ä\\u2028\u{1f600}".as_bytes()
        });
        assert_eq!(urlquery("a b/ä~*".as_bytes()), b"a+b%2F%C3%A4~%2A");
    }
}
