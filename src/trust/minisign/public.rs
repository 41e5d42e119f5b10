//! Public keys: the algorithm, the id and the point, 42 bytes in all.

use std::fmt;

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::encoding::{Reading, UNTRUSTED, encode, take};
use super::{ED25519, Error, KeyId};

const LENGTH: usize = 42;
const KIND: &str = "public key";

/// A key that verifies signatures.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    id: KeyId,
    point: [u8; 32],
}

impl PublicKey {
    /// Reads a `.pub` file, or its line of base64 alone, as `minisign -P` takes it.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Algorithm`], and [`Error::WeakKey`] for a point of small order.
    pub fn parse(subject: &str, text: &str) -> Result<Self, Error> {
        let reading = Reading { subject, kind: KIND };
        let bytes = reading.decode::<LENGTH>(reading.key_line(text)?)?;
        reading.must_be_ed25519(&*bytes)?;
        let mut rest = &bytes[2..];
        let key = PublicKey { id: KeyId(take(&mut rest)), point: take(&mut rest) };
        match VerifyingKey::from_bytes(&key.point) {
            Ok(point) if !point.is_weak() => Ok(key),
            _ => Err(Error::WeakKey { subject: subject.into(), id: key.id }),
        }
    }

    pub(super) fn new(id: KeyId, point: &VerifyingKey) -> Self {
        PublicKey { id, point: point.to_bytes() }
    }

    /// The id by which signatures name this key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The key itself. Two keys with the same point are the same key, even if their ids differ.
    pub fn point(&self) -> &[u8; 32] {
        &self.point
    }

    /// The `.pub` file, as minisign writes it.
    pub fn to_file(&self) -> String {
        format!("{UNTRUSTED}minisign public key {}\n{self}\n", self.id)
    }

    /// Whether the key made this bare signature over these bytes.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        // Strict, as in libsodium: points of small order and second encodings of a signature are refused.
        VerifyingKey::from_bytes(&self.point).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

/// Prints the line of base64.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; LENGTH];
        bytes[..2].copy_from_slice(&ED25519);
        bytes[2..10].copy_from_slice(&self.id.0);
        bytes[10..].copy_from_slice(&self.point);
        f.write_str(&encode(&bytes))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        PublicKey::parse("it", &text).map_err(serde::de::Error::custom)
    }
}
