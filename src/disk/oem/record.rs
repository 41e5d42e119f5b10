//! The record of an injection on OEM: what was there before, and how it comes back.
//!
//! Owns its form and its doubts. A file is taken out only while it is what was put there, by length and digest: an edit of
//! others stays, and a stranger's record takes no file of the image away.
//!
//! ```text
//! form 1   "added": ["opt/x"]                                     names alone
//! form 2   "added": {"opt/x": {"size": 3, "sha256": "…"}}
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    CONFIG, Entry, GRUB, Node, Oem, RECORD, RELEASE, SYSEXT, Source, TEXTS, extension_name, grub,
    judge_on_root, judge_path,
};
use crate::base::digest::Sha256;
use crate::disk::Error;

/// Texts that an injection writes anew; its record remembers the old ones.
const CHANGED: [&str; 3] = [GRUB, CONFIG, RELEASE];

/// The form that is written; older ones are read.
pub(super) const FORM: u32 = 2;

/// Longest text of the image that a record remembers, in bytes.
pub(super) const MAX_STOCK: usize = 1 << 20;

/// Longest record: three stock texts of [`MAX_STOCK`] in base64, and the names.
pub(super) const MAX_RECORD: u64 = 8 << 20;

/// The record of an injection, `prebake.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Version of this form.
    pub(super) prebake: u32,
    /// Files that were not there before, by path. A record of form 1 says nothing more of them.
    pub(super) added: BTreeMap<String, Option<Added>>,
    /// Directories that were not there before.
    pub(super) directories: Vec<String>,
    /// Texts that were there before or not, and were written anew.
    pub(super) texts: BTreeMap<String, Text>,
    /// Files on ROOT with their lengths in bytes. Without any the record is as before there were such.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) root: BTreeMap<String, u64>,
}

/// A file as it was put there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Added {
    /// Its length in bytes.
    pub(super) size: u64,
    /// Digest of its bytes.
    pub(super) sha256: Sha256,
}

impl Added {
    /// A file whose digest is known; none for anything else.
    pub(super) fn of<K>(entry: &Entry<K>) -> Option<Self> {
        match &entry.node {
            Node::File(size, Source::OnDisk(_, sha256)) => Some(Added { size: *size, sha256: *sha256 }),
            Node::File(size, Source::Bytes(bytes)) => Some(Added { size: *size, sha256: Sha256::of(bytes) }),
            _ => None,
        }
    }
}

/// Whether a path is that of a platform's own extension, or of the file that goes with it.
fn is_platforms(path: &str) -> bool {
    let marker = path.strip_prefix(SYSEXT).is_some_and(|name| name.starts_with("/active-oem-"));
    marker || extension_name(path).is_some()
}

/// A text that was written anew.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    /// Digest of the text that prebake wrote.
    pub(super) sha256: Sha256,
    /// The text that was there before, if there was one.
    pub(super) stock: Option<Stock>,
}

/// A text that was there before.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stock {
    /// Its permission bits.
    pub(super) mode: u16,
    /// Its bytes.
    pub(super) base64: String,
}

impl<K: Clone> Oem<K> {
    /// Paths of the files that an injection added, but for the record.
    ///
    /// # Errors
    /// The record cannot be used.
    pub fn injected(&self) -> Result<Vec<String>, Error> {
        let Some(record) = self.record()? else { return Ok(Vec::new()) };
        let mut paths: Vec<String> = record.added.into_keys().chain(record.texts.into_keys()).collect();
        paths.sort();
        Ok(paths)
    }

    /// Paths on ROOT of the files that an injection put there, without a slash before them, and their lengths in bytes.
    ///
    /// # Errors
    /// The record cannot be used.
    pub fn on_root(&self) -> Result<BTreeMap<String, u64>, Error> {
        Ok(self.record()?.map(|record| record.root).unwrap_or_default())
    }

    /// The content without prebake's files, and with the texts that were there before; findings about what others have
    /// changed since.
    ///
    /// # Errors
    /// There is no record of an injection, or it cannot be used.
    pub fn remove(&self) -> Result<(Self, Vec<String>), Error> {
        self.take_out(&BTreeSet::new())
    }

    /// Reads the digests of the files of the image that the record calls added, so that they can be taken out; without
    /// that they are held for others' and stay.
    ///
    /// # Errors
    /// The record cannot be used; a file cannot be read.
    pub fn learn(&mut self, digest: &mut dyn FnMut(&K) -> io::Result<Sha256>) -> Result<(), Error> {
        let Some(record) = self.record()? else { return Ok(()) };
        for (path, added) in &record.added {
            // One of another length is another one.
            if let Some(added) = added
                && let Some(Node::File(size, Source::Kept(kept))) =
                    self.entries.get(path).map(|entry| &entry.node)
                && *size == added.size
            {
                let read = digest(kept).map_err(Error::io("read OEM of", &self.subject))?;
                self.digests.insert(path.clone(), read);
            }
        }
        Ok(())
    }

    /// Whether a file is as the record has it.
    fn is_as_added(&self, path: &str, added: Option<&Added>, record: &Record) -> bool {
        let Some(added) = added else {
            // A platform's files by name alone: only if the record says that it made the platform.
            let makes = record.texts.get(RELEASE).is_some_and(|text| text.stock.is_none());
            return makes || !is_platforms(path);
        };
        match self.entries.get(path).map(|entry| &entry.node) {
            Some(Node::File(size, Source::Kept(_))) => {
                *size == added.size && self.digests.get(path) == Some(&added.sha256)
            }
            Some(_) => self.entries.get(path).and_then(Added::of).as_ref() == Some(added),
            None => false,
        }
    }

    /// As [`Oem::remove`], before files with these paths are put there anew: an edited one of them goes, and is told.
    pub(super) fn take_out(&self, anew: &BTreeSet<String>) -> Result<(Self, Vec<String>), Error> {
        let Some(record) = self.record()? else {
            return Err(Error::NotInjected { subject: self.subject.clone() });
        };
        let (mut stock, mut findings) = (self.clone(), Vec::new());
        for (path, text) in &record.texts {
            if stock.entries.get(path).is_some_and(Entry::is_dir) {
                findings.push(format!("{path} is a directory now, and stays"));
                continue;
            }
            let now = stock.entries.remove(path);
            let before = match &text.stock {
                Some(stock) => Some(self.stock(stock)?),
                None => None,
            };
            // A text that was too long to be read is taken for prebake's.
            let is_ours = now
                .as_ref()
                .is_some_and(|now| now.bytes().is_none_or(|bytes| Sha256::of(bytes) == text.sha256));
            let kept = match now {
                // An update's or a person's edit of grub.cfg is not undone, prebake's lines in it are.
                Some(now) if !is_ours && path == GRUB && now.bytes().is_some() => {
                    findings.push(format!(
                        "{path} was changed after the injection; only prebake's lines were taken out"
                    ));
                    let text = grub::without_block(now.bytes().unwrap_or_default());
                    Some(Entry::text(now.mode, text))
                }
                _ if !is_ours => {
                    findings
                        .push(format!("{path} was changed after the injection; it is as it was before that"));
                    before
                }
                _ => before,
            };
            stock.entries.extend(kept.map(|entry| (path.clone(), entry)));
        }
        for (path, added) in &record.added {
            let Some(entry) = stock.entries.get(path) else { continue };
            if entry.is_dir() {
                // It goes only below, when nothing is in it.
                if !record.directories.contains(path) {
                    findings.push(format!("{path} is a directory now, and stays"));
                }
                continue;
            }
            let is_ours = self.is_as_added(path, added.as_ref(), &record);
            if !is_ours && anew.contains(path) && !is_platforms(path) {
                findings.push(format!("{path} was changed after the injection, and is written anew"));
            } else if !is_ours {
                findings.push(format!("{path} is not what the injection put there, and stays"));
                continue;
            }
            stock.entries.remove(path);
        }
        stock.entries.remove(RECORD);
        stock.digests.clear();
        // The deepest ones first.
        for directory in record.directories.iter().rev() {
            let inside = format!("{directory}/");
            let is_used = stock
                .entries
                .range(inside.clone()..)
                .next()
                .is_some_and(|(path, _)| path.starts_with(&inside));
            if is_used {
                findings.push(format!("{directory} stays, because there are other files in it now"));
            } else if stock.entries.get(directory).is_some_and(Entry::is_dir) {
                stock.entries.remove(directory);
            }
        }
        Ok((stock, findings))
    }

    /// The record, if there is one that can be used.
    fn record(&self) -> Result<Option<Record>, Error> {
        let unusable = |why: String| Error::Record { subject: self.subject.clone(), why };
        let Some(entry) = self.entries.get(RECORD) else { return Ok(None) };
        let why = || unusable(format!("it is not a file of at most {MAX_RECORD} bytes"));
        let bytes = entry.bytes().ok_or_else(why)?;
        let mut value: Value = serde_json::from_slice(bytes).map_err(|error| unusable(error.to_string()))?;
        match value.get("prebake").and_then(Value::as_u64) {
            Some(1) => {
                // Names alone.
                if let Some(Value::Array(names)) = value.get("added") {
                    let name = |name: &Value| Some((name.as_str()?.to_owned(), Value::Null));
                    let named: Option<serde_json::Map<String, Value>> = names.iter().map(name).collect();
                    let wrong = || unusable("the names of its files are no texts".into());
                    value["added"] = Value::Object(named.ok_or_else(wrong)?);
                }
            }
            Some(form) if form == u64::from(FORM) => {
                let added = value.get("added").and_then(Value::as_object);
                if added.is_some_and(|added| added.values().any(Value::is_null)) {
                    return Err(unusable("a file in it has no digest".into()));
                }
            }
            Some(other) => {
                return Err(unusable(format!("it is of version {other}, which a newer prebake reads")));
            }
            None => return Err(unusable("it has no version".into())),
        }
        let record: Record = serde_json::from_value(value).map_err(|error| unusable(error.to_string()))?;
        // A stranger's record must not take Flatcar's own files away.
        let named = record.added.keys().chain(&record.directories).chain(record.texts.keys());
        let is_wrong = |path: &&String| judge_path(path).is_err() || path.as_str() == RECORD;
        let texts = record.texts.keys().find(|path| !CHANGED.contains(&path.as_str()));
        // These are texts, which have digests in any form.
        let is_text = |path: &&String| TEXTS.contains(&path.as_str());
        let texts = record.added.keys().find(is_text).or(texts);
        if let Some(path) = named.into_iter().find(is_wrong).or(texts) {
            return Err(unusable(format!("it names `{}`", path.escape_debug())));
        }
        match record.root.keys().find(|path| judge_on_root(path).is_err()) {
            Some(path) => Err(unusable(format!("it names `{}` on ROOT", path.escape_debug()))),
            None => Ok(Some(record)),
        }
    }

    /// A text as it was before an injection.
    fn stock(&self, stock: &Stock) -> Result<Entry<K>, Error> {
        let unusable =
            |_| Error::Record { subject: self.subject.clone(), why: "a text in it is not base64".into() };
        Ok(Entry::text(stock.mode & 0o7777, STANDARD.decode(&stock.base64).map_err(unusable)?))
    }
}
