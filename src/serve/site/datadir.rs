//! A Matchbox data directory: `groups/`, `profiles/`, `ignition/`, `generic/` and `cloud/`, edited while it is served.
//!
//! Groups and profiles are parsed once and kept in memory; edits are [watched](super::watch) for, and only the changed
//! files are parsed again. Configs and templates are read on request, and cached until anything in the directory
//! changes. Links may lead anywhere inside the directory, but not out of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::process::{Uid, geteuid};

use super::audit::{self, Judged, Records, Uses, profile_id};
use super::config::Kind;
use super::select::Groups;
use super::watch::{Changes, Identity, Watch, identity};
use super::{Error, Flaw, Site};
use crate::base::path::clean as clean_path;
use crate::base::size::Bytes;
use crate::serve::endpoint::sign::Signer;
use crate::serve::notice::{Notice, Notices};
use crate::serve::process::confine::denied;
use crate::tree::beneath::{Refused, Root};
use crate::tree::manifest::Manifest;
use crate::tree::names::{self, GROUPS, MANIFEST, PROFILES, RECORD_END, below};
use crate::tree::notes::Weight;
use crate::tree::open::{Hold, Place, hold};
use crate::tree::records::{Group, Noted, Profile};

/// Longest file, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// Size of the config cache, in bytes.
const MAX_KEPT: usize = 32 << 20;
/// Deepest directory below `profiles/` that is read at start. Deeper profiles are found when a group names them.
const MAX_DEPTH: usize = 8;
/// The most unread files whose names are remembered.
const MAX_STRAYS: usize = 10_000;
/// The directory itself, among its folders.
const WHOLE: &str = "";
/// Longest file that is searched for a machine's labels, in bytes.
const MAX_SEARCHED: u64 = 1 << 20;

/// A data directory with an index that is kept up to date.
pub(crate) struct DataDir {
    path: PathBuf,
    /// The directory that it led to at the start.
    first: Option<Identity>,
    /// The user by whose rights it was read.
    user: Uid,
    settings: Settings,
    notices: Notices,
    watch: Watch,
    assets: Option<Assets>,
    files: Files,
    judged: Judged,
    /// The last good version of each config, in case strict serving has to fall back to it.
    good: BTreeMap<String, Arc<Config>>,
    site: Arc<Site>,
}

/// How a data directory is served.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// The directory of `/assets/`; `None` serves no assets.
    pub assets: Option<PathBuf>,
    /// Whether unusable files are an error.
    pub strict: bool,
    /// Whether clients write the directory over gRPC, one file after the other. Files that lack one another are no error then: the
    /// next call may bring the other, and nobody can bring it to a server that does not start.
    pub written: bool,
    /// The signer of answers.
    pub signer: Option<Arc<Signer>>,
}

/// The state of a data directory between two edits.
pub struct Live {
    directory: Directory,
    /// The resolved directory of the assets, not a link.
    pub assets: Option<PathBuf>,
    /// The flaws of the directory.
    pub flaws: Arc<Vec<Flaw>>,
    /// Why groups cannot be read at all.
    closed: Option<Flaw>,
    /// Files that may be meant as groups but are not used: they are unreadable, or in a wrong place.
    lost: Arc<Vec<String>>,
    /// Configs that are served in their version from before a bad edit.
    held: Arc<BTreeMap<String, Arc<Config>>>,
    notices: Notices,
    kept: Mutex<Kept>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live")
            .field("directory", &self.directory)
            .field("flaws", &self.flaws)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Kept {
    files: HashMap<String, Arc<Config>>,
    bytes: usize,
}

/// A config or template.
pub(crate) struct Config {
    /// The content of the file.
    pub bytes: Arc<[u8]>,
    /// The Ignition config made from it, or why there is none. It is computed once, since only an edit changes it.
    pub ignition: OnceLock<Result<Arc<[u8]>, String>>,
}

/// The target of the assets' path when it was last followed.
struct Assets {
    /// The resolved directory.
    directory: PathBuf,
    identity: Option<Identity>,
    /// The build that they are of, if they are of one: it is not pruned.
    _build: Hold,
}

/// The resolved directory, not a link.
#[derive(Clone, Debug)]
struct Directory {
    path: PathBuf,
    /// `None` if it is gone or unreadable.
    root: Option<Arc<Root>>,
    /// Whether it is another than at the start.
    is_replaced: bool,
}

/// The parsed records, by path below the data directory.
struct Files {
    directory: Directory,
    groups: Records<Group>,
    profiles: Records<Profile>,
    /// Other files in their folders, which are not records.
    strays: BTreeMap<String, Flaw>,
    /// Folders that cannot be read, and why: [`WHOLE`], or below `groups/` and `profiles/`.
    closed: BTreeMap<String, Flaw>,
}

/// The data that answers are made from.
struct Index {
    groups: Arc<Groups>,
    profiles: Arc<BTreeMap<String, Arc<Profile>>>,
    flaws: Arc<Vec<Flaw>>,
    /// Those of them that are of one file of records alone, or of folders that cannot be read.
    own: Vec<Flaw>,
    closed: Option<Flaw>,
    lost: Arc<Vec<String>>,
    held: Arc<BTreeMap<String, Arc<Config>>>,
}

impl DataDir {
    /// Reads a data directory. A missing folder counts as empty.
    ///
    /// # Errors
    /// The directory is unreadable, or `strict` is set and files cannot be used.
    pub(crate) fn open(path: &Path, settings: Settings, notices: Notices) -> Result<DataDir, Error> {
        let no_directory = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::NoDirectory { path, source }
        };
        fs::read_dir(path).map_err(no_directory(path))?;
        if let Some(assets) = &settings.assets {
            fs::read_dir(assets).map_err(no_directory(assets))?;
        }
        let (first, user) = (identity(path), geteuid());
        let assets = settings.assets.as_deref().map(Assets::of);
        let watch = Watch::new(path, assets.as_ref().map(|assets| &*assets.directory));
        let files = Files::read(Directory::open(watch.root(), false));
        let (mut judged, mut good) = (Judged::default(), BTreeMap::new());
        let index = files.index(&mut judged, settings.strict.then_some(&mut good));
        let refused = index.refused(&settings, |weight| weight != Weight::Note);
        if !refused.is_empty() {
            return Err(Error::Flawed { path: path.into(), flaws: refused });
        }
        index.flaws.iter().for_each(|flaw| notices(&Notice::Flawed(flaw)));
        let signer = settings.signer.clone();
        let site = Arc::new(site(&files.directory, assets.as_ref(), index, signer, &notices));
        Ok(DataDir {
            path: path.into(),
            first,
            user,
            settings,
            notices,
            watch,
            assets,
            files,
            judged,
            good,
            site,
        })
    }

    /// The site in the directory's current state.
    pub(crate) fn site(&mut self) -> Arc<Site> {
        let assets = self.settings.assets.as_deref();
        let swapped = self.assets.as_ref().zip(assets).is_some_and(|(seen, path)| !seen.is(path));
        let changes = if swapped { Changes::Everything } else { self.watch.changes() };
        match changes {
            Changes::None => return self.site.clone(),
            Changes::Files(paths) => self.files.refresh(&paths, &mut self.judged),
            Changes::Everything => self.read_all(),
        }
        let renewed = self.renewed();
        match renewed {
            Ok(index) => {
                self.take(index);
                (self.notices)(&Notice::Swapped(&self.site));
            }
            Err((error, kept)) => {
                (self.notices)(&Notice::Kept(&error));
                self.take(kept);
            }
        }
        self.site.clone()
    }

    /// Reads everything again if this process has become another user since, who may perhaps read less.
    ///
    /// # Errors
    /// `strict` is set, and files cannot be used by now.
    pub(crate) fn read_again(&mut self) -> Result<(), Error> {
        let user = std::mem::replace(&mut self.user, geteuid());
        if user == self.user {
            return Ok(());
        }
        self.read_all();
        let index = self.renewed().map_err(|(error, _)| error)?;
        self.take(index);
        Ok(())
    }

    fn read_all(&mut self) {
        self.assets = self.settings.assets.as_deref().map(Assets::of);
        let skip = self.assets.as_ref().map(|assets| &*assets.directory);
        self.watch = Watch::new(&self.path, skip);
        let is_replaced = identity(&self.path) != self.first;
        self.files = Files::read(Directory::open(self.watch.root(), is_replaced));
        self.judged = Judged::default();
    }

    fn take(&mut self, index: Index) {
        let signer = self.settings.signer.clone();
        let site = site(&self.files.directory, self.assets.as_ref(), index, signer, &self.notices);
        self.site = Arc::new(site);
    }

    /// Whether the kernel reports edits; otherwise every request has to look at all files.
    pub(crate) fn has_events(&self) -> bool {
        self.watch.has_events()
    }

    /// The index after an edit; new flaws are reported. The error is for strict serving, which then falls back to the
    /// last good groups, profiles and configs: the index that is beside it.
    fn renewed(&mut self) -> Result<Index, (Error, Index)> {
        let good = self.settings.strict.then_some(&mut self.good);
        let new = self.files.index(&mut self.judged, good);
        let faults = new.refused(&self.settings, |weight| weight == Weight::Fault);
        if !faults.is_empty() {
            let error = Error::Flawed { path: self.path.clone(), flaws: faults };
            let (groups, profiles) = (self.site.groups.clone(), self.site.profiles.clone());
            return Err((error, Index { groups, profiles, closed: None, ..new }));
        }
        let old = self.site.live.as_ref().map(|live| live.flaws.clone()).unwrap_or_default();
        // Editors' temporary files come and go, so they are not reported.
        let news = new.flaws.iter().filter(|flaw| !old.contains(flaw) && flaw.weight != Weight::Leftover);
        news.for_each(|flaw| (self.notices)(&Notice::Flawed(flaw)));
        Ok(new)
    }
}

impl Index {
    /// The flaws for which strict serving refuses a directory, of those with such weights.
    fn refused(&self, settings: &Settings, weighs: impl Fn(Weight) -> bool) -> Vec<Flaw> {
        let flaws = if settings.written { &self.own } else { &*self.flaws };
        flaws.iter().filter(|flaw| settings.strict && weighs(flaw.weight)).cloned().collect()
    }
}

impl Assets {
    fn of(path: &Path) -> Assets {
        let directory = path.canonicalize().unwrap_or_else(|_| path.into());
        let build = directory.parent().filter(|build| build.join(MANIFEST).is_file());
        let _build = build.and_then(hold);
        Assets { directory, identity: identity(path), _build }
    }

    /// Whether the path still leads there.
    fn is(&self, path: &Path) -> bool {
        identity(path) == self.identity
    }
}

fn site(
    directory: &Directory,
    assets: Option<&Assets>,
    index: Index,
    signer: Option<Arc<Signer>>,
    notices: &Notices,
) -> Site {
    let Index { groups, profiles, flaws, own: _, closed, lost, held } = index;
    let assets = assets.map(|assets| assets.directory.clone());
    let path = &directory.path;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let manifest = Manifest::new(name, BTreeMap::new());
    let live = Live {
        directory: directory.clone(),
        assets: assets.clone(),
        flaws,
        closed,
        lost,
        held,
        notices: notices.clone(),
        kept: Mutex::default(),
    };
    let place = Place::Directory(assets.unwrap_or_else(|| path.clone()));
    Site { live: Some(live), signer, ..Site::new(place, manifest, groups, profiles) }
}

impl Directory {
    fn open(path: &Path, is_replaced: bool) -> Directory {
        Directory { path: path.into(), root: Root::open(path).ok().map(Arc::new), is_replaced }
    }

    /// Why something in it cannot be read.
    fn why(&self, path: &Path, error: &io::Error) -> String {
        denied::why(path, error, self.is_replaced)
    }

    /// The names in a folder, sorted, and whether each is a folder. Empty if there is no such folder. Names that are
    /// not UTF-8 are skipped, since no group can contain them.
    ///
    /// # Errors
    /// Why the folder cannot be read, or that the whole directory is gone.
    fn names(&self, folder: &str) -> Result<Vec<(String, bool)>, Flaw> {
        let (place, is_whole) = (self.path.join(folder), folder == WHOLE);
        let entries = match fs::read_dir(&place) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => match is_whole {
                true => {
                    let gone = "the data directory is gone, so no machine gets an answer until it is back";
                    return Err(Flaw::fault(self.path.display().to_string(), gone));
                }
                false => return Ok(Vec::new()),
            },
            Err(error) => {
                let name = if is_whole { self.path.display().to_string() } else { format!("{folder}/") };
                return Err(Flaw::fault(name, self.why(&place, &error)));
            }
        };
        let named = entries.flatten().filter_map(|entry| {
            let kind = entry.file_type().ok()?;
            let is_folder = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
            Some((entry.file_name().into_string().ok()?, is_folder))
        });
        let mut names: Vec<(String, bool)> = named.collect();
        names.sort();
        Ok(names)
    }

    /// A file's bytes.
    ///
    /// # Errors
    /// Why they cannot be read, behind the file's name.
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let place = self.path.join(path);
        let told = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => format!("there is no {path}"),
            _ => self.why(&place, &error),
        };
        let root = self.root.as_ref().ok_or("the data directory cannot be read")?;
        let file = root.file(&place).map_err(|error| match error {
            Refused::Outside => "it is a link that points outside the data directory".to_owned(),
            Refused::Damaged(error) => told(error),
        })?;
        if !file.metadata().map_err(told)?.is_file() {
            return Err("it is not a file".into());
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(told)?;
        match bytes.len() as u64 > MAX_FILE {
            true => Err(format!("it is larger than {}", Bytes(MAX_FILE))),
            false => Ok(bytes),
        }
    }
}

impl Files {
    fn read(directory: Directory) -> Files {
        let (groups, profiles, strays, closed) = Default::default();
        let mut files = Files { directory, groups, profiles, strays, closed };
        if let Err(flaw) = files.directory.names(WHOLE) {
            files.closed.insert(WHOLE.into(), flaw);
            return files;
        }
        let mut rest = [GROUPS, PROFILES].map(|folder| (folder.to_owned(), 0)).to_vec();
        while let Some((folder, depth)) = rest.pop() {
            let names = files.directory.names(&folder).unwrap_or_else(|flaw| {
                files.closed.insert(folder.clone(), flaw);
                Vec::new()
            });
            for (name, is_folder) in names {
                let path = format!("{folder}/{name}");
                match is_folder {
                    // Kubernetes mounts a ConfigMap through such names.
                    true if name.starts_with("..") && folder == GROUPS => {}
                    true if depth < MAX_DEPTH => rest.push((path, depth + 1)),
                    true => {}
                    false => files.load(&path),
                }
            }
        }
        files
    }

    /// Reads edited files again.
    fn refresh(&mut self, paths: &BTreeSet<PathBuf>, judged: &mut Judged) {
        let root = self.directory.path.clone();
        for path in paths.iter().filter_map(|path| path.strip_prefix(&root).ok()?.to_str()) {
            judged.forget(path);
            if [GROUPS, PROFILES].iter().any(|folder| below(path, folder).is_some()) {
                self.groups.remove(path);
                self.profiles.remove(path);
                self.strays.remove(path);
                self.load(path);
            }
        }
    }

    /// Reads one file, if its name is that of a group or profile. A file that has vanished is skipped.
    fn load(&mut self, path: &str) {
        // One that may not be looked at is there, too.
        let is_gone = |error: io::Error| error.kind() != io::ErrorKind::PermissionDenied;
        let is_there = || !self.directory.path.join(path).symlink_metadata().is_err_and(is_gone);
        if let Some(stray) = audit::stray(path).filter(|_| self.strays.len() < MAX_STRAYS && is_there()) {
            self.strays.insert(path.into(), stray);
        }
        let Some(stem) = path.strip_suffix(RECORD_END) else { return };
        let group = below(stem, GROUPS);
        if group.is_some_and(|id| id.contains('/')) {
            return;
        }
        let bytes = self.directory.read(path);
        if bytes.is_err() && !is_there() {
            return;
        }
        if let Some(id) = group {
            let group = bytes.and_then(|bytes| Group::noted(id, &bytes));
            self.groups.insert(path.into(), group.map(Noted::shared));
        } else if below(stem, PROFILES).is_some() {
            let profile = bytes.and_then(|bytes| Profile::noted(&bytes));
            self.profiles.insert(path.into(), profile.map(Noted::shared));
        }
    }

    /// The index and its flaws. Configs without a verdict are checked. With `good`, their last good versions are kept
    /// there, and used in place of bad ones.
    fn index(&self, judged: &mut Judged, good: Option<&mut BTreeMap<String, Arc<Config>>>) -> Index {
        let mut flaws: Vec<Flaw> =
            audit::records(&self.groups).chain(audit::records(&self.profiles)).collect();
        flaws.extend(audit::ids(&self.profiles));
        let strays = audit::strays(self.strays.values().cloned());
        flaws.extend(self.closed.values().cloned());
        let own = flaws.iter().chain(&strays).cloned().collect();
        let usable = self.profiles.iter().filter_map(|(path, read)| {
            Some((profile_id(path).to_owned(), read.as_ref().ok()?.record.clone()))
        });
        let mut profiles: BTreeMap<String, Arc<Profile>> = usable.collect();
        let mut groups: Vec<Arc<Group>> = Vec::new();
        let of_path = self.groups.iter().filter_map(|(path, read)| Some((path, &read.as_ref().ok()?.record)));
        for (path, group) in of_path.clone() {
            if let Err(why) = self.resolve(&group.profile, &mut profiles) {
                flaws.push(Flaw::fault(path, why));
            }
            groups.push(group.clone());
        }
        flaws.extend(audit::ties(of_path));
        flaws.extend(strays);
        let folders = self.directory.names(WHOLE).unwrap_or_default().into_iter();
        let folders: Vec<String> =
            folders.filter(|(_, is_folder)| *is_folder).map(|(name, _)| name).collect();
        flaws.extend(audit::folders(&folders));
        let closed = [WHOLE, GROUPS].iter().find_map(|folder| self.closed.get(*folder)).cloned();
        if groups.is_empty() && closed.is_none() {
            let is_there = folders.iter().any(|name| name == GROUPS);
            flaws.push(audit::no_groups(self.strays.keys(), is_there, &folders));
        }
        let uses = Uses::of(
            self.profiles.iter().filter_map(|(path, read)| Some((path, &read.as_ref().ok()?.record))),
            groups.iter(),
            |group| profiles.get(&group.profile).map(|profile| &**profile),
            |kind: Kind, id| contained(&format!("{}/{id}", kind.folder())).ok(),
        );
        let read = |path: &str| {
            let bytes = self.directory.read(path).map_err(|why| named(path, why))?;
            Ok(Arc::new(Config::new(bytes.into())))
        };
        let names = |folder: &str| {
            let names = self.directory.names(folder).unwrap_or_default();
            names.into_iter().map(|(name, _)| name).collect()
        };
        let verdict = judged.judge(&uses, read, names);
        flaws.extend(verdict.flaws);
        let mut held = BTreeMap::new();
        if let Some(good) = good {
            good.extend(verdict.good);
            let is_bad = |(path, _): &(&String, &Arc<Config>)| verdict.bad.contains(*path);
            held = good.iter().filter(is_bad).map(|(path, config)| (path.clone(), config.clone())).collect();
        }
        let unread = self.groups.iter().filter(|(_, read)| read.is_err()).map(|(path, _)| path);
        let strays = self.strays.iter().filter(|(path, stray)| {
            below(path, GROUPS).is_some() && stray.weight == Weight::Fault && !self.groups.contains_key(*path)
        });
        let lost = unread.chain(strays.map(|(path, _)| path)).cloned().collect();
        Index {
            groups: Arc::new(Groups::new(groups)),
            profiles: Arc::new(profiles),
            flaws: Arc::new(flaws),
            own,
            closed,
            lost: Arc::new(lost),
            held: Arc::new(held),
        }
    }

    /// Adds the profile under the name that the group uses: names such as `sub//x` or `../other/x` lead to files with
    /// other names.
    fn resolve(&self, id: &str, profiles: &mut BTreeMap<String, Arc<Profile>>) -> Result<(), String> {
        if profiles.contains_key(id) {
            return Ok(());
        }
        let path = contained(&names::profile(id))?;
        let profile = match self.profiles.get(&path) {
            Some(Ok(noted)) => noted.record.clone(),
            Some(Err(_)) => return Err(format!("its profile `{id}` cannot be used")),
            None => {
                let bytes = self.directory.read(&path);
                let no = |why| audit::no_profile(id, &self.profiles, &named(&path, why));
                let bytes = bytes.map_err(no)?;
                Arc::new(Profile::read(&bytes).map_err(|why| format!("its profile `{id}`: {why}"))?)
            }
        };
        profiles.insert(id.into(), profile);
        Ok(())
    }
}

impl Config {
    fn new(bytes: Arc<[u8]>) -> Config {
        Config { bytes, ignition: OnceLock::new() }
    }
}

impl Live {
    /// A config or template by its path, such as `ignition/base.ign`. As in Matchbox, `..` can lead to other folders of
    /// the directory.
    ///
    /// # Errors
    /// Why it is unavailable.
    pub(crate) fn read(&self, path: &str) -> Result<Arc<Config>, String> {
        let path = contained(path)?;
        if let Some(config) = self.held.get(&path) {
            return Ok(config.clone());
        }
        if let Some(config) = self.kept().files.get(&path) {
            return Ok(config.clone());
        }
        let bytes: Arc<[u8]> = self.directory.read(&path)?.into();
        let config = Arc::new(Config::new(bytes.clone()));
        let mut kept = self.kept();
        if kept.bytes + bytes.len() > MAX_KEPT {
            *kept = Kept::default();
        }
        kept.bytes += bytes.len();
        kept.files.insert(path, config.clone());
        Ok(config)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports a file that could not be served.
    pub(crate) fn tell(&self, path: &str, why: &str) {
        (self.notices)(&Notice::Flawed(&Flaw::fault(path, why)));
    }

    /// Why no group can be read at all, if that is so.
    pub(crate) fn closed(&self) -> Option<&Flaw> {
        self.closed.as_ref()
    }

    /// Files that may be meant as groups but are not used, with their content as far as it is readable.
    pub(crate) fn lost(&self) -> impl Iterator<Item = (&str, Vec<u8>)> {
        let read = |path: &String| {
            let file = self.directory.path.join(path);
            let is_short = fs::metadata(file).is_ok_and(|data| data.len() <= MAX_SEARCHED);
            if is_short { self.directory.read(path).unwrap_or_default() } else { Vec::new() }
        };
        self.lost.iter().map(move |path| (path.as_str(), read(path)))
    }

    /// The resolved directory, not a link.
    pub(crate) fn path(&self) -> &Path {
        &self.directory.path
    }
}

/// A reason from [`Directory::read`] with its file's name, where another file's name stands before it.
fn named(path: &str, why: String) -> String {
    if why.contains(path) { why } else { format!("{path}: {why}") }
}

/// A path below the data directory, cleaned like Matchbox does: `..` cannot leave the directory.
fn contained(path: &str) -> Result<String, String> {
    match path.contains('\0') {
        true => Err("invalid character in file path".into()),
        false => Ok(clean_path(&format!("/{path}")).split_off(1)),
    }
}
