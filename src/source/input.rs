//! An input that was fetched and judged: its URL, digests and signer.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::base::canonical::rfc3339;
use crate::base::digest::{Object, Sha256, Sha512};

/// One locked input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Canonical URL, never a mirror's.
    pub url: String,
    /// Length of the input, in bytes.
    pub size: u64,
    /// SHA-256 of the bytes; also the object's name in the store.
    pub sha256: Sha256,
    /// URL of the publisher's SHA-256, for an input without a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256_url: Option<String>,
    /// SHA-512, where the check of the signature computed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha512: Option<Sha512>,
    /// Fingerprint of the signing key, where a signature was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// Time of the signature, RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339")]
    pub signed: Option<SystemTime>,
}

impl Entry {
    /// An entry for an object from a canonical URL, without a signature.
    pub(crate) fn plain(url: &str, object: Object) -> Self {
        let Object { sha256, size } = object;
        Entry { url: url.into(), size, sha256, sha256_url: None, sha512: None, signer: None, signed: None }
    }

    /// The object in the store.
    pub(crate) fn object(&self) -> Object {
        Object { sha256: self.sha256, size: self.size }
    }
}
