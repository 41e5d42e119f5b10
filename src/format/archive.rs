//! Component archives: chosen members of a tar, plain or gzipped, become a [`Tree`].
//!
//! Owns the checks of untrusted archives: names that leave the tree, devices, links that point out, sizes. Leaves the
//! choice of members to the sysext's description and their digest to `source`. Extracted files are put into a spool
//! directory of the caller under meaningless names; no name from an archive ever reaches the file system.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use tar::EntryType;

use crate::base::canonical;
use crate::base::error::{Advice, Exit};
use crate::format::limited::Limited;
use crate::format::tree::{self, Contents, EXECUTABLE, Entry, PLAIN, Tree};

/// Packaging of a component archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plain tar.
    Tar,
    /// tar, compressed with gzip.
    TarGz,
}

impl Kind {
    /// The kind by the end of a file name or URL; `None` if it does not name an archive.
    pub(crate) fn of(name: &str) -> Option<Self> {
        const ENDS: [(&str, Kind); 3] =
            [(".tar.gz", Kind::TarGz), (".tgz", Kind::TarGz), (".tar", Kind::Tar)];
        ENDS.iter().find(|(end, _)| name.ends_with(end)).map(|(_, kind)| *kind)
    }
}

/// Whether a file name or URL names a single gzipped file, for [`gunzip`].
pub(crate) fn is_gzipped_file(name: &str) -> bool {
    name.ends_with(".gz") && Kind::of(name).is_none()
}

/// Chooses members and their destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// A member's path, or a prefix of paths followed by `*`, which matches any rest, including slashes. A leading `./`
    /// is ignored, here as in the archive.
    pub members: String,
    /// Path inside the image without a leading slash. With a final slash it is a directory, in which members keep the
    /// part of their names after the last slash of the pattern.
    pub to: String,
}

/// Limits for unpacking an archive.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of the whole decompressed stream, chosen members or not.
    pub bytes: u64,
    /// Most members.
    pub members: usize,
}

impl Default for Limits {
    /// 4 GiB and 100,000 members; the largest known component, an RKE2 or CRI-O bundle, has 0.4 GiB.
    fn default() -> Self {
        Limits { bytes: 4 << 30, members: 100_000 }
    }
}

/// Longest extended header (a long name, pax records), in bytes.
const MAX_EXTENSION: u64 = 1 << 20;

/// Reasons to refuse an archive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file or the spool directory could not be used.
    #[error("cannot unpack {subject}")]
    Io {
        /// Path or URL of the archive, for the message.
        subject: String,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not an archive, or is damaged.
    #[error("{subject} is not an intact archive")]
    Damaged {
        /// Path or URL of the archive, for the message.
        subject: String,
        /// The decoder's error.
        source: io::Error,
    },
    /// A member with an absolute name.
    #[error("{subject} has the member `{member}`, an absolute path")]
    Absolute {
        /// Path or URL of the archive, for the message.
        subject: String,
        /// The member's name.
        member: String,
    },
    /// A member whose name leaves the tree, or is not a path at all.
    #[error("{subject} has the member `{member}`, which is not a path inside the archive")]
    Escapes {
        /// Path or URL of the archive, for the message.
        subject: String,
        /// The member's name.
        member: String,
    },
    /// A link out of the directory into which the archive is unpacked.
    #[error("{subject} has the link `{member}` to `{target}`, which points out of the tree")]
    Link {
        /// Path or URL of the archive, for the message.
        subject: String,
        /// The member's name.
        member: String,
        /// The link's target.
        target: String,
    },
    /// A device, a pipe, or another kind of member that images do not have.
    #[error("{subject} has the member `{member}`, {kind}")]
    Special {
        /// Path or URL of the archive, for the message.
        subject: String,
        /// The member's name.
        member: String,
        /// The kind in words, such as `a block device`.
        kind: &'static str,
    },
    /// A selection that matches no member.
    #[error("{subject} has no file `{members}`")]
    Unmatched {
        /// Path or URL of the archive, for the message.
        subject: String,
        /// The selection's pattern.
        members: String,
    },
    /// A limit of [`Limits`] was exceeded.
    #[error("{subject} has more than {limit} {what}")]
    Limit {
        /// Path or URL of the archive, for the message.
        subject: String,
        /// The limited quantity, in words.
        what: &'static str,
        /// The limit's value.
        limit: u64,
    },
    /// Two members for one path in the image, or a path that Linux refuses.
    #[error("{subject} cannot be unpacked")]
    Tree {
        /// Path or URL of the archive, for the message.
        subject: String,
        /// The tree's error.
        source: tree::Error,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Io { .. } => Exit::Failed,
            Error::Unmatched { .. } | Error::Tree { .. } => Exit::Config,
            _ => Exit::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Unmatched { .. } => {
                Some("`tar -tf` lists the members; `name/*` matches everything in a directory".into())
            }
            Error::Tree { source, .. } => source.hint(),
            _ => None,
        }
    }
}

/// Unpacks a tar. Modes are normalised to 0755 or 0644 by the owner's executable bit. `origin` is noted with every
/// entry. Every selection must match a member.
///
/// # Errors
/// Names and devices are checked for all members, links for the chosen ones.
pub fn extract(
    archive: &Path,
    kind: Kind,
    selections: &[Selection],
    limits: Limits,
    spool: &Path,
    origin: &str,
) -> Result<Tree, Error> {
    let subject = archive.display().to_string();
    let file = open(archive, &subject)?;
    let unpacked: Box<dyn Read> = match kind {
        Kind::Tar => Box::new(file),
        Kind::TarGz => Box::new(MultiGzDecoder::new(file)),
    };
    let mut stream = Limited::new(unpacked, limits.bytes);
    let mut unpacking =
        Unpacking { subject: &subject, spool, origin, tree: Tree::new(), files: HashMap::new() };
    let result = unpacking.members(&mut stream, selections, limits.members);
    if stream.exceeded() {
        return Err(Error::Limit { subject, what: "bytes unpacked", limit: limits.bytes });
    }
    result.map(|()| unpacking.tree)
}

/// Unpacks one gzipped file into the spool directory.
pub fn gunzip(archive: &Path, limits: Limits, spool: &Path) -> Result<Contents, Error> {
    let subject = archive.display().to_string();
    let unpacked = MultiGzDecoder::new(open(archive, &subject)?);
    let mut stream = Limited::new(unpacked, limits.bytes);
    let result = to_spool(&mut stream, spool, &subject);
    if stream.exceeded() {
        return Err(Error::Limit { subject, what: "bytes unpacked", limit: limits.bytes });
    }
    result
}

fn open(archive: &Path, subject: &str) -> Result<BufReader<File>, Error> {
    let file = File::open(archive).map_err(|source| Error::Io { subject: subject.into(), source })?;
    Ok(BufReader::with_capacity(256 << 10, file))
}

fn to_spool(from: &mut impl Read, spool: &Path, subject: &str) -> Result<Contents, Error> {
    let io = |source| Error::Io { subject: subject.into(), source };
    let mut file = tempfile::Builder::new().prefix("member-").tempfile_in(spool).map_err(io)?;
    let size = copy(from, file.as_file_mut(), subject)?;
    let (_, path) = file.keep().map_err(|e| io(e.error))?;
    Ok(Contents::OnDisk { path, size })
}

/// Like `io::copy`, but distinguishes a damaged archive from a full disk.
fn copy(from: &mut impl Read, to: &mut impl io::Write, subject: &str) -> Result<u64, Error> {
    let mut buffer = vec![0; 64 << 10];
    let mut copied = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(Error::Damaged { subject: subject.into(), source }),
        };
        to.write_all(&buffer[..read]).map_err(|source| Error::Io { subject: subject.into(), source })?;
        copied += read as u64;
    }
}

struct Unpacking<'a> {
    subject: &'a str,
    spool: &'a Path,
    origin: &'a str,
    tree: Tree,
    /// Paths in the tree of the chosen regular files, by name in the archive, for hard links to them.
    files: HashMap<String, String>,
}

impl Unpacking<'_> {
    fn members(
        &mut self,
        stream: &mut impl Read,
        selections: &[Selection],
        limit: usize,
    ) -> Result<(), Error> {
        let subject = self.subject;
        let damaged = |source| Error::Damaged { subject: subject.into(), source };
        let mut archive = tar::Archive::new(stream);
        let mut used = vec![false; selections.len()];
        let mut extension = Extension::default();
        // Raw, because the crate would read a long name of any length into memory.
        for (number, member) in archive.entries().map_err(damaged)?.raw(true).enumerate() {
            let mut member = member.map_err(damaged)?;
            if number == limit {
                return Err(Error::Limit { subject: subject.into(), what: "members", limit: limit as u64 });
            }
            if extension.absorb(&mut member).map_err(damaged)? {
                continue;
            }
            let Extension { path, link, is_sparse } = std::mem::take(&mut extension);
            let raw = path.unwrap_or_else(|| lossy(&member.path_bytes()));
            let link =
                link.or_else(|| member.link_name_bytes().map(|bytes| lossy(&bytes))).unwrap_or_default();
            let Some(name) = self.name(&raw)? else { continue };
            let kind = match member.header().entry_type() {
                EntryType::Regular | EntryType::Continuous if is_sparse => EntryType::GNUSparse,
                kind => kind,
            };
            self.judge(&raw, kind)?;
            let Some((index, to, base)) = choose(selections, &name, kind == EntryType::Directory) else {
                continue;
            };
            used[index] = true;
            let out = || Error::Link { subject: subject.into(), member: raw.clone(), target: link.clone() };
            let inserted = match kind {
                EntryType::Directory => self.tree.insert(&to, Entry::dir(self.origin)),
                EntryType::Symlink if stays_below(&to, base, &link) => {
                    self.tree.insert(&to, Entry::symlink(link, self.origin))
                }
                EntryType::Symlink => return Err(out()),
                EntryType::Link => {
                    let target = self.name(&link)?.and_then(|target| self.files.get(&target));
                    self.tree.link(&to, target.ok_or_else(out)?, self.origin)
                }
                _ => {
                    let entry = self.file(&mut member, &name)?;
                    self.files.insert(name, to.clone());
                    self.tree.insert(&to, entry)
                }
            };
            inserted.map_err(|source| Error::Tree { subject: subject.into(), source })?;
        }
        // Read past tar's end mark, so that gzip's own checksum is checked.
        copy(&mut archive.into_inner(), &mut io::sink(), subject)?;
        match selections.iter().zip(used).find(|(_, used)| !used) {
            Some((unused, _)) => {
                Err(Error::Unmatched { subject: subject.into(), members: unused.members.clone() })
            }
            None => Ok(()),
        }
    }

    fn file(&self, member: &mut tar::Entry<'_, impl Read>, name: &str) -> Result<Entry, Error> {
        let executable = member.header().mode().is_ok_and(|mode| mode & 0o100 != 0);
        let mode = if executable { EXECUTABLE } else { PLAIN };
        let size = member.size();
        let contents = to_spool(member, self.spool, self.subject)?;
        if contents.size() != size {
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, format!("`{name}` is cut off"));
            return Err(Error::Damaged { subject: self.subject.into(), source });
        }
        Ok(Entry::file(mode, contents, self.origin))
    }

    /// A member's name without `./` and final slash; `None` for the archive's root.
    fn name(&self, raw: &str) -> Result<Option<String>, Error> {
        if raw.starts_with('/') {
            return Err(Error::Absolute { subject: self.subject.into(), member: raw.into() });
        }
        let name = plain(raw);
        match name {
            "" | "." => Ok(None),
            name if canonical::is_contained(name) => Ok(Some(name.to_owned())),
            _ => Err(Error::Escapes { subject: self.subject.into(), member: raw.into() }),
        }
    }

    fn judge(&self, member: &str, kind: EntryType) -> Result<(), Error> {
        let kind = match kind {
            EntryType::Regular
            | EntryType::Continuous
            | EntryType::Directory
            | EntryType::Symlink
            | EntryType::Link => return Ok(()),
            EntryType::Block => "a block device",
            EntryType::Char => "a character device",
            EntryType::Fifo => "a named pipe",
            EntryType::GNUSparse => "a sparse file",
            _ => "an unknown kind of member",
        };
        Err(Error::Special { subject: self.subject.into(), member: member.into(), kind })
    }
}

/// Data about the next member from the members before it: GNU's long names and pax records.
#[derive(Default)]
struct Extension {
    path: Option<String>,
    link: Option<String>,
    /// The member is a sparse file, as GNU tar and star write it into a pax archive, with a map of its holes before the
    /// data or in the record. Unpacked like any other, it would be a broken file.
    is_sparse: bool,
}

/// Prefixes of the pax keys of sparse files: GNU's forms 0.0, 0.1 and 1.0 (GNU tar, "Storing Sparse Files"), Solaris'
/// (pax(1)), and star's (star(5), `SCHILY.realsize`).
const SPARSE: [&[u8]; 3] = [b"GNU.sparse.", b"SUN.holesdata", b"SCHILY.realsize"];

impl Extension {
    /// Absorbs a member that describes the next one. Returns false for any other member.
    fn absorb(&mut self, member: &mut tar::Entry<'_, impl Read>) -> io::Result<bool> {
        let kind = member.header().entry_type();
        let extends = matches!(
            kind,
            EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader
        );
        if !extends {
            return Ok(false);
        }
        if member.size() > MAX_EXTENSION {
            return Err(io::Error::other(format!("an extended header of {} bytes", member.size())));
        }
        let mut body = Vec::new();
        member.read_to_end(&mut body)?;
        match kind {
            EntryType::GNULongName => self.path = Some(lossy(until_nul(&body))),
            EntryType::GNULongLink => self.link = Some(lossy(until_nul(&body))),
            EntryType::XHeader => {
                for record in tar::PaxExtensions::new(&body) {
                    let record = record?;
                    match record.key_bytes() {
                        // The real name; the one in the header is for programs that do not know sparse files.
                        b"GNU.sparse.name" => {
                            (self.path, self.is_sparse) = (Some(lossy(record.value_bytes())), true);
                        }
                        key if is_of_sparse(key) => self.is_sparse = true,
                        b"path" => self.path = Some(lossy(record.value_bytes())),
                        b"linkpath" => self.link = Some(lossy(record.value_bytes())),
                        // Only a size that does not fit into a header needs it: beyond 8 GiB, far above any limit.
                        b"size" => return Err(io::Error::other("a pax record that overrides a size")),
                        _ => {}
                    }
                }
            }
            // No known tool writes a sparse-file record for all members, and no specification defines it.
            _ if tar::PaxExtensions::new(&body).flatten().any(|record| is_of_sparse(record.key_bytes())) => {
                return Err(io::Error::other("a global pax record for sparse files"));
            }
            _ => {}
        }
        Ok(true)
    }
}

fn is_of_sparse(key: &[u8]) -> bool {
    SPARSE.iter().any(|sparse| key.starts_with(sparse))
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Non-UTF-8 names are replaced; no selection can match them, and they do not collide with legitimate names.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A name without leading `./` and final slashes.
fn plain(name: &str) -> &str {
    let mut name = name.trim_end_matches('/');
    while let Some(rest) = name.strip_prefix("./") {
        name = rest.trim_start_matches('/');
    }
    name
}

/// The selection that matches a member most specifically: its index, the path in the image, and the directory in the
/// image that links must not leave.
fn choose<'s>(selections: &'s [Selection], name: &str, is_dir: bool) -> Option<(usize, String, &'s str)> {
    let mut best: Option<(usize, &str, &'s Selection)> = None;
    for (index, selection) in selections.iter().enumerate() {
        let wanted = plain(&selection.members);
        let Some(prefix) = wanted.strip_suffix('*') else {
            if wanted == name && !is_dir {
                let (to, base) = match selection.to.strip_suffix('/') {
                    Some(dir) => (format!("{dir}/{}", after_slash(name)), dir),
                    None => (selection.to.clone(), ""),
                };
                return Some((index, to, base));
            }
            continue;
        };
        if name.starts_with(prefix) && best.is_none_or(|(_, longest, _)| prefix.len() > longest.len()) {
            best = Some((index, prefix, selection));
        }
    }
    let (index, prefix, selection) = best?;
    let kept = &name[prefix.rfind('/').map_or(0, |slash| slash + 1)..];
    let base = selection.to.trim_end_matches('/');
    (!kept.is_empty()).then(|| (index, format!("{base}/{kept}"), base))
}

fn after_slash(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Whether a link at `from` with this target stays below the directory `base`.
fn stays_below(from: &str, base: &str, target: &str) -> bool {
    if target.is_empty() || target.starts_with('/') || target.contains('\0') {
        return false;
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    let floor = base.split('/').filter(|part| !part.is_empty()).count();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.len() <= floor => return false,
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    true
}
