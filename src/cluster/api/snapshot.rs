//! All that is known of a cluster, kept up to date by its changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::change::{Change, Kind, Named, Node, Pod, Rollout, Set, Workload};
use super::client::{Connection, Trouble};
use super::follow::{Follower, SYSTEM};

/// The known state of a cluster: for tables, for the status page, and to wait by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// The API server.
    pub api: Api,
    /// Its nodes, by name.
    pub nodes: BTreeMap<String, Node>,
    /// The pods of kube-system, by name.
    pub pods: BTreeMap<String, Pod>,
    /// The members of etcd that run as pods, by their nodes.
    pub etcd: Vec<Member>,
    /// Workloads that the cluster needs to be complete: those of kube-system, of prebake's add-ons, and of their namespaces.
    pub addons: Vec<Workload>,
    /// Kinds of objects that the API server does not tell, with the cause.
    pub blind: BTreeMap<String, String>,
    /// Oddities that are no reason to wait.
    pub warnings: Vec<String>,
    /// All workloads, by kind, namespace and name.
    #[serde(skip)]
    workloads: BTreeMap<String, Workload>,
    /// The kinds told since the API server answered.
    #[serde(skip)]
    told: Told,
}

/// The API server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Api {
    /// Not asked yet.
    #[default]
    Unknown,
    /// It is ready.
    Ready {
        /// Version of Kubernetes, with a `v`.
        version: String,
    },
    /// It does not answer, or is not ready.
    Lost(Trouble),
}

/// A member of etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The node that it is on.
    pub node: String,
    /// Whether its probes succeed: it answers, and knows a leader.
    pub ready: bool,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
}

/// The sets that have come whole since the API server answered. Before that, what is known is of the time before its loss.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    nodes: bool,
    pods: bool,
    kinds: Vec<Kind>,
}

impl Snapshot {
    /// Takes a change; in return what people would notice of it, a line each.
    pub fn take(&mut self, change: Change) -> Vec<String> {
        let mut lines = Vec::new();
        match change {
            Change::Answers { version } => {
                lines.push(format!("the API server is ready ({version})"));
                self.api = Api::Ready { version };
                self.told = Told::default();
                self.blind.clear();
            }
            Change::Lost(trouble) => {
                let before = match &self.api {
                    Api::Ready { .. } => "the API server is lost",
                    _ => "the API server is not ready",
                };
                lines.push(format!("{before}: {}", trouble.why));
                self.api = Api::Lost(trouble);
            }
            Change::Blind { what, trouble } => {
                lines.push(format!("{what} are not told: {}", trouble.why));
                self.blind.insert(what.to_owned(), trouble.why);
            }
            Change::Nodes(set) => {
                self.told.nodes |= matches!(set, Set::All(_));
                self.blind.remove("nodes");
                merge(
                    &mut self.nodes,
                    set,
                    |_| true,
                    |name, before, after| lines.extend(of_node(name, before, after)),
                );
                self.warnings = twice(&self.nodes);
            }
            Change::Pods(set) => {
                self.told.pods |= matches!(set, Set::All(_));
                self.blind.remove("pods");
                merge(
                    &mut self.pods,
                    set,
                    |_| true,
                    |name, before, after| lines.extend(of_pod(name, before, after)),
                );
                self.etcd = members(&self.pods);
            }
            Change::Workloads(kind, set) => {
                if matches!(set, Set::All(_)) && !self.told.kinds.contains(&kind) {
                    self.told.kinds.push(kind);
                }
                self.blind.remove(kind.plural());
                let mut noticed = Vec::new();
                merge(
                    &mut self.workloads,
                    set,
                    |workload| workload.kind == kind,
                    |key, before, after| {
                        noticed.extend(of_workload(before, after).map(|line| (key.to_owned(), line)));
                    },
                );
                let before = std::mem::take(&mut self.addons);
                self.addons = addons(&self.workloads);
                let is_one = |key: &str| before.iter().chain(&self.addons).any(|addon| addon.key() == key);
                lines.extend(noticed.into_iter().filter(|(key, _)| is_one(key)).map(|(_, line)| line));
            }
        }
        lines
    }

    /// Whether the API server is ready.
    pub fn is_ready(&self) -> bool {
        matches!(self.api, Api::Ready { .. })
    }

    /// Whether all nodes are known, of now and not of the time before a loss.
    pub fn knows_nodes(&self) -> bool {
        self.is_ready() && self.told.nodes
    }

    /// Kinds of workloads that are not known yet.
    pub fn unknown(&self) -> Vec<Kind> {
        Kind::ALL.into_iter().filter(|kind| !self.told.kinds.contains(kind)).collect()
    }

    /// Whether every kind of objects has come whole, or will not come.
    pub fn is_whole(&self) -> bool {
        let known = |told: bool, what: &str| told || self.blind.contains_key(what);
        let kinds = Kind::ALL.into_iter();
        self.is_ready()
            && known(self.told.nodes, "nodes")
            && known(self.told.pods, "pods")
            && kinds.into_iter().all(|kind| known(self.told.kinds.contains(&kind), kind.plural()))
    }

    /// One look at a cluster: until all is known, the API server is lost, or the limit is over.
    pub async fn look(connection: &Connection, limit: Duration) -> Snapshot {
        Snapshot::until(connection, limit, |seen| seen.is_whole() || matches!(seen.api, Api::Lost(_))).await
    }

    /// The picture of a cluster once it is enough, or when the limit is over.
    pub async fn until(
        connection: &Connection,
        limit: Duration,
        is_enough: impl Fn(&Snapshot) -> bool,
    ) -> Snapshot {
        let mut follower = Follower::new(connection);
        let mut snapshot = Snapshot::default();
        let _ = tokio::time::timeout(limit, async {
            while !is_enough(&snapshot) {
                snapshot.take(follower.next().await);
            }
        })
        .await;
        snapshot
    }

    /// The pods of the control plane.
    pub fn control_plane(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values().filter(|pod| pod.component.is_some())
    }
}

/// Merges a set into what is known; `All` replaces those of `within`.
fn merge<T: Named + PartialEq>(
    known: &mut BTreeMap<String, T>,
    set: Set<T>,
    within: impl Fn(&T) -> bool,
    mut notice: impl FnMut(&str, Option<&T>, Option<&T>),
) {
    let come = match set {
        Set::All(all) => {
            let all: BTreeMap<String, T> = all.into_iter().map(|it| (it.key(), it)).collect();
            known.retain(|key, it| {
                let stays = all.contains_key(key) || !within(it);
                if !stays {
                    notice(key, Some(it), None);
                }
                stays
            });
            all
        }
        Set::One(one) => BTreeMap::from([(one.key(), one)]),
        Set::Gone(gone) => {
            let key = gone.key();
            if let Some(before) = known.remove(&key) {
                notice(&key, Some(&before), None);
            }
            return;
        }
    };
    for (key, after) in come {
        notice(&key, known.get(&key), Some(&after));
        known.insert(key, after);
    }
}

fn of_node(name: &str, before: Option<&Node>, after: Option<&Node>) -> Option<String> {
    let Some(after) = after else { return Some(format!("node {name} is gone")) };
    if before.is_some_and(|before| (before.ready, &before.why) == (after.ready, &after.why)) {
        return None;
    }
    Some(match (&after.why, before) {
        (None, _) => format!("node {name} is Ready"),
        (Some(why), None) => format!("node {name} has come: {why}"),
        (Some(why), Some(before)) if before.ready => format!("node {name} is no longer Ready: {why}"),
        (Some(why), Some(_)) => format!("node {name}: {why}"),
    })
}

fn of_pod(name: &str, before: Option<&Pod>, after: Option<&Pod>) -> Option<String> {
    let after = after?;
    // Each step of a container's start would be a line: only good and bad news are.
    let is_bad =
        |pod: &Pod| pod.why.as_deref().is_some_and(|why| why.contains("BackOff") || why.contains("Err"));
    match (&after.why, before) {
        (None, Some(before)) if before.ready => None,
        (None, _) => Some(format!("pod {name} is Ready")),
        (Some(why), Some(before)) if before.ready => Some(format!("pod {name} is no longer Ready: {why}")),
        (Some(why), before) if is_bad(after) && !before.is_some_and(is_bad) => {
            Some(format!("pod {name}: {why}"))
        }
        _ => None,
    }
}

fn of_workload(before: Option<&Workload>, after: Option<&Workload>) -> Option<String> {
    let after = after?;
    if before.is_some_and(|before| before.state == after.state) {
        return None;
    }
    let name = after.key();
    Some(match (after.state, &after.why) {
        (Rollout::Done, _) => format!("{name} is rolled out"),
        (_, Some(why)) => format!("{name}: {why}"),
        (_, None) => format!("{name} is underway"),
    })
}

fn members(pods: &BTreeMap<String, Pod>) -> Vec<Member> {
    let etcd = pods.values().filter(|pod| pod.component.as_deref() == Some("etcd"));
    let member = |pod: &Pod| Member {
        node: pod.node.clone().unwrap_or_else(|| pod.name.trim_start_matches("etcd-").to_owned()),
        ready: pod.ready,
        why: pod.why.clone(),
    };
    etcd.map(member).collect()
}

/// Those that a cluster needs to be complete: what prebake applied, and what operators made of it in the same namespaces. Those that
/// people run in namespaces of their own, or in `default`, are none of our business.
fn addons(workloads: &BTreeMap<String, Workload>) -> Vec<Workload> {
    let ours =
        workloads.values().filter(|workload| workload.ours).map(|workload| workload.namespace.as_str());
    let namespaces: BTreeSet<&str> =
        ours.filter(|namespace| *namespace != "default").chain([SYSTEM]).collect();
    let is_one = |workload: &&Workload| workload.ours || namespaces.contains(workload.namespace.as_str());
    workloads.values().filter(is_one).cloned().collect()
}

/// Addresses that two nodes have: of a shared address that kube-vip holds, or of a machine that is there twice (kube-vip/kube-vip#1385).
fn twice(nodes: &BTreeMap<String, Node>) -> Vec<String> {
    let mut owners: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in nodes.values() {
        for address in &node.addresses {
            owners.entry(address).or_default().push(&node.name);
        }
    }
    let twice = owners.into_iter().filter(|(_, names)| names.len() > 1);
    twice.map(|(address, names)| format!("{address} is an address of {}", names.join(" and "))).collect()
}
