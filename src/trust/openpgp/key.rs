//! Key files: their certificates, and the verdict on each key of a certificate.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pgp::composed::{Deserializable, SignedPublicKey};
use pgp::packet::{KeyFlags, RevocationCode, Signature, SignatureType};
use pgp::types::{KeyDetails, VerifyingKey};

use super::armor::{self, Form};
use super::words::flaw;
use super::{Error, Fingerprint, MAX_BYTES, Refusal, known, policy};
use crate::base::clock;

/// Most keys of a file that an error message lists.
const MOST_NAMED: usize = 4;

/// Revoked keys, each with the time from which its signatures are void: the epoch for a compromised key.
pub type Revoked = BTreeMap<Fingerprint, SystemTime>;

/// A primary key and the keys bound to it, judged once.
#[derive(Debug)]
pub struct Certificate {
    /// User ids, as the file states them. Only the fingerprint proves who the key belongs to.
    pub users: Vec<String>,
    /// The primary key first.
    pub parts: Vec<Arc<Part>>,
    /// Keys known to be revoked whose revocation the file lacks.
    withheld: Vec<Fingerprint>,
}

/// A primary key or subkey, a possible signer.
#[derive(Debug)]
pub struct Part {
    pub(super) key: Box<dyn VerifyingKey + Send + Sync>,
    /// 20 bytes, version 4.
    pub fingerprint: Fingerprint,
    /// Creation time.
    pub created: SystemTime,
    /// The time from which its signatures no longer count, if any.
    pub expires: Option<SystemTime>,
    /// The time from which its signatures are void, if it is revoked: the epoch for a compromised key.
    pub revoked: Option<SystemTime>,
    /// Key flags: `certify`, `sign`, `encrypt`, `authenticate`.
    pub usage: Vec<&'static str>,
    /// Time of the primary key's newest statement on this key's usage and expiry, if there is one.
    bound: Option<SystemTime>,
    flaw: Option<Refusal>,
}

/// The certificate of a key file that has the pinned primary. Signatures are believed by this certificate.
#[derive(Debug)]
pub struct TrustedKey {
    subject: String,
    certificate: Certificate,
    primary: Fingerprint,
    /// Revocations in the file itself.
    revoked: Revoked,
}

impl TrustedKey {
    /// Reads a key file, armored or binary, that may hold several keys.
    ///
    /// # Errors
    /// [`Error::KeyFile`], or [`Error::WrongPrimary`] unless one of them is the pinned primary.
    pub fn parse(subject: &str, bytes: &[u8], pin: Fingerprint) -> Result<Self, Error> {
        let keys = read(subject, bytes)?;
        match keys.iter().find(|key| fingerprint(&key.primary_key) == Some(pin)) {
            Some(key) => {
                let (parts, users) = (parts(key), users(key));
                let revokes = |part: &Part| Some((part.fingerprint, part.revoked?));
                let revoked = parts.iter().filter_map(revokes).collect();
                let certificate = Certificate::new(users, parts);
                Ok(TrustedKey { subject: subject.into(), certificate, primary: pin, revoked })
            }
            None => {
                let named = keys.iter().take(MOST_NAMED);
                let mut found: Vec<String> =
                    named.map(|key| format!("{:X}", key.primary_key.fingerprint())).collect();
                if keys.len() > MOST_NAMED {
                    found.push(format!("and {} more", keys.len() - MOST_NAMED));
                }
                Err(Error::WrongPrimary { subject: subject.into(), pin, found: found.join(", ") })
            }
        }
    }

    /// The pinned primary's fingerprint.
    pub(crate) fn primary(&self) -> Fingerprint {
        self.primary
    }

    /// The certificate's keys, the primary first.
    pub(crate) fn parts(&self) -> &[Arc<Part>] {
        &self.certificate.parts
    }

    /// Refuses a file that lacks revocations known when prebake was built: its server has an old copy, or cut them out.
    /// The keys count as revoked all the same.
    ///
    /// # Errors
    /// [`Error::RolledBack`].
    pub(crate) fn must_be_whole(&self, subject: &str) -> Result<(), Error> {
        let gone = |fingerprint: &Fingerprint| format!("the revocation of {fingerprint} is missing");
        let lost: Vec<String> = self.certificate.withheld.iter().map(gone).collect();
        match lost.is_empty() {
            true => Ok(()),
            false => Err(Error::RolledBack { subject: subject.into(), lost }),
        }
    }

    /// The revocations in the file that a lock has to remember: all but those that are built into prebake.
    pub(crate) fn revoked(&self) -> Revoked {
        let revoked = self.revoked.iter().filter(|(key, _)| !known::REVOKED.contains(key));
        revoked.map(|(key, from)| (*key, *from)).collect()
    }

    /// Applies the revocations in another copy of the same key. The primary signed them, so their origin does not
    /// matter.
    pub(crate) fn learn(&mut self, other: &TrustedKey) {
        for part in &mut self.certificate.parts {
            let (Some(from), Some(part)) = (other.revoked.get(&part.fingerprint), Arc::get_mut(part)) else {
                continue;
            };
            part.revoked = Some(part.revoked.map_or(*from, |own| own.min(*from)));
        }
    }

    /// Refuses a file that has a key listed in `known`, but lacks its revocation or has a milder one: the file is an
    /// old copy, or the revocation was cut out. A key missing from the file signs nothing, so its revocation is not
    /// required.
    ///
    /// # Errors
    /// [`Error::RolledBack`].
    pub(crate) fn must_revoke(&self, known: &Revoked, whence: &str) -> Result<(), Error> {
        let lost = self.parts().iter().filter_map(|part| {
            let lost = milder(
                part.fingerprint,
                self.revoked.get(&part.fingerprint).copied(),
                *known.get(&part.fingerprint)?,
            )?;
            Some(format!("{lost} ({whence} has it)"))
        });
        let lost: Vec<String> = lost.collect();
        match lost.is_empty() {
            true => Ok(()),
            false => Err(Error::RolledBack { subject: self.subject.clone(), lost }),
        }
    }

    /// Refuses to replace `earlier` by a file that says less. A missing subkey, revocation or later statement on a
    /// key's usage is a sign of an old copy, which could bring a revoked or expired key back.
    pub(crate) fn must_follow(&self, earlier: &TrustedKey, subject: &str) -> Result<(), Error> {
        let lost = |old: &Arc<Part>| {
            let key = old.fingerprint;
            let Some(new) = self.parts().iter().find(|new| new.fingerprint == key) else {
                return Some(format!("the key {key} is missing"));
            };
            let own = self.revoked.get(&key).copied();
            let revocation = earlier.revoked.get(&key).and_then(|from| milder(key, own, *from));
            let older = new.bound < old.bound;
            revocation.or_else(|| {
                older.then(|| format!("its latest statement about {key}, with expiry and usage, is missing"))
            })
        };
        let lost: Vec<String> = earlier.parts().iter().filter_map(lost).collect();
        match lost.is_empty() {
            true => Ok(()),
            false => Err(Error::RolledBack { subject: subject.into(), lost }),
        }
    }
}

/// Describes how a key's revocation is milder than it was; `None` if it is not.
fn milder(key: Fingerprint, now: Option<SystemTime>, was: SystemTime) -> Option<String> {
    match now {
        None => Some(format!("the revocation of {key} is missing")),
        // Times are stored with a precision of one second.
        Some(now) if now > was + Duration::from_secs(1) => {
            Some(format!("the revocation of {key} takes effect only from {}", clock::date(now)))
        }
        Some(_) => None,
    }
}

impl Certificate {
    /// Reads every version 4 key of a key file without judging its owner, for display.
    pub fn read_all(subject: &str, bytes: &[u8]) -> Result<Vec<Certificate>, Error> {
        let keys = read(subject, bytes)?;
        let certificates = keys.iter().map(|key| Certificate::new(users(key), parts(key)));
        Ok(certificates.filter(|certificate| !certificate.parts.is_empty()).collect())
    }

    fn new(users: Vec<String>, mut parts: Vec<Part>) -> Self {
        let mut withheld = Vec::new();
        for part in parts.iter_mut().filter(|part| known::REVOKED.contains(&part.fingerprint)) {
            if part.revoked.replace(UNIX_EPOCH).is_none() {
                withheld.push(part.fingerprint);
            }
        }
        let parts = parts.into_iter().map(Arc::new).collect();
        Certificate { users, parts, withheld }
    }
}

impl Part {
    /// The reason to refuse a signature made by this key at this time, if there is one.
    pub fn refusal(&self, signed: SystemTime) -> Option<Refusal> {
        let flaws = [
            (signed < self.created, Refusal::NotYetValid),
            (self.expires.is_some_and(|end| signed >= end), Refusal::Expired),
            (self.revoked.is_some_and(|from| signed >= from), Refusal::Revoked),
        ];
        self.flaw.or(flaws.into_iter().find_map(|(is, refusal)| is.then_some(refusal)))
    }
}

/// The user ids of a key.
fn users(key: &SignedPublicKey) -> Vec<String> {
    key.details.users.iter().map(|user| String::from_utf8_lossy(user.id.id()).into_owned()).collect()
}

/// Reads the keys in a file. Several armored blocks, one after the other, are read as one file.
fn read(subject: &str, bytes: &[u8]) -> Result<Vec<SignedPublicKey>, Error> {
    let bad = |why: String| Error::KeyFile { subject: subject.into(), why };
    if bytes.len() > MAX_BYTES {
        return Err(bad(format!("longer than {MAX_BYTES} bytes")));
    }
    // A byte order mark before a key has always been skipped, like any text before it.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let blocks = match armor::read(bytes).map_err(bad)? {
        Form::Binary => vec![bytes.to_vec()],
        Form::Armored(blocks) if blocks.iter().any(|(label, _)| label.starts_with("PRIVATE KEY")) => {
            return Err(bad("it holds a private key; export the public one (`gpg --export`)".into()));
        }
        Form::Armored(blocks) => blocks.into_iter().map(|(_, packets)| packets).collect(),
    };
    let mut found = Vec::new();
    for packets in blocks {
        for key in SignedPublicKey::from_bytes_many(Cursor::new(packets)).map_err(|e| bad(flaw(&e).into()))? {
            found.push(key.map_err(|e| bad(flaw(&e).into()))?);
        }
    }
    if found.is_empty() { Err(bad("it contains no key".into())) } else { Ok(found) }
}

/// Names of the usages that key flags allow (RFC 9580 §5.2.3.29).
fn usage(flags: &KeyFlags) -> Vec<&'static str> {
    let all = [
        (flags.certify(), "certify"),
        (flags.sign(), "sign"),
        (flags.encrypt_comms() || flags.encrypt_storage(), "encrypt"),
        (flags.authentication(), "authenticate"),
    ];
    all.into_iter().filter_map(|(is, name)| is.then_some(name)).collect()
}

/// All keys of a certificate, the primary first.
fn parts(key: &SignedPublicKey) -> Vec<Part> {
    let primary = &key.primary_key;
    let self_signatures = || {
        let of_users = key.details.users.iter().flat_map(|user| {
            let tag = pgp::types::Tag::UserId;
            let believed = user.signatures.iter().filter(|s| policy::is_believed(s));
            believed.filter(move |s| s.verify_certification(primary, tag, &user.id).is_ok())
        });
        let direct = key.details.direct_signatures.iter().filter(|s| policy::is_believed(s));
        of_users.chain(direct.filter(|s| s.verify_key(primary).is_ok()))
    };
    let newest = newest(self_signatures());
    let primary_end = newest.and_then(|s| expiry(primary.created_at().into(), s.key_expiration_time()));
    let primary_revoked =
        revocation(key.details.revocation_signatures.iter().filter(|s| s.verify_key(primary).is_ok()));
    let mut parts = Vec::new();
    if let Some(fingerprint) = fingerprint(primary) {
        let usage = newest.map_or(Vec::new(), |s| usage(&s.key_flags()));
        let signs = usage.contains(&"sign");
        parts.push(Part {
            key: Box::new(primary.clone()),
            fingerprint,
            created: primary.created_at().into(),
            expires: primary_end,
            revoked: primary_revoked,
            usage,
            bound: newest.and_then(Signature::created).map(SystemTime::from),
            flaw: match newest {
                None => Some(Refusal::PrimaryUnproven),
                Some(_) => (!signs).then_some(Refusal::WrongUsage),
            },
        });
    }
    for subkey in &key.public_subkeys {
        let Some(fingerprint) = fingerprint(&subkey.key) else { continue };
        let created = SystemTime::from(subkey.key.created_at());
        let of_kind = |kind: SignatureType| subkey.signatures.iter().filter(move |s| s.typ() == Some(kind));
        let valid = |kind| of_kind(kind).filter(|s| s.verify_subkey_binding(primary, &subkey.key).is_ok());
        let bindings = || of_kind(SignatureType::SubkeyBinding);
        let binding = self::newest(valid(SignatureType::SubkeyBinding).filter(|s| policy::is_believed(s)));
        let flaw = match binding {
            None if bindings().any(|s| !policy::is_strong(s)) => Some(Refusal::WeaklyBound),
            None => Some(Refusal::Unbound),
            Some(binding) if !binding.key_flags().sign() => Some(Refusal::WrongUsage),
            // A signing subkey must have signed the primary in return, or anyone could adopt another's key.
            Some(binding) => {
                let back = binding.embedded_signature();
                let is_bound = |s: &Signature| {
                    policy::is_believed(s) && s.verify_primary_key_binding(&subkey.key, primary).is_ok()
                };
                match back {
                    Some(back) if is_bound(back) => None,
                    Some(back) if !policy::is_strong(back) => Some(Refusal::WeaklyBound),
                    _ => Some(Refusal::Unbound),
                }
            }
        };
        let primary_bad =
            primary_revoked.is_some() || primary_end.is_some_and(|end| end <= SystemTime::now());
        parts.push(Part {
            key: Box::new(subkey.key.clone()),
            fingerprint,
            created,
            expires: binding.and_then(|s| expiry(created, s.key_expiration_time())),
            revoked: revocation(valid(SignatureType::SubkeyRevocation)),
            usage: binding.map_or(Vec::new(), |s| usage(&s.key_flags())),
            bound: binding.and_then(Signature::created).map(SystemTime::from),
            flaw: match newest {
                _ if primary_bad => Some(Refusal::PrimaryInvalid),
                None => Some(Refusal::PrimaryUnproven),
                Some(_) => flaw,
            },
        });
    }
    parts
}

/// The newest valid self-signature, which is the one that counts (RFC 9580 §5.2.3.10).
fn newest<'s>(signatures: impl Iterator<Item = &'s Signature>) -> Option<&'s Signature> {
    signatures.max_by_key(|signature| signature.created())
}

/// The time from which a key's signatures are void. Only the reasons "superseded" and "retired" leave older signatures
/// valid.
fn revocation<'s>(valid: impl Iterator<Item = &'s Signature>) -> Option<SystemTime> {
    let from = |revocation: &Signature| match revocation.revocation_reason_code() {
        Some(RevocationCode::KeySuperseded | RevocationCode::KeyRetired) => {
            revocation.created().map_or(UNIX_EPOCH, SystemTime::from)
        }
        _ => UNIX_EPOCH,
    };
    valid.map(from).min()
}

pub(super) fn expiry(from: SystemTime, lifetime: Option<pgp::types::Duration>) -> Option<SystemTime> {
    let seconds = lifetime?.as_secs();
    // Zero means "does not expire" (RFC 9580 §5.2.3.13).
    (seconds != 0).then(|| from + Duration::from_secs(seconds.into()))
}

fn fingerprint(key: &impl KeyDetails) -> Option<Fingerprint> {
    key.fingerprint().as_bytes().try_into().ok().map(Fingerprint)
}
