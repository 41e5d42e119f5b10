//! The places of an upload: a node, the storage of the disk and that of the file; and whether the token may do all there.
//!
//! Owns the choice where a person names none, and the way out where there is none or too many. Leaves the order of steps to
//! [`super::upload`].

use std::collections::BTreeSet;

use super::Error;
use super::call::part;
use super::document::{self, Storage};
use super::upload::Order;
use super::wire::Wire;

/// Privileges on the VM (`PVE::API2::Qemu`, `check_vm_modify_config_perm`).
const OF_VMS: [&str; 8] = [
    "VM.Allocate",
    "VM.Audit",
    "VM.Config.CPU",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
];

/// The places that were chosen.
pub(super) struct Site {
    pub node: String,
    /// The storage of the disk.
    pub storage: String,
    /// The storage that the file is sent to.
    pub import: String,
}

impl Site {
    /// Chooses by what an order names, and by what there is.
    ///
    /// # Errors
    /// There is no such place, or no choice without a name; the import storage has no room for the file.
    pub async fn choose(wire: &Wire, order: &Order<'_>) -> Result<Site, Error> {
        let node = choose_node(wire, order.node.as_deref()).await?;
        let path = format!("/nodes/{}/storage", part(&node));
        let data =
            wire.get(path, vec![("enabled", "1".into())], &format!("list the storages of {node}")).await?;
        let storages = document::storages(&data);
        let storage = choose_storage(&storages, order.storage.as_deref(), "images", "--storage", &node)?;
        // The disk's own storage is preferred, where it can do both.
        let prefers = order.import.clone().or_else(|| {
            let does = |row: &&Storage| row.name == storage && row.content.contains("import");
            storages.iter().find(does).map(|row| row.name.clone())
        });
        let import = choose_storage(&storages, prefers.as_deref(), "import", "--import-storage", &node)?;
        let room = storages.iter().find(|row| row.name == import).and_then(|row| row.free);
        if let Some(free) = room.filter(|free| *free < order.image.length) {
            return Err(Error::Storage {
                why: format!(
                    "the storage {import} of {node} has {free} bytes free, and the image {}",
                    order.image.length
                ),
                hint: "make room there, or name another with --import-storage".into(),
            });
        }
        Ok(Site { node, storage, import })
    }

    /// Holds the token's privileges against those that the way needs, so that nothing is sent in vain.
    ///
    /// # Errors
    /// All that the token lacks.
    pub async fn judge_rights(&self, wire: &Wire, order: &Order<'_>) -> Result<(), Error> {
        let vms = format!("/vms/{}", order.ids.only().unwrap_or(order.ids.first));
        let pool = order.vm.pool.as_ref().map(|pool| format!("/pool/{pool}"));
        let mut lacks = Vec::new();
        for (path, privileges) in [
            (format!("/storage/{}", self.import), &["Datastore.AllocateTemplate"][..]),
            (format!("/storage/{}", self.storage), &["Datastore.AllocateSpace"]),
            (vms, &OF_VMS),
        ] {
            let mut has = rights(wire, &path).await?;
            if let Some(pool) = pool.as_ref().filter(|_| path.starts_with("/vms/")) {
                has.extend(rights(wire, pool).await?);
            }
            let missing = privileges.iter().filter(|privilege| !has.contains(**privilege));
            lacks.extend(missing.map(|privilege| format!("{privilege} on {path}")));
        }
        match lacks.is_empty() {
            true => Ok(()),
            false => Err(Error::Lacks { token: wire.token().into(), lacks }),
        }
    }
}

async fn rights(wire: &Wire, path: &str) -> Result<BTreeSet<String>, Error> {
    let parameters = vec![("path", path.to_owned())];
    let data = wire.get("/access/permissions".into(), parameters, "tell the token's privileges").await?;
    Ok(document::privileges(&data, path))
}

async fn choose_node(wire: &Wire, named: Option<&str>) -> Result<String, Error> {
    let nodes = document::nodes(&wire.get("/nodes".into(), Vec::new(), "list its nodes").await?);
    let online: Vec<String> = nodes.iter().filter(|(_, is)| *is).map(|(name, _)| name.clone()).collect();
    let why = match named {
        Some(named) => match nodes.iter().find(|(name, _)| name == named) {
            Some((name, true)) => return Ok(name.clone()),
            Some(_) => format!("the node {named} is offline"),
            None => format!("{} has no node {named}", wire.name()),
        },
        None => match &online[..] {
            [only] => return Ok(only.clone()),
            [] => format!("{} has no node that is online", wire.name()),
            _ => format!("{} has several nodes", wire.name()),
        },
    };
    Err(Error::Node { why, online })
}

fn choose_storage(
    storages: &[Storage],
    named: Option<&str>,
    content: &str,
    option: &str,
    node: &str,
) -> Result<String, Error> {
    let fits: Vec<&str> = storages
        .iter()
        .filter(|row| row.is_there && row.content.contains(content))
        .map(|row| row.name.as_str())
        .collect();
    let others = match fits.is_empty() {
        true => String::new(),
        false => format!("; these have it: {}", fits.join(", ")),
    };
    let (why, hint) = match named {
        Some(named) => match storages.iter().find(|row| row.name == named) {
            Some(row) if !row.is_there => (
                format!("the storage {named} of {node} is not reached, or disabled"),
                format!("`pvesm status --storage {named}` on the node says more{others}"),
            ),
            Some(row) if !row.content.contains(content) => {
                let has: Vec<&str> = row.content.iter().map(String::as_str).collect();
                let with = [&has[..], &[content]].concat().join(",");
                (
                    format!(
                        "the storage {named} of {node} has no content type `{content}`: it has {}",
                        has.join(", ")
                    ),
                    format!("`pvesm set {named} --content {with}` on a node adds it{others}"),
                )
            }
            Some(row) => return Ok(row.name.clone()),
            None => {
                let known: Vec<&str> = storages.iter().map(|row| row.name.as_str()).collect();
                (
                    format!("the node {node} has no storage {named} that the token may see"),
                    format!(
                        "it sees {}{others}",
                        if known.is_empty() { "none".into() } else { known.join(", ") }
                    ),
                )
            }
        },
        None => match (&fits[..], content) {
            ([only], _) => return Ok((*only).to_owned()),
            // Any will do for a file that is soon removed.
            ([first, ..], "import") => return Ok((*first).to_owned()),
            ([], _) => (
                format!("no storage of {node} that the token may see has the content type `{content}`"),
                format!(
                    "`pvesm set STORAGE --content …,{content}` on a node adds it; the token needs Datastore.Audit on it"
                ),
            ),
            _ => (
                format!("several storages of {node} have the content type `{content}`"),
                format!("name one with {option}: {}", fits.join(", ")),
            ),
        },
    };
    Err(Error::Storage { why, hint })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_storage_is_chosen_where_there_is_no_choice_and_else_asked_for() {
        let storages = document::storages(&json!([
            {"storage": "local", "content": "iso,backup", "active": 1, "enabled": 1},
            {"storage": "nfs", "content": "images,import", "active": 1, "enabled": 1},
            {"storage": "off", "content": "images,import", "active": 0, "enabled": 1},
        ]));
        let choose = |named, content| choose_storage(&storages, named, content, "--storage", "pve");
        assert_eq!(choose(None, "images").unwrap(), "nfs");
        assert_eq!(choose(Some("nfs"), "import").unwrap(), "nfs");
        for (named, words) in [
            (Some("local"), "no content type `import`"),
            (Some("off"), "not reached"),
            (Some("x"), "no storage x"),
        ] {
            assert!(choose(named, "import").unwrap_err().to_string().contains(words));
        }
        assert!(choose(None, "rootdir").is_err());
    }
}
