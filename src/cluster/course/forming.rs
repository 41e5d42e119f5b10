//! The cluster for the status page, as the course knows it.

use std::time::SystemTime;

use super::{Run, Sight};
use crate::cluster::api::change::{Pod, Rollout, Workload};
use crate::cluster::api::snapshot::Api;
use crate::cluster::course::step::Step;
use crate::serve::machines::formation::{Formation, Group, Part, Phase, Standing};
use crate::serve::machines::stamp::Stamp;

/// The most machines that are named.
const ASKED: usize = 12;

/// How the cluster is now.
pub(super) fn formation(run: &Run) -> Formation {
    let cluster = &run.course.cluster;
    let since = Since(run);
    let (state, why, hint) = match &run.snapshot.api {
        Api::Ready { .. } => (Standing::Ready, String::new(), String::new()),
        Api::Unknown => (Standing::Awaited, String::new(), String::new()),
        Api::Lost(trouble) => {
            (Standing::Coming, trouble.why.clone(), trouble.hint.clone().unwrap_or_default())
        }
    };
    let version = match &run.snapshot.api {
        Api::Ready { version } => version.clone(),
        _ => String::new(),
    };
    let api = Part { name: cluster.endpoint(), version, state, why, hint, ..Part::default() };
    let member = |member: &crate::cluster::api::snapshot::Member| Part {
        name: member.node.clone(),
        node: member.node.clone(),
        kind: "voter".into(),
        state: if member.ready { Standing::Ready } else { Standing::Coming },
        why: member.why.clone().unwrap_or_default(),
        ..Part::default()
    };
    let phase = phase(run);
    Formation {
        name: cluster.name.value.clone(),
        version: cluster.kubernetes.value.clone(),
        endpoint: format!("https://{}", cluster.endpoint()),
        phase,
        since: run.phase,
        ask: ask(run),
        kubeconfig: (phase >= Phase::Nodes).then(|| run.course.place.kubeconfig().display().to_string()),
        api: Group::of([since.of("api", api)]),
        members: Group::of(run.snapshot.etcd.iter().map(|one| since.of("member", member(one)))),
        nodes: Group::of(run.sights.iter().map(|one| since.of("node", node(run, one)))),
        pods: Group::of(run.snapshot.pods.values().map(|one| since.of("pod", pod(one)))),
        addons: Group::of(run.snapshot.addons.iter().map(|one| since.of("add-on", addon(one)))),
    }
}

/// The same once the process that forms it has given up: what is late stays there to be seen, and what a person has to do.
pub(super) fn given_up(formation: Formation) -> Formation {
    Formation { phase: Phase::Failed, since: SystemTime::now().into(), ..formation }
}

/// The machines that a person has to switch on, as long as they are not seen.
fn ask(run: &Run) -> Option<String> {
    let is_off = |sight: &&Sight| {
        sight.stage.is_none() && sight.ready != Some(true) && run.by_hand.contains(&sight.name)
    };
    to_power(run.sights.iter().filter(is_off).map(|sight| sight.name.as_str()).collect())
}

fn to_power(names: Vec<&str>) -> Option<String> {
    let shown = names.iter().take(ASKED).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(ASKED) {
        _ if names.is_empty() => None,
        0 => Some(format!("power on: {shown}")),
        more => Some(format!("power on: {shown} and {more} more")),
    }
}

fn phase(run: &Run) -> Phase {
    match run.step {
        Step::Generate | Step::Examine | Step::Serve | Step::Power => Phase::Machines,
        Step::Answer => match run.sights.iter().any(|sight| sight.stage.is_some()) {
            true => Phase::Control,
            false => Phase::Machines,
        },
        Step::Apply if run.applied.network => Phase::Addons,
        Step::Apply | Step::Nodes => Phase::Nodes,
        Step::Addons => Phase::Addons,
        Step::Settle => Phase::Settling,
        Step::End => Phase::Complete,
    }
}

fn node(run: &Run, sight: &Sight) -> Part {
    let known = run.snapshot.nodes.get(&sight.name);
    let state = match (sight.ready, &sight.stage) {
        (Some(true), _) => Standing::Ready,
        _ if sight.failed => Standing::Failed,
        _ if sight.hint.is_some() => Standing::Late,
        (Some(false), _) | (None, Some(_)) => Standing::Coming,
        (None, None) => Standing::Awaited,
    };
    Part {
        name: sight.name.clone(),
        kind: sight.role.to_owned(),
        version: known.map(|node| node.versions.kubelet.clone()).unwrap_or_default(),
        state,
        why: if state == Standing::Ready { String::new() } else { sight.words() },
        hint: sight.hint.clone().unwrap_or_default(),
        ..Part::default()
    }
}

fn pod(pod: &Pod) -> Part {
    Part {
        name: pod.name.clone(),
        kind: "kube-system".into(),
        node: pod.node.clone().unwrap_or_default(),
        state: if pod.ready { Standing::Ready } else { Standing::Coming },
        why: pod.why.clone().unwrap_or_default(),
        ..Part::default()
    }
}

fn addon(addon: &Workload) -> Part {
    Part {
        name: format!("{}/{}", addon.namespace, addon.name),
        kind: addon.kind.name().to_owned(),
        state: match addon.state {
            Rollout::Done => Standing::Ready,
            Rollout::Underway => Standing::Coming,
            Rollout::Failed => Standing::Failed,
        },
        why: addon.why.clone().unwrap_or_default(),
        ..Part::default()
    }
}

/// Since when parts have been in their states: as long as in what was told last.
struct Since<'r>(&'r Run);

impl Since<'_> {
    fn of(&self, kind: &str, part: Part) -> Part {
        let before = self.0.told.as_ref().map(|told| match kind {
            "api" => &told.api,
            "member" => &told.members,
            "node" => &told.nodes,
            "pod" => &told.pods,
            _ => &told.addons,
        });
        let same = before.and_then(|group| {
            group
                .parts
                .iter()
                .find(|known| known.name == part.name && known.kind == part.kind && known.state == part.state)
        });
        let since = same.map_or_else(|| Stamp::from(SystemTime::now()), |known| known.since);
        Part { since, ..part }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_asked_for_the_machines_by_name_and_a_hall_of_them_is_counted() {
        assert_eq!(to_power(Vec::new()), None);
        assert_eq!(to_power(vec!["c1", "w1"]).as_deref(), Some("power on: c1, w1"));
        let ask = to_power(vec!["n"; 400]).unwrap();
        assert!(ask.ends_with("n and 388 more") && ask.len() < 80, "{ask}");
    }
}
