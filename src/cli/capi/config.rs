//! `prebake capi config`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::base::disk;
use crate::base::error::Result;
use crate::capi::index::{self, Index};
use crate::tree::manifest::Role;
use crate::tree::names::CAPI_RECORD;
use crate::tree::open::{self, Tree};

/// Print the `clusterctl.yaml` by which clusterctl finds the components and the flavor in a tree
///
/// It has URLs, versions and feature gates, and no secrets. `prebake capi run TREE -- clusterctl …` needs no such file.
#[derive(Args)]
pub(super) struct ConfigArgs {
    /// A tree with the output `capi`
    #[arg(value_name = "TREE")]
    tree: PathBuf,
    /// Print what the tree has as JSON instead
    #[arg(long)]
    json: bool,
}

/// The absolute path of a tree, for URLs; links in it stay.
pub(super) fn absolute(tree: &Path) -> Result<PathBuf> {
    Ok(std::path::absolute(tree).map_err(disk::Error::io("find", tree))?)
}

/// The index of a tree. It and every file that clusterctl reads by it have the bytes of the tree's manifest.
///
/// # Errors
/// It is no tree, has no index, or one of these files was changed.
pub(super) fn index_of(path: &Path) -> Result<Index> {
    let tree = Tree::directory(path)?;
    let bytes = tree.read(CAPI_RECORD).map_err(|error| -> crate::base::error::Error {
        match error {
            open::Error::Unnamed { .. } => {
                index::Error::Absent { tree: path.to_owned(), file: CAPI_RECORD }.into()
            }
            error => error.into(),
        }
    })?;
    let index = Index::read(&path.join(CAPI_RECORD), &bytes)?;
    // clusterctl reads the files beside these by their names alone, such as metadata.yaml.
    let beside = tree.manifest().files.iter().filter(|(_, file)| file.role == Role::ClusterApi);
    let files: BTreeSet<&str> = beside.map(|(file, _)| file.as_str()).chain(index.files()).collect();
    for file in files.into_iter().filter(|file| *file != CAPI_RECORD) {
        tree.read(file)?;
    }
    Ok(index)
}

impl ConfigArgs {
    /// Prints it.
    pub(super) fn run(self) -> Result<()> {
        let index = index_of(&self.tree)?;
        let config = index.config(&absolute(&self.tree)?, &[])?;
        match self.json {
            true => say!("{}", serde_json::to_string_pretty(&index).unwrap_or_default()),
            false => say_part!("{config}"),
        }
        Ok(())
    }
}
