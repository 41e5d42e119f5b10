//! The builder of a tree and its inputs, signed: `provenance.json` and `manifest.json.minisig` beside the manifest.
//!
//! The statement is in-toto's, its predicate SLSA's provenance, its envelope DSSE (docs/formats/provenance.md). Owns what is
//! said and whether it fits a tree. Leaves keys to [`minisign`] and who must have signed to
//! [`trust`](crate::trust::signers). Nothing here is part of the manifest, so signing does not change the BUILD-ID.

pub mod statement;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use self::statement::Statement;
use crate::base::digest::Sha256;
use crate::base::disk;
use crate::base::error::{Advice, Exit};
use crate::tree::manifest::Manifest;
use crate::tree::names::{self, PROVENANCE, SIGNATURE};
use crate::trust::dsse::Envelope;
use crate::trust::minisign::{self, Signature};
use crate::trust::rotation::Rotation;
use crate::trust::signers::{self, Proof, Trust};

/// Reasons why a tree is not proven.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that is not a signed statement.
    #[error("{subject} is not a signed statement of provenance: {why}")]
    Malformed {
        /// Name of the file, for messages.
        subject: String,
        /// The fault in the file.
        why: String,
    },
    /// A signature that cannot be read.
    #[error(transparent)]
    Signature(#[from] minisign::Error),
    /// Too few signatures, or bad ones.
    #[error(transparent)]
    Trust(#[from] signers::Error),
    /// A file beside the manifest cannot be read.
    #[error(transparent)]
    Store(#[from] disk::Error),
    /// A statement about another tree.
    #[error("{subject} is about another tree: it does not have the digest of {file}")]
    Another {
        /// Name of the statement, for messages.
        subject: String,
        /// A file that it does not name, or with another digest.
        file: String,
    },
}

impl Advice for Error {
    fn inner(&self) -> Option<&dyn Advice> {
        match self {
            Error::Signature(error) => Some(error),
            Error::Trust(error) => Some(error),
            Error::Store(error) => Some(error),
            _ => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Error::Signature(_) | Error::Trust(_) | Error::Store(_) => self.inner_exit(),
            Error::Malformed { .. } | Error::Another { .. } => Exit::Trust,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Signature(_) | Error::Trust(_) | Error::Store(_) => self.inner_hint(),
            Error::Malformed { .. } | Error::Another { .. } => {
                Some("get the tree again with the files beside its manifest, or have it signed again".into())
            }
        }
    }
}

/// Judges the signatures of a manifest, and the statement if there is one: enough trusted keys must have signed each,
/// and the statement must be about this manifest and all files that it names. `place` names the tree in errors.
pub fn judge(
    place: &str,
    manifest: &[u8],
    signatures: Option<&[u8]>,
    envelope: Option<&[u8]>,
    trust: &Trust,
    rotations: &[Rotation],
) -> Result<(Proof, Option<Statement>), Error> {
    let signatures = match signatures {
        Some(bytes) => Signature::parse_all(&format!("{SIGNATURE} of {place}"), bytes)?,
        None => Vec::new(),
    };
    let subject = format!("{} of {place}", names::MANIFEST);
    let proof = trust.judge(&subject, manifest, &signatures, rotations)?;
    let Some(envelope) = envelope else { return Ok((proof, None)) };
    let subject = format!("{PROVENANCE} of {place}");
    let (_, statement) = verify(&subject, envelope, trust, rotations)?;
    fits(&subject, &statement, manifest)?;
    Ok((proof, Some(statement)))
}

/// Judges the files beside the manifest of a tree in a directory, and checks that the manifest is still the one that
/// the tree was opened with.
pub(crate) fn judge_directory(
    directory: &Path,
    tree: &Manifest,
    trust: &Trust,
) -> Result<(Proof, Option<Statement>), Error> {
    let place = directory.display().to_string();
    let bytes = read(&directory.join(names::MANIFEST))?.unwrap_or_default();
    let (signatures, envelope) = (read(&directory.join(SIGNATURE))?, read(&directory.join(PROVENANCE))?);
    let judged = judge(&place, &bytes, signatures.as_deref(), envelope.as_deref(), trust, &[])?;
    match Manifest::parse(&place, &bytes).is_ok_and(|read| read == *tree) {
        true => Ok(judged),
        false => Err(Error::Another { subject: place, file: names::MANIFEST.into() }),
    }
}

/// Reads a file beside a manifest; `None` if it does not exist.
fn read(path: &Path) -> Result<Option<Vec<u8>>, disk::Error> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(disk::Error::io("open", path))?,
    };
    let mut bytes = Vec::new();
    let most = crate::trust::dsse::MAX_BYTES as u64 + 1;
    file.take(most).read_to_end(&mut bytes).map_err(disk::Error::io("read", path))?;
    Ok(Some(bytes))
}

/// Judges a signed statement by itself; `subject` names it in errors.
pub(crate) fn verify(
    subject: &str,
    envelope: &[u8],
    trust: &Trust,
    rotations: &[Rotation],
) -> Result<(Proof, Statement), Error> {
    let malformed = |why| Error::Malformed { subject: subject.into(), why };
    let envelope = Envelope::parse(envelope).map_err(malformed)?;
    let (proof, payload) = envelope.judge(subject, trust, rotations)?;
    let statement = Statement::parse(payload).map_err(malformed)?;
    Ok((proof, statement))
}

fn fits(subject: &str, statement: &Statement, manifest: &[u8]) -> Result<(), Error> {
    let another = |file: &str| Error::Another { subject: subject.into(), file: file.into() };
    let named: BTreeMap<&str, &str> = statement
        .subject
        .iter()
        .filter_map(|subject| Some((subject.name.as_deref()?, subject.digest.get("sha256")?.as_str())))
        .collect();
    let is_named = |file: &str, digest: Sha256| named.get(file) == Some(&digest.to_string().as_str());
    if !is_named(names::MANIFEST, Sha256::of(manifest)) {
        return Err(another(names::MANIFEST));
    }
    let files = Manifest::parse(subject, manifest).map_err(|_| another(names::MANIFEST))?.files;
    match files.iter().find(|(path, file)| !is_named(path, file.sha256)) {
        Some((path, _)) => Err(another(path)),
        None => Ok(()),
    }
}
