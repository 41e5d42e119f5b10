//! `prebake cluster`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::base::error::Result;

/// Form a Kubernetes cluster from `cluster.yaml`: from the power button to a kubeconfig
#[derive(Args)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {}

/// The description and what is made from it, as all of its verbs name them.
#[derive(Args)]
pub(super) struct Described {
    /// The cluster's description [default: /config/cluster.yaml if it is there, else cluster.yaml]
    #[arg(value_name = "CLUSTER")]
    pub file: Option<PathBuf>,
    /// Directory for trees, the cluster's keys and its kubeconfig
    #[arg(short, long, value_name = "DIR", default_value = "output")]
    pub output: PathBuf,
    /// Files that replace the templates of the same names
    #[arg(long, value_name = "DIR")]
    pub templates: Option<PathBuf>,
}

impl ClusterArgs {
    /// Runs the verb.
    pub(crate) fn run(self) -> Result<()> {
        match self.verb {}
    }
}
