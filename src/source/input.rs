//! An input that was fetched and judged: its URL, digests and signer.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::base::canonical::rfc3339;
use crate::base::digest::{Object, Sha256, Sha512};

/// One locked input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Canonical URL.
    pub url: String,
    /// Length in bytes.
    pub size: u64,
    /// Digest; also the object's name in the store.
    pub sha256: Sha256,
    /// Where its publisher offered the SHA-256, for what nobody signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256_url: Option<String>,
    /// SHA-512, where the signature's pass yielded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha512: Option<Sha512>,
    /// Fingerprint of the signing key, where a signature was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// When it was signed, RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339")]
    pub signed: Option<SystemTime>,
}

impl Entry {
    /// An object that was fetched from a canonical URL, and that nobody signed.
    pub fn plain(url: &str, object: Object) -> Self {
        let Object { sha256, size } = object;
        Entry { url: url.into(), size, sha256, sha256_url: None, sha512: None, signer: None, signed: None }
    }

    /// The object in the store.
    pub fn object(&self) -> Object {
        Object { sha256: self.sha256, size: self.size }
    }
}
