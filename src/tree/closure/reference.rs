//! What a text refers to, before anybody looks whether it is there.

use super::graph::Kind;
use crate::base::digest::Sha256;

/// A reference as a text says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// From 1, where the text has lines.
    pub line: Option<usize>,
    pub kind: Kind,
    /// As it is written.
    pub text: String,
    pub rule: Rule,
}

/// How that is to be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// A URL, a path from the root of the server, or one beside the text; iPXE's variables stand for anything.
    Location {
        /// Whether the text names another place where this one is not there.
        optional: bool,
    },
    /// A URL that a machine fetches, and the hash that it expects, such as `sha512-…`, of what is unpacked of it.
    Fetched { hash: Option<String>, packed: bool },
    /// A container image.
    Image,
    /// A container image with any tag.
    AnyTag,
    /// The directory in which systemd-sysupdate looks for files of these patterns.
    Update { patterns: Vec<String>, signed: bool },
    /// A path of the tree, or an absolute one in the same image, with what it must be.
    Archive { sha256: Sha256, size: u64 },
    /// A file beside the text, with what it must be.
    Digest(Sha256),
    /// One of these names.
    Among(Vec<String>),
}

impl Reference {
    pub fn new(line: Option<usize>, kind: Kind, text: impl Into<String>, rule: Rule) -> Self {
        Reference { line, kind, text: text.into(), rule }
    }

    /// A place that a loader or server loads.
    pub fn location(line: Option<usize>, kind: Kind, text: impl Into<String>) -> Self {
        Reference::new(line, kind, text, Rule::Location { optional: false })
    }

    /// A URL that is fetched as it is.
    pub fn url(line: Option<usize>, text: impl Into<String>) -> Self {
        Reference::new(line, Kind::Url, text, Rule::Fetched { hash: None, packed: false })
    }

    pub fn image(line: Option<usize>, text: impl Into<String>) -> Self {
        Reference::new(line, Kind::Image, text, Rule::Image)
    }
}

/// Every URL in a text that names a host: from its scheme up to what no URL holds.
pub(super) fn urls(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("://").filter_map(move |(at, separator)| {
        let scheme = ["https", "http", "tftp"].into_iter().find(|scheme| text[..at].ends_with(scheme))?;
        let start = at - scheme.len();
        let ends = |c: char| c.is_whitespace() || "\"'`<>|;,)]}\\".contains(c);
        // What iPXE and shells fill in has braces of its own.
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

/// Whether a URL says itself which host it means.
pub(super) fn names_host(url: &str) -> bool {
    let host =
        url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
    !host.is_empty() && !host.contains(['$', '{', '%'])
}
