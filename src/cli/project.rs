//! What the verbs on a recipe have in common: its path, the store, the runtime.

use std::path::PathBuf;

use clap::Args;
use tokio::runtime::{Builder, Runtime};

use crate::build::Project;
use crate::error::Result;
use crate::store::{self, Store};

/// The recipe and the store.
#[derive(Args)]
pub struct ProjectArgs {
    /// The recipe, such as recipes/kubernetes.yaml
    pub recipe: PathBuf,
    /// Where verified inputs and built artifacts are kept
    #[arg(long, value_name = "DIR", env = "PREBAKE_STORE", default_value_os_t = default_store(), hide_default_value = true)]
    pub store: PathBuf,
}

impl ProjectArgs {
    /// Reads the recipe and opens the store.
    pub fn open(&self) -> Result<(Project, Store)> {
        let project = Project::load(&self.recipe)?;
        Ok((project, Store::open(&self.store)?))
    }
}

/// `$XDG_CACHE_HOME/prebake/store`, else `~/.cache/prebake/store`.
fn default_store() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    cache.or_else(home).unwrap_or_else(|| PathBuf::from(".cache")).join("prebake/store")
}

/// Threads for the asynchronous part of a verb.
pub fn runtime() -> Result<Runtime> {
    let built = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    Ok(built.map_err(store::Error::io("start threads for", "this process".as_ref()))?)
}

/// Runs the asynchronous part of a verb. Ctrl-C ends the process with 130: nothing half-made is ever visible, and
/// what is left in temporary places is swept by the next run.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    runtime()?.block_on(async {
        tokio::select! {
            result = work => result,
            _ = tokio::signal::ctrl_c() => {
                eprintln!("\ninterrupted; run the same command again to go on");
                std::process::exit(130)
            }
        }
    })
}
