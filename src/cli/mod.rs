//! The command line: one file a verb, one `Args` struct each. The only room that prints.

mod sysext;

use clap::{Parser, Subcommand};

use crate::error::Result;

/// Turns a recipe into prebaked Flatcar artifacts and serves them to machines.
#[derive(Parser)]
#[command(name = "prebake", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Sysext(sysext::SysextArgs),
}

impl Cli {
    /// Does what the command line says.
    pub fn run(self) -> Result<()> {
        match self.verb {
            Verb::Sysext(args) => args.run(),
        }
    }
}
