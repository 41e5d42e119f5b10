//! Digests, and an object in the store: a digest and a length.

use serde::{Deserialize, Serialize};

use crate::base::disk::Error;
pub use prebake_text::digest::{Digest, Hashing, Sha256, Sha512};

/// An object in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// The digest, which is also the object's name.
    pub sha256: Sha256,
    /// Length of the object, in bytes.
    pub size: u64,
}

impl Object {
    /// The object that bytes in memory would be.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Object { sha256: Sha256::of(bytes), size: bytes.len() as u64 }
    }

    /// Fails if `subject`, whose object this is, differs from the expected one; the error names the difference.
    pub(crate) fn must_be(&self, subject: &str, expected: &Object) -> Result<(), Error> {
        let differs = |what, found: String, expected: String| {
            Err(Error::Differs { subject: subject.into(), what, found, expected })
        };
        match () {
            _ if self.size != expected.size => {
                differs("size", self.size.to_string(), expected.size.to_string())
            }
            _ if self.sha256 != expected.sha256 => {
                differs("sha256", self.sha256.to_string(), expected.sha256.to_string())
            }
            _ => Ok(()),
        }
    }
}
