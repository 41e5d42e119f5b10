//! The description of a system extension, as its folder states it.
//!
//! Owns the value, and the pure derivation of the component list for an architecture and a version. Leaves the keys of
//! `sysext.yaml` to [`super::schema`], fetching to `source` and the image to [`super::image`].

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use url::Url;

use super::folder::Layer;
use super::schema;
use super::shipped::Shipped;
use super::template::{Variables, is_plain_value};
use super::values::Values;
use crate::base::arch::Arch;
use crate::base::canonical;
use crate::base::digest::Sha256;
use crate::base::error::{Advice, Exit};
use crate::base::finding::{Findings, Source, nearest};
use crate::format::archive::{Kind, Selection, is_gzipped_file};
use crate::format::tree::{self, Tree};

/// Name of the description's file in the folder of a sysext.
pub(crate) const FILE_NAME: &str = "sysext.yaml";
/// Name of the layer for the node in that folder.
const NODE_LAYER: &str = "node.bu";

/// The description in a folder of `sysext/`. All its templates are known to expand.
#[derive(Clone, Debug)]
pub struct Description {
    /// The sysext's name, which is its folder's name.
    pub name: String,
    /// The version that is built unless a recipe names another one.
    pub version: String,
    /// One sentence for users.
    pub description: String,
    /// Hosts on which it may be merged.
    pub os: Os,
    /// `EXTENSION_RELOAD_MANAGER=1`: systemd reads the new units when the extension is merged.
    pub reload: bool,
    /// Further template variables.
    pub values: Values,
    /// The content of `files/`.
    pub files: Tree,
    /// `node.bu`, a Butane layer for the node that goes below the user's own layers, if the folder has one.
    pub node_layer: Option<Layer>,
    pub(super) components: Vec<ComponentTemplate>,
    pub(super) text: BTreeMap<String, String>,
    /// Symlinks in the image: path and target.
    pub(super) links: BTreeMap<String, String>,
    /// Units that start as soon as the image is merged.
    pub upholds: Vec<String>,
    pub(super) images: BTreeMap<String, Vec<String>>,
    /// The text of `sysext.yaml`.
    pub source: Arc<Source>,
}

/// Hosts on which an extension may be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Os {
    /// Any host with systemd-sysext: `ID=_any`. For static binaries.
    Any,
    /// Flatcar of any version: `ID=flatcar`, `SYSEXT_LEVEL=1.0`.
    Flatcar,
}

impl FromStr for Os {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "any" => Ok(Os::Any),
            "flatcar" => Ok(Os::Flatcar),
            _ => Err(format!("unknown os `{text}`: any or flatcar")),
        }
    }
}

/// One file to fetch, for one architecture and version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its key in `components`.
    pub name: String,
    /// Canonical URL, never a mirror's.
    pub url: String,
    /// The check that its bytes must pass when it is locked.
    pub digest: Expected,
    /// Its destination in the image.
    pub placement: Placement,
}

/// The check of a component's bytes when the lock is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A digest in the description.
    Pinned(Sha256),
    /// A digest that upstream publishes beside the file: bare, or in lines of `digest  name`.
    Published {
        /// Canonical URL of the digest's file.
        url: String,
    },
}

/// Destination of a fetched component. Paths are inside the image, without a leading slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// A single file; gunzipped if its URL ends in `.gz`.
    File {
        /// Path in the image.
        path: String,
        /// Permission bits.
        mode: u16,
        /// Whether it is gzipped.
        gzip: bool,
    },
    /// Members of an archive.
    Members {
        /// Packaging of the archive.
        kind: Kind,
        /// Chosen members and their destinations.
        selections: Vec<Selection>,
    },
}

/// A [`Component`] before its variables are replaced.
#[derive(Clone, Debug)]
pub(super) struct ComponentTemplate {
    pub name: String,
    pub url: String,
    pub digest: DigestTemplate,
    pub placement: PlacementTemplate,
}

#[derive(Clone, Debug)]
pub(super) enum DigestTemplate {
    Pinned(BTreeMap<Arch, Sha256>),
    Published(String),
}

#[derive(Clone, Debug)]
pub(super) enum PlacementTemplate {
    Install { path: String, mode: u16 },
    Extract(Vec<Selection>),
}

/// Reasons why a sysext's description is unusable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the folder could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// `sysext.yaml` has errors.
    #[error(transparent)]
    Findings(#[from] Findings),
    /// `files/` has entries that no image can have.
    #[error("sysext `{name}` cannot be read")]
    Files {
        /// The sysext's name.
        name: String,
        /// The tree's error.
        source: tree::Error,
    },
    /// A recipe sets a variable that the sysext does not have.
    #[error("sysext `{name}` has no variable `{variable}`; it has {known}")]
    Variable {
        /// The sysext's name.
        name: String,
        /// The variable that the recipe sets.
        variable: String,
        /// The variables that it may set.
        known: String,
    },
    /// A recipe sets a variable to a value that may not be part of a URL or file name.
    #[error(
        "sysext `{name}`: `{value}` is not a valid value for `{variable}`; use letters, digits and . _ + ~ -"
    )]
    Value {
        /// The sysext's name.
        name: String,
        /// The variable that the recipe sets.
        variable: String,
        /// The value that the recipe gives it.
        value: String,
    },
    /// A pinned digest is missing for an architecture.
    #[error("component `{component}` of sysext `{name}` has no sha256 for {arch}")]
    Unpinned {
        /// The sysext's name.
        name: String,
        /// The component's name.
        component: String,
        /// The architecture.
        arch: Arch,
    },
    /// A recipe changes the URL of a component with a pinned digest.
    #[error(
        "component `{component}` of sysext `{name}` has a pinned sha256, but the recipe's values change its URL to {url}"
    )]
    Moved {
        /// The sysext's name.
        name: String,
        /// The component's name.
        component: String,
        /// The changed URL.
        url: String,
    },
    /// A template whose expansion with the given values fails or is unusable.
    #[error("`{component}` of sysext `{name}`: {why}")]
    Template {
        /// The sysext's name.
        name: String,
        /// Name of the component, path of the text or link, or name of the list of images.
        component: String,
        /// The problem, in words.
        why: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Read { .. } => Exit::Failed,
            _ => Exit::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Read { path, .. } if path.ends_with(FILE_NAME) => {
                Some(format!("a sysext is a folder with a {FILE_NAME} in it"))
            }
            Error::Files { source, .. } => source.hint(),
            Error::Variable { variable, known, .. } => {
                nearest(variable, known.split(", ")).map(|near| format!("did you mean `{near}`?"))
            }
            Error::Unpinned { arch, .. } => {
                Some(format!("add `{arch}:` to its sha256, or name a sha256_url"))
            }
            Error::Moved { .. } => {
                Some("name a sha256_url, or change version and digest in sysext.yaml".into())
            }
            _ => None,
        }
    }
}

impl Description {
    /// Reads the folder of a sysext. Files in `files/` are listed, their contents not read.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let file = dir.join(FILE_NAME);
        let text = fs::read_to_string(&file).map_err(|source| Error::Read { path: file.clone(), source })?;
        let folder = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut description = schema::parse(&Source::new(file.display().to_string(), text), &folder)?;
        let files = dir.join("files");
        if files.is_dir() {
            let origin = format!("files/ of sysext {folder}");
            description.files = Tree::of_directory(&files, &origin)
                .map_err(|source| Error::Files { name: folder, source })?;
        }
        let layer = dir.join(NODE_LAYER);
        description.node_layer = layer.is_file().then_some(Layer::Disk(layer));
        Ok(description)
    }

    /// Reads a folder in the binary.
    pub fn shipped(folder: &Shipped) -> Result<Self, Error> {
        let source = |path| Some(Source::new(folder.source_name(path), folder.text(path)?));
        let text = source(FILE_NAME).unwrap_or_else(|| Source::new(folder.source_name(FILE_NAME), ""));
        let mut description = schema::parse(&text, folder.name)?;
        let origin = format!("files/ of sysext {}", folder.name);
        let in_files = |source| Error::Files { name: folder.name.into(), source };
        description.files = folder.tree("files/", &origin).map_err(in_files)?;
        description.node_layer = source(NODE_LAYER).map(Layer::Shipped);
        Ok(description)
    }

    /// The variables for one build. `overrides` are a recipe's values by name, including `version`.
    pub fn variables(&self, arch: Arch, overrides: &BTreeMap<String, String>) -> Result<Variables, Error> {
        let version = overrides.get("version").unwrap_or(&self.version);
        let mut own = self.values.at(version, arch);
        for (variable, value) in overrides {
            let (name, variable, value) = (self.name.clone(), variable.clone(), value.clone());
            if !is_plain_value(&value) {
                return Err(Error::Value { name, variable, value });
            }
            match own.get_mut(&variable) {
                Some(slot) => *slot = Some(value),
                None if variable == "version" => {}
                None => {
                    let all = std::iter::once("version").chain(self.values.names());
                    let known = all.collect::<Vec<_>>().join(", ");
                    return Err(Error::Variable { name, variable, known });
                }
            }
        }
        Ok(Variables::new(version, arch, own))
    }

    /// The files to fetch, sorted by name. Pure: uses neither network nor disk.
    pub fn components(&self, arch: Arch, variables: &Variables) -> Result<Vec<Component>, Error> {
        self.components.iter().map(|template| self.component(template, arch, variables)).collect()
    }

    fn component(
        &self,
        template: &ComponentTemplate,
        arch: Arch,
        variables: &Variables,
    ) -> Result<Component, Error> {
        let wrong = |why| Error::Template { name: self.name.clone(), component: template.name.clone(), why };
        let url = expand_url(variables, &template.url).map_err(wrong)?;
        let (name, component) = (self.name.clone(), template.name.clone());
        let digest = match &template.digest {
            DigestTemplate::Pinned(digests) => {
                let pinned = Variables::new(&self.version, arch, self.values.at(&self.version, arch));
                if expand_url(&pinned, &template.url).map_err(wrong)? != url {
                    return Err(Error::Moved { name, component, url });
                }
                let digest = digests.get(&arch).copied();
                Expected::Pinned(digest.ok_or(Error::Unpinned { name, component, arch })?)
            }
            DigestTemplate::Published(url) => {
                Expected::Published { url: expand_url(variables, url).map_err(wrong)? }
            }
        };
        let placement = match &template.placement {
            PlacementTemplate::Install { path, mode } => Placement::File {
                path: expand_path(variables, path).map_err(wrong)?,
                mode: *mode,
                gzip: is_gzipped_file(&url),
            },
            PlacementTemplate::Extract(selections) => {
                let kind = Kind::of(&url).ok_or_else(|| {
                    wrong(format!(
                        "{url} ends in none of .tar, .tar.gz and .tgz, so nothing can be extracted"
                    ))
                })?;
                let expanded = selections.iter().map(|selection| {
                    Ok(Selection {
                        members: variables.expand(&selection.members)?,
                        to: expand_directory(variables, &selection.to)?,
                    })
                });
                Placement::Members { kind, selections: expanded.collect::<Result<_, _>>().map_err(wrong)? }
            }
        };
        Ok(Component { name: template.name.clone(), url, digest, placement })
    }

    /// Generated files: path inside the image and contents.
    pub fn texts(&self, variables: &Variables) -> Result<Vec<(String, String)>, Error> {
        let expanded = self.text.iter().map(|(path, text)| {
            let wrong = |why| Error::Template { name: self.name.clone(), component: path.clone(), why };
            let inside = expand_path(variables, path).map_err(wrong)?;
            Ok((inside, variables.expand(text).map_err(wrong)?))
        });
        expanded.collect()
    }

    /// Symlinks: path inside the image and target.
    pub(crate) fn links(&self, variables: &Variables) -> Result<Vec<(String, String)>, Error> {
        let expanded = self.links.iter().map(|(path, target)| {
            let wrong = |why| Error::Template { name: self.name.clone(), component: path.clone(), why };
            let inside = expand_path(variables, path).map_err(wrong)?;
            Ok((inside, variables.expand(target).map_err(wrong)?))
        });
        expanded.collect()
    }

    /// The container images that this version needs at run time, by the name of their list. A list that needs a
    /// variable without a value is left out, because the description does not know this version's images.
    pub(crate) fn images(&self, variables: &Variables) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let mut lists = BTreeMap::new();
        for (list, templates) in &self.images {
            let wrong = |why| Error::Template { name: self.name.clone(), component: list.clone(), why };
            let expanded = templates.iter().map(|template| variables.expand_if_set(template));
            if let Some(images) = expanded.collect::<Result<Option<Vec<_>>, _>>().map_err(wrong)? {
                lists.insert(list.clone(), images);
            }
        }
        Ok(lists)
    }

    /// Digest of everything that the folder adds to an image beside the components, for step keys. Reads `files/`.
    pub fn digest(&self) -> io::Result<Sha256> {
        let parts = [Sha256::of(self.source.text.as_bytes()), self.files.digest()?];
        Ok(Sha256::of(format!("{} {}", parts[0], parts[1]).as_bytes()))
    }

    /// The image's file name in a tree: `NAME-VERSION-ARCH.raw`, with systemd's spelling of ARCH. The link on the node
    /// must be `NAME.raw`, because systemd-sysext compares that name with the extension-release file.
    pub fn file_name(&self, version: &str, arch: Arch) -> String {
        format!("{}-{version}-{}.raw", self.name, arch.systemd())
    }
}

pub(super) fn expand_url(variables: &Variables, template: &str) -> Result<String, String> {
    let text = variables.expand(template)?;
    match Url::parse(&text) {
        // Credentials in a URL would end up in the lock, the SBOM and the provenance of every tree.
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err("it contains a user or a password, which the lock and every tree would publish; put them into a mirror's URL in PREBAKE_MIRROR_WEB".into())
        }
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url.into()),
        Ok(url) => Err(format!("{text} has the scheme `{}`; http and https can be fetched", url.scheme())),
        Err(why) => Err(format!("`{text}` is not a URL: {why}")),
    }
}

/// Expands an absolute path in the image, as descriptions write it, and removes its slash.
pub(super) fn expand_path(variables: &Variables, template: &str) -> Result<String, String> {
    let text = variables.expand(template)?;
    match text.strip_prefix('/') {
        Some(inside) if canonical::is_contained(inside) => Ok(inside.to_owned()),
        _ => Err(format!("`{text}` is not an absolute path without `..`, `.` and empty parts")),
    }
}

/// Like [`expand_path`], but a final slash may mark a directory.
pub(super) fn expand_directory(variables: &Variables, template: &str) -> Result<String, String> {
    match template.strip_suffix('/') {
        Some(path) => Ok(expand_path(variables, path)? + "/"),
        None => expand_path(variables, template),
    }
}
