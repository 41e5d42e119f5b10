//! `prebake initrd`: puts files into an initrd, lists them, and removes them again.

mod extract;
mod inject;
mod remove;
mod show;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::base::error::{Advice, Exit, Result};
use crate::tree::inject::PublishedTree;

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

/// Reasons why one of these verbs does not begin.
#[derive(Debug, thiserror::Error)]
enum Misuse {
    #[error("{} is a directory: a published tree, and this verb takes one initrd", path.display())]
    Tree { path: PathBuf, initrds: Vec<String> },
    #[error("{} is a directory: a published tree, of which no profile was named", path.display())]
    WhoseBoot { path: PathBuf, profiles: Vec<String> },
    #[error("no file was named for the new initrd")]
    NoOutput,
}

impl Advice for Misuse {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Misuse::Tree { initrds, .. } => format!("name {}", initrds.join(" or ")),
            Misuse::WhoseBoot { profiles, .. } => {
                format!("name the profile to inject into with --profile: {}", profiles.join(", "))
            }
            Misuse::NoOutput => "name it with --output FILE".into(),
        })
    }
}

/// Refuses a directory where an initrd belongs, and names the initrds of a tree.
fn must_be_file(path: &Path) -> Result<()> {
    if !path.is_dir() {
        return Ok(());
    }
    let files = PublishedTree::open(path)?.list()?.into_iter().map(|initrd| path.join(initrd.path));
    // A virtual initrd is no file.
    let initrds =
        files.filter(|file| file.is_file()).take(3).map(|file| file.display().to_string()).collect();
    Err(Misuse::Tree { path: path.to_owned(), initrds }.into())
}
