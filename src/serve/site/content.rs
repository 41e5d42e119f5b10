//! What is served now: loaded once, and anew when it was replaced or edited.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::datadir::{DataDir, Settings};
use crate::serve::endpoint::sign::Signer;
use crate::serve::notice::{Notice, Notices};
use crate::serve::site::{self, Site};

/// How often a build that could not be served is tried again, at most.
const RETRY: Duration = Duration::from_millis(200);

/// A published tree that may be swapped for another, or a data directory that may be edited.
pub struct Content(Mutex<Followed>);

enum Followed {
    Tree(Tree),
    Directory(Box<DataDir>),
}

struct Tree {
    path: PathBuf,
    signer: Option<Arc<Signer>>,
    notices: Notices,
    site: Arc<Site>,
    /// The directory that the path led to when it was last followed.
    seen: Option<Identity>,
    /// Where the path led when that could not be served, and when it was last tried.
    refused: Option<(PathBuf, Instant)>,
}

/// Which directory it is, and that it is not another one which took its inode.
type Identity = (u64, u64, i64, i64);

fn identity(directory: &Path) -> Option<Identity> {
    let found = fs::metadata(directory).ok()?;
    Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
}

impl Content {
    /// Loads a build, or `current`, which leads to one.
    pub fn tree(path: &Path, signer: Option<Arc<Signer>>, notices: Notices) -> Result<Content, site::Error> {
        let site = Arc::new(Site { signer: signer.clone(), ..Site::load(path)? });
        let tree = Tree { path: path.into(), signer, notices, site, seen: None, refused: None };
        Ok(Content(Mutex::new(Followed::Tree(tree))))
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
        // One stat(2) tells that nothing changed, several links deep or not.
        let seen = identity(&self.path);
        if seen.is_some() && seen == self.seen && self.refused.is_none() {
            return self.site.clone();
        }
        self.seen = seen;
        let Some(root) = self.path.canonicalize().ok().filter(|root| root != self.site.place.directory())
        else {
            self.refused = None;
            return self.site.clone();
        };
        let refused = self.refused.as_ref().filter(|(known, _)| *known == root).map(|(_, tried)| *tried);
        if refused.is_none_or(|tried| tried.elapsed() >= RETRY) {
            match Site::load(&root) {
                Ok(site) => {
                    self.site = Arc::new(Site { signer: self.signer.clone(), ..site });
                    self.refused = None;
                    (self.notices)(&Notice::Swapped(&self.site));
                }
                Err(error) => {
                    if refused.is_none() {
                        (self.notices)(&Notice::Kept(&error));
                    }
                    self.refused = Some((root, Instant::now()));
                }
            }
        }
        self.site.clone()
    }
}
