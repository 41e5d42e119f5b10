//! `prebake completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use crate::base::error::Result;

/// Print the completions for a shell
///
/// For bash: prebake completions bash > /usr/share/bash-completion/completions/prebake
#[derive(Args)]
pub(crate) struct CompletionsArgs {
    /// Shell to complete for
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsArgs {
    /// Prints the completions.
    pub(crate) fn run(self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "prebake", &mut script);
        say_part!("{}", String::from_utf8_lossy(&script));
        Ok(())
    }
}
