//! The graph of references, with the outcome of each.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// A node of the graph: a file of the tree, or a file inside another one, such as a file that a config writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot(usize);

#[derive(Debug)]
struct Named {
    name: String,
    /// The node that led here first, and the line there.
    parent: Option<(Spot, Option<usize>)>,
}

/// The kind of thing that a reference names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A profile of Matchbox, by its id.
    Profile,
    /// A config that Ignition or Matchbox serves or fetches.
    Config,
    /// A template that a server fills in.
    Template,
    /// A kernel that a loader loads.
    Kernel,
    /// An initrd that a loader loads, or a part of one.
    Initrd,
    /// A loader's script that another script continues with.
    Script,
    /// A system extension.
    Sysext,
    /// A file that a machine fetches.
    Url,
    /// A container image.
    Image,
    /// The archive of a container image.
    Archive,
    /// Source in which systemd-sysupdate looks for newer versions.
    Update,
    /// A line in a list of digests.
    Digest,
    /// The file that a detached signature belongs to.
    Signature,
    /// Server that a machine reports to or fetches from.
    Server,
    /// Image that an installation writes to the disk.
    Disk,
}

/// Result of following a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its target is inside the tree, at this path.
    Inside(String),
    /// The machine itself, or the server that serves the tree, answers it; the text says which.
    Served(&'static str),
    /// It leads outside, and the caller's pattern, given here, allows that.
    Allowed(String),
    /// Its target is not inside; the text gives the reason.
    Missing(String),
    /// It is put together on the machine, so its target is unknown.
    Open(&'static str),
}

/// One reference.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    /// The file that refers.
    pub from: Spot,
    /// Line in that file, from 1; `None` where it is not text.
    pub line: Option<usize>,
    /// Kind of its target.
    pub kind: Kind,
    /// Its text as written.
    pub to: String,
    /// Result of following it.
    pub outcome: Outcome,
}

/// All references of a tree.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    spots: Vec<Named>,
    edges: Vec<Edge>,
    /// URLs where machines find the tree, from the tree itself and from the caller.
    pub bases: Vec<String>,
    /// Files that could not be examined, each with the reason.
    pub closed: Vec<(Spot, String)>,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (word, detail) = match self {
            Outcome::Inside(place) => ("inside", place.as_str()),
            Outcome::Served(by) => ("served", *by),
            Outcome::Allowed(by) => ("allowed", by.as_str()),
            Outcome::Missing(why) => ("missing", why.as_str()),
            Outcome::Open(why) => ("open", *why),
        };
        json!({word: detail}).serialize(serializer)
    }
}

impl Graph {
    /// Adds a node that no reference led to.
    pub(super) fn root(&mut self, name: impl Into<String>) -> Spot {
        self.spots.push(Named { name: name.into(), parent: None });
        Spot(self.spots.len() - 1)
    }

    /// Adds a node that a line of another one led to.
    pub(super) fn below(&mut self, parent: Spot, line: Option<usize>, name: impl Into<String>) -> Spot {
        self.spots.push(Named { name: name.into(), parent: Some((parent, line)) });
        Spot(self.spots.len() - 1)
    }

    pub(super) fn add(&mut self, edge: Edge) {
        self.edges.push(edge);
    }

    /// Every reference, in the order of the walk.
    pub(crate) fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// Name of a node: a path in the tree, or an absolute path on the machine.
    pub(crate) fn name(&self, spot: Spot) -> &str {
        &self.spots[spot.0].name
    }

    /// The nodes that led to this one, outermost first, each with the line that names the next.
    pub(crate) fn way(&self, spot: Spot, line: Option<usize>) -> Vec<String> {
        let mut way = Vec::new();
        let (mut spot, mut line) = (spot, line);
        loop {
            let named = &self.spots[spot.0];
            way.push(line.map_or_else(|| named.name.clone(), |line| format!("{}:{line}", named.name)));
            match named.parent {
                Some(parent) => (spot, line) = parent,
                None => break,
            }
        }
        way.reverse();
        way
    }

    /// References whose target is not inside and not allowed.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(|edge| matches!(edge.outcome, Outcome::Missing(_)))
    }

    /// For each kind, how many references lead inside, and how many there are.
    pub(crate) fn counts(&self) -> BTreeMap<Kind, (usize, usize)> {
        let mut counts: BTreeMap<Kind, (usize, usize)> = BTreeMap::new();
        for edge in &self.edges {
            let (inside, all) = counts.entry(edge.kind).or_default();
            *inside += usize::from(matches!(edge.outcome, Outcome::Inside(_) | Outcome::Served(_)));
            *all += 1;
        }
        counts
    }

    /// The whole graph.
    pub(crate) fn to_json(&self) -> Value {
        let edges = self.edges.iter().map(|edge| {
            json!({
                "from": self.name(edge.from),
                "line": edge.line,
                "kind": edge.kind,
                "to": edge.to,
                "outcome": edge.outcome,
                "way": self.way(edge.from, edge.line),
            })
        });
        let counts = self.counts().into_iter();
        let counts: BTreeMap<String, Value> = counts
            .map(|(kind, (inside, all))| (kind.to_string(), json!({"inside": inside, "all": all})))
            .collect();
        let closed = self.closed.iter().map(|(spot, why)| json!({"what": self.name(*spot), "why": why}));
        json!({
            "closed": self.missing().next().is_none() && self.closed.is_empty(),
            "bases": self.bases,
            "counts": counts,
            "unread": closed.collect::<Vec<_>>(),
            "edges": edges.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_reference_names_each_line_that_led_on() {
        let mut graph = Graph::default();
        let group = graph.root("groups/n1.json");
        let profile = graph.below(group, None, "profiles/worker.json");
        let pod = graph.below(profile, Some(3), "/etc/kubernetes/manifests/x.yaml");
        assert_eq!(
            graph.way(pod, Some(12)),
            ["groups/n1.json", "profiles/worker.json:3", "/etc/kubernetes/manifests/x.yaml:12"]
        );
    }
}
