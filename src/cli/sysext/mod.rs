//! `prebake sysext`: builds, inspects and judges system extensions without a recipe.

mod build;
mod extract;
mod inspect;
mod key;
mod lint;
mod ls;
mod new;

use clap::{Args, Subcommand};

use crate::base::canonical::canonical_json;
use crate::base::error::Result;

/// Build, lint and inspect system extensions
#[derive(Args)]
pub(crate) struct SysextArgs {
    #[command(subcommand)]
    verb: SysextVerb,
}

#[derive(Subcommand)]
enum SysextVerb {
    Build(build::SysextBuildArgs),
    Extract(extract::ExtractArgs),
    Inspect(inspect::InspectArgs),
    Key(key::KeyArgs),
    Lint(lint::LintArgs),
    Ls(ls::LsArgs),
    New(new::NewArgs),
}

impl SysextArgs {
    /// Runs the verb.
    pub(crate) fn run(self) -> Result<()> {
        match self.verb {
            SysextVerb::Build(args) => args.run(),
            SysextVerb::Extract(args) => args.run(),
            SysextVerb::Inspect(args) => args.run(),
            SysextVerb::Key(args) => args.run(),
            SysextVerb::Lint(args) => args.run(),
            SysextVerb::Ls(args) => args.run(),
            SysextVerb::New(args) => args.run(),
        }
    }
}

/// Escapes names from other sources, which may contain terminal sequences.
fn escaped(text: &str) -> String {
    text.escape_debug().to_string()
}

fn print_json(value: &impl serde::Serialize) {
    say_part!("{}", String::from_utf8_lossy(&canonical_json(value)));
}
