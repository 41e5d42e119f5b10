//! Detached OpenPGP signatures, judged against a pinned primary key.
//!
//! The pin is the fingerprint of a *primary* key. The key file may come from anywhere: it is refused unless it holds
//! that primary. Then each signing key below it is judged: its binding and back signature, its usage, its expiry at
//! the time of the signature, its revocation. gpg's exit code alone says none of this (a signature by an expired or
//! revoked subkey still "verifies"), which is why the policy is ours and only the primitives are rPGP's.
//! Verification is one pass: bytes are pushed while they arrive, and the SHA-512 falls out of the same pass.

use std::fmt;
use std::io::Cursor;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pgp::composed::{Deserializable, DetachedSignature, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{RevocationCode, Signature, SignatureType};
use pgp::types::{KeyDetails, VerifyingKey};

use crate::digest::Sha512;
use crate::error::{Advice, Exit};

/// Largest key file and signature file that is read, in bytes. Flatcar's are 12 KiB and 594 bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// How far a signer's clock may run ahead of ours.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3600);

/// The fingerprint of a version 4 key: 20 bytes, upper-case hex in files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 20]);

/// The primary key of "Flatcar Buildbot (Official Builds)". Its signing subkeys rotate each year; it does not.
pub const FLATCAR_PRIMARY: Fingerprint = Fingerprint([
    0xf8, 0x8c, 0xfe, 0xde, 0xff, 0x29, 0xa5, 0xb4, 0xd9, 0x52, 0x38, 0x64, 0xe2, 0x5d, 0x9a, 0xed, 0x05,
    0x93, 0xb3, 0x4a,
]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    /// 40 hex digits; blanks between them are welcome.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits: Option<Vec<u8>> =
            text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).map(|d| d as u8)).collect();
        match digits {
            Some(digits) if digits.len() == 40 => {
                let mut bytes = [0; 20];
                bytes
                    .iter_mut()
                    .zip(digits.chunks(2))
                    .for_each(|(byte, pair)| *byte = pair[0] << 4 | pair[1]);
                Ok(Fingerprint(bytes))
            }
            _ => {
                Err(format!("`{text}` is not a fingerprint: 40 hex digits are expected, not a short key id"))
            }
        }
    }
}

/// Why a key or signature is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an OpenPGP key file.
    #[error("{subject} is not an OpenPGP public key file: {why}")]
    KeyFile {
        /// The file.
        subject: String,
        /// What the parser says.
        why: String,
    },
    /// The key file holds other keys than the pinned one.
    #[error("{subject} does not hold the pinned primary key {pin}; it holds {found}")]
    WrongPrimary {
        /// The file.
        subject: String,
        /// What was expected.
        pin: Fingerprint,
        /// What is there.
        found: String,
    },
    /// Not a signature at all.
    #[error("{subject} is not a detached OpenPGP signature: {why}")]
    Malformed {
        /// The signature file.
        subject: String,
        /// What the parser says.
        why: String,
    },
    /// No signature by a key under the pinned primary.
    #[error("{subject} was made by {issuer}, which is no key of the pinned primary {pin}")]
    Foreign {
        /// The signature file.
        subject: String,
        /// Who made it, as far as it says.
        issuer: String,
        /// Whose was expected.
        pin: Fingerprint,
    },
    /// The signer is known, but must not be believed.
    #[error("{subject} was made by {signer}, {refusal}")]
    Refused {
        /// The signature file.
        subject: String,
        /// The signing key.
        signer: Fingerprint,
        /// Why not.
        refusal: Refusal,
    },
    /// The bytes are not the signed bytes.
    #[error("{subject} does not match the file: the bytes are not what {signer} signed")]
    Mismatch {
        /// The signature file.
        subject: String,
        /// The signing key.
        signer: Fingerprint,
    },
}

/// Why a known signer's signature is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The key had expired when it signed.
    #[error("which had already expired when it signed")]
    Expired,
    /// The key is revoked.
    #[error("which is revoked")]
    Revoked,
    /// The primary key is revoked or had expired.
    #[error("whose primary key is revoked or expired")]
    PrimaryInvalid,
    /// The key is younger than its signature.
    #[error("which did not exist yet at the time the signature claims")]
    NotYetValid,
    /// The signature claims to come from the future.
    #[error("at a time that is still to come")]
    FromTheFuture,
    /// The key is not meant for signing.
    #[error("which is not a signing key")]
    WrongUsage,
    /// The key's binding to the primary does not verify.
    #[error("which is not properly bound to the primary key")]
    Unbound,
    /// MD5, SHA-1 and the like.
    #[error("with a hash algorithm that is too weak")]
    WeakHash,
    /// Not a version 4 signature over binary data.
    #[error("but it is not a version 4 signature over binary data")]
    WrongType,
    /// The signature carries an expiry of its own, and it has passed.
    #[error("but the signature itself has expired")]
    SignatureExpired,
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Trust
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::KeyFile { .. } | Error::WrongPrimary { .. } => {
                "fetch the vendor's key file again; the pin is `trust.primary_fingerprint` in the recipe, else Flatcar's own".into()
            }
            Error::Malformed { .. } => "the mirror may have answered with an error page; fetch it again".into(),
            Error::Foreign { .. } | Error::Refused { .. } => {
                "do not use these bytes; check the mirror, then whether the vendor rotated its key (update the key file)".into()
            }
            Error::Mismatch { .. } => "the file is damaged or was tampered with; fetch both again from another mirror".into(),
        })
    }
}

/// A key file that holds the pinned primary, with all signing keys below it judged once.
#[derive(Debug)]
pub struct TrustedKey {
    primary: Fingerprint,
    signers: Vec<Arc<Signer>>,
}

/// A key that may have made a signature.
#[derive(Debug)]
struct Signer {
    key: Box<dyn VerifyingKey + Send + Sync>,
    fingerprint: Fingerprint,
    created: SystemTime,
    expires: Option<SystemTime>,
    /// From when on its signatures are void; the epoch for a compromised key.
    revoked: Option<SystemTime>,
    flaw: Option<Refusal>,
}

/// What a verified signature says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The key that signed.
    pub signer: Fingerprint,
    /// When, as the signer says.
    pub created: SystemTime,
    /// SHA-512 of the file, where the signature's own pass yields it.
    pub sha512: Option<Sha512>,
}

impl TrustedKey {
    /// Reads a key file, armored or binary, that may hold several keys.
    ///
    /// # Errors
    /// [`Error::KeyFile`], or [`Error::WrongPrimary`] unless one of them is the pinned primary.
    pub fn parse(subject: &str, bytes: &[u8], pin: Fingerprint) -> Result<Self, Error> {
        let bad = |why: String| Error::KeyFile { subject: subject.into(), why };
        if bytes.len() > MAX_BYTES {
            return Err(bad(format!("longer than {MAX_BYTES} bytes")));
        }
        let (keys, _) =
            SignedPublicKey::from_reader_many(Cursor::new(bytes)).map_err(|e| bad(e.to_string()))?;
        let keys: Vec<SignedPublicKey> = keys.collect::<Result<_, _>>().map_err(|e| bad(e.to_string()))?;
        match keys.iter().find(|key| fingerprint(&key.primary_key) == Some(pin)) {
            Some(key) => {
                Ok(TrustedKey { primary: pin, signers: signers(key).into_iter().map(Arc::new).collect() })
            }
            None if keys.is_empty() => Err(bad("no key inside".into())),
            None => {
                let found: Vec<String> =
                    keys.iter().map(|key| format!("{:X}", key.primary_key.fingerprint())).collect();
                Err(Error::WrongPrimary { subject: subject.into(), pin, found: found.join(", ") })
            }
        }
    }

    /// The pinned primary's fingerprint.
    pub fn primary(&self) -> Fingerprint {
        self.primary
    }

    /// Reads a detached signature, armored or binary, and decides which of its makers may be believed at all, before
    /// a byte of the file has been seen. One good signature among several is enough.
    pub fn expect(&self, subject: &str, signature: &[u8], now: SystemTime) -> Result<Verifier, Error> {
        let bad = |why: String| Error::Malformed { subject: subject.into(), why };
        if signature.len() > MAX_BYTES {
            return Err(bad(format!("longer than {MAX_BYTES} bytes")));
        }
        let (found, _) =
            DetachedSignature::from_reader_many(Cursor::new(signature)).map_err(|e| bad(e.to_string()))?;
        let found: Vec<DetachedSignature> =
            found.collect::<Result<_, _>>().map_err(|e| bad(e.to_string()))?;
        let mut refused = None;
        let mut candidates = Vec::new();
        for DetachedSignature { signature } in found {
            match self.judge(subject, &signature, now) {
                Ok((signer, created)) => {
                    let hash = signature.hash_alg().unwrap_or_default();
                    let hasher = hash.new_hasher().map_err(|e| bad(e.to_string()))?;
                    candidates.push(Candidate { signature, signer, created, hash, hasher });
                }
                // A foreign signature beside a refused one says less about what is wrong.
                Err(error @ Error::Refused { .. }) => refused = Some(error),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match (candidates.is_empty(), refused) {
            (false, _) => Ok(Verifier { subject: subject.into(), candidates }),
            (true, Some(error)) => Err(error),
            (true, None) => Err(bad("no signature inside".into())),
        }
    }

    fn judge(
        &self,
        subject: &str,
        signature: &Signature,
        now: SystemTime,
    ) -> Result<(Arc<Signer>, SystemTime), Error> {
        let signer =
            self.signers.iter().find(|signer| made_by(signature, &*signer.key)).ok_or_else(|| {
                let by_fingerprint = signature.issuer_fingerprint().into_iter().map(|f| format!("{f:X}"));
                let by_id = signature.issuer_key_id().into_iter().map(|id| format!("{id}").to_uppercase());
                let issuer = by_fingerprint.chain(by_id).next().unwrap_or_else(|| "an unnamed key".into());
                Error::Foreign { subject: subject.into(), issuer, pin: self.primary }
            })?;
        let refuse =
            |refusal| Err(Error::Refused { subject: subject.into(), signer: signer.fingerprint, refusal });
        let strong = [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];
        let version_4 = signature.version() == pgp::packet::SignatureVersion::V4;
        let Some(created) = signature.created().map(SystemTime::from).filter(|_| version_4) else {
            return refuse(Refusal::WrongType);
        };
        let lapsed = |from: SystemTime, lifetime: Option<pgp::types::Duration>| {
            expiry(from, lifetime).is_some_and(|end| end <= now)
        };
        let flaws = [
            (signature.typ() != Some(SignatureType::Binary), Refusal::WrongType),
            (!signature.hash_alg().is_some_and(|hash| strong.contains(&hash)), Refusal::WeakHash),
            (created > now + CLOCK_SKEW, Refusal::FromTheFuture),
            (created < signer.created, Refusal::NotYetValid),
            (signer.expires.is_some_and(|end| created >= end), Refusal::Expired),
            (signer.revoked.is_some_and(|from| created >= from), Refusal::Revoked),
            (lapsed(created, signature.signature_expiration_time()), Refusal::SignatureExpired),
        ];
        let flaw = flaws.into_iter().find_map(|(is, refusal)| is.then_some(refusal));
        match signer.flaw.or(flaw) {
            Some(refusal) => refuse(refusal),
            None => Ok((signer.clone(), created)),
        }
    }
}

/// Takes the file's bytes as they arrive.
pub struct Verifier {
    subject: String,
    candidates: Vec<Candidate>,
}

struct Candidate {
    signature: Signature,
    signer: Arc<Signer>,
    created: SystemTime,
    hash: HashAlgorithm,
    hasher: Box<dyn digest_of_pgp::DynDigest + Send>,
}

impl Verifier {
    /// The next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.candidates.iter_mut().for_each(|candidate| candidate.hasher.update(bytes));
    }

    /// The verdict, once every byte has been pushed.
    pub fn finish(self) -> Result<Signed, Error> {
        let mut signer = self.candidates[0].signer.fingerprint;
        for candidate in self.candidates {
            signer = candidate.signer.fingerprint;
            if let Some(signed) = candidate.verdict() {
                return Ok(signed);
            }
        }
        Err(Error::Mismatch { subject: self.subject, signer })
    }
}

impl Candidate {
    fn verdict(mut self) -> Option<Signed> {
        // RFC 9580 §5.2.4: the hash runs over the data, then the signature's own hashed part and trailer.
        let plain = self.hasher.box_clone();
        let config = self.signature.config()?;
        let length = config.hash_signature_data(&mut self.hasher).ok()?;
        self.hasher.update(&config.trailer(length).ok()?);
        let digest = self.hasher.finalize();
        if self.signature.signed_hash_value()? != digest[..2] {
            return None;
        }
        self.signer.key.verify(self.hash, &digest, self.signature.signature()?).ok()?;
        let sha512 = <[u8; 64]>::try_from(&*plain.finalize()).ok().map(Sha512::from);
        Some(Signed { signer: self.signer.fingerprint, created: self.created, sha512 })
    }
}

/// All keys of a certificate that could sign, the primary first.
fn signers(key: &SignedPublicKey) -> Vec<Signer> {
    let primary = &key.primary_key;
    let self_signatures = || {
        let of_users = key.details.users.iter().flat_map(|user| {
            let tag = pgp::types::Tag::UserId;
            user.signatures.iter().filter(move |s| s.verify_certification(primary, tag, &user.id).is_ok())
        });
        of_users.chain(key.details.direct_signatures.iter().filter(|s| s.verify_key(primary).is_ok()))
    };
    let newest = newest(self_signatures());
    let primary_end = newest.and_then(|s| expiry(primary.created_at().into(), s.key_expiration_time()));
    let primary_revoked =
        revocation(key.details.revocation_signatures.iter().filter(|s| s.verify_key(primary).is_ok()));
    let mut signers = Vec::new();
    if let Some(fingerprint) = fingerprint(primary) {
        let signs = newest.is_some_and(|s| s.key_flags().sign());
        signers.push(Signer {
            key: Box::new(primary.clone()),
            fingerprint,
            created: primary.created_at().into(),
            expires: primary_end,
            revoked: primary_revoked,
            flaw: (!signs).then_some(Refusal::WrongUsage),
        });
    }
    for subkey in &key.public_subkeys {
        let Some(fingerprint) = fingerprint(&subkey.key) else { continue };
        let created = SystemTime::from(subkey.key.created_at());
        let valid = |kind: SignatureType| {
            let of_kind = subkey.signatures.iter().filter(move |s| s.typ() == Some(kind));
            of_kind.filter(|s| s.verify_subkey_binding(primary, &subkey.key).is_ok())
        };
        let binding = self::newest(valid(SignatureType::SubkeyBinding));
        let flaw = match binding {
            None => Some(Refusal::Unbound),
            Some(binding) if !binding.key_flags().sign() => Some(Refusal::WrongUsage),
            // A signing subkey must have signed the primary in return, or anyone could adopt another's key.
            Some(binding) => {
                let back = binding.embedded_signature();
                let bound = back.is_some_and(|s| s.verify_primary_key_binding(&subkey.key, primary).is_ok());
                (!bound).then_some(Refusal::Unbound)
            }
        };
        let primary_bad =
            primary_revoked.is_some() || primary_end.is_some_and(|end| end <= SystemTime::now());
        signers.push(Signer {
            key: Box::new(subkey.key.clone()),
            fingerprint,
            created,
            expires: binding.and_then(|s| expiry(created, s.key_expiration_time())),
            revoked: revocation(valid(SignatureType::SubkeyRevocation)),
            flaw: if primary_bad { Some(Refusal::PrimaryInvalid) } else { flaw },
        });
    }
    signers
}

/// The self-signature that counts is the newest valid one (RFC 9580 §5.2.3.10).
fn newest<'s>(signatures: impl Iterator<Item = &'s Signature>) -> Option<&'s Signature> {
    signatures.max_by_key(|signature| signature.created())
}

/// From when on a key's signatures are void. Only "superseded" and "retired" leave older signatures standing.
fn revocation<'s>(valid: impl Iterator<Item = &'s Signature>) -> Option<SystemTime> {
    let from = |revocation: &Signature| match revocation.revocation_reason_code() {
        Some(RevocationCode::KeySuperseded | RevocationCode::KeyRetired) => {
            revocation.created().map_or(UNIX_EPOCH, SystemTime::from)
        }
        _ => UNIX_EPOCH,
    };
    valid.map(from).min()
}

fn expiry(from: SystemTime, lifetime: Option<pgp::types::Duration>) -> Option<SystemTime> {
    let seconds = lifetime?.as_secs();
    // Zero means "does not expire" (RFC 9580 §5.2.3.13).
    (seconds != 0).then(|| from + Duration::from_secs(seconds.into()))
}

fn fingerprint(key: &impl KeyDetails) -> Option<Fingerprint> {
    key.fingerprint().as_bytes().try_into().ok().map(Fingerprint)
}

/// Whether a signature names this key as its maker: by fingerprint where it says so, else by key id.
fn made_by(signature: &Signature, key: &dyn VerifyingKey) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    match fingerprints.is_empty() {
        false => fingerprints.into_iter().any(|f| *f == key.fingerprint()),
        true => signature.issuer_key_id().into_iter().any(|id| *id == key.legacy_key_id()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAB: &str = "tests/lab/keys/lab.asc";

    fn read(path: &str) -> Vec<u8> {
        std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
    }

    fn lab_key() -> TrustedKey {
        let found = gpg_primary(LAB);
        TrustedKey::parse(LAB, &read(LAB), found).unwrap()
    }

    /// The primary fingerprint of a test key, as the key file itself has it.
    fn gpg_primary(path: &str) -> Fingerprint {
        let (key, _) = SignedPublicKey::from_reader_single(Cursor::new(read(path))).unwrap();
        fingerprint(&key.primary_key).unwrap()
    }

    fn verdict(signature: &str, data: &[u8]) -> Result<Signed, Error> {
        let name = format!("tests/data/openpgp/{signature}");
        let key = lab_key();
        let mut verifier = key.expect(&name, &read(&name), SystemTime::now())?;
        data.chunks(7).for_each(|chunk| verifier.update(chunk));
        verifier.finish()
    }

    fn refusal(signature: &str) -> Refusal {
        match verdict(signature, &read("tests/data/openpgp/data.txt")) {
            Err(Error::Refused { refusal, .. }) => refusal,
            other => panic!("{signature}: {other:?}"),
        }
    }

    #[test]
    fn a_good_signature_names_its_signer_and_yields_the_sha512_of_the_file() {
        let data = read("tests/data/openpgp/data.txt");
        for good in ["good.sig", "good-armored.asc", "foreign-then-good.sig"] {
            let signed = verdict(good, &data).unwrap();
            let expected: [u8; 64] = <sha2::Sha512 as sha2::Digest>::digest(&data).into();
            assert_eq!(signed.sha512, Some(expected.into()), "{good}");
        }
    }

    #[test]
    fn a_subkey_that_expired_after_it_signed_is_believed() {
        assert!(verdict("by-expired-subkey.sig", &read("tests/data/openpgp/data.txt")).is_ok());
    }

    #[test]
    fn every_signer_that_must_not_be_believed_is_refused_with_the_reason() {
        assert_eq!(refusal("by-subkey-after-its-expiry.sig"), Refusal::Expired);
        assert_eq!(refusal("by-revoked-subkey.sig"), Refusal::Revoked);
        assert_eq!(refusal("sha1.sig"), Refusal::WeakHash);
        assert_eq!(refusal("text-mode.sig"), Refusal::WrongType);
    }

    #[test]
    fn a_foreign_key_a_torn_file_and_changed_bytes_are_three_different_errors() {
        let data = read("tests/data/openpgp/data.txt");
        assert!(matches!(verdict("by-foreign.sig", &data), Err(Error::Foreign { .. })));
        assert!(matches!(verdict("truncated.sig", &data), Err(Error::Malformed { .. })));
        assert!(matches!(verdict("good.sig", b"other bytes"), Err(Error::Mismatch { .. })));
    }

    #[test]
    fn a_key_file_without_the_pinned_primary_is_refused() {
        let error = TrustedKey::parse(LAB, &read(LAB), FLATCAR_PRIMARY).unwrap_err();
        assert!(matches!(error, Error::WrongPrimary { .. }), "{error}");
        assert!(matches!(
            TrustedKey::parse("page", b"<html>not found</html>", FLATCAR_PRIMARY),
            Err(Error::KeyFile { .. })
        ));
    }

    #[test]
    fn fingerprints_are_read_with_blanks_and_never_as_short_ids() {
        let spelled = "F88C FEDE FF29 A5B4 D952 3864 E25D 9AED 0593 B34A";
        assert_eq!(spelled.parse(), Ok(FLATCAR_PRIMARY));
        assert_eq!(FLATCAR_PRIMARY.to_string(), spelled.replace(' ', ""));
        assert!("0593B34A".parse::<Fingerprint>().is_err());
    }
}
