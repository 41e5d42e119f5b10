//! A decoder and the directory of its file: what recipes and inventories share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::finding::{Finding, Source};
use crate::base::yaml::Node as Yaml;
use crate::base::yaml::decode::{Decoder, Fields, Spanned};
use crate::base::yaml::kinds::{self, Kind};
use crate::base::{conflict, kind};

/// Version of the schema of recipes, inventories and locks.
pub(crate) const SCHEMA: u32 = 1;

/// Most characters of a name. A file name may contain two of them and has 255 bytes at most.
const MAX_NAME: usize = 100;

/// Whether a text may become part of file names, URLs and Matchbox ids.
pub(crate) fn is_plain_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=MAX_NAME).contains(&text.len()) && !text.starts_with('.') && text.chars().all(plain)
}

/// Refuses a file of another kind, which would only get a list of the keys that it lacks.
///
/// # Errors
/// It is of another kind; the hint says which command takes it.
pub(crate) fn another_kind(root: &Yaml, source: &Arc<Source>, wanted: Kind) -> Result<(), Finding> {
    let refused = |what: &str, advice: &str| {
        let finding = Finding::error(format!("this is {what}, not {}", wanted.name()));
        Err(conflict::or(source, finding.at(root.place(source)).hint(advice)))
    };
    match kinds::of(root, &source.text) {
        Some(kind) if kind == wanted => Ok(()),
        Some(kind) => refused(kind.name(), kind.advice()),
        // A text that is no mapping is no config at all.
        None if root.scalar().is_some_and(|text| !text.is_empty()) => {
            match kind::of(source.text.as_bytes()) {
                Some(kind::Known { what, advice }) => refused(what, advice),
                None => Ok(()),
            }
        }
        None => Ok(()),
    }
}

/// Reads a file that people write, whose paths are relative to its directory.
pub(crate) struct Reader<'a> {
    /// The decoder of its values.
    pub decoder: &'a Decoder,
    /// Its directory.
    pub directory: &'a Path,
}

impl Reader<'_> {
    /// Refuses a schema that is not [`SCHEMA`].
    pub(crate) fn check_schema(&self, fields: &Fields<'_>) {
        if let Some(node) = fields.need("schema")
            && self.decoder.parsed(node).is_some_and(|schema: u32| schema != SCHEMA)
        {
            self.decoder.error(node, format!("this prebake reads schema {SCHEMA} only"));
        }
    }

    /// Files that a list names, relative to the recipe's directory.
    pub(crate) fn paths(&self, node: Option<&Yaml>, what: &str) -> Vec<Spanned<PathBuf>> {
        let paths = node.map(|node| self.decoder.strings(node, what)).unwrap_or_default().into_iter();
        paths.map(|path| Spanned { value: self.directory.join(&path.value), place: path.place }).collect()
    }

    /// A name, judged as [`plain_name`](Self::plain_name) does.
    pub(crate) fn name(&self, node: &Yaml, what: &str) -> Spanned<String> {
        let name = self.decoder.spanned(node, self.decoder.string(node).unwrap_or_default());
        self.plain_name(&name, what);
        name
    }

    /// Refuses a name that is not [`is_plain_name`].
    pub(crate) fn plain_name(&self, name: &Spanned<String>, what: &str) {
        if name.value.len() > MAX_NAME {
            let text =
                format!("{what} has {} characters; the limit is {MAX_NAME}", name.value.chars().count());
            let finding = Finding::error(text).at(name.place.clone());
            self.decoder
                .push(finding.hint("it becomes part of file names, which may have at most 255 bytes"));
            return;
        }
        if !is_plain_name(&name.value) {
            let text =
                format!("{what} must be made of letters, digits, `-`, `_` and `.`, and not begin with `.`");
            self.decoder.push(Finding::error(text).at(name.place.clone()));
        }
    }

    /// The files of `ignition`.
    pub(crate) fn layers(&self, fields: &Fields<'_>) -> Vec<Spanned<PathBuf>> {
        self.paths(fields.get("ignition"), "`ignition`")
    }
}
