//! `prebake mirror`

use std::path::PathBuf;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;

use super::progress::Progress;
use super::project::{FetchArgs, StoreArg, block_on};
use crate::bake::mirror::{Filled, Mirror, Stocked};
use crate::bake::project::Limits;
use crate::base::count::counted;
use crate::base::error::Result;
use crate::source::SourceName;

/// Fill a directory with everything that locks name, as a mirror for builds without the internet
///
/// The directory gets one folder for each source, in the layout that its PREBAKE_MIRROR_ variable must have. Files come from
/// the store, or from where builds fetch them, and every one is verified; those that are there and right stay, so that an
/// interrupted run goes on. Any web server can serve the directory, and `file:` reads it as it is.
#[derive(Args)]
pub(crate) struct MirrorArgs {
    /// Recipes whose locks fit them, or locks without their recipes (a name that ends in .lock)
    #[arg(required = true, value_name = "RECIPE|LOCK")]
    inputs: Vec<PathBuf>,
    /// The directory of the mirror
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// The vendor's key file for locks without their recipes, if it is not the published one
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArg,
    /// Fetch nothing; fail if the store lacks something (exit code 6)
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    fetch: FetchArgs,
    /// Print the files and the variables as JSON on stdout
    #[arg(long)]
    json: bool,
}

impl MirrorArgs {
    /// Fills the directory, and prints the variables that name it.
    pub(crate) fn run(self) -> Result<()> {
        let store = self.fetch.trusting(self.store.open()?);
        let limits = Limits { offline: self.offline, http: self.fetch.options(), ..Limits::default() };
        let mut mirror = Mirror::new(&self.output)?;
        for input in &self.inputs {
            let progress = Progress::new();
            let is_lock = input.extension().is_some_and(|extension| extension == "lock");
            let stocked = block_on(async {
                match is_lock {
                    true => Stocked::of_lock(input, self.key.clone(), &store, limits, &progress).await,
                    false => Stocked::of_recipe(input, &store, limits, &progress).await,
                }
            })?;
            mirror.fill(&stocked, &store)?;
        }
        let used = SourceName::ALL.into_iter().filter(|source| mirror.files().any(|f| f.source == *source));
        let variables = used.map(|source| (source.variable(), mirror.base(source)));
        if self.json {
            let row = |file: &Filled| {
                json!({
                    "source": file.source,
                    "url": file.url,
                    "path": file.path,
                    "size": file.object.size,
                    "sha256": file.object.sha256,
                    "new": file.is_new,
                })
            };
            let variables: serde_json::Map<_, _> =
                variables.map(|(name, base)| (name, base.into())).collect();
            let files: Vec<_> = mirror.files().map(row).collect();
            say!("{:#}", json!({"directory": self.output, "variables": variables, "files": files}));
            return Ok(());
        }
        let (all, new) = (mirror.files().count(), mirror.files().filter(|file| file.is_new).count());
        let bytes = mirror.files().map(|file| file.object.size).sum();
        tell!("{}: {}, {}, {new} new", self.output.display(), counted(all, "file"), HumanBytes(bytes));
        for (name, base) in variables {
            say!("{name}={base}");
        }
        Ok(())
    }
}
