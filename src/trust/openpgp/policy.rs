//! Which signatures count at all, whatever they are of: how they were hashed, and whether all that they call critical is
//! understood.
//!
//! RFC 9580 §9.5 forbids to believe what depends on MD5, SHA-1 or RIPEMD-160, and chosen-prefix collisions of SHA-1 are
//! bought (Sequoia's StandardPolicy refuses them in every signature; gpg 2.2 takes them for a key's own). Revocations are not
//! asked: one that is honoured too easily costs a signature, one that is passed over costs the machine.

use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SubpacketData};

/// What may be signed with.
const STRONG: [HashAlgorithm; 3] = [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];

/// Whether its hash algorithm withstands who wants two documents with one digest.
pub(super) fn is_strong(signature: &Signature) -> bool {
    signature.hash_alg().is_some_and(|hash| STRONG.contains(&hash))
}

/// Whether everything in it is understood that its maker says must be (RFC 9580 §5.2.3.7), in its unhashed part, too, as in
/// gpg.
pub(super) fn is_understood(signature: &Signature) -> bool {
    let Some(config) = signature.config() else { return false };
    let all = config.hashed_subpackets().chain(config.unhashed_subpackets());
    all.filter(|subpacket| subpacket.is_critical).all(|subpacket| understands(&subpacket.data))
}

/// What is heeded here, and what says nothing of whether a detached signature holds. All else, and each notation, is not
/// understood.
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
            // Of users, key servers and those who encrypt.
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

/// Whether a signature by a key about itself or its subkeys is believed, provided that it verifies.
pub(super) fn is_believed(signature: &Signature) -> bool {
    is_strong(signature) && is_understood(signature)
}
