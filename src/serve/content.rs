//! What is served now: loaded once, and anew when it was replaced.

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
    /// Where the path led when that could not be served, and when it was last tried.
    refused: Option<(PathBuf, Instant)>,
}

impl Content {
    /// Loads a build, or `current`, which leads to one.
    pub fn tree(tree: &Path, notices: Notices) -> Result<Content, site::Error> {
        let site = Arc::new(Site::load(tree)?);
        Ok(Content { tree: tree.into(), notices, current: Mutex::new(Current { site, refused: None }) })
    }

    /// The site as it is now: loaded anew when `current` was swapped. Transfers that run keep the build they began with.
    pub fn site(&self) -> Arc<Site> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(root) = self.tree.canonicalize().ok().filter(|root| *root != current.site.root) else {
            current.refused = None;
            return current.site.clone();
        };
        let refused = current.refused.as_ref().filter(|(known, _)| *known == root).map(|(_, tried)| *tried);
        if refused.is_none_or(|tried| tried.elapsed() >= RETRY) {
            match Site::load(&root) {
                Ok(site) => {
                    *current = Current { site: Arc::new(site), refused: None };
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
