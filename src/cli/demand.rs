//! Which bundles a verb takes, and what the site knows of them.

use std::path::Path;

use clap::Args;

use crate::base::error::Result;
use crate::cli::signing::TrustArgs;
use crate::tree::bundle::policy::Policy;
use crate::tree::names;
use crate::tree::open::Tree;

pub use crate::tree::bundle::policy::Taken;

/// Whom to believe about a tree or bundle.
#[derive(Args)]
pub struct DemandArgs {
    #[command(flatten)]
    trust: TrustArgs,
    /// Accept files that are unsigned, or signed by unknown keys only: trusts whoever provided them
    #[arg(long, help_heading = "Trust")]
    allow_unsigned: bool,
    /// Accept an expired bundle
    #[arg(long, help_heading = "Trust")]
    allow_expired: bool,
}

impl DemandArgs {
    /// What holds for bundles here: the keys on the command line, and those that the site remembers, which lie in its store.
    pub fn policy(&self, store: &Path) -> Result<Policy> {
        Ok(Policy {
            trust: self.trust.trust()?,
            store: store.to_owned(),
            allow_unsigned: self.allow_unsigned,
            allow_expired: self.allow_expired,
        })
    }

    /// Opens a tree in a directory, if it was signed by the keys on the command line, or need not be signed and is not; what
    /// a site remembers is of bundles.
    pub fn directory(&self, path: &Path) -> Result<Tree> {
        let trust = self.trust.trust()?;
        let may_be_unsigned = self.allow_unsigned && !path.join(names::SIGNATURE).exists();
        Ok(Tree::believed(path, trust.as_ref().filter(|_| !may_be_unsigned))?)
    }

    /// Opens a bundle if it is to be believed.
    pub fn open(&self, path: &Path, store: &Path) -> Result<Taken> {
        Ok(self.policy(store)?.open(path)?)
    }
}
