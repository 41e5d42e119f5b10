//! `prebake cluster addons`

mod vendor;

use clap::{Args, Subcommand};

use crate::base::error::Result;

/// Manifests of add-ons, beside the cluster's description
///
/// A cluster gets exactly the files that lie there: nothing is fetched or rendered when a cluster forms.
#[derive(Args)]
pub(crate) struct AddonsArgs {
    #[command(subcommand)]
    verb: AddonsVerb,
}

#[derive(Subcommand)]
enum AddonsVerb {
    Vendor(vendor::VendorArgs),
}

impl AddonsArgs {
    /// Runs the verb.
    pub(crate) fn run(self) -> Result<()> {
        match self.verb {
            AddonsVerb::Vendor(args) => args.run(),
        }
    }
}
