//! `prebake bundle import`

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use indicatif::{HumanBytes, ProgressBar};
use serde_json::json;

use super::{Error, as_json};
use crate::base::disk;
use crate::base::error::Result;
use crate::cli::demand::DemandArgs;
use crate::cli::project::StoreArg;
use crate::serve::site::content::Additions;
use crate::tree::bundle::Bundle;
use crate::tree::bundle::import::Import;
use crate::tree::bundle::policy::Taken;
use crate::tree::names::CURRENT;
use crate::tree::open::Tree;

/// File name of a site's machines, below OUTPUT/NAME.
const INVENTORY: &str = "nodes.yaml";

/// Publish the trees of a bundle here, as a build would
///
/// The signature is judged first. Then what the store lacks is copied, and each tree appears whole, with `current` pointing at
/// it. After an interruption, the same command resumes. The store remembers the keys that the first import was told to trust:
/// later bundles of the same name need no --trust, and older ones are refused.
#[derive(Args)]
pub(crate) struct ImportArgs {
    /// The bundle
    file: PathBuf,
    /// Where trees are published
    #[arg(long, short, value_name = "DIR", env = "PREBAKE_OUTPUT", default_value = "output")]
    output: PathBuf,
    /// Machines of this site, unknown when the bundle was made: checked against its tree and kept as OUTPUT/NAME/nodes.yaml
    /// for `prebake serve --nodes`
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArg,
    #[command(flatten)]
    demand: DemandArgs,
    /// Take a bundle with a lower sequence number than this site has seen
    #[arg(long, help_heading = "Trust")]
    allow_older: bool,
    /// Print the result as JSON on stdout
    #[arg(long)]
    json: bool,
}

impl ImportArgs {
    /// Imports the bundle.
    pub(crate) fn run(self) -> Result<()> {
        let Taken { bundle, site, trust } = self.demand.open(&self.file, &self.store.path()?)?;
        if let Some(site) = site.filter(|_| !self.allow_older) {
            site.refuse_older(&bundle)?;
        }
        let bundle = Arc::new(bundle);
        let nodes = self.nodes.as_deref().map(|nodes| self.judge_nodes(nodes, &bundle)).transpose()?;
        let store = self.store.open()?;
        let import = Import { bundle: &bundle, store: &store, output: &self.output, trust: trust.as_ref() };
        // A terminal shows the bar; without one it is hidden.
        let bar = ProgressBar::new(bundle.layout().length());
        let imported = import.run(|bytes| bar.inc(bytes))?;
        bar.finish_and_clear();
        if let Some((path, text)) = &nodes {
            disk::write_atomic(path, text)?;
        }
        let copied = imported.copied_bytes;
        if self.json {
            let mut json = as_json(&self.file, bundle.layout().length(), bundle.index(), bundle.signatures());
            json["trusted"] = bundle.proof().is_some().into();
            json["objects"] = json!({"copied": imported.copied, "bytes": copied, "shared": imported.shared});
            json["published"] = imported
                .trees
                .iter()
                .map(|tree| json!({"path": tree.path, "unchanged": tree.unchanged}))
                .collect();
            json["nodes"] = json!(nodes.map(|(path, _)| path));
            say!("{json:#}");
            return Ok(());
        }
        for tree in &imported.trees {
            let state = if tree.unchanged { " (unchanged)" } else { "" };
            say!("{} → {}{state}", tree.manifest.name, tree.path.display());
        }
        say!(
            "  objects   {} copied, {}; {} already in the store",
            imported.copied,
            HumanBytes(copied),
            imported.shared
        );
        match bundle.proof() {
            Some(proof) => {
                let signers: Vec<String> = proof.signers.iter().map(|key| key.id().to_string()).collect();
                say!("  verified  signed by {}, number {}", signers.join(", "), bundle.index().sequence);
            }
            None => say!("  verified  digests only: no trusted key signed it"),
        }
        if let (Some((path, _)), [tree]) = (nodes, imported.trees.as_slice()) {
            let current = self.output.join(&tree.manifest.name).join(CURRENT);
            say!("  next      prebake serve {} --nodes {}", current.display(), path.display());
        }
        Ok(())
    }

    /// Path and text of the inventory, if its nodes fit the bundle's tree.
    fn judge_nodes(&self, nodes: &Path, bundle: &Arc<Bundle>) -> Result<(PathBuf, Vec<u8>)> {
        if bundle.trees().count() != 1 {
            return Err(Error::WhoseNodes.into());
        }
        let tree = Tree::chosen(bundle.clone(), None)?;
        let place = self.output.join(&tree.manifest().name).join(INVENTORY);
        let text = fs::read(nodes).map_err(disk::Error::io("read the inventory", nodes))?;
        Additions { nodes: Some(nodes.to_owned()), ..Additions::default() }.to(tree)?;
        Ok((place, text))
    }
}
