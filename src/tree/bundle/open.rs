//! Opening a bundle: reads the signatures, then the index, and nothing else.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;

use super::index::{self, Index};
use super::layout::Layout;
use super::signatures::Signatures;
use super::verify::{self, Flaw};
use super::{Error, Extent, INDEX, SIGNATURES};
use crate::base::count::counted;
use crate::base::digest::Sha256;
use crate::base::{disk, kind};
use crate::format::tar::{BLOCK, Kind, Seen, padding};
use crate::tree::manifest::Manifest;
use crate::tree::names;
use crate::trust::signers::{Proof, Trust};

/// Upper limits: number of files before the index, and bytes of each.
const MOST_FILES: usize = 256;
const MOST_BYTES: u64 = 16 << 10;
/// Upper limit for a tree's manifest, in bytes.
const MOST_MANIFEST: u64 = 64 << 20;

/// Conditions under which a bundle is accepted.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Keys that must have signed, as given for this run.
    pub trust: Option<Trust>,
    /// Keys that must have signed, as the site remembers them. Where both are known, both must hold: an old script that
    /// names a replaced key does not make it trusted again.
    pub site: Option<Trust>,
    /// Accept a bundle without a signature, or by signers of whom nothing is known.
    pub allow_unsigned: bool,
    /// Accept a bundle after its expiry.
    pub allow_expired: bool,
    /// The current time.
    pub now: SystemTime,
}

/// The beginning of a bundle as it was read; its signatures are not judged yet.
pub(crate) struct Front {
    path: PathBuf,
    subject: String,
    file: File,
    /// Length of the file in bytes.
    length: u64,
    /// The files before the index, by path, in order.
    files: Vec<(String, Vec<u8>)>,
    index: Vec<u8>,
}

/// A bundle whose index has an accepted signature, or was accepted without one. Its members are checked against the
/// index when they are read.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    subject: String,
    file: File,
    signatures: Signatures,
    proof: Option<Proof>,
    index: Index,
    layout: Layout,
}

impl Front {
    /// Reads everything before the members.
    ///
    /// # Errors
    /// A file that does not begin as a bundle does.
    pub(crate) fn read(path: &Path) -> Result<Front, Error> {
        let subject = path.display().to_string();
        let file = File::open(path).map_err(disk::Error::io("open", path))?;
        let length = file.metadata().map_err(disk::Error::io("read", path))?.len();
        let mut front =
            Front { path: path.to_owned(), subject, file, length, files: Vec::new(), index: Vec::new() };
        let mut position = 0;
        loop {
            let (name, bytes) = front.file_at(position)?;
            position += BLOCK + bytes.len() as u64 + padding(bytes.len() as u64);
            if name == INDEX {
                front.index = bytes;
                return Ok(front);
            }
            let follows = front.files.last().is_none_or(|(last, _)| *last < name);
            if !follows || front.files.len() == MOST_FILES {
                return Err(front.foreign(format!("`{}` is out of order, or beyond the {MOST_FILES} files that a bundle may have before its index", name.escape_debug())));
            }
            front.files.push((name, bytes));
        }
    }

    /// The file whose header begins at this offset; an error if such a file cannot precede the members.
    fn file_at(&self, position: u64) -> Result<(String, Vec<u8>), Error> {
        let mut header = [0; BLOCK as usize];
        self.fill(&mut header, position)?;
        let Some(Seen { path, size, kind }) = Seen::parse(&header) else {
            return Err(self.foreign(format!("there is no valid tar header at byte {position}")));
        };
        let most = match path.strip_prefix(SIGNATURES) {
            _ if path == INDEX => index::MOST_BYTES,
            Some(name) if name.starts_with('/') => MOST_BYTES,
            _ => {
                let what =
                    format!("`{}` comes before {INDEX}, where only signatures may be", path.escape_debug());
                return Err(self.foreign(what));
            }
        };
        match kind {
            Kind::File if size <= most => {}
            Kind::File => {
                return Err(self.foreign(format!("its {path} has {size} bytes; at most {most} are allowed")));
            }
            Kind::HardLink => return Err(self.foreign(format!("its {path} is a link"))),
            Kind::Foreign(kind) => return Err(self.foreign(format!("its {path} is {kind}"))),
        }
        let mut bytes = vec![0; (size + padding(size)) as usize];
        self.fill(&mut bytes, position + BLOCK)?;
        if let Some(at) = bytes[size as usize..].iter().position(|byte| *byte != 0) {
            let flaw = Flaw::padding(&path, position + BLOCK + size + at as u64);
            return Err(Error::Damaged { subject: self.subject.clone(), flaw });
        }
        bytes.truncate(size as usize);
        Ok((path, bytes))
    }

    fn fill(&self, buffer: &mut [u8], position: u64) -> Result<(), Error> {
        self.file.read_exact_at(buffer, position).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                self.foreign(format!("it ends after {}, before its index does", counted(self.length, "byte")))
            }
            _ => disk::Error::io("read", &self.path)(error).into(),
        })
    }

    /// A file of another kind is called by its name; else `reason` says where it is no bundle.
    fn foreign(&self, reason: String) -> Error {
        let subject = self.subject.clone();
        let known = kind::of_file(&self.path).filter(|_| !self.is_tar());
        match known {
            Some(kind::Known { what, advice }) => {
                Error::Foreign { subject, reason: format!("it is {what}"), advice: Some(advice) }
            }
            None => Error::Foreign { subject, reason, advice: None },
        }
    }

    /// Whether it begins as a tar archive, so that it may be a damaged bundle: the damage may be in its first header, too.
    fn is_tar(&self) -> bool {
        let mut header = [0; BLOCK as usize];
        let is_read = self.file.read_exact_at(&mut header, 0).is_ok();
        is_read && (Seen::parse(&header).is_some() || header[257..].starts_with(b"ustar"))
    }

    /// The name that the bundle claims; its signatures are not judged yet. Only to look up the keys to trust: a bundle
    /// that claims a false name is checked against the keys of that name.
    pub(crate) fn claimed_name(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        let Named { name } = serde_json::from_slice(&self.index).ok()?;
        index::name_flaw(&name).is_none().then_some(name)
    }

    /// Judges the signatures over the index, and parses it only then.
    pub(crate) fn judge(self, demand: &Demand) -> Result<Bundle, Error> {
        let Front { path, subject, file, length, files, index } = self;
        let signatures = Signatures::parse(&subject, &files, &index)?;
        let proof = demand.prove(&subject, &signatures, &index)?;
        let index = Index::parse(&subject, &index)?;
        let sizes: Vec<(&str, u64)> =
            files.iter().map(|(path, bytes)| (path.as_str(), bytes.len() as u64)).collect();
        let Some(layout) = Layout::new(&sizes, &index) else {
            let reason = "its members together exceed the largest possible file".into();
            return Err(Error::Index { subject, reason });
        };
        let bundle = Bundle { path, subject, file, signatures, proof, index, layout };
        for place in bundle.layout.front() {
            if let Some(flaw) = bundle.header_flaw(place)? {
                return Err(bundle.damaged(flaw));
            }
        }
        if length != bundle.layout.length() {
            let expected = bundle.layout.length();
            return Err(Error::Length { subject: bundle.subject, found: length, expected });
        }
        match bundle.index.expires {
            Some(expires) if expires <= demand.now && !demand.allow_expired => {
                Err(Error::Expired { subject: bundle.subject, expires, now: demand.now })
            }
            _ => Ok(bundle),
        }
    }
}

impl Demand {
    /// Accepts any bundle: for verbs that only show or sign one.
    pub fn anything() -> Self {
        Demand { trust: None, site: None, allow_unsigned: true, allow_expired: true, now: SystemTime::now() }
    }

    fn prove(&self, subject: &str, signatures: &Signatures, index: &[u8]) -> Result<Option<Proof>, Error> {
        let what = format!("the index of {subject}");
        let judge = |trust: &Trust| signatures.judge(trust, &what, index);
        match (&self.site, &self.trust) {
            _ if signatures.is_empty() && self.allow_unsigned => Ok(None),
            _ if signatures.is_empty() => Err(Error::Unsigned { subject: subject.into() }),
            (Some(site), also) => {
                also.as_ref().map(judge).transpose()?;
                judge(site).map(Some)
            }
            (None, Some(trust)) => judge(trust).map(Some),
            (None, None) if self.allow_unsigned => Ok(None),
            (None, None) => {
                Err(Error::NoTrust { subject: subject.into(), signers: signatures.signers().collect() })
            }
        }
    }
}

impl Bundle {
    /// Opens a bundle.
    ///
    /// # Errors
    /// A bundle that the demand refuses, one whose index is not as it was signed, and one that is longer or shorter
    /// than its index says. Damage to members is found when they are read.
    pub fn open(path: &Path, demand: &Demand) -> Result<Bundle, Error> {
        Front::read(path)?.judge(demand)
    }

    /// Its index: the list of members.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Its signatures, by trusted keys or not.
    pub(crate) fn signatures(&self) -> &Signatures {
        &self.signatures
    }

    /// Proof that trusted keys signed it; `None` if it was accepted without.
    pub(crate) fn proof(&self) -> Option<&Proof> {
        self.proof.as_ref()
    }

    /// Path of the bundle file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Name for the bundle in errors.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// The open bundle file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Positions of its members.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The names of its trees.
    pub fn trees(&self) -> impl Iterator<Item = &str> {
        self.index.trees().map(|tree| tree.name)
    }

    /// Position of a member's bytes in the file.
    pub fn extent(&self, member: &str) -> Option<Extent> {
        self.layout.extent(member, self.index.members.get(member)?)
    }

    /// A member's bytes, checked against their digest.
    ///
    /// # Errors
    /// A member of more than `most` bytes, one that is not there, and one whose bytes do not have the digest.
    pub fn read(&self, member: &str, most: u64) -> Result<Vec<u8>, Error> {
        let subject = || self.subject.clone();
        let Some(Extent { start, size, sha256 }) = self.extent(member) else {
            return Err(Error::Absent { subject: subject(), member: member.into() });
        };
        if size > most {
            return Err(Error::TooLong { subject: subject(), member: member.into(), size, most });
        }
        let mut bytes = vec![0; size as usize];
        self.file.read_exact_at(&mut bytes, start).map_err(disk::Error::io("read", &self.path))?;
        match Sha256::of(&bytes) == sha256 {
            true => Ok(bytes),
            false => Err(self.damaged(Flaw::data(member, start, size))),
        }
    }

    /// The manifest of a tree, whose files are the bundle's members below the tree's directory.
    ///
    /// # Errors
    /// A manifest that names other files than the bundle has.
    pub fn manifest(&self, tree: &str) -> Result<Manifest, Error> {
        let member = format!("{}{}", index::directory(tree), names::MANIFEST);
        let bytes = self.read(&member, MOST_MANIFEST)?;
        let manifest = Manifest::parse(&format!("{member} of {}", self.subject), &bytes)?;
        match verify::tree_flaw(&self.index, tree, &manifest, &bytes) {
            None => Ok(manifest),
            Some(reason) => Err(Error::Tree { subject: self.subject.clone(), tree: tree.into(), reason }),
        }
    }

    pub(super) fn damaged(&self, flaw: Flaw) -> Error {
        Error::Damaged { subject: self.subject.clone(), flaw }
    }
}
