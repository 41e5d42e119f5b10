//! `prebake nodes`: machines that are listed elsewhere, or that asked a server, as lines below `nodes:`.

mod adopt;
mod import;
mod ls;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::bake::roster::{Target, Written};
use crate::base::count::counted;
use crate::base::error::{Advice, Exit, Result};
use crate::base::finding::nearest;
use crate::machine::entry::{Entry, NO_PROFILE};

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

/// Reasons why no line is written.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// Machines without a profile.
    #[error("no profile is known for {}", first(.0))]
    NoProfile(Vec<String>),
    /// A profile of the command line that the recipe has not.
    #[error("there is no profile `{profile}` in {}", recipe.display())]
    UnknownProfile {
        /// The value of `--profile`.
        profile: String,
        recipe: PathBuf,
        known: Vec<String>,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::NoProfile(_) => "choose one with --profile".into(),
            Error::UnknownProfile { profile, known, .. } => {
                match nearest(profile, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("profiles: {}", known.join(", ")),
                }
            }
        })
    }
}

/// Names as a message has them: of many, the first.
fn first(names: &[String]) -> String {
    const SHOWN: usize = 8;
    match names.len().checked_sub(SHOWN).filter(|others| *others > 0) {
        Some(others) => format!("{} and {others} more", names[..SHOWN].join(", ")),
        None => names.join(", "),
    }
}

/// The file that lines go into, held until they are written. A profile that is named for them must be one of it.
fn hold(into: Option<&Path>, profile: Option<&str>) -> Result<Option<Target>> {
    let Some(path) = into else { return Ok(None) };
    let target = Target::hold(path)?;
    let known = target.profiles();
    if let Some(profile) = profile.filter(|profile| !known.is_empty() && !known.iter().any(|k| k == profile))
    {
        let known = known.to_vec();
        return Err(Error::UnknownProfile { profile: profile.into(), recipe: path.into(), known }.into());
    }
    Ok(Some(target))
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
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let Some((target, path)) = into else {
        let without = entries.iter().filter(|entry| entry.profile.is_none());
        let without = owned(without.map(|entry| entry.name.as_str()).collect());
        if !without.is_empty() {
            tell!(
                "warning: no profile is known for {}: put one in place of {NO_PROFILE}, or choose one with --profile",
                first(&without)
            );
        }
        match is_json {
            true => say!("{:#}", json!({"nodes": entries.iter().map(as_json).collect::<Vec<_>>()})),
            false => entries.iter().for_each(|entry| say!("  {entry}")),
        }
        return Ok(());
    };
    let without = owned(target.without_profile(&entries));
    if !without.is_empty() {
        return Err(Error::NoProfile(without).into());
    }
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
