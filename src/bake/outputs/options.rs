//! The options of an output, as its format reads them from the recipe.

use std::fmt;

use url::Url;

use crate::base::yaml::Node;
use crate::base::yaml::decode::{Decoder, Fields};

/// What a recipe says below the name of an output. What its format does not ask for is an unknown key.
pub struct Options<'n> {
    /// Takes findings.
    pub decoder: &'n Decoder,
    fields: Fields<'n>,
}

impl<'n> Options<'n> {
    /// Opens the options of the output of this name; null is a mapping without keys.
    pub fn new(decoder: &'n Decoder, node: &'n Node, name: &str) -> Self {
        Options { decoder, fields: decoder.options(node, format!("`{name}`")) }
    }

    /// The value of an optional key.
    pub fn get(&self, key: &'static str) -> Option<&'n Node> {
        self.fields.get(key)
    }

    /// The value of a key that must be there.
    pub fn need(&self, key: &'static str) -> Option<&'n Node> {
        self.fields.need(key)
    }

    /// The value of an optional key, read by its type's own parser.
    pub fn parsed<T: std::str::FromStr<Err: fmt::Display>>(&self, key: &'static str) -> Option<T> {
        self.get(key).and_then(|node| self.decoder.parsed(node))
    }

    /// Where machines will find the root of the tree; without it a finding says so.
    pub fn base_url(&self) -> Option<BaseUrl> {
        self.need("base_url").and_then(|node| self.decoder.parsed(node))
    }
}

/// Where machines find the root of a published tree: an http or https URL without a slash at its end, which stands in kernel
/// arguments and in boot loaders' scripts as it is. No part of what is built depends on it but what is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl std::str::FromStr for BaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |url: &Url| {
            let literal = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]%@+,=!*".contains(c);
            matches!(url.scheme(), "http" | "https") && url.as_str().chars().all(literal)
        };
        let refused = || format!("`{text}` is not an http or https URL such as http://10.0.0.1:8080");
        Url::parse(text).ok().filter(plain).map(BaseUrl).ok_or_else(refused)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl BaseUrl {
    /// The URL itself.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_stands_in_every_script_as_it_is() {
        for (text, expected) in [
            ("http://10.0.0.1:8080", Some("http://10.0.0.1:8080")),
            ("https://boot.example.org/edge/", Some("https://boot.example.org/edge")),
            ("http://[fd00::1]/x", Some("http://[fd00::1]/x")),
            ("http://h/a b", Some("http://h/a%20b")),
            ("tftp://10.0.0.1", None),
            ("10.0.0.1", None),
            ("http://h/?x", None),
            ("http://h/#x", None),
            ("http://h/a'b", None),
            ("http://h/$x", None),
            ("http://h/a;b", None),
        ] {
            let url: Option<BaseUrl> = text.parse().ok();
            assert_eq!(url.map(|url| url.to_string()).as_deref(), expected, "{text}");
        }
    }
}
