//! `prebake cluster wait`

use std::time::Duration;

use clap::Args;

use super::reach::ReachArgs;
use crate::base::error::Result;
use crate::cli::project::block_on;
use crate::cluster::api::follow::Follower;
use crate::cluster::api::snapshot::Snapshot;
use crate::cluster::api::wait::{Limits, Waiter, Wish};

/// Wait until a cluster is ready: its API server, all of its nodes and no others, its add-ons, and all of it still so after 15 seconds
///
/// Each of the three may take a time of its own: 15 minutes until the API server is ready, 10 until the nodes are, 10 until the
/// add-ons are. Then it ends with 8, and names what is late, why, and what to look at. It follows the cluster by watches, prints a line
/// for each change, and outlives an API server that goes and comes. With --kubeconfig alone it waits for any cluster, made by
/// whichever tool.
#[derive(Args)]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    reach: ReachArgs,
    /// Wait for this many Ready nodes, whichever they are, instead of those of the description
    #[arg(long, value_name = "N", alias = "nodes")]
    count: Option<usize>,
    /// How long to wait for all of it, instead of the limits of each stage
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

impl WaitArgs {
    /// Waits.
    pub(crate) fn run(self) -> Result<()> {
        block_on(async {
            let reached = self.reach.reach().await?;
            let wish = self.count.map_or_else(|| reached.wish(), Wish::Count);
            let limits = self.timeout.map_or_else(Limits::default, Limits::together);
            let mut waiter = Waiter::new(Follower::new(&reached.connection), wish, limits);
            let mut told = |_: &Snapshot, line: &str| tell!("{line}");
            waiter.complete(&mut told).await?;
            let Snapshot { nodes, addons, .. } = &waiter.snapshot;
            let server = reached.connection.server();
            let ready = nodes.values().filter(|node| node.ready).count();
            say!("{server} is ready: {ready} of {} nodes, {} add-ons", nodes.len(), addons.len());
            Ok(())
        })
    }
}
