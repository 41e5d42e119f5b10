//! `prebake initrd`: what goes into an initrd, what is in it, and how to get it out again.

mod extract;
mod inject;
mod remove;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::error::Result;
use crate::initrd::inject::Target;

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

/// Where a new initrd goes.
#[derive(Args)]
struct OutputArgs {
    /// The new file; it appears whole or not at all
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it exists (the input, too: it is read to its end first)
    #[arg(long)]
    force: bool,
}

impl From<OutputArgs> for Target {
    fn from(args: OutputArgs) -> Self {
        Target { path: args.output, force: args.force }
    }
}
