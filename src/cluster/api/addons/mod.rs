//! Add-ons: manifests that lie beside `cluster.yaml`, the images that they run, and their order.
//!
//! A cluster gets the files that people looked at: nothing is fetched or rendered when a cluster forms. `prebake cluster addons vendor`
//! puts a manifest beside the description, with a record of its digests, and from there it is the site's own file.

pub mod hooks;
pub mod images;
pub mod known;
pub mod manifest;
pub mod record;
pub mod scalar;
pub mod vendor;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::manifest::Document;
use self::record::Record;
use crate::base::finding::{Finding, Findings, MAX_TEXT, Place, Source};
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

/// One add-on, read and decoded.
#[derive(Debug)]
pub struct Addon {
    /// Name of a known add-on, or that which the description gives to one of its own.
    pub name: String,
    /// Its objects, in the order in which they were written.
    pub documents: Vec<Document>,
    /// Images that its manifests do not name in an `image:`, from the description and from the record.
    images: Vec<Spanned<String>>,
}

impl Addon {
    /// An add-on of these objects alone.
    pub fn of(name: &str, documents: Vec<Document>) -> Addon {
        Addon { name: name.to_owned(), documents, images: Vec::new() }
    }
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
            for document in &addon.documents {
                images::of_document(document, &mut images, &mut findings);
            }
            for image in &addon.images {
                images::add(image.clone(), &mut images, &mut findings);
            }
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
    let mut addon = Addon { name: name.to_owned(), documents: Vec::new(), images: images.to_vec() };
    let before = findings.len();
    for (path, place) in manifests {
        let first = addon.documents.len();
        match files(&path) {
            Ok(files) if files.is_empty() => {
                let finding = Finding::error(format!("{} has no manifests of {name}", path.display()));
                findings.push(finding.at(place.clone()).hint(way_out(name)));
            }
            Ok(files) => {
                for file in files {
                    match text(&file) {
                        Ok(source) => match manifest::read(&source) {
                            Ok(documents) => {
                                addon.documents.extend(documents.into_iter().filter(is_installed))
                            }
                            Err(Findings(wrong)) => findings.extend(wrong),
                        },
                        Err(why) => findings.push(Finding::error(why).at(place.clone())),
                    }
                }
                let directory =
                    if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(Path::new(".")) };
                match Record::of(directory) {
                    Ok(None) => {}
                    Ok(Some(record)) => {
                        findings.extend(record.changed(directory, place));
                        if let Some(namespace) = &record.namespace {
                            addon.documents[first..]
                                .iter_mut()
                                .for_each(|document| document.home = namespace.clone());
                        }
                        let images = record.images.iter();
                        addon.images.extend(
                            images.map(|image| Spanned { value: image.clone(), place: place.clone() }),
                        );
                    }
                    Err(finding) => findings.push(finding.at(place.clone())),
                }
            }
            Err(error) => {
                let why = match error.kind() {
                    std::io::ErrorKind::NotFound => {
                        format!("the manifests of {name} are not here: there is no {}", path.display())
                    }
                    _ => format!("cannot read the manifests of {name} in {}: {error}", path.display()),
                };
                findings.push(Finding::error(why).at(place.clone()).hint(way_out(name)));
            }
        }
    }
    if findings.len() == before && addon.documents.is_empty() {
        let finding = Finding::error(format!("the manifests of {name} have no object in them"));
        findings.push(finding.at(place.clone()).hint(way_out(name)));
    }
    addon
}

/// Whether an object belongs to an installation. A chart's hooks for upgrades and removals do not: Longhorn's and NVIDIA's would take
/// away what was just installed.
fn is_installed(document: &Document) -> bool {
    let hook = document.value.pointer("/metadata/annotations/helm.sh~1hook").and_then(|hook| hook.as_str());
    hook.is_none_or(|hook| {
        hook.split(',').any(|when| matches!(when.trim(), "pre-install" | "post-install" | "crd-install"))
    })
}

fn way_out(name: &str) -> String {
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

/// The files of a manifest: itself, or those of a directory that kubectl reads (`.yaml`, `.yml`, `.json`), by name.
fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        let is_manifest = path.extension().is_some_and(|it| it == "yaml" || it == "yml" || it == "json");
        if is_manifest && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn text(path: &Path) -> Result<Arc<Source>, String> {
    let name = path.display().to_string();
    let bytes = crate::base::disk::read_at_most(path, MAX_TEXT)
        .map_err(|error| format!("cannot read {name}: {error}"))?;
    if bytes.len() > MAX_TEXT {
        return Err(format!("{name} is longer than {} MiB", MAX_TEXT >> 20));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{name} is not UTF-8 text"))?;
    Ok(Source::new(name, text))
}

/// flannel's own network must be the cluster's: kube-controller-manager gives each node a part of that, and flannel takes no node
/// whose part is elsewhere ("Error registering network").
fn network_of(addon: &Addon, cluster: &Cluster) -> Option<Finding> {
    let wanted = cluster.pods.value.to_string();
    addon.documents.iter().find_map(|document| {
        let text = document.value.pointer("/data/net-conf.json")?.as_str()?;
        let network =
            serde_json::from_str::<serde_json::Value>(text).ok()?.get("Network")?.as_str()?.to_owned();
        (network != wanted).then(|| {
            let finding =
                Finding::error(format!("flannel's network is {network}, the cluster's pods have {wanted}"));
            let finding =
                finding.at(document.place.clone()).related(cluster.pods.place.clone(), "the pods' addresses");
            finding.hint("vendor it anew with this cluster.yaml, or write the same network in both")
        })
    })
}
