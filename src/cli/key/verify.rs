//! `prebake key verify`

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{is_minisign, read, vendor, with_suffix};
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::cli::project::PinArgs;
use crate::cli::signing::TrustArgs;
use crate::flatcar::board::SIGNATURE as VENDORS;
use crate::trust::minisign::{MAX_LEGACY, Prehash, SUFFIX, Signature};
use crate::trust::openpgp;
use crate::trust::rotation::Rotation;
use crate::trust::signers::{Proof, Trust};

/// Judge a file's signatures
///
/// minisign's are judged by the keys that --trust names; OpenPGP's, as of Flatcar's releases, by the pin, as builds do. Exits
/// with 5 and the reason unless exactly these bytes were signed by the required keys. Needs no network.
#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The file
    file: PathBuf,
    /// Its signatures [default: FILE.minisig and FILE.KEYID.minisig, else FILE.sig]
    #[arg(value_name = "SIGNATURE")]
    signatures: Vec<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    /// A statement of `prebake key rotate`, its signature beside it: a trusted key's successor is trusted in its place
    #[arg(long, value_name = "FILE", help_heading = "Trust")]
    rotation: Vec<PathBuf>,
    /// OpenPGP: the key file; the copy in the store if absent
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    common: PinArgs,
}

/// Reasons why there is nothing to judge.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0} has no signature beside it: neither {SUFFIX} nor {VENDORS}")]
    Unsigned(String),
    #[error("no key is trusted to sign {0}")]
    Nobody(String),
    #[error("{0} is an OpenPGP signature, but another one given is minisign's")]
    Mixed(String),
    #[error("only one OpenPGP signature can be verified at a time; {0} were given")]
    Many(usize),
    #[error("{0} is an OpenPGP signature, but the keys named by --trust are minisign's")]
    OpenPgp(String),
    #[error(
        "{subject} has {size} bytes, too many for a legacy signature, which needs the whole file in memory"
    )]
    TooLong { subject: String, size: u64 },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Unsigned(_) | Error::OpenPgp(_) | Error::TooLong { .. } => Exit::Trust,
            _ => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Unsigned(_) => Some("get the file's signature too, or name it".into()),
            Error::Nobody(_) => Some("name the signer's public key with --trust, or in PREBAKE_TRUST".into()),
            Error::TooLong { .. } => Some("have it signed without `minisign -l`".into()),
            Error::OpenPgp(_) => {
                Some("leave --trust and PREBAKE_TRUST out, or name the OpenPGP key file with --key".into())
            }
            Error::Mixed(_) | Error::Many(_) => None,
        }
    }
}

impl VerifyArgs {
    pub(crate) fn run(self) -> Result<()> {
        let signatures = match self.signatures.is_empty() {
            true => beside(&self.file)?,
            false => self.signatures.clone(),
        };
        if signatures.is_empty() {
            return Err(Error::Unsigned(self.file.display().to_string()).into());
        }
        // A damaged file counts by its name, so that the error describes its defect.
        let mut are_minisign = false;
        for path in &signatures {
            let is_named = path.extension().is_some_and(|extension| extension == &SUFFIX[1..]);
            let bytes = read(path)?;
            are_minisign |= is_minisign(&bytes) || is_named && !openpgp::is_signature(&bytes);
        }
        match &signatures[..] {
            _ if are_minisign => self.minisign(&signatures),
            // A user who names a key does not want Flatcar's.
            [signature] if self.trust.is_given() && self.key.is_none() => {
                let name = signature.display().to_string();
                match openpgp::is_signature(&read(signature)?) {
                    true => Err(Error::OpenPgp(name).into()),
                    // The error says what the file is instead.
                    false => self.minisign(&signatures),
                }
            }
            [signature] => vendor::verify(&self.file, signature, self.key.as_deref(), &self.common),
            _ => Err(Error::Many(signatures.len()).into()),
        }
    }

    fn minisign(&self, paths: &[PathBuf]) -> Result<()> {
        let subject = self.file.display().to_string();
        let mut signatures = Vec::new();
        for path in paths {
            let (name, bytes) = (path.display().to_string(), read(path)?);
            if !is_minisign(&bytes) && openpgp::is_signature(&bytes) {
                return Err(Error::Mixed(name).into());
            }
            signatures.extend(Signature::parse_all_commented(&name, &bytes)?);
        }
        let rotation = |path: &PathBuf| -> Result<Rotation> {
            let signature = with_suffix(path, SUFFIX);
            Ok(Rotation::parse(&path.display().to_string(), &read(path)?, &read(&signature)?)?)
        };
        let rotations = self.rotation.iter().map(rotation).collect::<Result<Vec<_>>>()?;
        let trust = self.trust.trust()?.ok_or_else(|| Error::Nobody(subject.clone()))?;
        let proof = judge(&self.file, &subject, &trust, &signatures, &rotations)?;
        let proved: Vec<&Signature> = signatures
            .iter()
            .filter(|signature| proof.signers.iter().any(|signer| signer.id() == signature.key_id()))
            .collect();
        if self.common.json {
            let signer = |signature: &&Signature| {
                json!({
                    "signature": signature.subject(),
                    "signer": signature.key_id(),
                    "comment": signature.trusted_comment(),
                })
            };
            let signers: Value = proved.iter().map(signer).collect();
            say!("{:#}", json!({"file": subject, "signers": signers, "trusted": proof.keys}));
            return Ok(());
        }
        for signature in proved {
            say!("{subject}: signed by {}", signature.key_id());
            say!("  {}", signature.trusted_comment());
        }
        for new in proof.keys.iter().filter(|key| trust.keys().all(|trusted| trusted != *key)) {
            say!("  to trust from now on: {new}");
        }
        Ok(())
    }
}

/// Reads the file once, and into memory only if a legacy signature requires it.
fn judge(
    path: &Path,
    subject: &str,
    trust: &Trust,
    signatures: &[Signature],
    rotations: &[Rotation],
) -> Result<Proof> {
    let file = File::open(path).map_err(disk::Error::io("open", path))?;
    if !signatures.iter().any(Signature::is_legacy) {
        let prehash = Prehash::of_reader(file).map_err(disk::Error::io("read", path))?;
        return Ok(trust.judge_prehash(subject, &prehash, signatures, rotations)?);
    }
    let size = file.metadata().map_err(disk::Error::io("read", path))?.len();
    if size > MAX_LEGACY {
        return Err(Error::TooLong { subject: subject.into(), size }.into());
    }
    let bytes = fs::read(path).map_err(disk::Error::io("read", path))?;
    Ok(trust.judge(subject, &bytes, signatures, rotations)?)
}

/// The signatures beside a file, as `prebake key sign` and `minisign -S` name them; if there are none, the vendor's.
fn beside(file: &Path) -> Result<Vec<PathBuf>> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let list = || fs::read_dir(directory)?.collect::<std::io::Result<Vec<_>>>();
    let mut found = Vec::new();
    for entry in list().map_err(disk::Error::io("list", directory))? {
        let other = entry.file_name().to_string_lossy().into_owned();
        let between = other.strip_prefix(&name).and_then(|rest| rest.strip_suffix(SUFFIX));
        if between.is_some_and(|id| id.is_empty() || is_key_id(id)) {
            found.push(file.with_file_name(other));
        }
    }
    found.sort();
    let vendors = with_suffix(file, VENDORS);
    if found.is_empty() && vendors.exists() {
        found.push(vendors);
    }
    Ok(found)
}

/// Whether a text is a dot and a key id, such as `.387941DE67D3058B`.
fn is_key_id(text: &str) -> bool {
    let digits = text.strip_prefix('.').unwrap_or_default();
    digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}
