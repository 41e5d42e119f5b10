//! A machine's user data on its way from Cluster API's bootstrap secret to an Ignition that is not Flatcar's: what Proxmox VE's provider
//! adds, and the step from specification 2.3 to 3.0. The peer `cluster-api` has the libraries.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::cluster::run;

/// Facts that Proxmox VE's provider knows of a machine when it writes the ISO with its user data.
pub struct Given<'a> {
    /// The machine's name in Cluster API, which becomes its host name.
    pub hostname: &'a str,
    /// Its SMBIOS UUID.
    pub uuid: &'a str,
    /// The address of its one network card.
    pub mac: &'a str,
    /// The address that IPAM gave it, with the length of the prefix.
    pub address: &'a str,
    /// The pool's gateway.
    pub gateway: &'a str,
    /// The first of the cluster's name servers.
    pub dns: &'a str,
}

/// The user data that the provider writes for a machine, by its own code.
pub fn enrich(peer: &Path, config: &str, given: &Given) -> io::Result<String> {
    let Given { hostname, uuid, mac, address, gateway, dns } = given;
    let mut command = Command::new(peer.join("user-data"));
    run(command.args(["enrich", hostname, uuid, mac, address, gateway, dns]), config)
}

/// A config of specification 2.3 as one of 3.0. Flatcar's Ignition does this when a machine boots; ign-converter, which it comes from,
/// takes less: see [`settle`].
pub fn translate(peer: &Path, config: &str) -> io::Result<String> {
    let mut config: Value = serde_json::from_str(config)?;
    settle(&mut config);
    run(Command::new(peer.join("user-data")).arg("translate"), &config.to_string())
}

/// Rewrites what ign-converter refuses and Flatcar's Ignition takes: units of one name become one, in which a later one's fields win
/// and drop-ins of all are kept; units of networkd become files; `enable`, the old word, becomes `enabled`.
fn settle(config: &mut Value) {
    let units = config["systemd"]["units"].take();
    let mut order = Vec::new();
    let mut merged: BTreeMap<String, Value> = BTreeMap::new();
    for mut unit in units.as_array().cloned().unwrap_or_default() {
        if let Some(fields) = unit.as_object_mut()
            && let Some(enable) = fields.remove("enable")
        {
            fields.entry("enabled").or_insert(enable);
        }
        let name = unit["name"].as_str().unwrap_or_default().to_owned();
        let Some(first) = merged.get_mut(&name) else {
            order.push(name.clone());
            merged.insert(name, unit);
            continue;
        };
        for (key, value) in unit.as_object().into_iter().flatten() {
            match (key.as_str(), first[key].as_array_mut(), value) {
                ("dropins", Some(before), Value::Array(further)) => before.extend(further.iter().cloned()),
                _ => first[key] = value.clone(),
            }
        }
    }
    let units: Vec<Value> = order.iter().filter_map(|name| merged.remove(name)).collect();
    config["systemd"] = json!({"units": units});

    let networks = config["networkd"]["units"].take();
    if let Some(config) = config.as_object_mut() {
        config.remove("networkd");
    }
    for unit in networks.as_array().into_iter().flatten() {
        let (name, text) =
            (unit["name"].as_str().unwrap_or_default(), unit["contents"].as_str().unwrap_or_default());
        let file = json!({
            "filesystem": "root", "path": format!("/etc/systemd/network/{name}"), "mode": 0o644,
            "contents": {"source": format!("data:,{}", escaped(text))},
        });
        match config["storage"]["files"].as_array_mut() {
            Some(files) => files.push(file),
            None => config["storage"]["files"] = json!([file]),
        }
    }
}

/// A text as the data of a URL (RFC 2397).
fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
