//! Opening a bundle: signatures, then the index, and nothing else is read.

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
use crate::base::digest::Sha256;
use crate::base::disk;
use crate::format::tar::{BLOCK, Kind, Seen, padding};
use crate::tree::manifest::Manifest;
use crate::tree::names;
use crate::trust::signers::{Proof, Trust};

/// Most files before the index, and the most bytes that one of them has.
const MOST_FILES: usize = 256;
const MOST_BYTES: u64 = 16 << 10;
/// Longest manifest of a tree that is read, in bytes.
const MOST_MANIFEST: u64 = 64 << 20;

/// What somebody who opens a bundle accepts.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Who must have signed, as was said now.
    pub trust: Option<Trust>,
    /// Who must have signed, as the site remembers it. Where both are known, both must hold: a key that was replaced is not
    /// believed again because an old script names it.
    pub site: Option<Trust>,
    /// Take a bundle without a signature, and one of signers of whom nothing is known.
    pub allow_unsigned: bool,
    /// Take a bundle after its last day.
    pub allow_expired: bool,
    /// What time it is.
    pub now: SystemTime,
}

/// The beginning of a bundle, as it was found: nobody has judged it yet.
pub struct Front {
    path: PathBuf,
    subject: String,
    file: File,
    /// Length of the file in bytes.
    length: u64,
    /// What lies before the index, by path, in order.
    files: Vec<(String, Vec<u8>)>,
    index: Vec<u8>,
}

/// A bundle whose index is as its signers wrote it, or whose reader took it without a signature. Its members are held against
/// the index when they are read.
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
    /// Reads what lies before the members.
    ///
    /// # Errors
    /// A file that does not begin as a bundle does.
    pub fn read(path: &Path) -> Result<Front, Error> {
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
                return Err(front.foreign(format!("`{}` is out of order, or more than the {MOST_FILES} signature files that a bundle may have", name.escape_debug())));
            }
            front.files.push((name, bytes));
        }
    }

    /// The file whose header begins here, if it is one that lies before the members.
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
                self.foreign(format!("it ends after {} bytes, before its index does", self.length))
            }
            _ => disk::Error::io("read", &self.path)(error).into(),
        })
    }

    fn foreign(&self, reason: String) -> Error {
        Error::Foreign { subject: self.subject.clone(), reason }
    }

    /// What the bundle says that it is called, which nobody has judged: only to look up whom to believe about it. Who lies here
    /// is held against somebody else's keys.
    pub fn claimed_name(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        let Named { name } = serde_json::from_slice(&self.index).ok()?;
        index::name_flaw(&name).is_none().then_some(name)
    }

    /// Judges who signed the index, and only then reads what it says.
    pub fn judge(self, demand: &Demand) -> Result<Bundle, Error> {
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
    /// Takes whatever it is, for who only looks, or signs.
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
    /// A bundle that the demand refuses, one whose index is not as it was signed, and one that is longer or shorter than its
    /// index says. Damage of members is found when they are read.
    pub fn open(path: &Path, demand: &Demand) -> Result<Bundle, Error> {
        Front::read(path)?.judge(demand)
    }

    /// What it holds.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Who signed it, trusted or not.
    pub fn signatures(&self) -> &Signatures {
        &self.signatures
    }

    /// That trusted keys signed it; nothing if it was taken without.
    pub fn proof(&self) -> Option<&Proof> {
        self.proof.as_ref()
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How errors call it.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where its members lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The names of its trees.
    pub fn trees(&self) -> impl Iterator<Item = &str> {
        self.index.trees().map(|tree| tree.name)
    }

    /// Where the bytes of a member lie in the file.
    pub fn extent(&self, member: &str) -> Option<Extent> {
        self.layout.extent(member, self.index.members.get(member)?)
    }

    /// A member's bytes, held against their digest.
    ///
    /// # Errors
    /// One with more than `most` bytes, one that is not there, and one whose bytes are others.
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
