//! Files that SOPS encrypted for age: opened in memory, in the places where they were written.
//!
//! ```text
//! tree with ENC[…] leaves ─▶ metadata ─▶ data key (age) ─▶ leaves (AES-256-GCM) ─▶ MAC agrees ─▶ tree with clear leaves
//! ```
//! Follows sops 3.13.3 (`sops.go`, `aes/cipher.go`): a leaf is sealed together with the path of its keys, and the MAC covers the
//! clear leaves in the order of the text. Any disagreement is an error, never a warning. Owns the format and the search for
//! age identities. Leaves KMS, PGP and Vault to sops itself, whose decrypted output can be piped in, and the meaning of leaves to
//! the decoder of the file.

pub mod file;
pub mod identities;
mod leaf;
mod metadata;

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::{Zeroize, Zeroizing};

use crate::base::finding::{Finding, Place, Source};
use crate::base::yaml::{self, Kind, Node, Position, Style, merge};
use identities::Identities;
use leaf::{Leaf, Sealed};
use metadata::Metadata;

/// The way out for files that prebake does not open itself.
const PIPE: &str = "let sops decrypt it into a pipe: `sops decrypt FILE | prebake … -`, or `sops exec-file FILE 'prebake … {}'`";

/// A tree whose leaves are in clear text, until it is dropped: it overwrites them then.
pub struct Opened {
    root: Node,
    /// Places of the leaves that were sealed; a file may have others, by its rules.
    sealed: BTreeSet<Position>,
}

impl std::ops::Deref for Opened {
    type Target = Node;
    fn deref(&self) -> &Node {
        &self.root
    }
}

impl Opened {
    /// A tree that was never encrypted, to be wiped as others are.
    fn clear(root: Node) -> Opened {
        Opened { root, sealed: BTreeSet::new() }
    }

    /// Resolves merge keys (`<<`) in the clear tree.
    ///
    /// # Errors
    /// The value of a `<<` is no mapping. The finding shows no line.
    pub(crate) fn merged(mut self, source: &Arc<Source>) -> Result<Opened, Finding> {
        merge::resolve(&mut self.root, source).map_err(Finding::without_lines)?;
        Ok(self)
    }

    /// Places of the leaves that were sealed.
    pub(crate) fn sealed(&self) -> &BTreeSet<Position> {
        &self.sealed
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        wipe(&mut self.root);
    }
}

fn wipe(node: &mut Node) {
    match &mut node.kind {
        Kind::Scalar(text, _) => text.zeroize(),
        Kind::Sequence(items) => items.iter_mut().for_each(wipe),
        Kind::Mapping(entries) => entries.iter_mut().for_each(|(_, value)| wipe(value)),
    }
}

/// Reads the tree of a text in which every line may be a secret: one document, encrypted or clear, and nothing behind it.
///
/// # Errors
/// It is no YAML, has more than one document, or lost its metadata. The finding shows no line, and no word of a value.
pub(crate) fn parse(source: &Arc<Source>) -> Result<Node, Finding> {
    let read = || {
        let root = yaml::parse(source).map_err(silent)?;
        whole(&root, source)?;
        alone(&root, source)?;
        Ok(root)
    };
    read().map_err(Finding::without_lines)
}

/// A fault of syntax in words that have nothing of the text: a value that begins with `*` is an alias to YAML, and the finding names it.
fn silent(finding: Finding) -> Finding {
    if !(finding.message.contains("anchor '") && finding.message.contains('\'')) {
        return finding;
    }
    let text = "a value that begins with `*` stands for another one, and here there is no other one";
    Finding {
        message: text.into(),
        hint: Some("put a text that begins with `*` in quotes".into()),
        ..finding
    }
}

/// Refuses a tree with sealed leaves that has no metadata: a file that was cut off would be taken for a clear one.
///
/// # Errors
/// The first of those leaves.
pub(crate) fn whole(root: &Node, source: &Arc<Source>) -> Result<(), Finding> {
    if is_encrypted(root) {
        return Ok(());
    }
    match sealed_leaf(root) {
        None => Ok(()),
        Some(leaf) => Err(Finding::error("sops metadata is missing: the file was cut off")
            .at(leaf.place(source))
            .without_lines()
            .hint("take a whole copy of the file: `sops encrypt` writes the key `sops` at its end")),
    }
}

/// Whether a text that may be no YAML has sealed leaves.
pub(crate) fn is_sealed_text(text: &str) -> bool {
    text.contains(leaf::BEGINNING)
}

/// The first leaf that SOPS sealed.
fn sealed_leaf(node: &Node) -> Option<&Node> {
    match &node.kind {
        Kind::Scalar(text, _) => text.trim_start().starts_with(leaf::BEGINNING).then_some(node),
        Kind::Sequence(items) => items.iter().find_map(sealed_leaf),
        Kind::Mapping(entries) => entries.iter().find_map(|(_, value)| sealed_leaf(value)),
    }
}

/// Refuses all that stands behind the first document: the MAC does not cover it, and nobody reads it.
///
/// # Errors
/// The first line of it.
pub(crate) fn alone(root: &Node, source: &Arc<Source>) -> Result<(), Finding> {
    // Line breaks are those of YAML 1.1, by which places are counted.
    let text = Zeroizing::new(source.text.replace("\r\n", "\n"));
    let is_break = |letter: char| matches!(letter, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    // A document without any text has no end.
    let end = Some(root.end).filter(|end| *end != root.start);
    let mut is_begun = false;
    for (at, line) in text.split(is_break).enumerate() {
        let number = at + 1;
        let is_mark =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        let is_second = is_mark && is_begun;
        let rest = match end {
            Some(end) if number == end.line => line.chars().skip(end.column.saturating_sub(1)).collect(),
            Some(end) if number > end.line => line.to_owned(),
            _ => String::new(),
        };
        let rest = Zeroizing::new(rest);
        let is_empty = |text: &str| text.trim_start().is_empty() || text.trim_start().starts_with('#');
        if is_second || !(is_empty(&rest) || is_empty(rest.strip_prefix("...").unwrap_or(&rest))) {
            let place = Place { source: source.clone(), line: number, column: 1 };
            return Err(Finding::error(
                "there is more behind the first document, and a file of secrets has one",
            )
            .at(place)
            .without_lines()
            .hint("take it out, or write a file of its own"));
        }
        is_begun |= is_mark || !(is_empty(line) || line.starts_with('%'));
    }
    Ok(())
}

/// Whether a tree is one that SOPS encrypted.
pub fn is_encrypted(root: &Node) -> bool {
    root.get(metadata::KEY)
        .is_some_and(|meta| meta.get("mac").is_some() || meta.get("lastmodified").is_some())
}

/// Opens an encrypted tree with the first identity that fits.
///
/// # Errors
/// One finding with its place: no identity fits, a leaf is not what was sealed there, or the MAC differs. It shows no line: a leaf
/// may be in clear text that should not be.
pub fn open(root: Node, source: &Arc<Source>, identities: &Identities) -> Result<Opened, Finding> {
    unsealed(root, source, identities).map_err(Finding::without_lines)
}

fn unsealed(mut root: Node, source: &Arc<Source>, identities: &Identities) -> Result<Opened, Finding> {
    let Kind::Mapping(entries) = &mut root.kind else {
        return Err(Finding::error("a file of SOPS must be a mapping").at(root.place(source)));
    };
    let Some(at) = entries.iter().position(|(key, _)| key.scalar() == Some(metadata::KEY)) else {
        return Err(Finding::error("the file has no `sops`").at(root.place(source)));
    };
    let (_, meta) = entries.remove(at);
    let metadata = Metadata::read(&meta, source)?;
    let key = metadata.data_key(identities)?;
    let mut opener =
        Opener { source, metadata: &metadata, key: &key, digest: Sha512::new(), sealed: BTreeSet::new() };
    if metadata.only_encrypted {
        // `MACOnlyEncryptedInitialization`: such a MAC never equals one over all leaves.
        opener.digest.update(Sha256::digest(b"sops"));
    }
    // From here on the tree is wiped, however this ends.
    let mut opened = Opened { root, sealed: BTreeSet::new() };
    opener.walk(&mut opened.root, &mut Vec::new())?;
    opened.sealed = opener.sealed;
    let ours = format!("{:X}", HexUpper(&opener.digest.finalize()));
    let theirs = metadata.mac(&key)?;
    match verify_slices_are_equal(ours.as_bytes(), theirs.as_bytes()) {
        Ok(()) => Ok(opened),
        Err(_) => Err(Finding::error("the file is not as SOPS left it: its MAC differs")
            .at(metadata.mac_place.clone())
            .hint("undo the change, and change encrypted files with `sops edit FILE` alone")),
    }
}

struct HexUpper<'a>(&'a [u8]);

impl std::fmt::UpperHex for HexUpper<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

struct Opener<'a> {
    source: &'a Arc<Source>,
    metadata: &'a Metadata,
    key: &'a Zeroizing<[u8; 32]>,
    digest: Sha512,
    sealed: BTreeSet<Position>,
}

impl Opener<'_> {
    /// Opens what is below a node. Items of lists add nothing to the path.
    fn walk(&mut self, node: &mut Node, path: &mut Vec<String>) -> Result<(), Finding> {
        if node.is_null() {
            return Ok(());
        }
        let place = node.place(self.source);
        match &mut node.kind {
            Kind::Mapping(entries) => {
                for (key, value) in entries {
                    path.push(key.scalar().unwrap_or_default().to_owned());
                    self.walk(value, path)?;
                    path.pop();
                }
            }
            Kind::Sequence(items) => {
                let mut failed = None;
                // A comment in a list is an item there.
                items.retain_mut(|item| match (&failed, self.is_comment(item, path)) {
                    (Some(_), _) => true,
                    (None, Err(finding)) => {
                        failed = Some(finding);
                        true
                    }
                    (None, Ok(true)) => false,
                    (None, Ok(false)) => {
                        failed = self.walk(item, path).err();
                        true
                    }
                });
                failed.map_or(Ok(()), Err)?;
            }
            Kind::Scalar(text, style) => {
                let sealed = self.metadata.is_sealed(path);
                let wrong = |why: &str| {
                    let at = path.join(".");
                    Finding::error(format!("`{at}` is not as SOPS left it: {why}"))
                        .at(place.clone())
                        .hint("undo the change, and change encrypted files with `sops edit FILE` alone")
                };
                if !sealed {
                    if !self.metadata.only_encrypted {
                        self.digest.update(leaf::hashed(text, *style).as_bytes());
                    }
                    return Ok(());
                }
                // An empty text stays one.
                if text.is_empty() && *style != Style::Plain {
                    return Ok(());
                }
                let token: Sealed =
                    text.parse().map_err(|_| wrong("it is in clear text, and should not be"))?;
                let leaf = token.open(self.key, &leaf::path(path)).map_err(&wrong)?;
                let Leaf { text: clear, style: clear_style, hashed } = leaf;
                self.digest.update(hashed.as_bytes());
                text.zeroize();
                *text = clear;
                *style = clear_style;
                self.sealed.insert(node.start);
            }
        }
        Ok(())
    }

    /// Whether an item of a list is an encrypted comment.
    fn is_comment(&self, item: &Node, path: &[String]) -> Result<bool, Finding> {
        let token = item.scalar().and_then(|text| text.parse::<Sealed>().ok());
        let Some(token) = token.filter(|token| token.is_comment() && self.metadata.is_sealed(path)) else {
            return Ok(false);
        };
        token.authentic(self.key, &leaf::path(path)).map_err(|why| {
            Finding::error(format!("a comment is not as SOPS left it: {why}")).at(item.place(self.source))
        })?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
