//! `prebake cluster validate`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::description;
use crate::base::count::counted;
use crate::base::error::{Advice, Exit, Result};
use crate::cli::failure;
use crate::cluster::description::Cluster;

/// Check a cluster's description; it writes nothing and asks nobody
///
/// All mistakes are told at once, each with its file, line and column. An encrypted description (SOPS with age) is opened in memory
/// alone. `-` reads standard input, such as what `sops decrypt` writes.
#[derive(Args)]
pub(super) struct ValidateArgs {
    /// The cluster's description, or `-` [default: /config/cluster.yaml if it is there, else cluster.yaml]
    #[arg(value_name = "CLUSTER")]
    file: Option<PathBuf>,
    /// Fail on any warning
    #[arg(short, long)]
    strict: bool,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

/// There are warnings, and none were wanted.
#[derive(Debug, thiserror::Error)]
#[error("there {} and --strict was given", if *.0 == 1 { "is a warning".to_owned() } else { format!("are {} warnings", .0) })]
struct Doubtful(usize);

impl Advice for Doubtful {
    fn exit(&self) -> Exit {
        Exit::Config
    }
}

impl ValidateArgs {
    pub(super) fn run(self) -> Result<()> {
        let (cluster, doubts) = Cluster::load(&description(self.file.as_deref()))?;
        let (controllers, workers) = (cluster.controllers().count(), cluster.workers().count());
        match self.json {
            true => say!(
                "{:#}",
                json!({
                    "cluster": cluster.name.value,
                    "kubernetes": cluster.kubernetes.value,
                    "endpoint": cluster.endpoint(),
                    "controllers": controllers,
                    "workers": workers,
                    "findings": doubts.iter().map(failure::finding).collect::<Vec<_>>(),
                })
            ),
            false => {
                doubts.iter().for_each(|finding| tell!("{finding}"));
                let machines =
                    [counted(controllers as u64, "controller"), counted(workers as u64, "worker")].join(", ");
                say!(
                    "{}: Kubernetes {}, {machines}, API server at {}",
                    cluster.name.value,
                    cluster.kubernetes.value,
                    cluster.endpoint()
                );
            }
        }
        match self.strict && !doubts.is_empty() {
            true => Err(Doubtful(doubts.len()).into()),
            false => Ok(()),
        }
    }
}
