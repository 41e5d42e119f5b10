//! The cluster that a verb asks: by its description, or by any kubeconfig.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::base::error::{Advice, Exit, Result};
use crate::cluster::api::client::Connection;
use crate::cluster::api::wait::Wish;
use crate::cluster::description::Cluster;
use crate::cluster::place::Place;

/// The cluster to ask.
#[derive(Args)]
pub(super) struct ReachArgs {
    /// The cluster's description [default: /config/cluster.yaml if it is there, else cluster.yaml]
    #[arg(value_name = "CLUSTER")]
    file: Option<PathBuf>,
    /// Directory in which `kubeconfig` and the cluster's keys are
    #[arg(short, long, value_name = "DIR", default_value = "output")]
    output: PathBuf,
    /// The kubeconfig to ask with; without CLUSTER that of any cluster [default: kubeconfig in the output directory]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// A cluster that can be asked.
pub(super) struct Reached {
    /// Its description, if one is there.
    pub cluster: Option<Cluster>,
    /// Its API server.
    pub connection: Connection,
    /// Where its keys are, if it is one of ours.
    pub place: Option<Place>,
}

/// Neither a description nor a kubeconfig is named.
#[derive(Debug, thiserror::Error)]
#[error("there is no cluster.yaml here, and no kubeconfig is named")]
struct Nobody;

impl Advice for Nobody {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some("name the description, or a kubeconfig with --kubeconfig".into())
    }
}

/// The kubeconfig is not there yet.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the kubeconfig {}", path.display())]
struct NoKubeconfig {
    path: PathBuf,
    source: std::io::Error,
}

impl Advice for NoKubeconfig {
    fn hint(&self) -> Option<String> {
        Some("`prebake cluster generate` writes it, before any machine has power; --output says where".into())
    }
}

/// The description that a person named, or one that is at a usual place.
pub(super) fn description(named: Option<&Path>) -> Option<PathBuf> {
    let file = super::description(named);
    (named.is_some() || file.is_file()).then_some(file)
}

impl ReachArgs {
    /// Reads the description and the kubeconfig; nothing is connected yet.
    pub(super) async fn reach(&self) -> Result<Reached> {
        let file = match (&self.file, &self.kubeconfig) {
            // A description that happens to lie here says nothing about another cluster's kubeconfig.
            (None, Some(_)) => None,
            (file, _) => Some(description(file.as_deref()).ok_or(Nobody)?),
        };
        let cluster = file.map(|file| super::load(&file)).transpose()?;
        let place = cluster.as_ref().map(|cluster| Place::new(&self.output, &cluster.name.value));
        let own = || place.as_ref().map_or_else(|| self.output.join("kubeconfig"), Place::kubeconfig);
        let path = self.kubeconfig.clone().unwrap_or_else(own);
        let text =
            std::fs::read_to_string(&path).map_err(|source| NoKubeconfig { path: path.clone(), source })?;
        let connection = Connection::new(&path.display().to_string(), &text).await?;
        Ok(Reached { cluster, connection, place })
    }
}

impl Reached {
    /// The nodes that are awaited: those of the description, or those that there are.
    pub(super) fn wish(&self) -> Wish {
        match &self.cluster {
            Some(cluster) => {
                let names: BTreeSet<String> =
                    cluster.nodes.iter().map(|node| node.name.value.clone()).collect();
                Wish::Names(names)
            }
            None => Wish::Any,
        }
    }
}
