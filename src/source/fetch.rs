//! One input: from its URL, through verification, into the store.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::sync::OnceCell;

use super::download::{Download, Received, State, joined};
use super::http::{self, Asked, Http, MayPass, Patience, words};
use super::key;
use crate::digest::Sha256;
use crate::error::{Advice, Exit};
use crate::event::{Event, Observer};
use crate::lock::Entry;
use crate::openpgp::{self, Signed, TrustedKey, Verifier};
use crate::recipe::Trust;
use crate::store::{self, Object, Store, Unverified, Verified};
use crate::sysext::published::sha256_for;

/// An input that a recipe needs.
#[derive(Clone, Debug)]
pub struct Want {
    /// Its id in the lock.
    pub id: String,
    /// Canonical URL.
    pub url: String,
    /// What makes its bytes the right ones, beside the lock.
    pub check: Check,
}

/// What must hold of bytes before they are stored.
#[derive(Clone, Debug)]
pub enum Check {
    /// A detached signature by the trusted key, at the first of these canonical URLs that exists.
    Signature(Vec<String>),
    /// A SHA-256 that its publisher offers at this canonical URL: integrity, pinned by the lock from then on.
    Published(String),
    /// A SHA-256 that was written down by a person.
    Pinned(Sha256),
    /// The digest and size in the descriptor of a container image, which another digest covers.
    Described(Object),
}

/// Why an input could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Of the network.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// Of the disk, or wrong bytes.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Of a signature or key.
    #[error(transparent)]
    Trust(#[from] openpgp::Error),
    /// Of the network, when the vendor's key file was asked for.
    #[error("the vendor's key file cannot be had, and the store has no copy of it")]
    Key(#[source] http::Error),
    /// Wrong bytes, of a mirror or behind a redirect.
    #[error("{source} (sent by {asked})")]
    Sent {
        /// The URL that answered.
        asked: Asked,
        /// What is wrong.
        source: Box<Error>,
    },
    /// Wrong bytes for a digest that no lock holds yet.
    #[error(transparent)]
    Unpromised(store::Error),
    /// A file that something on the way has unpacked.
    #[error("{source}; it came unpacked")]
    Unpacked {
        /// What is wrong.
        source: Box<Error>,
    },
    /// A published digest that is none.
    #[error("{url} holds no SHA-256 digest for {file}")]
    NoDigest {
        /// Where it should be.
        url: String,
        /// The file it is about.
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
            Error::NoDigest { .. } => Exit::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Http(error) => error.hint(),
            Error::Store(error) => error.hint(),
            Error::Trust(error) => error.hint(),
            Error::Sent { source, .. } => source.hint(),
            Error::Unpromised(store::Error::Differs { .. }) => Some(
                "these are not the bytes that their digest promises: what answers is damaged, or lies; try another mirror".into(),
            ),
            Error::Unpromised(error) => error.hint(),
            Error::Unpacked { .. } => Some(
                "a server or proxy unpacks .gz files on the way: turn that off (nginx `gunzip`, Apache mod_deflate's INFLATE), or use another mirror".into(),
            ),
            Error::Key(error) if error.exit() == Exit::Trust => error.hint(),
            Error::Key(_) => {
                Some("name a copy of it in the recipe (`trust.key`), or let the mirror carry it".into())
            }
            Error::NoDigest { .. } => Some("check the URL templates in sysext.yaml".into()),
        }
    }
}

impl Error {
    /// Says of wrong bytes who sent them, and what they look like. `start` is how they begin; `is_locked` whether a lock
    /// promised them.
    pub(super) fn of(self, asked: &Asked, canonical: &str, start: &[u8], is_locked: bool) -> Self {
        if let Some(title) = words::page(start) {
            return http::Error::Page { url: asked.clone(), title }.into();
        }
        let mut error = match self {
            Error::Store(error @ store::Error::Differs { .. }) if !is_locked => Error::Unpromised(error),
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
pub struct Fetcher<'a> {
    /// The client.
    pub http: &'a Http,
    /// Where the bytes go.
    pub store: &'a Store,
    /// Who listens.
    pub observer: &'a dyn Observer,
    trust: &'a Trust,
    key: OnceCell<TrustedKey>,
}

impl<'a> Fetcher<'a> {
    /// A fetcher that trusts what the recipe trusts. The key is read when the first signature needs it.
    pub fn new(http: &'a Http, store: &'a Store, observer: &'a dyn Observer, trust: &'a Trust) -> Self {
        Fetcher { http, store, observer, trust, key: OnceCell::new() }
    }

    async fn key(&self) -> Result<&TrustedKey, Error> {
        let read = || key::trusted(self.trust, self.store, self.http, self.observer);
        self.key.get_or_try_init(read).await
    }

    /// Brings an input into the store: the entries for the lock, its signature's beside its own.
    ///
    /// With `locked` entries only exactly those bytes are accepted; signatures are judged all the same.
    pub async fn fetch(
        &self,
        want: &Want,
        locked: &BTreeMap<String, Entry>,
    ) -> Result<BTreeMap<String, Entry>, Error> {
        let lock = locked.get(&want.id).filter(|entry| entry.url == want.url);
        let signature_id = format!("{}.sig", want.id);
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
        // A signature that is refused whatever it signs is not worth a download.
        expectation.verifier()?;
        let judged = loop {
            match self.receive(want, &expectation).await? {
                Received::Bytes { bytes, verifier, resumed, asked } => {
                    let start = bytes.start();
                    match expectation.judge(bytes, verifier) {
                        // Not the server's fault if the disk lost what an earlier process wrote.
                        Err(error) if resumed => {
                            let reason = format!("{error}; what an earlier run had fetched is thrown away");
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
            entries.insert(signature_id, Entry::plain(url, self.store.put(bytes)?));
        }
        let entry = match (judged, lock) {
            (Some((verified, signed)), _) => {
                let mut entry = Entry::plain(&want.url, self.admit(verified).await?);
                if let Some(signed) = signed {
                    entry.signer = Some(signed.signer.to_string());
                    entry.signed = Some(signed.created);
                    entry.sha512 = signed.sha512;
                }
                entry
            }
            // Stored by another process, which judged it as this one would have.
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

    /// Stores bytes without holding up the others: the disk's sync takes its time.
    async fn admit(&self, verified: Verified) -> Result<Object, Error> {
        let store = self.store.clone();
        Ok(joined(tokio::task::spawn_blocking(move || store.admit(verified)).await)?)
    }

    /// The bytes of a want, from the first mirror that has them.
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
        let retrying = |reason: &str| self.observer.notice(Event::FetchRetry { id: &want.id, reason });
        let attempt = async |url: &str, patience: &mut Patience| {
            download.attempt(url, &|| expectation.verifier(), patience).await
        };
        self.http.each(&want.url, &retrying, attempt).await
    }

    /// A signature: the locked one, from the store if it is at hand; where none is locked for these URLs, the first that
    /// one of them has.
    async fn signature(
        &self,
        urls: &[String],
        locked: Option<&Entry>,
    ) -> Result<(String, Vec<u8>, Asked), Error> {
        // An entry for other URLs belongs to another version.
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
        let text = self.http.small(url).await?;
        let name = file.rsplit('/').next().unwrap_or(file);
        sha256_for(&String::from_utf8_lossy(&text), name)
            .ok_or_else(|| Error::NoDigest { url: url.into(), file: name.into() })
    }
}

/// What the bytes of an input must be.
struct Expectation<'a> {
    /// Canonical URL.
    url: &'a str,
    locked: Option<Object>,
    pinned: Option<Sha256>,
    /// The signature's URL, its bytes, who sent them, and who may have made it.
    signature: Option<(String, Vec<u8>, Asked, &'a TrustedKey)>,
}

impl Expectation<'_> {
    fn verifier(&self) -> Result<Option<Verifier>, Error> {
        let Some((url, bytes, asked, key)) = &self.signature else { return Ok(None) };
        let verifier = key.expect(url, bytes, SystemTime::now());
        // How it begins is no matter: no page gets as far as this.
        Ok(Some(verifier.map_err(|error| Error::from(error).of(asked, url, &[], false))?))
    }

    fn judge(
        &self,
        bytes: Unverified,
        verifier: Option<Verifier>,
    ) -> Result<(Verified, Option<Signed>), Error> {
        let found = bytes.object();
        let pinned = self.pinned.map(|sha256| Object { sha256, size: found.size });
        let promised = self.locked.or(pinned);
        // Promised bytes first: "not the locked bytes" says more than "not the signed bytes".
        if let Some(promised) = promised {
            found.must_be(self.url, &promised)?;
        }
        match (verifier, promised) {
            (Some(verifier), _) => {
                let signed = verifier.finish()?;
                Ok((bytes.signed(&signed), Some(signed)))
            }
            (None, Some(promised)) => Ok((bytes.is(self.url, &promised)?, None)),
            (None, None) => unreachable!("an unsigned input has a promised digest"),
        }
    }
}
