//! From wish to lock: resolves the version and the inputs, and makes the first verified fetch of each.
//!
//! Pure part: [`wants`] and [`drift`]. Network part: [`update`].

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::bake::extensions::Selected;
use crate::bake::images::{self, Needs, Pinned};
use crate::bake::lock_ids::{component_id, stock_id};
use crate::bake::outputs::Outputs;
use crate::bake::recipe::{Recipe, SshKeys};
use crate::base::digest::Sha256;
use crate::base::disk;
use crate::base::error::Result;
use crate::base::event::Event;
use crate::base::finding::{Findings, Source};
use crate::flatcar::board::{self, Board};
use crate::flatcar::version::{Version, VersionWish};
use crate::ignition::authorities::Authorities;
use crate::ignition::ssh_keys::{self, Origin};
use crate::source::fetch::{self, Check, Fetcher, Judged, Want};
use crate::source::http::Http;
use crate::source::input::Entry;
use crate::source::releases;
use crate::store::Store;
use crate::sysext::description::Expected;
use crate::sysext::folder::Folder;
use crate::sysext::signing;
use crate::tree::lock::{self, Lock, Release, SCHEMA};
use crate::trust::openpgp::Revoked;

/// Number of inputs that are fetched at the same time.
pub(crate) const PARALLEL: usize = 8;

/// The boards that a recipe builds for, at least one.
pub(crate) fn boards(recipe: &Recipe) -> Result<Vec<Board>, board::Error> {
    let release = &recipe.release;
    release.archs.iter().map(|arch| Board::new(&release.channel, *arch)).collect()
}

/// Every input of a recipe at a version (or at `current`), sorted by id. Signatures come with the files that they sign.
pub(crate) fn wants(
    outputs: &Outputs,
    boards: &[Board],
    version: &str,
    sysexts: &[Selected],
    images: &[Pinned],
) -> Vec<Want> {
    let files = outputs.stock_inputs();
    let stock = boards.iter().flat_map(|board| {
        files.iter().map(|file| Want {
            id: stock_id(board.arch, file),
            url: board.url(version, file),
            check: Check::Signature(board.signature_urls(version, file)),
        })
    });
    let components = sysexts.iter().flat_map(components);
    let images = images.iter().flat_map(images::wants);
    let mut wants: Vec<Want> = stock.chain(components).chain(images).collect();
    wants.sort_by(|a, b| a.id.cmp(&b.id));
    wants
}

/// The components of a sysext.
pub(crate) fn components(sysext: &Selected) -> impl Iterator<Item = Want> {
    sysext.components.iter().map(|component| Want {
        id: component_id(sysext, &component.name),
        url: component.url.clone(),
        check: match &component.digest {
            Expected::Pinned(sha256) => Check::Pinned(*sha256),
            Expected::Published { url } => Check::Published(url.clone()),
        },
    })
}

/// The keys that a recipe trusts, as its lock remembers them. Three things are left out: the key file, which the pin
/// covers and its vendor renews; mirrors, which the locked digests bind; and files beside the recipe, which the build
/// takes as they are now.
///
/// # Errors
/// Findings at the certificates that cannot be read.
pub(crate) fn trust(recipe: &Recipe) -> Result<lock::Trust, Findings> {
    let certificate = recipe.packaging.verity.as_ref().map(|verity| {
        let certificate = &verity.certificate;
        signing::fingerprint(&certificate.value).map_err(|finding| finding.at(certificate.place.clone()))
    });
    let mut authorities = BTreeSet::new();
    for file in &recipe.trust_ca {
        let loaded = Authorities::load(&file.value).map_err(|finding| finding.at(file.place.clone()))?;
        authorities.extend(loaded.certificates());
    }
    Ok(lock::Trust {
        primary_fingerprint: recipe.trust.primary,
        sysext_certificate: certificate.transpose()?,
        authorities,
        revoked: Revoked::new(),
    })
}

/// Differences between the keys that a lock trusts and those of the recipe, in words.
pub(crate) fn trust_drift(lock: &Lock, trust: &lock::Trust) -> Vec<String> {
    match &lock.trust {
        Some(locked) => locked.drift(trust),
        None => vec![format!(
            "it has schema {}, which does not state the keys that the recipe trusts",
            lock.schema
        )],
    }
}

/// The folders of sysexts as a lock pins them: those that come with prebake, which another prebake may change, and those on
/// the disk that took the place of one.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    /// Name → where it is, and the digest of its folder.
    used: BTreeMap<String, (Folder, Sha256)>,
}

impl Pins {
    /// The pins of the sysexts that a recipe uses. Folders on the disk are read only where the lock has a pin for their name.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub(crate) fn of(sysexts: &[Selected], lock: Option<&Lock>) -> Result<Self> {
        let mut used = BTreeMap::new();
        for Selected { folder, description, .. } in sysexts {
            let is_pinned = lock.is_some_and(|lock| lock.sysexts.contains_key(&description.name));
            let is_shipped = matches!(folder, Folder::Shipped(_));
            if (is_shipped || is_pinned) && !used.contains_key(&description.name) {
                used.insert(description.name.clone(), (folder.clone(), folder.digest()?));
            }
        }
        Ok(Pins { used })
    }

    /// The part of the lock. A folder that took the place of a shipped one stays pinned as long as it is equal.
    pub(crate) fn to_lock(&self, lock: Option<&Lock>) -> BTreeMap<String, Sha256> {
        let pinned = |name: &str| lock.and_then(|lock| lock.sysexts.get(name));
        let stays = |name: &str, folder: &Folder, digest: &Sha256| {
            matches!(folder, Folder::Shipped(_)) || pinned(name) == Some(digest)
        };
        let kept = self.used.iter().filter(|(name, (folder, digest))| stays(name, folder, digest));
        kept.map(|(name, (_, digest))| (name.clone(), *digest)).collect()
    }

    /// Differences to a lock, in words.
    fn drift(&self, lock: &Lock) -> Vec<String> {
        let mut drift = Vec::new();
        for (name, (folder, digest)) in &self.used {
            let whose = match folder {
                Folder::Shipped(shipped) => format!("the sysext `{name}` of {shipped}"),
                Folder::Disk(path) => format!("the sysext `{name}` in {}", path.display()),
            };
            match lock.sysexts.get(name) {
                Some(locked) if locked == digest => {}
                Some(_) => drift.push(format!("{whose} differs from the locked one")),
                None => drift.push(format!("{whose} is not locked")),
            }
        }
        let unused = lock.sysexts.keys().filter(|name| !self.used.contains_key(*name));
        drift.extend(unused.map(|name| format!("the sysext `{name}` is locked but not needed")));
        drift
    }
}

/// Differences between a lock and the recipe's needs and trust, in words; empty if there are none.
pub(crate) fn drift(
    lock: Option<&Lock>,
    recipe: &Recipe,
    trust: &lock::Trust,
    needs: &Needs,
    wants: &[Want],
    pins: &Pins,
) -> Vec<String> {
    let Some(lock) = lock else { return vec!["there is no lock".into()] };
    let mut drift = trust_drift(lock, trust);
    drift.extend(pins.drift(lock));
    if let VersionWish::Exactly(version) = recipe.release.version
        && lock.version() != Some(version)
    {
        drift.push(format!("the recipe wants version {version}, the lock has {}", lock.release.version));
    }
    if lock.release.channel != recipe.release.channel.value {
        let wish = &recipe.release.channel.value;
        drift.push(format!("the recipe wants channel {wish}, the lock has {}", lock.release.channel));
    }
    let users = unlocked_users(recipe, Some(lock));
    drift.extend(users.map(|user| format!("the SSH keys of github:{user} are not locked")));
    let unused = lock.ssh_keys.keys().filter(|user| !github_users(recipe).any(|wanted| wanted == *user));
    drift.extend(unused.map(|user| format!("the SSH keys of github:{user} are locked but not needed")));
    let (_, open) = images::split(recipe, needs, Some(lock));
    drift.extend(open.iter().map(|(image, arch)| format!("the image {image} is not locked for {arch}")));
    if needs.open {
        drift.push("kubeadm's images of this Kubernetes version are not locked".into());
    } else if needs.kubeadm != lock.kubeadm {
        drift.push("the locked list of kubeadm's images is not needed".into());
    }
    for want in wants {
        drift.extend(misfits(want, &lock.inputs));
    }
    let wanted =
        |id: &str| wants.iter().any(|want| want.id == id.strip_suffix(board::SIGNATURE).unwrap_or(id));
    let unused = lock.inputs.keys().filter(|id| !wanted(id));
    drift.extend(unused.map(|id| format!("{id} is locked but not needed")));
    drift
}

/// A want that the lock lacks or has differently, in words.
pub(crate) fn misfits(want: &Want, locked: &BTreeMap<String, Entry>) -> Option<String> {
    let Some(entry) = locked.get(&want.id) else { return Some(format!("{} is not locked", want.id)) };
    if let Some(misfit) = want.misfit(entry) {
        return Some(misfit);
    }
    let Check::Signature(urls) = &want.check else { return None };
    let id = want.signature_id();
    match locked.get(&id) {
        None => Some(format!("{id} is not locked")),
        Some(signature) if !urls.contains(&signature.url) => {
            Some(format!("{id} is locked to {}", signature.url))
        }
        Some(_) => None,
    }
}

/// A lock with the additions of the later schema: the old one did not record where the digests of unsigned inputs were
/// read. The locked digests stay.
pub(crate) fn renewed(lock: &Lock, wants: &[Want]) -> Lock {
    let mut lock = lock.clone();
    if !lock.is_old() {
        return lock;
    }
    for want in wants {
        if let (Check::Published(url), Some(entry)) = (&want.check, lock.inputs.get_mut(&want.id))
            && entry.url == want.url
        {
            entry.sha256_url = Some(url.clone());
        }
    }
    lock
}

/// The version, if it is known without a network.
pub(crate) fn locked_version(recipe: &Recipe, lock: Option<&Lock>) -> Option<Version> {
    match recipe.release.version {
        VersionWish::Exactly(version) => Some(version),
        VersionWish::Latest => {
            lock.filter(|lock| lock.release.channel == recipe.release.channel.value)?.version()
        }
    }
}

/// The version that a recipe wishes for; for `latest`, the newest that every board has, if boards differ.
#[expect(clippy::expect_used, reason = "a recipe without an architecture is refused when it is read")]
pub(crate) async fn version(recipe: &Recipe, boards: &[Board], http: &Http<'_>) -> Result<Version> {
    let mut found = Vec::new();
    for board in boards {
        found.push(releases::resolve(board, &recipe.release.version, http).await?);
    }
    let newest_of_all = found.into_iter().min();
    Ok(newest_of_all.expect("a recipe has at least one architecture"))
}

/// The GitHub users whose SSH keys a recipe uses.
pub(crate) fn github_users(recipe: &Recipe) -> impl Iterator<Item = &str> {
    recipe.ssh_keys.iter().filter_map(|keys| match keys {
        SshKeys::Github(user) => Some(user.value.as_str()),
        SshKeys::Key(_) | SshKeys::File(_) => None,
    })
}

/// GitHub users of the recipe whose keys are not in the lock.
pub(crate) fn unlocked_users<'r>(recipe: &'r Recipe, lock: Option<&Lock>) -> impl Iterator<Item = &'r str> {
    github_users(recipe).filter(move |user| !lock.is_some_and(|lock| lock.ssh_keys.contains_key(*user)))
}

/// The SSH keys of all GitHub users: the locked ones, or those that they publish now. GitHub's answer is not verified,
/// only pinned: a key that is added there later reaches no machine before the lock changes.
pub(crate) async fn ssh_keys(recipe: &Recipe, lock: Option<&Lock>, http: &Http<'_>) -> Result<lock::SshKeys> {
    let mut keys = lock::SshKeys::new();
    for user in github_users(recipe) {
        let locked = lock.and_then(|lock| lock.ssh_keys.get(user));
        let of_user = match locked {
            Some(keys) => {
                // An earlier prebake may have locked keys that are not accepted any more.
                let source = Source::new(format!("the locked keys of github:{user}"), keys.join("\n"));
                ssh_keys::parse(&source, Origin::Published)?;
                keys.clone()
            }
            None => {
                let url = format!("https://github.com/{user}.keys");
                let (text, asked) = http.text(&url).await?;
                let source = Source::new(asked.to_string(), String::from_utf8_lossy(&text));
                ssh_keys::parse(&source, Origin::Published)?
            }
        };
        keys.insert(user.to_owned(), of_user);
    }
    Ok(keys)
}

/// The inputs of a recipe, divided by whether the store has them.
pub(crate) struct Stock<'w> {
    /// All inputs.
    wants: &'w [Want],
    /// The locked entries of all inputs in the store.
    here: BTreeMap<String, Entry>,
    /// The inputs that have to be fetched.
    absent: Vec<&'w Want>,
}

impl<'w> Stock<'w> {
    /// Checks which inputs the store has.
    pub(crate) fn take(wants: &'w [Want], lock: Option<&Lock>, store: &Store) -> Self {
        let none = BTreeMap::new();
        let locked = lock.map_or(&none, |lock| &lock.inputs);
        let mut stock = Stock { wants, here: BTreeMap::new(), absent: Vec::new() };
        for want in wants {
            match at_hand(want, locked, store) {
                Some(entries) => stock.here.extend(entries),
                None => stock.absent.push(want),
            }
        }
        stock
    }

    /// Finds inputs that no lock names yet, but that an earlier run, of this recipe or another one, has brought into the
    /// store from the same versioned URLs. Their signatures are judged by this recipe's pin.
    pub(crate) async fn recall(&mut self, lock: Option<&Lock>, fetcher: &Fetcher<'_>) {
        let none = BTreeMap::new();
        let locked = lock.map_or(&none, |lock| &lock.inputs);
        for want in std::mem::take(&mut self.absent) {
            // An input that is locked and not here has to be fetched exactly as it is locked.
            let recalled = match misfits(want, locked) {
                Some(_) => fetcher.recall(want).await,
                None => None,
            };
            match recalled {
                Some(entries) => self.here.extend(entries),
                None => self.absent.push(want),
            }
        }
    }

    /// Ids of the inputs that have to be fetched.
    pub(crate) fn missing(&self) -> Vec<String> {
        self.absent.iter().map(|want| want.id.clone()).collect()
    }
}

/// Fetches absent inputs into the store and returns the lock for them. Entries of `lock` that still fit are kept and
/// bind the bytes; the others are resolved anew. All signed inputs are then checked against the recipe's pin, and the
/// results are returned, sorted by id.
pub(crate) async fn update(
    recipe: &Recipe,
    boards: &[Board],
    version: Version,
    stock: Stock<'_>,
    promises: (lock::Trust, lock::SshKeys),
    lock: Option<&Lock>,
    fetcher: &Fetcher<'_>,
) -> Result<(Lock, Vec<Judged>)> {
    let none = BTreeMap::new();
    let locked = lock.map_or(&none, |lock| &lock.inputs);
    let (trust, ssh_keys) = promises;
    let Stock { wants, here, absent } = stock;
    // "The lock was made under another pin" explains more than "the key cannot be fetched".
    let judged = |error: fetch::Error| match (error, lock.and_then(|lock| lock.trust.as_ref())) {
        (error @ (fetch::Error::Key(_) | fetch::Error::NoKey(_)), Some(locked))
            if locked.primary_fingerprint != trust.primary_fingerprint =>
        {
            let (pin, locked) = (trust.primary_fingerprint, locked.primary_fingerprint);
            fetch::Error::OtherPin { pin, locked, source: error.into() }
        }
        (error, _) => error,
    };
    let size = absent.iter().map(|want| locked.get(&want.id).map(|entry| entry.size)).sum();
    fetcher.observer.notice(Event::FetchPlanned { inputs: absent.len(), size });
    // Check the store again: two wants may be the same object, and the first has fetched it by then.
    let one = async |want: &Want| match at_hand(want, locked, fetcher.store) {
        Some(entries) => Ok(entries),
        None => match fetcher.fetch(want, locked).await {
            Ok(entries) => Ok(entries),
            Err(fetch::Error::Http(error)) => {
                let of_board = |board: &&Board| want.id.starts_with(&stock_id(board.arch, ""));
                let before = lock.map(|lock| lock.release.version.as_str());
                match boards.iter().find(of_board) {
                    Some(board) => {
                        Err(releases::missing_file(board, &version.to_string(), before, fetcher.http, error)
                            .await)
                    }
                    None => Err(fetch::Error::Http(error).into()),
                }
            }
            Err(error) => Err(judged(error).into()),
        },
    };
    let fetched: Vec<BTreeMap<String, Entry>> =
        stream::iter(absent.into_iter().map(one)).buffer_unordered(PARALLEL).try_collect().await?;
    let inputs: BTreeMap<String, Entry> = here.into_iter().chain(fetched.into_iter().flatten()).collect();
    let signed = wants.iter().filter(|want| want.is_signed());
    let judgements = signed.map(|want| fetcher.judge(want, &inputs));
    let judgements: Vec<Judged> =
        stream::iter(judgements).buffered(PARALLEL).try_collect().await.map_err(judged)?;
    let release = Release { channel: recipe.release.channel.value.clone(), version: version.to_string() };
    let lock = Lock {
        schema: SCHEMA,
        release,
        trust: Some(trust.clone()),
        ssh_keys,
        kubeadm: None,
        sysexts: BTreeMap::new(),
        inputs,
    };
    for board in boards {
        check_version_file(board, version, &lock, fetcher)?;
    }
    Ok((lock, judgements))
}

/// The locked entries of a want, if all their objects are in the store.
fn at_hand(want: &Want, locked: &BTreeMap<String, Entry>, store: &Store) -> Option<BTreeMap<String, Entry>> {
    let ids = match want.check {
        Check::Signature(_) => vec![want.id.clone(), want.signature_id()],
        Check::Published(_) | Check::Pinned(_) => vec![want.id.clone()],
        Check::Described(object) => {
            let entry = || BTreeMap::from([(want.id.clone(), Entry::plain(&want.url, object))]);
            return store.has(&object).then(entry);
        }
    };
    if misfits(want, locked).is_some() {
        return None;
    }
    let entries = ids.into_iter().map(|id| Some((id.clone(), locked.get(&id)?.clone())));
    let entries: BTreeMap<String, Entry> = entries.collect::<Option<_>>()?;
    let is_here = |(id, entry): (&String, &Entry)| match *id == want.id {
        true => store.has(&entry.object()),
        // A signature is checked each time.
        false => store.has(&entry.object()) && store.is_sound(&entry.object()),
    };
    entries.iter().all(is_here).then_some(entries)
}

/// A version directory whose signed `version.txt` states another version is a mix-up or a rollback.
fn check_version_file(board: &Board, version: Version, lock: &Lock, fetcher: &Fetcher<'_>) -> Result<()> {
    let Some(entry) = lock.inputs.get(&stock_id(board.arch, board::VERSION_TXT)) else { return Ok(()) };
    let path = fetcher.store.path(&entry.sha256);
    let bytes = std::fs::read(&path).map_err(disk::Error::io("read", &path))?;
    let found = board::parse_version_txt(&entry.url, &bytes)?;
    match found == version {
        true => Ok(()),
        false => {
            let why = format!("it states {found} in the directory of {version}");
            Err(board::Error::BadVersion { url: entry.url.clone(), why }.into())
        }
    }
}
