//! Rust as text, for the rules on sources: its code without strings and comments, and its string literals.

/// A string literal, with where it begins in the text.
pub(crate) struct Literal {
    pub at: usize,
    pub text: String,
}

/// A source read once.
pub(crate) struct Source {
    /// The text with blanks for comments, strings and characters: braces can be counted in it, every byte and every line stays
    /// where it is.
    pub code: String,
    /// The string literals outside of comments, without their quotes.
    pub literals: Vec<Literal>,
}

impl Source {
    pub(crate) fn read(text: &str) -> Source {
        let mut read = Source { code: String::with_capacity(text.len()), literals: Vec::new() };
        let mut at = 0;
        while let Some(first) = text[at..].chars().next() {
            let rest = &text[at..];
            // The `r` of a name begins no raw string.
            let is_word = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let length = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |end| end + 2)
            } else if let Some((begin, end, length)) = string(rest).filter(|_| !is_word || first == '"') {
                read.literals.push(Literal { at, text: rest[begin..end].to_owned() });
                length
            } else if let Some(length) = character(rest) {
                length
            } else {
                read.code.push(first);
                at += first.len_utf8();
                continue;
            };
            let blanks = rest.bytes().take(length).map(|byte| if byte == b'\n' { '\n' } else { ' ' });
            read.code.extend(blanks);
            at += length;
        }
        read
    }
}

/// Where a string begins and ends that stands here, and how long it is with its quotes.
fn string(text: &str) -> Option<(usize, usize, usize)> {
    let plain = text.strip_prefix('b').unwrap_or(text);
    let raw = plain.strip_prefix('r');
    let body = raw.unwrap_or(plain).trim_start_matches('#');
    let hashes = raw.map_or(0, |raw| raw.len() - body.len());
    let body = body.strip_prefix('"').filter(|_| raw.is_some() || plain.starts_with('"'))?;
    let begin = text.len() - body.len();
    let close = format!("\"{}", "#".repeat(hashes));
    let mut escaped = false;
    let end = body.char_indices().find(|(at, c)| {
        let is_end = !escaped && body[*at..].starts_with(&close);
        escaped = raw.is_none() && *c == '\\' && !escaped;
        is_end
    });
    let end = begin + end?.0;
    Some((begin, end, end + close.len()))
}

/// How long a character in quotes is that stands here; nothing for a lifetime.
fn character(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    let skip = if rest.starts_with('\\') { 2 } else { rest.chars().next()?.len_utf8() };
    let end = rest.get(skip..)?.find('\'')?;
    (end == 0 || rest.starts_with('\\')).then_some(1 + skip + end + 1)
}
