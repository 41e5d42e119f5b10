//! The cluster for the status page, as the course knows it.

use std::time::SystemTime;

use super::{Run, Sight};
use crate::cluster::api::change::{Pod, Rollout, Workload};
use crate::cluster::api::snapshot::Api;
use crate::cluster::course::step::Step;
use crate::serve::machines::formation::{Formation, Group, Part, Phase, Standing};
use crate::serve::machines::stamp::Stamp;

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
        ask: ask(run, phase),
        kubeconfig: (phase >= Phase::Nodes).then(|| run.course.place.kubeconfig().display().to_string()),
        api: Group::of([since.of("api", api)]),
        members: Group::of(run.snapshot.etcd.iter().map(|one| since.of("member", member(one)))),
        nodes: Group::of(run.sights.iter().map(|one| since.of("node", node(run, one)))),
        pods: Group::of(run.snapshot.pods.values().map(|one| since.of("pod", pod(one)))),
        addons: Group::of(run.snapshot.addons.iter().map(|one| since.of("add-on", addon(one)))),
    }
}

/// The machines that a person has to switch on, if nothing else is awaited.
fn ask(run: &Run, phase: Phase) -> Option<String> {
    let by_hand = |sight: &&Sight| {
        let node = run.course.cluster.nodes.iter().find(|node| node.name.value == sight.name);
        let is_switched = run.course.switches && node.is_some_and(|node| node.power.is_some());
        sight.stage.is_none() && !is_switched && run.course.awaited.contains(&sight.name)
    };
    let names: Vec<&str> = run.sights.iter().filter(by_hand).map(|sight| sight.name.as_str()).collect();
    let is_asked = !names.is_empty() && phase < Phase::Settling;
    is_asked.then(|| format!("power on: {}", names.join(", ")))
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
