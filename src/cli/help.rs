//! `prebake help`, and the command line with all that its help texts show.

use clap::{Args, Command, CommandFactory};

use super::{Cli, examples, exits, groups};
use crate::base::error::Result;

/// Show the help of a verb
#[derive(Args)]
pub(crate) struct HelpArgs {
    /// The verb, such as `build` or `sysext build`; all of prebake if absent
    #[arg(value_name = "VERB")]
    verb: Vec<String>,
}

impl HelpArgs {
    /// Prints what `prebake VERB --help` prints, and ends the process.
    pub(crate) fn run(self) -> Result<()> {
        super::show_help(["prebake".to_owned()].into_iter().chain(self.verb).map(Into::into).collect())
    }
}

/// The command line, with help texts that the arguments alone do not give.
pub(super) fn dressed() -> Command {
    let command = Cli::command();
    let template = groups::template(&command);
    let command = examples::shown(command, "").help_template(template).after_help(exits::sentence());
    let examples = command.get_after_long_help().cloned().unwrap_or_default();
    command.after_long_help(format!("{}\n\n{}", examples.ansi(), exits::sentence()))
}
