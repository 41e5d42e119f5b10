//! The private part of a tree without a store and a network: wherever the authorities are, and the tree may come from elsewhere.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::Value;

use crate::bake::boot::Delivery;
use crate::bake::compile::{self, Compiled};
use crate::bake::project::Project;
use crate::base::error::{Advice, Exit, Result};
use crate::cluster::place::Place;
use crate::flatcar::version::VersionWish;
use crate::tree::lock::Lock;
use crate::tree::names;
use crate::tree::open::Tree;

/// A tree that was not made from this description.
#[derive(Debug, thiserror::Error)]
#[error("{tree} was not made from this description: {why}")]
pub struct Foreign {
    /// The tree.
    pub tree: String,
    /// The first difference.
    pub why: String,
}

impl Advice for Foreign {
    fn exit(&self) -> Exit {
        Exit::Config
    }

    fn hint(&self) -> Option<String> {
        Some(
            "build the bundle anew from this cluster.yaml (`prebake cluster generate`), with the same templates and version of prebake"
                .into(),
        )
    }
}

/// Compiles the private configs of a tree, by their ids, from the project that [`write`](super::write) wrote. Every public config
/// of the description must be the tree's.
///
/// # Errors
/// [`Foreign`] with the first difference; findings in layers.
pub fn private(place: &Place, tree: &Tree) -> Result<BTreeMap<String, Vec<u8>>> {
    let foreign = |why: String| Foreign { tree: tree.place(), why };
    let recipe = place.recipe();
    let path = Lock::path_of(&recipe);
    let manifest = tree.manifest();
    // The tree brings the lock that it was built by, with keys and versions that only a network knows.
    let name = recipe.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if manifest.name != name {
        return Err(foreign(format!("it is the cluster {}, and this is {name}", manifest.name)).into());
    }
    let lock = tree.read(&names::lock(&name))?;
    let lock = Lock::parse(&path, &String::from_utf8_lossy(&lock))?;
    let version = lock.version().ok_or_else(|| foreign("its lock names no version of Flatcar".into()))?;
    let project = Project::by(&recipe, lock.clone())?;
    let Project { recipe, outputs, sysexts, .. } = &project;
    if let VersionWish::Exactly(wish) = recipe.release.version
        && wish != version
    {
        return Err(foreign(format!("it is of Flatcar {version}, and flatcar_version is {wish}")).into());
    }
    let packaging = recipe.packaging.load(SystemTime::now())?;
    let Compiled { boots, .. } =
        compile::compile(recipe, outputs, version, sysexts, &packaging, &lock.ssh_keys, &[])?;
    let mut files = BTreeMap::new();
    for boot in &boots {
        let path = names::ignition(&names::config_id(&boot.id));
        if !manifest.files.contains_key(&path) {
            return Err(foreign(format!("it has no boot {}", boot.id)).into());
        }
        let theirs = tree.read(&path)?;
        // A machine that fetches its extensions has a config with their digests, which only a build knows.
        if matches!(boot.delivery, Delivery::Initrd(_)) && theirs != boot.ignition {
            let why = difference(&boot.ignition, &theirs);
            return Err(foreign(format!("in the config of {}, {why}", boot.id)).into());
        }
        files.extend(boot.private.clone().map(|config| (names::config_id(&boot.id), config)));
    }
    Ok(files)
}

/// The first place where two configs differ, in words.
fn difference(ours: &[u8], theirs: &[u8]) -> String {
    let parsed = |bytes| serde_json::from_slice::<Value>(bytes).ok();
    match (parsed(ours), parsed(theirs)) {
        (Some(ours), Some(theirs)) => walk(&ours, &theirs, "").unwrap_or_else(|| "the bytes differ".into()),
        _ => "the bytes differ".into(),
    }
}

fn walk(ours: &Value, theirs: &Value, path: &str) -> Option<String> {
    match (ours, theirs) {
        _ if ours == theirs => None,
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            keys.into_iter().find_map(|key| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match (one.get(key), other.get(key)) {
                    (Some(one), Some(other)) => walk(one, other, &path),
                    (Some(_), None) => Some(format!("{path} is missing there")),
                    _ => Some(format!("{path} is only there")),
                }
            })
        }
        (Value::Array(one), Value::Array(other)) => {
            let id = |value: &Value| {
                ["path", "name"].iter().find_map(|key| value.get(key)?.as_str().map(str::to_owned))
            };
            let find = |list: &[Value], wanted: &str| {
                list.iter().find(|item| id(item).as_deref() == Some(wanted)).cloned()
            };
            for item in one {
                let Some(name) = id(item) else { break };
                match find(other, &name) {
                    Some(theirs) if theirs != *item => return Some(format!("{name} differs")),
                    Some(_) => {}
                    None => return Some(format!("{name} is missing there")),
                }
            }
            let only = other.iter().filter_map(&id).find(|name| find(one, name).is_none());
            only.map(|name| format!("{name} is only there")).or_else(|| Some(format!("{path} differs")))
        }
        _ => Some(format!("{path} differs")),
    }
}
