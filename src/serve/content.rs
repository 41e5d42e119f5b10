//! What is served now: loaded once, and anew when it was replaced.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::notice::{Notice, Notices};
use super::site::{self, Site};

/// How often a build that could not be served is tried again, at most.
const RETRY: Duration = Duration::from_millis(200);

/// A published tree that may be swapped for another.
pub struct Content {
    tree: PathBuf,
    notices: Notices,
    current: Mutex<Current>,
}

struct Current {
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
    pub fn tree(tree: &Path, notices: Notices) -> Result<Content, site::Error> {
        let site = Arc::new(Site::load(tree)?);
        Ok(Content {
            tree: tree.into(),
            notices,
            current: Mutex::new(Current { site, seen: None, refused: None }),
        })
    }

    /// The site as it is now: loaded anew when `current` was swapped. Transfers that run keep the build they began with.
    pub fn site(&self) -> Arc<Site> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // One stat(2) tells that nothing changed, several links deep or not.
        let seen = identity(&self.tree);
        if seen.is_some() && seen == current.seen && current.refused.is_none() {
            return current.site.clone();
        }
        current.seen = seen;
        let Some(root) = self.tree.canonicalize().ok().filter(|root| *root != current.site.root) else {
            current.refused = None;
            return current.site.clone();
        };
        let refused = current.refused.as_ref().filter(|(known, _)| *known == root).map(|(_, tried)| *tried);
        if refused.is_none_or(|tried| tried.elapsed() >= RETRY) {
            match Site::load(&root) {
                Ok(site) => {
                    *current = Current { site: Arc::new(site), seen, refused: None };
                    (self.notices)(&Notice::Swapped(&current.site));
                }
                Err(error) => {
                    if refused.is_none() {
                        (self.notices)(&Notice::Kept(&error));
                    }
                    current.refused = Some((root, Instant::now()));
                }
            }
        }
        current.site.clone()
    }
}
