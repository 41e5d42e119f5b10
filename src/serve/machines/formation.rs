//! The cluster that the machines form, as the process that forms it tells the monitor: the second half of the status.
//!
//! Owns the values and their bounds. Leaves watching the API server to those who tell; a server of machines that form no cluster
//! has none of this.

use serde::{Deserialize, Serialize};

use super::report::plain;
use super::stamp::Stamp;

/// The most parts of one group that documents list, the worst first. [`Group::total`] counts all of them.
const MOST: usize = 1000;
/// The longest sentence of a part, in characters.
const MAX_SENTENCE: usize = 500;

/// How far a cluster is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Formation {
    /// The cluster's name.
    pub name: String,
    /// The version of Kubernetes that it shall have, with a `v`.
    pub version: String,
    /// The API server's address as people reach it: `https://10.0.0.10:6443`.
    pub endpoint: String,
    /// The phase that is awaited now, or that all is done.
    pub phase: Phase,
    /// When that phase began.
    pub since: Stamp,
    /// A request to the person in front of it, in a sentence, such as to power on the machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<String>,
    /// Where the administrator's kubeconfig is, once it is of use: from [`Phase::Nodes`] on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
    /// The API server: one part, and one for each controller's own where they are asked separately.
    pub api: Group,
    /// Members of etcd.
    pub members: Group,
    /// Nodes: those of the description, and others that the cluster has.
    pub nodes: Group,
    /// Pods of `kube-system`, and of add-ons' namespaces.
    pub pods: Group,
    /// The network plugin and add-ons.
    pub addons: Group,
}

/// The steps to a cluster, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Machines are switched on, and boot.
    #[default]
    Machines,
    /// The first controller forms the control plane; the API server has not answered yet.
    Control,
    /// The API server answers; nodes join, the network plugin is applied, nodes become ready.
    Nodes,
    /// All nodes are ready; add-ons are applied, and get ready.
    Addons,
    /// Everything is ready, and is watched for a while for whether it stays so.
    Settling,
    /// The cluster is complete.
    Complete,
    /// The process that forms it gave up; parts that are late say why.
    Failed,
}

/// Parts of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// How many there are, or shall be.
    pub total: usize,
    /// How many of them are ready.
    pub ready: usize,
    /// The parts; with more than a thousand those that are worst off. Sorted by state, the worst first, then by name.
    pub parts: Vec<Part>,
}

/// A part of the cluster: an API server, a member of etcd, a node, a pod, an add-on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name; that of a node is the machine's.
    pub name: String,
    /// The kind of part: `controller`, `worker`; of a member `leader`, `voter`, `learner`; of a pod its namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The node that it is on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Its version: of a node, the kubelet's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// How it is.
    pub state: Standing,
    /// Why it is not ready, in one sentence without a full stop; empty if it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// A place to look at, of one that is late or failed: a command, a log, a page.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// Since when it has been in that state.
    pub since: Stamp,
}

/// How a part is, the worst first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It does not get better by waiting: a container that crashes, an image that is not there.
    Failed,
    /// It has taken longer than such a part should.
    Late,
    /// It is there and gets ready.
    Coming,
    /// It is awaited.
    #[default]
    Awaited,
    /// It is as it shall be.
    Ready,
}

impl Standing {
    /// The word for it in documents.
    pub fn word(self) -> &'static str {
        match self {
            Standing::Failed => "failed",
            Standing::Late => "late",
            Standing::Coming => "coming",
            Standing::Awaited => "awaited",
            Standing::Ready => "ready",
        }
    }

    /// Whether a person should look at it.
    pub fn needs_a_look(self) -> bool {
        self <= Standing::Late
    }
}

impl Phase {
    /// It in a sentence that says what is awaited.
    pub fn sentence(self) -> &'static str {
        match self {
            Phase::Machines => "waiting for machines",
            Phase::Control => "waiting for the API server",
            Phase::Nodes => "waiting for nodes to be ready",
            Phase::Addons => "waiting for add-ons",
            Phase::Settling => "watching whether it stays ready",
            Phase::Complete => "complete",
            Phase::Failed => "given up",
        }
    }
}

impl Group {
    /// The group of these parts, in any order.
    pub fn of(parts: impl IntoIterator<Item = Part>) -> Group {
        let mut parts: Vec<Part> = parts.into_iter().map(Part::bounded).collect();
        let (total, ready) = (parts.len(), parts.iter().filter(|part| part.state == Standing::Ready).count());
        // Names sort as people count: n2 before n10.
        parts.sort_by(|a, b| {
            let order = |part: &Part| (part.state, natural(&part.name), part.kind.clone());
            order(a).cmp(&order(b))
        });
        parts.truncate(MOST);
        Group { total, ready, parts }
    }

    /// Those that a person should look at.
    pub fn troubled(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.state.needs_a_look())
    }
}

impl Part {
    /// The part with texts of limited length, as much of it is the words of other programs.
    fn bounded(self) -> Part {
        let Part { name, kind, node, version, state, why, hint, since } = self;
        let [name, kind, node, version] = [name, kind, node, version].map(|text| plain(&text));
        let [why, hint] = [why, hint].map(|text| sentence(&text));
        Part { name, kind, node, version, state, why, hint, since }
    }
}

impl Formation {
    /// The groups with what they are called, in the order in which they come to be.
    pub fn groups(&self) -> [(&'static str, &Group); 5] {
        let Formation { api, members, nodes, pods, addons, .. } = self;
        [("API server", api), ("etcd", members), ("nodes", nodes), ("pods", pods), ("add-ons", addons)]
    }

    /// How many parts its documents list.
    pub fn size(&self) -> usize {
        self.groups().iter().map(|(_, group)| group.parts.len()).sum()
    }
}

/// A sentence in one line of limited length.
fn sentence(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().filter(|letter| !letter.is_control()).collect();
    match line.char_indices().nth(MAX_SENTENCE) {
        None => line,
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}

/// A name's letters and numbers, by which people sort.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = vec![(String::new(), 0u64)];
    let mut was_digit = false;
    for letter in name.chars() {
        if was_digit && !letter.is_ascii_digit() {
            parts.push((String::new(), 0));
        }
        let Some((word, number)) = parts.last_mut() else { continue };
        match letter.to_digit(10) {
            Some(digit) => *number = number.saturating_mul(10).saturating_add(digit.into()),
            None => word.push(letter),
        }
        was_digit = letter.is_ascii_digit();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, state: Standing) -> Part {
        Part { name: name.into(), state, ..Part::default() }
    }

    /// The document that tests of the page show.
    #[test]
    fn a_document_is_read_and_written_without_loss() {
        let text = include_str!("../../../tests/data/cluster-formation.json");
        let formation: Formation = serde_json::from_str(text).unwrap();
        assert_eq!(formation.size(), 14);
        let again: serde_json::Value = serde_json::to_value(&formation).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(text).unwrap());
        for (title, group) in formation.groups() {
            let again = Group::of(group.parts.clone());
            assert_eq!(&again, group, "{title} are sorted as `of` sorts");
        }
    }

    #[test]
    fn the_worst_come_first_and_names_sort_as_people_count() {
        let parts = [("n10", Standing::Ready), ("n2", Standing::Ready), ("n9", Standing::Late)];
        let group = Group::of(parts.map(|(name, state)| part(name, state)));
        let names: Vec<&str> = group.parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!((names, group.total, group.ready), (vec!["n9", "n2", "n10"], 3, 2));
        assert_eq!(group.troubled().count(), 1);
    }

    #[test]
    fn a_document_stays_short_whatever_the_cluster_says() {
        let long = Part { why: "x\n\u{1b}[31m".repeat(9999), ..part(&"n".repeat(9999), Standing::Failed) };
        let ready = (0..5000).map(|number| part(&format!("n{number}"), Standing::Ready));
        let group = Group::of(ready.chain([long]));
        assert_eq!((group.total, group.ready, group.parts.len()), (5001, 5000, MOST));
        let worst = &group.parts[0];
        assert_eq!(worst.state, Standing::Failed, "what is well is left out first");
        assert!(worst.name.len() <= 200 && worst.why.chars().count() <= MAX_SENTENCE + 1);
        assert!(!worst.why.contains(|letter: char| letter.is_control()), "{}", worst.why);
    }
}
