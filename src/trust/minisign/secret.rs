//! Secret keys: generating, sealing with a passphrase, unlocking, and signing.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use blake2::{Blake2b256, Digest};
use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::{Zeroize, Zeroizing};

use super::encoding::{Reading, UNTRUSTED, encode, take};
use super::signature::Signature;
use super::{ED25519, Error, KeyId, Prehash, PublicKey};

const LENGTH: usize = 158;
const KIND: &str = "secret key";
/// The key derivation of a sealed key: scrypt (libsodium's salsa208sha256).
const SCRYPT: [u8; 2] = *b"Sc";
/// No key derivation: the key is not sealed.
const NONE: [u8; 2] = [0, 0];
/// The checksum: BLAKE2b-256.
const BLAKE2B: [u8; 2] = *b"B2";

/// Length in bytes of the part that a passphrase seals: id, seed with public key, and checksum.
const BODY: usize = 8 + 64 + 32;

/// A key that signs. `Debug` shows only its id, and its memory is cleared on drop.
pub struct SecretKey {
    id: KeyId,
    key: SigningKey,
}

/// Content of a secret key file.
#[derive(Debug)]
pub enum Secret {
    /// Sealed with a passphrase.
    Locked(Locked),
    /// Not sealed.
    Open(SecretKey),
}

/// A secret key that is still sealed with its passphrase.
pub struct Locked {
    subject: String,
    salt: [u8; 32],
    limits: Limits,
    /// Sealed, so it need not be cleared.
    body: [u8; BODY],
}

/// scrypt's cost, as libsodium's `crypto_pwhash_scryptsalsa208sha256` counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Number of Salsa20/8 core calls.
    pub operations: u64,
    /// Memory in bytes.
    pub memory: u64,
}

impl Limits {
    /// `…_OPSLIMIT_SENSITIVE` and `…_MEMLIMIT_SENSITIVE`, the limits with which minisign seals keys. minisign uses
    /// lower ones only on machines that lack the memory, and never higher ones, so a file that asks for more was not
    /// made by minisign.
    pub(crate) const SENSITIVE: Limits = Limits { operations: 1 << 25, memory: 1 << 30 };
    /// libsodium counts at least this many operations.
    const LEAST_OPERATIONS: u64 = 1 << 15;
    /// scrypt's block size r in libsodium.
    const BLOCK: u64 = 8;

    /// scrypt's logarithm of N, and p, as libsodium's `pickparams` finds them.
    pub(crate) fn parameters(self) -> (u8, u32) {
        let operations = self.operations.max(Self::LEAST_OPERATIONS);
        let is_short = operations < self.memory / 32;
        let most = if is_short { operations / (Self::BLOCK * 4) } else { self.memory / (Self::BLOCK * 128) };
        let log_n = (1..63).find(|log| 1 << log > most / 2).unwrap_or(63);
        let lanes = if is_short { 1 } else { ((operations / 4) >> log_n).min(0x3fff_ffff) / Self::BLOCK };
        (log_n, lanes as u32)
    }

    /// Memory that scrypt needs, in bytes.
    fn memory(self) -> u64 {
        (128 * Self::BLOCK) << self.parameters().0
    }

    /// The key stream that is XORed over the body.
    fn pad(self, subject: &str, passphrase: &str, salt: &[u8; 32]) -> Result<Zeroizing<[u8; BODY]>, Error> {
        let (log_n, lanes) = self.parameters();
        let memory = self.memory();
        // Checked here, because scrypt would abort the process.
        if Vec::<u8>::new().try_reserve_exact(memory as usize).is_err() {
            return Err(Error::Memory { subject: subject.into(), memory });
        }
        let reading = Reading { subject, kind: KIND };
        let odd = || reading.bad("its scrypt limits for the passphrase are invalid");
        let parameters = scrypt::Params::new(log_n, Self::BLOCK as u32, lanes).map_err(|_| odd())?;
        let mut pad = Zeroizing::new([0; BODY]);
        scrypt::scrypt(passphrase.as_bytes(), salt, &parameters, &mut *pad).map_err(|_| odd())?;
        Ok(pad)
    }
}

impl SecretKey {
    /// Makes a key from the operating system's random numbers.
    pub fn generate() -> Result<Self, Error> {
        let (mut id, mut seed) = ([0; 8], Zeroizing::new([0; 32]));
        random(&mut id)?;
        random(&mut *seed)?;
        Ok(SecretKey { id: KeyId(id), key: SigningKey::from_bytes(&seed) })
    }

    /// Reads a secret key file, or its line of base64 alone.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Algorithm`], [`Error::Bomb`], [`Error::Damaged`].
    pub fn parse(subject: &str, text: &str) -> Result<Secret, Error> {
        let reading = Reading { subject, kind: KIND };
        let bytes = reading.decode::<LENGTH>(reading.key_line(text)?)?;
        reading.must_be_ed25519(&*bytes)?;
        let mut rest = &bytes[2..];
        let derivation = take::<2>(&mut rest);
        if take::<2>(&mut rest) != BLAKE2B {
            return Err(reading.bad("its checksum is not BLAKE2b"));
        }
        let salt = take::<32>(&mut rest);
        let [operations, memory] = [take(&mut rest), take(&mut rest)].map(u64::from_le_bytes);
        let most = Limits::SENSITIVE;
        match derivation {
            SCRYPT if operations > most.operations || memory > most.memory => {
                Err(Error::Bomb { subject: subject.into(), memory, operations })
            }
            SCRYPT => {
                let limits = Limits { operations, memory };
                Ok(Secret::Locked(Locked { subject: subject.into(), salt, limits, body: take(&mut rest) }))
            }
            NONE => {
                let body = Zeroizing::new(take::<BODY>(&mut rest));
                // `minisign -W` writes no checksum into a key that it does not seal.
                let (_, checksum) = body.split_at(BODY - 32);
                if checksum.iter().any(|byte| *byte != 0) && !is_whole(&body) {
                    return Err(Error::Damaged { subject: subject.into(), what: "checksum does not match" });
                }
                Ok(Secret::Open(SecretKey::from_body(subject, &body)?))
            }
            _ => Err(reading.bad("its passphrase uses another function than scrypt")),
        }
    }

    fn from_body(subject: &str, body: &[u8; BODY]) -> Result<Self, Error> {
        let mut rest = &body[..];
        let id = KeyId(take(&mut rest));
        let pair = Zeroizing::new(take::<64>(&mut rest));
        let key = SigningKey::from_keypair_bytes(&pair).map_err(|_| Error::Damaged {
            subject: subject.into(),
            what: "public half does not match its secret half",
        })?;
        Ok(SecretKey { id, key })
    }

    /// The id by which its signatures name it.
    pub(crate) fn id(&self) -> KeyId {
        self.id
    }

    /// The public key, which verifies its signatures.
    pub fn public(&self) -> PublicKey {
        PublicKey::new(self.id, &self.key.verifying_key())
    }

    /// The secret key file, sealed if a passphrase is given. Sealing takes 1 GiB of memory and some seconds.
    pub fn to_file(&self, passphrase: Option<&str>) -> Result<Zeroizing<String>, Error> {
        self.sealed(passphrase.map(|passphrase| (passphrase, Limits::SENSITIVE)))
    }

    pub(super) fn sealed(&self, seal: Option<(&str, Limits)>) -> Result<Zeroizing<String>, Error> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        let (head, body) = bytes.split_at_mut(LENGTH - BODY);
        body[..8].copy_from_slice(&self.id.0);
        let mut pair = self.key.to_keypair_bytes();
        body[8..72].copy_from_slice(&pair);
        pair.zeroize();
        let checksum = checksum(body);
        body[72..].copy_from_slice(&checksum);
        head[..2].copy_from_slice(&ED25519);
        head[4..6].copy_from_slice(&BLAKE2B);
        let mut comment = "minisign secret key";
        if let Some((passphrase, limits)) = seal {
            comment = "minisign encrypted secret key";
            let mut salt = [0; 32];
            random(&mut salt)?;
            cover(body, &*limits.pad("the new key", passphrase, &salt)?);
            head[2..4].copy_from_slice(&SCRYPT);
            head[6..38].copy_from_slice(&salt);
            head[38..46].copy_from_slice(&limits.operations.to_le_bytes());
            head[46..].copy_from_slice(&limits.memory.to_le_bytes());
        }
        let line = Zeroizing::new(encode(&*bytes));
        Ok(Zeroizing::new(format!("{UNTRUSTED}{comment}\n{}\n", *line)))
    }

    /// Signs bytes. The same key, bytes and comment give the same signature each time; control characters in the
    /// comment are escaped.
    pub(crate) fn sign(&self, message: &[u8], trusted_comment: &str) -> Signature {
        self.sign_prehash(&Prehash::of(message), trusted_comment)
    }

    /// Signs bytes as they are, for envelopes other than minisign's. Callers must give `message` a prefix that no other
    /// message signed with this key can have.
    pub(crate) fn sign_bare(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// Signs a message of which only the digest is available.
    pub(crate) fn sign_prehash(&self, prehash: &Prehash, trusted_comment: &str) -> Signature {
        Signature::new(self.id, trusted_comment, &prehash.0, |bytes| self.key.sign(bytes).to_bytes())
    }
}

impl Locked {
    /// Unlocks the key. That takes up to 1 GiB of memory and some seconds.
    ///
    /// # Errors
    /// [`Error::Passphrase`] for a wrong passphrase or a damaged file: nobody can tell the two apart.
    pub(crate) fn unlock(&self, passphrase: &str) -> Result<SecretKey, Error> {
        let mut body = Zeroizing::new(self.body);
        cover(&mut *body, &*self.limits.pad(&self.subject, passphrase, &self.salt)?);
        match is_whole(&body) {
            true => SecretKey::from_body(&self.subject, &body),
            false => Err(Error::Passphrase { subject: self.subject.clone() }),
        }
    }

    /// Memory needed for unlocking, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.limits.memory()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.id)
    }
}

impl fmt::Debug for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locked({})", self.subject)
    }
}

fn random(bytes: &mut [u8]) -> Result<(), Error> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| Error::NoRandomness)
}

fn cover(body: &mut [u8], pad: &[u8; BODY]) {
    body.iter_mut().zip(pad).for_each(|(byte, pad)| *byte ^= pad);
}

/// The BLAKE2b-256 digest of the algorithm, the id and both halves of the key.
fn checksum(body: &[u8]) -> [u8; 32] {
    Blake2b256::new().chain_update(ED25519).chain_update(&body[..72]).finalize().into()
}

fn is_whole(body: &[u8; BODY]) -> bool {
    verify_slices_are_equal(&checksum(body), &body[72..]).is_ok()
}
