//! `prebake initrd`: puts files into an initrd, lists them, and removes them again.

mod extract;
mod inject;
mod remove;
mod show;

use clap::{Args, Subcommand};

use crate::base::error::Result;

/// Put Ignition, sysexts and files into initrds, look into them, take them apart
#[derive(Args)]
pub(super) struct InitrdArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Inject(inject::InjectArgs),
    Show(show::ShowArgs),
    Extract(extract::ExtractArgs),
    Remove(remove::RemoveArgs),
}

impl InitrdArgs {
    pub(super) fn run(self) -> Result<()> {
        match self.verb {
            Verb::Inject(args) => args.run(),
            Verb::Show(args) => args.run(),
            Verb::Extract(args) => args.run(),
            Verb::Remove(args) => args.run(),
        }
    }
}
