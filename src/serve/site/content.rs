//! The current content: loaded once, and again after it was replaced or edited.

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

/// The shortest interval between attempts to load a build that cannot be served.
const RETRY: Duration = Duration::from_millis(200);

/// A published tree that may be replaced, or a data directory that may be edited.
pub struct Content(Mutex<Followed>);

enum Followed {
    Tree(Box<Tree>),
    Directory(Box<DataDir>),
}

/// Opens the target of a path; called again whenever the target has changed.
pub(crate) type Open = Box<dyn Fn(&Path) -> Result<open::Tree, open::Error> + Send>;

/// Everything that a site adds to each tree that it opens.
#[derive(Clone, Default)]
pub struct Additions {
    /// The signer of answers.
    pub signer: Option<Arc<Signer>>,
    /// The path of machines that the tree does not know: [`inventory`]. It is followed like the tree.
    pub nodes: Option<PathBuf>,
    /// The secrets for machines; `None` if they get none.
    pub secrets: Option<Secrets>,
}

/// Where the secrets of trees for their machines are.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// The directory with the secrets of all trees, if they are not in the trees.
    pub outside: Option<PathBuf>,
}

impl Secrets {
    /// Checks the secrets of a tree before it is served. Returns a remark for people, if there is one.
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
    /// The site of a tree, with the additions.
    pub(crate) fn to(&self, tree: open::Tree) -> Result<Site, site::Error> {
        let site = Site { signer: self.signer.clone(), ..Site::load(tree)? };
        let lack = self.secrets.as_ref().map(|secrets| secrets.judge(&site)).transpose()?.flatten();
        let outside = self.secrets.as_ref().and_then(|secrets| secrets.outside.as_deref());
        let private = match site.place.directory() {
            Some(tree) => private::configs(&private::directory(tree, outside, &site.manifest.name)),
            None => site.private.clone(),
        };
        let site = Site { lack, private, ..site };
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
    /// The target that is served.
    target: Option<Target>,
    /// The target of the path when it was last followed.
    seen: Option<(Identity, Option<Identity>)>,
    /// The target that could not be loaded, the time of the last attempt, and the error that was reported.
    refused: Option<(Target, Instant, String)>,
}

/// Identifies a directory or file, and distinguishes it from a later one with the same inode.
type Identity = (u64, u64, i64, i64);

fn identity(path: &Path) -> Option<Identity> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
}

/// The target of a path. A build is identified by its directory's path, because the directory's time changes when
/// secrets are added. A bundle or an inventory is identified by its bytes, since they may change under the same name.
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
    /// Loads a build, `current`, which leads to one, or a bundle: anything that `open` can open.
    pub fn tree(
        path: &Path,
        open: Open,
        additions: Additions,
        notices: Notices,
    ) -> Result<Content, site::Error> {
        // Taken before it is opened, so that a replacement in between is noticed later.
        let target = Target::of(path, &additions);
        let site = Arc::new(additions.to(open(path)?)?);
        let path = path.to_owned();
        let tree = Tree { path, open, additions, notices, site, target, seen: None, refused: None };
        Ok(Content(Mutex::new(Followed::Tree(Box::new(tree)))))
    }

    /// Reads a Matchbox data directory.
    pub(crate) fn directory(
        path: &Path,
        settings: Settings,
        notices: Notices,
    ) -> Result<Content, site::Error> {
        let directory = DataDir::open(path, settings, notices)?;
        Ok(Content(Mutex::new(Followed::Directory(Box::new(directory)))))
    }

    /// The current site; loaded again when `current` was swapped or a file was edited. Running transfers keep the build
    /// that they began with.
    pub(crate) fn site(&self) -> Arc<Site> {
        match &mut *self.followed() {
            Followed::Tree(tree) => tree.site(),
            Followed::Directory(directory) => directory.site(),
        }
    }

    /// Reads a data directory once more if this process has become another user, who may perhaps not read all of it.
    ///
    /// # Errors
    /// Serving is strict, and files cannot be used by now.
    pub(crate) fn read_again(&self) -> Result<(), site::Error> {
        match &mut *self.followed() {
            Followed::Tree(_) => Ok(()),
            Followed::Directory(directory) => directory.read_again(),
        }
    }

    /// Whether each request has to look at every file, because the kernel cannot report edits.
    pub(crate) fn compares_files(&self) -> bool {
        matches!(&*self.followed(), Followed::Directory(directory) if !directory.has_events())
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tree {
    fn site(&mut self) -> Arc<Site> {
        // One stat(2), and another one for an inventory, shows that nothing changed, however many links there are.
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
                // A bundle that is still being copied here changes with each block, so the same error is reported only
                // once.
                if refused.is_none_or(|(_, _, known)| known != told) {
                    (self.notices)(&Notice::Kept(&error));
                }
                self.refused = Some((target, Instant::now(), told));
            }
        }
        self.site.clone()
    }
}
