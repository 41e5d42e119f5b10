//! Detached signatures of answers, for loaders that verify what they load: `/ipxe.sig`, `/grub.asc` and so on.
//! [`Endpoint::is_signed`](crate::tree::names::Endpoint::is_signed) says which have them. Assets have none: they are
//! signed by whoever makes them.
//!
//! As Matchbox makes them: by the first key of a key ring, in text mode, with SHA-256. The packets are rPGP's; the RSA
//! operation is aws-lc's, since that of rPGP's `rsa` takes a time that depends on the key (RUSTSEC-2023-0071) and anybody
//! may ask for signatures.

use std::fmt;
use std::fs;
use std::io::{self, Cursor};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::base::error::{Advice, Exit};
use crate::base::size::Bytes;
use crate::serve::answer::{Answer, Body, Piece, TEXT, Within};
use crate::tree::names::Form;
use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use pgp::composed::{ArmorOptions, Deserializable, DetachedSignature, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{PublicKey, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{
    Fingerprint, KeyDetails, KeyId, KeyVersion, Mpi, Password, PlainSecretParams, PublicParams, SecretParams,
    SignatureBytes, SigningKey, Timestamp,
};
use rsa_parts::remainder;

/// Longest key ring, in bytes.
const MAX_KEY_RING: usize = 1 << 20;

/// Signs answers.
#[derive(Debug)]
pub struct Signer {
    key: Key,
}

/// Why answers cannot be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The file cannot be read.
    #[error("cannot read the key ring {}", path.display())]
    Unreadable {
        /// The key ring's path.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// It has no key that can sign.
    #[error("cannot sign with the key ring {}: {why}", path.display())]
    Unusable {
        /// The key ring's path.
        path: PathBuf,
        /// The reason, in words.
        why: String,
    },
    /// The key is locked, and no passphrase opens it.
    #[error("the first key of {} is locked and {}", path.display(), if *given { "the passphrase does not unlock it" } else { "there is no passphrase" })]
    Locked {
        /// The key ring's path.
        path: PathBuf,
        /// Whether a passphrase was given.
        given: bool,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Unreadable { .. } => Exit::Failed,
            Error::Unusable { .. } | Error::Locked { .. } => Exit::Trust,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Unreadable { .. } => "--key-ring-path takes a file".into(),
            Error::Unusable { .. } => {
                "make one with `gpg --export-secret-keys FINGERPRINT > secring.gpg`".into()
            }
            Error::Locked { .. } => "set it in the environment as MATCHBOX_PASSPHRASE".into(),
        })
    }
}

impl Signer {
    /// Takes the first key of a key ring.
    ///
    /// # Errors
    /// The file cannot be read, the key is locked, or it cannot sign: it must be RSA of 2048 to 8192 bits.
    pub(crate) fn open(path: &Path, passphrase: Option<&str>) -> Result<Signer, Error> {
        let bytes = fs::read(path).map_err(|source| Error::Unreadable { path: path.into(), source })?;
        let unusable = |why: String| Error::Unusable { path: path.into(), why };
        if bytes.len() > MAX_KEY_RING {
            return Err(unusable(format!("it is larger than {}", Bytes(MAX_KEY_RING as u64))));
        }
        let (mut keys, _) = SignedSecretKey::from_reader_many(Cursor::new(&bytes))
            .map_err(|error| unusable(error.to_string()))?;
        let key = keys.next().ok_or_else(|| unusable("there is no secret key in it".into()))?;
        let key = key.map_err(|error| unusable(error.to_string()))?.primary_key;
        let locked = matches!(key.secret_params(), SecretParams::Encrypted(_));
        if locked && passphrase.is_none() {
            return Err(Error::Locked { path: path.into(), given: false });
        }
        let password = passphrase.map_or_else(Password::empty, Password::from);
        let opened = key.unlock(&password, |public, secret| Ok(rsa(public, secret)));
        let opened = opened.and_then(|opened| opened);
        let rsa = opened.map_err(|_| Error::Locked { path: path.into(), given: true })?.map_err(unusable)?;
        Ok(Signer { key: Key { public: key.public_key().clone(), rsa } })
    }

    /// Replaces an answer with its signature, with the same status. The headers are Matchbox's.
    pub(crate) fn sign(&self, answer: Answer, form: Form, now: SystemTime) -> Answer {
        let kind = if form == Form::Binary { "application/octet-stream" } else { TEXT };
        let signature = bytes(&answer.body)
            .map_err(|error| error.to_string())
            .and_then(|body| self.detached(&body, form, now).map_err(|error| error.to_string()));
        let signed = match signature {
            Ok(signature) => Answer::new(answer.status, kind, signature),
            Err(why) => Answer::new(500, TEXT, format!("the answer cannot be signed: {why}\n")),
        };
        Answer { group: answer.group, profile: answer.profile, lack: answer.lack, ..signed }
    }

    fn detached(&self, text: &[u8], form: Form, now: SystemTime) -> pgp::errors::Result<Vec<u8>> {
        let rsa = PublicKeyAlgorithm::RSA;
        let mut config = SignatureConfig::v4(SignatureType::Text, rsa, HashAlgorithm::Sha256);
        let created = Timestamp::try_from(now).unwrap_or_default();
        config.hashed_subpackets = vec![
            Subpacket::regular(SubpacketData::SignatureCreationTime(created))?,
            Subpacket::regular(SubpacketData::IssuerKeyId(self.key.legacy_key_id()))?,
        ];
        // rPGP's own function would treat a lone carriage return as a line end.
        let mut hasher = HashAlgorithm::Sha256.new_hasher()?;
        config.hash_data_to_sign(&mut hasher, &*canonical(text))?;
        let length = config.hash_signature_data(&mut hasher)?;
        hasher.update(&config.trailer(length)?);
        let digest = hasher.finalize();
        let bytes = self.key.sign(&Password::empty(), HashAlgorithm::Sha256, &digest)?;
        let signature =
            DetachedSignature::new(Signature::from_config(config, [digest[0], digest[1]], bytes)?);
        match form {
            Form::Binary => signature.to_bytes(),
            Form::Armored => {
                let armored = signature.to_armored_string(ArmorOptions::default())?;
                Ok(armored.trim_end().as_bytes().to_vec())
            }
        }
    }
}

/// A text as signatures in text mode cover it: every line ends with CR LF. gpg treats further carriage returns before a
/// line end, or at the end of the text, as part of the text.
fn canonical(text: &[u8]) -> Vec<u8> {
    let mut canonical = Vec::with_capacity(text.len() + text.len() / 32);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let body = line.strip_suffix(b"\n").unwrap_or(line);
        let returns = body.iter().rev().take_while(|byte| **byte == b'\r').count();
        canonical.extend_from_slice(&body[..body.len() - returns]);
        if body.len() < line.len() {
            canonical.extend_from_slice(b"\r\n");
        }
    }
    canonical
}

/// The bytes of an answer. Answers that are not one file or that never end cannot be signed.
fn bytes(body: &Body) -> io::Result<Vec<u8>> {
    match body {
        Body::Bytes(bytes) => Ok(bytes.to_vec()),
        Body::File { pieces, range } => match pieces.as_slice() {
            [Piece::File { path, within, .. }] => {
                let mut bytes = vec![0; (range.end - range.start) as usize];
                match within {
                    Some(Within(file, start)) => file.read_exact_at(&mut bytes, start + range.start)?,
                    None => fs::File::open(path)?.read_exact_at(&mut bytes, range.start)?,
                }
                Ok(bytes)
            }
            _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
        },
        Body::Parts { .. } | Body::Stream(_) => Err(io::Error::from(io::ErrorKind::Unsupported)),
    }
}

/// The key for aws-lc, or why it cannot be used.
fn rsa(public: &PublicParams, secret: &PlainSecretParams) -> Result<RsaKeyPair, String> {
    use pgp::types::PublicParams::RSA as Public;
    let (Public(public), PlainSecretParams::RSA(secret)) = (public, secret) else {
        return Err("its first key is not an RSA key".into());
    };
    let mut parameters = Vec::new();
    public.to_writer(&mut parameters).map_err(|error| error.to_string())?;
    let mut parameters = Cursor::new(parameters);
    let mut next = || Mpi::try_from_reader(&mut parameters).map_err(|error| error.to_string());
    let (n, e) = (next()?, next()?);
    let (d, p, q, u) = secret.to_bytes();
    // OpenPGP has the inverse of p modulo q where others have that of q modulo p, so the primes are swapped.
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n: n.as_ref(), e: e.as_ref() },
        dP: &*remainder(&d, &q),
        dQ: &*remainder(&d, &p),
        d: &d,
        p: &q,
        q: &p,
        qInv: &u,
    };
    RsaKeyPair::from_components(&components).map_err(|error| format!("its first key is refused: {error}"))
}

mod rsa_parts {
    /// `number` modulo `prime - 1`, for odd primes: the exponent for one prime. All numbers are big-endian. The time
    /// depends on the key, but nobody can observe that: it runs once, when the server starts.
    pub(crate) fn remainder(number: &[u8], prime: &[u8]) -> Vec<u8> {
        let mut modulus = prime.to_vec();
        if let Some(last) = modulus.last_mut() {
            *last &= !1;
        }
        // One byte more than the modulus, so that doubling does not overflow.
        modulus.insert(0, 0);
        let mut rest = vec![0u8; modulus.len()];
        for bit in number.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)) {
            let mut carry = bit;
            for byte in rest.iter_mut().rev() {
                (*byte, carry) = (*byte << 1 | carry, *byte >> 7);
            }
            if rest >= modulus {
                let mut borrow = false;
                for (byte, other) in rest.iter_mut().zip(&modulus).rev() {
                    let (less, first) = byte.overflowing_sub(*other);
                    let (less, second) = less.overflowing_sub(u8::from(borrow));
                    (*byte, borrow) = (less, first || second);
                }
            }
        }
        rest
    }
}

/// The key in the form that rPGP needs: rPGP hashes and frames, aws-lc signs.
struct Key {
    public: PublicKey,
    rsa: RsaKeyPair,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.public.fingerprint()).finish()
    }
}

impl KeyDetails for Key {
    fn version(&self) -> KeyVersion {
        self.public.version()
    }

    fn legacy_key_id(&self) -> KeyId {
        self.public.legacy_key_id()
    }

    fn fingerprint(&self) -> Fingerprint {
        self.public.fingerprint()
    }

    fn algorithm(&self) -> PublicKeyAlgorithm {
        self.public.algorithm()
    }

    fn created_at(&self) -> Timestamp {
        self.public.created_at()
    }

    fn legacy_v3_expiration_days(&self) -> Option<u16> {
        self.public.legacy_v3_expiration_days()
    }

    fn public_params(&self) -> &PublicParams {
        self.public.public_params()
    }
}

impl SigningKey for Key {
    fn sign(&self, _: &Password, hash: HashAlgorithm, digest: &[u8]) -> pgp::errors::Result<SignatureBytes> {
        let refused = |what: &str| pgp::errors::Error::from(io::Error::other(what.to_owned()));
        if hash != HashAlgorithm::Sha256 {
            return Err(refused("signatures are made over SHA-256"));
        }
        let digest = Digest::import_less_safe(digest, &SHA256).map_err(|_| refused("not a digest"))?;
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        let signed = self.rsa.sign_digest(&RSA_PKCS1_SHA256, &digest, &mut signature);
        signed.map_err(|_| refused("aws-lc could not sign"))?;
        Ok(SignatureBytes::Mpis(vec![Mpi::from_slice(&signature)]))
    }

    fn hash_alg(&self) -> HashAlgorithm {
        HashAlgorithm::Sha256
    }
}

#[cfg(test)]
mod tests {
    use super::rsa_parts::remainder;

    proptest::proptest! {
        #[test]
        fn the_remainder_is_that_of_long_division(number: u64, prime in 3u16..) {
            let prime = u64::from(prime | 1);
            let rest = remainder(&number.to_be_bytes(), &prime.to_be_bytes());
            let rest = rest.iter().fold(0u64, |rest, byte| rest << 8 | u64::from(*byte));
            assert_eq!(rest, number % (prime - 1));
        }
    }
}
