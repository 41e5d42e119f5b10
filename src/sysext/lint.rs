//! Opens the paths that a user names, and judges them: images, directories, folders of `sysext/`, directories full of
//! images.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::base::Base;
use super::description::FILE_NAME;
use super::extension::{self, Extension};
use super::folder::{Folder, is_sysext};
use super::image;
use super::merge::{Merge, NodeConfig};
use super::rules::{self, Breach};
use crate::base::arch::Arch;
use crate::base::error::{Advice, Exit, Result};
use crate::base::finding::Severity;
use crate::flatcar::version::Version;
use crate::ignition::Transpile;

/// Extensions that would be merged on one machine.
pub(crate) struct Group {
    /// Name of the group, for messages.
    pub subject: String,
    /// Members of the group.
    pub extensions: Vec<Extension>,
}

/// An extension, as a user names it.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// An image, a directory of images, an unpacked extension, or a folder.
    Path(PathBuf),
    /// A folder that was found by its name.
    Folder(Folder),
}

/// The path is not an extension.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A directory without `usr/`, images or a description.
    #[error("{} is not an extension: it has no usr/, no {FILE_NAME} and no images in it", path.display())]
    NotOne {
        /// Path of the directory.
        path: PathBuf,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Config
    }

    fn hint(&self) -> Option<String> {
        let Error::NotOne { path } = self;
        let folders = fs::read_dir(path).ok()?.flatten().filter(|item| item.path().join(FILE_NAME).is_file());
        let mut names: Vec<String> = folders.map(|item| item.path().display().to_string()).collect();
        names.sort();
        (!names.is_empty()).then(|| format!("did you mean {}?", names.join(" ")))
    }
}

/// Opens what is named, grouped by the machines on which they can meet: images for the same architecture, each name once. A
/// directory of images is one group as it is.
pub(crate) fn open(targets: &[Target]) -> Result<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    for target in targets {
        if let Target::Path(path) = target
            && let Some(images) = directory_of_images(path)
        {
            // `.` has no file name, which the rules need.
            let directory = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            let open = |path: &PathBuf| Ok(Extension::open(path)?.lying_in(&directory));
            let extensions = images.iter().map(open).collect::<Result<_>>()?;
            groups.push(Group { subject: path.display().to_string(), extensions });
            continue;
        }
        let extension = match target {
            Target::Path(path) => open_one(path)?,
            Target::Folder(found) => folder(found)?,
        };
        let arch = arch_of(&extension)?;
        let fits = |group: &Group| -> Result<bool> {
            let mut archs = Vec::new();
            for other in &group.extensions {
                archs.extend(arch_of(other)?);
            }
            let same_arch = arch.as_ref().is_none_or(|arch| archs.iter().all(|other| other == arch));
            Ok(same_arch && group.extensions.iter().all(|other| other.name() != extension.name()))
        };
        let mut place = None;
        for (index, group) in groups.iter().enumerate() {
            if place.is_none() && fits(group)? {
                place = Some(index);
            }
        }
        match place {
            Some(index) => {
                let group: &mut Group = &mut groups[index];
                group.subject += &format!(", {}", extension.subject);
                group.extensions.push(extension);
            }
            None => groups.push(Group { subject: extension.subject.clone(), extensions: vec![extension] }),
        }
    }
    Ok(groups)
}

/// The architecture for which an extension is made.
fn arch_of(extension: &Extension) -> Result<Option<String>> {
    let release = extension.release()?;
    Ok(release.and_then(|release| release.get("ARCHITECTURE").map(str::to_owned)))
}

/// The images in a directory that is not an extension itself, sorted.
fn directory_of_images(path: &Path) -> Option<Vec<PathBuf>> {
    if path.join("usr").is_dir() || is_sysext(path) {
        return None;
    }
    let mut images: Vec<PathBuf> = fs::read_dir(path).ok()?.flatten().map(|item| item.path()).collect();
    // A mask or a dangling link is not an image: systemd-sysext skips both.
    images.retain(|image| {
        image.extension().is_some_and(|end| end == "raw") && (image.is_file()) || image.join("usr").is_dir()
    });
    images.sort();
    (!images.is_empty()).then_some(images)
}

fn open_one(path: &Path) -> Result<Extension> {
    if is_sysext(path) {
        // `.` has no file name, which the rules need.
        return folder(&Folder::Disk(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())));
    }
    let extension = Extension::open(path)?;
    let is_directory = extension.form == extension::Form::Directory;
    match is_directory && !extension.entries.keys().any(|path| path == "usr" || path == "opt") {
        true => Err(Error::NotOne { path: path.to_owned() }.into()),
        false => Ok(extension),
    }
}

/// A folder of `sysext/`, as far as its content is known before anything is fetched.
fn folder(folder: &Folder) -> Result<Extension> {
    let description = folder.load()?;
    let outline = |arch| {
        let variables = description.variables(arch, &Default::default())?;
        image::outline(&description, arch, &variables)
    };
    // Digests may be pinned for one architecture only.
    let [first, other] = Arch::ALL;
    let (tree, unknown) = outline(first).or_else(|error| outline(other).map_err(|_| error))?;
    let mut extension = Extension::of_tree(&description.name, &tree).with_unknown(unknown);
    if let Some(layer) = &description.node_layer {
        let config = layer.load(&Transpile::default())?.config;
        extension.masks = NodeConfig::of_ignition(config.to_json().as_bytes()).masked;
    }
    Ok(extension)
}

/// The result of judging extensions together.
pub(crate) struct Verdict {
    /// Name of the group, for messages.
    pub subject: String,
    /// Broken rules.
    pub breaches: Vec<Breach>,
    /// Parts that could not be judged.
    pub gaps: Vec<Gap>,
}

/// A part that was not judged, so it may be broken or not.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Gap {
    /// Name of a sysext, or of another part.
    pub what: String,
    /// The reason, and the way out.
    pub why: String,
}

impl Gap {
    /// A gap with its reason.
    pub(crate) fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Gap { what: what.into(), why: why.into() }
    }
}

/// Judges a group by itself, for a release if one is named.
pub(crate) fn judge(group: Group, base: &Base, release: Option<Version>) -> Result<Verdict> {
    let mut merge = Merge::new(&group.extensions, base);
    merge.release = release;
    let breaches = rules::judge(&merge)?;
    let unknown = group.extensions.iter().filter(|extension| !extension.unknown.is_empty());
    let gap = |extension: &Extension| {
        let why = format!(
            "the files of its components are not in its folder (/{}): `prebake sysext build` makes an image that can be linted",
            extension.unknown.join(", /")
        );
        Gap::new(extension.name(), why)
    };
    let gaps = unknown.map(gap).collect();
    Ok(Verdict { subject: group.subject, breaches, gaps })
}

/// A broken rule in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Row<'b> {
    rule: &'static str,
    severity: &'static str,
    extension: &'b str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'b str,
    why: &'static str,
    fix: &'b str,
}

impl<'b> From<&'b Breach> for Row<'b> {
    fn from(breach: &'b Breach) -> Self {
        Row {
            rule: breach.rule,
            severity: match breach.severity {
                Severity::Warning => "warning",
                Severity::Error => "error",
            },
            extension: &breach.extension,
            path: breach.path.as_ref().map(|path| format!("/{path}")),
            line: breach.place.as_ref().map(|place| place.line),
            detail: &breach.detail,
            why: breach.why,
            fix: &breach.fix,
        }
    }
}
