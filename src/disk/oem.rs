//! The content of OEM as a value, and what an injection changes in it.
//!
//! ```text
//! /oem/config.ign        the user's Ignition config        /oem/grub.cfg            settings, sourced by Flatcar's GRUB
//! /oem/sysext/NAME.raw   linked to by the config           /oem/oem-release         the platform
//! /oem/images/FILE       container images                  /oem/sysext/active-oem-ID, oem-ID-VERSION.raw
//! /oem/prebake.json      what was there before: `remove` gives it back
//! ```
//! Owns the rules for these files, the record by which an injection is replaced or taken out, and the room that must
//! stay free. A file of the image is handed through as `K`, whatever its reader knows it by, and its bytes are never
//! looked at, but for the texts above. Owner of everything is 0:0, as in Flatcar's own images.
//!
//! Leaves reading and writing the file system to `format::btrfs`, and merging configs to `ignition`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::base::count::counted;
use crate::base::digest::Sha256;
use crate::base::size::Bytes;
use crate::disk::Error;
use crate::disk::platform::{AUTOLOGIN, Platform};
use crate::sysext::place::{IMAGE_END, link};

/// Part of step keys; raised when the files for the same injection change.
pub const REVISION: u32 = 1;

/// The record of an injection.
pub const RECORD: &str = "prebake.json";
/// GRUB's settings.
pub const GRUB: &str = "grub.cfg";
/// The user's Ignition config (bootengine, `ignition-setup.sh`).
pub const CONFIG: &str = "config.ign";
/// The platform, as `os-release` says it of a system.
pub const RELEASE: &str = "oem-release";
/// Directory of extensions.
const SYSEXT: &str = "sysext";
/// Directory of container images.
const IMAGES: &str = "images";
/// Where a booted machine has OEM.
const MOUNTED: &str = "/oem";

/// Texts that are read when an image is opened.
const TEXTS: [&str; 4] = [RECORD, GRUB, CONFIG, RELEASE];
/// Longest text that is read, in bytes.
const MAX_TEXT: u64 = 16 << 20;
/// Longest text of the image that a record remembers, in bytes.
const MAX_STOCK: usize = 1 << 20;
/// Longest record: a stock config and grub.cfg of [`MAX_STOCK`] each, in base64, and the names.
const MAX_RECORD: u64 = 4 << 20;
/// Longest path on OEM, in bytes.
const MAX_PATH: usize = 1024;

/// Bytes that a small btrfs takes beside data: 5 MiB before the first chunk, 64 KiB around the second superblock, nine
/// trees.
const FIXED: u64 = (5 << 20) + (64 << 10) + (64 << 10);
/// Bytes of metadata for each entry, generously: an inode, three items for its name, and half-filled leaves.
const PER_ENTRY: u64 = 1 << 10;
/// A file of up to this many bytes is stored in its leaf.
const INLINE: u64 = 2048;
const BLOCK: u64 = 4096;

const BEGIN: &str = "# prebake begin";
const END: &str = "# prebake end";

/// The source of a file's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source<K> {
    /// A file of the image that stays.
    Kept(K),
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// A file on this machine.
    OnDisk(PathBuf),
}

/// The kind of an entry, with its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node<K> {
    /// A directory.
    Dir,
    /// A regular file with its length in bytes.
    File(u64, Source<K>),
    /// A symlink with its target.
    Link(String),
}

/// An entry of OEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<K> {
    /// Permission bits.
    pub mode: u16,
    /// Its kind.
    pub node: Node<K>,
}

impl<K> Entry<K> {
    fn text(mode: u16, bytes: Vec<u8>) -> Self {
        Entry { mode, node: Node::File(bytes.len() as u64, Source::Bytes(bytes)) }
    }

    /// The bytes, if they are in memory.
    fn bytes(&self) -> Option<&[u8]> {
        match &self.node {
            Node::File(_, Source::Bytes(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// Bytes that it takes in the file system, estimated from above.
    fn cost(&self) -> u64 {
        let data = match &self.node {
            Node::File(size, _) if *size > INLINE => {
                let rounded = size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
                // Four bytes of checksum for each block, in leaves that may be half full.
                rounded.saturating_add(rounded / BLOCK * 8)
            }
            Node::File(size, _) => size * 2,
            _ => 0,
        };
        data.saturating_add(PER_ENTRY)
    }
}

/// Reads a kept file whole.
pub type ReadKept<'a, K> = dyn FnMut(&K) -> io::Result<Vec<u8>> + 'a;

/// The content of OEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oem<K> {
    /// Name of the image, for messages.
    subject: String,
    /// Length of the partition in bytes.
    length: u64,
    /// By path, without a slash before it. Parents are present.
    entries: BTreeMap<String, Entry<K>>,
}

/// Files that an injection adds, from this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// Path on OEM.
    pub path: String,
    /// Permission bits.
    pub mode: u16,
    /// The file on this machine that it is copied from.
    pub from: PathBuf,
    /// Its length in bytes.
    pub size: u64,
}

impl Add {
    /// The image of a sysext, which is linked to by that name.
    pub fn sysext(name: &str, from: &Path, size: u64) -> Self {
        Add { path: format!("{SYSEXT}/{name}{IMAGE_END}"), mode: 0o644, from: from.into(), size }
    }

    /// A container image, by the name of its file.
    pub fn image(file: &str, from: &Path, size: u64) -> Self {
        Add { path: format!("{IMAGES}/{file}"), mode: 0o644, from: from.into(), size }
    }
}

/// The files that make a generic image one for a platform.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The platform.
    pub platform: &'static Platform,
    /// Version of the Flatcar release, which is in the extension's name.
    pub version: String,
    /// The extension `oem-ID.raw`, as published beside the release: path and length in bytes.
    pub extension: Option<(PathBuf, u64)>,
    /// The text of `oem-release`.
    pub release: String,
}

/// An injection.
#[derive(Clone, Debug, Default)]
pub struct Injection {
    /// The merged Ignition config, with [`links`] in it.
    pub config: Option<Vec<u8>>,
    /// Sysexts, images and other files.
    pub files: Vec<Add>,
    /// Kernel arguments, from the first boot on.
    pub arguments: Vec<String>,
    /// Whether a stock `flatcar.autologin` goes.
    pub drops_autologin: bool,
    /// The platform to make of a generic image.
    pub ready: Option<Ready>,
}

/// The record of an injection, `prebake.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// Version of this form.
    prebake: u32,
    /// Paths of files that were not there before.
    added: Vec<String>,
    /// Directories that were not there before.
    directories: Vec<String>,
    /// Texts that were there before or not, and were written anew.
    texts: BTreeMap<String, Text>,
}

/// A text that was written anew.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    /// Digest of the text that prebake wrote.
    sha256: Sha256,
    /// The text that was there before, if there was one.
    stock: Option<Stock>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stock {
    mode: u16,
    base64: String,
}

/// The room on OEM, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Length of the partition.
    pub length: u64,
    /// Bytes of files and of the file system's tables, estimated from above.
    pub there: u64,
    /// Bytes that must stay free: twice the platform's own extension, because an update puts the next one beside it
    /// (`oem-postinst` keeps two).
    pub reserve: u64,
    /// Bytes that are left for more.
    pub free: u64,
}

impl<K: Clone> Oem<K> {
    /// The content of an image's OEM: entries as `(path, mode, node)`, and a function that reads a kept file.
    ///
    /// # Errors
    /// A text cannot be read.
    pub fn new(
        subject: &str,
        length: u64,
        entries: impl IntoIterator<Item = (String, u16, Node<K>)>,
        read: &mut ReadKept<'_, K>,
    ) -> Result<Self, Error> {
        let mut oem = Oem { subject: subject.into(), length, entries: BTreeMap::new() };
        for (path, mode, node) in entries {
            let most = if path == RECORD { MAX_RECORD } else { MAX_TEXT };
            let node = match node {
                Node::File(size, Source::Kept(kept)) if TEXTS.contains(&path.as_str()) && size <= most => {
                    let bytes = read(&kept).map_err(Error::io("read OEM of", subject))?;
                    Node::File(bytes.len() as u64, Source::Bytes(bytes))
                }
                node => node,
            };
            oem.entries.insert(path, Entry { mode, node });
        }
        Ok(oem)
    }

    /// Its entries, sorted by path, parents before their content.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry<K>)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// The text of a file that is read when an image is opened.
    fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.entries.get(path)?.bytes()?).ok()
    }

    /// Whether something of prebake's is there.
    pub fn is_injected(&self) -> bool {
        self.entries.contains_key(RECORD)
    }

    /// Paths of the files that an injection added, but for the record.
    ///
    /// # Errors
    /// The record cannot be used.
    pub fn injected(&self) -> Result<Vec<String>, Error> {
        let Some(record) = self.record()? else { return Ok(Vec::new()) };
        let mut paths = record.added;
        paths.extend(record.texts.into_keys());
        paths.sort();
        Ok(paths)
    }

    /// `ID` of `oem-release`, else `oem_id` of grub.cfg: the platform, in the words of its own files.
    pub fn platform(&self) -> Option<String> {
        let release = self.text(RELEASE).and_then(|text| assigned(text, "ID="));
        release.or_else(|| self.oem_id())
    }

    /// `oem_id` of grub.cfg, which becomes `flatcar.oem.id` on the kernel's command line.
    pub fn oem_id(&self) -> Option<String> {
        assigned(self.text(GRUB)?, "set oem_id=")
    }

    /// Whether grub.cfg logs in whoever is at the console.
    pub fn has_autologin(&self) -> bool {
        self.text(GRUB).is_some_and(|text| text.lines().any(|line| autologin_free(line).is_some()))
    }

    /// Version of the platform's extension, by its name `sysext/oem-ID-VERSION.raw`.
    pub fn extension_version(&self) -> Option<&str> {
        self.entries
            .keys()
            .find_map(|path| extension_name(path)?.rsplit_once('-').map(|(_, version)| version))
    }

    /// The room on it.
    pub fn room(&self) -> Room {
        let there = self.entries.values().fold(FIXED, |sum, entry| sum.saturating_add(entry.cost()));
        let extensions = self.entries.iter().filter(|(path, _)| extension_name(path).is_some());
        let reserve = extensions.map(|(_, entry)| entry.cost()).max().unwrap_or(0).saturating_mul(2);
        let free = self.length.saturating_sub(there).saturating_sub(reserve);
        Room { length: self.length, there, reserve, free }
    }

    /// The content without prebake's files, and with the texts that were there before; findings about what others have
    /// changed since.
    ///
    /// # Errors
    /// There is no record of an injection, or it cannot be used.
    pub fn remove(&self) -> Result<(Self, Vec<String>), Error> {
        let Some(record) = self.record()? else {
            return Err(Error::NotInjected { subject: self.subject.clone() });
        };
        let (mut stock, mut findings) = (self.clone(), Vec::new());
        for (path, text) in &record.texts {
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
                    let text = without_block(&String::from_utf8_lossy(now.bytes().unwrap_or_default()));
                    Some(Entry::text(now.mode, text.into_bytes()))
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
        for path in &record.added {
            stock.entries.remove(path);
        }
        stock.entries.remove(RECORD);
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
            } else if stock.entries.get(directory).is_some_and(|entry| matches!(entry.node, Node::Dir)) {
                stock.entries.remove(directory);
            }
        }
        Ok((stock, findings))
    }

    /// The content with an injection, in the place of an earlier one; findings about the earlier one.
    ///
    /// # Errors
    /// A name that is taken by a file of the image; another platform; no room, in numbers.
    pub fn inject(&self, injection: &Injection) -> Result<(Self, Vec<String>), Error> {
        let (stock, findings) = match self.is_injected() {
            true => self.remove()?,
            false => (self.clone(), Vec::new()),
        };
        let mut change = Changing {
            oem: stock.clone(),
            directories: Vec::new(),
            added: Vec::new(),
            texts: BTreeMap::new(),
        };
        let mut grub = stock.text(GRUB).map(str::to_owned);
        if let Some(ready) = &injection.ready {
            change.make_ready(ready, &mut grub)?;
        }
        let old = grub.clone();
        if injection.drops_autologin {
            grub = grub.map(|text| without_autologin(&text));
        }
        if !injection.arguments.is_empty() {
            grub = Some(with_arguments(grub.as_deref().unwrap_or_default(), &injection.arguments)?);
        }
        if let Some(grub) = grub
            && (injection.ready.is_some() || old.as_deref() != Some(grub.as_str()))
            && stock.text(GRUB) != Some(grub.as_str())
        {
            change.text(GRUB, grub.into_bytes())?;
        }
        if let Some(config) = &injection.config {
            change.text(CONFIG, config.clone())?;
        }
        injection.files.iter().try_for_each(|add| change.add(add))?;
        let new = change.finish()?;
        new.must_fit(&stock)?;
        Ok((new, findings))
    }

    /// Fails if there is no room for what was added to `stock`.
    fn must_fit(&self, stock: &Self) -> Result<(), Error> {
        let (room, before) = (self.room(), stock.room());
        let needed = room.there.saturating_add(room.reserve);
        if needed <= self.length {
            return Ok(());
        }
        let mut added: Vec<_> =
            self.entries.iter().filter(|(path, _)| !stock.entries.contains_key(*path)).collect();
        added.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.cost()));
        let largest = added.iter().filter_map(|(path, entry)| match &entry.node {
            Node::File(size, _) => Some(format!("{path} {size}")),
            _ => None,
        });
        let reserve_why = match room.reserve {
            0 => String::new(),
            _ => " for the platform's extension of the next two releases".into(),
        };
        Err(Error::Room {
            subject: self.subject.clone(),
            length: self.length,
            there: before.there,
            asked: room.there.saturating_sub(before.there),
            largest: largest.take(3).collect::<Vec<_>>().join(", "),
            reserve: room.reserve,
            reserve_why,
            missing: needed - self.length,
        })
    }

    fn record(&self) -> Result<Option<Record>, Error> {
        let unusable = |why: String| Error::Record { subject: self.subject.clone(), why };
        let Some(entry) = self.entries.get(RECORD) else { return Ok(None) };
        let bytes = entry.bytes().ok_or_else(|| unusable(format!("it has more than {MAX_RECORD} bytes")))?;
        let version = serde_json::from_slice(bytes).map(|value: Value| value["prebake"].as_u64());
        match version.map_err(|error| unusable(error.to_string()))? {
            Some(1) => {}
            Some(other) => {
                return Err(unusable(format!("it is of version {other}, which a newer prebake reads")));
            }
            None => return Err(unusable("it has no version".into())),
        }
        let record: Record = serde_json::from_slice(bytes).map_err(|error| unusable(error.to_string()))?;
        // A stranger's record must not take Flatcar's own files away.
        let named = record.added.iter().chain(&record.directories).chain(record.texts.keys());
        match named.into_iter().find(|path| judge_path(path).is_err() || path.as_str() == RECORD) {
            Some(path) => Err(unusable(format!("it names `{}`", path.escape_debug()))),
            None => Ok(Some(record)),
        }
    }

    /// A text as it was before an injection.
    fn stock(&self, stock: &Stock) -> Result<Entry<K>, Error> {
        let unusable =
            |_| Error::Record { subject: self.subject.clone(), why: "a text in it is not base64".into() };
        Ok(Entry::text(stock.mode & 0o777, STANDARD.decode(&stock.base64).map_err(unusable)?))
    }
}

/// An injection on its way.
struct Changing<K> {
    oem: Oem<K>,
    directories: Vec<String>,
    added: Vec<String>,
    texts: BTreeMap<String, Text>,
}

impl<K: Clone> Changing<K> {
    /// Adds the platform's files to a generic image. One of that platform already stays as it is.
    fn make_ready(&mut self, ready: &Ready, grub: &mut Option<String>) -> Result<(), Error> {
        let platform = ready.platform;
        let other = |has: String| Error::OtherPlatform {
            subject: self.oem.subject.clone(),
            has,
            asked: platform.id.into(),
        };
        match self.oem.platform() {
            Some(has) if has == platform.id => return Ok(()),
            Some(has) => return Err(other(has)),
            None => {}
        }
        if ready.extension.is_some() && !platform.extension {
            return Err(Error::NoPayload { id: platform.id.into() });
        }
        let Some(settings) = platform.grub_cfg() else { return Ok(()) };
        // A generic image may have settings of somebody's own, which come after the platform's.
        *grub = Some(match grub.as_deref() {
            Some(own) => format!("{settings}\n{own}"),
            None => settings,
        });
        self.text(RELEASE, ready.release.clone().into_bytes())?;
        let Some((from, size)) = &ready.extension else { return Ok(()) };
        let name = format!("oem-{}-{}", platform.id, ready.version);
        self.add(&Add::sysext(&name, from, *size))?;
        let marker = format!("{SYSEXT}/active-oem-{}", platform.id);
        self.insert(&marker, Entry::text(0o644, Vec::new()))
    }

    /// Writes a text anew, and remembers the old one.
    fn text(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), Error> {
        let stock = match self.oem.entries.get(path) {
            None => None,
            Some(entry) => {
                let taken = || Error::Taken { subject: self.oem.subject.clone(), path: path.into() };
                let old = entry.bytes().filter(|bytes| bytes.len() <= MAX_STOCK).ok_or_else(taken)?;
                Some(Stock { mode: entry.mode, base64: STANDARD.encode(old) })
            }
        };
        let mode = stock.as_ref().map_or(0o644, |stock| stock.mode);
        self.texts.insert(path.to_owned(), Text { sha256: Sha256::of(&bytes), stock });
        self.oem.entries.insert(path.to_owned(), Entry::text(mode, bytes));
        Ok(())
    }

    fn add(&mut self, add: &Add) -> Result<(), Error> {
        judge_path(&add.path)?;
        let path_error = |why| Err(Error::Path { path: add.path.escape_debug().to_string(), why });
        if let Some(id) = add.path.strip_prefix("sysext/active-oem-") {
            return match Platform::of(id) {
                Some(platform) if platform.extension => path_error("a platform brings it; name the platform"),
                _ => Err(Error::NoPayload { id: id.escape_debug().to_string() }),
            };
        }
        if TEXTS.contains(&add.path.as_str()) {
            return path_error("it is made of other options");
        }
        let node = Node::File(add.size, Source::OnDisk(add.from.clone()));
        self.insert(&add.path, Entry { mode: add.mode & 0o777, node })
    }

    fn insert(&mut self, path: &str, entry: Entry<K>) -> Result<(), Error> {
        let taken = |path: &str| Error::Taken { subject: self.oem.subject.clone(), path: path.into() };
        for (at, _) in path.match_indices('/') {
            let parent = &path[..at];
            match self.oem.entries.get(parent).map(|entry| &entry.node) {
                Some(Node::Dir) => {}
                Some(_) => return Err(taken(parent)),
                None => {
                    self.oem.entries.insert(parent.to_owned(), Entry { mode: 0o755, node: Node::Dir });
                    self.directories.push(parent.to_owned());
                }
            }
        }
        if self.oem.entries.contains_key(path) {
            return Err(match self.added.iter().any(|added| added == path) {
                true => Error::Path { path: path.into(), why: "two files are to be there" },
                false => taken(path),
            });
        }
        self.oem.entries.insert(path.to_owned(), entry);
        self.added.push(path.to_owned());
        Ok(())
    }

    fn finish(mut self) -> Result<Oem<K>, Error> {
        self.directories.sort();
        self.added.sort();
        let record =
            Record { prebake: 1, added: self.added, directories: self.directories, texts: self.texts };
        let unusable = |error: serde_json::Error| Error::Record {
            subject: self.oem.subject.clone(),
            why: error.to_string(),
        };
        let mut bytes = serde_json::to_vec_pretty(&record).map_err(unusable)?;
        bytes.push(b'\n');
        if self.oem.entries.contains_key(RECORD) {
            return Err(Error::Taken { subject: self.oem.subject, path: RECORD.into() });
        }
        self.oem.entries.insert(RECORD.to_owned(), Entry::text(0o644, bytes));
        Ok(self.oem)
    }
}

/// The Ignition config that links sysexts of OEM to where systemd-sysext finds them and their names. A link moves no
/// bytes, and comes back after `flatcar-reset`, unlike one that is written into ROOT. The spec 3.3.0 is read by all
/// releases with Ignition 2.14 or newer.
pub fn links(sysexts: &[String]) -> Value {
    let of = |name: &String| json!({"path": link(name), "target": format!("{MOUNTED}/{SYSEXT}/{name}{IMAGE_END}")});
    let links: Vec<_> = sysexts.iter().map(of).collect();
    json!({"ignition": {"version": "3.3.0"}, "storage": {"links": links}})
}

/// `oem-ID-VERSION` of a path `sysext/oem-ID-VERSION.raw`.
fn extension_name(path: &str) -> Option<&str> {
    let name = path.strip_prefix(SYSEXT)?.strip_prefix('/')?.strip_suffix(IMAGE_END)?;
    name.starts_with("oem-").then_some(name)
}

/// A path on OEM that a btrfs, a shell and GRUB take.
fn judge_path(path: &str) -> Result<(), Error> {
    let refused = |why| Err(Error::Path { path: path.escape_debug().to_string(), why });
    match () {
        _ if path.len() > MAX_PATH => refused("it has more than 1024 bytes"),
        _ if path.chars().any(char::is_control) => refused("it has a control character"),
        _ if path.split('/').any(|name| ["", ".", ".."].contains(&name) || name.len() > 255) => {
            refused("its names must not be empty, `.`, `..` or longer than 255 bytes")
        }
        _ => Ok(()),
    }
}

/// The value that a line `KEYvalue` assigns, without quotes; the last one counts.
fn assigned(text: &str, key: &str) -> Option<String> {
    let mut values = text.lines().filter_map(|line| line.trim().strip_prefix(key));
    let value = values.next_back()?.trim().trim_matches(['"', '\'']).to_owned();
    (!value.is_empty()).then_some(value)
}

/// A line `set linux_append=…` without [`AUTOLOGIN`], in all its forms; `None` for other lines, and those without it.
fn autologin_free(line: &str) -> Option<String> {
    let value = line.trim_start().strip_prefix("set linux_append=")?;
    let indent = &line[..line.len() - line.trim_start().len()];
    let is_autologin = |word: &str| {
        let key = word.split('=').next().unwrap_or(word);
        key == AUTOLOGIN || key == "coreos.autologin"
    };
    let quote = value.chars().next().filter(|c| ['"', '\''].contains(c)).map_or(String::new(), String::from);
    let inner = value.trim_end().trim_matches(['"', '\'']);
    let words: Vec<&str> = inner.split_whitespace().collect();
    let kept: Vec<&str> = words.iter().copied().filter(|word| !is_autologin(word)).collect();
    (kept.len() < words.len()).then(|| format!("{indent}set linux_append={quote}{}{quote}", kept.join(" ")))
}

/// A grub.cfg without automatic logins.
fn without_autologin(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
        match autologin_free(body) {
            Some(line) => out += &line,
            None => out += body,
        }
        out += end;
    }
    out
}

/// Judges kernel arguments: whether GRUB passes them on as they are.
///
/// # Errors
/// One is empty, or has a quote, a backslash, a blank or a control character.
pub fn judge_arguments<'a>(arguments: impl IntoIterator<Item = &'a String>) -> Result<(), Error> {
    for argument in arguments {
        let refused = |why| Err(Error::Argument { argument: argument.escape_debug().to_string(), why });
        // GRUB splits the variable at blanks when it is used, and escapes quotes, which the kernel does not undo.
        match () {
            _ if argument.is_empty() => return refused("it is empty"),
            _ if argument.contains(['"', '\'', '\\']) => {
                return refused("GRUB passes quotes and backslashes on changed");
            }
            _ if argument.contains(|c: char| c.is_whitespace() || c.is_control()) => {
                return refused("it has a blank or control character");
            }
            _ => {}
        }
    }
    Ok(())
}

/// A grub.cfg with kernel arguments after the platform's own: `linux_append` is extended, never set anew
/// (coreos/docs#1240).
fn with_arguments(text: &str, arguments: &[String]) -> Result<String, Error> {
    judge_arguments(arguments)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:/=@%+ ".contains(c);
    let joined = arguments.join(" ");
    let value = match joined.chars().all(is_plain) {
        true => format!("\"$linux_append {joined}\""),
        // Between single quotes nothing is expanded.
        false => format!("\"$linux_append \"'{joined}'"),
    };
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    Ok(format!(
        "{text}{end}{BEGIN}: `prebake disk remove` takes these {} out\nset linux_append={value}\n{END}\n",
        counted(3_u32, "line")
    ))
}

/// A grub.cfg without prebake's block.
fn without_block(text: &str) -> String {
    let mut is_inside = false;
    let lines = text.split_inclusive('\n').filter(|line| {
        let line = line.trim();
        let is_ours = is_inside || line.starts_with(BEGIN);
        is_inside = is_ours && line != END;
        !is_ours
    });
    lines.collect()
}

/// The room in words: `12.00 MiB used, 88.00 MiB free, 28.00 MiB kept for updates`.
impl std::fmt::Display for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} used, {} free", Bytes(self.there), Bytes(self.free))?;
        match self.reserve {
            0 => Ok(()),
            reserve => write!(f, ", {} kept for updates", Bytes(reserve)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Files<'f> = &'f [(&'f str, &'f str)];

    /// An OEM whose kept files are known by their content.
    fn oem(length: u64, files: Files<'_>) -> Oem<String> {
        let mut entries = BTreeMap::new();
        for (path, text) in files {
            for (at, _) in path.match_indices('/') {
                entries.insert(path[..at].to_owned(), (0o755, Node::Dir));
            }
            entries.insert(
                (*path).to_owned(),
                (0o600, Node::File(text.len() as u64, Source::Kept((*text).into()))),
            );
        }
        let entries = entries.into_iter().map(|(path, (mode, node))| (path, mode, node));
        Oem::new("x.bin", length, entries, &mut |text: &String| Ok(text.clone().into_bytes())).unwrap()
    }

    fn add(path: &str, size: u64) -> Add {
        Add { path: path.into(), mode: 0o644, from: "/there".into(), size }
    }

    const QEMU: Files<'static> = &[
        ("grub.cfg", "set oem_id=\"qemu\"\nset linux_append=\"flatcar.autologin\""),
        ("oem-release", "ID=qemu\n"),
        ("sysext/active-oem-qemu", ""),
        ("sysext/oem-qemu-4593.2.5.raw", "image"),
    ];

    fn full() -> Injection {
        Injection {
            config: Some(b"{}".to_vec()),
            files: vec![
                Add::sysext("kubernetes", Path::new("/k"), 63 << 20),
                add("images/a.tar", 5),
                add("a/b/c", 1),
            ],
            arguments: vec!["ip=dhcp".into(), "x=$y;z".into()],
            drops_autologin: true,
            ready: None,
        }
    }

    #[test]
    fn what_was_injected_is_replaced_and_taken_out_again() {
        for files in [&[] as Files<'_>, QEMU, &[("config.ign", "{ }"), ("grub.cfg", "set a=1\n")]] {
            let stock = oem(1 << 30, files);
            let (once, _) = stock.inject(&full()).unwrap();
            assert!(once.is_injected());
            let (twice, findings) = once.inject(&full()).unwrap();
            assert_eq!((&twice, findings), (&once, vec![]));
            let less = Injection { arguments: vec!["quiet".into()], ..Injection::default() };
            let (other, _) = once.inject(&less).unwrap();
            assert_eq!(other.injected().unwrap(), ["grub.cfg"]);
            for injected in [once, other] {
                let (back, findings) = injected.remove().unwrap();
                assert_eq!((back, findings), (stock.clone(), vec![]));
            }
        }
    }

    #[test]
    fn arguments_follow_those_of_the_platform() {
        let (new, _) = oem(1 << 30, QEMU).inject(&full()).unwrap();
        assert_eq!(
            new.text(GRUB).unwrap(),
            "set oem_id=\"qemu\"\nset linux_append=\"\"\n# prebake begin: `prebake disk remove` takes these 3 lines out\n\
             set linux_append=\"$linux_append \"'ip=dhcp x=$y;z'\n# prebake end\n"
        );
        assert!(oem(1 << 30, QEMU).has_autologin() && !new.has_autologin());
        assert_eq!(new.platform().as_deref(), Some("qemu"));
        assert_eq!(new.extension_version(), Some("4593.2.5"));
        for bad in ["a b", "a=\"b\"", "", "a\\b", "a\n"] {
            assert!(with_arguments("", &[bad.to_owned()]).is_err(), "{bad:?}");
        }
        assert_eq!(
            without_autologin("  set linux_append='a flatcar.autologin=ttyS0 b'\nset linux_append=\"a\"\n"),
            "  set linux_append='a b'\nset linux_append=\"a\"\n"
        );
    }

    #[test]
    fn edits_of_others_stay_and_are_told() {
        let (mut new, _) = oem(1 << 30, QEMU).inject(&full()).unwrap();
        let edited = format!("{}set gfxpayload=keep\n", new.text(GRUB).unwrap());
        new.entries.insert(GRUB.into(), Entry::text(0o644, edited.into_bytes()));
        new.entries.insert("a/b/other".into(), Entry::text(0o644, vec![]));
        let (back, findings) = new.remove().unwrap();
        assert_eq!(
            back.text(GRUB).unwrap(),
            "set oem_id=\"qemu\"\nset linux_append=\"\"\nset gfxpayload=keep\n"
        );
        assert_eq!(
            findings,
            [
                "grub.cfg was changed after the injection; only prebake's lines were taken out",
                "a/b stays, because there are other files in it now",
                "a stays, because there are other files in it now"
            ]
        );
        assert!(back.entries.contains_key("a/b/other") && !back.entries.contains_key("a/b/c"));
    }

    #[test]
    fn a_generic_image_becomes_a_platforms() {
        let platform = Platform::of("proxmoxve").unwrap();
        let ready = |id: &str| Ready {
            platform: Platform::of(id).unwrap(),
            version: "4593.2.5".into(),
            extension: Some(("/oem.raw".into(), 5000)),
            release: platform.oem_release("1").unwrap(),
        };
        let made =
            |id: &str| Injection { ready: Some(ready(id)), drops_autologin: true, ..Injection::default() };
        let (new, _) = oem(1 << 30, &[]).inject(&made("proxmoxve")).unwrap();
        let paths: Vec<_> = new.iter().map(|(path, _)| path).collect();
        assert_eq!(
            paths,
            [
                "grub.cfg",
                "oem-release",
                "prebake.json",
                "sysext",
                "sysext/active-oem-proxmoxve",
                "sysext/oem-proxmoxve-4593.2.5.raw"
            ]
        );
        assert_eq!(new.oem_id().as_deref(), Some("proxmoxve"));
        assert!(!new.has_autologin());
        assert_eq!(new.remove().unwrap().0, oem(1 << 30, &[]));
        let told = |id: &str, files: Files<'_>| {
            oem(1 << 30, files).inject(&made(id)).map(|_| ()).unwrap_err().to_string()
        };
        assert_eq!(told("ami", QEMU), "x.bin is an image for qemu, and cannot become one for ami");
        assert!(told("exoscale", &[]).contains("no update server has an oem-exoscale.gz"));
        // One of that platform already stays as it is.
        let keep = Injection { ready: Some(ready("qemu")), ..Injection::default() };
        let (same, _) = oem(1 << 30, QEMU).inject(&keep).unwrap();
        assert_eq!(same.injected().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_does_not_fit_is_told_in_numbers() {
        let mut stock = oem(128 << 20, QEMU);
        let extension = Entry { mode: 0o644, node: Node::File(20 << 20, Source::Kept(String::new())) };
        stock.entries.insert("sysext/oem-qemu-4593.2.5.raw".into(), extension);
        let room = stock.room();
        assert!(room.free > 60 << 20 && room.free < 64 << 20, "{room:?}");
        assert_eq!(room.to_string(), "25.17 MiB used, 62.75 MiB free, 40.08 MiB kept for updates");
        let injection =
            Injection { files: vec![add("images/a.tar", 80 << 20), add("b", 9)], ..Injection::default() };
        let error = stock.inject(&injection).unwrap_err();
        let Error::Room { there, asked, reserve, missing, .. } = error else { panic!("{error}") };
        assert_eq!(there + asked + reserve - missing, 128 << 20);
        let text = error.to_string();
        assert!(text.starts_with("x.bin: OEM (134217728 bytes, 128.00 MiB) has no room: "), "{text}");
        assert!(text.contains("asked (images/a.tar 83886080, prebake.json "), "{text}");
        assert!(
            text.contains("must stay free for the platform's extension of the next two releases; "),
            "{text}"
        );
        let fits = Injection { files: vec![add("a", 60 << 20)], ..Injection::default() };
        assert!(stock.inject(&fits).is_ok());
    }

    #[test]
    fn names_that_are_taken_or_lead_elsewhere_are_refused() {
        let told = |path: &str| {
            let injection = Injection { files: vec![add(path, 1)], ..Injection::default() };
            oem(1 << 30, QEMU).inject(&injection).map(|_| ()).unwrap_err().to_string()
        };
        assert_eq!(
            told("sysext/oem-qemu-4593.2.5.raw"),
            "x.bin: OEM has a `sysext/oem-qemu-4593.2.5.raw` that prebake did not put there"
        );
        assert_eq!(told("grub.cfg/x"), "x.bin: OEM has a `grub.cfg` that prebake did not put there");
        for path in ["../x", "/x", "a//b", "a\n", "prebake.json", "config.ign", "sysext/active-oem-qemu"] {
            assert!(told(path).contains("is not a path on OEM"), "{path}: {}", told(path));
        }
        assert!(told("sysext/active-oem-mine").contains("no update server has an oem-mine.gz"));
    }

    #[test]
    fn a_strange_record_is_no_reason_to_take_files_away() {
        let told =
            |record: &str| oem(1 << 30, &[(RECORD, record)]).remove().map(|_| ()).unwrap_err().to_string();
        assert!(told("{").contains("prebake.json on OEM, the record of the injection, cannot be used: "));
        assert!(told("{\"prebake\": 2}").contains("it is of version 2"));
        assert!(told("{}").contains("it has no version"));
        assert!(
            told("{\"prebake\":1,\"added\":[\"../x\"],\"directories\":[],\"texts\":{}}")
                .contains("it names `../x`")
        );
        assert!(matches!(oem(1 << 30, QEMU).remove(), Err(Error::NotInjected { .. })));
    }

    #[test]
    fn links_lead_to_oem() {
        let json = links(&["kubernetes".into()]);
        assert_eq!(
            json["storage"]["links"][0],
            json!({"path": "/etc/extensions/kubernetes.raw", "target": "/oem/sysext/kubernetes.raw"})
        );
    }
}
