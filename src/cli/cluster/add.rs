//! `prebake cluster add`

use clap::Args;

use super::forming::FormingArgs;
use crate::base::error::Result;

/// Bring further machines into a cluster that runs
///
/// For nodes that were added to the description: the tree is built anew, served, and those nodes are awaited, as `init` does it.
/// They join by a fresh certificate; controllers one after another.
#[derive(Args)]
pub(super) struct AddArgs {
    /// A node that is awaited (repeatable); all of the description if absent
    #[arg(long = "node", value_name = "NAME")]
    nodes: Vec<String>,
    #[command(flatten)]
    forming: FormingArgs,
}

impl AddArgs {
    /// Runs the verb.
    pub(super) fn run(self) -> Result<()> {
        let cluster = self.forming.load()?;
        self.forming.form("add", cluster, &self.nodes, |_, _| Ok(()))
    }
}
