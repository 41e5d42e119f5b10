//! Add-ons: manifests that lie beside `cluster.yaml`, the images that they run, and their order.
//!
//! A cluster gets the files that people looked at: nothing is fetched or rendered when a cluster forms. `prebake cluster addons vendor`
//! puts a manifest beside the description, with a record of its digests, and from there it is the site's own file.

pub mod hooks;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::addon::vendor::Wish;
use crate::addon::{Addon, flannel, known};
use crate::base::finding::{Finding, Findings, Place};
use crate::base::yaml::decode::Spanned;
use crate::cluster::description::{Cluster, Cni};
use crate::cluster::place::Place as Whereabouts;

/// Directory of vendored manifests, beside the description; each add-on has one of its name in it.
pub const DIRECTORY: &str = "addons";

/// All that is applied to a cluster, in its order.
#[derive(Debug, Default)]
pub struct Plan {
    /// The network plugin, applied as soon as the API server answers, for no node is Ready without it. With `cni: none` one of the
    /// add-ons may be it, and all of them are here, in the order of the description.
    pub network: Vec<Addon>,
    /// The others, in the order of the description: applied once all nodes are Ready.
    pub others: Vec<Addon>,
}

impl Cni {
    /// The add-on that brings it; `None` if no manifest does.
    pub const fn addon(&self) -> Option<&'static str> {
        match self {
            Cni::None | Cni::Routes => None,
            Cni::Flannel => Some("flannel"),
            Cni::Cilium => Some("cilium"),
            Cni::Calico => Some("calico"),
        }
    }
}

impl Plan {
    /// Reads the manifests of a cluster, whose vendored ones lie on this shelf.
    ///
    /// # Errors
    /// Findings: files that are not there, that are no manifests, or that are otherwise than when they were vendored.
    pub fn read(cluster: &Cluster, shelf: &Shelf) -> Result<Plan, Findings> {
        let mut findings = Vec::new();
        let mut plan = Plan::default();
        let network = cluster.cni.addon();
        if let Some(name) = network {
            // An add-on of the network plugin's name says where its manifests are; without one they are where `vendor` puts them.
            let own = cluster.addons.iter().find(|addon| addon.name.value == name);
            let (manifests, images) = match own {
                Some(addon) => (addon.manifests.as_slice(), addon.images.as_slice()),
                None => (&[][..], &[][..]),
            };
            let place = own.map_or(&cluster.name.place, |addon| &addon.name.place);
            let addon = read(cluster, shelf, name, place, manifests, images, &mut findings);
            findings.extend(network_of(&addon, cluster));
            plan.network.push(addon);
        }
        let rest = match cluster.cni {
            // Nodes without a network plugin are not Ready: what may bring it must not wait for them.
            Cni::None => &mut plan.network,
            _ => &mut plan.others,
        };
        for addon in cluster.addons.iter().filter(|addon| Some(addon.name.value.as_str()) != network) {
            let (name, place) = (&addon.name.value, &addon.name.place);
            rest.push(read(cluster, shelf, name, place, &addon.manifests, &addon.images, &mut findings));
        }
        findings.extend(plan.twice());
        Findings::settle(findings, plan).map(|(plan, _)| plan)
    }

    /// Its add-ons in their order.
    pub fn addons(&self) -> impl Iterator<Item = &Addon> {
        self.network.iter().chain(&self.others)
    }

    /// The images that it runs, each once: from `image:` fields, from records, and from the description.
    ///
    /// # Errors
    /// Findings: images of no tag or digest, and texts that are no image's name.
    pub fn images(&self) -> Result<Vec<Spanned<String>>, Findings> {
        let mut findings = Vec::new();
        let mut images = BTreeMap::new();
        for addon in self.addons() {
            addon.add_images(&mut images, &mut findings);
        }
        Findings::settle(findings, images.into_values().collect()).map(|(images, _)| images)
    }

    /// An object that two manifests have would be one's and then the other's at each run.
    fn twice(&self) -> Vec<Finding> {
        let mut first: BTreeMap<String, (&str, &Place)> = BTreeMap::new();
        let mut findings = Vec::new();
        for addon in self.addons() {
            for document in &addon.documents {
                // Namespaces are shared.
                if document.kind == "Namespace" {
                    continue;
                }
                match first.get(&document.identity()) {
                    None => {
                        first.insert(document.identity(), (&addon.name, &document.place));
                    }
                    Some((other, place)) => {
                        let finding = Finding::error(format!("{} is in two manifests", document.identity()));
                        let finding = finding
                            .at(document.place.clone())
                            .related((*place).clone(), format!("also of {other}"));
                        findings
                            .push(finding.hint("take one of them out: the later one would win at each run"));
                    }
                }
            }
        }
        findings
    }
}

/// The images of a cluster's add-ons, for the recipe's `images:`.
///
/// # Errors
/// As [`Plan::read`] and [`Plan::images`].
pub fn images(cluster: &Cluster, shelf: &Shelf) -> Result<Vec<Spanned<String>>, Findings> {
    Plan::read(cluster, shelf)?.images()
}

/// Where vendored manifests lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelf {
    /// `addons` beside the description.
    beside: PathBuf,
    /// Where they are if nobody may write there, as into `/config` of a container.
    own: PathBuf,
}

impl Shelf {
    /// The shelf of a cluster whose description lies in this directory.
    pub fn new(description: &Path, place: &Whereabouts) -> Shelf {
        Shelf { beside: description.join(DIRECTORY), own: place.addons() }
    }

    /// The directory of an add-on: beside the description whatever else there is, as of the lock.
    pub fn of(&self, name: &str) -> PathBuf {
        let [beside, own] = [&self.beside, &self.own].map(|directory| directory.join(name));
        if !beside.exists() && own.exists() { own } else { beside }
    }

    /// Where an add-on is put that is not there yet.
    fn put(&self, name: &str) -> PathBuf {
        // The nearest directory that is there decides: the others would be made in it.
        let there = self.beside.ancestors().find(|directory| directory.exists());
        let there = there.unwrap_or(Path::new("."));
        let is_writable = rustix::fs::access(there, rustix::fs::Access::WRITE_OK).is_ok();
        if is_writable { &self.beside } else { &self.own }.join(name)
    }
}

/// Reads one add-on.
fn read(
    cluster: &Cluster,
    shelf: &Shelf,
    name: &str,
    place: &Place,
    manifests: &[Spanned<PathBuf>],
    images: &[Spanned<String>],
    findings: &mut Vec<Finding>,
) -> Addon {
    let manifests: Vec<(PathBuf, &Place)> = match manifests {
        [] => vec![(shelf.of(name), place)],
        own => own.iter().map(|own| (cluster.directory.join(&own.value), &own.place)).collect(),
    };
    let mut addon = Addon::read(name, place, &manifests, &way_out(name), findings);
    addon.images.extend_from_slice(images);
    addon
}

/// The known add-ons of a description whose manifests are not there yet, with the directory where each shall lie.
pub fn missing(cluster: &Cluster, shelf: &Shelf) -> Vec<(Wish, PathBuf)> {
    let has_own = |name: &str| {
        cluster.addons.iter().any(|addon| addon.name.value == name && !addon.manifests.is_empty())
    };
    let network = cluster.cni.addon().into_iter().map(str::to_owned);
    let mut names: Vec<String> =
        network.chain(cluster.addons.iter().map(|addon| addon.name.value.clone())).collect();
    names.sort();
    names.dedup();
    names.retain(|name| known::of(name).is_some() && !has_own(name));
    let of_name = |name: String| {
        let directory = shelf.put(&name);
        let wish = Wish {
            kubernetes: Some(cluster.kubernetes.value.clone()),
            pods: Some(cluster.pods.value.to_string()),
            way_out: way_out(&name),
            ..Wish::of(&name)
        };
        (wish, directory)
    };
    names.into_iter().filter(|name| !shelf.of(name).exists()).map(of_name).collect()
}

/// The way to the manifests of an add-on.
pub fn way_out(name: &str) -> String {
    match known::of(name) {
        Some(known) => {
            let text = format!(
                "`prebake cluster addons vendor {name}` puts them there, where there is internet; then take `{DIRECTORY}/{name}` along with cluster.yaml, for no bundle has it"
            );
            text + if known.is_network { WITHOUT } else { "" }
        }
        None => "name a file, or a directory of .yaml, .yml and .json files, relative to cluster.yaml".into(),
    }
}

/// The way without a network plugin's manifest.
const WITHOUT: &str = "; `cni: routes` needs neither manifest nor image, if all nodes are on one network";

/// flannel with another network than the cluster's.
fn network_of(addon: &Addon, cluster: &Cluster) -> Option<Finding> {
    let wanted = cluster.pods.value.to_string();
    let (document, network) = flannel::other_network(addon, &wanted)?;
    let finding = Finding::error(format!("flannel's network is {network}, the cluster's pods have {wanted}"));
    let finding =
        finding.at(document.place.clone()).related(cluster.pods.place.clone(), "the pods' addresses");
    Some(finding.hint("vendor it anew with this cluster.yaml, or write the same network in both"))
}
