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
        let is_fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner).contains(&want.id);
        let note = note_key(key.primary(), &entry.sha256, &signature.sha256);
        let remembered = || {
            let signed: Signed = serde_json::from_slice(&self.store.note(&note)?).ok()?;
            verifier.admits(&signed).then_some(signed)
        };
        let remembered = if self.store.is_paranoid() && !is_fresh { None } else { remembered() };
        let read = is_fresh || remembered.is_none();
        let signed = match remembered {
            Some(signed) => signed,
            None => {
                let path = self.store.path(&entry.sha256);
                let file = File::open(&path).map_err(disk::Error::io("read", &path))?;
                let (id, sha256) = (want.id.clone(), entry.sha256);
                let work = move || read_and_judge(&id, file, sha256, verifier);
                let signed = joined(tokio::task::spawn_blocking(work).await)?;
                self.remember(&note, &signed)?;
                signed
            }
        };
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

    fn remember(&self, note: &Sha256, signed: &Signed) -> Result<(), Error> {
        Ok(self.store.keep_note(note, &canonical_json(signed))?)
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
                signature = Some(self.signature(urls, locked.get(&signature_id)).await?);
            }
            Check::Published(_) if lock.is_some() => {}
            Check::Published(url) => pinned = Some(self.published(url, &want.url).await?),
            Check::Pinned(sha256) => pinned = Some(*sha256),
            Check::Described(object) => described = Some(*object),
        }
        let expectation = Expectation {
            url: &want.url,
            locked: lock.map(Entry::object).or(described),
            pinned,
            signature: match signature {
                Some((url, bytes, asked)) => Some((url, bytes, asked, self.key().await?)),
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
        if let Some((url, bytes, ..)) = &expectation.signature {
            entries.insert(signature_id.clone(), Entry::plain(url, self.store.put(bytes)?));
        }
        let entry = match (judged, lock) {
            (Some((verified, signed)), _) => {
                let mut entry = Entry::plain(&want.url, self.admit(verified).await?);
                if let Check::Published(url) = &want.check {
                    entry.sha256_url = Some(url.clone());
                }
                if let Some(signed) = signed {
                    if let Some(signature) = entries.get(&signature_id) {
                        let pin = self.trust.primary;
                        self.remember(&note_key(pin, &entry.sha256, &signature.sha256), &signed)?;
                        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).insert(want.id.clone());
                    }
                    entry.signer = Some(signed.signer.to_string());
                    entry.signed = Some(signed.created);
                    entry.sha512 = signed.sha512;
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
        let signer = entry.signer.as_deref();
        self.observer.notice(Event::FetchDone { id: &want.id, size: entry.size, signer });
        entries.insert(want.id.clone(), entry);
        Ok(entries)
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
    async fn signature(
        &self,
        urls: &[String],
        locked: Option<&Entry>,
    ) -> Result<(String, Vec<u8>, Asked), Error> {
        // An entry with another URL belongs to another version.
        let locked = locked.filter(|entry| urls.contains(&entry.url));
        let urls = locked.map_or(urls, |entry| std::slice::from_ref(&entry.url));
        if let Some(entry) = locked
            && let Ok(bytes) = std::fs::read(self.store.path(&entry.sha256))
            && Sha256::of(&bytes) == entry.sha256
        {
            return Ok((entry.url.clone(), bytes, entry.url.as_str().into()));
        }
        let mut missing = None;
        for url in urls {
            match self.http.text(url).await {
                Ok((bytes, asked)) => {
                    if let Some(entry) = locked {
                        let judged = Object::of(&bytes).must_be(url, &entry.object());
                        judged.map_err(|error| Error::from(error).of(&asked, url, &bytes, true))?;
                    }
                    return Ok((url.clone(), bytes, asked));
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

/// The checks that an input's bytes must pass.
struct Expectation<'a> {
    /// Canonical URL, never a mirror's.
    url: &'a str,
    locked: Option<Object>,
    pinned: Option<Sha256>,
    /// The signature's URL, its bytes, the URL that sent them, and the key that may have made it.
    signature: Option<(String, Vec<u8>, Asked, &'a TrustedKey)>,
}

impl Expectation<'_> {
    fn verifier(&self) -> Result<Option<Verifier>, Error> {
        let Some((url, bytes, asked, key)) = &self.signature else { return Ok(None) };
        let verifier = key.expect(url, bytes, SystemTime::now());
        // No `start` is needed: an HTML page was already refused.
        Ok(Some(verifier.map_err(|error| Error::from(error).of(asked, url, &[], false))?))
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
