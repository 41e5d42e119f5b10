//! Makes an image from a description and its fetched components.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::base::Base;
use super::description::{self, Description, Os, Placement};
use super::extension::{self, Extension};
use super::merge::Merge;
use super::packaging::{self, Packaging};
use super::release::{self, Release};
use super::rules::{self, Breach};
use super::template::Variables;
use super::unit;
use crate::base::arch::Arch;
use crate::base::error::{Advice, Exit};
use crate::base::finding::{Finding, Findings};
use crate::format::archive::{self, Limits, Selection};
use crate::format::tree::{self, Content, Contents, EXECUTABLE, Entry, PLAIN, Tree};

/// Part of step keys, beside the revision of the image format; raised when the tree changes for the same inputs.
pub(crate) const REVISION: u32 = 1;
/// Files of this size or more are refused: the overlay that carries an image is a cpio archive, which stores sizes in
/// 32 bits.
const TOO_LARGE: u64 = 1 << 32;

/// A tree that has passed the rules and contains its extension-release file. Only such a tree becomes an image.
#[derive(Debug)]
pub struct Assembled {
    arch: Arch,
    tree: Tree,
    /// Warnings for the user.
    pub warnings: Vec<Finding>,
}

/// Reasons why an image cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The description is unusable for this build.
    #[error(transparent)]
    Description(#[from] description::Error),
    /// The caller did not fetch a component.
    #[error("component `{component}` of sysext `{name}` was not fetched")]
    Missing {
        /// The sysext's name.
        name: String,
        /// The component's name.
        component: String,
    },
    /// A component's archive is refused.
    #[error("component `{component}` of sysext `{name}` cannot be unpacked")]
    Archive {
        /// The sysext's name.
        name: String,
        /// The component's name.
        component: String,
        /// The archive's error.
        source: archive::Error,
    },
    /// Two sources want the same path.
    #[error("sysext `{name}` cannot be assembled")]
    Tree {
        /// The sysext's name.
        name: String,
        /// The tree's error.
        source: tree::Error,
    },
    /// A file that is too large for the overlay.
    #[error("`/{path}` of sysext `{name}` has {size} bytes; a file in a sysext must be smaller than 4 GiB")]
    TooLarge {
        /// The sysext's name.
        name: String,
        /// Path inside the image.
        path: String,
        /// Size in bytes.
        size: u64,
    },
    /// Its content could not be read for the rules.
    #[error("sysext `{name}` cannot be judged")]
    Judge {
        /// The sysext's name.
        name: String,
        /// The extension's error.
        source: extension::Error,
    },
    /// Its content breaks the rules of system extensions.
    #[error(transparent)]
    Rules(#[from] Findings),
    /// The image could not be written.
    #[error("sysext `{name}` cannot be written")]
    Write {
        /// The sysext's name.
        name: String,
        /// The packaging's error.
        source: packaging::Error,
    },
}

impl Advice for Error {
    fn inner(&self) -> Option<&dyn Advice> {
        match self {
            Error::Description(error) => Some(error),
            Error::Archive { source, .. } => Some(source),
            Error::Tree { source, .. } => Some(source),
            Error::Write { source, .. } => Some(source),
            Error::Rules(findings) => Some(findings),
            Error::Judge { source, .. } => Some(source),
            _ => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Error::Description(_)
            | Error::Archive { .. }
            | Error::Tree { .. }
            | Error::Write { .. }
            | Error::Rules(_)
            | Error::Judge { .. } => self.inner_exit(),
            Error::TooLarge { .. } => Exit::Config,
            Error::Missing { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Description(_)
            | Error::Archive { .. }
            | Error::Tree { .. }
            | Error::Write { .. }
            | Error::Rules(_)
            | Error::Judge { .. } => self.inner_hint(),
            Error::TooLarge { .. } => {
                Some("machines boot from memory: fetch data of that size on the node".into())
            }
            Error::Missing { .. } => None,
        }
    }
}

/// Combines components, `files/`, generated texts and the extension-release file, and judges the result.
///
/// `fetched` has the verified file of each component. Members of archives are unpacked into `spool`, which must exist
/// until the image is written.
pub fn assemble(
    description: &Description,
    arch: Arch,
    variables: &Variables,
    fetched: &BTreeMap<String, PathBuf>,
    spool: &Path,
) -> Result<Assembled, Error> {
    let tree = parts(description, arch, variables, fetched, spool)?;
    Assembled::new(&description.name, tree, description.os, arch, description.reload)
}

/// Like [`assemble`], without judging: the future content of the image.
pub(crate) fn tree(
    description: &Description,
    arch: Arch,
    variables: &Variables,
    fetched: &BTreeMap<String, PathBuf>,
    spool: &Path,
) -> Result<Tree, Error> {
    let mut tree = parts(description, arch, variables, fetched, spool)?;
    let release = Release::new(description.os, arch, description.reload);
    add_release(&description.name, &mut tree, &release)?;
    Ok(tree)
}

/// The tree without the extension-release file.
fn parts(
    description: &Description,
    arch: Arch,
    variables: &Variables,
    fetched: &BTreeMap<String, PathBuf>,
    spool: &Path,
) -> Result<Tree, Error> {
    let name = &description.name;
    let in_tree = |source| Error::Tree { name: name.clone(), source };
    let mut tree = description.files.clone();
    for component in description.components(arch, variables)? {
        let Some(file) = fetched.get(&component.name) else {
            return Err(Error::Missing { name: name.clone(), component: component.name });
        };
        let origin = format!("component {}", component.name);
        let in_archive =
            |source| Error::Archive { name: name.clone(), component: component.name.clone(), source };
        match &component.placement {
            Placement::File { path, mode, gzip } => {
                let contents = match gzip {
                    true => archive::gunzip(file, Limits::default(), spool).map_err(in_archive)?,
                    false => Contents::on_disk(file).map_err(in_tree)?,
                };
                tree.insert(path, Entry::file(*mode, contents, origin)).map_err(in_tree)?;
            }
            Placement::Members { kind, selections } => {
                let members = archive::extract(file, *kind, selections, Limits::default(), spool, &origin);
                tree.merge(members.map_err(in_archive)?).map_err(in_tree)?;
            }
        }
    }
    generate(description, variables, &mut tree)?;
    Ok(tree)
}

/// The content of an image as far as it is known before its components are fetched: the tree, with empty files for
/// components, and the paths whose content will differ or that will have more entries.
pub(crate) fn outline(
    description: &Description,
    arch: Arch,
    variables: &Variables,
) -> Result<(Tree, Vec<String>), Error> {
    let in_tree = |source| Error::Tree { name: description.name.clone(), source };
    let mut tree = description.files.clone();
    let mut open = Vec::new();
    for component in description.components(arch, variables)? {
        let origin = format!("component {}", component.name);
        let empty = |mode| Entry::file(mode, Contents::Bytes(Vec::new()), origin.as_str());
        match &component.placement {
            Placement::File { path, mode, .. } => {
                tree.insert(path, empty(*mode)).map_err(in_tree)?;
                open.push(path.clone());
            }
            Placement::Members { selections, .. } => {
                for Selection { members, to } in selections {
                    let path = match (to.strip_suffix('/'), members.ends_with('*')) {
                        (Some(dir), true) => dir.to_owned(),
                        (Some(dir), false) => {
                            format!("{dir}/{}", members.rsplit('/').next().unwrap_or(members))
                        }
                        (None, _) => to.clone(),
                    };
                    // Members keep their modes, which are unknown; most extracted members are programs.
                    let entry =
                        if members.ends_with('*') { Entry::dir(origin.as_str()) } else { empty(EXECUTABLE) };
                    tree.insert(&path, entry).map_err(in_tree)?;
                    open.push(path);
                }
            }
        }
    }
    generate(description, variables, &mut tree)?;
    let release = Release::new(description.os, arch, description.reload);
    add_release(&description.name, &mut tree, &release)?;
    Ok((tree, open))
}

/// Adds the files that are generated from the description alone.
fn generate(description: &Description, variables: &Variables, tree: &mut Tree) -> Result<(), Error> {
    let name = &description.name;
    let in_tree = |source| Error::Tree { name: name.clone(), source };
    for (path, text) in description.texts(variables)? {
        let contents = Contents::Bytes(text.into_bytes());
        tree.insert(&path, Entry::file(PLAIN, contents, "`text` of sysext.yaml")).map_err(in_tree)?;
    }
    for (path, target) in description.links(variables)? {
        tree.insert(&path, Entry::symlink(target, "`links` of sysext.yaml")).map_err(in_tree)?;
    }
    if !description.upholds.is_empty() {
        let contents = Contents::Bytes(unit::upholds(&description.upholds).into_bytes());
        let path = format!("usr/lib/systemd/system/multi-user.target.d/10-{name}.conf");
        tree.insert(&path, Entry::file(PLAIN, contents, "`upholds` of sysext.yaml")).map_err(in_tree)?;
    }
    Ok(())
}

fn add_release(name: &str, tree: &mut Tree, release: &Release) -> Result<(), Error> {
    let contents = Contents::Bytes(release.text().into_bytes());
    let generated = Entry::file(PLAIN, contents, "prebake, which generates it");
    tree.insert(&release::path(name), generated).map_err(|source| Error::Tree { name: name.into(), source })
}

impl Assembled {
    /// Adds the extension-release file to a tree and judges the result.
    pub(crate) fn new(name: &str, mut tree: Tree, os: Os, arch: Arch, reload: bool) -> Result<Self, Error> {
        for (path, entry) in tree.iter() {
            if let Content::File(contents) = &entry.content
                && contents.size() >= TOO_LARGE
            {
                return Err(Error::TooLarge { name: name.into(), path: path.into(), size: contents.size() });
            }
        }
        add_release(name, &mut tree, &Release::new(os, arch, reload))?;
        let (alone, base) = ([Extension::of_tree(name, &tree)], Base::well_known());
        let judged = rules::judge(&Merge::new(&alone, &base));
        let breaches = judged.map_err(|source| Error::Judge { name: name.into(), source })?;
        let findings = breaches.iter().map(Breach::finding).collect();
        let (tree, warnings) = Findings::settle(findings, tree)?;
        Ok(Assembled { arch, tree, warnings })
    }

    /// The content of the image.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Writes the image over `out` and returns its length. `name` is the sysext's, for errors.
    pub fn write(&self, name: &str, epoch: u64, packaging: &Packaging, out: &mut File) -> Result<u64, Error> {
        let written = packaging.write(&self.tree, self.arch, epoch, out);
        written.map_err(|source| Error::Write { name: name.into(), source })
    }
}
