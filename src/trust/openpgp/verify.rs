//! Detached signatures: their possible makers, and whether they match the file.

use std::io::Cursor;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pgp::composed::{Deserializable, DetachedSignature};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::VerifyingKey;
use serde::{Deserialize, Serialize};

use super::armor::{self, Form};
use super::key::{Part, TrustedKey, expiry};
use super::words::flaw;
use super::{CLOCK_SKEW, Error, Fingerprint, MAX_BYTES, MAX_SIGNATURES, Refusal, policy};
use crate::base::digest::Sha512;

/// The statement of a verified signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The key that signed.
    pub signer: Fingerprint,
    /// The time of signing, as the signer states it.
    #[serde(with = "seconds")]
    pub created: SystemTime,
    /// SHA-512 of the file, if the signature's own pass computes it.
    pub sha512: Option<Sha512>,
}

/// A signature's time: whole seconds since 1970.
mod seconds {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        // OpenPGP stores times in 32 bits.
        Ok(UNIX_EPOCH + Duration::from_secs(u32::deserialize(deserializer)?.into()))
    }
}

impl TrustedKey {
    /// Checks that a key with this fingerprint may have signed at a time, as a lock claims it did.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::Refused`]; `subject` is the signature.
    pub(crate) fn vouches(
        &self,
        subject: &str,
        signer: Fingerprint,
        signed: SystemTime,
        now: SystemTime,
    ) -> Result<(), Error> {
        let part = self.parts().iter().find(|part| part.fingerprint == signer).ok_or_else(|| {
            Error::Foreign { subject: subject.into(), issuer: signer.to_string(), pin: self.primary() }
        })?;
        let to_come = (signed > now + CLOCK_SKEW).then_some(Refusal::FromTheFuture);
        match part.refusal(signed).or(to_come) {
            Some(refusal) => Err(Error::Refused { subject: subject.into(), signer, refusal, signed, now }),
            None => Ok(()),
        }
    }

    /// Reads a detached signature, armored or binary, and decides which of its makers may be believed at all, before a
    /// byte of the file has been seen. One good signature among several is enough.
    pub fn expect(&self, subject: &str, signature: &[u8], now: SystemTime) -> Result<Verifier, Error> {
        let bad = |why: String| Error::Malformed { subject: subject.into(), why };
        if signature.len() > MAX_BYTES {
            return Err(bad(format!("longer than {MAX_BYTES} bytes")));
        }
        let packets = match armor::read(signature).map_err(bad)? {
            Form::Binary => signature.to_vec(),
            // Only the first block counts, as in gpg.
            Form::Armored(blocks) => blocks.into_iter().next().map_or(Vec::new(), |(_, packets)| packets),
        };
        let found =
            DetachedSignature::from_bytes_many(Cursor::new(packets)).map_err(|e| bad(flaw(&e).into()))?;
        // Each signature costs a hashing pass of its own, and vendors sign with one key or two.
        let found: Vec<DetachedSignature> =
            found.take(MAX_SIGNATURES + 1).collect::<Result<_, _>>().map_err(|e| bad(flaw(&e).into()))?;
        if found.len() > MAX_SIGNATURES {
            return Err(bad(format!("more than {MAX_SIGNATURES} signatures")));
        }
        let mut refused = None;
        let mut candidates = Vec::new();
        for DetachedSignature { signature } in found {
            match self.judge(subject, &signature, now) {
                Ok((signer, created)) => {
                    let hash = signature.hash_alg().unwrap_or_default();
                    let hasher = hash.new_hasher().map_err(|e| bad(flaw(&e.into()).into()))?;
                    candidates.push(Candidate { signature, signer, created, hash, hasher });
                }
                // If one signature is refused and another foreign, the refusal is the more informative error.
                Err(error @ Error::Refused { .. }) => refused = Some(error),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match (candidates.is_empty(), refused) {
            (false, _) => Ok(Verifier { subject: subject.into(), candidates }),
            (true, Some(error)) => Err(error),
            (true, None) => Err(bad("it contains no signature".into())),
        }
    }

    fn judge(
        &self,
        subject: &str,
        signature: &Signature,
        now: SystemTime,
    ) -> Result<(Arc<Part>, SystemTime), Error> {
        let signer =
            self.parts().iter().find(|signer| made_by(signature, &*signer.key)).ok_or_else(|| {
                let by_fingerprint = signature.issuer_fingerprint().into_iter().map(|f| format!("{f:X}"));
                let by_id = signature.issuer_key_id().into_iter().map(|id| format!("{id}").to_uppercase());
                let issuer = by_fingerprint.chain(by_id).next().unwrap_or_else(|| "an unnamed key".into());
                Error::Foreign { subject: subject.into(), issuer, pin: self.primary() }
            })?;
        let refuse = |refusal| {
            let signed = signature.created().map_or(UNIX_EPOCH, SystemTime::from);
            Err(Error::Refused { subject: subject.into(), signer: signer.fingerprint, refusal, signed, now })
        };
        let version_4 = signature.version() == pgp::packet::SignatureVersion::V4;
        let Some(created) = signature.created().map(SystemTime::from).filter(|_| version_4) else {
            return refuse(Refusal::WrongType);
        };
        let lapsed = |from: SystemTime, lifetime: Option<pgp::types::Duration>| {
            expiry(from, lifetime).is_some_and(|end| end <= now)
        };
        let flaws = [
            (signature.typ() != Some(SignatureType::Binary), Refusal::WrongType),
            (!policy::is_strong(signature), Refusal::WeakHash),
            (!policy::is_understood(signature), Refusal::UnknownCritical),
            (created > now + CLOCK_SKEW, Refusal::FromTheFuture),
            (lapsed(created, signature.signature_expiration_time()), Refusal::SignatureExpired),
        ];
        let reason = flaws.into_iter().find_map(|(is, refusal)| is.then_some(refusal));
        match signer.refusal(created).or(reason) {
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
    signer: Arc<Part>,
    created: SystemTime,
    hash: HashAlgorithm,
    hasher: Box<dyn digest_of_pgp::DynDigest + Send>,
}

impl Verifier {
    /// Whether the result of an earlier pass over the bytes is still valid: it is by a signature in this file and a key
    /// that is not refused now.
    pub(crate) fn admits(&self, signed: &Signed) -> bool {
        self.is_by(signed.signer, signed.created)
    }

    /// Whether one of the acceptable signatures is by this key and of this time.
    pub(crate) fn is_by(&self, signer: Fingerprint, signed: SystemTime) -> bool {
        self.makers().any(|maker| maker == (signer, signed))
    }

    /// The possible signers, each with the time of signing.
    pub(crate) fn makers(&self) -> impl Iterator<Item = (Fingerprint, SystemTime)> {
        self.candidates.iter().map(|candidate| (candidate.signer.fingerprint, candidate.created))
    }

    /// The next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.candidates.iter_mut().for_each(|candidate| candidate.hasher.update(bytes));
    }

    /// The verdict, after every byte has been pushed.
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

/// Whether a signature names this key as its maker: by fingerprint where it says so, else by key id.
fn made_by(signature: &Signature, key: &dyn VerifyingKey) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    match fingerprints.is_empty() {
        false => fingerprints.into_iter().any(|f| *f == key.fingerprint()),
        true => signature.issuer_key_id().into_iter().any(|id| *id == key.legacy_key_id()),
    }
}
