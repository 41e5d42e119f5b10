//! The lock: the exact inputs that a recipe was resolved to (`recipes/NAME.lock`, committed beside the recipe).
//!
//! Owns the file; leaves to `resolve` which inputs belong in it. Builds fetch no other inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::base::conflict;
use crate::base::digest::{Object, Sha256};
use crate::base::disk;
use crate::base::error::{Advice, Exit};
use crate::base::finding::nearest;
use crate::flatcar::board::SIGNATURE;
use crate::flatcar::version::Version;
use crate::source::input::Entry;
use crate::trust::openpgp::{Fingerprint, Revoked};

/// Version of the format that is written.
pub(crate) const SCHEMA: u32 = 2;
/// The previous version, which is still read: its locks lack the keys that their recipes trusted.
const WITHOUT_TRUST: u32 = 1;

const HEADER: &str =
    "# Written by prebake: the exact inputs of this recipe. Commit it; `prebake lock --update` moves it.\n";

/// The content of a lock file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Version of the format: [`SCHEMA`], or that of the older file it was read from.
    pub schema: u32,
    /// The release that the recipe's wish resolved to.
    pub release: Release,
    /// The keys that the recipe trusted when this was locked. `None` in a lock of schema 1, and in one without a
    /// recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Trust>,
    /// GitHub user → the SSH public keys that were fetched.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ssh_keys: SshKeys,
    /// Images that kubeadm's source names, for a version that is not in the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeadm: Option<Kubeadm>,
    /// Sysext → digest of its folder, for those that came with prebake.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sysexts: BTreeMap<String, Sha256>,
    /// Input id → URL, length and digest.
    pub inputs: BTreeMap<String, Entry>,
}

/// GitHub user → SSH public keys, as lines of `authorized_keys`.
pub(crate) type SshKeys = BTreeMap<String, Vec<String>>;

/// Images that the kubeadm of a version needs, from its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kubeadm {
    /// The version of Kubernetes.
    pub version: String,
    /// Its container images, by their full names.
    pub images: Vec<String>,
}

/// The keys that a recipe trusts. A change of them shows in a review of the lock, and does not change any input by
/// itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// The pinned primary key, which certified the signers of all signed inputs.
    pub primary_fingerprint: Fingerprint,
    /// SHA-256 of the certificate, as DER, for which images of sysexts are signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sysext_certificate: Option<Sha256>,
    /// SHA-256 of each authority's certificate, as DER, that machines are told to trust.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub authorities: BTreeSet<Sha256>,
    /// Subkeys of the pinned key that its key file revoked when this was locked, except those that prebake knows
    /// itself. A key file that no longer revokes one of them is refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "revoked")]
    pub revoked: Revoked,
}

/// Revoked keys as `FINGERPRINT: always`, or with the time from which their signatures are void.
mod revoked {
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::base::clock;
    use crate::trust::openpgp::{Fingerprint, Revoked};

    const ALWAYS: &str = "always";

    pub(super) fn serialize<S: Serializer>(revoked: &Revoked, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(revoked.iter().map(|(key, from)| match *from == SystemTime::UNIX_EPOCH {
            true => (key, ALWAYS.to_owned()),
            false => (key, clock::date(*from)),
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Revoked, D::Error> {
        let texts: BTreeMap<Fingerprint, String> = BTreeMap::deserialize(deserializer)?;
        let time = |text: &str| match text {
            ALWAYS => Ok(SystemTime::UNIX_EPOCH),
            date => humantime::parse_rfc3339(date).map_err(serde::de::Error::custom),
        };
        texts.into_iter().map(|(key, text)| Ok((key, time(&text)?))).collect()
    }
}

impl Trust {
    /// The same, with the revocations of the pinned key that `earlier` remembers.
    #[must_use]
    pub(crate) fn remembering(mut self, earlier: Option<&Trust>) -> Trust {
        let earlier = earlier.filter(|earlier| earlier.primary_fingerprint == self.primary_fingerprint);
        self.revoked.extend(earlier.into_iter().flat_map(|earlier| earlier.revoked.clone()));
        self
    }

    /// Differences between the recipe's trust and this, in words.
    pub(crate) fn drift(&self, recipe: &Trust) -> Vec<String> {
        let mut drift = Vec::new();
        if self.primary_fingerprint != recipe.primary_fingerprint {
            let (pin, locked) = (recipe.primary_fingerprint, self.primary_fingerprint);
            drift.push(format!("the recipe pins the primary key {pin}, but the lock was made with {locked}"));
        }
        let named = |certificate: Option<Sha256>| {
            certificate
                .map_or("without a certificate".into(), |sha256| format!("for the certificate {sha256}"))
        };
        if self.sysext_certificate != recipe.sysext_certificate {
            let (wish, locked) = (named(recipe.sysext_certificate), named(self.sysext_certificate));
            drift.push(format!("the recipe packages sysexts {wish}, the lock was made {locked}"));
        }
        let new = recipe.authorities.difference(&self.authorities);
        drift.extend(new.map(|sha256| format!("the authority {sha256} is not locked")));
        let gone = self.authorities.difference(&recipe.authorities);
        drift.extend(
            gone.map(|sha256| format!("the authority {sha256} is locked but not trusted by the recipe")),
        );
        drift
    }
}

/// The release that the recipe's wish resolved to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// `stable`, `beta`, `alpha` or `lts`.
    pub channel: String,
    /// Such as `4593.2.5`; empty to be resolved anew.
    pub version: String,
}

/// Reasons why a lock cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that is not a lock of a supported schema.
    #[error("{} is not a lock file of schema {SCHEMA}", path.display())]
    Syntax {
        /// Path of the lock.
        path: PathBuf,
        /// serde's error.
        source: serde_yaml::Error,
    },
    /// A lock that git could not merge.
    #[error("{} has a merge conflict at line {line}", path.display())]
    Conflict {
        /// Path of the lock.
        path: PathBuf,
        /// Line of the first conflict, from 1.
        line: usize,
    },
    /// The same, with a side that is no lock.
    #[error("{} has a merge conflict at line {line}, and {side} side of it is not a lock", path.display())]
    Side {
        /// Path of the lock.
        path: PathBuf,
        /// Line of the first conflict, from 1.
        line: usize,
        /// `our`, `their`, or `a` where the marks are not in order.
        side: &'static str,
    },
    /// A lock of a later prebake.
    #[error("{} is a lock of schema {found}, and this prebake reads schemas up to {SCHEMA}", path.display())]
    Newer {
        /// Path of the lock.
        path: PathBuf,
        /// Schema number that it states.
        found: u32,
    },
    /// No input of the lock has this name.
    #[error("{} has no input named `{name}`", path.display())]
    Unknown {
        /// Path of the lock.
        path: PathBuf,
        /// The name that was given.
        name: String,
        /// Names that would be accepted.
        known: Vec<String>,
    },
    /// The lock does not fit the recipe.
    #[error("{} does not match the recipe: {}", path.display(), drift.join("; "))]
    Drift {
        /// Path of the lock.
        path: PathBuf,
        /// Inputs that are missing, superfluous or different.
        drift: Vec<String>,
    },
    /// The channel's current version is older than the locked one.
    #[error("channel {channel} names {found} as current, which is older than {locked} in {}", path.display())]
    Older {
        /// Path of the lock, which is not changed.
        path: PathBuf,
        /// Channel of the locked release.
        channel: String,
        /// Its current version.
        found: Version,
        /// The version that is locked.
        locked: Version,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Syntax { .. } | Error::Conflict { .. } | Error::Side { .. } | Error::Newer { .. } => {
                Exit::Config
            }
            Error::Unknown { .. } => Exit::Usage,
            Error::Drift { .. } => Exit::Drift,
            Error::Older { .. } => Exit::Trust,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Syntax { .. } => {
                "restore it from version control, or remove it and run `prebake lock`".into()
            }
            Error::Conflict { .. } => "`prebake lock RECIPE` settles it: what either side locked stays, where it fits the recipe".into(),
            Error::Side { .. } => {
                "take one side with `git checkout --ours FILE` or `git checkout --theirs FILE`, then run `prebake lock`".into()
            }
            Error::Newer { .. } => "use the prebake that wrote it, or a later one".into(),
            Error::Unknown { name, known, .. } => match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known: {}, and the id of every input", known.join(", ")),
            },
            Error::Older { .. } => {
                "the mirror may be stale, or somebody holds it back: all signatures are valid. --allow-older accepts it".into()
            }
            Error::Drift { .. } => "run `prebake lock` and commit the lock, or build without `--locked`".into(),
        })
    }
}

impl Lock {
    /// A lock without any inputs.
    pub(crate) fn empty() -> Lock {
        let release = Release { channel: String::new(), version: String::new() };
        Lock {
            schema: SCHEMA,
            release,
            trust: None,
            ssh_keys: SshKeys::new(),
            kubeadm: None,
            sysexts: BTreeMap::new(),
            inputs: BTreeMap::new(),
        }
    }

    /// The lock's path beside a recipe: `edge.yaml` → `edge.lock`.
    pub(crate) fn path_of(recipe: &Path) -> PathBuf {
        recipe.with_extension("lock")
    }

    /// Reads a lock; `None` where there is none.
    pub(crate) fn load(path: &Path) -> crate::base::error::Result<Option<Lock>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(disk::Error::io("read the lock", path)(error).into()),
        };
        let text = String::from_utf8(bytes).map_err(|_| Error::Syntax {
            path: path.into(),
            source: serde::de::Error::custom("it is not text"),
        })?;
        Ok(Some(Lock::parse(path, &text)?))
    }

    /// Reads a lock's text; `path` names it in errors.
    pub fn parse(path: &Path, text: &str) -> Result<Lock, Error> {
        /// The part that every schema has.
        #[derive(Deserialize)]
        struct Head {
            schema: u32,
        }
        if let Some(line) = conflict::first(text) {
            return Err(Error::Conflict { path: path.into(), line });
        }
        let bad = |source| Error::Syntax { path: path.into(), source };
        let flaw = |why: String| bad(serde::de::Error::custom(why));
        if text.lines().all(|line| line.trim().is_empty() || line.starts_with('#')) {
            return Err(flaw("it is empty".into()));
        }
        match serde_yaml::from_str(text) {
            Ok(Head { schema: found }) if found > SCHEMA => {
                return Err(Error::Newer { path: path.into(), found });
            }
            // A missing schema is reported together with everything else that is wrong.
            _ => {}
        }
        let lock: Lock = serde_yaml::from_str(text).map_err(bad)?;
        match (lock.schema, &lock.trust) {
            (SCHEMA, Some(_)) | (WITHOUT_TRUST, None) => Ok(lock),
            (SCHEMA, None) => {
                Err(flaw("it does not state the keys that its recipe trusts (`trust:`)".into()))
            }
            (schema, _) => Err(flaw(format!("its schema is {schema}"))),
        }
    }

    /// Whether its schema is older than [`SCHEMA`].
    pub(crate) fn is_old(&self) -> bool {
        self.schema < SCHEMA
    }

    /// The file's text; equal locks give equal texts.
    ///
    /// # Panics
    /// Never: maps with string keys serialize.
    #[expect(clippy::expect_used, reason = "maps with string keys serialize")]
    pub fn to_text(&self) -> String {
        let body = serde_yaml::to_string(self).expect("a lock serializes");
        format!("{HEADER}{body}")
    }

    /// Writes the lock atomically, unless the file has the same text already.
    pub(crate) fn save(&self, path: &Path) -> crate::base::error::Result<()> {
        let text = self.to_text();
        if std::fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        Ok(disk::write_atomic(path, text.as_bytes())?)
    }

    /// Forgets an input, so that it is resolved and fetched anew. `name` is an input's id, the front part of ids
    /// (`flatcar`, `sysext/kubernetes`), a sysext's name, or `github:USER`. Returns whether anything had that name.
    pub(crate) fn forget(&mut self, name: &str) -> bool {
        if let Some(user) = name.strip_prefix("github:") {
            return self.ssh_keys.remove(user).is_some();
        }
        let fronts = [format!("{name}/"), format!("sysext/{name}/")];
        let is_meant = |id: &str| {
            id.strip_suffix(SIGNATURE).unwrap_or(id) == name
                || fronts.iter().any(|front| id.starts_with(front))
        };
        let is_sysext = self.sysexts.remove(name).is_some();
        let before = self.inputs.len();
        self.inputs.retain(|id, _| !is_meant(id));
        if name == "flatcar" {
            // An empty version is resolved anew.
            self.release.version.clear();
        }
        is_sysext || self.inputs.len() < before
    }

    /// Names besides ids that [`Lock::forget`] accepts: sources, sysexts, users.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: BTreeSet<String> = self.ssh_keys.keys().map(|user| format!("github:{user}")).collect();
        names.extend(self.sysexts.keys().cloned());
        for id in self.inputs.keys() {
            let mut parts = id.split('/');
            names.extend(match (parts.next(), parts.next()) {
                (Some("sysext"), Some(sysext)) => Some(sysext.to_owned()),
                (front, _) => front.map(str::to_owned),
            });
        }
        names.into_iter().collect()
    }

    /// Every locked object, by input id: all that a build needs from the store.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (&str, Object)> {
        self.inputs.iter().map(|(id, entry)| (id.as_str(), entry.object()))
    }

    /// The locked version, if it parses as one.
    pub(crate) fn version(&self) -> Option<Version> {
        self.release.version.parse().ok()
    }

    /// Checks that a lock may follow this one: the version of a channel never goes back by itself. Otherwise a server
    /// with old files and their valid signatures could choose which security holes machines have. A version that the
    /// recipe names is the user's own choice.
    ///
    /// # Errors
    /// [`Error::Older`].
    pub(crate) fn must_not_be_newer_than(&self, next: &Lock, path: &Path) -> Result<(), Error> {
        match (self.version(), next.version()) {
            (Some(locked), Some(found)) if found < locked && self.release.channel == next.release.channel => {
                let (path, channel) = (path.to_owned(), self.release.channel.clone());
                Err(Error::Older { path, channel, found, locked })
            }
            _ => Ok(()),
        }
    }

    /// Timestamp of artifacts, in seconds since 1970: `SOURCE_DATE_EPOCH`, else the newest signature among the inputs,
    /// so that the same lock always gives the same bytes.
    pub(crate) fn epoch(&self) -> u64 {
        let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
        let newest = || self.inputs.values().filter_map(|entry| entry.signed).max();
        let seconds =
            |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        given.or_else(|| newest().map(seconds)).unwrap_or(0)
    }
}
