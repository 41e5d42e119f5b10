//! Injections: what is asked for, and OEM's content with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::record::{Added, FORM, MAX_RECORD, MAX_STOCK, Record, Stock, Text};
use super::{
    CONFIG, Entry, GRUB, Node, Oem, RECORD, RELEASE, SYSEXT, Source, TEXTS, grub, judge_on_root, judge_path,
};
use crate::base::digest::Sha256;
use crate::disk::Error;
use crate::disk::platform::Platform;
use crate::sysext::place::{IMAGE_END, link};

/// Directory of container images.
const IMAGES: &str = "images";

/// Directories on ROOT of extensions and of container images, for injections that put them there.
pub const ON_ROOT: [&str; 2] = ["opt/extensions", "opt/images"];

/// Where a booted machine has OEM.
const MOUNTED: &str = "/oem";

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
    /// Digest of its bytes, by which an edit is told from it later.
    pub sha256: Sha256,
}

impl Add {
    /// The image of a sysext, which is linked to by that name.
    pub fn sysext(name: &str, from: &Path, size: u64, sha256: Sha256) -> Self {
        Add { path: format!("{SYSEXT}/{name}{IMAGE_END}"), mode: 0o644, from: from.into(), size, sha256 }
    }

    /// A container image, by the name of its file.
    pub fn image(file: &str, from: &Path, size: u64, sha256: Sha256) -> Self {
        Add { path: format!("{IMAGES}/{file}"), mode: 0o644, from: from.into(), size, sha256 }
    }

    /// The same file on ROOT, where OEM is too small; `None` if it is neither an extension nor an image.
    pub fn on_root(self) -> Option<Self> {
        let directories = [SYSEXT, IMAGES].into_iter().zip(ON_ROOT);
        let path = directories.into_iter().find_map(|(oem, root)| {
            Some(format!("{root}/{}", self.path.strip_prefix(oem)?.strip_prefix('/')?))
        })?;
        Some(Add { path, ..self })
    }
}

/// The files that make a generic image one for a platform.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The platform.
    pub platform: &'static Platform,
    /// Version of the Flatcar release, which is in the extension's name.
    pub version: String,
    /// The extension `oem-ID.raw`, as published beside the release: path, length in bytes, and digest.
    pub extension: Option<(PathBuf, u64, Sha256)>,
    /// The text of `oem-release`.
    pub release: String,
}

impl Ready {
    /// Name of the platform's extension on OEM.
    fn name(&self) -> String {
        format!("oem-{}-{}", self.platform.id, self.version)
    }

    /// Path of the file by which Flatcar's updates know that there is such an extension.
    fn marker(&self) -> String {
        format!("{SYSEXT}/active-oem-{}", self.platform.id)
    }
}

/// An injection.
#[derive(Clone, Debug, Default)]
pub struct Injection {
    /// The merged Ignition config, with [`links`] in it.
    pub config: Option<Vec<u8>>,
    /// Sysexts, images and other files.
    pub files: Vec<Add>,
    /// Sysexts and images on ROOT, below [`ON_ROOT`]. They are noted on OEM; writing ROOT is another's.
    pub root: Vec<Add>,
    /// Kernel arguments, from the first boot on.
    pub arguments: Vec<String>,
    /// Whether a stock `flatcar.autologin` goes.
    pub drops_autologin: bool,
    /// The platform to make of a generic image.
    pub ready: Option<Ready>,
}

impl Injection {
    /// Paths on OEM of the files that it adds.
    fn paths(&self) -> BTreeSet<String> {
        let ready = self.ready.iter().filter(|ready| ready.extension.is_some());
        let of_platform =
            ready.flat_map(|ready| [format!("{SYSEXT}/{}{IMAGE_END}", ready.name()), ready.marker()]);
        self.files.iter().map(|add| add.path.clone()).chain(of_platform).collect()
    }
}

impl<K: Clone> Oem<K> {
    /// The content with an injection, in the place of an earlier one; findings about the earlier one.
    ///
    /// # Errors
    /// A name that is taken by a file of the image; another platform; no room, in numbers.
    pub fn inject(&self, injection: &Injection) -> Result<(Self, Vec<String>), Error> {
        let (stock, findings) = match self.is_injected() {
            true => self.take_out(&injection.paths())?,
            false => (self.clone(), Vec::new()),
        };
        let mut change = Changing {
            oem: stock.clone(),
            directories: Vec::new(),
            added: BTreeMap::new(),
            texts: BTreeMap::new(),
            root: BTreeMap::new(),
        };
        let mut grub = stock.text(GRUB).map(str::to_owned);
        if let Some(ready) = &injection.ready {
            change.make_ready(ready, &mut grub)?;
        }
        let old = grub.clone();
        if injection.drops_autologin {
            grub = grub.map(|text| grub::without_autologin(&text));
        }
        if !injection.arguments.is_empty() {
            grub = Some(grub::with_arguments(grub.as_deref().unwrap_or_default(), &injection.arguments)?);
        }
        if let Some(grub) = grub
            && (injection.ready.is_some() || old.as_deref() != Some(grub.as_str()))
            && stock.text(GRUB) != Some(grub.as_str())
        {
            let is_readable = stock.text(GRUB).is_some() || !stock.entries.contains_key(GRUB);
            if !is_readable {
                // Written anew it would lose the platform's settings.
                return Err(stock.fixed(GRUB, "it is no UTF-8 text"));
            }
            change.text(GRUB, grub.into_bytes())?;
        }
        if let Some(config) = &injection.config {
            change.text(CONFIG, config.clone())?;
        }
        injection.files.iter().try_for_each(|add| change.add(add))?;
        injection.root.iter().try_for_each(|add| change.note(add))?;
        let new = change.finish()?;
        // The files that made it an image of that platform are taken out with all else.
        let was = self.platform().filter(|_| self.is_injected());
        if let Some(has) = was.filter(|has| new.platform().as_ref() != Some(has)) {
            return Err(Error::LosesPlatform { subject: self.subject.clone(), has });
        }
        new.must_fit(&stock)?;
        Ok((new, findings))
    }
}

/// An injection on its way.
struct Changing<K> {
    oem: Oem<K>,
    directories: Vec<String>,
    added: BTreeMap<String, Option<Added>>,
    texts: BTreeMap<String, Text>,
    root: BTreeMap<String, u64>,
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
        let Some((from, size, sha256)) = &ready.extension else { return Ok(()) };
        self.add(&Add::sysext(&ready.name(), from, *size, *sha256))?;
        self.insert(&ready.marker(), Entry::text(0o644, Vec::new()))
    }

    /// Writes a text anew, and remembers the old one.
    fn text(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), Error> {
        let stock = match self.oem.entries.get(path) {
            None => None,
            Some(entry) => {
                let fixed = || self.oem.fixed(path, "it is not a file of at most 1 MiB");
                let old = entry.bytes().filter(|bytes| bytes.len() <= MAX_STOCK).ok_or_else(fixed)?;
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
        let node = Node::File(add.size, Source::OnDisk(add.from.clone(), add.sha256));
        self.insert(&add.path, Entry { mode: add.mode & 0o777, node })
    }

    /// Notes a file that will be on ROOT.
    fn note(&mut self, add: &Add) -> Result<(), Error> {
        judge_on_root(&add.path)?;
        match self.root.insert(add.path.clone(), add.size) {
            Some(_) => Err(Error::Path { path: add.path.clone(), why: "two files are to be there" }),
            None => Ok(()),
        }
    }

    fn insert(&mut self, path: &str, entry: Entry<K>) -> Result<(), Error> {
        let taken = |path: &str| Error::Taken {
            subject: self.oem.subject.clone(),
            partition: "OEM",
            path: path.into(),
        };
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
            return Err(match self.added.contains_key(path) {
                true => Error::Path { path: path.into(), why: "two files are to be there" },
                false => taken(path),
            });
        }
        self.added.insert(path.to_owned(), Added::of(&entry));
        self.oem.entries.insert(path.to_owned(), entry);
        Ok(())
    }

    fn finish(mut self) -> Result<Oem<K>, Error> {
        self.directories.sort();
        let record = Record {
            prebake: FORM,
            added: self.added,
            directories: self.directories,
            texts: self.texts,
            root: self.root,
        };
        let unusable = |error: serde_json::Error| Error::Record {
            subject: self.oem.subject.clone(),
            why: error.to_string(),
        };
        let mut bytes = serde_json::to_vec_pretty(&record).map_err(unusable)?;
        bytes.push(b'\n');
        if bytes.len() as u64 > MAX_RECORD {
            // Nobody could read it again.
            return Err(Error::Record {
                subject: self.oem.subject,
                why: format!("it would have more than {MAX_RECORD} bytes, because there are too many files"),
            });
        }
        if self.oem.entries.contains_key(RECORD) {
            return Err(Error::Taken { subject: self.oem.subject, partition: "OEM", path: RECORD.into() });
        }
        self.oem.entries.insert(RECORD.to_owned(), Entry::text(0o644, bytes));
        Ok(self.oem)
    }
}

/// The Ignition config that links sysexts of OEM, or of ROOT, to where systemd-sysext finds them and their names. A link
/// moves no bytes, and comes back after `flatcar-reset`, unlike one that is written into ROOT. The spec 3.3.0 is read by
/// all releases with Ignition 2.14 or newer.
pub fn links(sysexts: &[String], on_root: bool) -> Value {
    let directory = if on_root { format!("/{}", ON_ROOT[0]) } else { format!("{MOUNTED}/{SYSEXT}") };
    let of = |name: &String| json!({"path": link(name), "target": format!("{directory}/{name}{IMAGE_END}")});
    let links: Vec<_> = sysexts.iter().map(of).collect();
    json!({"ignition": {"version": "3.3.0"}, "storage": {"links": links}})
}
