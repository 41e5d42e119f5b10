//! Flags of `prebake serve` for bundles.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;

use crate::base::disk::directory_of;
use crate::base::error::Result;
use crate::cli::demand::DemandArgs;
use crate::cli::project::StoreArg;
use crate::serve::process::confine::Files;
use crate::serve::site::content::Open;
use crate::tree::bundle;
use crate::tree::bundle::policy::{Policy, Taken};
use crate::tree::open::{self, Tree};

/// Choice of bundles to serve.
#[derive(Args)]
pub(crate) struct BundleArgs {
    /// The tree to serve, of a bundle with several
    #[arg(
        long = "tree",
        id = "tree_of_bundle",
        value_name = "NAME",
        requires = "tree",
        help_heading = "Bundles"
    )]
    name: Option<String>,
    #[command(flatten)]
    demand: DemandArgs,
    /// Serve a bundle with a lower sequence number than this site has seen
    #[arg(long, help_heading = "Trust")]
    allow_older: bool,
    #[command(flatten)]
    store: StoreArg,
}

impl BundleArgs {
    /// A function that opens the tree or bundle at a path, initially and after each replacement; adds the paths that it
    /// reads to `files`.
    pub(crate) fn opener(&self, path: &Path, files: &mut Files) -> Result<Open> {
        // Only bundles need it, and a service may have no home directory.
        let store = self.store.path();
        let store = if path.is_file() { store? } else { store.unwrap_or_default() };
        if path.is_file() {
            // A new bundle arrives by a rename and is another file, so the directory must be readable; for a link, the
            // target's directory too.
            files.read(directory_of(path));
            files.read(directory_of(&path.canonicalize().unwrap_or_else(|_| path.to_owned())));
            files.read(&bundle::site::directory(&store));
        } else {
            files.read(path);
        }
        let bundles = Bundles {
            policy: self.demand.policy(&store)?,
            allow_older: self.allow_older,
            tree: self.name.clone(),
            newest: Mutex::default(),
        };
        Ok(Box::new(move |path| match path.is_file() {
            true => bundles.open(path),
            false => Tree::believed(path, bundles.policy.trust.as_ref()),
        }))
    }
}

/// Opens one bundle after another, and refuses one that is older than those before it.
struct Bundles {
    policy: Policy,
    allow_older: bool,
    tree: Option<String>,
    /// Name and sequence number of the bundle that is served.
    newest: Mutex<Option<(String, u64)>>,
}

impl Bundles {
    fn open(&self, path: &Path) -> Result<Tree, open::Error> {
        let Taken { bundle, site, .. } = self.policy.open(path)?;
        let (name, found) = (bundle.index().name.clone(), bundle.index().sequence);
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.allow_older {
            if let Some(site) = site {
                site.refuse_older(&bundle)?;
            }
            if let Some((_, seen)) = newest.as_ref().filter(|(known, seen)| *known == name && found < *seen) {
                let (subject, seen) = (bundle.subject().into(), *seen);
                return Err(bundle::Error::Older { subject, name, found, seen }.into());
            }
        }
        let tree = Tree::chosen(Arc::new(bundle), self.tree.as_deref())?;
        *newest = Some((name, found));
        Ok(tree)
    }
}
