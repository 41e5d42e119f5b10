//! A system extension of any origin and form, as the rules see it: its entries, and file contents on request.
//!
//! Owns the forms: an image (also through a link), a plain directory, a tree that is about to become an image. Leaves
//! all judgement to [`super::rules`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::ddi::{self, Volume};
use super::identify::{self, Format};
use super::release::{self, Release};
use crate::base::error::{Advice, Exit};
use crate::base::kind;
pub(crate) use crate::format::image::Kind;
use crate::format::image::{Limits, Listed};
use crate::format::tree::{Content, Tree};
use crate::format::{erofs, gpt, squashfs};

/// Most entries of a directory that are read.
const MAX_ENTRIES: usize = 1_000_000;
/// Directories that systemd-sysext searches (systemd-sysext(8)), below any root.
const SEARCHED: [&str; 5] = [
    "etc/extensions",
    "run/extensions",
    "var/lib/extensions",
    "usr/lib/extensions",
    "usr/local/lib/extensions",
];
/// Longest file that is read into memory, in bytes: large enough for a containerd or kubelet.
const MAX_FILE: u64 = 256 << 20;

/// An extension that is examined.
pub struct Extension {
    /// The name that the user gave, for messages.
    pub subject: String,
    /// The file's name without `.raw`, if systemd-sysext will not necessarily see it under that name.
    stem: String,
    /// Whether systemd-sysext certainly sees it as `stem`: because that is the name of a link, a folder, or an image to
    /// be built.
    exact: bool,
    /// Whether it is in a directory that is judged as if systemd-sysext might search it.
    pub shelved: bool,
    /// Its form on disk.
    pub form: Form,
    /// The file systems of an image: its own, or those of a disk image that systemd-sysext mounts.
    pub filesystems: Vec<Format>,
    /// Properties of a disk image beside its file systems.
    pub disk: Option<Disk>,
    /// Bytes of the image; of a directory, the bytes of its files.
    pub size: u64,
    /// Entries by path, without the root.
    pub entries: BTreeMap<String, Seen>,
    /// Directories that will have more entries than are known yet: members of archives that are not fetched.
    pub unknown: Vec<String>,
    /// Names of the release's extensions that the folder's `node.bu` masks.
    pub masks: BTreeSet<String>,
    /// The reason why its content is unknown.
    pub fault: Option<Fault>,
    bytes: Bytes,
}

/// The form of an extension on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// An image file.
    Image(Format),
    /// A plain directory.
    Directory,
    /// A tree that prebake is about to write as an image.
    Tree,
}

/// Properties of a disk image, apart from its file systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Whether it contains the signature of a dm-verity tree.
    pub is_signed: bool,
    /// Bytes of a sector.
    pub sector: u64,
}

/// Reasons why an image's content cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// systemd cannot read it either, so merging fails as a whole. Holds the problem, in words.
    Broken(String),
    /// Only prebake cannot read it. Holds the format's name.
    Opaque(String),
}

/// One entry of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Permission bits including setuid, setgid and sticky.
    pub mode: u16,
    /// Owner's user id.
    pub uid: u32,
    /// Owner's group id.
    pub gid: u32,
    /// Kind of entry.
    pub kind: Kind,
    /// Extended attributes as `name=value`, with bytes that are not text replaced.
    pub xattrs: Vec<String>,
    /// Number of the inode, if it has several names.
    pub inode: Option<u64>,
}

enum Bytes {
    None,
    Tree(Tree),
    Directory(PathBuf),
    /// File systems that are mounted later cover the content below them.
    Image(Vec<Mounted>),
}

/// A mounted file system of an image.
struct Mounted {
    /// Mount point: empty for the root, else `usr`.
    at: &'static str,
    reader: Reader,
}

enum Reader {
    Squashfs(Box<squashfs::Image>),
    Erofs(Box<erofs::Image>),
}

/// Reasons why an extension cannot be examined.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path cannot be read, or does not exist.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A directory with more than the allowed number of entries.
    #[error("{} has more than {MAX_ENTRIES} entries", path.display())]
    TooMany {
        /// Path of the directory.
        path: PathBuf,
    },
    /// The file is not an image, or is damaged.
    #[error("{subject} is not an image of a system extension: {why}")]
    Broken {
        /// Path of the file.
        subject: String,
        /// The problem, in words.
        why: String,
    },
    /// A file in a directory could not be read.
    #[error("cannot read `/{path}` of {subject}")]
    Inside {
        /// The extension's name, as the user gave it.
        subject: String,
        /// Path inside the extension.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// A file in a squashfs image could not be read.
    #[error(transparent)]
    Image(#[from] squashfs::Error),
    /// A file in an erofs image could not be read.
    #[error(transparent)]
    Erofs(#[from] erofs::Error),
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Read { .. } | Error::Inside { .. } => Exit::Failed,
            Error::TooMany { .. } => Exit::Config,
            Error::Broken { .. } => Exit::Integrity,
            Error::Image(error) => error.exit(),
            Error::Erofs(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => Some(
                "name an image (.raw), a folder of an extension, a folder with a sysext.yaml, or a recipe"
                    .into(),
            ),
            Error::TooMany { .. } => Some("is this the extension's own folder?".into()),
            Error::Image(error) => error.hint(),
            _ => None,
        }
    }
}

impl Seen {
    /// Whether it is an executable file.
    pub(crate) fn is_program(&self) -> bool {
        matches!(self.kind, Kind::File(_)) && self.mode & 0o111 != 0
    }
}

impl Extension {
    /// The extension that a tree will be as the image `name.raw`.
    pub(crate) fn of_tree(name: &str, tree: &Tree) -> Self {
        let entries = tree.iter().map(|(path, entry)| {
            let kind = match &entry.content {
                Content::Dir => Kind::Dir,
                Content::File(contents) => Kind::File(contents.size()),
                Content::Symlink(target) => Kind::Symlink(target.clone()),
            };
            let xattrs = entry.xattrs.iter().map(shown_xattr).collect();
            (path.to_owned(), Seen { mode: entry.mode, uid: 0, gid: 0, kind, xattrs, inode: None })
        });
        let subject = format!("sysext {name}");
        let mut extension = Extension::new(subject, name.into(), Form::Tree, Bytes::Tree(tree.clone()));
        extension.exact = true;
        extension.fill(entries.collect());
        extension
    }

    /// Examines an image or a directory. A file that is not an image is returned with its [`Fault`], for the rules to
    /// judge.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read { path: path.to_owned(), source };
        let subject = path.display().to_string();
        let link = fs::symlink_metadata(path).map_err(read)?.is_symlink();
        // A path such as `.` or `x/..` has no file name.
        let named = match path.file_name() {
            Some(_) => path.to_owned(),
            None => fs::canonicalize(path).map_err(read)?,
        };
        let name = named.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.strip_suffix(".raw").unwrap_or(&name).to_owned();
        let metadata = fs::metadata(path).map_err(read)?;
        if metadata.is_dir() {
            let mut extension =
                Extension::new(subject, stem, Form::Directory, Bytes::Directory(path.to_owned()));
            extension.exact = true;
            let mut entries = BTreeMap::new();
            walk(path, "", &mut entries)?;
            extension.fill(entries);
            return Ok(extension);
        }
        let file = File::open(path).map_err(read)?;
        let format = Format::of(&head(&file, 0, metadata.len()).map_err(read)?);
        let mut extension = Extension::new(subject, stem, Form::Image(format), Bytes::None);
        extension.exact = link;
        extension.size = metadata.len();
        match extension.look_into(path, &file, format) {
            Ok(()) => {}
            Err(Failed::Read(error)) => return Err(error),
            Err(Failed::Fault(fault)) => {
                (extension.entries, extension.bytes) = (BTreeMap::new(), Bytes::None);
                extension.fault = Some(fault);
            }
        }
        Ok(extension)
    }

    /// Reads all file systems of an image that systemd-sysext would mount.
    fn look_into(&mut self, path: &Path, file: &File, format: Format) -> Result<(), Failed> {
        let read = |source| Failed::Read(Error::Read { path: path.to_owned(), source });
        let broken = |why: String| Failed::Fault(Fault::Broken(why));
        let whole = Volume { at: "", start: 0, length: self.size };
        let mut volumes = vec![whole];
        if format == Format::Gpt {
            let found = match ddi::volumes(file) {
                Ok(found) => found.ok_or_else(|| broken("its partition table is missing".into()))?,
                Err(gpt::Error::Read(source)) => return Err(read(source)),
                Err(error) => return Err(broken(error.to_string())),
            };
            self.disk = Some(Disk { is_signed: found.is_signed, sector: found.sector });
            if found.mounted.is_empty() {
                return Err(broken(format!(
                    "it is a disk image without a root or /usr partition for x86-64 or arm64; its partitions: {}",
                    found.names.join(", ")
                )));
            }
            volumes = found.mounted;
        }
        let mut mounted = Vec::new();
        for Volume { at, start, length } in volumes {
            let head = head(file, start, length).map_err(read)?;
            let format = Format::of(&head);
            self.filesystems.push(format);
            let inside = if self.disk.is_some() { "a disk image with " } else { "" };
            if let Some(fault) = fault(format, &head, length, inside) {
                return Err(Failed::Fault(fault));
            }
            let reader = Reader::open(&self.subject, path, start, length, format)?;
            let prefix = |path: String| if at.is_empty() { path } else { format!("{at}/{path}") };
            if !at.is_empty() {
                // A mount covers the entries below it.
                self.entries.retain(|path, _| !path.starts_with(&format!("{at}/")));
                let dir =
                    Seen { mode: 0o755, uid: 0, gid: 0, kind: Kind::Dir, xattrs: Vec::new(), inode: None };
                self.entries.insert(at.into(), dir);
            }
            self.entries.extend(reader.list().into_iter().map(|(path, seen)| (prefix(path), seen)));
            mounted.push(Mounted { at, reader });
        }
        self.bytes = Bytes::Image(mounted);
        Ok(())
    }

    fn new(subject: String, stem: String, form: Form, bytes: Bytes) -> Self {
        let (entries, unknown, masks) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        Extension {
            subject,
            stem,
            exact: false,
            shelved: false,
            form,
            filesystems: Vec::new(),
            disk: None,
            size: 0,
            entries,
            unknown,
            masks,
            fault: None,
            bytes,
        }
    }

    fn fill(&mut self, entries: BTreeMap<String, Seen>) {
        let sizes = entries.values().map(|seen| if let Kind::File(size) = seen.kind { size } else { 0 });
        self.size = sizes.fold(0, u64::saturating_add);
        self.entries = entries;
    }

    /// Marks paths of a tree as not known yet: files whose content will differ, or directories that will have more
    /// entries.
    pub(crate) fn with_unknown(mut self, unknown: Vec<String>) -> Self {
        self.unknown = unknown;
        self
    }

    /// Sets the name of the link under which it will be found.
    pub(crate) fn named(mut self, name: &str) -> Self {
        (self.stem, self.exact) = (name.to_owned(), true);
        self.subject = format!("sysext {name}");
        self
    }

    /// Sets the directory that contains it. In a directory that systemd-sysext searches, the file's name is the
    /// extension's name.
    pub(crate) fn lying_in(mut self, directory: &Path) -> Self {
        self.exact |= SEARCHED.iter().any(|searched| directory.ends_with(searched));
        self.shelved = true;
        self
    }

    /// The file's name without `.raw`, if systemd-sysext will not necessarily see it under that name.
    pub(crate) fn file_stem(&self) -> Option<&str> {
        (!self.exact).then_some(self.stem.as_str())
    }

    /// Ignores the file's name: judges the extension as if it had the name in its release file.
    pub(crate) fn under_its_own_name(mut self) -> Self {
        if let [only] = self.release_names().as_slice() {
            (self.stem, self.exact) = ((*only).to_owned(), true);
        }
        self
    }

    /// The suffixes of its extension-release files, sorted.
    pub(crate) fn release_names(&self) -> Vec<&str> {
        let prefix = format!("{}/extension-release.", release::DIR);
        let of = |path: &'_ str| path.starts_with(&prefix);
        let paths = self.entries.keys().map(String::as_str).filter(|path| of(path));
        paths.map(|path| &path[prefix.len()..]).filter(|name| !name.contains('/')).collect()
    }

    /// The name under which systemd-sysext will find it. A file called `NAME-VERSION-ARCH.raw` is assumed to be the
    /// target of a link `NAME.raw`.
    pub(crate) fn name(&self) -> &str {
        let versioned = |name: &&&str| !self.exact && is_versioned(&self.stem, name);
        self.release_names().iter().find(versioned).copied().unwrap_or(&self.stem)
    }

    /// The fields of the extension-release file that fits its name, or else of the first one.
    pub(crate) fn release(&self) -> Result<Option<Release>, Error> {
        let names = self.release_names();
        let Some(name) = names.iter().find(|name| **name == self.name()).or(names.first()) else {
            return Ok(None);
        };
        self.text(&release::path(name)).map(|text| Some(Release::parse(&text)))
    }

    /// The first bytes of a file, at most `limit`. A file that is not fetched yet is empty.
    pub fn head(&self, path: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let inside = |source| Error::Inside { subject: self.subject.clone(), path: path.into(), source };
        let mut bytes = Vec::new();
        match &self.bytes {
            Bytes::None => return Err(inside(io::ErrorKind::Unsupported.into())),
            Bytes::Tree(tree) => match tree.get(path).map(|entry| &entry.content) {
                Some(Content::File(contents)) => {
                    contents.reader().take(limit).read_to_end(&mut bytes).map_err(inside)?;
                }
                _ => return Err(inside(io::ErrorKind::NotFound.into())),
            },
            Bytes::Directory(root) => {
                let file = File::open(root.join(path)).map_err(inside)?;
                file.take(limit).read_to_end(&mut bytes).map_err(inside)?;
            }
            Bytes::Image(mounted) => {
                let own = |at: &str| {
                    if at.is_empty() { Some(path) } else { path.strip_prefix(at)?.strip_prefix('/') }
                };
                // The last one covers the others.
                let found = mounted.iter().rev().find_map(|Mounted { at, reader }| Some((reader, own(at)?)));
                let Some((reader, path)) = found else { return Err(inside(io::ErrorKind::NotFound.into())) };
                bytes = match reader {
                    Reader::Squashfs(image) => image.head(path, limit)?,
                    Reader::Erofs(image) => image.head(path, limit)?,
                };
            }
        }
        Ok(bytes)
    }

    /// A text file, cut off at 1 MiB, with bytes that are not UTF-8 replaced.
    pub fn text(&self, path: &str) -> Result<String, Error> {
        let bytes = self.head(path, 1 << 20)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// All bytes of a file.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        self.head(path, MAX_FILE)
    }

    /// Writes all entries of an image below `target`, which must not exist yet, and appears only when it is complete.
    pub(crate) fn extract(&self, target: &Path) -> Result<(), Error> {
        let no_image = |why: &str| Error::Broken { subject: self.subject.clone(), why: why.into() };
        let mounted = match &self.bytes {
            Bytes::Image(mounted) => mounted.as_slice(),
            _ => &[],
        };
        match (&self.bytes, &self.fault) {
            (Bytes::Image(_), _) => match mounted {
                [Mounted { at: "", reader: Reader::Squashfs(image) }] => Ok(image.extract(target)?),
                [Mounted { at: "", reader: Reader::Erofs(_) }] if self.disk.is_none() => {
                    Err(no_image("it is erofs; `fsck.erofs --extract=DIR` unpacks it"))
                }
                _ => {
                    Err(no_image("it is a disk image; `systemd-dissect --copy-from IMAGE / DIR` unpacks it"))
                }
            },
            (_, Some(Fault::Broken(why))) => Err(no_image(why)),
            (_, Some(Fault::Opaque(what))) => {
                Err(no_image(&format!("it is {what}, which prebake cannot read")))
            }
            (Bytes::None | Bytes::Tree(_) | Bytes::Directory(_), None) => Err(no_image("it is a directory")),
        }
    }

    /// Creation time of an image, in seconds since 1970, as it states itself.
    pub(crate) fn time(&self) -> Option<u32> {
        let Bytes::Image(mounted) = &self.bytes else { return None };
        match &mounted.last()?.reader {
            Reader::Squashfs(image) => Some(image.time()),
            Reader::Erofs(image) => u32::try_from(image.time()).ok(),
        }
    }

    /// Name of a file for messages: its path on disk, if it is a file of its own.
    pub(crate) fn shown(&self, path: &str) -> String {
        use crate::format::tree::Contents;
        match &self.bytes {
            Bytes::Directory(root) => root.join(path).display().to_string(),
            Bytes::Tree(tree) => match tree.get(path).map(|entry| &entry.content) {
                Some(Content::File(Contents::OnDisk { path, .. })) => path.display().to_string(),
                _ => format!("/{path}"),
            },
            Bytes::None | Bytes::Image(_) => format!("/{path}"),
        }
    }
}

/// Reasons why an image's content was not read.
enum Failed {
    /// The file could not be read.
    Read(Error),
    /// The content is the reason.
    Fault(Fault),
}

impl Reader {
    /// Opens a file system that is part of a file.
    fn open(subject: &str, path: &Path, start: u64, length: u64, format: Format) -> Result<Self, Failed> {
        let file = File::open(path);
        let file = file.map_err(|source| Failed::Read(Error::Read { path: path.to_owned(), source }))?;
        let limits = Limits { file: MAX_FILE, ..Limits::default() };
        if let Format::Erofs(_) = format {
            return match erofs::Image::open_at(subject, file, start, length, limits) {
                Ok(image) => Ok(Reader::Erofs(Box::new(image))),
                Err(error @ erofs::Error::Read { .. }) => Err(Failed::Read(error.into())),
                // The kernel supports more features of the format than prebake does.
                Err(erofs::Error::Feature { what, .. }) => Err(Failed::Fault(Fault::Opaque(what))),
                Err(error) => Err(Failed::Fault(Fault::Broken(error.to_string()))),
            };
        }
        match squashfs::Image::open_at(subject, file, start, length, limits) {
            Ok(image) => Ok(Reader::Squashfs(Box::new(image))),
            Err(error @ squashfs::Error::Read { .. }) => Err(Failed::Read(error.into())),
            Err(squashfs::Error::Compression { algorithm, .. }) => {
                Err(Failed::Fault(Fault::Opaque(format!("squashfs with {}", algorithm.name()))))
            }
            Err(error) => {
                let why = crate::base::error::Error::from(error).chain().pop().unwrap_or_default();
                Err(Failed::Fault(Fault::Broken(why)))
            }
        }
    }

    fn list(&self) -> Vec<(String, Seen)> {
        match self {
            Reader::Squashfs(image) => {
                image.list().map(|listed| (listed.path.clone(), seen(listed))).collect()
            }
            Reader::Erofs(image) => {
                image.list().map(|listed| (listed.path.clone(), seen(listed.clone()))).collect()
            }
        }
    }
}

/// The first bytes of a part of a file, as many as are needed to recognise its format.
fn head(file: &File, start: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut head = vec![0; length.min(identify::HEAD as u64) as usize];
    file.read_exact_at(&mut head, start)?;
    Ok(head)
}

/// The defect of a file system of this format and length, as far as it is known without reading its content. `inside`
/// names the disk image that contains it.
fn fault(format: Format, head: &[u8], length: u64, inside: &str) -> Option<Fault> {
    let broken = |why: &str| Some(Fault::Broken(why.into()));
    match format {
        Format::Squashfs(superblock) if superblock.used > length => broken(&format!(
            "it is cut off: it has {length} bytes of {}; the download was incomplete, or the disk was full",
            superblock.used
        )),
        Format::Squashfs(_) | Format::Erofs(_) => None,
        Format::Gpt => broken("its root partition is a disk image itself"),
        Format::Filesystem(name) => Some(Fault::Opaque(format!("{inside}{name}"))),
        Format::Empty => broken("it is empty"),
        Format::Foreign(what) => broken(&format!("it is {inside}{what}")),
        Format::Unknown if !inside.is_empty() => broken("its root partition has no known file system"),
        Format::Unknown => match kind::of(head) {
            Some(kind::Known { what, .. }) => broken(&format!("it is {what}")),
            None => broken("its first bytes are not those of a file system or disk image"),
        },
    }
}

fn shown_xattr((name, value): (&String, &Vec<u8>)) -> String {
    format!("{name}={}", String::from_utf8_lossy(value))
}

fn seen(Listed { mode, uid, gid, inode, nlink, xattrs, kind, .. }: Listed) -> Seen {
    let xattrs = xattrs.iter().map(shown_xattr).collect();
    Seen { mode, uid, gid, kind, xattrs, inode: (nlink > 1).then_some(inode.into()) }
}

fn walk(root: &Path, dir: &str, entries: &mut BTreeMap<String, Seen>) -> Result<(), Error> {
    let here = root.join(dir);
    let read = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Read { path, source }
    };
    for item in fs::read_dir(&here).map_err(read(&here))? {
        let item = item.map_err(read(&here))?;
        let path = item.path();
        let name = item.file_name().to_string_lossy().into_owned();
        let inside = if dir.is_empty() { name } else { format!("{dir}/{name}") };
        let metadata = item.metadata().map_err(read(&path))?;
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => Kind::Dir,
            kind if kind.is_file() => Kind::File(metadata.len()),
            kind if kind.is_symlink() => {
                Kind::Symlink(fs::read_link(&path).map_err(read(&path))?.to_string_lossy().into_owned())
            }
            kind if kind.is_char_device() && metadata.rdev() == 0 => Kind::Whiteout,
            _ => Kind::Special,
        };
        let is_dir = kind == Kind::Dir;
        let xattrs = xattrs(&path);
        let mode = (metadata.mode() & 0o7777) as u16;
        let inode = (!is_dir && metadata.nlink() > 1).then(|| metadata.ino());
        let seen = Seen { mode, uid: metadata.uid(), gid: metadata.gid(), kind, xattrs, inode };
        entries.insert(inside.clone(), seen);
        if entries.len() > MAX_ENTRIES {
            return Err(Error::TooMany { path: root.to_owned() });
        }
        if is_dir {
            walk(root, &inside, entries)?;
        }
    }
    Ok(())
}

/// Extended attributes, as far as the user may read them; a file system without any has none.
fn xattrs(path: &Path) -> Vec<String> {
    let mut names = vec![0; 64 << 10];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names[..]) else { return Vec::new() };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let of = |name: &[u8]| {
        let name = String::from_utf8_lossy(name).into_owned();
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value[..]).unwrap_or(0);
        format!("{name}={}", String::from_utf8_lossy(&value[..length]))
    };
    names.map(of).collect()
}

/// Whether a file's name is `NAME-VERSION-ARCH`, as the bakery and prebake name images.
fn is_versioned(stem: &str, name: &str) -> bool {
    let rest = stem.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
    let version = rest.and_then(|rest| {
        crate::base::arch::Arch::ALL
            .iter()
            .find_map(|arch| rest.strip_suffix(arch.systemd())?.strip_suffix('-'))
    });
    version.is_some_and(|version| !version.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_versioned_file_name_is_understood() {
        for (stem, fits) in [
            ("kubernetes-v1.34.4-x86-64", true),
            ("kubernetes-v1.34.4-arm64", true),
            ("kubernetes-x86-64", false),
            ("kubernetes-v1.34.4-amd64", false),
            ("kubernetes-v1.34.4", false),
            ("kubernetesx-v1-arm64", false),
        ] {
            assert_eq!(is_versioned(stem, "kubernetes"), fits, "{stem}");
        }
    }
}
