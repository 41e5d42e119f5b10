//! The steps from a description to a cluster that is ready, in their order.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A step. Each may be done again at any time, and does nothing where its work is done already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Keys, configs and the tree; or the tree of a bundle.
    Generate,
    /// The site is examined.
    Examine,
    /// The boot server answers.
    Serve,
    /// The machines are switched on.
    Power,
    /// The API server answers.
    Answer,
    /// Network plugin and add-ons are applied.
    Apply,
    /// All nodes are ready.
    Nodes,
    /// All that was applied runs.
    Addons,
    /// All of it stays so for a while.
    Settle,
    /// The boot server is stopped.
    End,
}

/// A step for people.
pub struct Row {
    /// The step.
    pub step: Step,
    /// Its work, as a sentence about what is awaited.
    pub title: &'static str,
    /// How long it may take once it can make progress; `None` without a limit.
    pub limit: Option<Duration>,
}

const fn row(step: Step, title: &'static str, minutes: u64) -> Row {
    let limit = if minutes == 0 { None } else { Some(Duration::from_secs(60 * minutes)) };
    Row { step, title, limit }
}

/// All steps, in order. A control plane on slow disks takes a quarter of an hour (kubernetes/kubernetes#74249), and a server with much
/// memory as long before it asks for its first packet; so the time of machines counts from when they were first seen.
pub const STEPS: [Row; 10] = [
    row(Step::Generate, "keys, configs and the tree are made", 0),
    row(Step::Examine, "the site is examined", 0),
    row(Step::Serve, "the boot server begins", 0),
    row(Step::Power, "the machines are switched on", 0),
    row(Step::Answer, "waiting for the API server", 20),
    row(Step::Apply, "applying the network plugin and the add-ons", 10),
    row(Step::Nodes, "waiting for all nodes", 20),
    row(Step::Addons, "waiting for the add-ons", 10),
    row(Step::Settle, "watching whether all of it stays ready", 10),
    row(Step::End, "the boot server is stopped", 0),
];

/// How long all must stay ready: a network plugin's file makes a node ready before its pods work (aws/eks-hybrid#429).
pub const STEADY: Duration = Duration::from_secs(15);

impl Step {
    /// Its row.
    pub fn row(self) -> &'static Row {
        &STEPS[self as usize]
    }

    /// Its title.
    pub fn title(self) -> &'static str {
        self.row().title
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_its_own_row() {
        for (at, row) in STEPS.iter().enumerate() {
            assert_eq!(row.step as usize, at);
            let word = serde_json::to_value(row.step).unwrap();
            assert_eq!(serde_json::from_value::<Step>(word).unwrap(), row.step);
        }
    }
}
