//! The last look before a tree is published: what lies together on each machine is judged together.
//!
//! Collisions and missing partners only show between sysexts, so no single step can find them. Verdicts are remembered in
//! the store by the keys of the sysexts' steps, so that a build that changes nothing opens no image.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::build::Project;
use crate::compile;
use crate::digest::Sha256;
use crate::error::Result;
use crate::plan::{BootWish, Plan, Step};
use crate::recipe::Version;
use crate::report::{Finding, Findings, Severity};
use crate::repro::canonical_json;
use crate::run;
use crate::store::Store;
use crate::sysext::base::Base;
use crate::sysext::extension::Extension;
use crate::sysext::image;
use crate::sysext::merge::{Merge, NodeConfig};
use crate::sysext::rules::{self, Breach};
use crate::sysexts::Selected;

/// The one output of a verdict.
const OUTPUT: &str = "verdict";

/// A finding as the store remembers it; images have no places to point at.
#[derive(Serialize, Deserialize)]
struct Told {
    message: String,
    path: Option<String>,
    hint: Option<String>,
}

/// Judges the sysexts of every boot together, from their images in the store.
///
/// # Errors
/// What breaks a node. Warnings come back, each once.
pub fn boots(
    store: &Store,
    version: Version,
    sysexts: &[Selected],
    steps: &[Step],
    boots: &[BootWish],
) -> Result<Vec<Finding>> {
    let base = Base::well_known();
    let mut findings: Vec<Finding> = Vec::new();
    let mut seen = BTreeSet::new();
    for boot in boots {
        let images: Vec<(&Selected, &Step)> = of_boot(sysexts, steps, boot).collect();
        let config = NodeConfig::of_ignition(&boot.ignition);
        let keys: BTreeMap<&str, Sha256> =
            images.iter().map(|(sysext, step)| (sysext.description.name.as_str(), step.key)).collect();
        let params = json!({
            "kind": "verdict", "revision": rules::REVISION, "release": version.to_string(), "sysexts": keys, "config": config,
        });
        let key = Sha256::of(&canonical_json(&params));
        if images.is_empty() || !seen.insert(key) {
            continue;
        }
        if let Some(told) = remembered(store, &key) {
            findings.extend(told.into_iter().map(Told::warning));
            continue;
        }
        let mut extensions = Vec::new();
        for (sysext, step) in images {
            extensions.extend(built(store, sysext, step)?);
        }
        let mut merge = Merge::new(&extensions, &base);
        (merge.config, merge.release) = (Some(&config), Some(version));
        let found: Vec<Finding> = rules::judge(&merge)?.iter().map(Breach::finding).collect();
        if found.iter().all(|finding| finding.severity == Severity::Warning) {
            let told: Vec<Told> = found.iter().map(Told::of).collect();
            let object = store.put(&canonical_json(&told))?;
            store.record_step(&key, &BTreeMap::from([(OUTPUT.to_owned(), object)]))?;
        }
        findings.extend(found);
    }
    let mut once = BTreeSet::new();
    findings.retain(|finding| once.insert(finding.to_string()));
    Ok(Findings::settle(findings, ())?.1)
}

/// The sysexts of a boot with their steps.
fn of_boot<'b>(
    sysexts: &'b [Selected],
    steps: &'b [Step],
    boot: &'b BootWish,
) -> impl Iterator<Item = (&'b Selected, &'b Step)> {
    let meant = |(sysext, _): &(&Selected, &Step)| {
        sysext.booted && sysext.arch == boot.arch && boot.sysexts.contains(&sysext.description.name)
    };
    sysexts.iter().zip(steps).filter(meant)
}

/// The image that a step made, under the name of its link on the node; nothing if it is not built.
fn built(store: &Store, sysext: &Selected, step: &Step) -> Result<Option<Extension>> {
    let Some(object) = run::made(store, &step.key) else { return Ok(None) };
    Ok(Some(Extension::open(&store.path(&object.sha256))?.named(&sysext.description.name)))
}

fn remembered(store: &Store, key: &Sha256) -> Option<Vec<Told>> {
    let object = store.step(key)?.get(OUTPUT).copied()?;
    serde_json::from_slice(&std::fs::read(store.path(&object.sha256)).ok()?).ok()
}

impl Told {
    fn of(finding: &Finding) -> Self {
        Told { message: finding.message.clone(), path: finding.path.clone(), hint: finding.hint.clone() }
    }

    fn warning(self) -> Finding {
        Finding { path: self.path, hint: self.hint, ..Finding::warning(self.message) }
    }
}

/// Judges the sysexts of every boot of a recipe without building it: by what is built already, else by their folders.
/// Each boot's id comes with what is wrong there.
pub fn recipe(project: &Project, store: &Store, base: Option<&Base>) -> Result<Vec<(String, Vec<Breach>)>> {
    let Project { recipe, sysexts, .. } = project;
    let (version, _) = project.wants();
    let well_known = Base::well_known();
    let base = base.unwrap_or(&well_known);
    // Without a lock the config cannot be compiled, and no step has a key.
    let known = match (&project.lock, version) {
        (Some(lock), Some(version)) => {
            let boots = compile::compile(recipe, version, sysexts, &lock.ssh_keys, &[])?.boots;
            let steps = Plan::new(lock, recipe, sysexts, &boots)?.steps;
            Some((boots, steps))
        }
        _ => None,
    };
    let mut verdicts = Vec::new();
    let mut judge = |id: String, extensions: &[Extension], config: Option<&NodeConfig>| -> Result<()> {
        let mut merge = Merge::new(extensions, base);
        (merge.config, merge.release) = (config, version);
        verdicts.push((id, rules::judge(&merge)?));
        Ok(())
    };
    match &known {
        Some((boots, steps)) => {
            for boot in boots {
                let config = NodeConfig::of_ignition(&boot.ignition);
                let mut extensions = Vec::new();
                for (sysext, step) in of_boot(sysexts, steps, boot) {
                    extensions.push(match built(store, sysext, step)? {
                        Some(image) => image,
                        None => outline(sysext)?,
                    });
                }
                judge(boot.id.clone(), &extensions, Some(&config))?;
            }
        }
        None => {
            for (id, profile) in &recipe.profiles {
                let names: BTreeSet<&str> = recipe
                    .sysexts_of(profile)
                    .into_iter()
                    .map(|name| crate::sysexts::name_of(&name.value))
                    .collect();
                let arch = recipe.release.archs.first();
                let of_profile = sysexts.iter().filter(|sysext| {
                    sysext.booted && Some(&sysext.arch) == arch && names.contains(sysext.description.name.as_str())
                });
                let extensions = of_profile.map(outline).collect::<Result<Vec<_>>>()?;
                judge(id.clone(), &extensions, None)?;
            }
        }
    }
    Ok(verdicts)
}

/// A sysext as far as it is known before its components are fetched.
fn outline(sysext: &Selected) -> Result<Extension> {
    let Selected { description, arch, variables, .. } = sysext;
    let (tree, unknown) = image::outline(description, *arch, variables)?;
    Ok(Extension::of_tree(&description.name, &tree).with_unknown(unknown))
}

/// What the release of a recipe has in `/usr`, from its stock initrd if the store has it; read once and remembered.
pub fn base_of(project: &Project, store: &Store) -> Result<Option<Base>> {
    let Some(lock) = &project.lock else { return Ok(None) };
    let initrd = project.boards.iter().find_map(|board| {
        let id = crate::resolve::stock_id(board.arch, crate::source::flatcar::INITRD);
        lock.inputs.get(&id).map(|entry| entry.object()).filter(|object| store.has(object))
    });
    let Some(initrd) = initrd else { return Ok(None) };
    let key = Sha256::of(&canonical_json(&json!({"kind": "base", "revision": rules::REVISION, "initrd": initrd.sha256})));
    let remembered = store.step(&key).and_then(|outputs| {
        let object = outputs.get(OUTPUT)?;
        serde_json::from_slice(&std::fs::read(store.path(&object.sha256)).ok()?).ok()
    });
    if let Some(base) = remembered {
        return Ok(Some(base));
    }
    let spool = store.spool()?;
    let path = store.path(&initrd.sha256);
    // What is in a signed file and cannot be read is no fault of the recipe; the table serves then.
    let Ok(base) = Base::open(&path, spool.path()) else { return Ok(None) };
    let object = store.put(&canonical_json(&base))?;
    store.record_step(&key, &BTreeMap::from([(OUTPUT.to_owned(), object)]))?;
    Ok(Some(base))
}
