//! Flags of `prebake serve` for restricting the process.

use std::fs;

use clap::Args;

use crate::base::error::Result;
use crate::serve::process::confine::user::User;
use crate::serve::process::confine::{Confinement, Error, Files};

/// Heading of these options.
pub(crate) const HEADING: &str = "Confinement";

/// Rights that the server drops once it listens.
#[derive(Args)]
pub(crate) struct ConfineArgs {
    /// Become this user once the sockets are bound: a name of /etc/passwd or a number, perhaps with `:GROUP`
    #[arg(help_heading = HEADING, long, value_name = "USER")]
    user: Option<String>,
    /// Do not restrict the process's file access with landlock
    #[arg(help_heading = HEADING, long)]
    no_sandbox: bool,
}

impl ConfineArgs {
    /// Drops all rights except for these files, and reports the result.
    pub(crate) fn apply(&self, files: Files) -> Result<()> {
        let table = |path| fs::read_to_string(path).unwrap_or_default();
        let parse = |text: &String| User::parse(text, &table("/etc/passwd"), &table("/etc/group"));
        let user = self.user.as_ref().map(parse).transpose().map_err(Error::Unknown)?;
        let confinement = Confinement { user, files: (!self.no_sandbox).then_some(files) };
        tell!("{}", confinement.apply()?);
        Ok(())
    }
}
