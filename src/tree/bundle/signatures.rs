//! The files before the index: its signatures with the keys that made them, and statements that one key replaces
//! another.
//!
//! ```text
//! signatures/KEYID.minisig                      over the bytes of bundle.json
//! signatures/KEYID.pub                          the key that made it
//! signatures/OLD-NEW.rotation.json, ….minisig   signed by the old key
//! ```
//! The keys prove nothing about who signed. They are included so that everybody can check each byte of a signature,
//! even without trusting its signer.

use std::collections::BTreeMap;

use super::verify::Flaw;
use super::{Error, INDEX, SIGNATURES};
use crate::format::tar::{BLOCK, padding};
use crate::tree::names::below;
use crate::trust::minisign::{self, KeyId, PublicKey, SUFFIX, SecretKey, Signature, trusted_comment};
use crate::trust::rotation::Rotation;
use crate::trust::signers::{Proof, Trust};

const KEY: &str = ".pub";
const ROTATION: &str = ".rotation.json";

/// Signatures over an index. Each is valid for the key beside it; whether that key is trusted is judged separately.
#[derive(Clone, Debug, Default)]
pub struct Signatures {
    by: BTreeMap<String, (PublicKey, Signature)>,
    rotations: BTreeMap<String, Rotation>,
}

impl Signatures {
    /// Reads the files before an index, by path, and checks every byte of them.
    ///
    /// # Errors
    /// A signature that the key beside it did not make over this index, and any file that prebake would not write exactly
    /// so.
    pub(crate) fn parse(subject: &str, files: &[(String, Vec<u8>)], index: &[u8]) -> Result<Self, Error> {
        let by_name: BTreeMap<&str, &[u8]> =
            files.iter().filter_map(|(path, bytes)| Some((below(path, SIGNATURES)?, &**bytes))).collect();
        let of = |name: &str| format!("{SIGNATURES}/{name} of {subject}");
        let beside = |name: &str, other: String| match by_name.get(&*other) {
            Some(bytes) => Ok(*bytes),
            None => Err(Error::Foreign {
                subject: subject.into(),
                reason: format!("its {SIGNATURES}/{name} comes without {other}"),
                advice: None,
            }),
        };
        let stray = |path: &str, what: &str| {
            let before = files.iter().take_while(|(other, _)| other != path);
            let lengths = before.map(|(_, bytes)| bytes.len() as u64);
            let at = BLOCK + lengths.map(|length| BLOCK + length + padding(length)).sum::<u64>();
            let flaw = Flaw { at, member: Some(path.into()), what: what.into() };
            Error::Damaged { subject: subject.into(), flaw }
        };
        let mut signatures = Signatures::default();
        for (name, bytes) in &by_name {
            if let Some(id) = name.strip_suffix(KEY) {
                let signature =
                    Signature::parse(&of(&format!("{id}{SUFFIX}")), beside(name, format!("{id}{SUFFIX}"))?)?;
                let key = PublicKey::parse(&of(name), &String::from_utf8_lossy(bytes))?;
                let signer = key.id();
                if signer.to_string() != id {
                    return Err(stray(
                        &format!("{SIGNATURES}/{name}"),
                        "it contains another key than its name states",
                    ));
                }
                let mismatch = |source| Error::Mismatch { subject: subject.into(), signer, source };
                signatures.add(key, signature, index).map_err(mismatch)?;
            } else if name.ends_with(ROTATION) {
                let signature = beside(name, format!("{name}{SUFFIX}"))?;
                signatures.rotate(Rotation::parse(&of(name), bytes, signature)?);
            }
        }
        // The files must be exactly those that prebake would write, and no others.
        let written: BTreeMap<String, Vec<u8>> = signatures.to_files().into_iter().collect();
        match files.iter().find(|(path, bytes)| written.get(path) != Some(bytes)) {
            None => Ok(signatures),
            Some((path, _)) => {
                Err(stray(path, "it is not in prebake's canonical form, or no signature uses it"))
            }
        }
    }

    /// Signs an index; signing again with the same key gives the same bytes.
    pub fn sign(&mut self, key: &SecretKey, index: &[u8], epoch: u64) {
        let signature = key.sign(index, &trusted_comment(epoch, INDEX));
        self.by.insert(key.public().id().to_string(), (key.public(), signature));
    }

    /// Adds a signature that was made elsewhere.
    ///
    /// # Errors
    /// One that is not by this key, or not over this index.
    pub(crate) fn add(
        &mut self,
        key: PublicKey,
        signature: Signature,
        index: &[u8],
    ) -> Result<(), minisign::Error> {
        signature.verify(&key, index)?;
        self.by.insert(key.id().to_string(), (key, signature));
        Ok(())
    }

    /// Adds the statement that one key replaces another.
    pub(crate) fn rotate(&mut self, rotation: Rotation) {
        self.rotations.insert(rotation.file_name(), rotation);
    }

    /// The files, by path, sorted.
    pub(crate) fn to_files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = BTreeMap::new();
        for (id, (key, signature)) in &self.by {
            files.insert(format!("{SIGNATURES}/{id}{SUFFIX}"), signature.to_bytes());
            files.insert(format!("{SIGNATURES}/{id}{KEY}"), key.to_file().into_bytes());
        }
        for (name, rotation) in &self.rotations {
            files.insert(format!("{SIGNATURES}/{name}"), rotation.statement());
            files.insert(format!("{SIGNATURES}/{name}{SUFFIX}"), rotation.signature().to_bytes());
        }
        files.into_iter().collect()
    }

    /// Whether there is no signature.
    pub(crate) fn is_empty(&self) -> bool {
        self.by.is_empty()
    }

    /// Ids of the keys that signed, trusted or not, sorted.
    pub(crate) fn signers(&self) -> impl Iterator<Item = KeyId> {
        self.by.values().map(|(key, _)| key.id())
    }

    /// Statements that one key replaces another, sorted by the ids.
    pub(crate) fn rotations(&self) -> impl Iterator<Item = &Rotation> {
        self.rotations.values()
    }

    /// Checks that enough of the trusted keys signed this index.
    pub(crate) fn judge(&self, trust: &Trust, subject: &str, index: &[u8]) -> Result<Proof, Error> {
        let signatures: Vec<Signature> = self.by.values().map(|(_, signature)| signature.clone()).collect();
        let rotations: Vec<Rotation> = self.rotations.values().cloned().collect();
        Ok(trust.judge(subject, index, &signatures, &rotations)?)
    }
}
