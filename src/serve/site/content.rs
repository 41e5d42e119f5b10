//! What is served now: loaded once, and anew when it was replaced or edited.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::datadir::{DataDir, Settings};
use crate::base::arch::Arch;
use crate::machine::node::inventory;
use crate::serve::endpoint::sign::Signer;
use crate::serve::notice::{Notice, Notices};
use crate::serve::site::{self, Site};
use crate::tree::{open, private};

/// How often a build that could not be served is tried again, at most.
const RETRY: Duration = Duration::from_millis(200);

/// A published tree that may be swapped for another, or a data directory that may be edited.
pub struct Content(Mutex<Followed>);

enum Followed {
    Tree(Box<Tree>),
    Directory(Box<DataDir>),
}

/// Opens what a path leads to; asked again whenever that is something else.
pub type Open = Box<dyn Fn(&Path) -> Result<open::Tree, open::Error> + Send>;

/// What a site adds to each tree that it opens.
#[derive(Clone, Default)]
pub struct Additions {
    /// What signs answers.
    pub signer: Option<Arc<Signer>>,
    /// Machines that the tree does not know: [`inventory`]. Followed as the tree is.
    pub nodes: Option<PathBuf>,
    /// What machines are given of secrets; none where they are given none.
    pub secrets: Option<Secrets>,
}

/// Where the secrets of trees lie that machines are given.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// The directory for those of all trees, if they do not lie in each.
    pub outside: Option<PathBuf>,
}

impl Secrets {
    /// What a person should know of those of a tree that is to be served.
    fn judge(&self, site: &Site) -> Result<Option<String>, private::Unfit> {
        let Some(tree) = site.place.directory() else {
            return Ok(Some("a bundle has no private configs, so --guard has nothing to hand out".into()));
        };
        let is_there = private::judge(tree, self.outside.as_deref(), &site.manifest.name)?;
        Ok((!is_there).then(|| {
            "the tree has no private configs, so --guard has nothing to hand out; give their directory with --private".into()
        }))
    }
}

impl Additions {
    /// The site of a tree, with what is added to it.
    pub fn to(&self, tree: open::Tree) -> Result<Site, site::Error> {
        let site = Site { signer: self.signer.clone(), ..Site::load(tree)? };
        let lack = self.secrets.as_ref().map(|secrets| secrets.judge(&site)).transpose()?.flatten();
        let site = Site { lack, ..site };
        let Some(nodes) = &self.nodes else { return Ok(site) };
        let archs: Vec<Arch> = site.manifest.releases.iter().map(|release| release.arch).collect();
        Ok(site.with_nodes(&inventory(nodes, &archs)?)?)
    }
}

struct Tree {
    path: PathBuf,
    open: Open,
    additions: Additions,
    notices: Notices,
    site: Arc<Site>,
    /// What is served.
    target: Option<Target>,
    /// What the path led to when it was last followed.
    seen: Option<(Identity, Option<Identity>)>,
    /// What could not be served, when that was last tried, and what was told of it.
    refused: Option<(Target, Instant, String)>,
}

/// Which directory or file it is, and that it is not another one which took its inode.
type Identity = (u64, u64, i64, i64);

fn identity(path: &Path) -> Option<Identity> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
}

/// What a path leads to. A build is its directory, whose time moves when secrets are placed in it; a bundle is its bytes,
/// which may be others under the same name. So are those of an inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    path: PathBuf,
    bundle: Option<Identity>,
    nodes: Option<Identity>,
}

impl Target {
    fn of(path: &Path, additions: &Additions) -> Option<Target> {
        let path = path.canonicalize().ok()?;
        let bundle = if path.is_file() { Some(identity(&path)?) } else { None };
        Some(Target { path, bundle, nodes: additions.nodes.as_deref().and_then(identity) })
    }
}

impl Content {
    /// Loads a build, `current`, which leads to one, or a bundle: whatever `open` opens.
    pub fn tree(
        path: &Path,
        open: Open,
        additions: Additions,
        notices: Notices,
    ) -> Result<Content, site::Error> {
        // Before it is opened: what is swapped meanwhile is opened again.
        let target = Target::of(path, &additions);
        let site = Arc::new(additions.to(open(path)?)?);
        let path = path.to_owned();
        let tree = Tree { path, open, additions, notices, site, target, seen: None, refused: None };
        Ok(Content(Mutex::new(Followed::Tree(Box::new(tree)))))
    }

    /// Reads a Matchbox data directory.
    pub fn directory(path: &Path, settings: Settings, notices: Notices) -> Result<Content, site::Error> {
        let directory = DataDir::open(path, settings, notices)?;
        Ok(Content(Mutex::new(Followed::Directory(Box::new(directory)))))
    }

    /// The site as it is now: loaded anew when `current` was swapped or a file edited. Transfers that run keep the build
    /// they began with.
    pub fn site(&self) -> Arc<Site> {
        match &mut *self.followed() {
            Followed::Tree(tree) => tree.site(),
            Followed::Directory(directory) => directory.site(),
        }
    }

    /// Whether each request looks at every file, since the kernel cannot tell of edits.
    pub fn compares_files(&self) -> bool {
        matches!(&*self.followed(), Followed::Directory(directory) if !directory.has_events())
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tree {
    fn site(&mut self) -> Arc<Site> {
        // One stat(2) tells that nothing changed, several links deep or not, and another one for an inventory.
        let nodes = self.additions.nodes.as_deref().and_then(identity);
        let seen = identity(&self.path).map(|tree| (tree, nodes));
        if seen.is_some() && seen == self.seen && self.refused.is_none() {
            return self.site.clone();
        }
        self.seen = seen;
        let target = Target::of(&self.path, &self.additions);
        let Some(target) = target.filter(|target| Some(target) != self.target.as_ref()) else {
            self.refused = None;
            return self.site.clone();
        };
        let refused = self.refused.take();
        if let Some((known, tried, _)) = &refused
            && *known == target
            && tried.elapsed() < RETRY
        {
            self.refused = refused;
            return self.site.clone();
        }
        let opened = (self.open)(&target.path).map_err(site::Error::from);
        match opened.and_then(|tree| self.additions.to(tree)) {
            Ok(site) => {
                self.site = Arc::new(site);
                self.target = Some(target);
                (self.notices)(&Notice::Swapped(&self.site));
            }
            Err(error) => {
                let told = error.to_string();
                // A bundle that is being copied here is another one with each block.
                if refused.is_none_or(|(_, _, known)| known != told) {
                    (self.notices)(&Notice::Kept(&error));
                }
                self.refused = Some((target, Instant::now(), told));
            }
        }
        self.site.clone()
    }
}
