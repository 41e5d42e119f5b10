//! The files that `prebake capi vendor` fetched beside a recipe: components and add-ons, as they were recorded, and the images that they run.

use super::{ADDONS, Capi, DIRECTORY};
use crate::addon::images::Images;
use crate::addon::record::Record;
use crate::addon::{Addon, flannel, known};
use crate::bake::recipe::Recipe;
use crate::base::disk;
use crate::base::finding::{Finding, MAX_TEXT, Place};
use crate::capi::components::Component;
use crate::capi::flavor::{MAX_OBJECT, split};
use crate::registry::reference::ImageRef;

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Materials {
    /// The components, in the order in which they are installed.
    pub components: Vec<Part>,
    /// Their images, for a management cluster.
    pub images: Vec<ImageRef>,
    /// The add-ons' objects, in groups that fit into one object each.
    pub addons: Vec<(String, Vec<String>)>,
    /// Their images, for the nodes.
    pub node_images: Vec<ImageRef>,
}

/// A component as it was fetched.
#[derive(Debug)]
pub(super) struct Part {
    pub component: &'static Component,
    /// Its version, with a `v`.
    pub version: String,
    /// Its files by name.
    pub files: Vec<(&'static str, Vec<u8>)>,
}

impl Materials {
    /// Reads all that an output needs; what lacks, or was changed, is a finding at `place`.
    pub(super) fn read(
        output: &Capi,
        recipe: &Recipe,
        place: &Place,
        findings: &mut Vec<Finding>,
    ) -> Materials {
        let mut materials = Materials::default();
        let directory = recipe.directory.join(DIRECTORY);
        let way_out =
            format!("`prebake capi vendor {}` fetches it, where there is internet", recipe.source.name);
        let mut images = Images::new();
        for component in output.provider.components() {
            let (label, version) = (component.label(), output.version(component));
            let directory = directory.join(&label);
            let before = findings.len();
            let addon = Addon::read(&label, place, &[(directory.clone(), place)], &way_out, findings);
            if findings.len() > before {
                continue;
            }
            // Without a record nobody knows the version, and clusterctl must.
            let found = match Record::of(&directory) {
                Ok(record) => record.map(|record| format!("v{}", record.version)),
                Err(finding) => {
                    findings.push(finding.at(place.clone()));
                    continue;
                }
            };
            if found.as_ref() != Some(&version) {
                let found =
                    found.unwrap_or_else(|| "nobody knows which version, as there is no record".into());
                let text =
                    format!("the recipe wants {label} {version}, and in {} is {found}", directory.display());
                findings.push(Finding::error(text).at(place.clone()).hint(&*way_out));
                continue;
            }
            addon.add_images(&mut images, findings);
            let mut files = Vec::new();
            for (file, _) in component.files(&version) {
                let path = directory.join(file);
                match disk::read_at_most(&path, MAX_TEXT) {
                    Ok(bytes) => files.push((file, bytes)),
                    Err(error) => {
                        let text = format!("cannot read {}: {error}", path.display());
                        findings.push(Finding::error(text).at(place.clone()).hint(&*way_out));
                    }
                }
            }
            materials.components.push(Part { component, version, files });
        }
        materials.images = references(images);
        let mut images = Images::new();
        for name in &output.addons {
            let path = directory.join(ADDONS).join(&name.value);
            let own = format!("put its manifests into {}", path.display());
            let way_out = if known::of(&name.value).is_some() { &way_out } else { &own };
            let before = findings.len();
            let addon = Addon::read(&name.value, &name.place, &[(path, &name.place)], way_out, findings);
            if findings.len() > before {
                continue;
            }
            findings.extend(network_of(&addon, output, recipe));
            addon.add_images(&mut images, findings);
            let objects: Vec<_> = addon.documents.iter().map(|document| document.value.clone()).collect();
            match split(&objects) {
                Ok(groups) => materials.addons.push((name.value.clone(), groups)),
                Err((number, length)) => {
                    let identity = addon.documents.get(number).map(|document| document.identity());
                    let text = format!(
                        "{} of {} has {length} bytes, and an object for it may have {MAX_OBJECT}",
                        identity.unwrap_or_default(),
                        name.value
                    );
                    let hint = "leave the add-on out, and apply it with `kubectl apply --server-side`";
                    findings.push(Finding::error(text).at(name.place.clone()).hint(hint));
                }
            }
        }
        materials.node_images = references(images);
        materials
    }
}

/// flannel with another network than the pods'.
fn network_of(addon: &Addon, output: &Capi, recipe: &Recipe) -> Option<Finding> {
    let wanted = output.pods();
    let (document, network) = flannel::other_network(addon, &wanted)?;
    let text = format!("flannel's network is {network}, and the pods of the output `capi` have {wanted}");
    let hint = format!(
        "write `pods: {network}`, or vendor it anew: `prebake capi vendor {}` writes the pods' network into flannel's manifest",
        recipe.source.name
    );
    Some(Finding::error(text).at(document.place.clone()).hint(hint))
}

/// The references of images; each was parsed when it was added.
fn references(images: Images) -> Vec<ImageRef> {
    images.into_keys().filter_map(|name| name.parse().ok()).collect()
}
