//! DSSE envelopes: a payload, its type, and Ed25519 signatures over both (<https://github.com/secure-systems-lab/dsse>).
//!
//! The keys are minisign's, and `keyid` is the key's id as minisign prints it. The signed bytes begin with `DSSEv1 `,
//! so they cannot be mistaken for a digest or comment that minisign signs, and one key may do both. Every byte of an
//! envelope is checked: it must have exactly the form that prebake writes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::base::canonical::canonical_json;
use crate::base::words;
use crate::trust::minisign::{KeyId, SecretKey};
use crate::trust::rotation::Rotation;
use crate::trust::signers::{self, Proof, Trust};

/// The type of in-toto statements.
pub(crate) const IN_TOTO: &str = "application/vnd.in-toto+json";
/// Upper limit for an envelope, in bytes. A statement has some hundred bytes for each file of a tree.
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// A signed payload.
#[derive(Debug)]
pub struct Envelope {
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

/// One signer's signature.
#[derive(Debug)]
struct Signature {
    key: KeyId,
    signature: [u8; 64],
}

/// JSON form of an envelope.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    payload: String,
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    keyid: String,
    sig: String,
}

/// Pre-authentication encoding: lengths are signed too, so no two pairs of type and payload have one encoding.
fn pae(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {IN_TOTO} {} ", IN_TOTO.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

impl Envelope {
    /// Signs a payload, an in-toto statement. Ed25519 has no randomness: the same keys give the same envelope.
    pub fn sign(payload: &[u8], keys: &[SecretKey]) -> Self {
        let message = pae(payload);
        let sign = |key: &SecretKey| Signature { key: key.id(), signature: key.sign_bare(&message) };
        Envelope { payload: payload.to_vec(), signatures: keys.iter().map(sign).collect() }
    }

    /// The file's bytes: canonical JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let signature = |signature: &Signature| WireSignature {
            keyid: signature.key.to_string(),
            sig: STANDARD.encode(signature.signature),
        };
        canonical_json(&Wire {
            payload: STANDARD.encode(&self.payload),
            payload_type: IN_TOTO.into(),
            signatures: self.signatures.iter().map(signature).collect(),
        })
    }

    /// Reads an envelope.
    ///
    /// # Errors
    /// A description of the fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAX_BYTES {
            return Err(format!("it is longer than {MAX_BYTES} bytes"));
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(|error| words::of_serde(&error))?;
        if wire.payload_type != IN_TOTO {
            return Err(format!("its payload is `{}`, not `{IN_TOTO}`", wire.payload_type));
        }
        let payload = STANDARD.decode(&wire.payload).map_err(|error| format!("its payload: {error}"))?;
        let signature = |wire: &WireSignature| {
            let key = u64::from_str_radix(&wire.keyid, 16).ok()?;
            let signature = STANDARD.decode(&wire.sig).ok()?.try_into().ok()?;
            Some(Signature { key: KeyId(key.to_le_bytes()), signature })
        };
        let signatures: Option<Vec<Signature>> = wire.signatures.iter().map(signature).collect();
        let signatures = signatures.ok_or("a signature is not an Ed25519 signature by a minisign key")?;
        let envelope = Envelope { payload, signatures };
        match envelope.to_bytes() == bytes {
            true => Ok(envelope),
            false => Err("it is not in prebake's canonical form".into()),
        }
    }

    /// Returns the payload if enough trusted keys signed it; `subject` names the envelope in errors.
    pub(crate) fn judge(
        &self,
        subject: &str,
        trust: &Trust,
        rotations: &[Rotation],
    ) -> Result<(Proof, &[u8]), signers::Error> {
        let message = pae(&self.payload);
        let signatures: Vec<(KeyId, [u8; 64])> =
            self.signatures.iter().map(|signature| (signature.key, signature.signature)).collect();
        let proof = trust.judge_bare(subject, &message, &signatures, rotations)?;
        Ok((proof, &self.payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_that_is_signed_tells_lengths() {
        assert_eq!(pae(b"hello world"), b"DSSEv1 28 application/vnd.in-toto+json 11 hello world");
    }

    #[test]
    fn an_envelope_of_another_type_or_spelling_is_refused() {
        let key = [SecretKey::generate().unwrap()];
        let text = String::from_utf8(Envelope::sign(b"{}", &key).to_bytes()).unwrap();
        assert!(Envelope::parse(text.as_bytes()).is_ok());
        for (from, to) in
            [(IN_TOTO, "text/plain"), ("\n", "\n\n"), ("keyid", "key"), ("\"sig\": \"", "\"sig\": \"AAAA")]
        {
            assert!(Envelope::parse(text.replacen(from, to, 1).as_bytes()).is_err(), "{from} → {to}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Envelope::parse(&bytes);
        }
    }
}
