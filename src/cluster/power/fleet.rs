//! Many machines at once: some at a time, each a little later than the one before, and results as data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use url::Url;

use super::redfish::Gate;
use super::{Done, Error, Limits, Switch};
use crate::base::finding::meant;
use crate::cluster::description::{Cluster, Node};

/// An action on machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Their state is read.
    Status,
    /// Those that are off get power.
    On,
    /// Those that are on lose it.
    Off,
    /// They boot anew.
    Cycle,
    /// They boot anew, once over the network: from this URL where they can, else by PXE.
    Boot(Option<Url>),
    /// Their boot override is taken back; power stays as it is.
    Usual,
}

impl Action {
    /// Whether a machine that runs would not outlive it.
    pub fn ends(&self) -> bool {
        matches!(self, Action::Off | Action::Cycle | Action::Boot(_))
    }
}

/// The result of one machine.
#[derive(Debug)]
pub struct Outcome {
    /// The node's name in the description.
    pub node: String,
    /// The machine's new state, or why there is none.
    pub done: Result<Done, Error>,
}

/// Machines of a cluster that are switched together.
#[derive(Debug)]
pub struct Fleet<'c> {
    cluster: &'c Cluster,
    nodes: Vec<&'c Node>,
    ready: BTreeSet<String>,
    limits: Limits,
}

impl<'c> Fleet<'c> {
    /// All nodes whose power a program can switch.
    pub fn of(cluster: &'c Cluster) -> Fleet<'c> {
        let nodes = cluster.nodes.iter().filter(|node| node.power.is_some()).collect();
        Fleet { cluster, nodes, ready: BTreeSet::new(), limits: Limits::default() }
    }

    /// The nodes of these names.
    ///
    /// # Errors
    /// A name is none of a node, or the node's description has no `power`.
    pub fn only(self, names: &[String]) -> Result<Fleet<'c>, Error> {
        let all = &self.cluster.nodes;
        let found = names.iter().map(|name| {
            let node = all.iter().find(|node| node.name.value == *name);
            let known = || all.iter().map(|node| node.name.value.as_str());
            let node = node.ok_or_else(|| Error::NoNode {
                name: name.clone(),
                meant: meant(name, known(), "; did you mean"),
            })?;
            match node.power {
                Some(_) => Ok(node),
                None => Err(Error::NoPower { node: name.clone() }),
            }
        });
        let mut nodes: Vec<&Node> = Vec::new();
        for node in found {
            let node = node?;
            if !nodes.iter().any(|one| one.name.value == node.name.value) {
                nodes.push(node);
            }
        }
        Ok(Fleet { nodes, ..self })
    }

    /// Nodes that are Ready in the cluster: nothing that ends them is done to them.
    pub fn spare(self, ready: BTreeSet<String>) -> Fleet<'c> {
        Fleet { ready, ..self }
    }

    /// Other limits.
    pub fn within(self, limits: Limits) -> Fleet<'c> {
        Fleet { limits, ..self }
    }

    /// The names of its nodes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|node| node.name.value.as_str())
    }

    /// Names of the cluster's nodes whose power a person must switch.
    pub fn by_hand(&self) -> impl Iterator<Item = &'c str> {
        self.cluster.nodes.iter().filter(|node| node.power.is_none()).map(|node| node.name.value.as_str())
    }

    /// Whether no node can be switched.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Does it to each, and tells each outcome as it comes. The outcomes are in the order of the nodes.
    pub async fn run(&self, action: &Action, seen: impl Fn(&Outcome)) -> Vec<Outcome> {
        let switches = self.switches(action);
        let works = switches.into_iter().enumerate().map(|(place, (node, switch))| async move {
            let done = match switch {
                Err(error) => Err(error),
                Ok(switch) => {
                    if *action != Action::Status {
                        tokio::time::sleep(random_below(self.limits.jitter)).await;
                    }
                    act(&switch, action).await
                }
            };
            (place, Outcome { node: node.name.value.clone(), done })
        });
        let mut running = stream::iter(works).buffer_unordered(self.limits.together.max(1));
        let mut outcomes = BTreeMap::new();
        while let Some((place, outcome)) = running.next().await {
            seen(&outcome);
            outcomes.insert(place, outcome);
        }
        outcomes.into_values().collect()
    }

    /// The switch of each node, if it may be used. Those of one BMC and user know of each other.
    fn switches(&self, action: &Action) -> Vec<(&'c Node, Result<Switch, Error>)> {
        let mut gates: BTreeMap<String, Gate> = BTreeMap::new();
        let switch = |node: &'c Node| {
            let name = &node.name.value;
            if action.ends() && self.ready.contains(name) {
                return Err(Error::Ready { node: name.clone() });
            }
            let switch = Switch::of(node, &self.cluster.directory, self.limits)?;
            let mut switch = switch.ok_or_else(|| Error::NoPower { node: name.clone() })?;
            if let Switch::Redfish(bmc) = &mut switch {
                bmc.share(gates.entry(bmc.key()).or_default().clone());
            }
            Ok(switch)
        };
        let mut switch = switch;
        self.nodes.iter().map(|node| (*node, switch(node))).collect()
    }
}

async fn act(switch: &Switch, action: &Action) -> Result<Done, Error> {
    match action {
        Action::Status => Ok(Done { state: switch.state().await?, changed: false, boot: None }),
        Action::On => switch.on().await,
        Action::Off => switch.off().await,
        Action::Cycle => switch.cycle().await,
        Action::Boot(url) => switch.boot_once(url.as_ref()).await,
        Action::Usual => switch.boot_as_usual().await,
    }
}

/// A random time below another.
pub(super) fn random_below(most: Duration) -> Duration {
    let mut bytes = [0; 4];
    // Without randomness all come at once, which is no error.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    most.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}
