//! A directory that stands in for the public hosts: the inputs of locks, in the layout that each `PREBAKE_MIRROR_…`
//! variable must have (docs/guides/mirrors.md).
//!
//! Every file comes out of the store, verified, and its digest is computed once more while it is copied. A file that is
//! there already is read and kept if it is right, so that an interrupted run goes on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use url::Url;

use crate::bake::kubernetes::kubeadm;
use crate::bake::project::{self, Limits, Project};
use crate::bake::resolve::{PARALLEL, Stock};
use crate::base::arch::Arch;
use crate::base::digest::{Hashing, Object, Sha256};
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::base::event::{Event, Observer};
use crate::base::unfinished::Unfinished;
use crate::flatcar::board::{CURRENT, KEY_URL, SIGNATURE, VERSION_TXT};
use crate::flatcar::version::Version;
use crate::format::checksums::sha256_for;
use crate::registry::reference::ImageRef;
use crate::source::fetch::{Check, Fetcher, Want};
use crate::source::http::Http;
use crate::source::input::Entry;
use crate::source::{Mirrors, SourceName, key};
use crate::store::Store;
use crate::tree::lock::{self, Lock};
use crate::trust::openpgp::{MAX_BYTES, TrustedKey};
use crate::trust::pin::Trust;

/// Longest list of digests that is extended, in bytes.
const MAX_SUMS: usize = 1 << 20;

/// Reasons why a mirror cannot be filled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A lock that does not exist.
    #[error("there is no lock {}", path.display())]
    NoLock {
        /// Path at which it was looked for.
        path: PathBuf,
    },
    /// A URL that would lead out of the directory.
    #[error("{url} has no place in a mirror")]
    NoPlace {
        /// The canonical URL.
        url: String,
    },
    /// Two inputs that have one place.
    #[error("{first} and {second} have the same place in a mirror, but other bytes")]
    Collision {
        /// The URL that came first.
        first: String,
        /// The other one.
        second: String,
    },
    /// A mirror that already has the key file of another vendor.
    #[error("{} is the key file of another primary key than {pin}", path.display())]
    OtherKey {
        /// The key file's place.
        path: PathBuf,
        /// The lock's pin.
        pin: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::NoLock { .. } => Exit::Drift,
            Error::NoPlace { .. } | Error::Collision { .. } => Exit::Config,
            Error::OtherKey { .. } => Exit::Trust,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::NoLock { .. } => "run `prebake lock RECIPE` first".into(),
            Error::NoPlace { .. } => "check its URL in the lock".into(),
            Error::Collision { .. } => "fill a mirror of its own for one of them".into(),
            Error::OtherKey { .. } => "a mirror has one key file: fill another directory for this pin".into(),
        })
    }
}

/// The inputs of one lock, in the store and verified.
pub(crate) struct Stocked {
    lock: Lock,
    /// The vendor's key file, if an input is signed.
    key: Option<Vec<u8>>,
    /// The source in which kubeadm's images were read, if the lock has any.
    kubeadm: Option<(String, Vec<u8>)>,
}

impl Stocked {
    /// Brings the inputs of a recipe's lock into the store. The lock must fit the recipe.
    pub(crate) async fn of_recipe(
        recipe: &Path,
        store: &Store,
        limits: Limits,
        observer: &dyn Observer,
    ) -> Result<Stocked> {
        let mut project = Project::load(recipe)?;
        if project.lock.is_none() {
            return Err(Error::NoLock { path: project.lock_path }.into());
        }
        let lock =
            project.inputs(store, Limits { locked: true, ..limits }, observer, |_, _, _| Ok(())).await?.lock;
        project.save(&lock, store)?;
        let http = Http::new(Mirrors::new(&project.recipe.mirrors)?, limits.http).observed(observer);
        Stocked::complete(lock, &project.recipe.trust, store, &http, limits).await
    }

    /// Brings the inputs of a lock into the store, without its recipe: the lock says which key it
    /// trusts, and `key` is the vendor's key file, if it is not the one that is published.
    pub(crate) async fn of_lock(
        path: &Path,
        key: Option<PathBuf>,
        store: &Store,
        limits: Limits,
        observer: &dyn Observer,
    ) -> Result<Stocked> {
        let lock = Lock::load(path)?.ok_or_else(|| Error::NoLock { path: path.to_owned() })?;
        let trusted = lock.trust.as_ref();
        let primary = trusted.map_or_else(|| Trust::default().primary, |lock| lock.primary_fingerprint);
        let trust = Trust { primary, key };
        let http = Http::new(Mirrors::new(&BTreeMap::new())?, limits.http).observed(observer);
        let revoked = trusted.map(|trust| trust.revoked.clone()).unwrap_or_default();
        let fetcher =
            Fetcher::new(&http, store, observer, &trust).offline(limits.offline).remembering(revoked, path);
        let wants: Vec<Want> = lock.inputs.iter().filter_map(|(id, entry)| want(&lock, id, entry)).collect();
        let missing = Stock::take(&wants, Some(&lock), store).missing();
        if limits.offline && !missing.is_empty() {
            return Err(project::Error::Offline { missing }.into());
        }
        let size = missing.iter().map(|id| lock.inputs.get(id).map(|entry| entry.size)).sum();
        observer.notice(Event::FetchPlanned { inputs: missing.len(), size });
        let absent = wants.iter().filter(|want| missing.contains(&want.id));
        let fetches = absent.map(|want| fetcher.fetch(want, &lock.inputs));
        let _: Vec<_> = stream::iter(fetches).buffer_unordered(PARALLEL).try_collect().await?;
        let signed = wants.iter().filter(|want| want.is_signed());
        let judgements = signed.map(|want| fetcher.judge(want, &lock.inputs));
        let _: Vec<_> = stream::iter(judgements).buffered(PARALLEL).try_collect().await?;
        store.keep(path)?;
        Stocked::complete(lock, &trust, store, &http, limits).await
    }

    /// Adds what a lock does not pin, but a mirror without a lock needs.
    async fn complete(
        lock: Lock,
        trust: &Trust,
        store: &Store,
        http: &Http<'_>,
        limits: Limits,
    ) -> Result<Stocked> {
        let is_signed = lock.inputs.values().any(|entry| entry.signer.is_some());
        let path = trust.key.clone().unwrap_or_else(|| key::path(store, trust.primary));
        let read = || disk::read_at_most(&path, MAX_BYTES).map_err(disk::Error::io("read the key", &path));
        let key = is_signed.then(read).transpose()?;
        let mut kubeadm = None;
        if let Some(said) = lock.kubeadm.as_ref().filter(|_| !limits.offline) {
            let url = kubeadm::url(&said.version);
            // The lock has what this text says; where it cannot be fetched, or says something else, a mirror without it
            // serves every lock all the same.
            if let Ok((text, asked)) = http.text(&url).await
                && kubeadm::images(&String::from_utf8_lossy(&text), &said.version, &asked)
                    .is_ok_and(|images| images == said.images)
            {
                kubeadm = Some((url, text));
            }
        }
        Ok(Stocked { lock, key, kubeadm })
    }
}

/// The want that an entry of a lock was fetched for; none for a signature, which comes with its file.
fn want(lock: &Lock, id: &str, entry: &Entry) -> Option<Want> {
    let is_of_a_file = |id: &str| lock.inputs.get(id).is_some_and(|file| file.signer.is_some());
    if id.strip_suffix(SIGNATURE).is_some_and(is_of_a_file) {
        return None;
    }
    let signature = lock.inputs.get(&format!("{id}{SIGNATURE}")).filter(|_| entry.signer.is_some());
    let check = match (signature, &entry.sha256_url) {
        (Some(signature), _) => Check::Signature(vec![signature.url.clone()]),
        (None, Some(url)) => Check::Published(url.clone()),
        (None, None) => Check::Described(entry.object()),
    };
    Some(Want { id: id.into(), url: entry.url.clone(), check })
}

/// A file of a mirror.
#[derive(Debug)]
pub(crate) struct Filled {
    /// The source that it belongs to.
    pub source: SourceName,
    /// The canonical URL that it stands in for.
    pub url: String,
    /// Path below the directory of its source.
    pub path: PathBuf,
    /// Its digest and length.
    pub object: Object,
    /// Whether this run wrote it.
    pub is_new: bool,
}

/// A directory of mirrors, one for each source.
pub(crate) struct Mirror {
    directory: PathBuf,
    filled: BTreeMap<PathBuf, Filled>,
}

impl Mirror {
    /// A mirror in this directory, which need not exist.
    pub(crate) fn new(directory: &Path) -> Result<Mirror, disk::Error> {
        disk::create_directories(directory)?;
        let directory = fs::canonicalize(directory).map_err(disk::Error::io("find", directory))?;
        Ok(Mirror { directory, filled: BTreeMap::new() })
    }

    /// The directory of one source.
    pub(crate) fn of(&self, source: SourceName) -> PathBuf {
        self.directory.join(source.as_str())
    }

    /// The value of a source's `PREBAKE_MIRROR_…` variable.
    pub(crate) fn base(&self, source: SourceName) -> String {
        let url = Url::from_file_path(self.of(source));
        url.map_or_else(|()| format!("file:{}", self.of(source).display()), |url| url.to_string())
    }

    /// Every file, sorted by path.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Filled> {
        self.filled.values()
    }

    /// Where a reader with this mirror looks for a canonical URL.
    fn place(&self, url: &str) -> Result<(SourceName, PathBuf), Error> {
        let no_place = || Error::NoPlace { url: url.into() };
        let source = SourceName::of(url).0;
        let bases = BTreeMap::from([(source, vec![self.base(source)])]);
        let found = Mirrors::from(bases).candidates(url).into_iter().next().ok_or_else(no_place)?;
        let path = Url::parse(&found).ok().and_then(|url| url.to_file_path().ok()).ok_or_else(no_place)?;
        // An escaped slash may hide a step upwards.
        let below = path.strip_prefix(self.of(source)).map_err(|_| no_place())?;
        let is_plain = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        (is_plain && below.file_name().is_some()).then_some((source, path)).ok_or_else(no_place)
    }

    /// Puts everything in that a lock names, and what is needed to make such a lock again.
    pub(crate) fn fill(&mut self, stocked: &Stocked, store: &Store) -> Result<()> {
        let lock = &stocked.lock;
        for entry in lock.inputs.values() {
            self.put_object(&entry.url, entry.object(), store)?;
        }
        for (url, object) in tags(lock) {
            let (_, path) = self.place(&url)?;
            // Two architectures without a common index have one tag for two documents: the first is kept.
            if !self.filled.contains_key(&path) {
                self.put_object(&url, object, store)?;
            }
        }
        self.put_sums(lock)?;
        if let Some((url, version, object)) = current(lock) {
            self.put_current(&url, version, object, store)?;
        }
        for (user, keys) in &lock.ssh_keys {
            let text = keys.iter().map(|key| format!("{key}\n")).collect::<String>();
            self.put(&format!("https://github.com/{user}.keys"), text.as_bytes())?;
        }
        if let Some((url, text)) = &stocked.kubeadm {
            self.put(url, text)?;
        }
        match &stocked.key {
            Some(key) => self.put_key(lock.trust.as_ref(), key),
            None => Ok(()),
        }
    }

    /// The vendor's key file. A mirror has one place for it.
    fn put_key(&mut self, trust: Option<&lock::Trust>, key: &[u8]) -> Result<()> {
        let pin = trust.map_or_else(|| Trust::default().primary, |trust| trust.primary_fingerprint);
        let (_, path) = self.place(KEY_URL)?;
        if let Some(known) = known(&path, MAX_BYTES)?
            && known != key
            && TrustedKey::parse(&path.display().to_string(), &known, pin).is_err()
        {
            return Err(Error::OtherKey { path, pin: pin.to_string() }.into());
        }
        self.filled.remove(&path);
        self.put(KEY_URL, key)
    }

    /// The digest files of unsigned inputs. Several inputs may have one, and lines that an earlier run wrote stay.
    fn put_sums(&mut self, lock: &Lock) -> Result<()> {
        let mut sums: BTreeMap<&str, BTreeMap<&str, Sha256>> = BTreeMap::new();
        for entry in lock.inputs.values() {
            if let Some(url) = &entry.sha256_url {
                let name = entry.url.rsplit('/').next().unwrap_or(&entry.url);
                sums.entry(url).or_default().insert(name, entry.sha256);
            }
        }
        for (url, sums) in sums {
            let (_, path) = self.place(url)?;
            let old = known(&path, MAX_SUMS)?.unwrap_or_default();
            let old = String::from_utf8_lossy(&old).into_owned();
            let is_other = |line: &&str| !sums.keys().any(|name| sha256_for(line, name).is_some());
            // Anything but a digest with a name is damage.
            let is_sum = |line: &&str| {
                line.split_once(' ').is_some_and(|(sum, name)| {
                    sum.parse::<Sha256>().is_ok()
                        && !name.trim().is_empty()
                        && !name.contains(char::is_control)
                })
            };
            let kept = old.lines().filter(is_sum).filter(is_other);
            let new = sums.iter().map(|(name, sha256)| format!("{sha256}  {name}"));
            let mut lines: Vec<String> = kept.map(str::to_owned).chain(new).collect();
            lines.sort();
            self.filled.remove(&path);
            self.put(url, format!("{}\n", lines.join("\n")).as_bytes())?;
        }
        Ok(())
    }

    /// The text that says which version is current, unless the mirror has a newer one.
    fn put_current(&mut self, url: &str, version: Version, object: Object, store: &Store) -> Result<()> {
        let (_, path) = self.place(url)?;
        let known = known(&path, MAX_SUMS)?;
        let known = known.and_then(|bytes| crate::flatcar::board::parse_version_txt(url, &bytes).ok());
        if known.is_some_and(|known| known > version) {
            return Ok(());
        }
        self.filled.remove(&path);
        self.put_object(url, object, store)
    }

    fn put_object(&mut self, url: &str, object: Object, store: &Store) -> Result<()> {
        let path = store.path(&object.sha256);
        let open = || File::open(&path).map_err(disk::Error::io("read", &path));
        self.write(url, object, || Ok(Box::new(open()?)))
    }

    fn put(&mut self, url: &str, bytes: &[u8]) -> Result<(), crate::base::error::Error> {
        self.write(url, Object::of(bytes), || Ok(Box::new(io::Cursor::new(bytes.to_vec()))))
    }

    /// Writes a file under its final name when it is complete, unless it is there already.
    fn write(
        &mut self,
        url: &str,
        object: Object,
        open: impl FnOnce() -> Result<Box<dyn Read>, disk::Error>,
    ) -> Result<()> {
        let (source, path) = self.place(url)?;
        if let Some(first) = self.filled.get(&path) {
            let collision = || Error::Collision { first: first.url.clone(), second: url.into() };
            return if first.object == object { Ok(()) } else { Err(collision().into()) };
        }
        let is_new = !is_there(&path, object);
        if is_new {
            let directory = disk::directory_of(&path);
            disk::create_directories(directory)?;
            let file = Unfinished::in_directory(directory, 0o644)
                .map_err(disk::Error::io("create a file in", directory))?;
            let mut hashing = Hashing::new(file);
            io::copy(&mut open()?, &mut hashing)
                .and_then(|_| hashing.flush())
                .map_err(disk::Error::io("write", &path))?;
            let (file, sha256, size) = hashing.finish();
            Object { sha256, size }.must_be(url, &object)?;
            disk::finish(file, &path)?;
        }
        self.filled.insert(path.clone(), Filled { source, url: url.into(), path, object, is_new });
        Ok(())
    }
}

/// The bytes that an earlier run wrote; `None` if there was none.
///
/// # Errors
/// A file that is there, but cannot be read: it would be overwritten with less.
fn known(path: &Path, most: usize) -> Result<Option<Vec<u8>>, disk::Error> {
    match disk::read_at_most(path, most) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(disk::Error::io("read", path)(error)),
    }
}

/// Whether a file has these bytes already.
fn is_there(path: &Path, object: Object) -> bool {
    let is_as_long = fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == object.size);
    let digest = || File::open(path).and_then(|mut file| Sha256::of_reader(&mut file));
    is_as_long && digest().is_ok_and(|(sha256, _)| sha256 == object.sha256)
}

/// The documents of a lock's images under their tags, which a lock made anew asks for.
fn tags(lock: &Lock) -> Vec<(String, Object)> {
    let tagged = |(id, entry): (&String, &Entry)| {
        let (image, name) = id.strip_prefix("image/")?.rsplit_once('/')?;
        let (image, arch) = image.rsplit_once('/')?;
        let _: Arch = arch.parse().ok()?;
        let has_index = || lock.inputs.contains_key(&format!("image/{image}/{arch}/index"));
        if name != "index" && (name != "manifest" || has_index()) {
            return None;
        }
        let image: ImageRef = image.parse().ok()?;
        Some((image.manifest_url(image.tag()?), entry.object()))
    };
    lock.inputs.iter().filter_map(tagged).collect()
}

/// The URL of a channel's current version, the locked version, and the text that says so.
fn current(lock: &Lock) -> Option<(String, Version, Object)> {
    let version = lock.version()?;
    let end = format!("/{version}/{VERSION_TXT}");
    let entry = lock.inputs.values().find(|entry| entry.signer.is_some() && entry.url.ends_with(&end))?;
    let url = format!("{}/{CURRENT}/{VERSION_TXT}", entry.url.strip_suffix(&end)?);
    Some((url, version, entry.object()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Review of issue 17, 13: the lines of earlier runs were overwritten.
    #[test]
    fn only_a_file_that_is_not_there_counts_as_one_without_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sums");
        assert_eq!(known(&path, 3).unwrap(), None);
        fs::write(&path, "abc").unwrap();
        assert_eq!(known(&path, 3).unwrap().unwrap(), b"abc");
        assert!(known(&path, 2).is_err(), "it is too long");
        assert!(known(directory.path(), 3).is_err(), "it is a directory");
    }
}
