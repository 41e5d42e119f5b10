//! One input: from its URL, through verification, into the store.
//!
//! Bytes are written and hashed on a thread of their own while the next ones arrive, in one pass, whatever the size.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::{OnceCell, mpsc};

use super::flatcar;
use super::http::{self, Http, MayPass};
use crate::digest::Sha256;
use crate::error::{Advice, Exit};
use crate::event::{Event, Observer};
use crate::lock::Entry;
use crate::openpgp::{self, TrustedKey, Verifier};
use crate::recipe::Trust;
use crate::store::{self, Object, Store, Unverified};
use crate::sysext::published::sha256_for;

/// Chunks on their way from the network to the disk: at most this many wait.
const QUEUE: usize = 32;

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
            Error::Http(error) => error.exit(),
            Error::Store(error) => error.exit(),
            Error::Trust(error) => error.exit(),
            Error::NoDigest { .. } => Exit::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Http(error) => error.hint(),
            Error::Store(error) => error.hint(),
            Error::Trust(error) => error.hint(),
            Error::NoDigest { .. } => Some("check the URL templates in sysext.yaml".into()),
        }
    }
}

impl MayPass for Error {
    fn may_pass(&self) -> Option<String> {
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
        let read = async || {
            let (subject, bytes) = match &self.trust.key {
                Some(path) => {
                    let bytes = std::fs::read(path).map_err(store::Error::io("read the key", path))?;
                    (path.display().to_string(), bytes)
                }
                None => (flatcar::KEY_URL.to_owned(), self.http.small(flatcar::KEY_URL).await?),
            };
            Ok(TrustedKey::parse(&subject, &bytes, self.trust.primary)?)
        };
        self.key.get_or_try_init(read).await
    }

    /// Brings an input into the store, unless it is there: the entries for the lock, its signature's beside its own.
    ///
    /// With `locked` entries only exactly those bytes are accepted; signatures are judged all the same.
    pub async fn fetch(
        &self,
        want: &Want,
        locked: &BTreeMap<String, Entry>,
    ) -> Result<BTreeMap<String, Entry>, Error> {
        let lock = locked.get(&want.id).filter(|entry| entry.url == want.url);
        let mut entries = BTreeMap::new();
        let (verifier_of, pinned): (Option<(String, Vec<u8>)>, Option<Sha256>) = match &want.check {
            Check::Signature(urls) => {
                let id = format!("{}.sig", want.id);
                let (url, bytes) = self.signature(urls, locked.get(&id)).await?;
                let object = Object { sha256: Sha256::of(&bytes), size: bytes.len() as u64 };
                entries.insert(id, plain_entry(&url, object));
                (Some((url, bytes)), None)
            }
            Check::Published(_) if lock.is_some() => (None, None),
            Check::Published(url) => (None, Some(self.published(url, &want.url).await?)),
            Check::Pinned(sha256) => (None, Some(*sha256)),
        };
        let verifier = async || match &verifier_of {
            Some((url, bytes)) => Ok(Some(self.key().await?.expect(url, bytes, SystemTime::now())?)),
            None => Ok::<_, Error>(None),
        };
        let retrying = |reason: &str| self.observer.notice(Event::FetchRetry { id: &want.id, reason });
        let attempt = async |url: String| {
            let limit = lock.map(|entry| entry.size);
            self.receive(&want.id, &url, limit, verifier().await?).await
        };
        let (bytes, verifier) = self.http.each(&want.url, &retrying, attempt).await?;
        let found = bytes.object();
        let mut entry = plain_entry(&want.url, found);
        let expected = lock.map(Entry::object).or(pinned.map(|sha256| Object { sha256, size: found.size }));
        // Promised bytes first: "not the locked bytes" says more than "not the signed bytes".
        if let Some(expected) = expected {
            found.must_be(&want.url, &expected)?;
        }
        let verified = match verifier {
            Some(verifier) => {
                let signed = verifier.finish()?;
                entry.signer = Some(signed.signer.to_string());
                entry.signed = Some(signed.created);
                entry.sha512 = signed.sha512;
                bytes.signed(&signed)
            }
            None => bytes.is(&want.url, &expected.expect("an unsigned input has a promised digest"))?,
        };
        self.store.admit(verified)?;
        if let Some((_, bytes)) = verifier_of {
            self.store.put(&bytes)?;
        }
        self.observer.notice(Event::FetchDone {
            id: &want.id,
            size: found.size,
            signer: entry.signer.as_deref(),
        });
        entries.insert(want.id.clone(), entry);
        Ok(entries)
    }

    /// A signature: the locked one if it is at hand, else the first that one of the URLs has.
    async fn signature(&self, urls: &[String], locked: Option<&Entry>) -> Result<(String, Vec<u8>), Error> {
        if let Some(entry) = locked
            && let Ok(bytes) = std::fs::read(self.store.path(&entry.sha256))
            && Sha256::of(&bytes) == entry.sha256
        {
            return Ok((entry.url.clone(), bytes));
        }
        let mut missing = None;
        for url in urls {
            match self.http.small(url).await {
                Ok(bytes) => return Ok((url.clone(), bytes)),
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

    async fn receive(
        &self,
        id: &str,
        url: &str,
        limit: Option<u64>,
        mut verifier: Option<Verifier>,
    ) -> Result<(Unverified, Option<Verifier>), Error> {
        let mut body = self.http.get(url, limit).await?;
        self.observer.notice(Event::FetchStarted { id, size: body.announced().or(limit) });
        let mut incoming = self.store.incoming()?;
        let (sender, mut receiver) = mpsc::channel::<Bytes>(QUEUE);
        let root = self.store.root().to_owned();
        let writer = tokio::task::spawn_blocking(move || {
            while let Some(chunk) = receiver.blocking_recv() {
                incoming.write_all(&chunk).map_err(store::Error::io("write to the store", &root))?;
                if let Some(verifier) = &mut verifier {
                    verifier.update(&chunk);
                }
            }
            Ok((incoming.finish()?, verifier))
        });
        let mut bytes = 0;
        while let Some(chunk) = body.chunk().await? {
            bytes += chunk.len() as u64;
            if sender.send(chunk).await.is_err() {
                break; // the writer failed; its error follows
            }
            self.observer.notice(Event::FetchProgress { id, bytes });
        }
        drop(sender);
        match writer.await {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

fn plain_entry(url: &str, object: Object) -> Entry {
    Entry {
        url: url.into(),
        size: object.size,
        sha256: object.sha256,
        sha512: None,
        signer: None,
        signed: None,
    }
}
