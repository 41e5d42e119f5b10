//! `prebake cluster init`

use clap::Args;

use super::forming::FormingArgs;
use crate::base::error::Result;

/// Form the cluster: from the power button to a kubeconfig
///
/// Makes keys, configs and the tree, examines the site, serves HTTP, TFTP and DHCP from this process, has the machines switched on,
/// follows them until the API server answers and all nodes are Ready, applies network plugin and add-ons, and stops serving. Each
/// step is recorded, and judged by what is there: after an interruption, the same command goes on where the cluster is. On a cluster
/// that is ready it ends at once.
#[derive(Args)]
pub(super) struct InitArgs {
    #[command(flatten)]
    forming: FormingArgs,
}

impl InitArgs {
    /// Runs the verb.
    pub(super) fn run(self) -> Result<()> {
        let cluster = self.forming.load()?;
        self.forming.form("init", cluster, &[], |_, _| Ok(()))
    }
}
