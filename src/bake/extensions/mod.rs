//! The sysexts that a recipe uses: found by name, with their variables filled in.
//!
//! A name is looked up as `sysext/NAME` beside the recipe and in the directories above it; anything with a slash is a
//! path relative to the recipe. Leaves the values that a recipe sets for each to `settings`.

mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use self::settings::Settings;
use crate::bake::recipe::{Recipe, Sysext, name_of};
use crate::base::arch::Arch;
use crate::base::error::{Advice, Result};
use crate::base::finding::{Finding, Findings, meant};
use crate::base::yaml::decode::Spanned;
use crate::sysext::description::{self, Component, Description, FILE_NAME};
use crate::sysext::folder::{Folder, is_sysext, shelves};
use crate::sysext::template::Variables;
use crate::tree::lock;

/// The sysext whose version a recipe's `kubernetes:` sets.
const KUBERNETES: &str = "kubernetes";

/// Versions of a sysext that are published beside the one that profiles boot, for nodes to update to or back from.
#[derive(Debug)]
pub struct Published {
    /// The sysext's name.
    pub name: Spanned<String>,
    /// The versions.
    pub versions: Vec<Spanned<String>>,
}

/// A sysext as one recipe uses it on one architecture.
#[derive(Debug)]
pub struct Selected {
    /// Architecture of the machines it is for.
    pub arch: Arch,
    /// Whether profiles boot it; if not, this version is only published for nodes to update to, or to go back to.
    pub booted: bool,
    /// Its folder.
    pub folder: Folder,
    /// Its folder's contents.
    pub description: Description,
    /// Values for its templates.
    pub variables: Variables,
    /// The components to fetch for it.
    pub components: Vec<Component>,
    /// Source of the tag of Kubernetes' pause image, if it has such a variable.
    pub pause: PauseFrom,
}

/// Source of the tag of Kubernetes' pause image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseFrom {
    /// The sysext's description, or the recipe.
    Written,
    /// kubeadm's source, as the lock remembers it.
    Kubeadm,
    /// kubeadm's source, which has to be read first. Until then the variable has a value that must not be used.
    Open,
}

impl Selected {
    /// Its name in ids of inputs and steps: with its version if no profile boots it.
    pub(crate) fn id(&self) -> String {
        match self.booted {
            true => self.description.name.clone(),
            false => format!("{}@{}", self.description.name, self.version()),
        }
    }

    /// The version that is built.
    pub(crate) fn version(&self) -> &str {
        self.variables.get("version").unwrap_or(&self.description.version)
    }
}

/// A sysext that a recipe names, with its folder.
struct Found<'r> {
    wish: &'r Sysext,
    folder: Folder,
    description: Description,
}

/// Loads every sysext that a recipe names, each once for each architecture, sorted by name. `published` is what its outputs
/// publish beside them, `kubeadm` what the lock has of kubeadm's source.
///
/// # Errors
/// A finding for each name that leads nowhere and each value that does not fit, or the faults of a description.
pub fn load(
    recipe: &Recipe,
    published: &[&Published],
    kubeadm: Option<&lock::Kubeadm>,
) -> Result<Vec<Selected>> {
    let mut findings = contradictions(recipe);
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for wish in recipe.profiles.values().flat_map(|profile| recipe.sysexts_of(profile)) {
        let Some(folder) = find(&recipe.directory, &wish.name) else {
            findings.push(unknown(&recipe.directory, &wish.name));
            continue;
        };
        let description = folder.load()?;
        match found.get(&description.name) {
            Some(first) if first.folder != folder => {
                let name = &description.name;
                let text = format!("two folders are called `{name}`: {} and {folder}", first.folder);
                findings.push(Finding::error(text).at(wish.name.place.clone()));
            }
            Some(_) => {}
            None => {
                found.insert(description.name.clone(), Found { wish, folder, description });
            }
        }
    }
    if let (Some(kubernetes), false) = (&recipe.kubernetes, found.contains_key(KUBERNETES)) {
        let finding = Finding::error("`kubernetes:` sets the version of a sysext that no profile has");
        findings.push(finding.at(kubernetes.version.place.clone()).hint("add `kubernetes` to `sysexts:`"));
    }
    for Published { name, .. } in published {
        if !found.contains_key(&name.value) {
            let finding = Finding::error(format!("no profile has a sysext `{}`", name.value));
            findings.push(finding.at(name.place.clone()));
        }
    }
    let settings = Settings::new(recipe, found.get(KUBERNETES), kubeadm);
    let mut selected = Vec::new();
    for sysext in found.values() {
        match settings.of(sysext) {
            Ok((overrides, pause)) => {
                let versions = versions(recipe, published, sysext, overrides, &mut findings);
                selected.extend(versions.into_iter().map(|one| Selected { pause, ..one }));
            }
            Err(finding) => findings.push(finding),
        }
    }
    Findings::settle(findings, ())?;
    Ok(selected)
}

/// The version of a sysext that profiles boot, then the versions that are only published, each for all architectures.
fn versions(
    recipe: &Recipe,
    published: &[&Published],
    sysext: &Found,
    mut overrides: BTreeMap<String, String>,
    findings: &mut Vec<Finding>,
) -> Vec<Selected> {
    let Found { wish, folder, description } = sysext;
    let mut selected = Vec::new();
    let mut seen = BTreeSet::new();
    let others = published.iter().filter(|others| others.name.value == description.name);
    let others = others.flat_map(|others| &others.versions);
    for published in std::iter::once(None).chain(others.map(Some)) {
        overrides.extend(published.map(|version| ("version".to_owned(), version.value.clone())));
        let version = overrides.get("version").unwrap_or(&description.version).clone();
        if let (false, Some(published)) = (seen.insert(version), published) {
            let finding = Finding::error(format!("{} is published already", published.value));
            let finding = finding.at(published.place.clone());
            findings.push(finding.hint("list only versions that no profile boots, each once"));
            continue;
        }
        for arch in recipe.release.archs.iter().copied() {
            let finding = match select(folder, description, arch, &overrides, published.is_none()) {
                Ok(one) => {
                    selected.push(one);
                    continue;
                }
                Err(error) => refused(&error, wish, published),
            };
            // Most faults are the same on every architecture; record each once.
            if !findings.iter().any(|known| known.message == finding.message) {
                findings.push(finding);
            }
        }
    }
    selected
}

/// A sysext for one architecture, with these values for its variables.
pub(crate) fn select(
    folder: &Folder,
    description: &Description,
    arch: Arch,
    overrides: &BTreeMap<String, String>,
    booted: bool,
) -> Result<Selected, description::Error> {
    let variables = description.variables(arch, overrides)?;
    let components = description.components(arch, &variables)?;
    let (folder, description, pause) = (folder.clone(), description.clone(), PauseFrom::Written);
    Ok(Selected { arch, booted, folder, description, variables, components, pause })
}

/// Only one image of each name is built, so two entries for it must set the same values.
fn contradictions(recipe: &Recipe) -> Vec<Finding> {
    let mut firsts: BTreeMap<&str, &Sysext> = BTreeMap::new();
    let mut findings = Vec::new();
    let profiles = recipe.profiles.values().flat_map(|profile| &profile.sysexts);
    for sysext in recipe.sysexts.iter().chain(profiles) {
        let name = name_of(&sysext.name);
        let first = firsts.entry(name).or_insert(sysext);
        if first.values() != sysext.values() {
            let finding = Finding::error(format!(
                "`{name}` is configured in two ways, but there is only one image of it"
            ));
            let finding = finding.at(sysext.name.place.clone());
            findings.push(finding.related(first.name.place.clone(), "first named here"));
        }
    }
    findings
}

/// A description's error as a finding in the recipe, at the part that caused it: a version to publish, a value that is
/// set, or the sysext's name.
fn refused(error: &description::Error, wish: &Sysext, published: Option<&Spanned<String>>) -> Finding {
    let set = match error {
        description::Error::Variable { variable, .. } | description::Error::Value { variable, .. } => {
            wish.set.get(variable)
        }
        _ => None,
    };
    let place = published.or(set).unwrap_or(&wish.name).place.clone();
    let finding = Finding::error(error.to_string()).at(place);
    match error.hint() {
        Some(hint) => finding.hint(hint),
        None => finding,
    }
}

fn find(directory: &Path, name: &Spanned<String>) -> Option<Folder> {
    if name.value.contains('/') {
        return Some(directory.join(&name.value)).filter(|path| is_sysext(path)).map(Folder::Disk);
    }
    Folder::find(&name.value, &shelves(directory))
}

fn unknown(directory: &Path, name: &Spanned<String>) -> Finding {
    let finding = Finding::error(format!("there is no sysext `{}`", name.value)).at(name.place.clone());
    if name.value.contains('/') {
        return finding.hint(format!("no {FILE_NAME} in {}", directory.join(&name.value).display()));
    }
    let names = Folder::names(&shelves(directory));
    finding.hint(meant(&name.value, names.iter().map(String::as_str), "known: "))
}
