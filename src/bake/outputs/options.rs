//! The options of an output, as its format reads them from the recipe.

use std::fmt;

use crate::base::yaml::Node;
use crate::base::yaml::decode::{Decoder, Fields};
use crate::base::yaml::keys::Mapping;
use crate::machine::base_url::BaseUrl;

/// The part of a recipe below the name of an output. A key that its format does not read is an unknown key.
pub(crate) struct Options<'n> {
    /// Collects findings.
    pub decoder: &'n Decoder,
    fields: Fields<'n>,
}

impl<'n> Options<'n> {
    /// Opens the options of an output; null is a mapping without keys.
    pub(crate) fn new(decoder: &'n Decoder, node: &'n Node, mapping: &'static Mapping) -> Self {
        Options { decoder, fields: decoder.options(node, mapping) }
    }

    /// The value of an optional key.
    pub(crate) fn get(&self, key: &'static str) -> Option<&'n Node> {
        self.fields.get(key)
    }

    /// The value of a key that is there, null included.
    pub(crate) fn written(&self, key: &'static str) -> Option<&'n Node> {
        self.fields.written(key)
    }

    /// The value of a required key; a finding if it is missing.
    pub(crate) fn need(&self, key: &'static str) -> Option<&'n Node> {
        self.fields.need(key)
    }

    /// The value of an optional key, read by its type's own parser.
    pub(crate) fn parsed<T: std::str::FromStr<Err: fmt::Display>>(&self, key: &'static str) -> Option<T> {
        self.get(key).and_then(|node| self.decoder.parsed(node))
    }

    /// The URL of the tree's root, a required key; a finding if it is missing.
    pub(crate) fn base_url(&self) -> Option<BaseUrl> {
        self.need("base_url").and_then(|node| self.decoder.parsed(node))
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
