//! The sysexts that a recipe uses: found by name, with their variables filled in.
//!
//! A name is looked up as `sysext/NAME` beside the recipe and in the directories above it; anything with a slash is a
//! path relative to the recipe. Owns the order of what sets a variable: the folder's own value, the Kubernetes version
//! that the recipe names and its pause image, then what the recipe sets for this one sysext.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::error::{Advice, Result};
use crate::recipe::{Recipe, Sysext};
use crate::report::{Finding, Findings, Place, nearest};
use crate::sysext::description::{self, Component, Description, FILE_NAME};
use crate::sysext::template::Variables;
use crate::yaml::decode::Spanned;

/// The sysext whose version a recipe's `kubernetes:` sets.
const KUBERNETES: &str = "kubernetes";
/// The variable that Kubernetes decides for all.
const PAUSE: &str = "pause";

/// A sysext as one recipe uses it on one architecture.
#[derive(Debug)]
pub struct Selected {
    /// For which machines.
    pub arch: Arch,
    /// Whether profiles boot it; if not, this version is only published for nodes to update to or back from.
    pub booted: bool,
    /// Its folder's contents.
    pub description: Description,
    /// Values for its templates.
    pub variables: Variables,
    /// What is to be fetched for it.
    pub components: Vec<Component>,
}

impl Selected {
    /// What ids of inputs and steps call it: its name, with its version if no profile boots it.
    pub fn id(&self) -> String {
        match self.booted {
            true => self.description.name.clone(),
            false => format!("{}@{}", self.description.name, self.version()),
        }
    }

    /// The version it is built at.
    pub fn version(&self) -> &str {
        self.variables.get("version").unwrap_or(&self.description.version)
    }
}

/// A sysext that a recipe names, with its folder.
struct Found<'r> {
    wish: &'r Sysext,
    directory: PathBuf,
    description: Description,
}

/// Loads every sysext that a recipe names, each once for each architecture, sorted by name.
///
/// # Errors
/// A finding for each name that leads nowhere and each value that does not fit, or the faults of a description.
pub fn load(recipe: &Recipe) -> Result<Vec<Selected>> {
    let mut findings = contradictions(recipe);
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for wish in recipe.profiles.values().flat_map(|profile| recipe.sysexts_of(profile)) {
        let Some(directory) = find(&recipe.directory, &wish.name) else {
            findings.push(unknown(&recipe.directory, &wish.name));
            continue;
        };
        let description = Description::load(&directory)?;
        match found.get(&description.name) {
            Some(first) if first.directory != directory => {
                let (name, first, second) =
                    (&description.name, first.directory.display(), directory.display());
                let text = format!("two folders are called `{name}`: {first} and {second}");
                findings.push(Finding::error(text).at(wish.name.place.clone()));
            }
            _ => {
                found.insert(description.name.clone(), Found { wish, directory, description });
            }
        }
    }
    if let (Some(kubernetes), false) = (&recipe.kubernetes, found.contains_key(KUBERNETES)) {
        let finding = Finding::error("`kubernetes:` sets the version of a sysext that no profile has");
        findings.push(finding.at(kubernetes.version.place.clone()).hint("add `kubernetes` to `sysexts:`"));
    }
    let settings = Settings::new(recipe, found.get(KUBERNETES));
    let mut selected = Vec::new();
    for sysext in found.values() {
        let mut overrides = match settings.of(sysext) {
            Ok(overrides) => overrides,
            Err(finding) => {
                findings.push(finding);
                continue;
            }
        };
        let mut published = BTreeSet::new();
        let versions = [None].into_iter().chain(published_only(recipe, &sysext.description.name).map(Some));
        for version in versions {
            overrides.extend(version.map(|version| ("version".to_owned(), version.value.clone())));
            let at_fault = |error| match version {
                Some(version) => refused_at(&error, &version.place),
                None => refused(&error, sysext.wish),
            };
            for arch in recipe.release.archs.iter().copied() {
                match select(&sysext.description, arch, &overrides, version.is_none()) {
                    Ok(one) => selected.push(one),
                    Err(error) => findings.push(at_fault(error)),
                }
            }
            let built = overrides.get("version").unwrap_or(&sysext.description.version).clone();
            if let (Some(version), false) = (version, published.insert(built)) {
                let finding = Finding::error(format!("{} is published already", version.value));
                findings.push(
                    finding.at(version.place.clone()).hint("list only what no profile boots, each once"),
                );
            }
        }
    }
    for (name, _) in recipe.sysupdate.iter().flat_map(|sysupdate| &sysupdate.versions) {
        if !found.contains_key(&name.value) {
            let finding = Finding::error(format!("no profile has a sysext `{}`", name.value));
            findings.push(finding.at(name.place.clone()));
        }
    }
    Findings::settle(findings, ())?;
    Ok(selected)
}

fn select(
    description: &Description,
    arch: Arch,
    overrides: &BTreeMap<String, String>,
    booted: bool,
) -> Result<Selected, description::Error> {
    let variables = description.variables(arch, overrides)?;
    let components = description.components(arch, &variables)?;
    Ok(Selected { arch, booted, description: description.clone(), variables, components })
}

/// Versions of a sysext that the recipe publishes for systemd-sysupdate beside the one that profiles boot.
fn published_only<'r>(recipe: &'r Recipe, name: &'r str) -> impl Iterator<Item = &'r Spanned<String>> {
    let lists = recipe.sysupdate.iter().flat_map(|sysupdate| &sysupdate.versions);
    lists.filter(move |(sysext, _)| sysext.value == name).flat_map(|(_, versions)| versions)
}

/// One image of each name is built, so that two entries for it must set the same.
fn contradictions(recipe: &Recipe) -> Vec<Finding> {
    let mut firsts: BTreeMap<&str, &Sysext> = BTreeMap::new();
    let mut findings = Vec::new();
    let profiles = recipe.profiles.values().flat_map(|profile| &profile.sysexts);
    for sysext in recipe.sysexts.iter().chain(profiles) {
        let name = name_of(&sysext.name);
        let first = firsts.entry(name).or_insert(sysext);
        if first.values() != sysext.values() {
            let finding =
                Finding::error(format!("`{name}` is set up in two ways, but there is one image of it"));
            let finding = finding.at(sysext.name.place.clone());
            findings.push(finding.related(first.name.place.clone(), "first named here"));
        }
    }
    findings
}

/// What a recipe sets for its sysexts.
struct Settings<'r> {
    kubernetes: Option<&'r Spanned<String>>,
    /// The pause image's tag that kubeadm wants at this version, for every sysext with a variable of that name:
    /// kubeadm and containerd must agree on it, or a node without a registry can start no pod.
    pause: Option<Result<String, String>>,
}

impl<'r> Settings<'r> {
    fn new(recipe: &'r Recipe, sysext: Option<&Found>) -> Self {
        let mut settings =
            Settings { kubernetes: recipe.kubernetes.as_ref().map(|k| &k.version), pause: None };
        let Some(sysext) =
            sysext.filter(|sysext| sysext.description.values.names().any(|name| name == PAUSE))
        else {
            return settings;
        };
        // What is wrong with its own settings is told when its turn comes.
        let arch = recipe.release.archs.first().copied().unwrap_or(Arch::Amd64);
        let variables = settings.of(sysext).ok();
        let variables = variables.and_then(|overrides| sysext.description.variables(arch, &overrides).ok());
        settings.pause = variables.map(|variables| {
            let version = variables.get("version").unwrap_or_default();
            variables.get(PAUSE).map(str::to_owned).ok_or_else(|| version.to_owned())
        });
        settings
    }

    fn of(&self, sysext: &Found) -> Result<BTreeMap<String, String>, Finding> {
        let Found { wish, description, .. } = sysext;
        let mut overrides = wish.values();
        let name = description.name.as_str();
        if let (Some(version), KUBERNETES) = (self.kubernetes, name) {
            if let Some(other) = wish.set.get("version").filter(|other| other.value != version.value) {
                let text = format!("`kubernetes:` sets version {} of this sysext", version.value);
                let finding = Finding::error(text).at(other.place.clone());
                return Err(finding.related(version.place.clone(), "here"));
            }
            overrides.insert("version".to_owned(), version.value.clone());
        }
        let wanted = description.values.names().any(|name| name == PAUSE) && !overrides.contains_key(PAUSE);
        match &self.pause {
            Some(Ok(tag)) if wanted && name != KUBERNETES => {
                overrides.insert(PAUSE.to_owned(), tag.clone());
            }
            Some(Err(version)) if wanted && name != KUBERNETES => {
                let text = format!(
                    "`{name}` needs the tag of Kubernetes {version}'s pause image, which is not known"
                );
                let hint = format!(
                    "`kubeadm config images list --kubernetes-version {version}` says it: write it as \
                     `{{name: {name}, set: {{pause: TAG}}}}`, or into `versions:` of sysext/kubernetes"
                );
                return Err(Finding::error(text).at(wish.name.place.clone()).hint(hint));
            }
            _ => {}
        }
        Ok(overrides)
    }
}

/// A description's error as a finding in the recipe that set the value.
fn refused(error: &description::Error, wish: &Sysext) -> Finding {
    let at_fault = match error {
        description::Error::Variable { variable, .. } | description::Error::Value { variable, .. } => {
            wish.set.get(variable)
        }
        _ => None,
    };
    refused_at(error, &at_fault.unwrap_or(&wish.name).place)
}

fn refused_at(error: &description::Error, place: &Place) -> Finding {
    let finding = Finding::error(error.to_string()).at(place.clone());
    match error.hint() {
        Some(hint) => finding.hint(hint),
        None => finding,
    }
}

/// The name under which a sysext is known in a profile, given how the recipe spells it.
pub fn name_of(spelling: &str) -> &str {
    spelling.trim_end_matches('/').rsplit('/').next().unwrap_or(spelling)
}

fn find(directory: &Path, name: &Spanned<String>) -> Option<PathBuf> {
    let is_sysext = |path: &PathBuf| path.join(FILE_NAME).is_file();
    if name.value.contains('/') {
        return Some(directory.join(&name.value)).filter(is_sysext);
    }
    shelves(directory).into_iter().map(|shelf| shelf.join(&name.value)).find(is_sysext)
}

/// `sysext/` beside the recipe and in every directory above it.
pub fn shelves(directory: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(directory.join(".")).unwrap_or_else(|_| directory.to_owned());
    absolute.ancestors().map(|above| above.join("sysext")).filter(|shelf| shelf.is_dir()).collect()
}

/// What lies on these shelves, sorted.
pub fn names(shelves: &[PathBuf]) -> Vec<String> {
    let entries = shelves.iter().filter_map(|shelf| shelf.read_dir().ok()).flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn unknown(directory: &Path, name: &Spanned<String>) -> Finding {
    let finding = Finding::error(format!("there is no sysext `{}`", name.value)).at(name.place.clone());
    if name.value.contains('/') {
        return finding.hint(format!("no {FILE_NAME} in {}", directory.join(&name.value).display()));
    }
    let shelves = shelves(directory);
    let names = names(&shelves);
    finding.hint(match nearest(&name.value, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "no `sysext/` folder lies beside or above the recipe".into(),
        None => format!("known: {}", names.join(", ")),
    })
}
