//! Rules for every signature, over data or over keys: its hash must be strong, and everything it marks critical must be
//! understood.
//!
//! RFC 9580 §9.5 forbids trusting signatures that depend on MD5, SHA-1 or RIPEMD-160, and chosen-prefix collisions of
//! SHA-1 are affordable (Sequoia's StandardPolicy refuses them in every signature; gpg 2.2 accepts them in a key's
//! own). Revocations are exempt: honouring one too easily costs a signature, ignoring one costs the machine.

use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SubpacketData};

/// Accepted hash algorithms.
const STRONG: [HashAlgorithm; 3] = [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];

/// Whether its hash algorithm withstands an attacker who wants two documents with one digest.
pub(super) fn is_strong(signature: &Signature) -> bool {
    signature.hash_alg().is_some_and(|hash| STRONG.contains(&hash))
}

/// Whether prebake understands every subpacket that the signer marked as critical (RFC 9580 §5.2.3.7), in the unhashed
/// part too, as gpg does.
pub(super) fn is_understood(signature: &Signature) -> bool {
    let Some(config) = signature.config() else { return false };
    let all = config.hashed_subpackets().chain(config.unhashed_subpackets());
    all.filter(|subpacket| subpacket.is_critical).all(|subpacket| understands(&subpacket.data))
}

/// Subpackets that prebake evaluates, or that do not affect whether a detached signature is valid. All others, and
/// every notation, are not understood.
fn understands(data: &SubpacketData) -> bool {
    use SubpacketData as Data;
    matches!(
        data,
        Data::SignatureCreationTime(_)
            | Data::SignatureExpirationTime(_)
            | Data::KeyExpirationTime(_)
            | Data::KeyFlags(_)
            | Data::EmbeddedSignature(_)
            | Data::IssuerKeyId(_)
            | Data::IssuerFingerprint(_)
            | Data::RevocationReason(..)
            // These concern users, key servers and senders of encrypted mail.
            | Data::IsPrimary(_)
            | Data::SignersUserID(_)
            | Data::PolicyURI(_)
            | Data::ExportableCertification(_)
            | Data::Revocable(_)
            | Data::KeyServerPreferences(_)
            | Data::PreferredKeyServer(_)
            | Data::Features(_)
            | Data::PreferredSymmetricAlgorithms(_)
            | Data::PreferredHashAlgorithms(_)
            | Data::PreferredCompressionAlgorithms(_)
            | Data::PreferredEncryptionModes(_)
            | Data::PreferredAeadAlgorithms(_)
    )
}

/// Whether a key's signature over itself or its subkeys is believed, provided that it verifies.
pub(super) fn is_believed(signature: &Signature) -> bool {
    is_strong(signature) && is_understood(signature)
}
