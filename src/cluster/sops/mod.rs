//! Files that SOPS encrypted for age: opened in memory, in the places where they were written.
//!
//! ```text
//! tree with ENC[…] leaves ─▶ metadata ─▶ data key (age) ─▶ leaves (AES-256-GCM) ─▶ MAC agrees ─▶ tree with clear leaves
//! ```
//! Follows sops 3.13.3 (`sops.go`, `aes/cipher.go`): a leaf is sealed together with the path of its keys, and the MAC covers the
//! clear leaves in the order of the text. Any disagreement is an error, never a warning. Owns the format and the search for
//! age identities. Leaves KMS, PGP and Vault to sops itself, whose decrypted output can be piped in, and the meaning of leaves to
//! the decoder of the file.

pub mod identities;
mod leaf;
mod metadata;

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::{Zeroize, Zeroizing};

use crate::base::finding::{Finding, Source};
use crate::base::yaml::{Kind, Node, Position, Style, merge};
use identities::Identities;
use leaf::{Leaf, Sealed};
use metadata::Metadata;

/// The way out for files that prebake does not open itself.
const PIPE: &str = "let sops decrypt it into a pipe: `sops decrypt FILE | prebake cluster … -`, or `sops exec-file FILE 'prebake cluster … {}'`";

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
    /// Resolves merge keys (`<<`) in the clear tree.
    ///
    /// # Errors
    /// The value of a `<<` is no mapping.
    pub(crate) fn merged(mut self, source: &Arc<Source>) -> Result<Opened, Finding> {
        merge::resolve(&mut self.root, source)?;
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

/// Whether a tree is one that SOPS encrypted.
pub fn is_encrypted(root: &Node) -> bool {
    root.get(metadata::KEY)
        .is_some_and(|meta| meta.get("mac").is_some() || meta.get("lastmodified").is_some())
}

/// Opens an encrypted tree with the first identity that fits.
///
/// # Errors
/// One finding with its place: no identity fits, a leaf is not what was sealed there, or the MAC differs.
pub fn open(mut root: Node, source: &Arc<Source>, identities: &Identities) -> Result<Opened, Finding> {
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
