//! Decides whether enough trusted keys signed a message: which keys, how many of them, and the keys that followed them.
//!
//! Owns the verdict over the signatures of one message. Leaves the bytes of keys and signatures to `minisign`, a site's
//! stored trusted keys to `bundle`, and the naming of keys on the command line to `cli`.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::count::counted;
use crate::base::error::{Advice, Exit};
use crate::trust::minisign::{self, KeyId, Prehash, PublicKey, Signature};
use crate::trust::rotation::Rotation;

/// Most keys, signatures or rotations that are examined: far more than people keep, few enough to judge at once.
pub(crate) const MOST: usize = 64;

/// Keys, and how many of them must have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    keys: BTreeSet<PublicKey>,
    threshold: usize,
}

/// Proof that enough trusted keys signed a message. Only [`Trust::judge`] makes one.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The trusted keys that signed, sorted, each once.
    pub signers: Vec<PublicKey>,
    /// The keys to trust from now on, sorted: the given ones, each replaced by the key that it was rotated to.
    pub keys: Vec<PublicKey>,
    _judged: Judged,
}

/// Keeps other modules from making a [`Proof`].
#[derive(Clone, Debug)]
struct Judged;

/// Reasons why signatures are not sufficient.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No key is trusted, or the threshold exceeds the number of keys.
    #[error("a threshold of {threshold} is impossible with {}", counted(*keys, "trusted key"))]
    Threshold {
        /// Number of keys that must sign.
        threshold: usize,
        /// Number of trusted keys.
        keys: usize,
    },
    /// More signatures or rotations than [`MOST`].
    #[error("{subject} has {found} {what}; at most {MOST} are examined")]
    TooMany {
        /// Name of the signed message.
        subject: String,
        /// The items that are too many, in words.
        what: &'static str,
        /// Number of such items.
        found: usize,
    },
    /// No signature at all.
    #[error("{subject} is not signed; {} required", wanted(*threshold, keys))]
    Unsigned {
        /// Name of the signed message.
        subject: String,
        /// Number of keys that must sign.
        threshold: usize,
        /// Keys whose signatures count.
        keys: Vec<KeyId>,
    },
    /// Too few trusted keys signed.
    #[error("{subject} is signed by {}; {} required, {}", signed(signers, strangers), wanted(*threshold, keys), more(*missing))]
    TooFew {
        /// Name of the signed message.
        subject: String,
        /// Number of keys that must sign.
        threshold: usize,
        /// Number of signatures that are missing.
        missing: usize,
        /// Keys whose signatures count.
        keys: Vec<KeyId>,
        /// Trusted keys that signed.
        signers: Vec<KeyId>,
        /// Keys that signed and are not trusted, or no longer trusted.
        strangers: Vec<KeyId>,
    },
    /// A signature that bears the id of a trusted key does not match.
    #[error("{subject} has an invalid signature")]
    Signature {
        /// Name of the signed message.
        subject: String,
        /// Names the signature and its defect.
        source: minisign::Error,
    },
    /// The file is no statement that a key follows another.
    #[error("{subject} is not a rotation of keys: {why}")]
    Rotation {
        /// Path or name of the statement's file.
        subject: String,
        /// The problem, in words.
        why: String,
    },
    /// The old key did not sign its rotation.
    #[error("{subject} is not signed by the key that it replaces")]
    UnsignedRotation {
        /// Path or name of the statement's file.
        subject: String,
        /// The signature's defect.
        source: minisign::Error,
    },
    /// A key was rotated to two different keys.
    #[error("{subject} has two rotations of the key {old}, to {first} and to {second}")]
    Forked {
        /// Name of the signed message.
        subject: String,
        /// The key that was rotated twice.
        old: KeyId,
        /// One of its successors.
        first: KeyId,
        /// Its other successor.
        second: KeyId,
    },
    /// Rotations that form a cycle.
    #[error("{subject} has rotations that lead from the key {key} back to itself")]
    Loop {
        /// Name of the signed message.
        subject: String,
        /// A trusted key in the cycle.
        key: KeyId,
    },
}

/// `A`, `one of A, B` or `2 of A, B, C`, with the verb.
fn wanted(threshold: usize, keys: &[KeyId]) -> String {
    match (threshold, keys) {
        (1, [key]) => format!("{key} is"),
        (1, _) => format!("one of {} is", list(keys)),
        (_, _) => format!("{threshold} of {} are", list(keys)),
    }
}

fn signed(signers: &[KeyId], strangers: &[KeyId]) -> String {
    match (signers, strangers) {
        (_, []) => list(signers),
        ([], _) => format!("{}, not trusted", list(strangers)),
        (_, _) => format!("{} (and by {}, not trusted)", list(signers), list(strangers)),
    }
}

fn more(missing: usize) -> String {
    let verb = if missing == 1 { "is" } else { "are" };
    format!("{missing} more {verb} missing")
}

fn list(keys: &[KeyId]) -> String {
    keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ")
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Threshold { .. } => Exit::Usage,
            _ => Exit::Trust,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Threshold { .. } => {
                "name each trusted key, and a threshold that is not above their number"
            }
            Error::TooMany { .. } | Error::Rotation { .. } => return None,
            Error::Unsigned { .. } => "get it from its signer, with the signatures beside it",
            Error::TooFew { strangers, .. } if strangers.is_empty() => {
                "have one of the other keys sign it too"
            }
            Error::TooFew { .. } => {
                "if a trusted key was replaced, its rotation must be included; \
                 trust another key only if you know its owner from another source"
            }
            Error::Signature { .. } => "get it again, with its signatures; one of them was changed",
            Error::UnsignedRotation { .. } => "make it again with `prebake key rotate`, or do not use it",
            Error::Forked { .. } | Error::Loop { .. } => {
                "somebody else may have the old key: ask its owner for the successor, and trust that key explicitly"
            }
        };
        Some(hint.into())
    }
}

impl Trust {
    /// Trusts these keys, `threshold` of which must have signed. The same key under two ids counts once.
    ///
    /// # Errors
    /// [`Error::Threshold`] if it is 0, or greater than the number of keys.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>, threshold: usize) -> Result<Self, Error> {
        let keys: BTreeSet<PublicKey> = keys.into_iter().collect();
        let distinct = keys.iter().map(PublicKey::point).collect::<BTreeSet<_>>().len();
        match threshold {
            _ if distinct > MOST => {
                Err(Error::TooMany { subject: "the trust".into(), what: "keys", found: distinct })
            }
            0 => Err(Error::Threshold { threshold, keys: distinct }),
            _ if threshold > distinct => Err(Error::Threshold { threshold, keys: distinct }),
            _ => Ok(Trust { keys, threshold }),
        }
    }

    /// The trusted keys, sorted.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter()
    }

    /// Number of keys that must have signed.
    pub(crate) fn threshold(&self) -> usize {
        self.threshold
    }

    /// Checks whether enough trusted keys, or their successors by rotation, signed a message.
    ///
    /// A key that was rotated away no longer counts. Rotations of keys that are not trusted are ignored, because a
    /// bundle carries all rotations there ever were. Signatures by others are ignored too, but a signature with the id
    /// of a trusted key must be good.
    ///
    /// # Errors
    /// All of [`enum@Error`] except those of making a [`Trust`] or a [`Rotation`].
    pub(crate) fn judge(
        &self,
        subject: &str,
        message: &[u8],
        signatures: &[Signature],
        rotations: &[Rotation],
    ) -> Result<Proof, Error> {
        // Signatures of the usual kind all cover the same digest.
        let prehash = Prehash::of(message);
        let verify = |signature: &Signature, key: &PublicKey| match signature.is_legacy() {
            true => signature.verify(key, message),
            false => signature.verify_prehash(key, &prehash),
        };
        self.judge_by(subject, signatures, Signature::key_id, rotations, verify)
    }

    /// Like [`Trust::judge`], for signatures over the bytes themselves, in another envelope than minisign's.
    pub(crate) fn judge_bare(
        &self,
        subject: &str,
        message: &[u8],
        signatures: &[(KeyId, [u8; 64])],
        rotations: &[Rotation],
    ) -> Result<Proof, Error> {
        let verify = |(signer, signature): &(KeyId, [u8; 64]), key: &PublicKey| match key
            .has_signed(message, signature)
        {
            true => Ok(()),
            false => Err(minisign::Error::Mismatch { subject: subject.into(), signer: *signer }),
        };
        self.judge_by(subject, signatures, |(signer, _)| *signer, rotations, verify)
    }

    /// Like [`Trust::judge`], if only the message's digest is available. Legacy signatures cannot be judged by it.
    pub(crate) fn judge_prehash(
        &self,
        subject: &str,
        prehash: &Prehash,
        signatures: &[Signature],
        rotations: &[Rotation],
    ) -> Result<Proof, Error> {
        let verify = |signature: &Signature, key: &PublicKey| signature.verify_prehash(key, prehash);
        self.judge_by(subject, signatures, Signature::key_id, rotations, verify)
    }

    fn judge_by<S>(
        &self,
        subject: &str,
        signatures: &[S],
        signer: impl Fn(&S) -> KeyId,
        rotations: &[Rotation],
        verify: impl Fn(&S, &PublicKey) -> Result<(), minisign::Error>,
    ) -> Result<Proof, Error> {
        for (what, found) in [("signatures", signatures.len()), ("rotations", rotations.len())] {
            if found > MOST {
                return Err(Error::TooMany { subject: subject.into(), what, found });
            }
        }
        let keys = self.follow(subject, rotations)?;
        let mut signers = BTreeMap::new();
        let mut strangers = BTreeSet::new();
        for signature in signatures {
            let known: Vec<&PublicKey> = keys.iter().filter(|key| key.id() == signer(signature)).collect();
            let mut verdict = Err(None);
            for key in known {
                match verify(signature, key) {
                    Ok(()) => verdict = Ok(key),
                    Err(error) if verdict.is_err() => verdict = Err(Some(error)),
                    Err(_) => {}
                }
            }
            match verdict {
                Ok(key) => drop(signers.insert(*key.point(), key.clone())),
                Err(None) => drop(strangers.insert(signer(signature))),
                Err(Some(source)) => return Err(Error::Signature { subject: subject.into(), source }),
            }
        }
        let mut signers: Vec<PublicKey> = signers.into_values().collect();
        signers.sort();
        if signers.len() >= self.threshold {
            return Ok(Proof { signers, keys: keys.into_iter().collect(), _judged: Judged });
        }
        let (subject, threshold) = (subject.to_owned(), self.threshold);
        let keys = keys.iter().map(PublicKey::id).collect();
        Err(match signatures.is_empty() {
            true => Error::Unsigned { subject, threshold, keys },
            false => Error::TooFew {
                missing: threshold - signers.len(),
                signers: signers.iter().map(PublicKey::id).collect(),
                strangers: strangers.into_iter().collect(),
                subject,
                threshold,
                keys,
            },
        })
    }

    /// The trusted keys after these rotations.
    fn follow(&self, subject: &str, rotations: &[Rotation]) -> Result<BTreeSet<PublicKey>, Error> {
        let mut next: BTreeMap<&PublicKey, BTreeSet<&PublicKey>> = BTreeMap::new();
        for rotation in rotations {
            next.entry(rotation.old_key()).or_default().insert(rotation.new_key());
        }
        let newest = |trusted: &PublicKey| {
            let mut key = trusted;
            for _ in 0..=next.len() {
                let Some(follows) = next.get(key) else { return Ok(key.clone()) };
                let mut follows = follows.iter();
                let (first, second) = (follows.next(), follows.next());
                match (first, second) {
                    (Some(only), None) => key = only,
                    (Some(first), Some(second)) => {
                        let (old, first, second) = (key.id(), first.id(), second.id());
                        return Err(Error::Forked { subject: subject.into(), old, first, second });
                    }
                    (None, _) => return Ok(key.clone()),
                }
            }
            Err(Error::Loop { subject: subject.into(), key: trusted.id() })
        };
        self.keys.iter().map(newest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::minisign::SecretKey;

    const MESSAGE: &[u8] = b"{}\n";

    fn keys<const N: usize>() -> [SecretKey; N] {
        std::array::from_fn(|_| SecretKey::generate().unwrap())
    }

    fn trust(keys: &[&SecretKey], threshold: usize) -> Trust {
        Trust::new(keys.iter().map(|key| key.public()), threshold).unwrap()
    }

    fn signatures(keys: &[&SecretKey]) -> Vec<Signature> {
        keys.iter().map(|key| key.sign(MESSAGE, "")).collect()
    }

    fn rotation(old: &SecretKey, new: &SecretKey) -> Rotation {
        Rotation::sign(old, &new.public()).unwrap()
    }

    fn judge(trust: &Trust, signers: &[&SecretKey], rotations: &[Rotation]) -> Result<Proof, Error> {
        trust.judge("index.json", MESSAGE, &signatures(signers), rotations)
    }

    #[test]
    fn as_many_distinct_keys_as_the_threshold_says_must_have_signed() {
        let [a, b, c, stranger] = keys();
        let trust = trust(&[&a, &b, &c], 2);
        let proof = judge(&trust, &[&c, &stranger, &a], &[]).unwrap();
        let mut expected = vec![a.public(), c.public()];
        expected.sort();
        assert_eq!(proof.signers, expected);
        assert_eq!(proof.keys, trust.keys().cloned().collect::<Vec<_>>());
        let error = judge(&trust, &[&a, &stranger], &[]).unwrap_err();
        let text = error.to_string();
        for key in [&a, &b, &c, &stranger] {
            assert!(text.contains(&key.public().id().to_string()), "{text}");
        }
        assert!(text.contains("2 of ") && text.contains("1 more is missing"), "{text}");
        assert_eq!(error.exit(), Exit::Trust);
    }

    #[test]
    fn two_signatures_of_one_key_count_once() {
        let [a, b] = keys();
        let twice = [a.sign(MESSAGE, "first"), a.sign(MESSAGE, "second")];
        let error = trust(&[&a, &b], 2).judge("index.json", MESSAGE, &twice, &[]).unwrap_err();
        assert!(matches!(error, Error::TooFew { missing: 1, .. }), "{error}");
    }

    #[test]
    fn one_key_under_two_ids_is_one_key() {
        let [a] = keys();
        // The same point with another id, which is the 8 bytes from the third on.
        let file = a.public().to_file().replace(&a.public().to_string(), &renamed(&a.public()));
        let other = PublicKey::parse("renamed.pub", &file).unwrap();
        assert_ne!(other, a.public());
        let error = Trust::new([a.public(), other], 2).unwrap_err();
        assert!(matches!(error, Error::Threshold { threshold: 2, keys: 1 }), "{error}");
    }

    fn renamed(key: &PublicKey) -> String {
        use base64::Engine as _;
        let engine = base64::engine::general_purpose::STANDARD;
        let mut bytes = engine.decode(key.to_string()).unwrap();
        bytes[2] ^= 1;
        engine.encode(bytes)
    }

    #[test]
    fn a_threshold_is_at_least_one_and_at_most_the_number_of_keys() {
        let [a] = keys();
        for threshold in [0, 2] {
            assert_eq!(Trust::new([a.public()], threshold).unwrap_err().exit(), Exit::Usage);
        }
        assert!(Trust::new([], 0).is_err());
    }

    #[test]
    fn nothing_is_proved_without_signatures_or_by_a_stranger() {
        let [a, stranger] = keys();
        assert!(matches!(judge(&trust(&[&a], 1), &[], &[]), Err(Error::Unsigned { .. })));
        let error = judge(&trust(&[&a], 1), &[&stranger], &[]).unwrap_err();
        assert!(error.to_string().contains("not trusted"), "{error}");
    }

    #[test]
    fn a_bad_signature_of_a_trusted_key_is_an_alarm_though_others_are_good() {
        let [a, b] = keys();
        let mixed = [a.sign(MESSAGE, ""), b.sign(b"other", "")];
        let error = trust(&[&a, &b], 1).judge("index.json", MESSAGE, &mixed, &[]).unwrap_err();
        assert!(matches!(error, Error::Signature { .. }), "{error}");
    }

    #[test]
    fn trust_follows_a_chain_of_rotations_and_leaves_the_old_keys() {
        let [a, b, c] = keys();
        let chain = [rotation(&b, &c), rotation(&a, &b)];
        let trusted = trust(&[&a], 1);
        let proof = judge(&trusted, &[&c], &chain).unwrap();
        assert_eq!(proof.keys, [c.public()]);
        for retired in [&a, &b] {
            let error = judge(&trusted, &[retired], &chain).unwrap_err();
            assert!(matches!(error, Error::TooFew { .. }), "{error}");
        }
        // A site that has already followed the rotations ignores the history.
        judge(&trust(&[&c], 1), &[&c], &chain).unwrap();
    }

    #[test]
    fn a_rotation_by_an_untrusted_key_says_nothing() {
        let [a, thief, new] = keys();
        let error = judge(&trust(&[&a], 1), &[&new], &[rotation(&thief, &new)]).unwrap_err();
        assert!(matches!(error, Error::TooFew { .. }), "{error}");
    }

    #[test]
    fn a_key_that_rotates_to_two_others_has_no_heir() {
        let [a, b, c, d] = keys();
        let forked = [rotation(&a, &b), rotation(&a, &c)];
        assert!(matches!(judge(&trust(&[&a, &d], 2), &[&b, &c], &forked), Err(Error::Forked { .. })));
        judge(&trust(&[&d], 1), &[&d], &forked).unwrap();
        // The same rotation twice counts as one.
        judge(&trust(&[&a], 1), &[&b], &[rotation(&a, &b), rotation(&a, &b)]).unwrap();
    }

    #[test]
    fn rotations_that_lead_in_a_circle_are_refused() {
        let [a, b, c] = keys();
        let circle = [rotation(&a, &b), rotation(&b, &c), rotation(&c, &b)];
        assert!(matches!(judge(&trust(&[&a], 1), &[&b], &circle), Err(Error::Loop { .. })));
        assert!(matches!(judge(&trust(&[&b], 1), &[&b], &circle), Err(Error::Loop { .. })));
    }

    #[test]
    fn two_keys_that_rotate_to_one_are_one_vote() {
        let [a, b, c] = keys();
        let merged = [rotation(&a, &c), rotation(&b, &c)];
        assert!(matches!(judge(&trust(&[&a, &b], 2), &[&c], &merged), Err(Error::TooFew { .. })));
    }

    #[test]
    fn more_signatures_or_rotations_than_anybody_needs_are_not_looked_at() {
        let [a, b] = keys();
        let signatures = vec![a.sign(MESSAGE, ""); MOST + 1];
        let trust = trust(&[&a], 1);
        let error = trust.judge("index.json", MESSAGE, &signatures, &[]).unwrap_err();
        assert!(matches!(error, Error::TooMany { what: "signatures", .. }), "{error}");
        let rotations = vec![rotation(&a, &b); MOST + 1];
        let error = trust.judge("index.json", MESSAGE, &signatures[..1], &rotations).unwrap_err();
        assert!(matches!(error, Error::TooMany { what: "rotations", .. }), "{error}");
    }
}
