//! `prebake lock`

use clap::Args;

use super::progress::Progress;
use super::project::{FetchArgs, ProjectArgs, block_on};
use crate::build::Limits;
use crate::error::Result;
use crate::lock::Lock;

/// Write the lock of a recipe: the exact, verified inputs that builds use
///
/// Every input is fetched and verified before it is locked. What is locked already and still fits the recipe stays.
#[derive(Args)]
pub struct LockArgs {
    #[command(flatten)]
    project: ProjectArgs,
    /// Forget the present lock and take what the recipe's wishes mean today
    #[arg(long)]
    update: bool,
    #[command(flatten)]
    fetch: FetchArgs,
}

impl LockArgs {
    /// Writes the lock and prints what moved.
    pub fn run(self) -> Result<()> {
        let (mut project, store) = self.project.open()?;
        let old = project.lock.clone();
        if self.update {
            project.lock = None;
        }
        let limits = Limits { http: self.fetch.options(), ..Limits::default() };
        let progress = Progress::new();
        let (lock, ..) = block_on(project.inputs(&store, limits, &progress, |_, _| Ok(())))?;
        lock.save(&project.lock_path)?;
        let moved = moves(old.as_ref(), &lock);
        match moved.is_empty() {
            true => println!("{} is up to date", project.lock_path.display()),
            false => println!("{}:\n{}", project.lock_path.display(), moved.join("\n")),
        }
        Ok(())
    }
}

/// One line for each input that is new, gone or different.
fn moves(old: Option<&Lock>, new: &Lock) -> Vec<String> {
    let short =
        |lock: &Lock, id: &String| lock.inputs.get(id).map(|entry| entry.sha256.to_string()[..12].to_owned());
    let mut ids: Vec<&String> =
        old.iter().flat_map(|lock| lock.inputs.keys()).chain(new.inputs.keys()).collect();
    ids.sort();
    ids.dedup();
    let mut lines = Vec::new();
    let version = |lock: &Lock| format!("{} {}", lock.release.channel, lock.release.version);
    let was = old.map_or("nothing".into(), version);
    if was != version(new) {
        lines.push(format!("  release: {was} → {}", version(new)));
    }
    for id in ids {
        let was = old.and_then(|lock| short(lock, id));
        let is = short(new, id);
        if was != is {
            let word = |digest: Option<String>| digest.unwrap_or_else(|| "nothing".into());
            lines.push(format!("  {id}: {} → {}", word(was), word(is)));
        }
    }
    lines
}
