//! The last check before a tree is published: judges together everything that is on one machine.
//!
//! Collisions and missing partners show only between sysexts, so no single step can find them. The store remembers
//! verdicts by the keys of the sysexts' steps, so a build that changes nothing opens no image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::bake::boot::BootWish;
use crate::bake::extensions::Selected;
use crate::bake::lock_ids::{component_id, stock_id};
use crate::bake::plan::Plan;
use crate::bake::project::Project;
use crate::bake::{compile, recipe, steps};
use crate::base::arch::Arch;
use crate::base::canonical::canonical_json;
use crate::base::digest::Sha256;
use crate::base::disk;
use crate::base::error::Result;
use crate::base::finding::{Finding, Findings, Severity};
use crate::flatcar::board::INITRD;
use crate::flatcar::version::Version;
use crate::source::input::Entry;
use crate::store::Store;
use crate::sysext::base::Base;
use crate::sysext::extension::Extension;
use crate::sysext::image;
use crate::sysext::lint::{Gap, Verdict};
use crate::sysext::merge::{Merge, NodeConfig};
use crate::sysext::rules::{self, Breach};
use crate::tree::lock::Lock;

/// A finding as the store remembers it; images have no source positions.
#[derive(Serialize, Deserialize)]
struct Told {
    message: String,
    path: Option<String>,
    hint: Option<String>,
}

/// Judges the sysexts of every boot together, from their images in the store.
///
/// # Errors
/// Faults that break a node. Warnings are returned, each once.
pub(crate) fn boots(store: &Store, version: Version, plan: &Plan<'_>) -> Result<Vec<Finding>> {
    let base = Base::well_known();
    let mut findings: Vec<Finding> = Vec::new();
    let mut seen = BTreeSet::new();
    for (_, ignition, sysexts) in of_boots(plan) {
        let config = NodeConfig::of_ignition(ignition);
        let params = json!({
            "kind": "verdict", "revision": rules::REVISION, "release": version.to_string(), "sysexts": sysexts, "config": config,
        });
        let key = Sha256::of(&canonical_json(&params));
        if sysexts.is_empty() || !seen.insert(key) {
            continue;
        }
        if let Some(told) = noted::<Vec<Told>>(store, &key) {
            findings.extend(told.into_iter().map(Told::warning));
            continue;
        }
        let mut extensions = Vec::new();
        for (name, step) in sysexts {
            extensions.extend(built(store, name, step)?);
        }
        let mut merge = Merge::new(&extensions, &base);
        (merge.config, merge.release) = (Some(&config), Some(version));
        let found: Vec<Finding> = rules::judge(&merge)?.iter().map(Breach::finding).collect();
        if found.iter().all(|finding| finding.severity == Severity::Warning) {
            let told: Vec<Told> = found.iter().map(Told::of).collect();
            store.keep_note(&key, &canonical_json(&told))?;
        }
        findings.extend(found);
    }
    let mut once = BTreeSet::new();
    findings.retain(|finding| once.insert(finding.to_string()));
    Ok(Findings::settle(findings, ())?.1)
}

/// Every boot with its config and the steps of its sysexts by name, for sysexts in its overlay or in its config.
fn of_boots<'p>(
    plan: &'p Plan<'_>,
) -> impl Iterator<Item = (&'p BootWish, &'p [u8], &'p BTreeMap<String, Sha256>)> {
    plan.steps.iter().filter_map(|step| {
        let (boot, config) = step.work.merges()?;
        Some((boot, config, &step.needs))
    })
}

/// The image that a step made, under the name of its link on the node; `None` if it is not built.
fn built(store: &Store, name: &str, step: &Sha256) -> Result<Option<Extension>> {
    let Some(object) = steps::made(store, step) else { return Ok(None) };
    Ok(Some(Extension::open(&store.path(&object.sha256))?.named(name)))
}

fn noted<T: DeserializeOwned>(store: &Store, key: &Sha256) -> Option<T> {
    serde_json::from_slice(&store.note(key)?).ok()
}

impl Told {
    fn of(finding: &Finding) -> Self {
        Told { message: finding.message.clone(), path: finding.path.clone(), hint: finding.hint.clone() }
    }

    fn warning(self) -> Finding {
        Finding { path: self.path, hint: self.hint, ..Finding::warning(self.message) }
    }
}

/// Judges the sysexts of every boot of a recipe without building it: from the built image, else from the fetched
/// components, else from the sysext's folder. Sysexts that cannot be judged are listed beside the faults. Each verdict's
/// subject is a boot's id.
pub(crate) fn recipe(project: &Project, store: &Store, base: Option<&Base>) -> Result<Vec<Verdict>> {
    let Project { recipe, outputs, sysexts, .. } = project;
    let needs = project.needs()?;
    let (version, _) = project.wants(&needs);
    let well_known = Base::well_known();
    let without_base = base.is_none().then(|| {
        let release = version.map_or("the release".into(), |version| format!("Flatcar {version}"));
        let why = "its initrd is not in the store (`prebake fetch`)";
        Gap::new(format!("the content of /usr in {release}"), why)
    });
    let base = base.unwrap_or(&well_known);
    let mut verdicts = Vec::new();
    let mut judge = |id: String, extensions: &[Extension], config: Option<&NodeConfig>, gaps: Vec<Gap>| {
        let mut merge = Merge::new(extensions, base);
        (merge.config, merge.release) = (config, version);
        let gaps = gaps.into_iter().chain(without_base.clone()).collect();
        verdicts.push(Verdict { subject: id, breaches: rules::judge(&merge)?, gaps });
        Ok::<(), crate::base::error::Error>(())
    };
    let selected = |name: &str, arch: Arch| {
        let meant =
            |sysext: &&Selected| sysext.booted && sysext.arch == arch && sysext.description.name == name;
        sysexts.iter().find(meant)
    };
    // Without a lock the config cannot be compiled, and no step has a key.
    let (Some(lock), Some(version)) = (&project.lock, version) else {
        for (id, profile) in &recipe.profiles {
            let names =
                recipe.sysexts_of(profile).into_iter().map(|sysext| recipe::name_of(&sysext.name.value));
            let first = names.filter_map(|name| selected(name, *recipe.release.archs.first()?));
            let outlines = first.map(outline).collect::<Result<Vec<_>>>()?;
            let why = "the recipe has no lock (`prebake lock`)";
            let mut gaps = vec![Gap::new("the config", why)];
            gaps.extend(unfetched(&outlines).map(|name| Gap::new(name, why)));
            judge(id.clone(), &outlines, None, gaps)?;
        }
        return Ok(verdicts);
    };
    let packaging = recipe.packaging.load(SystemTime::now())?;
    let boots = compile::compile(recipe, outputs, version, sysexts, &packaging, &lock.ssh_keys, &[])?.boots;
    let plan = Plan::new(lock, recipe, outputs, sysexts, &packaging, &needs, &boots)?;
    let spool = store.spool()?;
    for (index, (boot, ignition, of_boot)) in of_boots(&plan).enumerate() {
        let (mut extensions, mut gaps) = (Vec::new(), Vec::new());
        for (name, step) in of_boot {
            if let Some(image) = built(store, name, step)? {
                extensions.push(image);
                continue;
            }
            let Some(sysext) = selected(name, boot.arch) else {
                gaps.push(Gap::new(
                    name,
                    "it is made of container images, and not built yet (`prebake build`)",
                ));
                continue;
            };
            let room = spool.path().join(index.to_string()).join(name);
            match fetched(sysext, lock, store, &room)? {
                Some(whole) => extensions.push(whole),
                None => {
                    gaps.push(Gap::new(name, "it is not in the store (`prebake fetch`)"));
                    extensions.push(outline(sysext)?);
                }
            }
        }
        judge(boot.id.clone(), &extensions, Some(&NodeConfig::of_ignition(ignition)), gaps)?;
    }
    Ok(verdicts)
}

/// Names of extensions that will have more files than are known now.
fn unfetched(extensions: &[Extension]) -> impl Iterator<Item = &str> {
    extensions.iter().filter(|extension| !extension.unknown.is_empty()).map(Extension::name)
}

/// A sysext as it will be built, if all its components are in the store. Archives are unpacked into `room`.
fn fetched(sysext: &Selected, lock: &Lock, store: &Store, room: &Path) -> Result<Option<Extension>> {
    let mut files = BTreeMap::new();
    for component in &sysext.components {
        let entry = lock.inputs.get(&component_id(sysext, &component.name));
        let Some(object) = entry.map(Entry::object).filter(|object| store.has(object)) else {
            return Ok(None);
        };
        files.insert(component.name.clone(), store.path(&object.sha256));
    }
    fs::create_dir_all(room).map_err(disk::Error::io("create", room))?;
    let Selected { description, arch, variables, .. } = sysext;
    let tree = image::tree(description, *arch, variables, &files, room)?;
    Ok(Some(Extension::of_tree(&description.name, &tree)))
}

/// A sysext as far as it is known before its components are fetched.
fn outline(sysext: &Selected) -> Result<Extension> {
    let Selected { description, arch, variables, .. } = sysext;
    let (tree, unknown) = image::outline(description, *arch, variables)?;
    Ok(Extension::of_tree(&description.name, &tree).with_unknown(unknown))
}

/// The content of `/usr` in a recipe's release, from its stock initrd if the store has it; read once and remembered.
pub(crate) fn base_of(project: &Project, store: &Store) -> Result<Option<Base>> {
    let Some(lock) = &project.lock else { return Ok(None) };
    let initrd = project.boards.iter().find_map(|board| {
        let id = stock_id(board.arch, INITRD);
        lock.inputs.get(&id).map(|entry| entry.object()).filter(|object| store.has(object))
    });
    let Some(initrd) = initrd else { return Ok(None) };
    let key = Sha256::of(&canonical_json(
        &json!({"kind": "base", "revision": rules::REVISION, "initrd": initrd.sha256}),
    ));
    if let Some(base) = noted(store, &key) {
        return Ok(Some(base));
    }
    let spool = store.spool()?;
    let path = store.path(&initrd.sha256);
    // An unreadable file in a signed initrd is no fault of the recipe; fall back to the built-in table.
    let Ok(base) = Base::open(&path, spool.path()) else { return Ok(None) };
    store.keep_note(&key, &canonical_json(&base))?;
    Ok(Some(base))
}
