//! Flags of `prebake serve` for restricting the process.

use std::fs;
use std::process::Command;

use clap::Args;

use crate::base::error::Result;
use crate::serve::process::confine::user::User;
use crate::serve::process::confine::{Confined, Confinement, Error, Files, begin};

/// Heading of these options.
pub(crate) const HEADING: &str = "Confinement";

/// Rights that the server drops once it listens.
#[derive(Args, Clone)]
pub(crate) struct ConfineArgs {
    /// Become this user once the sockets are bound: a name of /etc/passwd or a number, perhaps with `:GROUP`
    #[arg(help_heading = HEADING, long, value_name = "USER")]
    user: Option<String>,
    /// Do not restrict the process's file access with landlock
    #[arg(help_heading = HEADING, long)]
    no_sandbox: bool,
}

impl ConfineArgs {
    /// Drops all rights except for these files, and reports the result; `has_begun` after [`begin`](Self::begin).
    pub(crate) fn apply(&self, files: Files, has_begun: bool) -> Result<()> {
        tell!("{}", self.confine(files, has_begun)?);
        Ok(())
    }

    /// Prepares for starting another process, which this one can end later and which can end no other.
    pub(crate) fn begin(&self) -> Result<()> {
        if !self.no_sandbox {
            begin()?;
        }
        Ok(())
    }

    /// The same options, for another process.
    pub(crate) fn again(&self, command: &mut Command) {
        if let Some(user) = &self.user {
            command.arg("--user").arg(user);
        }
        if self.no_sandbox {
            command.arg("--no-sandbox");
        }
    }

    /// Drops all rights except for these files.
    pub(crate) fn confine(&self, files: Files, has_begun: bool) -> Result<Confined> {
        let table = |path| fs::read_to_string(path).unwrap_or_default();
        let parse = |text: &String| User::parse(text, &table("/etc/passwd"), &table("/etc/group"));
        let user = self.user.as_ref().map(parse).transpose().map_err(Error::Unknown)?;
        let confinement = Confinement { user, files: (!self.no_sandbox).then_some(files), has_begun };
        Ok(confinement.apply()?)
    }
}
