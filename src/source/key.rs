//! The vendor's key file: fetched, checked against the pin, and kept in the store for use without a network.
//!
//! Its origin proves nothing; the pinned primary does. It is fetched once per process, when the first signature is to
//! be judged, because a subkey may have been revoked since.

use std::path::PathBuf;
use std::{fs, io};

use super::fetch::Error;
use super::http::Http;
use crate::base::disk;
use crate::base::event::{Event, Observer};
use crate::flatcar::board::KEY_URL;
use crate::store::Store;
use crate::trust::openpgp::{self, Fingerprint, TrustedKey};
use crate::trust::pin::Trust;

/// The current key file, and the stored copy before it.
pub(crate) struct Update {
    /// The key that is trusted from now on.
    pub key: TrustedKey,
    /// The copy that was stored before.
    pub earlier: Option<TrustedKey>,
}

/// Path in a store of the key file with this primary.
pub(crate) fn path(store: &Store, primary: Fingerprint) -> PathBuf {
    store.root().join("keys").join(format!("{primary}.asc"))
}

/// The key that a recipe trusts: its own file, else the vendor's, else the copy that was stored when there last was a
/// network.
pub(crate) async fn trusted(
    trust: &Trust,
    store: &Store,
    http: &Http<'_>,
    observer: &dyn Observer,
) -> Result<TrustedKey, Error> {
    if trust.key.is_some()
        && let Some(key) = at_hand(trust, store)?
    {
        return Ok(key);
    }
    match update(trust.primary, store, http).await {
        Ok(update) => Ok(update.key),
        Err(Error::Http(error)) => match stored(store, trust.primary)? {
            Some(key) => {
                observer.notice(Event::KeyStale { reason: &error.to_string() });
                Ok(key)
            }
            None => Err(Error::Key(error)),
        },
        Err(error) => Err(error),
    }
}

/// The key that a recipe trusts, without a network: its own file plus the stored copy's revocations, else the stored
/// copy, if there is one.
pub(crate) fn at_hand(trust: &Trust, store: &Store) -> Result<Option<TrustedKey>, Error> {
    match &trust.key {
        Some(path) => {
            let bytes = disk::read_at_most(path, openpgp::MAX_BYTES)
                .map_err(disk::Error::io("read the key", path))?;
            let mut key = TrustedKey::parse(&path.display().to_string(), &bytes, trust.primary)?;
            // An unreadable copy is ignored.
            if let Some(copy) = stored(store, trust.primary).ok().flatten() {
                key.learn(&copy);
            }
            Ok(Some(key))
        }
        None => stored(store, trust.primary),
    }
}

/// Fetches the vendor's key file and stores it, unless it is older than the stored copy.
pub(crate) async fn update(primary: Fingerprint, store: &Store, http: &Http<'_>) -> Result<Update, Error> {
    let (bytes, asked) = http.text(KEY_URL).await?;
    let asked = asked.to_string();
    let key = TrustedKey::parse(&asked, &bytes, primary)?;
    key.must_be_whole(&asked)?;
    // A damaged copy is replaced.
    let earlier = stored(store, primary).ok().flatten();
    if let Some(earlier) = &earlier {
        key.must_follow(earlier, &asked)?;
    }
    let path = path(store, primary);
    if fs::read(&path).ok().as_deref() != Some(bytes.as_slice()) {
        disk::write_atomic(&path, &bytes)?;
    }
    Ok(Update { key, earlier })
}

/// The stored copy, if there is one.
pub(crate) fn stored(store: &Store, primary: Fingerprint) -> Result<Option<TrustedKey>, Error> {
    let path = path(store, primary);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(TrustedKey::parse(&path.display().to_string(), &bytes, primary)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(disk::Error::io("read the key", &path)(error).into()),
    }
}
