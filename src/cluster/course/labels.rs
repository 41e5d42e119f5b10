//! The labels that kubelets may not give their nodes: given as soon as a Node is there, and once more to one that comes anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tokio::task::JoinHandle;

use super::{AGAIN, Run};
use crate::cluster::api::labels::give;
use crate::cluster::kubeadm::labels::of_administrator;

/// Labels by name.
type Labels = BTreeMap<String, String>;

/// The state of the labels.
#[derive(Default)]
pub(super) struct Labelling {
    /// The nodes that have theirs.
    given: BTreeSet<String>,
    /// The running work: in return those that got theirs, and why others did not.
    running: Option<JoinHandle<(Vec<String>, Option<String>)>>,
    /// When it last failed, and why.
    failed: Option<(Instant, String)>,
}

impl Run {
    /// Gives labels to the nodes that have come.
    pub(super) async fn label(&mut self) {
        let Labelling { given, running, failed } = &mut self.labelling;
        if let Some(done) = running.take_if(|running| running.is_finished()) {
            let (got, why) = done.await.unwrap_or_default();
            given.extend(got);
            if let Some(why) = &why
                && failed.as_ref().is_none_or(|(_, known)| known != why)
            {
                self.course.line(None, why);
            }
            *failed = why.map(|why| (Instant::now(), why));
        }
        // One that is deleted and comes again has none.
        given.retain(|name| self.snapshot.nodes.contains_key(name));
        let rests = failed.as_ref().is_some_and(|(at, _)| at.elapsed() < AGAIN);
        if running.is_some() || rests {
            return;
        }
        let due = due(self);
        if due.is_empty() {
            return;
        }
        let connection = self.course.connection.clone();
        self.labelling.running = Some(tokio::spawn(async move {
            let (mut got, mut why) = (Vec::new(), None);
            for (name, labels) in due {
                match give(&connection, &name, &labels).await {
                    Ok(true) => got.push(name),
                    Ok(false) => {}
                    Err(error) => why = Some(format!("{name} does not get its labels: {error}")),
                }
            }
            (got, why)
        }));
    }

    /// Whether all nodes that are there have their labels.
    pub(super) fn are_labelled(&self) -> bool {
        due(self).is_empty()
    }

    /// Why some have not.
    pub(super) fn unlabelled(&self) -> Option<&str> {
        self.labelling.failed.as_ref().map(|(_, why)| why.as_str())
    }
}

/// The labels of the nodes that are there without them.
fn due(run: &Run) -> Vec<(String, Labels)> {
    let nodes = run.course.cluster.nodes.iter();
    let is_due = |name: &String| run.snapshot.nodes.contains_key(name) && !run.labelling.given.contains(name);
    let of = |node| -> Labels {
        of_administrator(node).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    nodes
        .filter(|node| is_due(&node.name.value))
        .map(|node| (node.name.value.clone(), of(node)))
        .filter(|(_, labels)| !labels.is_empty())
        .collect()
}
