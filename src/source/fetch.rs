//! Fetches one input: from its URL, through verification, into the store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::sync::OnceCell;

use super::download::{Download, Received, State, joined};
use super::http::{self, Asked, Http, MayPass, Patience};
use super::key;
use super::memory::{self, DigestAt, SignatureAt};
use crate::base::canonical::canonical_json;
use crate::base::clock::date;
use crate::base::digest::{Hashing, Object, Sha256};
use crate::base::disk;
use crate::base::error::{Advice, Exit};
use crate::base::event::{Event, Observer};
use crate::flatcar::board::SIGNATURE;
use crate::format::checksums::sha256_for;
use crate::source::input::Entry;
use crate::store::{Store, Unverified, Verified};
use crate::trust::openpgp::{self, Fingerprint, Revoked, Signed, TrustedKey, Verifier};
use crate::trust::pin::Trust;

/// An input that a recipe needs.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    /// Its id in the lock.
    pub id: String,
    /// Canonical URL, never a mirror's.
    pub url: String,
    /// The check that its bytes must pass, besides the lock's.
    pub check: Check,
}

/// A check that bytes must pass before they are stored.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    /// A detached signature by the trusted key, at the first of these canonical URLs that exists.
    Signature(Vec<String>),
    /// A SHA-256 that the publisher offers at this canonical URL: it protects integrity only, and the lock pins it from
    /// then on.
    Published(String),
    /// A SHA-256 that a person wrote down.
    Pinned(Sha256),
    /// The digest and size in a container image's descriptor, which another digest covers.
    Described(Object),
}

/// A signed input that was checked against the recipe's pinned key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Its id in the lock.
    pub id: String,
    /// The key that signed it, below the pinned one.
    pub signer: Fingerprint,
    /// Whether its bytes were read for that, in this run, instead of in an earlier one.
    pub read: bool,
}

impl Want {
    /// Whether the check is a signature.
    pub(crate) fn is_signed(&self) -> bool {
        matches!(self.check, Check::Signature(_))
    }

    /// The lock's id of its signature, if it has one.
    pub(crate) fn signature_id(&self) -> String {
        format!("{}{SIGNATURE}", self.id)
    }

    /// Describes how the locked entry of this id is for something else, or was accepted by another check; `None` if it
    /// fits.
    pub(crate) fn misfit(&self, entry: &Entry) -> Option<String> {
        let id = &self.id;
        if entry.url != self.url {
            return Some(format!("{id} is locked to {}", entry.url));
        }
        match &self.check {
            Check::Pinned(sha256) if entry.sha256 != *sha256 => {
                Some(format!("{id} is locked with sha256 {}, but {sha256} is pinned for it", entry.sha256))
            }
            Check::Published(url) if entry.sha256_url.as_ref() != Some(url) => {
                Some(match &entry.sha256_url {
                    Some(locked) => format!("{id} is locked by the digest at {locked}, not at {url}"),
                    None => format!("{id} is not locked by the digest at {url}"),
                })
            }
            Check::Described(object) if entry.object() != *object => Some(format!(
                "{id} is locked with sha256 {}, and its image names {}",
                entry.sha256, object.sha256
            )),
            Check::Signature(_) if entry.signer.is_none() || entry.signed.is_none() => {
                Some(format!("{id} is locked without its signer"))
            }
            _ => None,
        }
    }
}

/// Reasons why an input could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A network error.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// A disk error, or wrong bytes.
    #[error(transparent)]
    Store(#[from] disk::Error),
    /// A bad signature or key.
    #[error(transparent)]
    Trust(#[from] openpgp::Error),
    /// A network error while fetching the vendor's key file.
    #[error("the vendor's key file cannot be fetched, and the store has no copy of it")]
    Key(#[source] http::Error),
    /// Wrong bytes, sent by a mirror or after a redirect.
    #[error("{source} (sent by {asked})")]
    Sent {
        /// The URL that answered.
        asked: Asked,
        /// The underlying error.
        source: Box<Error>,
    },
    /// Wrong bytes for a digest that no lock holds yet.
    #[error(transparent)]
    Unpromised(disk::Error),
    /// A file that was decompressed on the way.
    #[error("{source}; it was decompressed on the way")]
    Unpacked {
        /// The underlying error.
        source: Box<Error>,
    },
    /// The store has no copy of the key file with this primary, and there is no network.
    #[error("there is no copy of a key file with the primary key {0}, which is needed to verify signatures")]
    NoKey(Fingerprint),
    /// The lock's input was accepted under another pin, and the key file for the recipe's pin is unavailable.
    #[error("the recipe pins the primary key {pin}, but the locked inputs were signed under {locked}")]
    OtherPin {
        /// The recipe's pin.
        pin: Fingerprint,
        /// The lock's pin.
        locked: Fingerprint,
        /// The reason why the recipe's key file is unavailable.
        source: Box<Error>,
    },
    /// A lock that contradicts the signature it names.
    #[error("the lock says that {id} was signed {what} {locked}; its signature says {found}")]
    Contradiction {
        /// The input's id.
        id: String,
        /// The contradicted claim: `by`, `at` …
        what: &'static str,
        /// The lock's claim.
        locked: String,
        /// The signature's statement.
        found: String,
        /// The exit code, which says whose fault it is.
        exit: Exit,
    },
    /// An object in the store whose bytes do not have the digest in its name.
    #[error("{id} is damaged in the store: its sha256 is {found} instead of {locked}")]
    Damaged {
        /// The input's id.
        id: String,
        /// The digest in the object's name.
        locked: Sha256,
        /// The digest of its bytes.
        found: Sha256,
    },
    /// A signature in the store that has meanwhile disappeared, or whose bytes do not have the digest in its name.
    #[error("{id} is damaged in the store, or missing")]
    Lost {
        /// The signature's id.
        id: String,
    },
    /// A published digest file without a digest.
    #[error("{url} has no SHA-256 digest for {file}")]
    NoDigest {
        /// URL of the digest file.
        url: String,
        /// Name of the file whose digest is missing.
        file: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Http(error) | Error::Key(error) => error.exit(),
            Error::Store(error) | Error::Unpromised(error) => error.exit(),
            Error::Trust(error) => error.exit(),
            Error::Sent { source, .. } | Error::Unpacked { source } => source.exit(),
            Error::NoKey(_) => Exit::Network,
            Error::OtherPin { .. } => Exit::Trust,
            Error::Contradiction { exit, .. } => *exit,
            Error::NoDigest { .. } | Error::Damaged { .. } | Error::Lost { .. } => Exit::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Http(error) => error.hint(),
            Error::Store(error) => error.hint(),
            Error::Trust(error) => error.hint(),
            Error::Sent { source, .. } => source.hint(),
            Error::Unpromised(disk::Error::Differs { .. }) => Some(
                "the bytes do not match the published digest: the server is damaged or lies; try another mirror".into(),
            ),
            Error::Unpromised(error) => error.hint(),
            Error::Unpacked { .. } => Some(
                "a server or proxy decompresses .gz files on the way: turn that off (nginx `gunzip`, Apache mod_deflate's INFLATE), or use another mirror".into(),
            ),
            Error::Key(error) if error.exit() == Exit::Trust => error.hint(),
            Error::Key(_) => {
                Some("name a copy of it in the recipe (`trust.key`), or let the mirror carry it".into())
            }
            Error::NoKey(_) => Some(
                "name a copy of it in the recipe (`trust.key`), or run `prebake key update` where there is a network".into(),
            ),
            Error::OtherPin { .. } => Some(
                "do not publish these bytes under the new pin: name its key file in the recipe (`trust.key`) and run `prebake lock`".into(),
            ),
            Error::Contradiction { id, .. } => Some(format!(
                "somebody edited the lock: restore it from version control, or run `prebake lock --update {id}`"
            )),
            Error::Damaged { .. } | Error::Lost { .. } => {
                Some("run it again with --paranoid: damaged objects are set aside and fetched again".into())
            }
            Error::NoDigest { .. } => Some("check the URL templates in sysext.yaml".into()),
        }
    }
}

impl Error {
    /// Adds the sender and the apparent kind of the bytes to an error about wrong bytes. `start` is their beginning;
    /// `is_locked` says whether a lock promised them.
    pub(super) fn of(self, asked: &Asked, canonical: &str, start: &[u8], is_locked: bool) -> Self {
        if let Some(title) = crate::base::words::page(start) {
            return http::Error::Page { url: asked.clone(), title }.into();
        }
        let mut error = match self {
            Error::Store(error @ disk::Error::Differs { .. }) if !is_locked => Error::Unpromised(error),
            error => error,
        };
        let name = canonical.split('?').next().unwrap_or(canonical);
        if (name.ends_with(".gz") || name.ends_with(".tgz"))
            && !start.is_empty()
            && !start.starts_with(&http::GZIP)
        {
            error = Error::Unpacked { source: Box::new(error) };
        }
        match asked.stands_in_for(canonical) {
            true => Error::Sent { asked: asked.clone(), source: Box::new(error) },
            false => error,
        }
    }
}

impl MayPass for Error {
    fn may_pass(&self) -> Option<(String, Option<Duration>)> {
        match self {
            Error::Http(error) => MayPass::may_pass(error),
            _ => None,
        }
    }

    fn next_mirror_may_help(&self) -> bool {
        matches!(self, Error::Http(error) if error.next_mirror_may_help())
    }
}

/// Fetches inputs for one recipe.
pub(crate) struct Fetcher<'a> {
    /// The HTTP client.
    pub http: &'a Http<'a>,
    /// Stores the bytes.
    pub store: &'a Store,
    /// Receives progress events.
    pub observer: &'a dyn Observer,
    trust: &'a Trust,
    /// The revocations that the lock remembers, and the lock's path.
    remembered: (Revoked, String),
    offline: bool,
    /// The current key file.
    key: OnceCell<TrustedKey>,
    /// The stored copy, used if nothing has to be fetched.
    copy: OnceCell<TrustedKey>,
    /// Ids of inputs that this fetcher has read and judged.
    fresh: Mutex<BTreeSet<String>>,
}

/// The name of the store's note about a signature that was verified over a file.
fn note_key(pin: Fingerprint, file: &Sha256, signature: &Sha256) -> Sha256 {
    Sha256::of(&canonical_json(
        &json!({"kind": "signature", "pin": pin, "file": file, "signature": signature}),
    ))
}

/// Computes a file's digest and judges its signature in one pass.
fn read_and_judge(id: &str, mut file: File, locked: Sha256, mut verifier: Verifier) -> Result<Signed, Error> {
    let mut hashing = Hashing::new(io::sink());
    // Fits into one core's own cache.
    let mut buffer = vec![0; 128 << 10];
    let mut pass = || -> io::Result<()> {
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                length => {
                    io::Write::write_all(&mut hashing, &buffer[..length])?;
                    verifier.update(&buffer[..length]);
                }
            }
        }
    };
    pass().map_err(disk::Error::io("read", id.as_ref()))?;
    let (_, found, _) = hashing.finish();
    match found == locked {
        true => Ok(verifier.finish()?),
        false => Err(Error::Damaged { id: id.into(), locked, found }),
    }
}

/// Checks a lock's claims about a signed input against the pinned key, and against the signature itself if the store
/// has it. No byte of the input is read.
///
/// # Errors
/// [`Error::Trust`] and [`Error::Contradiction`].
pub(crate) fn judge_claim(
    key: &TrustedKey,
    want: &Want,
    entries: &BTreeMap<String, Entry>,
    store: &Store,
    now: SystemTime,
) -> Result<Option<Verifier>, Error> {
    let id = want.signature_id();
    let Some(entry) = entries.get(&want.id).filter(|entry| want.misfit(entry).is_none()) else {
        return Ok(None);
    };
    let (Some(signer), Some(signed)) = (&entry.signer, entry.signed) else { return Ok(None) };
    let subject = entries.get(&id).map_or(&entry.url, |signature| &signature.url);
    let signature = entries.get(&id).and_then(|signature| {
        let bytes = fs::read(store.path(&signature.sha256)).ok()?;
        (Sha256::of(&bytes) == signature.sha256).then_some(bytes)
    });
    let claimed: Option<Fingerprint> = signer.parse().ok();
    let Some(bytes) = signature else {
        let claimed = claimed.ok_or_else(|| openpgp::Error::Foreign {
            subject: subject.clone(),
            issuer: signer.clone(),
            pin: key.primary(),
        })?;
        key.vouches(subject, claimed, signed, now)?;
        return Ok(None);
    };
    let verifier = key.expect(subject, &bytes, now)?;
    if claimed.is_some_and(|claimed| verifier.is_by(claimed, signed)) {
        return Ok(Some(verifier));
    }
    let of_maker = verifier.makers().find(|(maker, _)| Some(*maker) == claimed);
    let contradiction = |what, locked: String, found: String, exit| {
        Err(Error::Contradiction { id: want.id.clone(), what, locked, found, exit })
    };
    match of_maker {
        Some((_, at)) => contradiction("at", date(signed), date(at), Exit::Integrity),
        None => {
            let makers: Vec<String> = verifier.makers().map(|(maker, _)| maker.to_string()).collect();
            contradiction("by", signer.clone(), makers.join(", "), Exit::Trust)
        }
    }
}

impl<'a> Fetcher<'a> {
    /// A fetcher with the recipe's trusted key, which is read when the first signature needs it.
    pub(crate) fn new(
        http: &'a Http<'a>,
        store: &'a Store,
        observer: &'a dyn Observer,
        trust: &'a Trust,
    ) -> Self {
        let (key, copy) = (OnceCell::new(), OnceCell::new());
        let (remembered, fresh) = (Default::default(), Mutex::default());
        Fetcher { http, store, observer, trust, remembered, offline: false, key, copy, fresh }
    }

    /// The same fetcher, refusing a key file that lacks revocations which a lock remembers.
    pub(crate) fn remembering(self, revoked: Revoked, lock: &Path) -> Self {
        Fetcher { remembered: (revoked, lock.display().to_string()), ..self }
    }

    /// The revocations that a lock has to remember: all in the key files that were read.
    pub(crate) fn revoked(&self) -> Revoked {
        let keys = [self.copy.get(), self.key.get()];
        keys.into_iter().flatten().flat_map(TrustedKey::revoked).collect()
    }

    fn admitted(&self, key: TrustedKey) -> Result<TrustedKey, Error> {
        let (revoked, lock) = &self.remembered;
        key.must_revoke(revoked, lock)?;
        Ok(key)
    }

    /// The same fetcher, which fetches no key file if `offline` is true.
    pub(crate) fn offline(self, offline: bool) -> Self {
        Fetcher { offline, ..self }
    }

    async fn key(&self) -> Result<&TrustedKey, Error> {
        let read =
            async || self.admitted(key::trusted(self.trust, self.store, self.http, self.observer).await?);
        self.key.get_or_try_init(read).await
    }

    /// The key for judging stored inputs: the current key file if it was fetched, else the stored copy. A build that
    /// fetches nothing needs no network.
    async fn key_for_stock(&self) -> Result<&TrustedKey, Error> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        if let Some(key) = self.copy.get() {
            return Ok(key);
        }
        match key::at_hand(self.trust, self.store)? {
            Some(key) => {
                let key = self.admitted(key)?;
                Ok(self.copy.get_or_init(|| async { key }).await)
            }
            None if self.offline => Err(Error::NoKey(self.trust.primary)),
            None => self.key().await,
        }
    }

    /// Judges a signed input in the store by the recipe's pin, whoever stored it: its signature and signer as of now,
    /// and its bytes by this store's note of an earlier verification under this pin, or else by reading them. A
    /// paranoid store's bytes are always read.
    ///
    /// # Errors
    /// [`Error::Trust`], [`Error::Contradiction`], [`Error::Damaged`], [`Error::Lost`], and [`Error::NoKey`] if offline
    /// without a copy.
    pub(crate) async fn judge(
        &self,
        want: &Want,
        entries: &BTreeMap<String, Entry>,
    ) -> Result<Judged, Error> {
        let key = self.key_for_stock().await?;
        let (entry, signature) = (&entries[&want.id], &entries[&want.signature_id()]);
        let verifier = judge_claim(key, want, entries, self.store, SystemTime::now())?;
        let verifier = verifier.ok_or_else(|| Error::Lost { id: want.signature_id() })?;
        let (signed, read) = self.signed_over(want, entry.object(), &signature.sha256, verifier).await?;
        let claims = [
            ("by", entry.signer.clone(), Some(signed.signer.to_string()), Exit::Trust),
            ("at", entry.signed.map(date), Some(date(signed.created)), Exit::Integrity),
            (
                "over the sha512",
                entry.sha512.map(|sha512| sha512.to_string()),
                signed.sha512.map(|sha512| sha512.to_string()),
                Exit::Integrity,
            ),
        ];
        for (what, locked, found, exit) in claims {
            if locked != found {
                let or_none = |claim: Option<String>| claim.unwrap_or_else(|| "nothing".into());
                let (locked, found) = (or_none(locked), or_none(found));
                return Err(Error::Contradiction { id: want.id.clone(), what, locked, found, exit });
            }
        }
        Ok(Judged { id: want.id.clone(), signer: signed.signer, read })
    }

    /// Judges a signature over a file in the store: by this store's note of an earlier verification under this pin, or
    /// else by reading it, which the second value tells. A paranoid store's bytes are always read.
    async fn signed_over(
        &self,
        want: &Want,
        file: Object,
        signature: &Sha256,
        verifier: Verifier,
    ) -> Result<(Signed, bool), Error> {
        let is_fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner).contains(&want.id);
        let note = note_key(self.trust.primary, &file.sha256, signature);
        let remembered = || {
            let signed: Signed = serde_json::from_slice(&self.store.note(&note)?).ok()?;
            verifier.admits(&signed).then_some(signed)
        };
        let remembered = if self.store.is_paranoid() && !is_fresh { None } else { remembered() };
        if let Some(signed) = remembered {
            return Ok((signed, is_fresh));
        }
        let path = self.store.path(&file.sha256);
        let opened = File::open(&path).map_err(disk::Error::io("read", &path))?;
        let id = want.id.clone();
        let work = move || read_and_judge(&id, opened, file.sha256, verifier);
        let signed = joined(tokio::task::spawn_blocking(work).await)?;
        self.remember(&want.id, file, signature, &signed)?;
        Ok((signed, true))
    }

    /// Notes that this run has verified a signature over a file.
    fn remember(&self, id: &str, file: Object, signature: &Sha256, signed: &Signed) -> Result<(), Error> {
        let pin = self.trust.primary;
        // The note last: where it is, nobody verifies and remembers again.
        memory::keep(self.store, &memory::signed_key(pin, signature), &file)?;
        self.store.keep_note(&note_key(pin, &file.sha256, signature), &canonical_json(signed))?;
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        Ok(())
    }

    /// The name of the memory of an input's proof, if its URLs are versioned.
    fn proof_key(&self, want: &Want) -> Option<Sha256> {
        let proofs = match &want.check {
            Check::Signature(urls) => urls.as_slice(),
            Check::Published(url) => std::slice::from_ref(url),
            Check::Pinned(_) | Check::Described(_) => return None,
        };
        let urls = std::iter::once(&want.url).chain(proofs).map(String::as_str);
        memory::proof_key(urls, |url| self.http.candidates(url))
    }

    /// The entries of an input that no lock names, if an earlier run has brought it from the same versioned URL of the
    /// same mirrors, or if a person wrote down its digest. A signature is judged by this recipe's pin; no input is asked for.
    /// Fetching finds out about any fault of a memory.
    pub(crate) async fn recall(&self, want: &Want) -> Option<BTreeMap<String, Entry>> {
        let entries = match &want.check {
            Check::Signature(urls) => {
                let key = self.proof_key(want)?;
                let memory: SignatureAt = memory::recall(self.store, &key)?;
                if !urls.contains(&memory.url) {
                    return None;
                }
                let bytes = fs::read(self.store.path(&memory.object.sha256)).ok()?;
                memory.object.must_be(&memory.url, &Object::of(&bytes)).ok()?;
                let entries = self.vouched(want, &memory.url, &bytes, None).await.ok()??;
                memory::keep(self.store, &key, &memory).ok()?;
                entries
            }
            Check::Published(_) => {
                let key = self.proof_key(want)?;
                let memory: DigestAt = memory::recall(self.store, &key)?;
                let entries = self.by_digest(want, &memory.sha256)?;
                memory::keep(self.store, &key, &memory).ok()?;
                entries
            }
            Check::Pinned(sha256) => self.by_digest(want, sha256)?,
            Check::Described(_) => return None,
        };
        Some(entries)
    }

    /// The entries of an unsigned input whose bytes the store has under a digest.
    fn by_digest(&self, want: &Want, sha256: &Sha256) -> Option<BTreeMap<String, Entry>> {
        let size = fs::metadata(self.store.path(sha256)).ok()?.len();
        let object = Some(Object { sha256: *sha256, size }).filter(|object| self.store.has(object))?;
        Some(BTreeMap::from([(want.id.clone(), entry_of(want, object))]))
    }

    /// The entries of a signed input whose bytes the store has: `file`, or those that this signature was found to be
    /// over under this pin. The signature is judged as if it had just arrived.
    async fn vouched(
        &self,
        want: &Want,
        url: &str,
        signature: &[u8],
        file: Option<Object>,
    ) -> Result<Option<BTreeMap<String, Entry>>, Error> {
        let object = Object::of(signature);
        let recalled = || memory::recall(self.store, &memory::signed_key(self.trust.primary, &object.sha256));
        let Some(file) = file.or_else(recalled).filter(|file| self.store.has(file)) else { return Ok(None) };
        let key = if self.offline { self.key_for_stock().await? } else { self.key().await? };
        let verifier = key.expect(url, signature, SystemTime::now())?;
        let (signed, _) = self.signed_over(want, file, &object.sha256, verifier).await?;
        let entry = signed_entry(entry_of(want, file), &signed);
        let signature = Entry::plain(url, self.store.put(signature)?);
        Ok(Some(BTreeMap::from([(want.id.clone(), entry), (want.signature_id(), signature)])))
    }

    /// Brings an input into the store, and returns the entries for the lock: its own and its signature's.
    ///
    /// With `locked` entries only exactly those bytes are accepted; signatures are judged all the same.
    pub(crate) async fn fetch(
        &self,
        want: &Want,
        locked: &BTreeMap<String, Entry>,
    ) -> Result<BTreeMap<String, Entry>, Error> {
        let lock = locked.get(&want.id).filter(|entry| want.misfit(entry).is_none());
        let signature_id = want.signature_id();
        let (mut signature, mut pinned, mut described) = (None, None, None);
        match &want.check {
            Check::Signature(urls) => {
                let found = self.signature(urls, locked.get(&signature_id)).await?;
                // A fault of these bytes, or of the memory of them, shows when they are fetched.
                let file = lock.map(Entry::object);
                if let Ok(Some(entries)) = self.vouched(want, &found.url, &found.bytes, file).await {
                    self.remember_proof(want, &found)?;
                    return Ok(self.done(want, entries));
                }
                signature = Some(found);
            }
            Check::Published(_) if lock.is_some() => {}
            Check::Published(url) => pinned = Some(self.published(url, &want.url).await?),
            Check::Pinned(sha256) => pinned = Some(*sha256),
            Check::Described(object) => described = Some(*object),
        }
        if let Some(entries) = pinned.filter(|_| lock.is_none()).and_then(|pin| self.by_digest(want, &pin)) {
            self.remember_digest(want, pinned)?;
            return Ok(self.done(want, entries));
        }
        let expectation = Expectation {
            url: &want.url,
            locked: lock.map(Entry::object).or(described),
            pinned,
            signature: match signature {
                Some(found) => Some((found, self.key().await?)),
                None => None,
            },
        };
        // A signature that would be refused over any bytes makes the download pointless.
        expectation.verifier()?;
        let judged = loop {
            match self.receive(want, &expectation).await? {
                Received::Bytes { bytes, resumed, asked } => {
                    let start = bytes.start();
                    match expectation.judge(bytes) {
                        // The server is not to blame if the disk lost bytes of an earlier process.
                        Err(error) if resumed => {
                            let reason = format!("{error}; the bytes from an earlier run are discarded");
                            self.observer.notice(Event::FetchRetry { id: &want.id, reason: &reason });
                        }
                        Err(error) => {
                            return Err(error.of(&asked, &want.url, &start, lock.is_some()));
                        }
                        Ok(judged) => break Some(judged),
                    }
                }
                Received::Here => break None,
            }
        };
        let mut entries = BTreeMap::new();
        if let Some((found, _)) = &expectation.signature {
            // First: once the signature is in the store, no mirror is asked for it again, and its place would stay unknown.
            if judged.is_some() {
                self.remember_proof(want, found)?;
            }
            entries.insert(signature_id.clone(), Entry::plain(&found.url, self.store.put(&found.bytes)?));
        }
        let entry = match (judged, lock) {
            (Some((verified, signed)), _) => {
                // Before the bytes get their name: from then on nobody fetches them again, and their place would stay unknown.
                self.remember_digest(want, pinned)?;
                let mut entry = entry_of(want, self.admit(verified).await?);
                if let Some(signed) = signed {
                    if let Some((found, _)) = &expectation.signature {
                        let signature = Sha256::of(&found.bytes);
                        self.remember(&want.id, entry.object(), &signature, &signed)?;
                    }
                    entry = signed_entry(entry, &signed);
                }
                entry
            }
            // Another process stored it and may have judged it by another pin; [`Fetcher::judge`] checks that.
            (None, Some(entry)) => entry.clone(),
            (None, None) => match described {
                Some(object) => Entry::plain(&want.url, object),
                None => unreachable!("only promised bytes are known to be here"),
            },
        };
        entries.insert(want.id.clone(), entry);
        Ok(self.done(want, entries))
    }

    /// Tells that an input is in the store.
    fn done(&self, want: &Want, entries: BTreeMap<String, Entry>) -> BTreeMap<String, Entry> {
        if let Some(entry) = entries.get(&want.id) {
            let signer = entry.signer.as_deref();
            self.observer.notice(Event::FetchDone { id: &want.id, size: entry.size, signer });
        }
        entries
    }

    /// Remembers the signature that a mirror has for an input, if this run has seen it there.
    fn remember_proof(&self, want: &Want, found: &Found) -> Result<(), Error> {
        if let (true, Some(key)) = (found.was_asked, self.proof_key(want)) {
            let memory = SignatureAt { url: found.url.clone(), object: Object::of(&found.bytes) };
            memory::keep(self.store, &key, &memory)?;
        }
        Ok(())
    }

    /// Remembers the digest that a mirror has for an input, if this run has seen it there.
    fn remember_digest(&self, want: &Want, published: Option<Sha256>) -> Result<(), Error> {
        if let (Some(sha256), Some(key)) = (published, self.proof_key(want)) {
            memory::keep(self.store, &key, &DigestAt { sha256 })?;
        }
        Ok(())
    }

    /// Stores bytes on a blocking thread, because the disk's sync takes time that other downloads should not wait for.
    async fn admit(&self, verified: Verified) -> Result<Object, Error> {
        let store = self.store.clone();
        Ok(joined(tokio::task::spawn_blocking(move || store.admit(verified)).await)?)
    }

    /// Receives an input's bytes from the first mirror that has them.
    async fn receive(&self, want: &Want, expectation: &Expectation<'_>) -> Result<Received, Error> {
        let mut download = Download {
            http: self.http,
            store: self.store,
            observer: self.observer,
            id: &want.id,
            url: &want.url,
            expected: expectation.locked,
            most: super::most(&want.url),
            state: State::default(),
        };
        let retrying = |reason: &str, _| self.observer.notice(Event::FetchRetry { id: &want.id, reason });
        let attempt = async |url: &str, patience: &mut Patience| {
            download.attempt(url, &|| expectation.verifier(), patience).await
        };
        self.http.each(&want.url, &retrying, attempt).await
    }

    /// Gets a signature: the locked one, from the store if it is there; if none is locked for these URLs, the first
    /// that one of them has.
    #[expect(clippy::expect_used, reason = "what is signed has at least one URL for its signature")]
    async fn signature(&self, urls: &[String], locked: Option<&Entry>) -> Result<Found, Error> {
        // An entry with another URL belongs to another version.
        let locked = locked.filter(|entry| urls.contains(&entry.url));
        let urls = locked.map_or(urls, |entry| std::slice::from_ref(&entry.url));
        if let Some(entry) = locked
            && let Ok(bytes) = std::fs::read(self.store.path(&entry.sha256))
            && Sha256::of(&bytes) == entry.sha256
        {
            let (url, asked) = (entry.url.clone(), entry.url.as_str().into());
            return Ok(Found { url, bytes, asked, was_asked: false });
        }
        let mut missing = None;
        for url in urls {
            match self.http.text(url).await {
                Ok((bytes, asked)) => {
                    if let Some(entry) = locked {
                        let judged = Object::of(&bytes).must_be(url, &entry.object());
                        judged.map_err(|error| Error::from(error).of(&asked, url, &bytes, true))?;
                    }
                    return Ok(Found { url: url.clone(), bytes, asked, was_asked: true });
                }
                Err(error) if error.is_missing() => missing = missing.or(Some(error)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(missing.expect("a signed input has at least one signature URL").into())
    }

    /// The digest in a file such as `kubeadm.sha256`: bare, or in a `sha256sum` line.
    async fn published(&self, url: &str, file: &str) -> Result<Sha256, Error> {
        let (text, asked) = self.http.text(url).await?;
        let name = file.rsplit('/').next().unwrap_or(file);
        sha256_for(&String::from_utf8_lossy(&text), name)
            .ok_or_else(|| Error::NoDigest { url: asked.to_string(), file: name.into() })
    }
}

/// The entry of an input without a signature, or before it is judged.
fn entry_of(want: &Want, object: Object) -> Entry {
    let mut entry = Entry::plain(&want.url, object);
    if let Check::Published(url) = &want.check {
        entry.sha256_url = Some(url.clone());
    }
    entry
}

/// An entry with the signature that was verified over its bytes.
fn signed_entry(entry: Entry, signed: &Signed) -> Entry {
    Entry {
        signer: Some(signed.signer.to_string()),
        signed: Some(signed.created),
        sha512: signed.sha512,
        ..entry
    }
}

/// A signature, before it is judged.
struct Found {
    /// Its canonical URL.
    url: String,
    bytes: Vec<u8>,
    /// The URL that sent it.
    asked: Asked,
    /// Whether that URL was asked in this run.
    was_asked: bool,
}

/// The checks that an input's bytes must pass.
struct Expectation<'a> {
    /// Canonical URL, never a mirror's.
    url: &'a str,
    locked: Option<Object>,
    pinned: Option<Sha256>,
    /// The signature, and the key that may have made it.
    signature: Option<(Found, &'a TrustedKey)>,
}

impl Expectation<'_> {
    fn verifier(&self) -> Result<Option<Verifier>, Error> {
        let Some((found, key)) = &self.signature else { return Ok(None) };
        let verifier = key.expect(&found.url, &found.bytes, SystemTime::now());
        // No `start` is needed: an HTML page was already refused.
        Ok(Some(verifier.map_err(|error| Error::from(error).of(&found.asked, &found.url, &[], false))?))
    }

    fn judge(&self, bytes: Unverified) -> Result<(Verified, Option<Signed>), Error> {
        let found = bytes.object();
        let pinned = self.pinned.map(|sha256| Object { sha256, size: found.size });
        let promised = self.locked.or(pinned);
        // The promised digest goes first: "not the locked bytes" says more than "not the signed bytes".
        if let Some(promised) = promised {
            found.must_be(self.url, &promised)?;
        }
        match (bytes.signed(), promised) {
            (Ok(judged), _) => {
                let (verified, signed) = judged?;
                Ok((verified, Some(signed)))
            }
            (Err(bytes), Some(promised)) => Ok((bytes.is(self.url, &promised)?, None)),
            (Err(_), None) => unreachable!("an unsigned input has a promised digest"),
        }
    }
}
