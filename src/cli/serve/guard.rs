//! Flags of `prebake serve` for configs with secrets.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::machine::base_url::BaseUrl;
use crate::serve::endpoint::guard::Guard;
use crate::serve::http::server::Server;
use crate::serve::process::confine::Files;
use crate::serve::site::content::Secrets;
use crate::tree::names::PRIVATE;

/// Heading of these options.
const HEADING: &str = "Secrets";

/// Access to the private part of a tree.
#[derive(Args)]
pub(crate) struct GuardArgs {
    /// Give machines the private configs of the tree, each with a token that is valid once, for one machine and a limited time
    #[arg(help_heading = HEADING, long, conflicts_with = "matchbox")]
    guard: bool,
    /// Directory of the private configs, if the tree was built with --private
    #[arg(help_heading = HEADING, long, value_name = "DIR", requires = "guard")]
    private: Option<PathBuf>,
    /// How long a machine may take from its boot script to its config
    #[arg(help_heading = HEADING, long, value_name = "TIME", requires = "guard", value_parser = humantime::parse_duration, default_value = "15m")]
    guard_life: Duration,
    /// Where machines fetch private configs, such as `https://boot.example.com:8443`; without it, where they asked for their
    /// boot script
    #[arg(help_heading = HEADING, long, value_name = "URL", requires = "guard")]
    guard_url: Option<BaseUrl>,
    /// Accept a token from another address than requested it: where DHCP gives the system another than it gave the loader
    #[arg(help_heading = HEADING, long, requires = "guard")]
    guard_any_address: bool,
}

impl GuardArgs {
    /// Allows reading the directory of secrets outside of the tree.
    pub(crate) fn files(&self, files: &mut Files) {
        self.private.iter().for_each(|private| files.read(private));
    }

    /// The location of the secrets, if machines are given them.
    pub(crate) fn secrets(&self) -> Option<Secrets> {
        self.guard.then(|| Secrets { outside: self.private.clone() })
    }

    /// Lets a server guard its tree, if requested. Otherwise reports a tree with secrets, because its machines boot
    /// without them.
    pub(crate) fn apply(&self, server: Server) -> Server {
        if !self.guard {
            if server.site().place.directory().is_some_and(|tree| tree.join(PRIVATE).exists()) {
                tell!("the tree has private configs, which machines get only with --guard");
            }
            return server;
        }
        let guard = Guard::new(self.guard_life).outside(self.private.clone());
        let guard = if self.guard_any_address { guard.any_address() } else { guard };
        server.guard(match &self.guard_url {
            Some(url) => guard.base_url(url.to_string()),
            None => guard,
        })
    }
}
