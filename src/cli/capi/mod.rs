//! `prebake capi`

mod config;
mod convert;
#[cfg(feature = "cluster")]
mod doctor;
#[cfg(feature = "cluster")]
mod run;
mod text;
mod vendor;

use clap::{Args, Subcommand};

use crate::base::error::Result;

/// Cluster API: a repository for clusterctl out of a recipe, its secrets, older manifests, and what would go wrong
#[derive(Args)]
pub(crate) struct CapiArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Vendor(vendor::VendorArgs),
    Config(config::ConfigArgs),
    #[cfg(feature = "cluster")]
    Run(run::RunArgs),
    Convert(convert::ConvertArgs),
    #[cfg(feature = "cluster")]
    Doctor(doctor::DoctorArgs),
}

impl CapiArgs {
    /// Runs the verb.
    pub(crate) fn run(self) -> Result<()> {
        match self.verb {
            Verb::Vendor(args) => args.run(),
            Verb::Config(args) => args.run(),
            #[cfg(feature = "cluster")]
            Verb::Run(args) => args.run(),
            Verb::Convert(args) => args.run(),
            #[cfg(feature = "cluster")]
            Verb::Doctor(args) => args.run(),
        }
    }
}
