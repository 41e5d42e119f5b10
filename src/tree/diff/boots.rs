//! Boots and machines, as the profiles and groups of a tree state them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::base::error::{Advice, Exit, Result};
use crate::tree::manifest::Role;
use crate::tree::names::record_id;
use crate::tree::open::Tree;
use crate::tree::records::{Group, Profile};

pub(crate) use crate::tree::records::Boot;

/// Machines of a group, and the profile they get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Machines {
    /// Id of the profile.
    pub profile: String,
    /// Labels that must all match; an empty selector matches every machine.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
    /// Metadata for templates.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// A profile or group that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path} of {place} cannot be used: {why}")]
struct Malformed {
    place: String,
    path: String,
    why: String,
}

impl Advice for Malformed {
    fn exit(&self) -> Exit {
        Exit::Integrity
    }
}

impl Boot {
    /// The arguments that this boot has beyond another one's, in order; a repeated argument counts each time.
    pub(crate) fn args_beyond<'b>(&'b self, other: &Boot) -> Vec<&'b str> {
        let mut left: Vec<&String> = other.args.iter().collect();
        let mut beyond = Vec::new();
        for arg in &self.args {
            match left.iter().position(|there| *there == arg) {
                Some(place) => drop(left.swap_remove(place)),
                None => beyond.push(arg.as_str()),
            }
        }
        beyond
    }
}

/// The boots of all profiles, by id.
pub(crate) fn boots(tree: &Tree) -> Result<BTreeMap<String, Boot>> {
    let profiles = read(tree, Role::Profile, |_, bytes| Profile::read(bytes))?;
    Ok(profiles.into_iter().filter_map(|(id, profile)| Some((id, profile.boot?))).collect())
}

/// All groups, by id.
pub(crate) fn machines(tree: &Tree) -> Result<BTreeMap<String, Machines>> {
    let groups = read(tree, Role::Group, Group::read)?.into_iter();
    Ok(groups
        .map(|(id, group)| {
            let (profile, selector, metadata) = (group.profile, group.selector, group.metadata);
            (id, Machines { profile, selector, metadata })
        })
        .collect())
}

/// Every file of a role, by its name without `.json`.
fn read<T>(
    tree: &Tree,
    role: Role,
    parse: impl Fn(&str, &[u8]) -> Result<T, String>,
) -> Result<BTreeMap<String, T>> {
    let mut records = BTreeMap::new();
    for path in tree.manifest().files.iter().filter(|(_, file)| file.role == role).map(|(path, _)| path) {
        let id = record_id(path);
        let malformed = |why| Malformed { place: tree.place(), path: path.clone(), why };
        records.insert(id.to_owned(), parse(id, &tree.read(path)?).map_err(malformed)?);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_that_stands_twice_is_beyond_one_that_stands_once() {
        let boot = |args: &str| {
            let args = args.split_whitespace().map(str::to_owned).collect();
            Boot { kernel: String::new(), initrd: Vec::new(), args }
        };
        let (old, new) = (boot("quiet console=tty0"), boot("console=tty0 console=ttyS0 console=tty0"));
        assert_eq!(new.args_beyond(&old), ["console=ttyS0", "console=tty0"]);
        assert_eq!(old.args_beyond(&new), ["quiet"]);
    }
}
