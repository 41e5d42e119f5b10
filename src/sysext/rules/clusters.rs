//! Rules about Kubernetes nodes: the kubelet's ordering, imported images, kubeadm's configuration.

use super::super::extension::{Error, Extension};
use super::super::merge::{Merge, Unit, usr_path};
use super::Breach;
use super::forms::files;
use crate::base::finding::Source;
use crate::base::yaml::{self, Kind as Yaml, Node};

/// The file in which Kubernetes sysexts, including the bakery's, state their version.
const VERSION_FILE: &str = "usr/local/share/kubernetes-version";
/// Units of container runtimes for a kubelet.
const RUNTIMES: [&str; 3] = ["containerd.service", "crio.service", "cri-docker.service"];
/// Part of every command that imports images.
const IMPORT: &str = "images import";
/// The end of a command that waits until the shipped unit has imported images, and imports none itself.
const WAIT: &str = "/prebake-images wait";
/// The label by which containerd's CRI tells the kubelet to keep an image.
const PINNED: &str = "io.cri-containerd.pinned";
/// First minor version of Kubernetes 1 whose kubeadm reads v1beta4 without being forced.
const V1BETA4_SINCE: u32 = 31;

/// `MAJOR.MINOR` of the Kubernetes in the extensions, if they state it.
pub(super) fn kubernetes(merge: &Merge) -> Option<(u32, u32)> {
    minor(&merge.text(VERSION_FILE)?.1)
}

fn minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim().trim_start_matches('v').split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Units that import images: name, and text of their commands.
pub(super) fn imports(merge: &Merge) -> Vec<(String, String)> {
    let of = |(name, unit): (&String, &Unit)| {
        let mut text = String::new();
        for key in ["ExecStartPre", "ExecStart", "ExecStartPost"] {
            for line in unit.commands(key).into_iter().filter(|line| !line.assignment.value.ends_with(WAIT)) {
                text += &line.assignment.value;
                text.push('\n');
                let words = line.assignment.value.split_whitespace();
                let scripts =
                    words.filter_map(|word| usr_path(word.trim_start_matches(['-', '@', ':', '+', '!'])));
                for (_, script) in scripts.filter_map(|path| merge.text(&path)) {
                    text += &script;
                }
            }
        }
        text.contains(IMPORT).then(|| (name.clone(), text))
    };
    merge.units().iter().filter_map(of).collect()
}

/// The extension that contains a unit.
fn home<'m>(merge: &Merge<'m>, unit: &Unit) -> Option<(&'m Extension, String)> {
    let home = unit.home.as_ref()?;
    Some((merge.extensions()[home.extension?], home.path.clone()))
}

pub(super) fn kubelet_order(merge: &Merge) -> Result<Vec<Breach>, Error> {
    let units = merge.units();
    let Some(kubelet) = units.get("kubelet.service") else { return Ok(Vec::new()) };
    let Some((extension, path)) = home(merge, kubelet) else { return Ok(Vec::new()) };
    let ordered = |name: &str| {
        let names = |list: Vec<(&str, _)>, name: &str| list.iter().any(|(word, _)| *word == name);
        names(kubelet.list("Unit", "After"), name)
            || units.get(name).is_some_and(|unit| names(unit.list("Unit", "Before"), "kubelet.service"))
    };
    // Its commands before the start are done by then.
    let waits = kubelet.commands("ExecStartPre").iter().any(|line| line.assignment.value.ends_with(WAIT));
    let before = |name: &str, text: &str| {
        name == "kubelet.service" || ordered(name) || waits && text.contains(WAIT.trim_end_matches(" wait"))
    };
    let mut late = Vec::new();
    if !RUNTIMES.iter().any(|name| ordered(name)) {
        late.push(RUNTIMES[0].to_owned());
    }
    let imports = imports(merge).into_iter().filter(|(name, text)| !before(name, text));
    late.extend(imports.map(|(name, _)| name));
    let breach = |name: String| {
        Breach::of(extension)
            .at(&path)
            .saying(format!("nothing orders kubelet.service after {name}"))
            .fix(format!("add `After={name}` to kubelet.service, or `Before=kubelet.service` to {name}"))
    };
    Ok(late.into_iter().map(breach).collect())
}

pub(super) fn unpinned(merge: &Merge) -> Result<Vec<Breach>, Error> {
    let units = merge.units();
    let imports = imports(merge).into_iter();
    let loose = imports.filter(|(_, text)| !text.contains(PINNED));
    let breach = |(name, _): (String, String)| {
        let (extension, path) = home(merge, units.get(&name)?)?;
        Some(
            Breach::of(extension)
                .at(&path)
                .saying(format!("{name} imports images and does not label them {PINNED}")),
        )
    };
    Ok(loose.filter_map(breach).collect())
}

pub(super) fn kubeadm_config(merge: &Merge) -> Result<Vec<Breach>, Error> {
    let shipped = kubernetes(merge);
    let mut breaches = Vec::new();
    for extension in merge.extensions() {
        let yaml = |path: &&str| path.ends_with(".yaml") || path.ends_with(".yml");
        for path in files(extension).map(|(path, _)| path).filter(yaml) {
            let text = extension.text(path)?;
            if !text.contains("kubeadm.k8s.io/") {
                continue;
            }
            let faults =
                documents(&text).iter().flat_map(|document| faults(document, shipped)).collect::<Vec<_>>();
            breaches.extend(faults.into_iter().map(|(sure, fault)| {
                let breach = Breach::of(extension).at(path).saying(fault);
                if sure { breach } else { breach.doubtful() }
            }));
        }
    }
    Ok(breaches)
}

/// The documents of a text that are YAML; templates usually are not.
pub(super) fn documents(text: &str) -> Vec<Node> {
    let parts = text.split("\n---");
    parts.filter_map(|part| yaml::parse(&Source::new("", part)).ok()).collect()
}

/// Defects of a document for kubeadm, each with whether it is certain.
fn faults(document: &Node, shipped: Option<(u32, u32)>) -> Vec<(bool, String)> {
    let of = |key: &str| document.get(key).and_then(Node::scalar);
    let Some(version) = of("apiVersion").and_then(|api| api.strip_prefix("kubeadm.k8s.io/")) else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    let kubernetes = of("kubernetesVersion").and_then(minor).or(shipped);
    if let Some((1, minor)) = kubernetes
        && version == "v1beta4"
        && minor < V1BETA4_SINCE
    {
        faults.push((true, format!("kubeadm 1.{minor} does not read {version}")));
    }
    if of("kind") == Some("ClusterConfiguration") && document.get("kubernetesVersion").is_none() {
        faults.push((false, "without kubernetesVersion kubeadm asks dl.k8s.io for one".into()));
    }
    for (key, is_list) in arguments(document) {
        let wants_list = version != "v1beta3";
        if is_list != wants_list {
            let shape = |list| if list { "a list of name and value" } else { "a map" };
            faults.push((
                true,
                format!("{key} is {}, but {version} has {}", shape(is_list), shape(wants_list)),
            ));
        }
    }
    faults
}

/// Every `extraArgs` of a document, each with whether it is a list.
fn arguments(node: &Node) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    match &node.kind {
        Yaml::Scalar(..) => {}
        Yaml::Sequence(items) => items.iter().for_each(|item| found.extend(arguments(item))),
        Yaml::Mapping(entries) => {
            for (key, value) in entries {
                match (key.scalar().unwrap_or_default(), &value.kind) {
                    (key @ ("extraArgs" | "kubeletExtraArgs"), Yaml::Mapping(_)) => {
                        found.push((key.to_owned(), false))
                    }
                    (key @ ("extraArgs" | "kubeletExtraArgs"), Yaml::Sequence(_)) => {
                        found.push((key.to_owned(), true))
                    }
                    _ => found.extend(arguments(value)),
                }
            }
        }
    }
    found
}
