//! Lateness: each machine and stage with what to look at.

use std::time::Duration;

use super::step::Step;
use super::{Run, Sight};
use crate::base::error::{Advice, Exit};

/// The most nodes that a message names.
const MOST: usize = 5;

/// A step that took longer than its limit.
#[derive(Debug, thiserror::Error)]
#[error("the cluster {cluster} is not ready after {}, {title}{}", humantime::format_duration(*limit), listed(late))]
pub struct Late {
    /// The cluster's name.
    cluster: String,
    /// Title of the step that was awaited.
    title: &'static str,
    /// The limit.
    limit: Duration,
    /// The nodes and parts that are late, a line each.
    late: Vec<String>,
}

fn listed(late: &[String]) -> String {
    let more = late.len().saturating_sub(MOST);
    let shown: String = late.iter().take(MOST).map(|line| format!("\n  {line}")).collect();
    match more {
        0 => shown,
        more => format!("{shown}\n  and {more} more"),
    }
}

impl Advice for Late {
    fn exit(&self) -> Exit {
        Exit::TimedOut
    }

    fn hint(&self) -> Option<String> {
        Some("the same command goes on where it is now, with new time; --timeout sets another limit".into())
    }
}

/// A task of the course ended by an error in prebake.
#[derive(Debug, thiserror::Error)]
#[error("internal error, please report it: {0}")]
pub(super) struct Fault(pub String);

impl Advice for Fault {}

impl Run {
    /// All that is late, if the step or the whole has reached its limit.
    pub(super) fn late(&self) -> Option<Late> {
        let whole = self.course.limit.filter(|limit| self.all_began.elapsed() >= *limit);
        let of_step = match self.course.limit {
            // A person's own limit is for everything.
            Some(_) => None,
            None => self.step.row().limit.filter(|limit| self.waited() >= *limit),
        };
        let limit = whole.or(of_step)?;
        let late = match self.step {
            Step::Addons | Step::Settle => self.addons(),
            Step::Apply => {
                let failed = self.applied.failed.as_ref();
                failed.map(|(_, why)| vec![why.clone()]).unwrap_or_else(|| self.nodes())
            }
            _ => self.nodes(),
        };
        let cluster = self.course.cluster.name.value.clone();
        Some(Late { cluster, title: self.step.title(), limit, late })
    }

    /// How long the step could have made progress: machines have their time from when they began to boot.
    fn waited(&self) -> Duration {
        let waited = self.began.elapsed();
        match self.step {
            Step::Answer => {
                let began =
                    self.sights.iter().filter(|sight| sight.role == "controller" && sight.stage.is_some());
                let longest = began.map(|sight| Duration::from_secs(sight.booted)).max();
                longest.map_or(Duration::ZERO, |longest| waited.min(longest))
            }
            _ => waited,
        }
    }

    fn nodes(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let crate::cluster::api::snapshot::Api::Lost(trouble) = &self.snapshot.api {
            let hint = trouble.hint.as_ref().map(|hint| format!(": {hint}")).unwrap_or_default();
            lines.push(format!(
                "the API server at {}: {}{hint}",
                self.course.connection.server(),
                trouble.why
            ));
        }
        let is_late = |sight: &&Sight| self.course.awaited.contains(&sight.name) && sight.ready != Some(true);
        let mut late: Vec<&Sight> = self.sights.iter().filter(is_late).collect();
        // Without the first controller nothing else comes.
        late.sort_by_key(|sight| (sight.role != "controller", sight.stage.is_some()));
        lines.extend(late.into_iter().map(told));
        lines.extend(self.unlabelled().map(str::to_owned));
        lines
    }

    fn addons(&self) -> Vec<String> {
        let late = self
            .snapshot
            .addons
            .iter()
            .filter(|addon| addon.state != crate::cluster::api::change::Rollout::Done);
        late.map(|addon| {
            let (kind, namespace, name) = (addon.kind.name(), &addon.namespace, &addon.name);
            let why = addon.why.clone().unwrap_or_else(|| format!("{} of {}", addon.available, addon.wanted));
            format!(
                "{kind} {namespace}/{name}: {why}: `kubectl -n {namespace} describe {} {name}`",
                kind.to_lowercase()
            )
        })
        .collect()
    }
}

/// A node that is late.
fn told(sight: &Sight) -> String {
    let Sight { name, mac, stage, seconds, ready, why, hint, .. } = sight;
    let Some(stage) = stage else {
        return format!(
            "{name} ({mac}) was never seen: is it on, on this network, and does it boot from the network over that card?"
        );
    };
    let for_ = humantime::format_duration(Duration::from_secs(*seconds));
    let why = why.as_ref().map(|why| format!(", {why}")).unwrap_or_default();
    let look = hint.clone().unwrap_or_else(|| match ready {
        Some(_) => format!("`kubectl describe node {name}`"),
        None => {
            format!("`prebake logs {name}`, and on it `journalctl -b -u 'kubeadm*' -u containerd -u kubelet`")
        }
    });
    format!("{name}: {stage} for {for_}{why}: {look}")
}
