//! One node as the boot server and the API server see it.

use std::time::SystemTime;

use serde::Serialize;

use crate::cluster::api::snapshot::Snapshot;
use crate::cluster::description::{Node, Role};
use crate::serve::machines::monitor::Monitor;
use crate::serve::machines::status::{MachineStatus, State};
use crate::serve::site::labels::Labels;

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sight {
    /// The node's name in the description.
    pub name: String,
    /// Its card.
    pub mac: String,
    /// `controller` or `worker`.
    pub role: &'static str,
    /// How far its machine is: a stage of its boot, or a word of its own; `None` if it was never seen.
    pub stage: Option<String>,
    /// More about that.
    pub detail: String,
    /// Seconds since then.
    pub seconds: u64,
    /// Seconds since it began to boot.
    pub booted: u64,
    /// Whether it has the turn to join.
    pub joins: bool,
    /// Whether it said that it gave up.
    pub failed: bool,
    /// Whether its Node is Ready; `None` without a Node.
    pub ready: Option<bool>,
    /// The likely fault of the machine, else why its Node is not ready.
    pub why: Option<String>,
    /// The way out, if one is known.
    pub hint: Option<String>,
}

impl Sight {
    /// A node at a moment.
    pub(super) fn of(node: &Node, monitor: &Monitor, snapshot: &Snapshot, now: SystemTime) -> Sight {
        let mac = node.mac.value.to_string();
        let machine = monitor.machine(&Labels::default().with("mac", mac.clone()), now);
        let known = snapshot.nodes.get(&node.name.value);
        let ready = known.map(|node| node.ready);
        let trouble =
            machine.as_ref().and_then(|machine| machine.troubles.first()).filter(|_| ready != Some(true));
        let why =
            trouble.map(|trouble| trouble.what.clone()).or_else(|| known.and_then(|node| node.why.clone()));
        let (stage, detail, since) = machine.as_ref().map(reached).unwrap_or_default();
        let age = |stamp: SystemTime| now.duration_since(stamp).unwrap_or_default().as_secs();
        Sight {
            name: node.name.value.clone(),
            mac,
            role: match node.role {
                Role::Controller => "controller",
                Role::Worker => "worker",
            },
            stage,
            detail,
            seconds: since.map(age).unwrap_or_default(),
            booted: machine
                .as_ref()
                .and_then(|machine| machine.steps.first())
                .map(|step| age(step.began.into()))
                .unwrap_or_default(),
            joins: machine.as_ref().is_some_and(|machine| machine.joins),
            failed: machine.as_ref().is_some_and(|machine| machine.state == State::Failed),
            ready,
            why,
            hint: trouble.map(|trouble| trouble.hint.clone()),
        }
    }

    /// The change since an earlier sight, in words.
    pub(super) fn news(&self, before: Option<&Sight>) -> Option<String> {
        let reached = |sight: &Sight| (sight.stage.clone(), sight.detail.clone(), sight.failed);
        let is_new = before.is_none_or(|before| reached(before) != reached(self));
        let has_trouble = self.hint.is_some() && before.is_none_or(|before| before.why != self.why);
        if !is_new && !has_trouble {
            return None;
        }
        let stage = self.stage.as_ref()?;
        let detail = if self.detail.is_empty() { String::new() } else { format!(" ({})", self.detail) };
        let trouble = match (&self.why, &self.hint) {
            (Some(why), Some(hint)) => format!(": {why}; {hint}"),
            _ => String::new(),
        };
        Some(format!("{stage}{detail}{trouble}"))
    }

    /// How it is, in one word and a reason.
    pub fn words(&self) -> String {
        match (self.ready, &self.stage) {
            (Some(true), _) => "Ready".into(),
            (Some(false), _) => self.why.clone().unwrap_or_else(|| "not Ready".into()),
            (None, None) => "not seen".into(),
            (None, Some(stage)) => match (&self.why, self.joins) {
                (Some(why), _) => format!("{stage}: {why}"),
                (None, true) => format!("{stage}, joins"),
                (None, false) if self.detail.is_empty() => stage.clone(),
                (None, false) => format!("{stage} {}", self.detail),
            },
        }
    }
}

/// The last that is known of a machine: its own word, if that is newer than what it fetched.
fn reached(machine: &MachineStatus) -> (Option<String>, String, Option<SystemTime>) {
    let step = machine.steps.last();
    let began = machine.steps.first().map(|step| step.began);
    let said = machine.report.as_ref().filter(|report| began.is_none_or(|began| report.at >= began));
    match (said, step) {
        (Some(report), _) => (Some(report.stage.clone()), report.detail.clone(), Some(report.at.into())),
        (None, Some(step)) => (Some(step.stage.word().to_owned()), String::new(), Some(step.began.into())),
        (None, None) => (Some("an address".into()), String::new(), Some(machine.last_seen.into())),
    }
}
