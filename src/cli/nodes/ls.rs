//! `prebake nodes ls`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::as_json;
use crate::bake::roster::Target;
use crate::base::error::Result;
use crate::cli::table::Table;

/// List the nodes of a recipe or an inventory
#[derive(Args)]
pub(crate) struct LsNodesArgs {
    /// The recipe or inventory
    #[arg(value_name = "RECIPE|INVENTORY")]
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl LsNodesArgs {
    /// Prints a row a node.
    pub(crate) fn run(self) -> Result<()> {
        let entries = Target::open(&self.file)?.entries();
        if self.json {
            say!("{:#}", json!({"nodes": entries.iter().map(as_json).collect::<Vec<_>>()}));
            return Ok(());
        }
        let mut table = Table::new(["NODE", "MAC", "UUID", "ADDRESS", "PROFILE"]);
        for entry in entries {
            let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".into());
            table.row([
                entry.name,
                or_none(entry.mac.map(|mac| mac.to_string())),
                or_none(entry.uuid),
                or_none(entry.ip.map(|ip| ip.to_string())),
                or_none(entry.profile),
            ]);
        }
        say_part!("{table}");
        Ok(())
    }
}
