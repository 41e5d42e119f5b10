//! `prebake nodes`: machines that are listed elsewhere, or that asked a server, as lines below `nodes:`.

mod adopt;
mod import;
mod ls;

use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::bake::roster::{Target, Written};
use crate::base::count::counted;
use crate::base::error::Result;
use crate::machine::entry::Entry;

/// Bring machines into the nodes of a recipe or an inventory
#[derive(Args)]
pub(crate) struct NodesArgs {
    #[command(subcommand)]
    verb: NodesVerb,
}

#[derive(Subcommand)]
enum NodesVerb {
    Import(import::ImportNodesArgs),
    Adopt(adopt::AdoptArgs),
    Ls(ls::LsNodesArgs),
}

impl NodesArgs {
    /// Runs the verb.
    pub(crate) fn run(self) -> Result<()> {
        match self.verb {
            NodesVerb::Import(args) => args.run(),
            NodesVerb::Adopt(args) => args.run(),
            NodesVerb::Ls(args) => args.run(),
        }
    }
}

/// An entry as JSON.
fn as_json(entry: &Entry) -> Value {
    json!({
        "name": entry.name,
        "mac": entry.mac.map(|mac| mac.to_string()),
        "uuid": entry.uuid,
        "ip": entry.ip.map(|ip| ip.to_string()),
        "arch": entry.arch,
        "memory": entry.memory,
        "profile": entry.profile,
        "line": entry.to_string(),
    })
}

/// Prints entries as lines below `nodes:`, or puts them into a file and tells what it had already.
fn hand_over(entries: Vec<Entry>, into: Option<(Target, &Path)>, is_json: bool) -> Result<()> {
    let Some((target, path)) = into else {
        match is_json {
            true => say!("{:#}", json!({"nodes": entries.iter().map(as_json).collect::<Vec<_>>()})),
            false => entries.iter().for_each(|entry| say!("  {entry}")),
        }
        return Ok(());
    };
    let written = target.insert(entries)?;
    target.save(&written)?;
    let Written { added, present, .. } = &written;
    for (entry, place) in present {
        tell!("`{}` is there already: {place}", entry.name);
    }
    match is_json {
        true => {
            let present = present.iter().map(|(entry, _)| as_json(entry));
            let (added, present): (Vec<_>, Vec<_>) = (added.iter().map(as_json).collect(), present.collect());
            say!("{:#}", json!({"file": path, "nodes": added, "present": present}));
        }
        false => {
            added.iter().for_each(|entry| say!("  {entry}"));
            tell!("{}: {} added", path.display(), counted(added.len(), "node"));
        }
    }
    Ok(())
}
