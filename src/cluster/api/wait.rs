//! The way until a cluster is ready, in stages with limits of their own.
//!
//! ```text
//! API server ready ─▶ nodes Ready, all of them and no others ─▶ add-ons rolled out ─▶ all of it still so after 15 s
//! ```
//! Each late subject is named with its reason and with what to look at. A stage that was reached and is lost again counts as late; the
//! limit that runs is that of the furthest stage, so that a cluster that flaps comes to an end, too.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::change::{Node, Rollout};
use super::follow::Follower;
use super::snapshot::{Api, Snapshot};
use crate::base::count::counted;
use crate::base::error::{Advice, Exit};

/// Objects that an error names.
const NAMED: usize = 30;

/// A stage of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The API server is ready.
    Api,
    /// All nodes are Ready.
    Nodes,
    /// All add-ons are rolled out.
    Addons,
}

impl Stage {
    /// All of them in their order.
    pub const ALL: [Stage; 3] = [Stage::Api, Stage::Nodes, Stage::Addons];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Api => "the API server",
            Stage::Nodes => "the nodes",
            Stage::Addons => "the add-ons",
        })
    }
}

/// How long each stage may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until the API server is ready: firmware, network boot, images and `kubeadm init` are in it.
    pub api: Duration,
    /// From then on until all nodes are Ready.
    pub nodes: Duration,
    /// From then on until all add-ons are rolled out.
    pub addons: Duration,
    /// For all of it together.
    pub all: Option<Duration>,
    /// How long all must stay as it is at the end.
    pub stable: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Limits {
            api: minutes(15),
            nodes: minutes(10),
            addons: minutes(10),
            all: None,
            stable: Duration::from_secs(15),
        }
    }
}

impl Limits {
    /// The same with one limit for all; no stage has one of its own then.
    pub fn together(all: Duration) -> Limits {
        Limits { api: all, nodes: all, addons: all, all: Some(all), ..Limits::default() }
    }

    fn of(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Api => self.api,
            Stage::Nodes => self.nodes,
            Stage::Addons => self.addons,
        }
    }
}

/// The nodes that are awaited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// These, and no others.
    Names(BTreeSet<String>),
    /// This many, whichever they are.
    Count(usize),
    /// Those that there are, one at least.
    Any,
}

/// Somebody or something that keeps others waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// A node, a workload or a part of the control plane, by name.
    pub subject: String,
    /// The lack, in words.
    pub why: String,
    /// A place to look at.
    pub hint: Option<String>,
    /// Whether it will never be otherwise.
    pub is_hopeless: bool,
}

impl Late {
    fn new(subject: impl Into<String>, why: impl Into<String>, hint: Option<String>) -> Late {
        Late { subject: subject.into(), why: why.into(), hint, is_hopeless: false }
    }
}

/// Places to look at, by words in a reason. The first that fits counts.
const CLUES: &[(&str, &str)] = &[
    (
        "cni plugin not initialized",
        "no network plugin runs there: see the pods of the one that `cni:` names, and whether its images are on the node",
    ),
    (
        "network is unavailable",
        "the network plugin runs and has not set up this node: see the logs of its pod there",
    ),
    (
        "kubelet is silent",
        "the machine is off, cut off, or its kubelet has ended: `journalctl -u kubelet` on it, and `prebake logs --mac NODE`",
    ),
    ("has not reported yet", "its kubelet has just begun; `journalctl -u kubelet` on it says more"),
    ("container runtime", "`systemctl status containerd` on the node"),
    ("DiskPressure", "its disk, or the memory that stands in for one, is full"),
    (
        "ImagePull",
        "the image is not on the node and cannot be pulled: it belongs into `images:`, so that the tree has it",
    ),
    ("ErrImageNeverPull", "the image is not on the node: it belongs into `images:`, so that the tree has it"),
    ("CrashLoopBackOff", "`kubectl logs --previous` of it shows how it ends"),
    ("Unschedulable", "no node fits: `kubectl describe pod` says which of its wishes none has"),
    ("has not seen it yet", "kube-controller-manager is not at work: look at its pods in kube-system"),
];

fn clue(why: &str) -> Option<String> {
    CLUES.iter().find(|(words, _)| why.contains(words)).map(|(_, clue)| (*clue).to_owned())
}

/// All that a stage still lacks; nothing if it is reached. Pure.
pub fn late(stage: Stage, snapshot: &Snapshot, wish: &Wish) -> Vec<Late> {
    match stage {
        Stage::Api => match &snapshot.api {
            Api::Ready { .. } => Vec::new(),
            Api::Unknown => vec![Late::new("the API server", "it has not been asked yet", None)],
            Api::Lost(trouble) => vec![Late::new("the API server", &trouble.why, trouble.hint.clone())],
        },
        Stage::Nodes => late_nodes(snapshot, wish),
        Stage::Addons => late_addons(snapshot),
    }
}

fn late_nodes(snapshot: &Snapshot, wish: &Wish) -> Vec<Late> {
    if !snapshot.knows_nodes() {
        let why = snapshot.blind.get("nodes").map_or("they are not known yet", String::as_str);
        return vec![Late::new("nodes", why, None)];
    }
    let of_node =
        |node: &Node| node.why.as_ref().map(|why| Late::new(format!("node {}", node.name), why, clue(why)));
    let nodes = snapshot.nodes.values();
    match wish {
        Wish::Any if snapshot.nodes.is_empty() => vec![Late::new("nodes", "there is none", None)],
        Wish::Any => nodes.filter_map(of_node).collect(),
        Wish::Count(count) => {
            let ready = nodes.clone().filter(|node| node.ready).count();
            if ready >= *count {
                return Vec::new();
            }
            let lacking = count.saturating_sub(snapshot.nodes.len());
            let mut late: Vec<Late> = nodes.filter_map(of_node).collect();
            if lacking > 0 {
                let who = counted(lacking, "further node");
                late.push(Late::new(who, "never seen by the API server", Some(NEVER.into())));
            }
            late
        }
        Wish::Names(names) => {
            let of_name = |name: &String| match snapshot.nodes.get(name) {
                Some(node) => of_node(node),
                None => Some(Late::new(
                    format!("node {name}"),
                    "never seen by the API server",
                    Some(NEVER.into()),
                )),
            };
            let strangers = nodes.filter(|node| !names.contains(&node.name)).map(|node| {
                let hint = "add it to cluster.yaml, or remove it: `kubectl delete node NAME`";
                Late::new(
                    format!("node {}", node.name),
                    "it is in the cluster, and not in cluster.yaml",
                    Some(hint.into()),
                )
            });
            names.iter().filter_map(of_name).chain(strangers).collect()
        }
    }
}

/// The places to look at for a machine of which the API server knows nothing.
const NEVER: &str = "`prebake status` shows how far it booted, `prebake logs --mac NODE` what the server noticed of it; then \
    `journalctl -u kubelet -u kubeadm-join` on it";

fn late_addons(snapshot: &Snapshot) -> Vec<Late> {
    let unknown = snapshot.unknown();
    let mut late: Vec<Late> = unknown
        .iter()
        .map(|kind| {
            let why = snapshot.blind.get(kind.plural()).map_or("they are not known yet", String::as_str);
            Late::new(kind.plural(), why, None)
        })
        .collect();
    for addon in snapshot.addons.iter().filter(|addon| addon.state != Rollout::Done) {
        let subject = format!("{} {}/{}", addon.kind.name(), addon.namespace, addon.name);
        let why = addon.why.clone().unwrap_or_else(|| "underway".into());
        // Its pods say more than their number does.
        let pod = snapshot
            .pods
            .values()
            .find(|pod| !pod.ready && pod.name.starts_with(&format!("{}-", addon.name)));
        let pod = pod
            .filter(|_| addon.namespace == super::follow::SYSTEM)
            .and_then(|pod| Some((pod, pod.why.clone()?)));
        let why = match pod {
            Some((pod, of_pod)) => format!("{why}; {}: {of_pod}", pod.name),
            None => why,
        };
        let look = format!(
            "`kubectl -n {} describe {} {}`",
            addon.namespace,
            addon.kind.name().to_lowercase(),
            addon.name
        );
        let hint = clue(&why).unwrap_or(look);
        late.push(Late {
            is_hopeless: addon.state == Rollout::Failed,
            ..Late::new(subject, why, Some(hint))
        });
    }
    late
}

/// A cluster that is awaited. Its follower goes on while others are at work.
#[derive(Debug)]
pub struct Waiter {
    follower: Follower,
    /// The state that is known now.
    pub snapshot: Snapshot,
    wish: Wish,
    limits: Limits,
    started: Instant,
}

/// Called for each line that people would notice, with all that is known then.
pub type Tell<'t> = dyn FnMut(&Snapshot, &str) + Send + 't;

impl Waiter {
    /// Begins. The limits run from now on.
    pub fn new(follower: Follower, wish: Wish, limits: Limits) -> Waiter {
        Waiter { follower, snapshot: Snapshot::default(), wish, limits, started: Instant::now() }
    }

    /// Returns once a stage and all before it are reached.
    ///
    /// # Errors
    /// [`Unready`]: a limit is over, or something has failed for good.
    pub async fn until(&mut self, stage: Stage, tell: &mut Tell<'_>) -> Result<(), Unready> {
        self.wait(stage, Duration::ZERO, tell).await
    }

    /// Returns once all stages are reached and have stayed so.
    ///
    /// # Errors
    /// As [`Waiter::until`].
    pub async fn complete(&mut self, tell: &mut Tell<'_>) -> Result<(), Unready> {
        self.wait(Stage::Addons, self.limits.stable, tell).await
    }

    /// Does something else, and goes on following meanwhile.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>, tell: &mut Tell<'_>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                change = self.follower.next() => {
                    for line in self.snapshot.take(change) {
                        tell(&self.snapshot, &line);
                    }
                }
            }
        }
    }

    async fn wait(&mut self, goal: Stage, stable: Duration, tell: &mut Tell<'_>) -> Result<(), Unready> {
        let stages = || Stage::ALL.into_iter().filter(|stage| *stage <= goal);
        let mut furthest = Stage::Api;
        let mut since = Instant::now();
        let mut settled: Option<Instant> = None;
        loop {
            let open = stages()
                .map(|stage| (stage, late(stage, &self.snapshot, &self.wish)))
                .find(|(_, late)| !late.is_empty());
            let now = Instant::now();
            let reached = open.as_ref().map_or(goal, |(stage, _)| *stage);
            if reached > furthest {
                (furthest, since) = (reached, now);
            }
            let limit = self.limits.of(furthest);
            let by_stage = since + limit;
            let by_all = self.limits.all.map(|all| self.started + all);
            let deadline = match &open {
                None => {
                    let settled = *settled.get_or_insert(now);
                    if now >= settled + stable {
                        return Ok(());
                    }
                    // A state that was reached in time may prove that it stays.
                    settled + stable
                }
                Some(_) => {
                    settled = None;
                    by_all.map_or(by_stage, |by_all| by_all.min(by_stage))
                }
            };
            if let Some((stage, late)) = open {
                let is_hopeless = late.iter().any(|late| late.is_hopeless);
                if is_hopeless || now >= deadline {
                    let is_all = by_all.is_some_and(|by_all| by_all <= by_stage);
                    let waited = self.limits.all.filter(|_| is_all).unwrap_or(limit);
                    return Err(Unready { stage, waited, is_hopeless, late });
                }
            }
            tokio::select! {
                change = self.follower.next() => {
                    for line in self.snapshot.take(change) {
                        tell(&self.snapshot, &line);
                    }
                }
                () = sleep_until(deadline) => {}
            }
        }
    }
}

/// A cluster that did not become ready.
#[derive(Debug, thiserror::Error)]
#[error("{stage}: not ready {}{}", self.when(), self.list())]
pub struct Unready {
    /// The stage that is late.
    pub stage: Stage,
    /// How long it was given.
    pub waited: Duration,
    /// Whether it was given up because something failed for good.
    pub is_hopeless: bool,
    /// All that is late.
    pub late: Vec<Late>,
}

impl Unready {
    fn when(&self) -> String {
        match self.is_hopeless {
            true => "and never will be".into(),
            false => format!("within {}", humantime::format_duration(self.waited)),
        }
    }

    fn list(&self) -> String {
        let lines = self.late.iter().take(NAMED).map(|late| format!("\n  {}: {}", late.subject, late.why));
        let more = self.late.len().saturating_sub(NAMED);
        let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        lines.collect::<String>() + &more
    }
}

impl Advice for Unready {
    fn exit(&self) -> Exit {
        if self.is_hopeless { Exit::Failed } else { Exit::TimedOut }
    }

    fn hint(&self) -> Option<String> {
        self.late.iter().find_map(|late| {
            let name = late.subject.strip_prefix("node ").unwrap_or("NODE");
            Some(late.hint.as_ref()?.replace("NODE", name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::{Change, Set, Versions};
    use super::*;

    fn node(name: &str, why: Option<&str>) -> Node {
        Node {
            name: name.into(),
            ready: why.is_none(),
            why: why.map(str::to_owned),
            roles: Vec::new(),
            schedulable: true,
            versions: Versions::default(),
            addresses: Vec::new(),
            since: None,
        }
    }

    fn names(names: &[&str]) -> Wish {
        Wish::Names(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn lines(snapshot: &Snapshot, wish: &Wish) -> Vec<String> {
        let late = late(Stage::Nodes, snapshot, wish);
        late.into_iter().map(|late| format!("{}: {}", late.subject, late.why)).collect()
    }

    /// facts/cluster.md §4: after an API server's restart a deleted node stayed Ready for ever.
    #[test]
    fn nodes_are_late_absent_or_strangers_and_those_that_went_unseen_are_gone() {
        let mut snapshot = Snapshot::default();
        snapshot.take(Change::Answers { version: "v1.33.13".into() });
        assert_eq!(lines(&snapshot, &Wish::Any), ["nodes: they are not known yet"]);
        let all = vec![
            node("a", None),
            node("b", Some("KubeletNotReady: cni plugin not initialized")),
            node("x", None),
        ];
        snapshot.take(Change::Nodes(Set::All(all)));
        let wanted = [
            "node b: KubeletNotReady: cni plugin not initialized",
            "node c: never seen by the API server",
            "node x: it is in the cluster, and not in cluster.yaml",
        ];
        assert_eq!(lines(&snapshot, &names(&["a", "b", "c"])), wanted);
        assert_eq!(lines(&snapshot, &Wish::Count(2)), [""; 0]);
        assert_eq!(lines(&snapshot, &Wish::Count(4)).len(), 2);
        snapshot.take(Change::Answers { version: "v1.33.13".into() });
        assert_eq!(
            lines(&snapshot, &names(&["a"])),
            ["nodes: they are not known yet"],
            "what is known is old"
        );
        let told = snapshot.take(Change::Nodes(Set::All(vec![node("a", None)])));
        assert_eq!(told, ["node b is gone", "node x is gone"]);
        assert_eq!(lines(&snapshot, &names(&["a"])), [""; 0]);
    }

    #[test]
    fn the_error_names_who_is_late_at_which_stage_and_what_to_look_at() {
        let late = vec![Late::new("node w1", "never seen by the API server", Some(NEVER.into()))];
        let error =
            Unready { stage: Stage::Nodes, waited: Duration::from_secs(600), is_hopeless: false, late };
        assert_eq!(
            error.to_string(),
            "the nodes: not ready within 10m\n  node w1: never seen by the API server"
        );
        assert_eq!(error.exit(), Exit::TimedOut);
        assert!(error.hint().unwrap().contains("`prebake logs --mac w1`"));
    }
}
