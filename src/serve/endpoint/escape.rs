//! Escapes URLs and HTML exactly as Go does.

use std::fmt::Write;

/// Go's `url.URL{Path: …}.String()`: characters that are valid in a path stay; a `:` in the first part is hidden behind
/// `./`.
pub fn escape_path(path: &[u8]) -> String {
    let first = path.split(|byte| *byte == b'/').next().unwrap_or_default();
    let mut escaped = String::from(if first.contains(&b':') { "./" } else { "" });
    for byte in path {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => escaped.push(*byte as char),
            b'-' | b'_' | b'.' | b'~' | b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'@' => {
                escaped.push(*byte as char);
            }
            // Writing to a string cannot fail.
            byte => _ = write!(escaped, "%{byte:02X}"),
        }
    }
    escaped
}

/// Go's `html.EscapeString`.
pub fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_for_links_and_for_pages() {
        assert_eq!(
            escape_path("with space & ü'?#%.txt".as_bytes()),
            "with%20space%20&%20%C3%BC%27%3F%23%25.txt"
        );
        assert_eq!(escape_path(b"a:b/c"), "./a:b/c");
        assert_eq!(escape_path(b"a/b:c"), "a/b:c");
        assert_eq!(escape_html("<a> & \"b\" 'c'"), "&lt;a&gt; &amp; &#34;b&#34; &#39;c&#39;");
    }
}
