//! `prebake prune`

use std::path::PathBuf;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;

use super::table::Table;
use crate::base::count::counted;
use crate::base::error::Result;
use crate::tree::prune::{Busy, Judged, Kept, Report, prune};

/// Remove old trees, all but `current` and the newest of each recipe
///
/// The tree that `current` leads to stays, and so do the N newest, the builds that they were injected into, and trees that a
/// server of this machine serves now. Secrets below private/ go with their tree; those of `build --private` stay. Nothing is
/// removed where a build is in progress. `prebake store gc` then frees what only the removed trees used.
#[derive(Args)]
pub(crate) struct PruneArgs {
    /// Where trees are published, or the directory of one recipe there
    #[arg(value_name = "DIR", env = "PREBAKE_OUTPUT", default_value = "output")]
    directory: PathBuf,
    /// How many of the newest trees stay, of each recipe
    #[arg(long, value_name = "N")]
    keep: usize,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl PruneArgs {
    /// Removes old trees.
    pub(crate) fn run(self) -> Result<()> {
        let report = prune(&self.directory, self.keep, self.dry_run)?;
        match self.json {
            true => {
                let freed = report.freed;
                let removed: Vec<&Judged> = report.removed().collect();
                let kept: Vec<&Judged> = report.trees.iter().filter(|tree| tree.kept.is_some()).collect();
                let told = json!({
                    "dry_run": self.dry_run, "removed": removed, "kept": kept, "busy": report.busy, "freed": freed
                });
                say!("{told:#}");
            }
            false => self.print(&report),
        }
        Ok(())
    }

    fn print(&self, report: &Report) {
        let mut table = Table::new(["", "TREE", ">SIZE", ""]);
        let gone = if self.dry_run { "would remove" } else { "removed" };
        for Judged { path, bytes, kept, .. } in &report.trees {
            let (word, why) = match kept {
                None => (gone, ""),
                Some(Kept::Current) => ("kept", "current"),
                Some(Kept::Newest) => ("kept", "newest"),
                Some(Kept::Origin) => ("kept", "a kept tree was injected into it"),
                Some(Kept::Used) => ("kept", "in use now, most likely served"),
            };
            table.row([word.into(), path.display().to_string(), HumanBytes(*bytes).to_string(), why.into()]);
        }
        if !report.trees.is_empty() {
            say_part!("{table}");
        }
        for Busy { name, holder } in &report.busy {
            say!("left alone: {name}, where a build is in progress: {holder}");
        }
        let count = report.removed().count();
        let all: u64 = report.removed().map(|tree| tree.bytes).sum();
        let freed = if self.dry_run { "would be freed" } else { "freed" };
        say!("{}, {}: {} {freed}", counted(count, "tree"), HumanBytes(all), HumanBytes(report.freed));
        if report.freed < all {
            say!(
                "other trees and the store have the rest; `prebake store gc` frees what nothing uses any more"
            );
        }
    }
}
