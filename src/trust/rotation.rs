//! "This key follows me", signed by the old key.

use serde::{Deserialize, Serialize};

use super::signers::Error;
use crate::base::canonical::canonical_json;
use crate::base::words;
use crate::trust::minisign::{MAX_BYTES, PublicKey, SUFFIX, SecretKey, Signature};

/// Version of the format.
const SCHEMA: u32 = 1;
/// Kind of the statement, so that it cannot pass for anything else that a key signs.
const KIND: &str = "prebake key rotation";

/// A statement by an old key that names the new key, with its signature. The signature is verified; whether anybody
/// trusts the old key is not.
#[derive(Clone, Debug)]
pub struct Rotation {
    statement: Statement,
    signature: Signature,
}

/// The signed document, as canonical JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    schema: u32,
    kind: String,
    old: PublicKey,
    new: PublicKey,
}

impl Statement {
    /// `OLD-NEW.rotation.json`, by key ids.
    fn file_name(&self) -> String {
        format!("{}-{}.rotation.json", self.old.id(), self.new.id())
    }
}

impl Rotation {
    /// Lets the old key sign that another key follows it. The same keys give the same bytes each time.
    ///
    /// # Errors
    /// [`Error::Rotation`] if both are the same key.
    pub fn sign(old: &SecretKey, new: &PublicKey) -> Result<Self, Error> {
        let statement = Statement { schema: SCHEMA, kind: KIND.into(), old: old.public(), new: new.clone() };
        let name = statement.file_name();
        must_differ(&name, &statement)?;
        let comment = format!("file:{name}\thashed");
        let signature = old.sign(&canonical_json(&statement), &comment);
        Ok(Rotation { statement, signature })
    }

    /// Reads a statement and its `.minisig`, which must be by the old key that the statement names.
    ///
    /// # Errors
    /// [`Error::Rotation`] if it is something else or not in canonical form, [`Error::UnsignedRotation`].
    pub fn parse(subject: &str, statement: &[u8], signature: &[u8]) -> Result<Self, Error> {
        let bad = |why: &str| Error::Rotation { subject: subject.into(), why: why.into() };
        if statement.len() > MAX_BYTES {
            return Err(bad("it is too long"));
        }
        let read: Statement =
            serde_json::from_slice(statement).map_err(|error| bad(&words::of_serde(&error)))?;
        if (read.schema, &*read.kind) != (SCHEMA, KIND) {
            return Err(bad(&format!("it is `{}` of schema {}", read.kind.escape_debug(), read.schema)));
        }
        must_differ(subject, &read)?;
        if canonical_json(&read) != statement {
            return Err(bad("it is not in canonical form, so it was changed"));
        }
        let unsigned = |source| Error::UnsignedRotation { subject: subject.into(), source };
        let signature =
            Signature::parse_commented(&format!("{subject}{SUFFIX}"), signature).map_err(unsigned)?;
        signature.verify(&read.old, statement).map_err(unsigned)?;
        Ok(Rotation { statement: read, signature })
    }

    /// The key that signed.
    pub(crate) fn old_key(&self) -> &PublicKey {
        &self.statement.old
    }

    /// The key that follows it.
    pub(crate) fn new_key(&self) -> &PublicKey {
        &self.statement.new
    }

    /// The file name under which it is stored: `OLD-NEW.rotation.json`, by key ids. The signature's name is this plus
    /// `.minisig`.
    pub(crate) fn file_name(&self) -> String {
        self.statement.file_name()
    }

    /// Bytes of the statement's file.
    pub fn statement(&self) -> Vec<u8> {
        canonical_json(&self.statement)
    }

    /// The old key's signature over it.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }
}

fn must_differ(subject: &str, statement: &Statement) -> Result<(), Error> {
    match statement.old.point() == statement.new.point() {
        true => Err(Error::Rotation { subject: subject.into(), why: "both keys are the same".into() }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotation() -> (Rotation, SecretKey) {
        let [old, new] = [SecretKey::generate().unwrap(), SecretKey::generate().unwrap()];
        (Rotation::sign(&old, &new.public()).unwrap(), old)
    }

    #[test]
    fn a_rotation_is_read_again_and_made_again_with_the_same_bytes() {
        let (made, old) = rotation();
        let (statement, signature) = (made.statement(), made.signature().to_bytes());
        let read = Rotation::parse("r.json", &statement, &signature).unwrap();
        assert_eq!((read.old_key(), read.new_key()), (made.old_key(), made.new_key()));
        let again = Rotation::sign(&old, made.new_key()).unwrap();
        assert_eq!((again.statement(), again.signature().to_bytes()), (statement, signature));
    }

    #[test]
    fn a_changed_byte_of_the_statement_or_the_signature_is_found() {
        let (made, _) = rotation();
        let (statement, signature) = (made.statement(), made.signature().to_bytes());
        for at in 0..statement.len() {
            let mut changed = statement.clone();
            changed[at] ^= 1;
            assert!(Rotation::parse("r.json", &changed, &signature).is_err(), "byte {at}");
        }
        // The untrusted comment is not signed.
        let from = signature.iter().position(|byte| *byte == b'\n').unwrap();
        for at in from..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert!(Rotation::parse("r.json", &statement, &changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn another_key_cannot_rotate_for_the_old_one() {
        let (made, _) = rotation();
        let thief = SecretKey::generate().unwrap();
        let signature = thief.sign(&made.statement(), "").to_bytes();
        let error = Rotation::parse("r.json", &made.statement(), &signature).unwrap_err();
        assert!(matches!(error, Error::UnsignedRotation { .. }), "{error}");
    }

    #[test]
    fn other_signed_documents_and_other_spellings_are_no_rotations() {
        let (made, old) = rotation();
        let text = String::from_utf8(made.statement()).unwrap();
        for other in [
            text.replace(KIND, "prebake bundle"),
            text.replace("\"schema\": 1", "\"schema\": 2"),
            text.replace("{\n", "{\n  \"also\": 1,\n"),
            text.replace("\n", "\r\n"),
            text.replace(&made.new_key().to_string(), &made.old_key().to_string()),
            "{}\n".into(),
        ] {
            assert_ne!(other, text);
            let signature = old.sign(other.as_bytes(), "").to_bytes();
            let error = Rotation::parse("r.json", other.as_bytes(), &signature).unwrap_err();
            assert!(matches!(error, Error::Rotation { .. }), "{error}");
        }
    }

    #[test]
    fn a_key_cannot_follow_itself() {
        let key = SecretKey::generate().unwrap();
        assert!(matches!(Rotation::sign(&key, &key.public()), Err(Error::Rotation { .. })));
    }
}
