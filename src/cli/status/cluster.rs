//! The cluster in the status: a paragraph with a table of the parts that are not ready, and a line for every change.

use std::collections::BTreeMap;

use super::{safe, span};
use crate::cli::table::Table;
use crate::serve::machines::formation::{Formation, Group, Part, Phase, Standing};
use crate::serve::machines::stamp::Stamp;

/// Parts in the table. More are counted.
const MOST: usize = 30;

/// The cluster's name, and what is awaited.
pub(super) fn heading(cluster: &Formation, now: Stamp) -> String {
    let Formation { name, version, endpoint, phase, since, .. } = cluster;
    let age = span(now, *since);
    let age = if *phase == Phase::Complete { format!("since {age}") } else { format!("for {age}") };
    let [name, version, endpoint] = [name, version, endpoint].map(|text| safe(text));
    format!("cluster {name}, Kubernetes {version} at {endpoint}: {} {age}", phase.sentence())
}

/// How many parts of each kind are ready.
pub(super) fn counts(cluster: &Formation) -> String {
    let count = |(title, group): (&str, &Group)| format!("{title} {}/{}", group.ready, group.total);
    cluster.groups().into_iter().map(count).collect::<Vec<_>>().join(", ")
}

/// Everything for people: what is awaited, what they have to do, how far each kind of part is, and those that are not ready.
pub(super) fn section(cluster: &Formation, now: Stamp) -> String {
    let mut text = format!("\n{}\n{}\n", heading(cluster, now), counts(cluster));
    if let Some(ask) = &cluster.ask {
        text += &format!("{}\n", safe(ask));
    }
    if let Some(path) = &cluster.kubeconfig {
        text += &format!("kubeconfig: {}\n", safe(path));
    }
    let mut parts: Vec<(&str, &Part)> = unready(cluster).collect();
    parts.sort_by_key(|(_, part)| part.state);
    if parts.is_empty() {
        return text;
    }
    let mut table = Table::new(["PART", "NAME", "KIND", "STATE", ">FOR", "WHY"]);
    for (title, part) in parts.iter().take(MOST) {
        let (state, age) = (part.state.word(), span(now, part.since));
        let (name, kind, why) = (safe(&part.name), safe(&part.kind), safe(&part.why));
        table.row([(*title).into(), name, kind, state.into(), age, why]);
    }
    text += &table.to_string();
    if parts.len() > MOST {
        text += &format!("and {} more\n", parts.len() - MOST);
    }
    // Parts that are late for one reason have one hint.
    let mut told = Vec::new();
    for (_, Part { name, why, hint, .. }) in parts.iter().filter(|(_, part)| part.state.needs_a_look()) {
        if !hint.is_empty() && !told.contains(&hint) {
            text += &format!("\n{}: {}\n  hint: {}\n", safe(name), safe(why), safe(hint));
            told.push(hint);
        }
    }
    text
}

/// The parts that are late or failed, with what to look at, as troubles are shown.
pub(super) fn troubles(cluster: &Formation) -> impl Iterator<Item = (Standing, String, String)> {
    let trouble = |(title, part): (&str, &Part)| {
        let Part { name, state, why, hint, .. } = part;
        let why = if why.is_empty() { state.word() } else { why };
        (*state, format!("{title}: {}: {}", safe(name), safe(why)), safe(hint))
    };
    unready(cluster).filter(|(_, part)| part.state.needs_a_look()).map(trouble)
}

/// A line for the phase and for every part whose state or reason changed.
pub(super) fn changes(before: Option<&Formation>, cluster: &Formation, now: Stamp) -> String {
    let mut lines = String::new();
    if before.is_none_or(|before| (before.phase, &before.ask) != (cluster.phase, &cluster.ask)) {
        let ask = cluster.ask.as_deref().map(|ask| format!("; {}", safe(ask))).unwrap_or_default();
        lines += &format!("{now} cluster {} {}{ask}\n", safe(&cluster.name), cluster.phase.sentence());
    }
    let known: BTreeMap<(&str, &str, &str), &Part> = before.map(by_name).unwrap_or_default();
    for (key, part) in by_name(cluster) {
        let was = known.get(&key).map(|part| (part.state, part.why.as_str()));
        if was == Some((part.state, part.why.as_str())) {
            continue;
        }
        let (title, _, name) = key;
        let why = if part.why.is_empty() { String::new() } else { format!(": {}", safe(&part.why)) };
        lines += &format!("{now} {title} {} {}{why}\n", safe(name), part.state.word());
    }
    lines
}

fn all(cluster: &Formation) -> impl Iterator<Item = (&'static str, &Part)> {
    let groups = cluster.groups().into_iter();
    groups.flat_map(|(title, group)| group.parts.iter().map(move |part| (title, part)))
}

fn unready(cluster: &Formation) -> impl Iterator<Item = (&'static str, &Part)> {
    all(cluster).filter(|(_, part)| part.state != Standing::Ready)
}

/// Pods of two namespaces may have one name.
fn by_name(cluster: &Formation) -> BTreeMap<(&'static str, &str, &str), &Part> {
    let mut parts = BTreeMap::new();
    for (title, part) in all(cluster) {
        let space = if title == "pods" { part.kind.as_str() } else { "" };
        parts.insert((title, space, part.name.as_str()), part);
    }
    parts
}
