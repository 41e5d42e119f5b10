//! Key files: the certificates in them, and whether each key of one is to be believed.

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

/// Most keys of a file that an error names.
const MOST_NAMED: usize = 4;

/// Keys that are revoked, each with the time from which on its signatures are void; the epoch for a compromised key.
pub type Revoked = BTreeMap<Fingerprint, SystemTime>;

/// A primary key with what is bound to it, judged once.
#[derive(Debug)]
pub struct Certificate {
    /// Whose it says it is. Nothing but the fingerprint proves it.
    pub users: Vec<String>,
    /// The primary key first.
    pub parts: Vec<Arc<Part>>,
    /// Keys that are known to be revoked, though the file does not say so.
    withheld: Vec<Fingerprint>,
}

/// A primary key or subkey, which may have made a signature.
#[derive(Debug)]
pub struct Part {
    pub(super) key: Box<dyn VerifyingKey + Send + Sync>,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// When it was made.
    pub created: SystemTime,
    /// When its signatures stop to count, if ever.
    pub expires: Option<SystemTime>,
    /// From when on its signatures are void; the epoch for a compromised key.
    pub revoked: Option<SystemTime>,
    /// `certify`, `sign`, `encrypt`, `authenticate`.
    pub usage: Vec<&'static str>,
    /// When the primary key last said what this key is for and how long, if it did.
    bound: Option<SystemTime>,
    flaw: Option<Refusal>,
}

/// A key file's certificate that has the pinned primary: whose signatures are believed.
#[derive(Debug)]
pub struct TrustedKey {
    subject: String,
    certificate: Certificate,
    primary: Fingerprint,
    /// What the file itself revokes.
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
    pub fn primary(&self) -> Fingerprint {
        self.primary
    }

    /// The keys below it, itself first.
    pub fn parts(&self) -> &[Arc<Part>] {
        &self.certificate.parts
    }

    /// Refuses a file without the revocations that were known when prebake was built: whoever serves it has an old copy, or cut
    /// them out. The keys are revoked all the same.
    ///
    /// # Errors
    /// [`Error::RolledBack`].
    pub fn must_be_whole(&self, subject: &str) -> Result<(), Error> {
        let gone = |fingerprint: &Fingerprint| format!("the revocation of {fingerprint} is missing");
        let lost: Vec<String> = self.certificate.withheld.iter().map(gone).collect();
        match lost.is_empty() {
            true => Ok(()),
            false => Err(Error::RolledBack { subject: subject.into(), lost }),
        }
    }

    /// The keys that its file revokes, but for those that prebake knows by itself: what a lock has to remember of it.
    pub fn revoked(&self) -> Revoked {
        let revoked = self.revoked.iter().filter(|(key, _)| !known::REVOKED.contains(key));
        revoked.map(|(key, from)| (*key, *from)).collect()
    }

    /// Has revocations count that another copy of the same key holds. They are signed by its primary, wherever they come from.
    pub fn learn(&mut self, other: &TrustedKey) {
        for part in &mut self.certificate.parts {
            let (Some(from), Some(part)) = (other.revoked.get(&part.fingerprint), Arc::get_mut(part)) else {
                continue;
            };
            part.revoked = Some(part.revoked.map_or(*from, |own| own.min(*from)));
        }
    }

    /// Refuses a file that has a key, and not its revocation of which something is known, or a milder one: whoever gave it has an
    /// old copy, or cut it out. A key that it does not have signs nothing.
    ///
    /// # Errors
    /// [`Error::RolledBack`].
    pub fn must_revoke(&self, known: &Revoked, whence: &str) -> Result<(), Error> {
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

    /// Refuses to replace `earlier` if this says less: a subkey, a revocation or a later word on what a key is for that is gone is
    /// a sign of an old copy, with which a revoked or expired key could be brought back.
    pub fn must_follow(&self, earlier: &TrustedKey, subject: &str) -> Result<(), Error> {
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

/// In what a key's revocation is less than it was, in words.
fn milder(key: Fingerprint, now: Option<SystemTime>, was: SystemTime) -> Option<String> {
    match now {
        None => Some(format!("the revocation of {key} is missing")),
        // Times are kept to the second.
        Some(now) if now > was + Duration::from_secs(1) => {
            Some(format!("the revocation of {key} takes effect only from {}", clock::date(now)))
        }
        Some(_) => None,
    }
}

impl Certificate {
    /// Every version 4 key of a key file, whoever it belongs to: for people to look at.
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
    /// Why a signature that it made at this time would be refused, if so.
    pub fn refusal(&self, signed: SystemTime) -> Option<Refusal> {
        let flaws = [
            (signed < self.created, Refusal::NotYetValid),
            (self.expires.is_some_and(|end| signed >= end), Refusal::Expired),
            (self.revoked.is_some_and(|from| signed >= from), Refusal::Revoked),
        ];
        self.flaw.or(flaws.into_iter().find_map(|(is, refusal)| is.then_some(refusal)))
    }
}

/// Whose a key says it is.
fn users(key: &SignedPublicKey) -> Vec<String> {
    key.details.users.iter().map(|user| String::from_utf8_lossy(user.id.id()).into_owned()).collect()
}

/// The keys in a file. Several armored blocks, one after the other, are read as one file.
fn read(subject: &str, bytes: &[u8]) -> Result<Vec<SignedPublicKey>, Error> {
    let bad = |why: String| Error::KeyFile { subject: subject.into(), why };
    if bytes.len() > MAX_BYTES {
        return Err(bad(format!("longer than {MAX_BYTES} bytes")));
    }
    // A mark in front of a key has always been read over, as text in front of it is.
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

/// What key flags allow (RFC 9580 §5.2.3.29).
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

/// The self-signature that counts is the newest valid one (RFC 9580 §5.2.3.10).
fn newest<'s>(signatures: impl Iterator<Item = &'s Signature>) -> Option<&'s Signature> {
    signatures.max_by_key(|signature| signature.created())
}

/// From when on a key's signatures are void. Only "superseded" and "retired" leave older signatures standing.
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
