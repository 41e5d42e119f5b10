//! `prebake cluster power`

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::base::error::{Advice, Exit, Result, chain};
use crate::cli::project::block_on;
use crate::cli::table::Table;
use crate::cluster::api::client::Connection;
use crate::cluster::api::snapshot::{Api, Snapshot};
use crate::cluster::course::record::Record;
use crate::cluster::course::step::Step;
use crate::cluster::place::Place;
use crate::cluster::power::{self, Action, Fleet, Outcome};

/// How long the API server is asked which nodes are Ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// Switch the power of machines by their BMCs or commands, or tell it
///
/// Without names it is for all nodes whose description says how. `off` and `cycle` pull the plug: no operating system is asked. A node
/// that is Ready in its cluster keeps its power unless --force is given.
#[derive(Args)]
pub(crate) struct PowerArgs {
    /// The change of power, or `status` to only ask
    #[arg(value_name = "ACTION")]
    action: Verb,
    /// Nodes of the description; all that can be switched if none is named
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// The cluster's description [default: /config/cluster.yaml if it is there, else cluster.yaml]
    #[arg(short, long, value_name = "CLUSTER")]
    cluster: Option<PathBuf>,
    /// Directory in which `kubeconfig` and the cluster's keys are
    #[arg(short, long, value_name = "DIR", default_value = "output")]
    output: PathBuf,
    /// Take power from nodes that are Ready, too
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// An action as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Verb {
    /// Give power to machines that are off
    On,
    /// Take it
    Off,
    /// Tell it
    Status,
    /// Boot machines anew
    Cycle,
}

impl From<Verb> for Action {
    fn from(verb: Verb) -> Action {
        match verb {
            Verb::On => Action::On,
            Verb::Off => Action::Off,
            Verb::Status => Action::Status,
            Verb::Cycle => Action::Cycle,
        }
    }
}

/// Why the verb failed as a whole.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no node of {cluster} has a `bmc` or `power`")]
    Nobody { cluster: String },
    #[error("{failed} of {of} machines {}", if *failed == 1 { "was not switched" } else { "were not switched" })]
    Some { failed: usize, of: usize, exit: Exit },
    #[error("{cluster} was formed, and its API server does not tell which nodes are Ready")]
    Unknown { cluster: String },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Nobody { .. } => Exit::Config,
            Error::Some { exit, .. } => *exit,
            Error::Unknown { .. } => Exit::Network,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Nobody { .. } => Some("docs/guides/power.md tells what a node's description needs".into()),
            Error::Some { .. } => None,
            Error::Unknown { .. } => Some("repeat with --force if their power may go all the same".into()),
        }
    }
}

impl PowerArgs {
    /// Switches, and prints a table.
    pub(crate) fn run(self) -> Result<()> {
        let cluster = super::load(&super::description(self.cluster.as_deref()))?;
        let action = Action::from(self.action);
        let fleet = Fleet::of(&cluster);
        let fleet = if self.nodes.is_empty() { fleet } else { fleet.only(&self.nodes)? };
        if fleet.is_empty() {
            return Err(Error::Nobody { cluster: cluster.name.value.clone() }.into());
        }
        let outcomes = block_on(async {
            let ready = match action.ends() && !self.force {
                true => ready(&Place::new(&self.output, &cluster.name.value), &cluster.name.value).await?,
                false => BTreeSet::new(),
            };
            let told = |outcome: &Outcome| {
                if let Err(error) = &outcome.done {
                    tell!("{}: {}", outcome.node, chain(error).join(": "));
                    if let Some(hint) = error.hint() {
                        tell!("  hint: {hint}");
                    }
                }
            };
            Ok::<_, crate::base::error::Error>(fleet.spare(ready).run(&action, told).await)
        })?;
        match self.json {
            true => say!("{:#}", document(&outcomes)),
            false => say!("{}", table(&outcomes)),
        }
        let failed: Vec<&power::Error> =
            outcomes.iter().filter_map(|outcome| outcome.done.as_ref().err()).collect();
        match failed.first() {
            None => Ok(()),
            Some(first) => {
                Err(Error::Some { failed: failed.len(), of: outcomes.len(), exit: first.exit() }.into())
            }
        }
    }
}

/// The nodes that are Ready. A cluster that was never formed has none.
async fn ready(place: &Place, name: &str) -> Result<BTreeSet<String>> {
    let path = place.kubeconfig();
    let connection = match std::fs::read_to_string(&path) {
        Ok(text) => Connection::new(&path.display().to_string(), &text).await.ok(),
        Err(_) => None,
    };
    let is_enough = |seen: &Snapshot| seen.knows_nodes() || matches!(seen.api, Api::Lost(_));
    let snapshot = match &connection {
        Some(connection) => Snapshot::until(connection, PATIENCE, is_enough).await,
        None => Snapshot::default(),
    };
    if snapshot.knows_nodes() {
        let nodes = snapshot.nodes.into_values().filter(|node| node.ready);
        return Ok(nodes.map(|node| node.name).collect());
    }
    // All nodes were ready once. A record that cannot be read says nothing of that.
    match Record::open(place).is_ok_and(|record| record.has_ended(Step::Nodes)) {
        true => Err(Error::Unknown { cluster: name.to_owned() }.into()),
        false => Ok(BTreeSet::new()),
    }
}

fn table(outcomes: &[Outcome]) -> String {
    let mut table = Table::new(["NODE", "POWER", "DONE", "BOOT"]);
    for outcome in outcomes {
        let (power, done, boot) = match &outcome.done {
            Ok(done) => {
                let boot = done.boot.as_ref().map(ToString::to_string).unwrap_or_default();
                (done.state.to_string(), if done.changed { "switched" } else { "as it was" }, boot)
            }
            Err(_) => ("?".into(), "failed", String::new()),
        };
        table.row([outcome.node.clone(), power, done.into(), boot]);
    }
    table.to_string().trim_end().to_owned()
}

fn document(outcomes: &[Outcome]) -> Value {
    let one = |outcome: &Outcome| match &outcome.done {
        Ok(done) => {
            json!({"node": outcome.node, "state": done.state, "changed": done.changed, "boot": done.boot})
        }
        Err(error) => json!({"node": outcome.node, "error": chain(error).join(": "), "hint": error.hint()}),
    };
    json!({ "nodes": outcomes.iter().map(one).collect::<Vec<_>>() })
}
