//! The conditions under which a verb accepts a bundle, and the site's knowledge about bundles.

use std::path::Path;

use clap::Args;

use crate::base::error::Result;
use crate::cli::signing::TrustArgs;
use crate::tree::bundle::policy::Policy;
use crate::tree::names;
use crate::tree::open::Tree;
use crate::trust::signers::Trust;

pub(crate) use crate::tree::bundle::policy::Taken;

/// Trust in a tree or bundle.
#[derive(Args)]
pub(crate) struct DemandArgs {
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
    /// The policy for bundles: the keys on the command line, and the keys that the site remembers in its store.
    pub(crate) fn policy(&self, store: &Path) -> Result<Policy> {
        Ok(Policy {
            trust: self.trust.trust()?,
            store: store.to_owned(),
            allow_unsigned: self.allow_unsigned,
            allow_expired: self.allow_expired,
        })
    }

    /// The keys on the command line that must have signed.
    pub(crate) fn trust(&self) -> Result<Option<Trust>> {
        self.trust.trust()
    }

    /// Opens a tree in a directory, if the keys on the command line signed it, or if it may be unsigned and is. Keys
    /// that a site remembers do not apply, because they are for bundles.
    pub(crate) fn directory(&self, path: &Path) -> Result<Tree> {
        let trust = self.trust.trust()?;
        let may_be_unsigned = self.allow_unsigned && !path.join(names::SIGNATURE).exists();
        Ok(Tree::believed(path, trust.as_ref().filter(|_| !may_be_unsigned))?)
    }

    /// Opens a bundle if the policy accepts it.
    pub(crate) fn open(&self, path: &Path, store: &Path) -> Result<Taken> {
        Ok(self.policy(store)?.open(path)?)
    }
}
