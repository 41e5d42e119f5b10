//! Manifests of Kubernetes that a project keeps: vendored once, recorded, read as kubectl reads them.
//!
//! ```text
//! known, or URLs, or a chart ─▶ vendor ─▶ DIRECTORY/*.yaml + addon.lock ─▶ Addon { documents, images }
//! ```
//! Owns the files of a directory of manifests, the record of where they came from, their objects, and the images that these run. Leaves to
//! others which manifests there shall be (`cluster` by `cluster.yaml`, `bake` by a recipe), and putting them into a cluster.

pub mod flannel;
pub mod images;
pub mod known;
pub mod manifest;
pub mod record;
pub mod scalar;
pub mod vendor;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::images::Images;
use self::manifest::Document;
use self::record::Record;
use crate::base::finding::{Finding, Findings, MAX_TEXT, Place, Source};
use crate::base::yaml::decode::Spanned;

/// One add-on, read and decoded.
#[derive(Debug)]
pub struct Addon {
    /// Name of a known add-on, or that which the description gives to one of its own.
    pub name: String,
    /// Its objects, in the order in which they were written.
    pub documents: Vec<Document>,
    /// Images that its manifests do not name in an `image:`, from the description and from the record.
    pub images: Vec<Spanned<String>>,
}

impl Addon {
    /// An add-on of these objects alone.
    pub fn of(name: &str, documents: Vec<Document>) -> Addon {
        Addon { name: name.to_owned(), documents, images: Vec::new() }
    }

    /// Reads the manifests at these paths, each a file or a directory. Findings that no file causes are at `place`, and say
    /// `way_out`.
    pub fn read(
        name: &str,
        place: &Place,
        manifests: &[(PathBuf, &Place)],
        way_out: &str,
        findings: &mut Vec<Finding>,
    ) -> Addon {
        let mut addon = Addon { name: name.to_owned(), documents: Vec::new(), images: Vec::new() };
        let before = findings.len();
        for &(ref path, place) in manifests {
            let first = addon.documents.len();
            match files(path) {
                Ok(files) if files.is_empty() => {
                    let finding = Finding::error(format!("{} has no manifests of {name}", path.display()));
                    findings.push(finding.at(place.clone()).hint(way_out));
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
                            findings.extend(record.changed(directory, place, way_out));
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
                    findings.push(Finding::error(why).at(place.clone()).hint(way_out));
                }
            }
        }
        if findings.len() == before && addon.documents.is_empty() {
            let finding = Finding::error(format!("the manifests of {name} have no object in them"));
            findings.push(finding.at(place.clone()).hint(way_out));
        }
        addon
    }

    /// Adds the images that it runs to those of others: from `image:` fields, and from [`Addon::images`].
    pub fn add_images(&self, images: &mut Images, findings: &mut Vec<Finding>) {
        for document in &self.documents {
            images::of_document(document, images, findings);
        }
        for image in &self.images {
            images::add(image.clone(), images, findings);
        }
    }
}

/// Whether an object belongs to an installation. A chart's hooks for upgrades and removals do not: Longhorn's and NVIDIA's would take
/// away what was just installed.
fn is_installed(document: &Document) -> bool {
    let hook = document.value.pointer("/metadata/annotations/helm.sh~1hook").and_then(|hook| hook.as_str());
    hook.is_none_or(|hook| {
        hook.split(',').any(|when| matches!(when.trim(), "pre-install" | "post-install" | "crd-install"))
    })
}

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
