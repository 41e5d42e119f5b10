//! `prebake fetch`

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;

use super::progress::Progress;
use super::project::{FetchArgs, ProjectArgs, block_on};
use crate::bake::project::{Inputs, Limits};
use crate::base::count::counted;
use crate::base::error::Result;

/// Bring everything that a recipe's lock names into the store, verified
///
/// Obeys the lock and never writes it: without a lock, or with one that no longer fits the recipe, it fails with exit
/// code 9, and `prebake lock` is what you want. Use it to warm a CI cache, or before the network goes; afterwards
/// `prebake build --offline` needs nothing else.
#[derive(Args)]
pub(crate) struct FetchInputsArgs {
    #[command(flatten)]
    project: ProjectArgs,
    /// Fetch nothing; only say whether all is in the store (exit code 6 if not)
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    fetch: FetchArgs,
    /// Print the inputs and where they lie as JSON on stdout
    #[arg(long)]
    json: bool,
}

impl FetchInputsArgs {
    /// Fetches, and lists the inputs.
    pub(crate) fn run(self) -> Result<()> {
        let (mut project, store) = self.project.open()?;
        let store = self.fetch.trusting(store);
        let limits =
            Limits { locked: true, offline: self.offline, http: self.fetch.options(), ..Limits::default() };
        let inputs = block_on(project.inputs(&store, limits, &Progress::new(), |_, _, _| Ok(())))?;
        let Inputs { lock, fetched, .. } = inputs;
        project.save(&lock, &store)?;
        super::lock::tell_cached(&lock, &fetched);
        if self.json {
            let row = |(id, object): (&str, crate::base::digest::Object)| {
                json!({
                    "id": id,
                    "sha256": object.sha256,
                    "size": object.size,
                    "path": store.path(&object.sha256),
                    "fetched": fetched.iter().any(|fetched| fetched == id),
                })
            };
            let inputs: Vec<_> = lock.objects().map(row).collect();
            say!("{:#}", json!({"release": lock.release, "inputs": inputs}));
            return Ok(());
        }
        let bytes = lock.objects().map(|(_, object)| object.size).sum();
        say!(
            "{} {} {}: {} in the store, {}, {} fetched now",
            project.recipe.name,
            lock.release.channel,
            lock.release.version,
            counted(lock.inputs.len(), "input"),
            HumanBytes(bytes),
            fetched.len()
        );
        Ok(())
    }
}
