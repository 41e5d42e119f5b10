//! `prebake capi vendor`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::addon::record;
use crate::addon::vendor::{Vendored, vendor};
use crate::bake::outputs::capi_of;
use crate::bake::recipe::Recipe;
use crate::base::error::Result;
use crate::base::finding::{Finding, Findings};
use crate::cli::project::block_on;

/// Fetch what the output `capi` of a recipe publishes: Cluster API's components, and the recipe's add-ons
///
/// They come into the directory capi/ beside the recipe, with a record of their digests: a build takes exactly the files that lie there,
/// and fetches none. Versions are those that this prebake knows, or those of `versions:`. Charts, such as Cilium's, are rendered by the
/// `helm` that is installed here, once.
#[derive(Args)]
pub(crate) struct VendorArgs {
    /// The recipe, such as recipes/capi-proxmox.yaml
    recipe: PathBuf,
    /// Print what was fetched as JSON
    #[arg(long)]
    json: bool,
}

impl VendorArgs {
    /// Fetches, and says what came.
    pub(crate) fn run(self) -> Result<()> {
        let (recipe, output) = Recipe::load(&self.recipe, capi_of)?;
        let Some(output) = output else {
            let text =
                format!("{} has no output `capi`, so that there is nothing to fetch", self.recipe.display());
            let finding = Finding::error(text).hint("add `capi: {}` to its outputs");
            return Err(Findings::from(finding).into());
        };
        let (fetches, own) = output.fetches(&recipe);
        let mut all = Vec::new();
        for (directory, wish) in &fetches {
            let Vendored { record, images, remark } = block_on(async { Ok(vendor(wish, directory).await?) })?;
            if self.json {
                all.push(
                    json!({"directory": directory, "record": record, "images": images, "remark": remark}),
                );
                continue;
            }
            let lock = directory.join(record::NAME);
            say!(
                "{} {} is in {}, recorded in {}",
                wish.name,
                record.version,
                directory.display(),
                lock.display()
            );
            for image in &images {
                say!("  {image}");
            }
            if !remark.is_empty() {
                tell!("note: {remark}");
            }
        }
        for name in &own {
            tell!("note: {name} is an add-on of your own: its manifests are yours to keep");
        }
        if self.json {
            say!("{:#}", json!(all));
        }
        Ok(())
    }
}
