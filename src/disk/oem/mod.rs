//! The content of OEM as a value, and what an injection changes in it.
//!
//! ```text
//! /oem/config.ign        the user's Ignition config        /oem/grub.cfg            settings, sourced by Flatcar's GRUB
//! /oem/sysext/NAME.raw   linked to by the config           /oem/oem-release         the platform
//! /oem/images/FILE       container images                  /oem/sysext/active-oem-ID, oem-ID-VERSION.raw
//! /oem/prebake.json      what was there before: `remove` gives it back
//! /opt/extensions/NAME.raw, /opt/images/FILE              on ROOT instead, where OEM is too small
//! ```
//! Owns the rules for these files, the record by which an injection is replaced or taken out, and the room that must
//! stay free. A file of the image is handed through as `K`, whatever its reader knows it by, and its bytes are never
//! looked at, but for the texts above. Owner of everything is 0:0, as in Flatcar's own images.
//!
//! Leaves reading and writing the file system to `format::btrfs`, and merging configs to `ignition`.

mod grub;
mod inject;
mod record;
mod room;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::base::digest::Sha256;
use crate::disk::Error;
use crate::sysext::place::IMAGE_END;
pub use grub::{is_autologin, judge_arguments, names_platform};
pub use inject::{Add, Injection, ON_ROOT, Ready, links};
use record::MAX_RECORD;
pub use room::{Kept, Room};

/// Part of step keys; raised when the files for the same injection change.
pub const REVISION: u32 = 2;

/// The record of an injection.
pub const RECORD: &str = "prebake.json";
/// GRUB's settings.
pub const GRUB: &str = "grub.cfg";
/// The user's Ignition config (bootengine, `ignition-setup.sh`).
pub const CONFIG: &str = "config.ign";
/// A config below the one that the platform gives: Ignition merges the two, where [`CONFIG`] would keep the platform from being
/// asked (bootengine, `ignition-setup.sh`).
pub const BASE: &str = "base/base.ign";
/// The platform, as `os-release` says it of a system.
pub const RELEASE: &str = "oem-release";
/// Directory of extensions.
const SYSEXT: &str = "sysext";
/// Texts that are read when an image is opened.
const TEXTS: [&str; 4] = [RECORD, GRUB, CONFIG, RELEASE];
/// Longest text that is read, in bytes.
const MAX_TEXT: u64 = 16 << 20;
/// Longest path on OEM, in bytes.
const MAX_PATH: usize = 1024;

/// The source of a file's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source<K> {
    /// A file of the image that stays.
    Kept(K),
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// A file on this machine, with the digest of its bytes.
    OnDisk(PathBuf, Sha256),
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

    fn is_dir(&self) -> bool {
        matches!(self.node, Node::Dir)
    }

    /// The bytes, if they are in memory.
    fn bytes(&self) -> Option<&[u8]> {
        match &self.node {
            Node::File(_, Source::Bytes(bytes)) => Some(bytes),
            _ => None,
        }
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
    /// Digests of files of the image, as far as [`Oem::learn`] has read them.
    digests: BTreeMap<String, Sha256>,
    /// Bytes that files of the image take, as far as it is known; by path.
    kept: BTreeMap<String, Kept>,
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
        let mut oem = Oem {
            subject: subject.into(),
            length,
            entries: BTreeMap::new(),
            digests: BTreeMap::new(),
            kept: BTreeMap::new(),
        };
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

    /// Name of the image, for messages.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The entry at a path.
    pub fn get(&self, path: &str) -> Option<&Entry<K>> {
        self.entries.get(path)
    }

    /// The text of a file that is read when an image is opened, if it can be written again as it is.
    fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.entries.get(path)?.bytes()?).ok()
    }

    /// The same for questions: GRUB and systemd read the lines around a byte that is no UTF-8.
    fn read(&self, path: &str) -> Option<Cow<'_, str>> {
        Some(String::from_utf8_lossy(self.entries.get(path)?.bytes()?))
    }

    /// Whether something of prebake's is there.
    pub fn is_injected(&self) -> bool {
        self.entries.contains_key(RECORD)
    }

    /// GRUB's settings; bytes that are not UTF-8 are replaced.
    pub fn grub(&self) -> Option<Cow<'_, str>> {
        self.read(GRUB)
    }

    /// `ID` of `oem-release`, else `oem_id` of grub.cfg: the platform, in the words of its own files.
    pub fn platform(&self) -> Option<String> {
        let release = self.read(RELEASE).and_then(|text| grub::assigned(&text, "ID="));
        release.or_else(|| self.oem_id())
    }

    /// `oem_id` of grub.cfg, which becomes `flatcar.oem.id` on the kernel's command line.
    pub fn oem_id(&self) -> Option<String> {
        grub::assigned(&self.read(GRUB)?, "set oem_id=")
    }

    /// Whether grub.cfg logs in whoever is at the console.
    pub fn has_autologin(&self) -> bool {
        self.read(GRUB).is_some_and(|text| text.lines().any(|line| grub::autologin_free(line).is_some()))
    }

    /// Version of the platform's extension, by its name `sysext/oem-ID-VERSION.raw`.
    pub fn extension_version(&self) -> Option<&str> {
        self.entries
            .keys()
            .find_map(|path| extension_name(path)?.rsplit_once('-').map(|(_, version)| version))
    }

    /// The error for a file that cannot be changed.
    fn fixed(&self, path: &str, why: &'static str) -> Error {
        Error::Fixed { subject: self.subject.clone(), path: path.into(), why }
    }
}

/// `oem-ID-VERSION` of a path `sysext/oem-ID-VERSION.raw`.
fn extension_name(path: &str) -> Option<&str> {
    let name = path.strip_prefix(SYSEXT)?.strip_prefix('/')?.strip_suffix(IMAGE_END)?;
    name.starts_with("oem-").then_some(name)
}

/// A path on ROOT that prebake puts files at, and that `debugfs` reads as it is.
fn judge_on_root(path: &str) -> Result<(), Error> {
    judge_path(path)?;
    let is_plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+@:".contains(&b));
    match path.rsplit_once('/') {
        Some((directory, name)) if ON_ROOT.contains(&directory) && is_plain(name) => Ok(()),
        _ => Err(Error::Path {
            path: path.escape_debug().to_string(),
            why: "on ROOT a name may have letters, digits and -_.+@:",
        }),
    }
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
