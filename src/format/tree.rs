//! A file tree as a value: the input of the writers of images and archives.
//!
//! Owns the rules for a tree's content (contained UTF-8 paths; directories, files, symlinks and hard links; extended
//! attributes on request; no owners, times or devices) and reading a directory on disk into one. Leaves the bytes of
//! each format to its writer.
//!
//! A tree is sorted bytewise and always holds the parents of its entries, so a writer that walks it in order emits each
//! directory once and before its contents.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::base::canonical;
use crate::base::digest::{Hashing, Sha256};
use crate::base::error::{Advice, Exit};

/// Longest name of one entry in its directory, in bytes: Linux' `NAME_MAX`.
pub(crate) const MAX_NAME: usize = 255;
/// Longest path and longest link target, in bytes. Linux' `PATH_MAX` includes the final NUL; the kernel's initramfs
/// unpacker silently skips longer ones (init/initramfs.c, `do_header`).
pub(crate) const MAX_PATH: usize = 4095;
/// Mode of directories and executable files.
pub(crate) const EXECUTABLE: u16 = 0o755;
/// Mode of all other files.
pub(crate) const PLAIN: u16 = 0o644;

/// Files, directories and symlinks by path, sorted bytewise; parents are always present.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

/// One entry of a [`Tree`].
#[derive(Clone, Debug)]
pub struct Entry {
    /// Permission bits, at most `0o777`. Symlinks have `0o777`, as in Linux.
    pub mode: u16,
    /// Kind, with its data.
    pub content: Content,
    /// Extended attributes by their full names, such as `user.extension-release.strict`. cpio cannot store them.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// For a hard link, the path of the file that it links to. Content and mode are that file's, so a writer without
    /// hard links writes a copy.
    pub link: Option<String>,
    /// The part that added the entry ("component kubeadm"), for the report of a conflict. Never part of an image.
    pub origin: String,
}

/// Optional data that [`Tree::of_directory_with`] keeps, beside contents and executable bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Hard links among the files of the directory. Copies of the directory often lose them.
    pub links: bool,
    /// Extended attributes of the `user` namespace. The other namespaces describe the machine: labels, capabilities,
    /// overlay marks.
    pub xattrs: bool,
}

/// Kind of an entry, with its data.
#[derive(Clone, Debug)]
pub enum Content {
    /// A directory.
    Dir,
    /// A regular file.
    File(Contents),
    /// A symbolic link with its target, as written.
    Symlink(String),
}

/// Location of a file's bytes.
#[derive(Clone, Debug)]
pub enum Contents {
    /// In memory.
    Bytes(Vec<u8>),
    /// In a file on disk, read when an image is written.
    OnDisk {
        /// Path of the file.
        path: PathBuf,
        /// Its length in bytes when it was added; a writer fails if it has changed by then.
        size: u64,
    },
}

/// Reasons why a tree cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path that leaves the tree, or that Linux could not create.
    #[error("`{path}` (from {origin}) is not a path inside the tree: {why}")]
    Path {
        /// The bad path.
        path: String,
        /// The part that wanted to add it.
        origin: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// Two contents for one path, or a file where another needs a directory.
    #[error("`{path}` comes from {first} and again from {second}")]
    Conflict {
        /// The path that both want.
        path: String,
        /// The part that added it first.
        first: String,
        /// The part that wanted it second.
        second: String,
    },
    /// The file is neither a regular file nor a directory nor a symlink.
    #[error("{} is a {kind}; only files, directories and symlinks can be shipped", path.display())]
    Special {
        /// Path on disk.
        path: PathBuf,
        /// Kind of file, such as `socket`.
        kind: &'static str,
    },
    /// A name or link target that is not UTF-8.
    #[error("the name or link target of {} is not UTF-8", path.display())]
    NotUtf8 {
        /// Path on disk.
        path: PathBuf,
    },
    /// A file or directory could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Path on disk.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Read { .. } => Exit::Failed,
            _ => Exit::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Conflict { .. } => Some("let one of the two install it elsewhere, or drop one".into()),
            Error::Special { .. } => Some("create it on the node instead, with a tmpfiles.d line".into()),
            Error::NotUtf8 { .. } => Some("rename the file".into()),
            Error::Path { .. } | Error::Read { .. } => None,
        }
    }
}

impl Contents {
    /// Refers to a file on disk and notes its length.
    pub fn on_disk(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Contents::OnDisk { size: metadata.len(), path }),
            Ok(metadata) => Err(Error::Special { kind: kind_of(metadata.file_type()), path }),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// Number of bytes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Contents::Bytes(bytes) => bytes.len() as u64,
            Contents::OnDisk { size, .. } => *size,
        }
    }

    /// The file on disk, if the bytes are in one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Contents::Bytes(_) => None,
            Contents::OnDisk { path, .. } => Some(path),
        }
    }

    /// SHA-256 of the bytes.
    pub fn sha256(&self) -> io::Result<Sha256> {
        let mut sink = Hashing::new(io::sink());
        io::copy(&mut self.reader(), &mut sink)?;
        Ok(sink.finish().1)
    }

    /// A reader of exactly [`Contents::size`] bytes: it fails, with the file's name in the message, if the file on disk
    /// has become shorter or longer. The file is opened by the first read, so any number of readers may wait.
    pub fn reader(&self) -> Reader<'_> {
        Reader { contents: self, file: None, position: 0 }
    }
}

/// The result of [`Contents::reader`].
pub struct Reader<'a> {
    contents: &'a Contents,
    file: Option<File>,
    position: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (path, size) = match self.contents {
            Contents::Bytes(bytes) => {
                let read = (&bytes[self.position as usize..]).read(buffer)?;
                self.position += read as u64;
                return Ok(read);
            }
            Contents::OnDisk { path, size } => (path, *size),
        };
        let named = |e: io::Error| io::Error::new(e.kind(), format!("cannot read {}: {e}", path.display()));
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(File::open(path).map_err(named)?),
        };
        let read = file.read(buffer).map_err(named)?;
        self.position += read as u64;
        if self.position > size || (read == 0 && !buffer.is_empty() && self.position < size) {
            let message = format!("{} changed while it was read: it had {size} bytes", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(read)
    }
}

impl Entry {
    /// A directory with mode 0755.
    pub fn dir(origin: impl Into<String>) -> Self {
        Self::new(EXECUTABLE, Content::Dir, origin)
    }

    /// A file.
    pub fn file(mode: u16, contents: Contents, origin: impl Into<String>) -> Self {
        Self::new(mode, Content::File(contents), origin)
    }

    /// A symlink to `target`, which is stored as written.
    pub fn symlink(target: impl Into<String>, origin: impl Into<String>) -> Self {
        Self::new(0o777, Content::Symlink(target.into()), origin)
    }

    fn new(mode: u16, content: Content, origin: impl Into<String>) -> Self {
        Entry { mode, content, xattrs: BTreeMap::new(), link: None, origin: origin.into() }
    }
}

impl Tree {
    /// An empty tree: a root without entries.
    pub fn new() -> Self {
        Tree::default()
    }

    /// Reads everything below a directory: sorted, with modes normalised to 0755 or 0644 by the owner's executable bit,
    /// so that umask, times, owners, hard links and extended attributes of the working copy do not matter. `origin` is
    /// noted with every entry.
    pub fn of_directory(root: &Path, origin: &str) -> Result<Self, Error> {
        Self::of_directory_with(root, origin, Keep::default())
    }

    /// Like [`Tree::of_directory`], but keeps optional data.
    pub fn of_directory_with(root: &Path, origin: &str, keep: Keep) -> Result<Self, Error> {
        let mut walk = Walk { tree: Tree::new(), origin, keep, links: HashMap::new() };
        walk.directory(root, "")?;
        Ok(walk.tree)
    }

    /// Adds an entry and its missing parents (0755). A directory may be added twice; the first mode stays. Modes are
    /// reduced to the permission bits: no setuid. Any other entry that already exists is a [`Error::Conflict`].
    pub fn insert(&mut self, path: &str, mut entry: Entry) -> Result<(), Error> {
        entry.mode &= 0o777;
        let refuse = |why| Error::Path { path: path.into(), origin: entry.origin.clone(), why };
        if !canonical::is_contained(path) {
            return Err(refuse("it must be relative, without `..`, `.`, empty parts or NUL"));
        }
        if path.len() > MAX_PATH || path.split('/').any(|name| name.len() > MAX_NAME) {
            return Err(refuse("Linux allows 255 bytes for a name and 4095 for a path"));
        }
        if let Content::Symlink(target) = &entry.content
            && (target.is_empty() || target.len() > MAX_PATH || target.contains('\0'))
        {
            return Err(refuse("the target of a symlink has 1 to 4095 bytes, none of them NUL"));
        }
        for (end, _) in path.match_indices('/') {
            self.put(&path[..end], Entry::dir(entry.origin.as_str()))?;
        }
        self.put(path, entry)
    }

    /// Adds a hard link to a file that is already in the tree.
    pub fn link(&mut self, path: &str, file: &str, origin: impl Into<String>) -> Result<(), Error> {
        let origin = origin.into();
        let Some(first @ Entry { content: Content::File(_), .. }) = self.entries.get(file) else {
            let why = "the target of the hard link is not a file of the tree";
            return Err(Error::Path { path: path.into(), origin, why });
        };
        let link = first.link.clone().unwrap_or_else(|| file.to_owned());
        let entry = Entry { link: Some(link), origin, ..first.clone() };
        self.insert(path, entry)
    }

    fn put(&mut self, path: &str, entry: Entry) -> Result<(), Error> {
        match self.entries.get(path) {
            Some(Entry { content: Content::Dir, .. }) if matches!(entry.content, Content::Dir) => Ok(()),
            Some(first) => {
                Err(Error::Conflict { path: path.into(), first: first.origin.clone(), second: entry.origin })
            }
            None => {
                self.entries.insert(path.to_owned(), entry);
                Ok(())
            }
        }
    }

    /// Adds all entries of another tree.
    pub(crate) fn merge(&mut self, other: Tree) -> Result<(), Error> {
        other.entries.into_iter().try_for_each(|(path, entry)| self.insert(&path, entry))
    }

    /// The entry at a path.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// All entries, sorted bytewise by path, without the root.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Number of entries, without the root.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is only the root.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Digest over everything that an image shows of the tree (paths, kinds, modes, targets, contents, hard links,
    /// extended attributes), for step keys. Reads every file.
    pub fn digest(&self) -> io::Result<Sha256> {
        let mut summary = String::new();
        for (path, entry) in self.iter() {
            let content = match &entry.content {
                Content::Dir => "dir".to_owned(),
                Content::Symlink(target) => format!("link {target:?}"),
                Content::File(contents) => format!("file {}", contents.sha256()?),
            };
            summary += &format!("{path:?} {:o} {content}", entry.mode);
            if let Some(link) = &entry.link {
                summary += &format!(" same {link:?}");
            }
            for (name, value) in &entry.xattrs {
                summary += &format!(" {name:?}={value:?}");
            }
            summary.push('\n');
        }
        Ok(Sha256::of(summary.as_bytes()))
    }
}

/// A directory on disk that is being read into a tree.
struct Walk<'a> {
    tree: Tree,
    origin: &'a str,
    keep: Keep,
    /// The first path of each inode with several names, by device and inode number.
    links: HashMap<(u64, u64), String>,
}

impl Walk<'_> {
    fn directory(&mut self, dir: &Path, prefix: &str) -> Result<(), Error> {
        let read = |source| Error::Read { path: dir.to_owned(), source };
        let mut items = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(read)?;
        // The choice of a file's first name must not depend on the disk.
        items.sort_by_key(fs::DirEntry::file_name);
        for item in items {
            let path = item.path();
            let not_utf8 = |_| Error::NotUtf8 { path: path.clone() };
            let name = item.file_name().into_string().map_err(not_utf8)?;
            let inside = format!("{prefix}{name}");
            let kind = item.file_type().map_err(read)?;
            if kind.is_dir() {
                self.tree.insert(&inside, self.with_xattrs(Entry::dir(self.origin), &path)?)?;
                self.directory(&path, &format!("{inside}/"))?;
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).map_err(read)?;
                let target = target.into_os_string().into_string().map_err(not_utf8)?;
                self.tree.insert(&inside, Entry::symlink(target, self.origin))?;
            } else if kind.is_file() {
                self.file(path, inside, &item.metadata().map_err(read)?)?;
            } else {
                return Err(Error::Special { path, kind: kind_of(kind) });
            }
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf, inside: String, metadata: &fs::Metadata) -> Result<(), Error> {
        if self.keep.links && metadata.nlink() > 1 {
            match self.links.get(&(metadata.dev(), metadata.ino())) {
                Some(first) => return self.tree.link(&inside, first, self.origin),
                None => drop(self.links.insert((metadata.dev(), metadata.ino()), inside.clone())),
            }
        }
        let mode = if metadata.permissions().mode() & 0o100 != 0 { EXECUTABLE } else { PLAIN };
        let entry = Entry::file(mode, Contents::on_disk(&path)?, self.origin);
        self.tree.insert(&inside, self.with_xattrs(entry, &path)?)
    }

    fn with_xattrs(&self, mut entry: Entry, path: &Path) -> Result<Entry, Error> {
        if self.keep.xattrs {
            let read = |source: io::Error| Error::Read { path: path.to_owned(), source };
            entry.xattrs = user_xattrs(path).map_err(read)?;
        }
        Ok(entry)
    }
}

/// Linux' limits, XATTR_LIST_MAX and XATTR_SIZE_MAX.
const MAX_XATTR: usize = 65536;

fn user_xattrs(path: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut buffer = vec![0_u8; MAX_XATTR];
    let listed = match rustix::fs::llistxattr(path, &mut buffer[..]) {
        Ok(length) => buffer[..length].to_vec(),
        Err(rustix::io::Errno::NOTSUP) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let names = listed.split(|byte| *byte == 0).filter(|name| name.starts_with(b"user."));
    names
        .map(|name| {
            let name = String::from_utf8(name.to_vec())
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            let length = rustix::fs::lgetxattr(path, name.as_str(), &mut buffer[..])?;
            Ok((name, buffer[..length].to_vec()))
        })
        .collect()
}

fn kind_of(kind: fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match kind {
        kind if kind.is_socket() => "socket",
        kind if kind.is_fifo() => "named pipe",
        kind if kind.is_block_device() => "block device",
        kind if kind.is_char_device() => "character device",
        kind if kind.is_dir() => "directory",
        _ => "special file",
    }
}
