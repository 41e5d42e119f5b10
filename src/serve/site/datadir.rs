//! A Matchbox data directory: `groups/`, `profiles/`, `ignition/`, `generic/` and `cloud/`, edited while it is served.
//!
//! Groups and profiles are parsed once and held; an edit is [watched](super::watch) for and costs what it changed.
//! Configs and templates are read when they are asked for, and kept until anything in the directory changes.
//! Links may lead anywhere inside the directory and nowhere else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::records;
use super::select::{Group, Groups};
use super::watch::{Changes, Identity, Watch, identity};
use super::{Error, Flaw, Profile, Site};
use crate::ignition::clean_path;
use crate::manifest::{Manifest, SCHEMA};
use crate::serve::endpoint::sign::Signer;
use crate::serve::notice::{Notice, Notices};
use crate::tree::Place;
use crate::tree::beneath::{Refused, Root};

/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// How many bytes of configs are kept in memory.
const MAX_KEPT: usize = 32 << 20;
/// Deepest directory below `profiles/` that is read at start; deeper ones are found by those who name them.
const MAX_DEPTH: usize = 8;

/// A data directory with an index that follows it.
pub struct DataDir {
    path: PathBuf,
    settings: Settings,
    notices: Notices,
    watch: Watch,
    assets: Option<Assets>,
    files: Files,
    site: Arc<Site>,
}

/// How a data directory is served.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where `/assets/` lies; none does without.
    pub assets: Option<PathBuf>,
    /// Whether files that cannot be used are an error.
    pub strict: bool,
    /// What signs answers.
    pub signer: Option<Arc<Signer>>,
}

/// A look at a data directory between two edits.
pub struct Live {
    directory: Directory,
    /// The assets' directory itself, not a link to it.
    pub assets: Option<PathBuf>,
    /// Groups and profiles that cannot be used.
    pub flaws: Arc<Vec<Flaw>>,
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
pub struct Config {
    /// As it lies there.
    pub bytes: Arc<[u8]>,
    /// What Ignition is sent of it, or why nothing is; worked out once, as nothing but an edit changes it.
    pub ignition: OnceLock<Result<Arc<[u8]>, String>>,
}

/// Where the path of the assets led when it was last followed.
struct Assets {
    /// The directory itself.
    directory: PathBuf,
    identity: Option<Identity>,
}

/// The directory itself, not a link to it.
#[derive(Clone, Debug)]
struct Directory {
    path: PathBuf,
    /// None once it is gone, or may not be read.
    root: Option<Arc<Root>>,
}

/// What was parsed, by path below the data directory.
struct Files {
    directory: Directory,
    groups: BTreeMap<String, Result<Arc<Group>, String>>,
    profiles: BTreeMap<String, Result<Arc<Profile>, String>>,
}

/// What answers are made from.
struct Index {
    groups: Arc<Groups>,
    profiles: Arc<BTreeMap<String, Arc<Profile>>>,
    flaws: Arc<Vec<Flaw>>,
}

impl DataDir {
    /// Reads a data directory; folders that it lacks are as good as empty.
    ///
    /// # Errors
    /// A directory that cannot be read; with `strict`, files that cannot be used.
    pub fn open(path: &Path, settings: Settings, notices: Notices) -> Result<DataDir, Error> {
        let no_directory = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::NoDirectory { path, source }
        };
        fs::read_dir(path).map_err(no_directory(path))?;
        if let Some(assets) = &settings.assets {
            fs::read_dir(assets).map_err(no_directory(assets))?;
        }
        let assets = settings.assets.as_deref().map(Assets::of);
        let watch = Watch::new(path, assets.as_ref().map(|assets| &*assets.directory));
        let files = Files::read(Directory::open(watch.root()));
        let index = files.index();
        if settings.strict && !index.flaws.is_empty() {
            return Err(Error::Flawed { path: path.into(), flaws: index.flaws.to_vec() });
        }
        index.flaws.iter().for_each(|flaw| notices(&Notice::Flawed(flaw)));
        let signer = settings.signer.clone();
        let site = Arc::new(site(&files.directory, assets.as_ref(), index, signer, &notices));
        Ok(DataDir { path: path.into(), settings, notices, watch, assets, files, site })
    }

    /// The site as the directory is now.
    pub fn site(&mut self) -> Arc<Site> {
        let assets = self.settings.assets.as_deref();
        let swapped = self.assets.as_ref().zip(assets).is_some_and(|(seen, path)| !seen.is(path));
        let changes = if swapped { Changes::Everything } else { self.watch.changes() };
        let records_changed = match changes {
            Changes::None => return self.site.clone(),
            Changes::Files(paths) => self.files.refresh(&paths),
            Changes::Everything => {
                self.assets = assets.map(Assets::of);
                let skip = self.assets.as_ref().map(|assets| &*assets.directory);
                self.watch = Watch::new(&self.path, skip);
                self.files = Files::read(Directory::open(self.watch.root()));
                true
            }
        };
        let renewed = records_changed.then(|| self.renewed());
        let is_new = matches!(renewed, Some(Ok(_)));
        let index = renewed.map_or_else(|| self.index(), |renewed| renewed.unwrap_or_else(|kept| kept));
        let signer = self.settings.signer.clone();
        let site = site(&self.files.directory, self.assets.as_ref(), index, signer, &self.notices);
        self.site = Arc::new(site);
        if is_new {
            (self.notices)(&Notice::Swapped(&self.site));
        }
        self.site.clone()
    }

    /// Whether edits are told by the kernel; otherwise every request looks at all files.
    pub fn has_events(&self) -> bool {
        self.watch.has_events()
    }

    /// The index that is in use.
    fn index(&self) -> Index {
        let flaws = self.site.live.as_ref().map(|live| live.flaws.clone()).unwrap_or_default();
        Index { groups: self.site.groups.clone(), profiles: self.site.profiles.clone(), flaws }
    }

    /// The index after an edit, and word of what is wrong with it. Strict serving goes on with the last good groups and
    /// profiles instead: the error.
    fn renewed(&self) -> Result<Index, Index> {
        let (old, new) = (self.index(), self.files.index());
        if self.settings.strict && !new.flaws.is_empty() {
            let flaws = new.flaws.to_vec();
            (self.notices)(&Notice::Kept(&Error::Flawed { path: self.path.clone(), flaws }));
            return Err(Index { flaws: new.flaws, ..old });
        }
        let known = |flaw: &&Flaw| !old.flaws.contains(flaw);
        new.flaws.iter().filter(known).for_each(|flaw| (self.notices)(&Notice::Flawed(flaw)));
        Ok(new)
    }
}

impl Assets {
    fn of(path: &Path) -> Assets {
        let directory = path.canonicalize().unwrap_or_else(|_| path.into());
        Assets { directory, identity: identity(path) }
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
    let Index { groups, profiles, flaws } = index;
    let assets = assets.map(|assets| assets.directory.clone());
    let path = &directory.path;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let manifest = Manifest {
        schema: SCHEMA,
        name,
        epoch: 0,
        releases: Vec::new(),
        files: BTreeMap::new(),
        joined: BTreeMap::new(),
    };
    let live = Live {
        directory: directory.clone(),
        assets: assets.clone(),
        flaws,
        notices: notices.clone(),
        kept: Mutex::default(),
    };
    Site {
        place: Place::Directory(assets.unwrap_or_else(|| path.clone())),
        manifest,
        groups,
        profiles,
        nodes: Arc::default(),
        live: Some(live),
        signer,
    }
}

impl Directory {
    fn open(path: &Path) -> Directory {
        Directory { path: path.into(), root: Root::open(path).ok().map(Arc::new) }
    }

    /// The names in a folder, sorted, and which are folders; none if there is no such folder. A name that is not UTF-8 no
    /// group can say.
    fn names(&self, folder: &str) -> Vec<(String, bool)> {
        let entries = fs::read_dir(self.path.join(folder)).into_iter().flatten().flatten();
        let named = entries.filter_map(|entry| {
            let kind = entry.file_type().ok()?;
            let is_folder = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
            Some((entry.file_name().into_string().ok()?, is_folder))
        });
        let mut names: Vec<(String, bool)> = named.collect();
        names.sort();
        names
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let told = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => format!("there is no {path}"),
            _ => format!("{path}: {error}"),
        };
        let root = self.root.as_ref().ok_or("the data directory cannot be read")?;
        let file = root.file(&root.path().join(path)).map_err(|error| match error {
            Refused::Outside => format!("{path} is a link that leaves the data directory"),
            Refused::Damaged(error) => told(error),
        })?;
        if !file.metadata().map_err(told)?.is_file() {
            return Err(format!("{path} is not a file"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(told)?;
        match bytes.len() as u64 > MAX_FILE {
            true => Err(format!("{path} is longer than {MAX_FILE} bytes")),
            false => Ok(bytes),
        }
    }
}

impl Files {
    fn read(directory: Directory) -> Files {
        let mut files = Files { directory, groups: BTreeMap::new(), profiles: BTreeMap::new() };
        for (name, _) in files.directory.names("groups") {
            files.load(&format!("groups/{name}"));
        }
        let mut rest = vec![("profiles".to_owned(), 0)];
        while let Some((folder, depth)) = rest.pop() {
            for (name, is_folder) in files.directory.names(&folder) {
                let path = format!("{folder}/{name}");
                match is_folder {
                    true if depth < MAX_DEPTH => rest.push((path, depth + 1)),
                    true => {}
                    false => files.load(&path),
                }
            }
        }
        files
    }

    /// Reads edited files again; whether any of them was a group or profile.
    fn refresh(&mut self, paths: &BTreeSet<PathBuf>) -> bool {
        let mut records = false;
        let root = self.directory.path.clone();
        for path in paths.iter().filter_map(|path| path.strip_prefix(&root).ok()?.to_str()) {
            if path.starts_with("groups/") || path.starts_with("profiles/") {
                self.groups.remove(path);
                self.profiles.remove(path);
                self.load(path);
                records = true;
            }
        }
        records
    }

    /// Reads one file, if its name is a group's or profile's. What vanished meanwhile is not there.
    fn load(&mut self, path: &str) {
        let Some(stem) = path.strip_suffix(".json") else { return };
        let bytes = self.directory.read(path);
        if bytes.is_err() && self.directory.path.join(path).symlink_metadata().is_err() {
            return;
        }
        if let Some(id) = stem.strip_prefix("groups/").filter(|id| !id.contains('/')) {
            let group = bytes.and_then(|bytes| records::group(id, &bytes));
            self.groups.insert(path.into(), group.map(Arc::new));
        } else if stem.starts_with("profiles/") {
            let profile = bytes.and_then(|bytes| records::profile(&bytes));
            self.profiles.insert(path.into(), profile.map(Arc::new));
        }
    }

    fn index(&self) -> Index {
        let mut flaws = Vec::new();
        let mut profiles = BTreeMap::new();
        for (path, profile) in &self.profiles {
            match profile {
                Ok(profile) => {
                    let id = path.trim_start_matches("profiles/").trim_end_matches(".json");
                    profiles.insert(id.to_owned(), profile.clone());
                }
                Err(why) => flaws.push(Flaw { path: path.clone(), why: why.clone() }),
            }
        }
        let mut groups = Vec::new();
        for (path, group) in &self.groups {
            match group {
                Ok(group) => {
                    if let Err(why) = self.resolve(&group.profile, &mut profiles) {
                        flaws.push(Flaw { path: path.clone(), why });
                    }
                    groups.push(group.clone());
                }
                Err(why) => flaws.push(Flaw { path: path.clone(), why: why.clone() }),
            }
        }
        Index { groups: Arc::new(Groups::new(groups)), profiles: Arc::new(profiles), flaws: Arc::new(flaws) }
    }

    /// Sees to it that the profile that a group says is found by what the group says: names such as `sub//x` or
    /// `../other/x` lead to files under other names.
    fn resolve(&self, id: &str, profiles: &mut BTreeMap<String, Arc<Profile>>) -> Result<(), String> {
        if profiles.contains_key(id) {
            return Ok(());
        }
        let path = contained(&format!("profiles/{id}.json"))?;
        let profile = match self.profiles.get(&path) {
            Some(Ok(profile)) => profile.clone(),
            Some(Err(_)) => return Err(format!("its profile `{id}` cannot be used")),
            None => {
                let bytes = self.directory.read(&path);
                let bytes = bytes.map_err(|why| format!("its profile `{id}` cannot be had: {why}"))?;
                Arc::new(records::profile(&bytes).map_err(|why| format!("its profile `{id}`: {why}"))?)
            }
        };
        profiles.insert(id.into(), profile);
        Ok(())
    }
}

impl Live {
    /// A config or template by its path, such as `ignition/base.ign`. As in Matchbox, `..` in it leads to other folders
    /// of the directory.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn read(&self, path: &str) -> Result<Arc<Config>, String> {
        let path = contained(path)?;
        if let Some(config) = self.kept().files.get(&path) {
            return Ok(config.clone());
        }
        let bytes: Arc<[u8]> = self.directory.read(&path)?.into();
        let config = Arc::new(Config { bytes: bytes.clone(), ignition: OnceLock::new() });
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

    /// Tells of a file that could not be served.
    pub fn tell(&self, path: String, why: String) {
        (self.notices)(&Notice::Flawed(&Flaw { path, why }));
    }

    /// The directory itself, not a link to it.
    pub fn path(&self) -> &Path {
        &self.directory.path
    }
}

/// A path below the data directory, cleaned as Matchbox does it: `..` cannot leave.
fn contained(path: &str) -> Result<String, String> {
    match path.contains('\0') {
        true => Err("invalid character in file path".into()),
        false => Ok(clean_path(&format!("/{path}")).split_off(1)),
    }
}
