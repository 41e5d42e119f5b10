//! `prebake version`

use clap::Args;
use serde_json::json;

use crate::base::error::Result;

/// The commit that this program was built of, if the build told it, as `make dist` does.
const COMMIT: Option<&str> = option_env!("PREBAKE_COMMIT");

/// Print the version of prebake
#[derive(Args)]
pub(crate) struct VersionArgs {
    /// Print JSON: the version, and the commit if the build told it
    #[arg(long)]
    json: bool,
}

impl VersionArgs {
    /// Prints the version.
    pub(crate) fn run(self) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        let commit = COMMIT.filter(|commit| !commit.is_empty());
        match self.json {
            true => say!("{:#}", json!({"version": version, "commit": commit})),
            false => {
                say!("prebake {version}{}", commit.map(|commit| format!(" ({commit})")).unwrap_or_default())
            }
        }
        Ok(())
    }
}
