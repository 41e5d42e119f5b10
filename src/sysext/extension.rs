//! A system extension as it is looked at, whoever made it and in whatever form: entries, and bytes on request.
//!
//! Owns the forms: an image (also through a link), a plain directory, a tree that is about to become an image. Nothing
//! here judges; that is [`super::rules`]'.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::ddi::{self, Volume};
use super::identify::{self, Format};
use super::release::{self, Release};
use crate::base::error::{Advice, Exit};
pub use crate::format::image::Kind;
use crate::format::image::{Limits, Listed};
use crate::format::tree::{Content, Tree};
use crate::format::{erofs, gpt, squashfs};

/// Most entries of a directory that are looked at.
const MAX_ENTRIES: usize = 1_000_000;
/// Where systemd-sysext looks (systemd-sysext(8)), below any root.
const SEARCHED: [&str; 5] = [
    "etc/extensions",
    "run/extensions",
    "var/lib/extensions",
    "usr/lib/extensions",
    "usr/local/lib/extensions",
];
/// Longest file that is read as a whole, in bytes: a containerd or kubelet fits.
const MAX_FILE: u64 = 256 << 20;

/// One extension.
pub struct Extension {
    /// As the user named it, for messages.
    pub subject: String,
    /// The name of the file or folder, without `.raw`.
    stem: String,
    /// Whether systemd-sysext is sure to see `stem`: it is the name of a link, a folder, or of what is being built.
    exact: bool,
    /// Whether it lies in a directory that is judged as systemd-sysext might look into it.
    pub shelved: bool,
    /// What holds it.
    pub form: Form,
    /// The file systems of an image: itself, or those of a disk image that systemd-sysext mounts.
    pub filesystems: Vec<Format>,
    /// What is known of a disk image beside its file systems.
    pub disk: Option<Disk>,
    /// Bytes of the image; of an unpacked one, of its files.
    pub size: u64,
    /// Without the root.
    pub entries: BTreeMap<String, Seen>,
    /// Directories in which more will lie than is known yet: members of archives that are not fetched.
    pub unknown: Vec<String>,
    /// Names of the release's extensions that its folder's `node.bu` masks.
    pub masks: BTreeSet<String>,
    /// Why nothing is known of what it holds.
    pub fault: Option<Fault>,
    bytes: Bytes,
}

/// What holds an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// An image file.
    Image(Format),
    /// A plain directory.
    Directory,
    /// What prebake is about to write.
    Tree,
}

/// A disk image, apart from the file systems in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Whether it holds a signature of a dm-verity tree.
    pub is_signed: bool,
    /// Bytes of a sector.
    pub sector: u64,
}

/// Why an image cannot be looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// systemd cannot either, in words: merging fails as a whole.
    Broken(String),
    /// Only prebake cannot: what it is.
    Opaque(String),
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u16,
    /// Owner's user number.
    pub uid: u32,
    /// Owner's group number.
    pub gid: u32,
    /// What it is.
    pub kind: Kind,
    /// Extended attributes, `name=value` with what is not text replaced.
    pub xattrs: Vec<String>,
    /// Number of the inode, if it has more names than this one.
    pub inode: Option<u64>,
}

enum Bytes {
    None,
    Tree(Tree),
    Directory(PathBuf),
    /// What is mounted later covers what is below it.
    Image(Vec<Mounted>),
}

/// A file system of an image.
struct Mounted {
    /// Where: empty for the root, else `usr`.
    at: &'static str,
    reader: Reader,
}

enum Reader {
    Squashfs(Box<squashfs::Image>),
    Erofs(Box<erofs::Image>),
}

/// Why an extension cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk failed, or nothing is there.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A directory of far too much.
    #[error("{} has more than {MAX_ENTRIES} entries", path.display())]
    TooMany {
        /// The directory.
        path: PathBuf,
    },
    /// Not an image, or a damaged one.
    #[error("{subject} is not an image of a system extension: {why}")]
    Broken {
        /// The file.
        subject: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file inside could not be read.
    #[error("cannot read `/{path}` of {subject}")]
    Inside {
        /// The extension.
        subject: String,
        /// Inside of it.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file inside an image could not be read.
    #[error(transparent)]
    Image(#[from] squashfs::Error),
    /// The same of an erofs image.
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
    /// Whether it is a file that may be run.
    pub fn is_program(&self) -> bool {
        matches!(self.kind, Kind::File(_)) && self.mode & 0o111 != 0
    }
}

impl Extension {
    /// What a tree will be as the image `name.raw`.
    pub fn of_tree(name: &str, tree: &Tree) -> Self {
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

    /// Looks at an image or a directory. What is no image comes back with its [`Fault`]: that is for rules to judge.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read { path: path.to_owned(), source };
        let subject = path.display().to_string();
        let link = fs::symlink_metadata(path).map_err(read)?.is_symlink();
        // A path such as `.` or `x/..` has no name of its own.
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

    /// Opens all that systemd-sysext would mount of an image.
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
            if let Some(fault) = fault(format, length, inside) {
                return Err(Failed::Fault(fault));
            }
            let reader = Reader::open(&self.subject, path, start, length, format)?;
            let prefix = |path: String| if at.is_empty() { path } else { format!("{at}/{path}") };
            if !at.is_empty() {
                // What is mounted covers what was there.
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

    /// A tree of which some is not known yet: paths that will be other than they are, or directories that hold more.
    pub fn with_unknown(mut self, unknown: Vec<String>) -> Self {
        self.unknown = unknown;
        self
    }

    /// Gives it the name of the link under which it will be found.
    pub fn named(mut self, name: &str) -> Self {
        (self.stem, self.exact) = (name.to_owned(), true);
        self.subject = format!("sysext {name}");
        self
    }

    /// Says in which directory it lies: in one that systemd-sysext looks into, the file's name is what it is found under.
    pub fn lying_in(mut self, directory: &Path) -> Self {
        self.exact |= SEARCHED.iter().any(|searched| directory.ends_with(searched));
        self.shelved = true;
        self
    }

    /// The name of the file or folder, without `.raw`.
    pub fn file_stem(&self) -> Option<&str> {
        (!self.exact).then_some(self.stem.as_str())
    }

    /// Forgets the name of the file: it is judged as if it lay under the name in its release file.
    pub fn under_its_own_name(mut self) -> Self {
        if let [only] = self.release_names().as_slice() {
            (self.stem, self.exact) = ((*only).to_owned(), true);
        }
        self
    }

    /// The suffixes of its extension-release files, sorted.
    pub fn release_names(&self) -> Vec<&str> {
        let prefix = format!("{}/extension-release.", release::DIR);
        let of = |path: &'_ str| path.starts_with(&prefix);
        let paths = self.entries.keys().map(String::as_str).filter(|path| of(path));
        paths.map(|path| &path[prefix.len()..]).filter(|name| !name.contains('/')).collect()
    }

    /// The name under which systemd-sysext will find it. A file that is called `NAME-VERSION-ARCH.raw` is one that a
    /// link `NAME.raw` shall point at.
    pub fn name(&self) -> &str {
        let versioned = |name: &&&str| !self.exact && is_versioned(&self.stem, name);
        self.release_names().iter().find(versioned).copied().unwrap_or(&self.stem)
    }

    /// The fields of its extension-release file: of the one that fits its name, else of the first.
    pub fn release(&self) -> Result<Option<Release>, Error> {
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

    /// A text file of at most 1 MiB; what is longer is cut off, what is not UTF-8 replaced.
    pub fn text(&self, path: &str) -> Result<String, Error> {
        let bytes = self.head(path, 1 << 20)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// All bytes of a file.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        self.head(path, MAX_FILE)
    }

    /// Writes all that is in an image below `target`, which must not exist yet and appears when it is complete.
    pub fn extract(&self, target: &Path) -> Result<(), Error> {
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

    /// Seconds since 1970 at which an image says it was made.
    pub fn time(&self) -> Option<u32> {
        let Bytes::Image(mounted) = &self.bytes else { return None };
        match &mounted.last()?.reader {
            Reader::Squashfs(image) => Some(image.time()),
            Reader::Erofs(image) => u32::try_from(image.time()).ok(),
        }
    }

    /// Where a text is for people: the file on disk, where it has one of its own.
    pub fn shown(&self, path: &str) -> String {
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

/// Why an image was not looked into.
enum Failed {
    /// The disk failed.
    Read(Error),
    /// What is in it.
    Fault(Fault),
}

impl Reader {
    /// Opens a file system that lies in a file.
    fn open(subject: &str, path: &Path, start: u64, length: u64, format: Format) -> Result<Self, Failed> {
        let file = File::open(path);
        let file = file.map_err(|source| Failed::Read(Error::Read { path: path.to_owned(), source }))?;
        let limits = Limits { file: MAX_FILE, ..Limits::default() };
        if let Format::Erofs(_) = format {
            return match erofs::Image::open_at(subject, file, start, length, limits) {
                Ok(image) => Ok(Reader::Erofs(Box::new(image))),
                Err(error @ erofs::Error::Read { .. }) => Err(Failed::Read(error.into())),
                // The kernel reads more features of the format than prebake does.
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

/// The first bytes of a part of a file, as many as a format is told by.
fn head(file: &File, start: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut head = vec![0; length.min(identify::HEAD as u64) as usize];
    file.read_exact_at(&mut head, start)?;
    Ok(head)
}

/// What is wrong with a file system of this format and length, before anything in it is read. `inside` names the disk image
/// that holds it.
fn fault(format: Format, length: u64, inside: &str) -> Option<Fault> {
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
        Format::Unknown => broken("its first bytes are not those of a file system or disk image"),
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

/// Extended attributes, as far as the user may see them; a file system without any has none.
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

/// Whether a file is called `NAME-VERSION-ARCH`, as the bakery and prebake call images.
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
