//! The sysexts that a recipe uses: found by name, with their variables filled in.
//!
//! A name is looked up as `sysext/NAME` beside the recipe and in the directories above it; anything with a slash is a
//! path relative to the recipe.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::error::Result;
use crate::recipe::Recipe;
use crate::report::{Finding, Findings, nearest};
use crate::sysext::description::{Component, Description, FILE_NAME};
use crate::sysext::template::Variables;
use crate::yaml::decode::Spanned;

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

/// Loads every sysext that a recipe names, each once for each architecture, sorted by name.
///
/// # Errors
/// A finding for each name that leads nowhere, or the faults of a description.
pub fn load(recipe: &Recipe) -> Result<Vec<Selected>> {
    let mut selected: BTreeMap<String, (PathBuf, Vec<Selected>)> = BTreeMap::new();
    let mut findings = Vec::new();
    let all = recipe.profiles.values().flat_map(|profile| recipe.sysexts_of(profile));
    for name in all {
        let Some(directory) = find(&recipe.directory, name) else {
            findings.push(unknown(&recipe.directory, name));
            continue;
        };
        let description = Description::load(&directory)?;
        let mut overrides = BTreeMap::new();
        if let (Some(kubernetes), "kubernetes") = (&recipe.kubernetes, description.name.as_str()) {
            overrides.insert("version".to_owned(), kubernetes.version.value.clone());
        }
        let booted = overrides.get("version").unwrap_or(&description.version).clone();
        let mut seen = BTreeSet::from([booted]);
        let mut of_sysext = of_archs(recipe, &description, &overrides, true)?;
        for version in published_only(recipe, &description.name) {
            if !seen.insert(version.value.clone()) {
                let finding = Finding::error(format!("{} is published already", version.value));
                findings.push(
                    finding.at(version.place.clone()).hint("list only what no profile boots, each once"),
                );
                continue;
            }
            overrides.insert("version".to_owned(), version.value.clone());
            of_sysext.extend(of_archs(recipe, &description, &overrides, false)?);
        }
        match selected.get(&description.name) {
            Some((other, _)) if *other != directory => findings.push(
                Finding::error(format!(
                    "two folders are called `{}`: {} and {}",
                    description.name,
                    other.display(),
                    directory.display()
                ))
                .at(name.place.clone()),
            ),
            _ => {
                selected.insert(description.name, (directory, of_sysext));
            }
        }
    }
    if let (Some(kubernetes), false) = (&recipe.kubernetes, selected.contains_key("kubernetes")) {
        let finding = Finding::error("`kubernetes:` sets the version of a sysext that no profile has");
        findings.push(finding.at(kubernetes.version.place.clone()).hint("add `kubernetes` to `sysexts:`"));
    }
    for (name, _) in recipe.sysupdate.iter().flat_map(|sysupdate| &sysupdate.versions) {
        if !selected.contains_key(&name.value) {
            let finding = Finding::error(format!("no profile has a sysext `{}`", name.value));
            findings.push(finding.at(name.place.clone()));
        }
    }
    Findings::settle(findings, ())?;
    Ok(selected.into_values().flat_map(|(_, of_sysext)| of_sysext).collect())
}

/// A sysext at one version, for each architecture of the recipe.
fn of_archs(
    recipe: &Recipe,
    description: &Description,
    overrides: &BTreeMap<String, String>,
    booted: bool,
) -> Result<Vec<Selected>> {
    let of_arch = |arch: &Arch| {
        let variables = description.variables(*arch, overrides)?;
        let components = description.components(*arch, &variables)?;
        Ok(Selected { arch: *arch, booted, description: description.clone(), variables, components })
    };
    recipe.release.archs.iter().map(of_arch).collect()
}

/// Versions of a sysext that the recipe publishes for systemd-sysupdate beside the one that profiles boot.
fn published_only<'r>(recipe: &'r Recipe, name: &'r str) -> impl Iterator<Item = &'r Spanned<String>> {
    let lists = recipe.sysupdate.iter().flat_map(|sysupdate| &sysupdate.versions);
    lists.filter(move |(sysext, _)| sysext.value == name).flat_map(|(_, versions)| versions)
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
fn shelves(directory: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(directory.join(".")).unwrap_or_else(|_| directory.to_owned());
    absolute.ancestors().map(|above| above.join("sysext")).filter(|shelf| shelf.is_dir()).collect()
}

fn unknown(directory: &Path, name: &Spanned<String>) -> Finding {
    let finding = Finding::error(format!("there is no sysext `{}`", name.value)).at(name.place.clone());
    if name.value.contains('/') {
        return finding.hint(format!("no {FILE_NAME} in {}", directory.join(&name.value).display()));
    }
    let shelves = shelves(directory);
    let mut names: Vec<String> = Vec::new();
    for entry in shelves.iter().filter_map(|shelf| shelf.read_dir().ok()).flatten().flatten() {
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    finding.hint(match nearest(&name.value, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "no `sysext/` folder lies beside or above the recipe".into(),
        None => format!("known: {}", names.join(", ")),
    })
}
