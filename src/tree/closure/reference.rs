//! References in texts, before they are followed.

use super::graph::Kind;
use crate::base::digest::Sha256;

/// A reference as a text states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// Line from 1; `None` where the text has no lines.
    pub line: Option<usize>,
    pub kind: Kind,
    /// Its text as written.
    pub text: String,
    pub rule: Rule,
}

/// How the text of a reference is to be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// A URL, a path from the root of the server, or a path relative to the text; iPXE's variables match anything.
    Location {
        /// Whether the text has a fallback, to be used if this target is missing.
        optional: bool,
    },
    /// A URL that a machine fetches; `hash` is what it expects, such as `sha512-…`, of the content after unpacking.
    Fetched { hash: Option<String>, packed: bool },
    /// A container image.
    Image,
    /// A container image with any tag.
    AnyTag,
    /// The directory in which systemd-sysupdate looks for files that match these patterns.
    Update { patterns: Vec<String>, signed: bool },
    /// A path of the tree, or an absolute path in the same image, with the digest and size that the file must have.
    Archive { sha256: Sha256, size: u64 },
    /// A file relative to the text, with the digest that it must have.
    Digest(Sha256),
    /// Must be one of these names.
    Among(Vec<String>),
}

impl Reference {
    pub(crate) fn new(line: Option<usize>, kind: Kind, text: impl Into<String>, rule: Rule) -> Self {
        Reference { line, kind, text: text.into(), rule }
    }

    /// A file that a loader or server loads.
    pub(crate) fn location(line: Option<usize>, kind: Kind, text: impl Into<String>) -> Self {
        Reference::new(line, kind, text, Rule::Location { optional: false })
    }

    /// A URL that is fetched without a digest.
    pub(crate) fn url(line: Option<usize>, text: impl Into<String>) -> Self {
        Reference::new(line, Kind::Url, text, Rule::Fetched { hash: None, packed: false })
    }

    pub(crate) fn image(line: Option<usize>, text: impl Into<String>) -> Self {
        Reference::new(line, Kind::Image, text, Rule::Image)
    }
}

/// Every URL in a text that names a host: from its scheme up to the first character that no URL has.
pub(super) fn urls(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("://").filter_map(move |(at, separator)| {
        let scheme = ["https", "http", "tftp"].into_iter().find(|scheme| text[..at].ends_with(scheme))?;
        let start = at - scheme.len();
        let ends = |c: char| c.is_whitespace() || "\"'`<>|;,)]}\\".contains(c);
        // Variables of iPXE and shells have braces of their own.
        let mut end = at + separator.len();
        let mut depth = 0usize;
        for c in text[end..].chars() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                c if depth == 0 && ends(c) => break,
                _ => {}
            }
            end += c.len_utf8();
        }
        let url = text[start..end].trim_end_matches(['.', ':']);
        (url.len() > scheme.len() + separator.len()).then_some(url)
    })
}

/// Whether a URL states its host literally.
pub(super) fn names_host(url: &str) -> bool {
    let host =
        url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
    !host.is_empty() && !host.contains(['$', '{', '%'])
}
